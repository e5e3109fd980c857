"""The commands `card` and `character`: what a card says, and a bot that is trained on it and knows who it is."""

from __future__ import annotations

import json

import pytest

from selfsame.cli import main
from selfsame.run.files import read_json, read_jsonl

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
