"""Text that is neither JSON nor a table -> records with their lines.

WhatsApp exports (iOS and Android, any date order), lines `Name: text`, PersonaChat / ConvAI2 (numbered lines), ParlAI
(`text:...<TAB>labels:...`), DailyDialog (`__eou__`).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from selfsame.data.containers import Row
from selfsame.data.tagged import LONGEST_NAME, SMALL_WORDS, file_names, tag_of, tagged_turns, tags_of

_DATE = r"(\d{1,4})\s?[./\-年]\s?(\d{1,2})\s?[./\-月]\s?(\d{1,4})日?\.?"
_TIME = r"(?:([^\W\d]{2,3})\s?)?(\d{1,2})[:.h](\d{2})(?:[:.](\d{2}))?(?:\s?([^\W\d]\.?\s?[^\W\d]{1,3}\.?))?"
_STAMP = re.compile(rf"[\u200e\u200f]*(?:\[{_DATE},?\s+{_TIME}\]\s?|{_DATE},?\s+{_TIME}\s[-–]\s)(.*)", re.DOTALL)
_PERSONACHAT = re.compile(r"\d+ (?:(your|partner's) persona:(.*)|([^\t]*)\t([^\t]*)(?:\t.*)?)\r?")
_NO_MESSAGE = re.compile(
    r"<[^\W\d_][^<>]{0,59}>|.{0,80}\((?:file attached|Datei angehängt)\)"
    r"|(?:image|video|audio|sticker|gif|document|contact card|media|photo|video note|voice message) omitted"
    r"|(?:Bild|Video|Audio|Sticker|GIF|Dokument|Kontaktkarte|Medien|Foto|Videonachricht|Sprachnachricht)"
    r" (?:weggelassen|ausgeschlossen)"
    r"|this message was deleted\.?|you deleted this message\.?"
    r"|(?:diese nachricht wurde|du hast diese nachricht) gelöscht\.?|missed (?:voice|video) call.{0,40}",
    re.IGNORECASE,
)
_HALF = {
    "am": 0,
    "上午": 0,
    "午前": 0,
    "오전": 0,
    "öö": 0,
    "pm": 12,
    "下午": 12,
    "午後": 12,
    "오후": 12,
    "ös": 12,
    "μμ": 12,
}
"""Hours to add to a time of the twelve-hour clock."""
_EDITED = re.compile(r"\u200e?<(?:this message was edited|diese nachricht wurde bearbeitet)>$", re.IGNORECASE)


def read_transcript(text: str) -> list[Row] | None:
    """The records of a text in one of these forms; None if it has none of them."""
    lines = text.split("\n")
    first = next((line for line in lines if line.strip()), "")
    shown = [line for line in lines[:2000] if line.strip()]
    readers: list[tuple[bool, Callable[[list[str]], Iterable[Row]]]] = [
        (bool(_STAMP.match(first)) or sum(map(bool, map(_STAMP.match, shown[:20]))) >= 3, _read_whatsapp),
        (
            (bool(re.match(r"\d+ ", first)) and "\t" in text) or bool(re.match(r"\d+ (?:your|partner's) ", first)),
            read_numbered,
        ),
        (bool(re.match(r"text:.*\tlabels:", first)), _read_parlai),
        ("__eou__" in first, _read_eou),
        (_is_tagged(shown), _read_tagged),
    ]
    return next((list(read(lines)) for fits, read in readers if fits), None)


# --- chats


def _read_whatsapp(lines: Sequence[str]) -> Iterator[Row]:
    """The whole chat as one record; a line without a stamp belongs to the message before it."""
    messages: list[dict[str, Any]] = []
    stamps: list[tuple[str, ...]] = []
    dropped = 0
    open_message = False
    for number, line in enumerate(lines, start=1):
        match = _STAMP.match(line.rstrip("\r"))
        if not match:
            if open_message and line.strip():
                messages[-1]["text"] += "\n" + line.strip()
            continue
        groups = match.groups()
        name, colon, said = groups[-1].partition(": ")
        name = name.strip("\u200e\u200f\u202a\u202c\u2068\u2069~ \u202f\xa0")
        open_message = bool(colon) and 0 < len(name) <= LONGEST_NAME and not re.search('["“”„«»]', name)
        said = _EDITED.sub("", said.rstrip()).rstrip()
        # WhatsApp begins what it says itself ("image omitted", in any language) with this mark.
        if not open_message or said.startswith("\u200e") or _NO_MESSAGE.fullmatch(said.strip()):
            dropped += 1
            open_message = False
            continue
        stamps.append(tuple(group or "" for group in (groups[:8] if groups[0] else groups[8:16])))
        messages.append({"name": name, "text": said.replace("\u200e", ""), "line": number})
    for message, time in zip(messages, _times(stamps), strict=True):
        message["timestamp"] = time
    names = {message["name"] for message in messages}
    # "Mia created the group: x" begins with somebody's name; so does "Anna Maria Lopez".
    system = {n for n in names if any(n.startswith(f"{o} ") and _says(n.removeprefix(o)) for o in names - {n})}
    dropped += sum(message["name"] in system for message in messages)
    messages = [message for message in messages if message["name"] not in system]
    yield 1, {"messages": messages, "left_out": {"system lines and media": dropped}, "form": "a WhatsApp chat"}


def _says(words: str) -> bool:
    """Whether words after a name are of a sentence: at least two, one of them written small, which no name has."""
    return len(words.split()) > 1 and any(w[0].islower() and w not in SMALL_WORDS for w in words.split())


def _times(stamps: Sequence[tuple[str, ...]]) -> list[str]:
    """ISO times. Day and month are told apart by the order in which time runs forward most often, and fastest."""
    candidates = []
    for order in ((2, 1, 0), (2, 0, 1), (0, 1, 2)):  # day first, month first, year first
        times = [_time(stamp, order) for stamp in stamps]
        if all(times):
            seconds = [time.timestamp() for time in times if time]
            back = sum(later < earlier for earlier, later in itertools.pairwise(seconds))
            candidates.append((back, seconds[-1] - seconds[0] if seconds else 0, times))
    best = min(candidates, key=lambda candidate: candidate[:2])[2] if candidates else [None] * len(stamps)
    return [time.isoformat() if time else "" for time in best]


def _time(stamp: tuple[str, ...], order: tuple[int, int, int]) -> datetime | None:
    year, month, day = (int(stamp[k]) for k in order)
    half = _HALF.get(re.sub(r"\W", "", stamp[3] or stamp[7]).lower())
    hour = int(stamp[4]) if half is None else int(stamp[4]) % 12 + half
    try:
        return datetime(year + 2000 if year < 100 else year, month, day, hour, int(stamp[5]), int(stamp[6] or 0))
    except ValueError:
        return None


def _is_tagged(lines: Sequence[str]) -> bool:
    """Whether most lines begin with a name and a colon, and names come back."""
    tags = tags_of(lines)
    names = [tag[0].lower() for tag in tags if tag]
    return (
        len(names) >= 2
        and tags[0] is not None
        and len(names) >= 0.5 * len(lines)
        and (len(set(names)) < len(names) or len(lines) < 4)
    )


def _read_tagged(lines: Sequence[str]) -> Iterator[Row]:
    """A dialogue a block where rulers, or empty lines between whole dialogues, divide the file; else the file is one."""
    blocks = _blocks(lines, lambda line: bool(re.fullmatch(r"\s*(?:[-=_*#]\s*){3,}", line)))
    if len(blocks) == 1:
        parted = _blocks(lines, lambda line: not line.strip())
        tags = [[tag_of(line) for _, line in block] for block in parted]
        if all(block[0] and sum(map(bool, block)) >= 2 for block in tags):
            blocks = parted
    known = file_names(lines)
    for block in blocks:
        start, filled = block[0][0], dict(block)
        text = "\n".join(filled.get(number, "") for number in range(start, block[-1][0] + 1))
        try:
            turns = tagged_turns(text, known=known, first=start)
        except ValueError as error:
            yield start, str(error).replace("of the conversation", "of the file")
            continue
        messages = [{"name": who, "text": said, "line": line} for line, who, said in turns]
        yield start, {"messages": messages, "form": "lines `Name: text`"}


def _blocks(lines: Sequence[str], ends: Callable[[str], bool]) -> list[list[tuple[int, str]]]:
    blocks: list[list[tuple[int, str]]] = [[]]
    for number, line in enumerate(lines, start=1):
        if ends(line):
            blocks.append([])
        elif line.strip():
            blocks[-1].append((number, line))
    return [block for block in blocks if block]


# --- forms of research


def read_numbered(lines: Sequence[str]) -> Iterator[Row]:
    """PersonaChat: the partner is speaker 1. A line that fits no form sets its whole dialogue aside."""
    blocks: list[list[tuple[int, str]]] = []
    last = 0
    for line, row in enumerate(lines, start=1):
        number = re.match(r"\d+", row)
        if not blocks or (number and int(number[0]) <= last):  # numbers start again with each dialogue
            blocks.append([])
        last = int(number[0]) if number else last
        if row.strip():
            blocks[-1].append((line, row))
    return map(_numbered_block, filter(None, blocks))


def _numbered_block(block: Sequence[tuple[int, str]]) -> Row:
    personas: dict[str, list[str]] = {"partner's": [], "your": []}
    turns: list[tuple[int, str]] = []
    for line, row in block:
        match = _PERSONACHAT.fullmatch(row)
        if not match:
            return line, f"is neither `N your persona: ...` nor `N text<TAB>reply`: {row:.60}"
        if match[1]:
            personas[match[1]].append(match[2])
        else:  # __SILENCE__ stands for a partner who waits
            turns += [turn for turn in ((1, match[3]), (2, match[4])) if turn[1].strip() not in ("", "__SILENCE__")]
    return block[0][0], {"user1_persona": personas["partner's"], "user2_persona": personas["your"], "turns": turns}


def _read_parlai(lines: Sequence[str]) -> Iterator[Row]:
    """Episodes of lines `text:...<TAB>labels:...`; the persona is among the first lines of a text."""
    start, record = 0, {"user1_persona": [], "user2_persona": [], "turns": []}
    for number, line in enumerate(lines, start=1):
        parts = [part.partition(":") for part in line.rstrip("\r").split("\t")]
        fields = {name: value for name, _, value in parts}
        if not line.strip():
            continue
        if "text" not in fields or not {"labels", "eval_labels"} & set(fields):
            yield number, f"is not `text:...<TAB>labels:...`: {line:.60}"
            continue
        start = start or number
        for part in fields["text"].split("\\n"):
            persona = re.match(r"(your|partner's) persona:(.*)", part)
            if persona:
                record["user2_persona" if persona[1] == "your" else "user1_persona"].append(persona[2])
            elif part.strip() not in ("", "__SILENCE__"):
                record["turns"].append((1, part.strip()))
        label = fields.get("labels") or fields.get("eval_labels", "")
        record["turns"].append((2, re.split(r"(?<!\\)\|", label)[0].replace("\\n", "\n")))
        if fields.get("episode_done", "").strip().lower() == "true":
            yield start, record
            start, record = 0, {"user1_persona": [], "user2_persona": [], "turns": []}
    if start:
        yield start, record


def _read_eou(lines: Sequence[str]) -> Iterator[Row]:
    """DailyDialog: a dialogue a line, without names and personas."""
    for number, line in enumerate(lines, start=1):
        turns = [part.strip() for part in line.split("__eou__") if part.strip()]
        if turns:
            yield number, {"dialog": turns, "form": "DailyDialog (__eou__)"}
