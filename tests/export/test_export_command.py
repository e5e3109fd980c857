"""The command `export`: whole or not at all, a model card with each, and one line for every mistake."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import huggingface_hub
import pytest
import yaml
from outside import reward_role, tuned

from commands import Command, snapshot
from conftest import CHATML, make_model
from evaluated import evaluation
from selfsame.cards.card import read_card
from selfsame.export import folder as folders
from selfsame.run.files import write_json
from selfsame.serve.chatbot import load_chatbot

SAID = ("I sing.", "I bake.")


@pytest.fixture
def selfsame(capsys: pytest.CaptureFixture[str], tiny_models) -> Command:
    return Command(capsys, tiny_models("llama", chat=True))


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return tuned(tmp_path / "tuned", make_model(tmp_path / "base", "llama", CHATML, scale=8.0))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_models) -> Path:
    """A run of one stage, trained as a whole, with an evaluation that is made up."""
    from selfsame.cli import main

    run = tmp_path_factory.mktemp("runs") / "whole"
    words = f"""sft --model.base {tiny_models("llama", chat=True)} --run.directory {run} --model.tuning full --data.limit 20
        --model.dtype float32 --model.max-length 256 --training.sft.max-steps 1 --training.sft.batch-size 2
        --sampling.max-new-tokens 6"""
    assert main(words.split()) == 0
    write_json(run / "eval" / "sft.json", evaluation([1.0, 0.0]) | {"system": "sft"})
    return run


def test_from_a_card_to_an_ollama_folder(selfsame, adapter, tmp_path):
    out = tmp_path / "ida"
    card = tmp_path / "ida.json"
    made = selfsame("export", adapter, "--to", "card", card, "--name", "Ida", "--persona", *SAID)
    assert made.code == 0 and read_card(card).name == "Ida"
    answer = selfsame("export", adapter, "--to", "ollama", out, "--card", card, "--dtype", "q8_0")
    assert answer.code == 0 and answer.out.startswith(f"tuned: ollama in {out}\n")
    assert sorted(snapshot(out)) == ["Modelfile", "README.md", "model.gguf", "selfsame.json"]
    text = (out / "Modelfile").read_text()
    assert 'SYSTEM """My name is Ida.\nI sing.\nI bake."""' in text, answer.out
    assert "ollama create ida -f Modelfile" in (out / "README.md").read_text()
    bare = selfsame("export", adapter, "--to", "ollama", tmp_path / "bare")
    assert bare.code == 0 and "SYSTEM" not in (tmp_path / "bare" / "Modelfile").read_text()
    assert 'SYSTEM """I have two dogs.\nI drive a night bus."""' in (tmp_path / "bare" / "README.md").read_text()


def test_a_run_trained_as_a_whole_leaves_with_its_record(selfsame, whole, tmp_path):
    answer = selfsame("export", whole, "--to", "merged", tmp_path / "out")
    assert answer.code == 0, answer.told
    inside, outside = load_chatbot(str(whole)), load_chatbot(str(tmp_path / "out"))
    theirs = outside.roles.base.state_dict()
    ours = inside.roles.models[
        "sft"
    ].state_dict()  # in float32; the base that was written loads in what the CPU computes in
    assert all(tensor.to(theirs[name].dtype).equal(theirs[name]) for name, tensor in ours.items())
    text = (tmp_path / "out" / "README.md").read_text()
    head = yaml.safe_load(text.split("---")[1])
    assert head["library_name"] == "transformers" and "license" not in head  # the tiny base names none
    for said in (
        "Licence: see the base",
        "the 160 dialogues in Selfsame's package. Licence: CC0",
        "SFT 1 steps, learning rate",
    ):
        assert said in text
    assert "| consistency |" in text and "0.500 [0.400, 0.600]" in text and "all weights" in text
    texts = [file.read_text() for file in (tmp_path / "out").iterdir() if file.suffix != ".safetensors"]
    here = str(tmp_path.parent)  # of all tests: nothing says where it was made
    assert len(texts) > 5 and not any(here in text for text in texts)
    answer = selfsame("export", whole, "--to", "adapter", tmp_path / "other")
    assert "was trained as a whole and has no adapter: choose --to merged" in answer.told


def test_what_was_there_stays(selfsame, adapter, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert selfsame("export", adapter, "--to", "adapter", out).code == 0
    assert "holds an export: add --overwrite to replace it" in selfsame("export", adapter, "--to", "gguf", out).told
    before = snapshot(out)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("gguf.GGUFWriter.write_tensor_data", full)
    answer = selfsame("export", adapter, "--to", "gguf", out, "--overwrite")
    assert answer.code == 2 and f"cannot write {out} (the disk is full): free some space" in answer.told
    assert snapshot(out) == before and sorted(tmp_path.glob(".*")) == []
    monkeypatch.undo()
    assert selfsame("export", adapter, "--to", "gguf", out, "--overwrite").code == 0
    assert sorted(snapshot(out)) == ["README.md", "out-f16.gguf", "selfsame.json"]
    assert sorted(tmp_path.glob(".*")) == []


def test_wrong_input_is_one_line(selfsame, adapter, tmp_path, tiny_models, monkeypatch, whole):
    taken, file, base = tmp_path / "taken", tmp_path / "file", tiny_models("llama", chat=True)
    taken.mkdir()
    (taken / "mine.txt").write_text("mine")
    file.write_text("")
    head = reward_role(tmp_path / "reward", adapter)
    out, card = tmp_path / "out", tmp_path / "card.json"
    for words, told in (
        ((adapter, "--to", "ggfu", out), "--to ggfu is no format - did you mean gguf?; choose adapter, merged"),
        (
            (adapter, "--to", "gguf", out, "--dtype", "q4"),
            "--dtype q4 is no number format of gguf: choose f16, q8_0, f32",
        ),
        ((adapter, "--to", "adapter", out, "--dtype", "float16"), "an adapter is always in float32, leave it out"),
        ((adapter, "--to", "merged", out, "--persona", "I sing."), "--to merged takes no persona"),
        ((adapter, "--to", "merged", taken, "--overwrite"), "is not empty and holds no export: choose another OUT"),
        ((adapter, "--to", "merged", file), "is a file: an export needs a folder"),
        ((head, "--to", "merged", out), "is a reward or value role, which cannot speak"),
        ((whole, "--to", "merged", out, "--system", "ppo"), "has no finished stage ppo"),
        ((base, "--to", "adapter", out), "is a model without an adapter: choose --to merged"),
        ((adapter, "--to", "card", card), "was not made for one character: give --card FILE"),
        ((adapter, "--to", "card", card, "--persona", "I sing."), "a card has a name: give --name with --persona"),
        ((adapter, "--to", "card", card, "--name", "Ida"), "--name is the name of a --persona"),
        ((adapter, "--to", "card", file, "--name", "I", "--persona", "I sing."), "exists: add --overwrite"),
        ((adapter, "--to", "card", card, "--push", "me/it"), "leave out --dtype and --push"),
        ((adapter, "--to", "merged", out, "--push", "it"), "give the name of a repository, OWNER/NAME"),
        ((adapter, "--to", "merged", out, "--push", "me/it"), "HF_HUB_OFFLINE is set"),
    ):
        answer = selfsame("export", *words)
        assert answer.code == 2 and told in answer.told, words
    monkeypatch.setattr(folders.os, "access", lambda *_: False)  # root may write everywhere
    assert f"cannot write into {tmp_path}" in selfsame("export", adapter, "--to", "merged", out).told
    assert not out.exists() and (taken / "mine.txt").read_text() == "mine"


def test_a_base_that_was_moved_is_named(selfsame, tmp_path):
    base = make_model(tmp_path / "base", "llama", CHATML, scale=8.0)
    adapter = tuned(tmp_path / "tuned", base)
    base.rename(tmp_path / "moved")
    assert "name its place by --model.base" in selfsame("export", adapter, "--to", "merged", tmp_path / "out").told
    answer = selfsame("export", adapter, "--to", "merged", tmp_path / "out", "--model.base", tmp_path / "moved")
    assert answer.code == 0


def test_the_licence_of_a_base_is_that_of_its_card(selfsame, tmp_path):
    base = make_model(tmp_path / "base", "llama", CHATML)
    (base / "README.md").write_text("---\nlicense: Apache-2.0\n---\n# A base\n")
    assert selfsame("export", base, "--to", "gguf", tmp_path / "out").code == 0
    text = (tmp_path / "out" / "README.md").read_text()
    assert yaml.safe_load(text.split("---")[1])["license"] == "apache-2.0" and "Licence: Apache-2.0." in text
    assert "`selfsame evaluate` does" in text


class Hub:
    """Stands in for the hub."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []

    def create_repo(self, repository, private, exist_ok):
        self.calls.append((repository, private))
        return f"hub/{repository}"

    def upload_folder(self, repo_id, folder_path, commit_message):
        self.calls.append((repo_id, sorted(snapshot(Path(folder_path)))))


def test_a_push_uploads_the_whole_folder(selfsame, adapter, tmp_path, monkeypatch):
    hub = Hub()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    words = ("export", adapter, "--to", "gguf", tmp_path / "out", "--push", "me/bot")
    assert "--push needs a token of the hub: `hf auth login`" in selfsame(*words).told
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "a token")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    alone = selfsame("export", adapter, "--to", "adapter", tmp_path / "alone", "--push", "me/bot")
    assert "is on this machine alone, and an adapter needs it" in alone.told and not hub.calls
    assert selfsame(*words).out.endswith("on the hub: hub/me/bot\n")
    assert hub.calls == [("me/bot", True), ("me/bot", ["README.md", "bot-f16.gguf", "selfsame.json"])]
    assert json.loads((tmp_path / "out" / "selfsame.json").read_text())["format"] == "gguf"

    def refused(*_, **__):
        raise ConnectionError("no\nroute")

    monkeypatch.setattr(hub, "create_repo", refused, raising=False)
    answer = selfsame(*words, "--overwrite")
    assert (
        answer.code == 2 and "is written, but not on the hub (no route): try again by `hf upload me/bot" in answer.told
    )
    assert (tmp_path / "out" / "bot-f16.gguf").is_file()
