"""Files for the tests of reading, and what becomes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from selfsame.data.loader import DatasetLoader
from selfsame.data.settings import DataSettings
from selfsame.types import Dialogue, RejectedRow


def write(folder: Path, name: str, content: str | bytes | list[Any] | dict[str, Any]) -> Path:
    """A file of a text, of bytes, or of an object as JSON over several lines."""
    text = content if isinstance(content, (str, bytes)) else json.dumps(content, ensure_ascii=False, indent=1)
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def jsonl(*rows: Any) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read(path: Path, **settings: Any) -> tuple[list[Dialogue], list[RejectedRow], list[str]]:
    """(dialogues, rejected rows, notes) of a file."""
    sources = DatasetLoader(DataSettings(path=str(path), **settings)).sources()
    return (
        [dialogue for source in sources for dialogue in source.dialogues],
        [row for source in sources for row in source.rejected],
        [note for source in sources for note in source.notes],
    )


def spoken(dialogue: Dialogue) -> list[tuple[int, str]]:
    """(speaker, text) of each turn."""
    return [(turn.speaker, turn.text) for turn in dialogue.turns]
