"""The forms and commands of docs/guides/own-data.md, tried one by one."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from reading_files import read, write
from selfsame.cli import main
from selfsame.data.loader import DatasetLoader

GUIDE = (Path(__file__).resolve().parents[1] / "docs/guides/own-data.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([^|]+) \| `(\{.*\})` \|$", GUIDE, re.MULTILINE)
COMMANDS = [line for block in re.findall(r"```\n(.*?)```", GUIDE, re.DOTALL) for line in block.splitlines()]
FILES = {
    "chats.jsonl": "\n".join(
        json.dumps({"conversations": [
            {"from": "system", "value": f"I own {k} boats."}, {"from": "human", "value": f"How many are {k}?"},
            {"from": "gpt", "value": f"I own {k} boats."}, {"from": "human", "value": f"{k} what?"},
            {"from": "gpt", "value": f"{k} of wood."}, {"from": "human", "value": f"Why {k}?"},
            {"from": "gpt", "value": f"{k} is enough."},
        ]}) for k in range(60)
    ),
    "log.jsonl": '{"log": [{"nick": "user", "said": "Hi!"}, {"nick": "bot", "said": "Yo."}], "about": "I sing."}',
    "chat.txt": "[03.02.24, 18:01:10] Bo: hi\n[03.02.24, 18:01:12] Ana P.: hello\n",
    "Pavel - 2024.jsonl": '{"name": "Ida", "is_user": true, "mes": "Hi"}\n{"name": "Pavel", "is_user": false, "mes": "Yo"}',
    "pavel.json": '{"name": "Pavel", "description": "I bake."}',
}  # fmt: skip


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_forms_of_the_guide_are_read(tmp_path: Path, name: str, row: str) -> None:
    (dialogue,), rejected, _ = read(write(tmp_path, "a.jsonl", row))
    assert rejected == [] and len(dialogue.turns) == 2
    assert [turn.speaker for turn in dialogue.turns] == [1, 2] and dialogue.personas[1]


def test_the_guide_shows_forms_and_commands() -> None:
    assert len(ROWS) == 7 and sum("selfsame data" in line for line in COMMANDS) == 4


@pytest.mark.parametrize("line", [line.removeprefix("$ ") for line in COMMANDS if "selfsame data" in line])
def test_commands_of_the_guide_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        write(tmp_path, name, content)
    assert main(shlex.split(line)[1:]) == 0
    said = capsys.readouterr().out
    shown = [row for row in COMMANDS if row.startswith(("train: ", "validation: ", "rejected", "chats.jsonl: "))]
    if "chats.jsonl" in line:
        assert said.startswith("\n".join(shown))


def test_the_lines_of_python_work() -> None:
    (code,) = (block for block in re.findall(r"```\n(.*?)```", GUIDE, re.DOTALL) if "import" in block)
    names: dict[str, object] = {}
    exec(code, names)
    assert names["DatasetLoader"] is DatasetLoader and len(names["data"].train) == 1  # type: ignore[attr-defined]
