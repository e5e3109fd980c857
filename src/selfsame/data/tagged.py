"""Turns from text whose lines begin with a speaker: `User 1: ...`, `**Marta**: ...`, `\\n\\nHuman: ...`.

A line that begins with an unknown name never joins another's turn: the name speaks, or the dialogue is set aside.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from selfsame.data.names import name_key, role_of

_NAME = r"[^\W\d_](?:[\w .'’&-]{0,38}[\w.)])?|\{\{\w+\}\}|<\w+>|\[[\w ]{1,30}\]|[12]"
_TAG = re.compile(rf"(?P<mark>[\s*_#>]*)(?P<who>{_NAME})\s*[*_]*\s*[:：](?!//)[*_]*(?P<text>.*)", re.DOTALL)
_LABEL_WORDS = """
note notes ps edit update warning tip tips hint example examples eg ie http https ftp mailto re fwd todo tldr funfact fact
spoiler spoileralert ingredients steps instructions directions pros cons summary time date subject title reminder disclaimer
important result source link url anmerkung hinweis achtung beispiel zutaten nachtrag
"""
_LABELS = frozenset(_LABEL_WORDS.split())
"""Words that stand before a colon in ordinary text."""
MOST_WORDS = 4


def tag_of(line: str) -> tuple[str, str] | None:
    """(name, text) of a line that begins with what may be a speaker's name; None for any other line."""
    match = _TAG.fullmatch(line.strip())
    if not match:
        return None
    who, words = match["who"].strip(), match["who"].split()
    if name_key(who) in _LABELS or (not role_of(who) and not _is_namelike(words)):
        return None
    # "*Anna: hi*" is set in asterisks as a whole, "**Anna:** *smiles*" is not.
    whole = match["mark"].strip() and "**" not in match["mark"]
    text = match["text"].strip(" *_") if whole else match["text"]
    return who.strip("[]"), text


def _is_namelike(words: Sequence[str]) -> bool:
    """One word, or a few that are not written small: "I have one rule: never" begins with no name."""
    return len(words) == 1 or (len(words) <= MOST_WORDS and not any(word[0].islower() for word in words))


def tagged_turns(
    text: str, known_only: bool = False, known: frozenset[str] = frozenset(), first: int = 1
) -> list[tuple[int, str, str]]:
    """(line, speaker, text) of each turn; lines without a name belong to the turn before, rulers ("* * *") to none.

    Args:
        text: lines.
        known_only: only names such as User 1, User and Bot speak.
        known: keys of names that speak elsewhere in the file.
        first: number of the first line.

    Raises:
        ValueError: the text does not begin with a speaker, or a line may be a stranger's.
    """
    lines = [(n, line) for n, line in enumerate(text.split("\n"), start=first) if line.strip(" \t\r*_-=")]
    tags = {n: tag for n, line in lines if (tag := tag_of(line)) and (not known_only or role_of(tag[0]))}
    speaking = _speaking(lines, tags) | known
    turns: list[tuple[int, str, str]] = []
    for n, line in lines:
        tag = tags.get(n)
        if tag and name_key(tag[0]) in speaking:
            turns.append((n, *tag))
        elif not turns:
            raise ValueError(f"the conversation does not start with a speaker (User 1: or User:) but with {line:.60}")
        elif tag:
            raise ValueError(
                f"line {n} of the conversation may be another speaker's, {tag[0]!r}, or a part of the turn before:"
                f" {line.strip():.60}; join it to the line above if it is a part of it"
            )
        else:
            turns[-1] = (*turns[-1][:2], f"{turns[-1][2].rstrip()}\n{line.strip()}")
    return turns


def _speaking(lines: Sequence[tuple[int, str]], tags: dict[int, tuple[str, str]]) -> set[str]:
    """Keys of the names that speak: known ones, those of several lines, that of the first line, and, where only one
    speaks by that, the only other."""
    counts = Counter(name_key(name) for name, _ in tags.values())
    speaking = {name_key(name) for name, _ in tags.values() if role_of(name)}
    speaking |= {key for key, count in counts.items() if count > 1}
    first = tags.get(lines[0][0]) if lines else None
    speaking |= {name_key(first[0])} if first else set()
    others = set(counts) - speaking
    return speaking | others if len(speaking) == len(others) == 1 else speaking


def alternating_turns(text: str) -> list[str] | None:
    """Lines of a text in which nobody is named, each the turn of the other; None if there are names or less than two lines."""
    lines = [line.strip() for line in text.split("\n") if line.strip(" \t\r*_-=")]
    return lines if len(lines) >= 2 and not any(map(tag_of, lines)) else None
