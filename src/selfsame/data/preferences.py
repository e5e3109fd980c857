"""The user's own preference pairs: which of two replies is better, or how good each of several is.

| form | what a row holds |
|---|---|
| TRL, plain and conversational | `prompt`, `chosen`, `rejected`: texts, or lists of messages; the prompt may be part of both |
| HH-RLHF | `chosen`, `rejected`: whole dialogues, `\\n\\nHuman: ...\\n\\nAssistant: ...` |
| Selfsame | `persona`, `context` (alternating, the partner's turn last), `chosen`, `rejected` |
| labels | a prompt as above, `completion` (or `reply`), and `label`: true or false |
| scores | the same with `score` (or `rating`, `reward`): a number, higher is better |
| labels of two replies | what `labels/label.py` shows, also as the database that the page of `selfsame serve` writes |

Rows enter by the same files as dialogues do, and personas, names of speakers and slots are found in the same way. Labelled
and scored replies to one prompt become pairs of the better with the worse; of several people's labels the majority counts.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from selfsame.data.containers import Row
from selfsame.data.field_names import ANSWERS, folded
from selfsame.data.loader import persona_key, write_lines
from selfsame.data.names import speaker_key
from selfsame.data.reading import known_bot, rows_of_file
from selfsame.data.settings import DataSettings
from selfsame.data.speakers import Bot, place
from selfsame.data.structure import read_records
from selfsame.data.turns import read_turns
from selfsame.errors import DataError
from selfsame.labels.label import Label, is_label, label_of
from selfsame.labels.store import MAGIC, stored_labels
from selfsame.labels.votes import Agreement, agreement, verdicts
from selfsame.types import Persona, PreferencePair, Prompt, RejectedRow

GIVEN = "given"
"""The reason of the user's own pairs, which say no other."""
MOST_OF_A_PROMPT = 16
"""Pairs that labelled or scored replies to one prompt become at most."""
_SPOKEN = re.compile(r"\s*(?:Human|User|Assistant)\s*:")
"""A text that names its speakers, as HH-RLHF writes them."""
_MARKS = ("score", "rating", "reward", "label")
_PROMPTS = ("prompt", "question", "query", "messages", "conversations", "instruction")
_REPLIES = (*ANSWERS, "reply", "text")


@dataclass
class GivenPairs:
    """Pairs of the user. `rejected`: rows that give none; `left_over`: labelled or scored replies that no other reply to
    their prompt is better or worse than; `undecided`: questions to people without a majority or a correction; `agreement`:
    of the people, where they labelled two replies."""

    pairs: list[PreferencePair] = field(default_factory=list)
    rejected: list[RejectedRow] = field(default_factory=list)
    left_over: int = 0
    undecided: int = 0
    agreement: Agreement | None = None

    def summary(self, path: str) -> str:
        """Plain text, one line."""
        bare = sum(not pair.prompt.persona for pair in self.pairs)
        parts = [f"{len(self.pairs)} preference pairs"]
        parts += [f"{bare} of them without a persona (--data.persona or --data.card gives one)"] if bare else []
        parts += [f"{self.left_over} replies with none to compare to"] if self.left_over else []
        parts += [f"labels {self.agreement}"] if self.agreement else []
        parts += [f"{self.undecided} questions without a better reply"] if self.undecided else []
        parts += [f"{len(self.rejected)} rows rejected, first {self.rejected[0]}"] if self.rejected else []
        return f"{path}: {', '.join(parts)}"


def read_preferences(path: str | Path, settings: DataSettings) -> GivenPairs:
    """The pairs of a file. `settings`: traits of the bot where rows bring none, who the bot is.

    Raises:
        DataError: the file cannot be read, or no row of it gives a pair.
    """
    bot, found = known_bot(settings), GivenPairs()
    marked: dict[Prompt, dict[str, float]] = {}
    labels: list[Label] = []
    rows = _rows(Path(path))
    for line, row in rows:
        try:
            if isinstance(row, str):
                raise ValueError(row)
            fields = folded(row) if isinstance(row, Mapping) else {}
            if is_label(fields):
                labels.append(label_of(fields))
            elif "chosen" in fields and "rejected" in fields:
                found.pairs.append(_pair(fields, bot))
            else:
                prompt, reply, mark = _marked(fields, bot)
                if marked.setdefault(prompt, {}).setdefault(reply, mark) != mark:
                    raise ValueError("the same reply was marked differently before")
        except ValueError as error:
            found.rejected.append(RejectedRow(str(path), line, str(error)))
    for prompt, replies in marked.items():
        pairs = _ranked(prompt, replies)
        found.pairs += pairs
        found.left_over += len(set(replies).difference(text for pair in pairs for text in (pair.chosen, pair.rejected)))
    _add_labels(found, labels)
    if not found.pairs:
        reasons = "; ".join(f"line {row.line}: {row.reason}" for row in found.rejected[:3])
        left = f"{found.left_over} replies have no better or worse one to the same prompt" if found.left_over else ""
        left = left or (f"{found.undecided} labels name no better reply" if found.undecided else "")
        raise DataError(f"{path}: no preference pair in {len(rows)} rows ({reasons or left or 'there are no rows'})")
    return found


def split_pairs(
    pairs: Iterable[PreferencePair], held_out: Iterable[Persona], share: float
) -> tuple[list[PreferencePair], list[PreferencePair]]:
    """(pairs to train on, pairs to measure on): those of held-out personas are measured on, and of the other prompts so large
    a share, by hash: whatever a run's seed is, the same ones."""
    held = {persona_key(persona) for persona in held_out}
    parts: tuple[list[PreferencePair], list[PreferencePair]] = ([], [])
    for pair in pairs:
        digest = hashlib.sha256(repr((sorted(persona_key(pair.prompt.persona)), pair.prompt.history)).encode()).digest()
        apart = int.from_bytes(digest[:4], "big") < share * 2**32
        known = bool(pair.prompt.persona) and persona_key(pair.prompt.persona) in held
        parts[known or apart].append(pair)
    return parts


# --- rows -> pairs


def _rows(path: Path) -> list[Row]:
    """The rows of a file, or of a database of labels."""
    if path.is_file() and path.open("rb").read(len(MAGIC)) == MAGIC:
        return [(number, label.row()) for number, label in enumerate(stored_labels(path), 1)]
    return rows_of_file(path)


def _add_labels(found: GivenPairs, labels: Sequence[Label]) -> None:
    """The pairs that people's labels make together."""
    for verdict in verdicts(labels):
        pairs = verdict.pairs()
        found.pairs += pairs
        found.undecided += not pairs
    found.agreement = agreement(labels) if labels else None


def _pair(fields: Mapping[str, Any], bot: Bot) -> PreferencePair:
    (prompt, chosen), (other, rejected) = (_placed(fields, fields[name], bot) for name in ("chosen", "rejected"))
    if prompt != other:
        raise ValueError("chosen and rejected are replies to different prompts")
    if chosen == rejected:
        raise ValueError("chosen and rejected are the same reply")
    reason = fields.get("reason")
    return PreferencePair(prompt, chosen, rejected, reason if isinstance(reason, str) and reason else GIVEN)


def _marked(fields: Mapping[str, Any], bot: Bot) -> tuple[Prompt, str, float]:
    name = next((name for name in _REPLIES if fields.get(name)), "")
    mark = next((name for name in _MARKS if fields.get(name) is not None), "")
    if not name or not mark:
        raise ValueError(
            f"has no chosen and rejected reply, and no completion with a label or score; its fields are"
            f" {', '.join(map(repr, fields)) or 'none'}"
        )
    value = fields[mark]
    value = {"true": 1.0, "false": 0.0}.get(value.strip().lower(), value) if isinstance(value, str) else value
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{mark} is neither true, false nor a number: {fields[mark]!r:.60}")
    prompt, reply = _placed(fields, fields[name], bot, name)
    return prompt, reply, number


def _placed(fields: Mapping[str, Any], reply: Any, bot: Bot, reply_field: str = "") -> tuple[Prompt, str]:
    """The prompt and the reply of a row, by way of the dialogue that both make."""
    before, said = _messages(_prompt_of(fields), "user"), _messages(reply, "assistant")
    turns = said if len(said) > 1 else [*before, *said]  # a whole dialogue holds its prompt
    used = ("context", "history", "chosen", "rejected", *_PROMPTS, reply_field)
    rest = {name: value for name, value in fields.items() if name not in used}
    parts = [part for _, part in read_records([(1, {**rest, "id": "pair", "messages": turns})], "pair", {})]
    if len(parts) != 1:
        raise ValueError("has hours between its turns: give the last conversation alone")
    conversation = parts[0]
    if isinstance(conversation, str):
        raise ValueError(conversation)
    # The name that chats are read by speaks in few files of pairs: roles say who is the bot there.
    named = any(speaker_key(turn.who) == speaker_key(bot.asked) for turn in conversation.turns)
    dialogue = place(conversation, bot if named else replace(bot, asked=""), bare=True).dialogue
    if [turn.speaker for turn in dialogue.turns[-2:]] != [1, 2]:
        raise ValueError("does not end with a turn of the partner and a reply of the bot")
    example = dialogue.seen_by(2)
    return example.prompt(len(example.replies) - 1), example.replies[-1]


def _prompt_of(fields: Mapping[str, Any]) -> Any:
    """What was said before the reply: messages, a text, or an alternating list that ends with the partner's turn."""
    if isinstance(context := fields.get("context", fields.get("history")), (list, tuple)):
        if all(isinstance(text, str) for text in context):
            roles = ["user" if (len(context) - k) % 2 else "assistant" for k in range(len(context))]
            return [{"role": role, "content": text} for role, text in zip(roles, context, strict=True) if text]
        return context
    return next((fields[name] for name in _PROMPTS if fields.get(name)), "")


def _messages(value: Any, role: str) -> list[dict[str, Any]]:
    """Messages of a list of them, of a text with speakers in it (`Human: ...`), or of a plain text by `role`."""
    if isinstance(value, str):
        if _SPOKEN.match(value):
            said = [turn for turn in read_turns(value, known_only=True) or () if turn.text.strip() and not turn.fault]
            return [{"role": turn.who, "content": turn.text} for turn in said]
        return [{"role": role, "content": value}] if value.strip() else []
    if isinstance(value, Mapping):
        return [dict(value)]
    if isinstance(value, (list, tuple)):
        return [
            dict(message) if isinstance(message, Mapping) else {"role": role, "content": message} for message in value
        ]
    raise ValueError(f"a reply or prompt is a text or a list of messages, got {value!r:.60}")


def _ranked(prompt: Prompt, replies: Mapping[str, float]) -> list[PreferencePair]:
    """Every better reply with every worse one, the largest differences first."""
    ranked = sorted(replies.items(), key=lambda item: -item[1])
    pairs = [
        (one[1] - other[1], PreferencePair(prompt, one[0], other[0], GIVEN))
        for one, other in itertools.combinations(ranked, 2)
        if one[1] > other[1]
    ]
    return [pair for _, pair in sorted(pairs, key=lambda item: -item[0])[:MOST_OF_A_PROMPT]]


# --- pairs and replies -> rows for other trainers


def write_preferences(pairs: Iterable[PreferencePair], path: str | Path) -> None:
    """Writes pairs in TRL's conversational form, which `read_preferences` reads again; `persona` and `reason` go with them.
    Raises `RunError` if it cannot."""
    rows = (
        {
            "prompt": prompt_messages(pair.prompt),
            "chosen": [{"role": "assistant", "content": pair.chosen}],
            "rejected": [{"role": "assistant", "content": pair.rejected}],
            "persona": pair.prompt.persona,
            "reason": pair.reason,
        }
        for pair in pairs
    )
    write_lines(rows, path)


def prompt_messages(prompt: Prompt) -> list[dict[str, str]]:
    """A prompt as messages: the persona as the system message, a trait a line, then the turns."""
    system = [{"role": "system", "content": "\n".join(prompt.persona)}] if prompt.persona else []
    said = [
        {"role": ("user", "assistant")[k % 2], "content": text} for k, text in enumerate(prompt.history) if text or k
    ]
    return system + said
