"""The ranker of replies: whether a person would have said this here.

It is a `reward` role on the bundled base. It learned to prefer what people said to replies of other dialogues, of other
moments, echoes, and samples of the base (`evaluator_models/`).
"""

from __future__ import annotations

import importlib.resources
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from selfsame.errors import RunError
from selfsame.metrics.hits import fits
from selfsame.model.load import load_roles
from selfsame.model.reward_model import RewardModel
from selfsame.model.settings import LoraSettings, ModelSettings
from selfsame.ratings.likelihood import prompt_of
from selfsame.ratings.rows import RatedReply
from selfsame.ratings.scorers import Scorer, over_turns
from selfsame.text.keywords import words
from selfsame.types import Prompt

BUNDLED_RANKER = Path(str(importlib.resources.files("selfsame"))) / "model" / "bundled" / "ranker"
RECORD = "ranker.json"
RECENT = 7
"""Turns of the context that it reads, the last ones, as it was trained."""


@dataclass
class Ranker:
    """Scores replies; about 0 for what the base says, higher for what a person would."""

    model: RewardModel

    def __post_init__(self) -> None:
        self._known: dict[tuple[tuple[Prompt, str], ...], list[float]] = {}

    def in_context(self, rows: Sequence[RatedReply]) -> list[float]:
        """How well the reply fits to persona and context; NaN for one without a word. Of a dialogue: the mean over turns."""
        return over_turns(rows, lambda turns: self._scores([_prompt(t.persona, t.context) for t in turns], turns))

    def alone(self, rows: Sequence[RatedReply]) -> list[float]:
        """The same without context and persona."""
        return over_turns(rows, lambda turns: self._scores([Prompt(())] * len(turns), turns))

    def context_adds(self, rows: Sequence[RatedReply]) -> list[float]:
        """The difference of both; NaN without a context."""
        pairs = zip(self.in_context(rows), self.alone(rows), rows, strict=True)
        return [given - alone if any(row.context) else math.nan for given, alone, row in pairs]

    def scorers(self) -> list[Scorer]:
        """All of the above."""
        return [
            _Ranked("ranker", self.in_context),
            _Ranked("ranker alone", self.alone),
            _Ranked("ranker, context adds", self.context_adds),
        ]

    def _scores(self, prompts: Sequence[Prompt], turns: Sequence[RatedReply]) -> list[float]:
        """Remembered for the same replies all together: what is said of one must not depend on what was asked before, and its
        last digits depend on its batch."""
        wanted = tuple((p, t.reply or "") for p, t in zip(prompts, turns, strict=True))
        if wanted not in self._known:
            self._known[wanted] = self._score(wanted)
        return self._known[wanted]

    def _score(self, wanted: Sequence[tuple[Prompt, str]]) -> list[float]:
        """Every (prompt, reply) is scored once; replies to the same prompt share it."""
        room = self.model.processor.max_length // 2  # what a reply is cut to
        siblings: dict[Prompt, list[str]] = {}
        for prompt, reply in dict.fromkeys(wanted):
            if words(reply) and fits(self.model.roles, prompt, room):
                siblings.setdefault(prompt, []).append(reply)
        parts = [(p, own[k : k + 16]) for p, own in siblings.items() for k in range(0, len(own), 16)]
        known: dict[tuple[Prompt, str], float] = {}
        for at in range(0, len(parts), 256):
            chosen = parts[at : at + 256]
            scores = self.model.score([p for p, _ in chosen], [own for _, own in chosen])
            for (prompt, own), values in zip(chosen, scores, strict=True):
                known |= {(prompt, reply): value for reply, value in zip(own, values, strict=True)}
        return [known.get(key, math.nan) for key in wanted]


@dataclass(frozen=True)
class _Ranked:
    name: str
    of_rows: Callable[[Sequence[RatedReply]], list[float]]

    def score(self, rows: Sequence[RatedReply]) -> list[float]:
        return self.of_rows(rows)


def _prompt(persona: Sequence[str], context: Sequence[str]) -> Prompt:
    prompt = prompt_of(tuple(persona), context)
    return Prompt(prompt.persona, prompt.history[-RECENT:])


@lru_cache(maxsize=1)
def load_ranker(folder: Path = BUNDLED_RANKER) -> Ranker:
    """The ranker in a folder that `evaluator_models` wrote.

    Raises:
        SelfsameError: the folder is incomplete, or its base model is not there.
    """
    if not (folder / RECORD).is_file():
        raise RunError(f"{folder} holds no ranker ({RECORD} is missing): install Selfsame again")
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    roles = load_roles(ModelSettings(base=record["base"], lora=LoraSettings(**record["lora"])))
    roles.load("reward", folder)
    return Ranker(RewardModel(roles, token_budget=2048))
