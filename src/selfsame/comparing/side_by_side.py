"""Replies of several systems to the same prompts, chosen to be read side by side, with what the scores saw in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from selfsame.comparing.seeds import on_shared_prompts
from selfsame.run.records import DialogueRecord, ReplyRecord, ShownReply
from selfsame.text.keywords import shared_words, word_spans
from selfsame.text.language import ENGLISH, find_language
from selfsame.text.violations import copied_words
from selfsame.types import Persona

MOST = 8


def side_by_side(replies: Mapping[str, Sequence[ReplyRecord]], most: int = MOST) -> list[DialogueRecord]:
    """Replies of all systems to some prompts that all of them answered: one prompt of a dialogue, spread over the dialogues;
    before all others those where one system is consistent and another one is not.

    Args:
        replies: by system the replies of an evaluation.
        most: prompts.
    """
    found: dict[bool, dict[str, list[ReplyRecord]]] = {True: {}, False: {}}
    for rows in zip(*on_shared_prompts(list(replies.values())), strict=True):
        differ = len({row.scores.get("consistency") for row in rows} - {None}) > 1
        found[differ].setdefault(rows[0].dialogue, [*rows])
    chosen = _spread(list(found[True].values()), most)
    others = [rows for dialogue, rows in found[False].items() if dialogue not in found[True]]
    chosen += _spread(others, most - len(chosen))
    return [
        DialogueRecord(
            dialogue=rows[0].dialogue,
            persona=rows[0].persona,
            history=rows[0].history,
            gold=rows[0].gold,
            differ=rows[0].dialogue in found[True],
            replies={name: _shown(row) for name, row in zip(replies, rows, strict=True)},
        )
        for rows in chosen
    ]


def marked(persona: Persona, reply: str, recited: bool = False, language: str = ENGLISH) -> list[list[str]]:
    """The reply in parts, `[text, kind]`: `drawn` for a word of a trait, `copied` for a stretch of a trait's wording in a reply
    that is `recited`, else an empty kind."""
    spans, traits = word_spans(reply), set(shared_words(persona, reply, language))
    copied = copied_words(persona, [word for *_, word in spans]) if recited else set()
    parts: list[list[str]] = []
    end = 0
    for k, (start, stop, word) in enumerate(spans):
        kind = "copied" if k in copied else "drawn" if word in traits else ""
        within = kind == "copied" and k - 1 in copied
        _add(parts, reply[end:start], kind if within else "")
        _add(parts, reply[start:stop], kind)
        end = stop
    _add(parts, reply[end:], "")
    return parts


def _add(parts: list[list[str]], text: str, kind: str) -> None:
    if not text:
        return
    if parts and parts[-1][1] == kind:
        parts[-1][0] += text
    else:
        parts.append([text, kind])


def _shown(row: ReplyRecord) -> ShownReply:
    """With its parts: see `marked`."""
    language = find_language((*row.persona, *row.history, row.gold))
    parts = marked(tuple(row.persona), row.reply, row.scores.get("copying_unprompted") == 1, language)
    return ShownReply(reply=row.reply, parts=parts, scores=row.scores, at_odds=row.at_odds)


def _spread(items: list[Any], most: int) -> list[Any]:
    if len(items) <= most:
        return items
    return [items[index * len(items) // most] for index in range(most)]
