"""Readers of published human ratings of chatbots: FED, ConTurE, GRADE, DSTC9's interactive dialogues and the ConvAI2
human evaluation, as they are distributed, into the rows that `selfsame agreement` scores.

    folder/fed/fed_data.json  folder/conture/data.json  folder/grade/human_judgement.json
    folder/dstc9-interactive/dstc9_data.json.xz  folder/convai2-human-eval/*.json.xz
"""

from __future__ import annotations

import ast
import hashlib
import json
import lzma
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from selfsame.ratings.rows import RatedReply
from selfsame.ratings.scorers import demo_matcher
from selfsame.types import clean_persona

SHORTEST = 4
"""Messages that a ConvAI2 chat needs to be counted: many ended before they began."""
Read = tuple[list[RatedReply], Counter[str]]
"""The rows, and how many were left out by reason."""


def read_sets(folder: Path) -> dict[str, Read]:
    """The rated sets that the folder holds, by name."""
    readers: dict[str, tuple[str, Callable[[Path], Read]]] = {
        "FED": ("fed/fed_data.json", fed),
        "ConTurE": ("conture/data.json", conture),
        "GRADE-ConvAI2": ("grade/human_judgement.json", lambda path: grade(path, "convai2")),
        "GRADE-DailyDialog": ("grade/human_judgement.json", lambda path: grade(path, "dailydialog_EVAL")),
        "GRADE-Empathetic": ("grade/human_judgement.json", lambda path: grade(path, "empatheticdialogues")),
        "DSTC9": ("dstc9-interactive/dstc9_data.json.xz", dstc9),
        "ConvAI2 chats": ("convai2-human-eval", convai2),
    }
    return {name: read(folder / path) for name, (path, read) in readers.items() if (folder / path).exists()}


def fed(path: Path) -> Read:
    """Replies and whole dialogues, five annotators each, 0 to 2 (overall: 0 to 4); "N/A" is no rating. A reply belongs to
    the rated dialogue with the longest common beginning."""
    content = _json(path)
    whole = [row["context"] for row in content if "response" not in row]
    rows = []
    for number, row in enumerate(content):
        reply = row["response"].removeprefix("System: ").strip() if "response" in row else None
        text = row["context"] if reply is None else f"{row['context']}\n{row['response']}"
        home = max(range(len(whole)), key=lambda k: (_common(whole[k], text), -k))
        ratings = {
            name.lower(): [v for v in given if not isinstance(v, str)] for name, given in row["annotations"].items()
        }
        turns = alternate(_tagged(row["context"], "User", "System"))
        rows.append(_row(f"fed-{number}", f"fed-{home}", (), turns, reply, ratings))
    return rows, Counter()


def conture(path: Path) -> Read:
    """Replies, 0 to 2 (one number: the majority of three), and whole dialogues, three annotators."""
    rows = []
    for dialogue in _json(path):
        name, turns = f"conture-{dialogue['dialog_id']}", []
        for number, turn in enumerate(dialogue["turns"]):
            turns.append(turn["user"].removeprefix("User:").strip())
            reply = turn["chatbot"].removeprefix("Chatbot:").strip()
            ratings = {"overall": [float(turn["overall impression"])]}
            rows.append(_row(f"{name}-{number}", name, (), turns, reply, ratings))
            turns.append(reply)
        given = dialogue["dialog_ratings"]
        ratings = {
            key.replace("human (overall)", "overall"): [one[key] for one in given if not isinstance(one[key], str)]
            for key in given[0]
        }
        rows.append(_row(name, name, (), turns, None, ratings))
    return rows, Counter()


def grade(path: Path, dataset: str) -> Read:
    """Replies after two turns; eight to ten annotators of coherence, 1 to 5."""
    rows = []
    for row in _json(path):
        if row["Dataset"] == dataset:
            context = row["Context"].split("|||")
            name = hashlib.sha256(row["Context"].encode()).hexdigest()[:12]
            ratings = {"coherent": ast.literal_eval(row["HumanScores"])}
            rows.append(_row(f"grade-{row['ID']}", name, (), context, row["Response"], ratings))
    return rows, Counter()


def dstc9(path: Path) -> Read:
    """Whole dialogues; one number, the mean of a few annotators, 1 to 5."""
    content, rows = _json(path), []
    parts = zip(content["contexts"], content["responses"], content["scores"], strict=True)
    for number, (context, response, score) in enumerate(parts):
        turns = context if len(context) % 2 else ["", *context]
        rows.append(_row(f"dstc9-{number}", f"dstc9-{number}", (), [*turns, response], None, {"overall": [score]}))
    return rows, Counter()


def convai2(folder: Path) -> Read:
    """Whole chats; `overall` 1 to 5 by the person who chatted, `persona picked`: 1 where that person then told the bot's
    persona from another. Where the bot is not marked, it is the one who draws less on the PERSON's persona (the bot's is
    not looked at: it is what the scores are about)."""
    rows: list[RatedReply] = []
    left_out: Counter[str] = Counter()
    for path in sorted(folder.glob("*.json*")):
        for number, chat in enumerate(_json(path)):
            bot = _bot(chat)
            reason = "" if bot else "nobody says which side is the bot"
            if len(chat["dialog"]) < SHORTEST or len({m["sender"] for m in chat["dialog"]}) < 2:
                reason = f"under {SHORTEST} messages, or of one side only"
            if reason:
                left_out[reason] += 1
                continue
            turns = alternate((message["sender"] == bot, message["text"]) for message in chat["dialog"])
            given = {"overall": chat["eval_score"], "persona picked": chat["profile_match"]}
            ratings = {key: [float(value)] for key, value in given.items() if value not in (None, "")}
            name = f"{path.name.split('.')[0]}-{number}"
            rows.append(_row(name, name, chat.get("bot_profile") or (), turns, None, ratings))
    return rows, left_out


def _bot(chat: Mapping[str, Any]) -> str | None:
    """The sender that is the bot; None where it cannot be told."""
    marked = {message["sender"]: message.get("sender_class") for message in chat["dialog"]}
    if "Bot" in marked.values():
        return next(sender for sender, kind in marked.items() if kind == "Bot")
    if set(marked.values()) != {None} or len(marked) != 2 or not chat.get("user_profile"):
        return None
    one, other = sorted(marked)
    drawn = {sender: _drawn(chat, sender) for sender in marked}
    return None if drawn[one] == drawn[other] else min(marked, key=lambda sender: drawn[sender])


def _drawn(chat: Mapping[str, Any], sender: str) -> int:
    """How many traits of the person's persona a sender draws on."""
    text = "\n".join(message["text"] for message in chat["dialog"] if message["sender"] == sender)
    return len(demo_matcher().drawn(chat["user_profile"], text))


def alternate(turns: Iterable[tuple[bool, str]]) -> list[str]:
    """Texts of (own, text) turns, the partner first (empty where the bot opened), turns in a row joined."""
    texts = [""]
    for own, text in turns:
        if own == (len(texts) % 2 == 0):
            texts[-1] = f"{texts[-1]}\n{text}" if texts[-1] else text
        else:
            texts.append(text)
    return texts


def _tagged(text: str, partner: str, own: str) -> list[tuple[bool, str]]:
    """(own, text) of lines `User: ...`, `System: ...`; other lines go on with the turn."""
    parts = re.split(rf"^({partner}|{own}):", text, flags=re.MULTILINE)[1:]
    return [(who == own, said.strip()) for who, said in zip(parts[::2], parts[1::2], strict=True)]


def _row(
    name: str,
    dialogue: str,
    persona: Iterable[str],
    turns: Iterable[str],
    reply: str | None,
    ratings: Mapping[str, Any],
) -> RatedReply:
    context = tuple(turn.strip() for turn in turns)
    given = {key: tuple(map(float, values)) for key, values in ratings.items()}
    return RatedReply(name, dialogue, clean_persona(list(persona)), context, reply, given)


def _common(one: str, other: str) -> int:
    return next((k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _json(path: Path) -> Any:
    raw = path.read_bytes()
    return json.loads(lzma.decompress(raw) if path.suffix == ".xz" else raw)
