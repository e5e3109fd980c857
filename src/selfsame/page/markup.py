"""Content -> HTML of the page. Every text is escaped: what people, cards and models write stays text."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

import selfsame.report
from selfsame.report.formats import dollars, duration, number, size

_HERE = Path(__file__).parent
_REPORT = Path(selfsame.report.__file__).parent
_AS_TEXT = str.maketrans({"{": "&#123;", "}": "&#125;", "$": "&#36;", "`": "&#96;"})
"""gradio takes an HTML value for a template of its own; these letters would be read as code in it."""


def markup(template: str, **content: Any) -> str:
    """HTML from one of the templates of this folder, which may use those of the report."""
    return _templates().get_template(template).render(**content).translate(_AS_TEXT)


def note(text: str, kind: str = "bad") -> str:
    """A line that says what happened; `bad`: what went wrong."""
    return markup("note.html.j2", text=text, kind=kind if text else "")


@lru_cache(maxsize=1)
def _templates() -> Environment:
    found = Environment(loader=FileSystemLoader([_HERE, _REPORT]), autoescape=True, trim_blocks=True)
    found.filters |= {write.__name__: write for write in (duration, size, dollars, number)}
    return found


def style() -> str:
    """The page's CSS: the colours of the report, for the dark page too, and its rules for what is of the class `selfsame`."""
    report = (_REPORT / "style.css").read_text(encoding="utf-8")
    light, _, rest = report.partition("@media (prefers-color-scheme: dark) {")
    dark, _, rules = rest.partition("\n}\n")
    dark = dark.replace(":root", ".dark")
    return f"{light}\n{dark}\n.selfsame {{\n{rules}\n}}\n{(_HERE / 'page.css').read_text(encoding='utf-8')}"


def head() -> str:
    """What stands in the page's head."""
    keys = (_HERE / "keys.js").read_text(encoding="utf-8")
    return f"<style>{style()}</style>\n<script>{keys}</script>"
