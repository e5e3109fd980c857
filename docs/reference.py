"""Writes `docs/api.md`, the reference of the public names, from their docstrings: `python docs/reference.py`."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import selfsame
from selfsame import show

OUT = Path(__file__).with_name("api.md")
HEAD = """# Reference

The public names, from their docstrings, by `python docs/reference.py`. Import them from `selfsame`; `selfsame run --help`
lists the settings and their defaults. What notebooks show is in `selfsame.show`.
"""


def reference() -> str:
    """The page."""
    rooms: dict[str, list[str]] = {}
    for name, room in selfsame._ROOM_OF.items():
        rooms.setdefault(room.split(".")[0], []).append(name)
    parts = [HEAD]
    for room, names in rooms.items():
        parts.append(f"## {room}\n")
        parts += [entry(name, getattr(selfsame, name)) for name in names]
    parts.append("## show\n")
    shown = [
        f
        for _, f in inspect.getmembers(show, inspect.isfunction)
        if f.__module__ == show.__name__ and f.__name__[0] != "_"
    ]
    parts += [entry(f"show.{f.__name__}", f) for f in sorted(shown, key=lambda f: f.__code__.co_firstlineno)]
    return "\n".join(parts)


def entry(name: str, thing: object) -> str:
    """Signature, docstring, and the same of the public methods."""
    lines = [f"### `{name}{_signature(thing)}`\n", _doc(thing), ""]
    if inspect.isclass(thing) and not issubclass(thing, Exception):
        for method, function in vars(thing).items():
            function = function.__func__ if isinstance(function, (classmethod, staticmethod)) else function
            if method[0] != "_" and inspect.isfunction(function) and inspect.getdoc(function):
                first = inspect.getdoc(function).split("\n\n")[0].replace("\n", " ")
                lines.append(f"- `{method}{_signature(function)}`: {first}")
        lines.append("")
    return "\n".join(lines)


def _signature(thing: object) -> str:
    if inspect.isclass(thing) and (issubclass(thing, Exception) or hasattr(thing, "model_fields")):
        return ""
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return ""
    shown = [
        p.name if p.default is p.empty else f"{p.name}={_default(p.default)}" for p in parameters if p.name != "self"
    ]
    return f"({', '.join(shown)})"


def _default(value: object) -> str:
    return repr(value) if isinstance(value, (str, int, float, bool, tuple, type(None))) else "..."


def _doc(thing: object) -> str:
    """The first paragraph as it is, the others as plain text."""
    first, _, more = (inspect.getdoc(thing) or "").partition("\n\n")
    return f"{first}\n\n```text\n{more}\n```" if more else first


if __name__ == "__main__":
    OUT.write_text(reference(), encoding="utf-8")
    sys.stdout.write(f"{OUT}\n")
