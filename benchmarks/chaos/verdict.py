"""What is left of a run: is every file whole, is the result the same?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import yaml

from selfsame.errors import SelfsameError
from selfsame.run.checkpoint import CheckpointManager, finished
from selfsame.run.directory import RunDirectory
from selfsame.run.files import read_jsonl

from .recipe import STAGES

LOGS = ("metrics.jsonl", "samples.jsonl")
COMPARED = ("data.json", "reward.json", "comparisons.json", "dialogues.json")


def half_written(directory: Path) -> str:
    """The first file under its final name that is not whole; "": all are."""
    for path in sorted(directory.rglob("*")):
        inside = path.relative_to(directory)
        if not path.is_file() or any(part.startswith(".") for part in inside.parts) or "checkpoints" in inside.parts:
            continue
        check = _WHOLE.get(path.suffix)
        try:
            if check and not check(path):
                return str(inside)
        except (ValueError, yaml.YAMLError):
            return str(inside)
    for folder in sorted(directory.glob("checkpoints/*/step-*")):
        try:
            CheckpointManager(folder.parent).load(folder)
        except SelfsameError:
            return str(folder.relative_to(directory))
    return ""


def _lines_whole(path: Path) -> bool:
    """A crash may leave half a line at the end, which readers pass over."""
    lines = path.read_bytes().split(b"\n")
    return all(json.loads(line) is not None for line in lines[:-1] if line.strip())


_WHOLE: dict[str, Callable[[Path], bool]] = {
    ".json": lambda path: json.loads(path.read_bytes()) is not None,
    ".yaml": lambda path: isinstance(yaml.safe_load(path.read_bytes()), dict),
    ".html": lambda path: path.read_bytes().rstrip().endswith(b"</html>"),
    ".jsonl": _lines_whole,
}


def results(directory: Path) -> dict[str, object]:
    """All that a run ends with, but for times: last checkpoints, evaluations, records, curves, names of files."""
    run, found = RunDirectory.open(directory), {}
    for stage in STAGES:
        last = finished(run, stage)
        for file in sorted(last.rglob("*") if last else ()):
            if file.is_file():
                found[f"{stage}/{file.relative_to(last)}"] = file.read_bytes()
    for file in (*sorted((directory / "eval").glob("*")), *(directory / name for name in COMPARED)):
        found[file.name] = _content(file) if file.exists() else None
    for name in LOGS:
        rows, damaged = read_jsonl(directory / name)
        rows.sort(key=lambda row: (str(row.get("stage")), str(row.get("step"))))  # a stage may have been taken up again
        found[name] = (damaged, [{key: value for key, value in row.items() if key != "time"} for row in rows])
    found["names"] = sorted(path.name for path in directory.iterdir() if path.name not in LOGS)
    found["left behind"] = sorted(path.name for path in directory.rglob(".*") if path.name != ".lock")
    return found


def _content(file: Path) -> object:
    content = json.loads(file.read_bytes())
    if isinstance(content, dict):
        content.popitem()  # its seal: one changed bit in that name makes a key that nobody reads
    return content


def difference(expected: dict[str, object], directory: Path, but: str = "") -> str:
    """The names of what is not as expected; "": nothing. `but`: a name that may differ."""
    try:
        found = results(directory)
    except SelfsameError as error:
        return str(error)
    return ", ".join(n for n in {**expected, **found} if n != but and expected.get(n) != found.get(n))
