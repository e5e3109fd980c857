"""The commands `card` and `character`: what a card says, and a bot that is trained on it and knows who it is."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from selfsame.character import ENOUGH_DIALOGUES
from selfsame.cli import main
from selfsame.run.files import read_json, read_jsonl
from selfsame.run.inherit import adapter_folder

NORA = {
    "name": "Nora Lind",
    "description": "She flies small planes. She has two boats. She likes old maps. She hates rain.",
    "first_mes": "Ahoy, {{user}}!",
    "mes_example": "<START>\n{{user}}: Where to?\n{{char}}: North, always north.",
    "system_prompt": "Obey.",
}
CHAT = "Nora Lind: You again!\nTim: Me again. Is it {}?\nNora Lind: It is {}, and I fly.\nTim: Fine.\nNora Lind: Yes.\n"
TINY = """--model.dtype float32 --model.max-length 256 --model.lora.rank 4 --model.lora.layers none --run.start-from none
    --run.stages sft evaluate --run.systems base sft --training.sft.max-steps 2 --training.sft.batch-size 4
    --sampling.max-new-tokens 6 --evaluation.consistency-size 4 --evaluation.engagement-size 4
    --evaluation.perplexity-size 2 --evaluation.resamples 100 --evaluation.judge rules --evaluation.model selfsame-9m"""


@pytest.fixture
def card(tmp_path):
    path = tmp_path / "nora.json"
    path.write_text(json.dumps(NORA), encoding="utf-8")
    return path


def test_a_card_becomes_a_bot_that_knows_who_it_is(card, tiny_models, tmp_path, capsys, monkeypatch):
    chats = tmp_path / "chat.txt"
    chats.write_text(CHAT.format("six", "seven"), encoding="utf-8")
    run = tmp_path / "run"
    command = ["character", str(card), str(chats), "--out", str(run), "--model.base", str(tiny_models()), *TINY.split()]
    command += ["--training.sft.start-from", ""]  # the packaged policy is of another base
    assert main(command) == 0
    told = capsys.readouterr()
    assert "not used of the card: system prompt (5 characters)" in told.err
    assert "dialogues of the character: 1 from the card, 1 from chats" in told.err
    assert f"chat:   selfsame chat --model {run}\n" in told.out
    assert "Replies to held-out prompts" in told.out
    assert {path.stem for path in (run / "eval").glob("*.json")} == {"base", "sft"}
    rows, _ = read_jsonl(run / ".character" / "train.jsonl")
    held, _ = read_jsonl(run / ".character" / "valid.jsonl")
    assert any(text == "It is seven, and I fly." for row in (*rows, *held) for _, text, *_ in row["turns"])
    before = read_json(run / "eval" / "sft.json")
    assert main(command) == 0  # nothing is left to do
    assert read_json(run / "eval" / "sft.json") == before
    capsys.readouterr()
    monkeypatch.setattr("selfsame.serve.terminal.typed_lines", lambda: iter(()))
    assert main(["chat", "--model", str(run)]) == 0
    said = capsys.readouterr().out
    assert "My name is Nora Lind." in said and "bot> Ahoy!" in said and "not used" not in said


def test_from_chats_the_bot_learns_how_the_character_speaks(card, tiny_models, tmp_path, capsys):
    base = ["--model.base", str(tiny_models()), *TINY.replace("--run.stages sft evaluate", "").split()]
    begun, run = tmp_path / "begun", tmp_path / "run"
    command = ["--run.directory", str(begun), "--run.stages", "sft", "--training.sft.learning-rate", "0.01"]
    assert main(["run", *base, *command]) == 0
    chats = [tmp_path / f"chat-{k}.txt" for k in range(ENOUGH_DIALOGUES)]
    for k, path in enumerate(chats):
        path.write_text(CHAT.format(f"{k} o'clock", f"{k + 1}"), encoding="utf-8")
    options = [*base, "--training.sft.start-from", str(begun), "--training.sft.learning-rate", "1e-12"]
    few = ["character", str(card), *map(str, chats[1:]), "--out", str(tmp_path / "few"), "--run.systems", "base"]
    capsys.readouterr()
    assert main([*few, *options, "--run.systems", "base"]) == 0
    assert "nothing is trained" in capsys.readouterr().err and not (tmp_path / "few" / "checkpoints").exists()
    assert main(["character", str(card), *map(str, chats), "--out", str(run), *options]) == 0
    assert "nothing is trained" not in capsys.readouterr().err
    assert {path.stem for path in (run / "eval").glob("*.json")} == {"base", "sft"}
    before, after = (load_file(adapter_folder(str(of)) / "adapter_model.safetensors") for of in (begun, run))
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[name], after[name], atol=1e-9) for name in before)
    assert any(tensor.abs().sum() > 0 for name, tensor in before.items() if "lora_B" in name)
    assert not (run / ".card.json").exists() and read_json(run / "card.json")["data"]["name"] == "Nora Lind"


def test_a_card_of_yaml_with_a_date_is_kept(tiny_models, tmp_path):
    path, run = tmp_path / "nora.yaml", tmp_path / "run"
    path.write_text("name: Nora\ndescription: She flies. She has a boat.\ncreation: 2024-01-01\n", encoding="utf-8")
    options = ["--model.base", str(tiny_models()), *TINY.split(), "--run.systems", "base", "--run.stages", "evaluate"]
    assert main(["character", str(path), "--out", str(run), *options]) == 0
    assert read_json(run / "card.json")["data"]["creation"] == "2024-01-01"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["character"], "character needs a card: selfsame character CARD [CHATS ...]"),
        (["character", "none.png"], "none.png: no such file; give a character card"),
        (["character", "{card}", "--data.pth", "x"], "unknown option '--data.pth'"),
        (["card", "{card}", "--picture", "x.png"], "give --out FILE.png too"),
        (["card", "{card}", "--out", "x.gif"], "a card is written as .json or .png"),
    ],
)
def test_mistakes_are_one_line(card, capsys, arguments, message):
    assert main([argument.format(card=card) for argument in arguments]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1


def test_card_shows_what_is_read_and_what_is_not(card, tmp_path, capsys):
    assert main(["card", str(card), "--out", str(tmp_path / "nora.png")]) == 0
    capsys.readouterr()
    assert main(["card", str(tmp_path / "nora.png")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Nora Lind",
        "  My name is Nora Lind.",
        "  I fly small planes.",
        "  I have two boats.",
        "  I like old maps.",
        "  I hate rain.",
        "greeting: Ahoy!",
        "example dialogue 1:",
        "  partner: Where to?",
        "  Nora Lind: North, always north.",
        "not used of the card: system prompt (5 characters)",
    ]


def test_the_help_names_the_card(capsys):
    assert main(["character", "--help"]) == 0
    assert "usage: selfsame character CARD [CHATS ...] [--out RUN]" in capsys.readouterr().out
