"""Scores of sense: a reply is *well formed*, and it *answers*.

A well-formed reply repeats nothing, ends as people's turns do, and surprises a reader no more than they do. A reply answers
if the turns before it make it more likely, as much as people's replies.

Both bounds are set on what people said to other prompts of the same data, so they hold for its style and language: one
person in twenty falls below the one, one in forty above the other. The error on the other side is how many replies to *other*
turns pass; it stands in the record.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from selfsame.metrics.reader import Reader, Reading
from selfsame.text.keywords import words
from selfsame.text.language import ENGLISH
from selfsame.text.violations import repeats, says_again

Turn = tuple[tuple[str, ...], str]
"""What was said before, and a person's reply to it."""
# Measured at this bound: 26 % of replies to other turns pass with an SFT role as reader, 49 % with the bare base.
PEOPLE_UNANSWERING = 0.05
"""Share of people's replies below the bound on what the context adds."""
PEOPLE_SURPRISING = 0.025
"""Share of people's replies above the bound on bits per byte."""
ENDS_SHARE = 0.95
"""Replies have to end with a mark where at least so many of people's do."""
FEWEST = 20
_END = re.compile(r"[.!?…。！？～~)\]\"'”’*]\s*$|[^\w\s,;:\-–—]\s*$")
"""A mark that ends a sentence, a closing bracket or quote, or an emoji."""


@dataclass(frozen=True)
class Bounds:
    """Where sense ends, and how often that is wrong; NaN is not known.

    Attributes:
        bits: most bits per byte of a well-formed reply.
        lift: least nats per token that the context adds to an answer.
        marked: whether replies have to end with a mark.
        turns: people's replies that the bounds were set on.
        people_malformed: share of them that is not well formed by all rules together.
        people_unanswering: share of them that does not answer.
        others_answering: share of people's replies to other turns that passes as an answer; NaN where it was not asked for.
    """

    bits: float
    lift: float
    marked: bool
    turns: int
    people_malformed: float
    people_unanswering: float
    others_answering: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def line(self) -> str:
        """Plain text, one line: the errors on either side."""
        if self.turns < FEWEST:
            return (
                f"{self.turns} of people's turns are too few for bounds of sense: whether a reply answers is not known"
            )
        passing = f"; of replies to other turns {self.others_answering:.0%} pass as one"
        return (
            f"bounds of sense set on {self.turns} of people's turns: {self.people_malformed:.0%} of them count as malformed,"
            f" {self.people_unanswering:.0%} as no answer{'' if math.isnan(self.others_answering) else passing}"
        )


class SenseEvaluator:
    """Says of replies whether they are well formed and whether they answer.

    Args:
        reader: reads the replies; another model than the one that is judged.
        people: turns that people said, to set the bounds on; none of the prompts that are scored should be among them.
        seed: which other turn a reply is held against.
        language: code of the replies' language.
        others: whether it is measured how many replies to other turns pass, which is another reading of as many.

    With fewer than `FEWEST` turns to set bounds on, a reply is well formed by the rules alone, and whether it answers is not
    known.
    """

    def __init__(
        self, reader: Reader, people: Sequence[Turn], seed: int = 0, language: str = ENGLISH, others: bool = True
    ) -> None:
        self.reader, self.language = reader, language
        turns = [(history, reply) for history, reply in people if words(reply) and any(history)]
        if len(turns) < FEWEST:
            self.bounds = Bounds(math.nan, math.nan, False, len(turns), math.nan, math.nan, math.nan)
            return
        histories, replies = [history for history, _ in turns], [reply for _, reply in turns]
        # In one go: two replies to a prompt share it, and each reply is read alone once.
        asked = [*replies, *(_others(replies, seed) if others else ())]
        read = reader.read([*histories, *(histories if others else ())], asked)
        found, passing = read[: len(turns)], read[len(turns) :]
        bits = float(np.nanquantile([r.bits for r in found], 1 - PEOPLE_SURPRISING))
        lift = float(np.nanquantile([r.lift for r in found], PEOPLE_UNANSWERING))
        marked = _share([bool(_END.search(reply)) for reply in replies]) >= ENDS_SHARE
        self.bounds = Bounds(bits, lift, marked, len(turns), math.nan, math.nan, math.nan)
        formed = [self._formed(h, t, r) for h, t, r in zip(histories, replies, found, strict=True)]
        self.bounds = replace(
            self.bounds,
            people_malformed=1 - _share(formed),
            people_unanswering=_share([r.lift < lift for r in found]),
            others_answering=_share([r.lift >= lift for r in passing]) if others else math.nan,
        )

    def evaluate(self, histories: Sequence[Sequence[str]], replies: Sequence[str]) -> dict[str, list[float]]:
        """`well_formed` and `answers`, 1 or 0 each. A reply without a word is neither; to answer is NaN where nothing was said
        before. `histories`: what was said before each reply, the partner's turn last."""
        read = self.reader.read(histories, replies)
        rows = list(zip(histories, replies, read, strict=True))
        return {
            "well_formed": [float(self._formed(history, reply, reading)) for history, reply, reading in rows],
            "answers": [self._answers(history, reply, reading) for history, reply, reading in rows],
        }

    def _formed(self, history: Sequence[str], reply: str, reading: Reading) -> bool:
        if not words(reply) or says_again(history[1::2], reply, self.language):
            return False
        if self.bounds.marked and not _END.search(reply):
            return False
        return not reading.bits > self.bounds.bits  # NaN: not known

    def _answers(self, history: Sequence[str], reply: str, reading: Reading) -> float:
        if not words(reply) or repeats(
            history[0::2], reply
        ):  # what the partner said, said back, is likely and no answer
            return 0.0
        # A trained classifier did not beat the likelihood. Measured on different turns: AUC .76 and .93.
        known = not (math.isnan(reading.lift) or math.isnan(self.bounds.lift))
        return float(reading.lift >= self.bounds.lift) if known else math.nan


def _others(replies: Sequence[str], seed: int) -> list[str]:
    """For each reply one that somebody gave to another turn."""
    order = random.Random(seed).sample(range(len(replies)), len(replies))
    shift = {order[k]: order[k - 1] for k in range(len(order))}
    return [replies[shift[k]] for k in range(len(replies))]


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values)
