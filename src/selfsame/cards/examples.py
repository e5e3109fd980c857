"""Example dialogues of a card: text with a speaker before each turn -> turns of the character and of one partner.

A second name is the partner. Where a third one speaks, or a narrator, the dialogue is set aside: no line of another name
becomes the character's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from selfsame.cards.macros import fill_in
from selfsame.types import Turn

_START = re.compile(r"<START>|^[^\S\n]*(?:START|#{3,}|\*{3,}|-{3,})[^\S\n]*$", re.IGNORECASE | re.MULTILINE)
_IN_DESCRIPTION = re.compile(r"<START>|^[^\S\n]*(?:\{\{user\}\}|<user>)\s*[:：]", re.IGNORECASE | re.MULTILINE)
_WORD = r"[^\W_][\w.'’&-]*"
_NAME = (
    rf"\{{\{{[^{{}}\n]{{1,40}}\}}\}}|<\w{{1,20}}>|[^\Wa-zß-öø-ÿ\d_][\w.'’&-]*(?:[^\S\n]{_WORD}){{0,4}}"
    rf"|{_WORD}(?:[^\S\n]{_WORD}){{0,2}}"
)
"""A slot, up to five words that begin with a capital (or have none in their script), or up to three of any case."""
_PARTNERS = frozenset({"{{user}}", "<user>", "you", "user", "anon"})
_CHARACTERS = ("{{char}}", "<bot>", "<char>")
_NOBODY = frozenset({"narrator", "narration", "system", "note", "ooc"})
"""What stands like a name before lines that nobody says."""


def without_examples(description: str) -> tuple[str, str]:
    """(description, example dialogues that stand in it): from `<START>`, or from a line `{{user}}: ...` on."""
    found = _IN_DESCRIPTION.search(description)
    return (description, "") if found is None else (description[: found.start()], description[found.start() :])


def read_examples(text: str, name: str, language: str) -> tuple[tuple[tuple[Turn, ...], ...], int]:
    """The dialogues between `<START>` marks in which the character speaks, and how many are set aside since more than two
    speak there; what stands before the first speaker is no turn."""
    found, set_aside = [], 0
    names = {own.lower(): 2 for own in (name, name.split()[0], *_CHARACTERS)}
    tag = _tag(name)
    for block in _START.split(text):
        marks = [*tag.finditer(block)]
        speakers = _speakers([" ".join(mark["name"].lower().split()) for mark in marks], names)
        if speakers is None:
            set_aside += 1
            continue
        ends = [*(mark.start() for mark in marks[1:]), len(block)]
        said = [fill_in(block[m.end() : end], name, language).strip() for m, end in zip(marks, ends, strict=False)]
        turns = tuple(Turn(speaker, words) for speaker, words in zip(speakers, said, strict=False) if words)
        if any(turn.speaker == 2 for turn in turns):
            found.append(turns)
    return tuple(found), set_aside


def _speakers(tags: list[str], names: Mapping[str, int]) -> list[int] | None:
    """The speaker of each turn; None where the character talks to more than one, or to a narrator."""
    others = {"user" if tag in _PARTNERS else tag for tag in tags if tag not in names}
    if any(tag in names for tag in tags) and (len(others) > 1 or others & _NOBODY):
        return None
    return [names.get(tag, 1) for tag in tags]


def _tag(name: str) -> re.Pattern[str]:
    """A speaker's name at the beginning of a line, in whatever marks: `Ida:`, `**Ida:** `, `{{user}}：`."""
    own = "|".join(re.escape(part) for part in {name, name.split()[0]})
    return re.compile(
        rf"^[^\S\n]*[*_\[(\x22“]{{0,3}}(?P<name>(?i:{own})(?!\w)|{_NAME})[*_\])\x22”]{{0,3}}[^\S\n]*[:：](?!//)[*_]{{0,2}}[^\S\n]?",
        re.MULTILINE,
    )
