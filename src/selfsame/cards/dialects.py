"""The dialects in which a description is written: W++, PList, boostyle, `Key: value` lines, lists, Markdown -> items in order.

An item is a `Statement` (what, values) or a piece of prose, which may be several sentences.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from selfsame.cards.macros import collapsed

_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "＂": '"', "：": ":"})
_QUOTED = r'"[^"\n]*"'
_ARGUMENTS = re.compile(  # Likes("a" + "b"), Likes = "a", "b", without the key
    rf"\(\s*(?P<inside>{_QUOTED}(?:[\s+,&|/;]*{_QUOTED})*)\s*[,+]?\s*\)"
    rf"|[=:]\s*(?P<listed>{_QUOTED}(?:\s*[+,]\s*{_QUOTED})*)"
)
_KEY_BACKWARDS = re.compile(r"\s*([\w /&'’-]*)")
_LONGEST_KEY = 60
"""Characters before a call that are looked at: all of them at each call would take hours on a long text."""
_BLOCK = re.compile(r"\[([^\[\]]*)\]|\{([^{}]*)\}")
_PAIR = re.compile(r"\s*(?P<key>[^\W\d_][^:：=.!?。\"\n]{0,40}?)\s*[:：=]\s*(?P<value>\S.*)?", re.DOTALL)
_HEADER = re.compile(r"\s*#{1,6}\s*(?P<title>.*)")
_BULLET = re.compile(r"\s*(?:[-*•‣·+]|\d{1,2}[.)])\s+")
_MARKUP = (
    (re.compile(r"!\[[^\]]{0,300}\]\((?:data:[^()]*|[^)]{0,500})\)"), ""),  # pictures
    (re.compile(r"\[([^\[\]]+)\]\((?:https?:|/)[^)]{0,500}\)"), r"\1"),  # links
    (re.compile(r"</?(?:b|i|u|em|strong|span|font|small)\b[^<>\n]*>", re.IGNORECASE), ""),
    (re.compile(r"</?[A-Za-z][^<>\n]*>"), "\n"),  # other tags
    (re.compile(r"^[^\S\n]*(?:[-*_=~][^\S\n]*){3,}$|^[^\S\n]*```.*$", re.MULTILINE), ""),  # rules and fences
    (re.compile(r"\*{2,3}|__|`|~~"), ""),
    (re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]+)(?<=\S)\*(?![\w*])"), r"\1"),
    (re.compile(r"^[^\S\n]*>\s?", re.MULTILINE), ""),
)
_PARENTHESIS = re.compile(r"[()]")
_USER, _SLOT = "{{user}}", "\x00"
"""The slot that may stand in a text, and what stands for it here, where braces mean something."""
_LONGEST_VALUE = 5
"""Words of a value that is a word or a name; more are prose."""
_SUBJECT = re.compile(r"(?:he|she|they|i|you|it|we|the|when|if|his|her|their|my|your)\b|\x00", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Statement:
    """What is said of somebody under a heading: `Statement("Likes", ("rye bread", "music"))`."""

    key: str
    values: tuple[str, ...]


def items(text: str, name: str) -> Iterator[Statement | str]:
    """The statements and prose of a description, in order. The slot `{{user}}` may stand in it, and stays."""
    text = text.replace(_SLOT, "").replace(_USER, _SLOT)
    for pattern, instead in _MARKUP:
        text = pattern.sub(instead, text)
    text = collapsed(text)
    straight = text.translate(_QUOTES)
    is_wpp = len([*_calls(straight)]) > 1 or re.search(r"\w\s*\(\s*\"", straight)
    for item in _of_calls(straight, name) if is_wpp else _of_blocks(text, name):
        if isinstance(item, str):
            yield item.replace(_SLOT, _USER)
        else:
            yield Statement(item.key, tuple(value.replace(_SLOT, _USER) for value in item.values))


def _calls(text: str) -> Iterator[tuple[str, str, int, int]]:
    """(key, quoted values, start, end) of each call of W++: the key is the words before the brackets."""
    end = 0
    for found in _ARGUMENTS.finditer(text):
        before = _KEY_BACKWARDS.match(text[max(end, found.start() - _LONGEST_KEY) : found.start()][::-1])
        key = re.sub(r"^[\W\d_]+", "", before[1][::-1]) if before else ""
        if before and key:
            start = found.start() - before.end() + len(before[1]) - len(key)
            end = found.end()
            yield key, found["inside"] or found["listed"], start, end


def _of_calls(text: str, name: str) -> Iterator[Statement | str]:
    """W++ and its relatives; what stands between the calls is prose, or punctuation only."""
    end = 0
    for key, values, start, after in _calls(text):
        between = re.sub(r"[\[\]{}();,]", " ", text[end:start])
        if re.search(r"\w", between):
            yield from _of_lines(between, name)
        quoted = re.findall(r'"([^"\n]*)"', values)
        if len(quoted) == 1 and len(quoted[0].split()) > _LONGEST_VALUE:
            yield from _of_pair(key, quoted[0].strip(), name)
        else:
            yield from _statement(key, [value.strip(" .") for value in quoted], name)
        end = after
    rest = re.sub(r"[\[\]{}]", " ", text[end:])
    if re.search(r"\w", rest):
        yield from _of_lines(rest, name)


def _of_blocks(text: str, name: str) -> Iterator[Statement | str]:
    """PLists in brackets; anything else line by line."""
    end = 0
    for found in _BLOCK.finditer(text):
        inside = next(filter(None, found.groups()), "")
        parts = [part.strip() for part in re.split(r";|\n(?=[^:;\n]*[:=])", inside) if part.strip()]
        first = _PAIR.fullmatch(parts[0]) if parts else None
        if first is None or not _is_key(first["key"]):
            continue
        yield from _of_lines(text[end : found.start()], name)
        for part in parts:
            pair = _PAIR.fullmatch(part)
            key, value = (pair["key"], pair["value"] or "") if pair else (name, part)
            yield from _statement(key, _values(value), name)
        end = found.end()
    yield from _of_lines(text[end:], name)


def _of_lines(text: str, name: str) -> Iterator[Statement | str]:
    """`Key: value` lines, headings with lists below, prose."""
    heading, listed = "", []
    prose: list[str] = []
    for line in map(without_brackets, [*text.split("\n"), ""]):
        title = _HEADER.fullmatch(line)
        bullet = _BULLET.match(line)
        inner = line[bullet.end() :] if bullet else line.strip()
        pair = None if title else _PAIR.fullmatch(inner)
        if pair and not _is_key(pair["key"]):
            pair = None
        short = bullet and not pair and len(inner.split()) <= 2 * _LONGEST_VALUE and not _SUBJECT.match(inner)
        if heading and short and inner:
            listed.append(inner.strip(" ."))
            continue
        if heading and (listed or line.strip()):
            yield from _statement(heading, listed, name)
            heading, listed = "", []
        if (title or pair) and prose:
            yield "\n".join(prose)
            prose = []
        if title or (pair and not pair["value"]):
            heading = title["title"].rstrip().rstrip("#").rstrip().rstrip(":") if title else pair["key"] if pair else ""
        elif pair:
            yield from _of_pair(pair["key"], pair["value"], name)
        elif inner:
            prose.append(inner)
    if heading:
        yield from _statement(heading, listed, name)
    if prose:
        yield "\n".join(prose)


def _of_pair(key: str, value: str, name: str) -> Iterator[Statement | str]:
    """A line `key: value`: prose where the value speaks in sentences; a statement and prose where its first words are none."""
    words = value.split()
    named = value.startswith(tuple({name, name.split()[0]}))
    if (_SUBJECT.match(value) or named) and len(words) > 2:
        yield value
        return
    first, *rest = re.split(r"(?<=[.!?])\s+|(?<=[。！？])", value, maxsplit=1)
    yield from _statement(key, _values(first.rstrip(" .。")), name)
    if rest and rest[0].strip():
        yield rest[0]


def _statement(key: str, values: list[str], name: str) -> Iterator[Statement]:
    """Without the name in front of the key, and without empty values; nothing where the value is only the name again."""
    key = re.sub(rf"^\s*(?:{re.escape(name)}|{{{{char}}}})['’]s?\s+", "", key.strip(), flags=re.IGNORECASE)
    key = re.sub(r"\s*\([^()]*\)$", "", key).replace("_", " ").strip()
    values = [" ".join(value.split()) for value in values if re.search(r"\w", value)]
    is_name = [value.lower() == name.lower() for value in values] == [True]
    if values and not is_name:
        yield Statement(key, tuple(values))


def _values(text: str) -> list[str]:
    """The parts of a list, at semicolons, plus signs or commas outside parentheses; quotes go."""
    text = re.sub(r"[\"“”„«»]", "", text)
    for mark in (r";", r"\s\+\s", r"[,，、]"):
        parts = _split(text, rf"{mark}\s*")
        if len(parts) > 1:
            return [part.strip(" .+") for part in parts]
    return [text.strip(" .")]


def _split(text: str, mark: str) -> list[str]:
    """The parts between marks that stand outside parentheses: the next one behind the mark closes none."""
    parts, start, next_one = [], 0, -1
    for found in re.finditer(mark, text):
        if next_one < found.end():
            parenthesis = _PARENTHESIS.search(text, found.end())
            next_one = parenthesis.start() if parenthesis else len(text)
        if text[next_one : next_one + 1] != ")":
            parts.append(text[start : found.start()])
            start = found.end()
    return [*parts, text[start:]]


def _is_key(key: str) -> bool:
    return len(key.split()) <= 4 and not re.search(r"https?$|\b(?:is|was|has|says?|said)\b", key, re.IGNORECASE)


def without_brackets(line: str) -> str:
    """The line without brackets around all of it, or that open or close something elsewhere."""
    line = line.strip()
    start, end = 0, len(line)
    for opening, closing in ("[]", "{}", "()"):
        opened, closed = line.count(opening, start, end), line.count(closing, start, end)
        while start < end and line[start] == opening and (line[end - 1] == closing or opened > closed):
            if line[end - 1] == closing:
                end, closed = end - 1, closed - 1
            start, opened = start + 1, opened - 1
            start, end = _stripped(line, start, end)
        while start < end and line[end - 1] == closing and closed > opened:
            start, end = _stripped(line, start, end - 1)
            closed -= 1
    return line[start:end]


def _stripped(line: str, start: int, end: int) -> tuple[int, int]:
    while start < end and line[start].isspace():
        start += 1
    while start < end and line[end - 1].isspace():
        end -= 1
    return start, end
