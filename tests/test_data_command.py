"""`selfsame data` on files that people bring, and the settings behind it."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from commands import Command, make
from selfsame.config import read_config
from selfsame.data.loader import DatasetLoader
from selfsame.data.pairs import PreferenceGenerator
from selfsame.data.preferences import read_preferences
from selfsame.data.settings import DataSettings
from selfsame.run.directory import RunDirectory
from selfsame.run.records import EvaluationRecord, ReplyRecord

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


def test_pairs_and_samples_are_written_in_the_form_of_other_trainers(selfsame, tmp_path):
    out = tmp_path / "pairs.jsonl"
    shown = selfsame("data", "pairs", "--data.path", "demo", "--count", "12", "--out", out)
    assert shown.code == 0 and "12 pairs written" in shown.out
    pairs = PreferenceGenerator(DatasetLoader().load().train).generate_pairs(12)
    assert read_preferences(out, DataSettings()).pairs == pairs

    run = RunDirectory.create(tmp_path / "run", {}, (), {})
    assert "holds no evaluated system" in selfsame("data", "samples", "--run", run.path, "--out", out).told
    reply = ReplyRecord(
        dialogue="d", persona=["I dig."], history=["Work?"], reply="I dig.", scores={"consistency": 1.0}
    )
    record = EvaluationRecord(metrics={}, replies=[reply])
    run.eval_path("sft").parent.mkdir(exist_ok=True)
    run.eval_path("sft").write_text(record.model_dump_json(), encoding="utf-8")
    assert selfsame("data", "samples", "--run", run.path, "--out", out).out == f"1 replies of sft written to {out}\n"
    (row,) = map(json.loads, out.read_text(encoding="utf-8").splitlines())
    assert row["prompt"] == [{"role": "system", "content": "I dig."}, {"role": "user", "content": "Work?"}]
    assert row["completion"] == [{"role": "assistant", "content": "I dig."}] and row["scores"] == {"consistency": 1.0}


@pytest.mark.parametrize("words", [("pairs", "--data.path", "demo"), ("samples", "--run", "x"), ("show",)])
def test_what_an_action_needs_is_named(selfsame, words):
    assert "needs --" in selfsame("data", *words).told
