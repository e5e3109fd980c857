"""A GGUF file, or a folder with one, is a base: converted once, found by its hash, refused where it cannot serve."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from conftest import CHATML
from selfsame.errors import ConfigError, RunError
from selfsame.model import gguf
from selfsame.model.base import locate_model
from selfsame.model.load import load_roles
from selfsame.model.settings import ModelSettings
from tiny_gguf import write_gguf


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFSAME_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gguf"


def load(name: Path):
    return load_roles(ModelSettings(base=str(name), dtype="float32", max_length=64))


def test_a_file_is_converted_once_with_its_weights_and_template(tmp_path, cache, monkeypatch, capsys):
    weights = write_gguf(tmp_path / "tiny.gguf", CHATML)
    roles = load(tmp_path / "tiny.gguf")
    torch.testing.assert_close(roles.base.get_input_embeddings().weight, torch.tensor(weights["token_embd"]))
    assert torch.equal(roles.base.model.layers[1].mlp.up_proj.weight, torch.tensor(weights["blk.1.ffn_up"]))
    assert roles.processor.format.end == "<|im_end|>" and roles.processor.note == ""
    assert capsys.readouterr().err.count("converting tiny.gguf to float32, once") == 1
    (folder,) = cache.iterdir()
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        assert torch.equal(plain(input_ids=ids).logits, roles.base(input_ids=ids).logits)
    monkeypatch.setattr(gguf, "convert_into", lambda *_: pytest.fail("converted twice"))
    (tmp_path / "moved").mkdir()
    os.rename(tmp_path / "tiny.gguf", tmp_path / "moved" / "other.gguf")  # the same file under another name
    for name in (tmp_path / "moved" / "other.gguf", tmp_path / "moved"):
        assert locate_model(str(name)) == str(folder)


def test_another_file_of_the_same_name_is_another_base(tmp_path):
    write_gguf(tmp_path / "tiny.gguf")
    first = locate_model(str(tmp_path / "tiny.gguf"))
    write_gguf(tmp_path / "tiny.gguf", CHATML)
    assert locate_model(str(tmp_path / "tiny.gguf")) != first


def test_a_folder_with_a_model_keeps_its_own_weights(tmp_path):
    write_gguf(tmp_path / "tiny.gguf")
    for name in ("config.json", "config.yaml", "adapter_config.json"):
        (tmp_path / name).write_text("{}")
        assert locate_model(str(tmp_path)) == str(tmp_path)
        (tmp_path / name).unlink()


def test_what_cannot_be_a_base_is_one_line(tmp_path, cache):
    several = tmp_path / "several"
    several.mkdir()
    for name in ("a.gguf", "b.gguf"):
        write_gguf(several / name)
    part = tmp_path / "big-00001-of-00002.gguf"
    write_gguf(part)
    write_gguf(tmp_path / "odd.gguf", family="deepseek9")
    (tmp_path / "cut.gguf").write_bytes((several / "a.gguf").read_bytes()[:3000])
    (tmp_path / "text.gguf").write_text("not a model")
    reasons = {
        several: rf"holds 2 GGUF files: give one, such as --model.base {several}/a\.gguf",
        part: "is one part of several: join them",
        tmp_path / "none.gguf": r"there is no file .*none\.gguf",
        tmp_path
        / "odd.gguf": r"odd\.gguf cannot be read as a GGUF model by transformers \(.*deepseek9.*\): give a folder",
        tmp_path / "cut.gguf": r"cut\.gguf cannot be read as a GGUF model",
        tmp_path / "text.gguf": r"text\.gguf cannot be read as a GGUF model",
    }
    for name, reason in reasons.items():
        with pytest.raises(ConfigError, match=reason) as caught:
            load(name)
        assert "\n" not in str(caught.value)
    assert not cache.exists() or list(cache.iterdir()) == []


def test_a_full_disk_leaves_nothing_and_says_what_helps(tmp_path, cache, monkeypatch):
    write_gguf(tmp_path / "tiny.gguf")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", full)
    with pytest.raises(RunError, match=r"cannot write .*No space left on device\): free a few gigabytes, or set"):
        load(tmp_path / "tiny.gguf")
    assert list(cache.iterdir()) == []


def test_what_another_process_has_finished_stays(tmp_path, cache, monkeypatch):
    write_gguf(tmp_path / "tiny.gguf")
    save = gguf._convert

    def meanwhile(file: Path, folder: Path) -> None:
        save(file, folder)
        monkeypatch.setattr(gguf, "_convert", save)
        other = Path(locate_model(str(tmp_path / "tiny.gguf")))
        (other / "open").write_text("read by the other process")

    monkeypatch.setattr(gguf, "_convert", meanwhile)
    assert (Path(locate_model(str(tmp_path / "tiny.gguf"))) / "open").exists()
