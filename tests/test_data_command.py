"""`selfsame data` on files that people bring, and the settings behind it."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from commands import Command, make
from selfsame.config import read_config
from selfsame.data.loader import DatasetLoader
from selfsame.data.settings import DataSettings

CHAT = "Ida: Any pets?\nTom: A goat 🐐.\nIda: 你好, and work?\nTom: I dig wells.\nIda: مرحبا\n"


@pytest.fixture
def selfsame(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys, Path())


def test_show_says_what_was_understood(selfsame, tmp_path):
    path = make(tmp_path, "chat.txt", CHAT)
    asked = selfsame("data", "show", "--data.path", path)
    assert asked.code == 2
    assert "who is the bot? Its speakers are 'Ida' (3 turns), 'Tom' (2 turns); name one: --data.bot " in asked.told
    shown = selfsame(
        "data", "show", "--data.path", path, "--data.bot", "Tom", "--data.persona", "I dig.", "I keep goats."
    )
    assert shown.code == 0
    assert "\nchat.txt: lines `Name: text`: 1 dialogues; bot = 'Tom'; persona from data.persona\n" in shown.out
    assert "  user 2: I dig. | I keep goats.\n    1: Any pets?\n    2: A goat 🐐.\n" in shown.out


def test_convert_writes_what_was_understood(selfsame, tmp_path):
    path, card = (
        make(tmp_path, "chat.txt", CHAT),
        make(tmp_path, "tom.json", '{"name": "Tom", "description": "I dig."}'),
    )
    out = tmp_path / "chat.jsonl"
    assert selfsame("data", "convert", "--data.path", path, "--data.card", card, "--out", out).code == 0
    before = DatasetLoader(DataSettings(path=str(path), card=str(card))).read_parts()
    assert DatasetLoader(DataSettings(path=str(out))).read_parts() == before
    assert before[0]["train"][0].personas == ((), ("My name is Tom.", "I dig."))


def test_the_fields_of_a_run(selfsame, tmp_path):
    options = [
        "--data.bot",
        "Tom",
        "--data.persona",
        "a",
        "b",
        "--data.card",
        "x.json",
        "--data.fields",
        "turns=log,text=said",
    ]
    data = read_config(options)[0].data
    assert (data.bot, data.persona, data.card, data.fields) == (
        "Tom",
        ("a", "b"),
        "x.json",
        ("turns=log", "text=said"),
    )
    path = make(
        tmp_path,
        "a.jsonl",
        '{"log": [{"who": "user", "said": "a b"}, {"who": "bot", "said": "c"}], "persona": "I dig."}\n',
    )
    assert (
        "log: 1 dialogues" in selfsame("data", "show", "--data.path", path, "--data.fields", "turns=log,text=said").out
    )
    for fields, told in (("turns", "'turns' is not one of turns=FIELD"), ("words=said", "'words=said' is not one of")):
        wrong = selfsame("data", "show", "--data.path", path, "--data.fields", fields)
        assert wrong.code == 2 and told in wrong.told


def test_a_dialogue_that_is_cut_is_told(tmp_path):
    path = make(tmp_path, "chat.txt", CHAT)
    loader = DatasetLoader(DataSettings(path=str(path), bot="Tom", persona=("I dig.",), max_turns=2))
    assert "cut after 2 turns (data.max_turns): 1 dialogues, 3 turns left out" in loader.load().summary()


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_console_without_these_letters(selfsame, tmp_path, monkeypatch, encoding):
    path = make(tmp_path, "chat.txt", CHAT)
    console = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", console)
    assert selfsame("data", "show", "--data.path", path, "--data.bot", "Tom", "--data.persona", "I dig.").code == 0
    console.flush()
    shown = console.buffer.getvalue().decode(encoding)
    assert "A goat \\U0001f410." in shown and "\\u4f60\\u597d, and work?" in shown
