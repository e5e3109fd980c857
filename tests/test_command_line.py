"""The command itself: help, version, terminals that know few letters, and errors that are no user's."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from commands import Command
from selfsame.cli import main


@pytest.fixture
def selfsame(capsys: pytest.CaptureFixture[str], tiny_models: Any) -> Command:
    return Command(capsys, tiny_models())


def test_help_and_version(selfsame):
    for arguments in ([], ["--help"], ["-h"]):
        answer = selfsame(*arguments)
        assert answer.code == 0
        for command in ("demo", "run", "sft, reward, ppo, dpo", "evaluate", "report", "chat", "data"):
            assert f"\n  {command}" in answer.out
    assert selfsame("--version").out.strip() == "0.1.0"


@pytest.mark.parametrize("command", ["evaluate", "report", "chat", "data"])
def test_help_of_a_command(command, capsys):
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    assert done.value.code == 0
    assert f"usage: selfsame {command}" in capsys.readouterr().out


def test_a_terminal_that_knows_few_letters(monkeypatch, tmp_path):
    """Windows terminals often cannot show every letter."""
    row = {"persona": ["I like caf\u00e9s."], "turns": [[1, "\U0001f600?"], [2, "Caf\u00e9!"]]}
    (tmp_path / "a.jsonl").write_text(json.dumps(row), encoding="utf-8")
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", screen)
    assert main(["data", "show", "--data.path", str(tmp_path / "a.jsonl")]) == 0
    assert b"1: \\U0001f600?" in screen.buffer.getvalue()


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes",
            ("out of memory", "--training.STAGE.token-budget"),
        ),
        (
            "[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:50844. GLHF!",
            ("selfsame: another process of this run has ended; run the same command again to resume:",),
        ),
    ],
    ids=["out of memory", "a lost process"],
)
def test_what_pytorch_raises_is_one_line(selfsame, monkeypatch, raised, said):
    def fail(*_: Any) -> None:
        raise RuntimeError(raised)

    monkeypatch.setattr("selfsame.pipeline.run", fail)
    answer = selfsame("run")
    assert answer.code == 2 and all(words in answer.told for words in said)


def test_a_bug_keeps_its_traceback(selfsame, monkeypatch):
    def fail(*_: Any) -> None:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr("selfsame.pipeline.run", fail)
    with pytest.raises(RuntimeError, match="shapes"):
        selfsame("run")
