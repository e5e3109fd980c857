"""Files of a run that are cut, changed by a bit or missing when it is started again."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from .recipe import STAGES, Recipe, Writes
from .trials import Trial, Wrong
from .verdict import LOGS

HARMS = ("cut", "bit flipped", "missing")
STATES = ("stopped in ppo", "finished")
IN_THE_MIDDLE = "ppo/.tmp-step-000003"
"""Before what is written there, the run of which files are damaged was killed."""
REWRITTEN = ("report.html", "rejects.jsonl", "cost.json", "timing.json", ".lock")
"""Made again by every run, or by no result."""


OF_ANY_ROLE = ("adapter_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
"""Files that are the same in the folder of every role."""


def stop_in_the_middle(recipe: Recipe, directory: Path) -> None:
    """A run that is killed when SFT and the reward model are finished and PPO has two checkpoints."""
    ended = recipe.run(recipe.command(directory), Writes(directory, 1, IN_THE_MIDDLE))
    if ended.code != -signal.SIGKILL:
        raise SystemExit(f"the run to be damaged was not killed: {ended}")


def kinds(directory: Path) -> Iterator[tuple[str, list[str]]]:
    """(kind of file, those of this kind): of the newest checkpoints of the stages; records."""
    found: dict[str, list[str]] = {}
    for stage in STAGES:
        newest = max(directory.glob(f"checkpoints/{stage}/step-*"), default=None)
        for path in sorted(newest.rglob("*") if newest else ()):
            if path.is_file():
                kind = path.name if path.name in OF_ANY_ROLE else f"{stage}: {path.name}"
                found.setdefault(kind, []).append(str(path.relative_to(directory)))
    yield from found.items()
    for path in sorted([*directory.glob("*"), *directory.glob("eval/*")]):
        if path.is_file():
            name = str(path.relative_to(directory))
            yield name, [name]


def harm(file: Path, how: str, trial: Trial) -> None:
    """Damages a file at a random place."""
    content = bytearray(file.read_bytes())
    if how == "missing" or not content:
        file.unlink()
    elif how == "cut":
        file.write_bytes(content[: trial.draw.randrange(len(content))])
    else:
        bit = trial.draw.randrange(8 * len(content))
        content[bit // 8] ^= 1 << bit % 8
        trial.at += f", bit {bit}"
        file.write_bytes(content)


def damaged(trial: Trial, before: Path, names: list[str], how: str) -> str:
    """A copy of the run `before` with one of these files damaged: it ends the same, or in one line that names the file, and the
    same after the remedy that the line gives."""
    shutil.copytree(before, trial.directory)
    name = trial.draw.choice(names)
    file = trial.directory / name
    trial.at = f"{name}, {how}"
    harm(file, how, trial)
    but = name if name in LOGS else ""
    ended = trial.recipe.run(trial.command)
    if ended.code == 0:
        return trial.same(ended, but)
    trial.line(ended)
    if not any(part in ended.line for part in (str(file), str(file.parent))):
        raise Wrong(f"the line does not name {name}: {ended.line}")
    return (
        f"one line, then {trial.same(_remedied(trial, file, ended.line), but)}"
        if "delete" in ended.line
        else "one line"
    )


def _remedied(trial: Trial, file: Path, line: str):
    """The run again, after what the line says was done."""
    found = re.search(r"delete the folder (\S+),", line)
    if found:
        shutil.rmtree(found[1])
    else:
        file.unlink()
    return trial.recipe.run(trial.command)
