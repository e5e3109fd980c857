"""The stand-in base: the same run gives the same weights, it learns, and what is saved is an ordinary model."""

from __future__ import annotations

import errno
import math
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from selfsame.data.loader import DatasetLoader
from selfsame.data.processor import MARKERS, DataProcessor
from selfsame.errors import RunError
from selfsame.model.roles import load_roles
from selfsame.model.settings import ModelSettings, StandInSettings
from selfsame.model.standin import _language_model_loss, make_stand_in, train_tokenizer

SETTINGS = StandInSettings(vocabulary=600, hidden=32, layers=2, heads=2, steps=3, batch_size=4)
FILES = ("model.safetensors", "tokenizer.json", "config.json", "tokenizer_config.json")


@pytest.fixture(scope="module")
def examples():
    return DatasetLoader().load().train[:40]


@pytest.fixture(scope="module")
def made(examples, tmp_path_factory):
    """The stand-in of seed 0 and three steps."""
    return make_stand_in(tmp_path_factory.mktemp("run") / "base", examples, SETTINGS, 192, 0, show=False)


def content(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


def held_out_loss(folder, examples):
    """Nats per token of dialogues, by the saved model."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    processor = DataProcessor(tokenizer, 192)
    with torch.no_grad():
        return float(_language_model_loss(model, [r.ids for e in examples for r in processor.encode_example(e)], 0))


def test_same_settings_and_seed_give_the_same_bytes(made, examples, tmp_path):
    torch.manual_seed(99)  # whatever was drawn before
    assert content(make_stand_in(tmp_path / "again", examples, SETTINGS, 192, 0, show=False)) == content(made)
    other = content(make_stand_in(tmp_path / "other", examples, SETTINGS, 192, 1, show=False))
    assert other["model.safetensors"] != content(made)["model.safetensors"]
    assert other["tokenizer.json"] == content(made)["tokenizer.json"]


@pytest.mark.slow
def test_another_process_gives_the_same_bytes(made, tmp_path):
    """Hashes, and with them the order of sets, differ between processes."""
    script = (
        "import sys; from pathlib import Path; from selfsame.data.loader import DatasetLoader;"
        "from selfsame.model.settings import StandInSettings; from selfsame.model.standin import make_stand_in;"
        f"make_stand_in(Path(sys.argv[1]), DatasetLoader().load().train[:40], StandInSettings(**{SETTINGS.model_dump()!r}),"
        "192, 0, show=False)"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "base")], check=True, env=environment, timeout=120)
    assert content(tmp_path / "base") == content(made)


def test_the_loss_falls(made, examples, tmp_path):
    held_out = DatasetLoader().load().train[40:48]
    longer = SETTINGS.model_copy(update={"steps": 20, "batch_size": 8})
    after = held_out_loss(make_stand_in(tmp_path / "base", examples, longer, 192, 0, show=False), held_out)
    before = held_out_loss(made, held_out)
    assert after < before - 0.5 and after < math.log(600) - 0.5


def test_a_half_written_folder_does_not_disturb(made, examples, tmp_path):
    partial = tmp_path / "base.partial"
    partial.mkdir()
    (partial / "config.json").write_text('{"model_ty')
    (partial / "left-over.safetensors").write_bytes(b"half")
    folder = make_stand_in(tmp_path / "base", examples, SETTINGS, 192, 0, show=False)
    assert content(folder) == content(made)
    assert not partial.exists() and not (folder / "left-over.safetensors").exists()


def test_a_full_disk_leaves_nothing_that_looks_finished(made, examples, tmp_path, monkeypatch):
    def full(self, folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(PreTrainedTokenizerFast, "save_pretrained", full)
        with pytest.raises(RunError, match="disk full"):
            make_stand_in(tmp_path / "base", examples, SETTINGS, 192, 0, show=False)
    assert not (tmp_path / "base").exists()
    assert content(make_stand_in(tmp_path / "base", examples, SETTINGS, 192, 0, show=False)) == content(made)


def test_a_finished_one_is_left_alone(made, examples):
    before = {path: path.stat().st_mtime_ns for path in made.iterdir()}
    assert make_stand_in(made, examples, SETTINGS, 192, 5, show=False) == made
    assert {path: path.stat().st_mtime_ns for path in made.iterdir()} == before


def test_loads_with_transformers_alone(made, examples):
    model: Any
    model, tokenizer = AutoModelForCausalLM.from_pretrained(made), AutoTokenizer.from_pretrained(made)
    assert model.config.model_type == "llama" and model.config.max_position_embeddings >= 192
    assert len(tokenizer) == model.get_input_embeddings().weight.shape[0] == 600
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == tokenizer.convert_tokens_to_ids("<|end|>")
    for text in (examples[0].turns[1], "Grüße, 我 😀 \n tab\t end"):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    ids = tokenizer("Hello there", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.isfinite(model(input_ids=ids).logits).all()
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_markers_are_single_tokens(made):
    tokenizer = AutoTokenizer.from_pretrained(made)
    ids = [tokenizer(marker, add_special_tokens=False)["input_ids"] for marker in MARKERS]
    assert all(len(i) == 1 for i in ids) and len({i[0] for i in ids}) == len(MARKERS)
    assert set(MARKERS) <= set(tokenizer.all_special_tokens)
    assert load_roles(ModelSettings(base=str(made), max_length=192)).new_tokens == ()  # nothing is left to learn


def test_few_dialogues_are_enough(examples, tmp_path):
    """Fewer than a batch; the vocabulary is what there is to learn."""
    folder = make_stand_in(tmp_path / "base", examples[:1], SETTINGS, 192, 0, show=False)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert 256 + 5 <= len(tokenizer) <= 600
    assert len(train_tokenizer(examples, 512)) == 512
