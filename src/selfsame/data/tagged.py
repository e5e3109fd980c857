"""Turns from text whose lines begin with a speaker: `User 1: ...`, `**Marta**: ...`, `\\n\\nHuman: ...`.

A line that begins with an unknown name never joins another's turn: the name speaks, or the dialogue is set aside.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from selfsame.data.names import name_key, speaks_for

LONGEST_NAME = 40
MOST_WORDS = 4
_MARKS = " \t\r*_#>"
_NO = r"\s\"“”„«»{}\[\]<>=|\\/;,?!$%+()"
_NAME = re.compile(
    rf"\{{\{{\w+\}}\}}|<[\w ]+>|\[[\w ]{{1,30}}\]|[^{_NO}]+(?: [^{_NO}]+)*(?: \([^()]*\))?(?:, (?:[A-Z.]{{2,5}}|[JS]r\.?))?"
)
"""What looks like a name: words of any signs but those of sentences and of code; "Kit (aside)", "Dr. O'Neil, MD"."""
_MEASURE = re.compile(r"\d+(?:[.'’]\d+)?(?:[^\W\d_]{1,2})?")
"""7pm, 3rd, 10: no name alone. One of three digits and more is (007)."""
_NUMBER = re.compile(r"\d{1,2}")
_SMILEY = re.compile(r"[-'’]?(?:[)(\[\]]|[DPpOo3*/\\|](?=\s|$))")
_LABEL_WORDS = """
note notes ps edit update warning tip tips hint example examples eg ie http https ftp mailto re fwd todo tldr funfact fact
spoiler spoileralert ingredients steps instructions directions pros cons summary time date subject title reminder disclaimer
important result source link url anmerkung hinweis achtung beispiel zutaten nachtrag step
"""
_LABELS = frozenset(_LABEL_WORDS.split())
"""Words that stand before a colon in ordinary text, also with a number."""
SMALL_WORDS = frozenset(
    ("of", "the", "and", "von", "van", "de", "der", "den", "di", "du", "la", "le", "da", "dos", "bin", "zu", "ter", "y")
)

Tag = tuple[str, str]
"""Name and text."""


def _prefix_of(line: str) -> Tag | None:
    """(name, text) of a line with a colon after 40 characters at most; None where it ends a label, or is of a clock, an
    address or a smiley."""
    body = line.strip()
    bare = body.lstrip(_MARKS)
    head = bare[: LONGEST_NAME + 10]
    at = min((k for sign in ":：" if (k := head.find(sign)) > 0), default=0)
    who, after = head[:at].rstrip(_MARKS), bare[at + 1 :]
    if not who or len(who) > LONGEST_NAME or after.startswith("//") or not any(map(str.isprintable, who)):
        return None
    if _SMILEY.match(after) and (after[:1] in "()[]-'’" or head[at - 1] == " "):
        return None
    if after[:1].isdigit() and who[-1].isdigit() and (not speaks_for(who) or _NUMBER.fullmatch(who)):
        return None  # 2:30
    if name_key(who).rstrip("0123456789") in _LABELS:
        return None
    mark = body[: len(body) - len(bare)]
    # "*Anna: hi*" is set in asterisks as a whole, "**Anna:** *smiles*" is not.
    whole = mark.strip() and "**" not in mark
    text = after.lstrip("*_")
    return who.strip("[]") if _NAME.fullmatch(who) else who, text.strip(" *_") if whole else text


def tag_of(line: str) -> Tag | None:
    """(name, text) of a line that begins with what looks like a speaker's name; None for any other line."""
    tag = _prefix_of(line)
    return tag if tag and _is_namelike(tag[0]) else None


def _is_namelike(who: str) -> bool:
    """One word, or a few that are not written small: "I have one rule: never" begins with no name."""
    if not _NAME.fullmatch(who):
        return False
    if speaks_for(who) or re.fullmatch(r"\d{3,}", who):
        return True
    if _MEASURE.fullmatch(who):
        return False
    words = re.sub(r" \([^()]*\)", "", who).split()
    large = [word for word in words if word not in SMALL_WORDS]
    return len(words) == 1 or (
        len(words) <= MOST_WORDS + 2 and len(large) > 0 and not any(w[0].islower() for w in large)
    )


def tags_of(lines: Sequence[str], known: frozenset[str] = frozenset()) -> list[Tag | None]:
    """The tag of each line, None where it has none.

    A prefix that looks like no name ("old man") is one where it comes back, or is `known`. Numbers are names in a text
    that begins with one: elsewhere they count a list.
    """
    tags = [_prefix_of(line) for line in lines]
    counts = Counter(name_key(tag[0]) for tag in tags if tag)
    numbered = bool(tags and tags[0] and _NUMBER.fullmatch(tags[0][0]))
    named = False
    for k, tag in enumerate(tags):
        if tag is None:
            continue
        key, number, namelike = name_key(tag[0]), bool(_NUMBER.fullmatch(tag[0])), _is_namelike(tag[0])
        odd = not namelike and (re.search(r'["“”„«»{}=]', tag[0]) or not (counts[key] > 1 or key in known))
        if (number and not numbered) or (odd and not number):
            tags[k] = None
        else:
            named |= namelike or k == 0
    return tags if named else [None] * len(tags)


def file_names(lines: Sequence[str]) -> frozenset[str]:
    """Keys of the names that come back in the lines of a file: of a few words, or such as look like names."""
    tags = [tag for tag in map(_prefix_of, lines) if tag and not _NUMBER.fullmatch(tag[0])]
    counts = Counter(name_key(who) for who, _ in tags if len(who.split()) <= MOST_WORDS or _is_namelike(who))
    return frozenset(key for key, count in counts.items() if count > 1)


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
    tags = tags_of([line for _, line in lines], known)
    if known_only:
        tags = [tag if tag and speaks_for(tag[0]) else None for tag in tags]
    speaking = _speaking(tags) | known
    turns: list[tuple[int, str, str]] = []
    for (n, line), tag in zip(lines, tags, strict=True):
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


def _speaking(tags: Sequence[Tag | None]) -> set[str]:
    """Keys of the names that speak: known ones, those of several lines, that of the first line, and, where only one
    speaks by that, the only other."""
    counts = Counter(name_key(tag[0]) for tag in tags if tag)
    speaking = {name_key(tag[0]) for tag in tags if tag and speaks_for(tag[0])}
    speaking |= {key for key, count in counts.items() if count > 1}
    speaking |= {name_key(tags[0][0])} if tags and tags[0] else set()
    others = set(counts) - speaking
    return speaking | others if len(speaking) == len(others) == 1 else speaking


def alternating_turns(text: str) -> list[str] | None:
    """Lines of a text in which nobody is named, each the turn of the other; None if there are names or less than two lines."""
    lines = [line.strip() for line in text.split("\n") if line.strip(" \t\r*_-=")]
    return lines if len(lines) >= 2 and not any(tags_of(lines)) else None
