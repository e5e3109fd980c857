"""The command line on a tiny model, in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from selfsame.cli import main

_SMALL = """--model.dtype float32 --model.max-length 256 --model.lora.rank 4 --data.max-turns 6 --data.limit 40
    --training.sft.max-steps 2 --training.sft.batch-size 4 --training.reward.max-steps 2 --training.reward.batch-size 4
    --training.reward.normalise-samples 4 --training.dpo.max-steps 1 --training.dpo.batch-size 4
    --training.ppo.steps 1 --training.ppo.prompts-per-step 2 --training.ppo.max-new-tokens 6
    --pairs.count 10 --pairs.validation-count 10 --sampling.max-new-tokens 6 --evaluation.consistency-size 4
    --evaluation.engagement-size 4 --evaluation.perplexity-size 2 --evaluation.resamples 100
    --evaluation.selfplay-size 2 --evaluation.selfplay-turns 4 --evaluation.judge rules --evaluation.model selfsame-9m"""

ROWS = "".join(
    json.dumps(
        {
            "user1_persona": [f"I have {k} dogs."],
            "user2_persona": [f"I teach class {k}."],
            "turns": [[1, f"Hi, I have {k} dogs."], [2, f"Hello, I teach class {k}."]],
        }
    )
    + "\n"
    for k in range(12)
).encode()
"""Dialogues of 24 people, a line each."""


@dataclass(frozen=True)
class Outcome:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> str:
        """The one line that tells the user what was wrong; the rest of stderr may only be progress."""
        lines = [line for line in self.err.splitlines() if line.startswith("selfsame: ")]
        assert len(lines) == 1, self.err
        assert self.err.splitlines()[-1] == lines[0], self.err
        assert "Traceback" not in self.err
        return lines[0]


class Command:
    """Calls `selfsame`; `tiny` adds the options of a tiny run to a training command."""

    def __init__(self, capsys: pytest.CaptureFixture[str], model: Path) -> None:
        self.capsys, self.model = capsys, model

    def __call__(self, *arguments: object) -> Outcome:
        self.capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        said = self.capsys.readouterr()
        return Outcome(code, said.out, said.err)

    def tiny(self, command: str, directory: Path, *more: object) -> Outcome:
        return self(*tiny_run(command, self.model, directory), *more)


def tiny_run(command: str, model: Path, directory: Path) -> list[str]:
    """A training command on the bundled dialogues that takes seconds."""
    return [command, "--model.base", str(model), "--run.directory", str(directory), *_SMALL.split()]


def snapshot(folder: Path, leave_out: tuple[str, ...] = ()) -> dict[str, bytes]:
    """Every file of a folder with its content."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in leave_out)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def make(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path
