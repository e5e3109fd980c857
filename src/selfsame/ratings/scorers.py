"""Scorers of rated rows: the floors that any score has to beat, our own scores, and word features.

A scorer is anything with a `name` and `score(rows) -> list[float]`, NaN where nothing can be said. A whole dialogue gets the
mean over the bot's turns, each scored with the turns before it.
"""

from __future__ import annotations

import importlib.resources
import itertools
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from selfsame.data.prompt_format import MARKERS
from selfsame.metrics.engagement import QUESTION_MARKS, EngagementEvaluator
from selfsame.metrics.judge import Judge
from selfsame.metrics.persona import PersonaEvaluator
from selfsame.ratings.rows import RatedReply
from selfsame.text.keywords import TraitMatcher, content_stems, trait_stems, words

ENOUGH_WORDS = 2000  # of a reply that the features look at: more tells nothing new
_CONTROL = re.compile(
    r"(?:^|\s)(?:user|bot|system|assistant|persona)\s*[12]?\s*:|<\|?\w+\|?>|\ufffd|\[/?\w+\]"
    rf"|{'|'.join(map(re.escape, MARKERS))}",
    re.IGNORECASE,
)
_STUTTER = re.compile(r"(\w)\1{4,}|\b(\w+)(?:\W+\2\b){2,}", re.IGNORECASE)


class Scorer(Protocol):
    """Gives a number to each rated row."""

    @property
    def name(self) -> str: ...

    def score(self, rows: Sequence[RatedReply]) -> list[float]:
        """A number for each row, NaN where nothing can be said."""
        ...


@dataclass(frozen=True)
class TurnScorer:
    """Scores replies one by one. `of_turn`: a function of a row that has a reply."""

    name: str
    of_turn: Callable[[RatedReply], float]

    def score(self, rows: Sequence[RatedReply]) -> list[float]:
        return over_turns(rows, lambda turns: [self.of_turn(turn) for turn in turns])


@dataclass(frozen=True)
class TotalLength:
    """Words of all the bot's turns: what a dialogue gets for being long."""

    name: str = "total length"

    def score(self, rows: Sequence[RatedReply]) -> list[float]:
        return [float(sum(len((turn.reply or "").split()) for turn in row.own_turns())) for row in rows]


def over_turns(rows: Sequence[RatedReply], score: Callable[[Sequence[RatedReply]], Sequence[float]]) -> list[float]:
    """Scores of the rows from a function of replies: the mean over the bot's turns that have one."""
    turns = [row.own_turns() for row in rows]
    found = iter(score([turn for own in turns for turn in own]))
    return [mean_of_known([next(found) for _ in own]) for own in turns]


def mean_of_known(values: Sequence[float]) -> float:
    """Mean of the values that are not NaN; NaN where there is none."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


# --- floors -------------------------------------------------------------------------------------------------------------


def length(row: RatedReply) -> float:
    """Words, by white space; 0 for an empty reply."""
    return float(len((row.reply or "").split()))


def question(row: RatedReply) -> float:
    """1 with a question mark, else 0; NaN without a letter or digit."""
    return float(not QUESTION_MARKS.isdisjoint(row.reply or "")) if _words(row) else math.nan


def overlap(row: RatedReply) -> float:
    """Share of the reply's different words that occur in the context; NaN without words on either side."""
    said, own = {word for turn in row.context for word in words(turn)}, set(_words(row))
    return len(own & said) / len(own) if own and said else math.nan


def distinctness(row: RatedReply) -> float:
    """Different words over all words of the reply; NaN without a word."""
    own = _words(row)
    return len(set(own)) / len(own) if own else math.nan


FLOORS: tuple[Scorer, ...] = (
    TurnScorer("length", length),
    TotalLength(),
    TurnScorer("question mark", question),
    TurnScorer("context overlap", overlap),
    TurnScorer("distinctness", distinctness),
)
"""What costs nothing to compute and a score has to beat."""

# --- our scores ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PersonaScorer:
    """A number of `PersonaEvaluator.evaluate_each`; a score that people should like less of is turned round (`sign` -1)."""

    name: str
    metric: str
    evaluator: PersonaEvaluator
    sign: float = 1.0

    def score(self, rows: Sequence[RatedReply]) -> list[float]:
        """NaN for a row without a persona."""
        found = iter(over_turns([row for row in rows if row.persona], self._of_turns))
        return [next(found) if row.persona else math.nan for row in rows]

    def _of_turns(self, turns: Sequence[RatedReply]) -> list[float]:
        personas, replies = [t.persona for t in turns], [t.reply or "" for t in turns]
        if self.metric == "grounding":
            return self.evaluator.evaluate_grounding(personas, replies)
        if self.metric == "keywords":
            return self.evaluator.evaluate_batch_responses(personas, replies)
        histories = [_before(t.context) for t in turns]
        return [self.sign * v for v in self.evaluator.evaluate_each(personas, replies, histories)[self.metric]]


@dataclass(frozen=True)
class PersonaEvidence:
    """How much a reply shows of the persona: the summed rarity of the persona's content stems that occur in it. Of a dialogue
    the sum over the bot's turns, for what shows adds up; NaN for a persona without content."""

    matcher: TraitMatcher
    name: str = "persona evidence"

    def score(self, rows: Sequence[RatedReply]) -> list[float]:
        return [self._of(row, frozenset().union(*map(trait_stems, row.persona))) for row in rows]

    def _of(self, row: RatedReply, persona: frozenset[str]) -> float:
        shown = [self.matcher.mass(persona.intersection(content_stems(t.reply or ""))) for t in row.own_turns()]
        return math.fsum(shown) if persona else math.nan


def our_scores(judge: Judge | None = None) -> list[Scorer]:
    """What `evaluate` reports of a reply without a gold one: consistency and what it is made of, and engagement. `judge`: of
    contradictions, None: the one in the package."""
    persona = PersonaEvaluator(demo_matcher(), judge=judge)
    return [
        PersonaScorer("consistency", "consistency", persona),
        PersonaScorer("keywords", "keywords", persona),
        PersonaScorer("grounding", "grounding", persona),
        PersonaEvidence(persona.matcher),
        PersonaScorer("not contradicted", "contradiction", persona, -1.0),
        TurnScorer("engagement", engaging),
    ]


def engaging(row: RatedReply) -> float:
    """How much a reply invites to go on (see `EngagementEvaluator`)."""
    return EngagementEvaluator().calculate_engagement_score(row.context, row.reply or "")


def _before(context: Sequence[str]) -> Sequence[str]:
    """The context with the partner's turns at even places."""
    return context if len(context) % 2 else ("", *context)


@lru_cache(maxsize=1)
def demo_matcher() -> TraitMatcher:
    """Knows how rare a word is in the bundled dialogues."""
    return TraitMatcher(demo_texts())


@lru_cache(maxsize=1)
def demo_texts() -> tuple[str, ...]:
    """Every trait and turn of the bundled dialogues."""
    demo = importlib.resources.files("selfsame") / "data" / "demo" / "dialogues.jsonl"
    rows = [json.loads(line) for line in demo.read_text(encoding="utf-8").splitlines()]
    traits = [trait for row in rows for key in ("user1_persona", "user2_persona") for trait in row[key]]
    return (*traits, *(turn[1] for row in rows for turn in row["turns"]))


# --- features -----------------------------------------------------------------------------------------------------------


def specificity(row: RatedReply) -> float:
    """Mean rarity of the content words in the bundled dialogues, 0 to 1; 0 without a content word, NaN without a word."""
    own = set(content_stems(_cut(row)))
    return demo_matcher().mass(own) / len(own) if own else (0.0 if _words(row) else math.nan)


def informative(row: RatedReply) -> float:
    """Logarithm of one more than the number of different content words; NaN without a word."""
    return math.log1p(len(set(content_stems(_cut(row))))) if _words(row) else math.nan


def repetition(row: RatedReply) -> float:
    """Share of the reply's pairs of neighbouring words that it said before itself; NaN under two words."""
    pairs = _pairs(_words(row))
    return 1 - len(set(pairs)) / len(pairs) if pairs else math.nan


def repeats_itself(row: RatedReply) -> float:
    """Share of the reply's pairs of neighbouring words that the bot said in an earlier turn; NaN without earlier turns or
    under two words."""
    earlier = {pair for turn in row.context[-2::-2] for pair in _pairs(words(turn))}
    own = set(_pairs(_words(row)))
    return len(own & earlier) / len(own) if own and earlier else math.nan


def uptake(row: RatedReply) -> float:
    """Share of the reply's content words, by rarity, that the partner used; NaN where neither has any."""
    own, partner = set(content_stems(_cut(row))), {s for turn in row.context[-1::-2] for s in content_stems(turn)}
    mass = demo_matcher().mass(own)
    return demo_matcher().mass(own & partner) / mass if mass and partner else math.nan


def answers(row: RatedReply) -> float:
    """Where the partner asked last: 1 if the reply says something (and not only asks back), else 0. NaN without a question."""
    if not row.context or QUESTION_MARKS.isdisjoint(row.context[-1]) or not _words(row):
        return math.nan
    return float(any(part.strip() and part.strip()[-1] not in QUESTION_MARKS for part in _sentences(row.reply or "")))


def you(row: RatedReply) -> float:
    """Share of the words that are about the partner; NaN without a word."""
    own = _words(row)
    return sum(word.split("'")[0] in ("you", "your", "yours", "u") for word in own) / len(own) if own else math.nan


def me(row: RatedReply) -> float:
    """Share of the words that are about the speaker; NaN without a word."""
    own = _words(row)
    return sum(word.split("'")[0] in ("i", "my", "me", "mine", "im") for word in own) / len(own) if own else math.nan


def well_formed(row: RatedReply) -> float:
    """1 without control markers, speaker tags, stutter or broken characters, else 0; NaN for an empty reply."""
    text = (row.reply or "")[: 10 * ENOUGH_WORDS]
    return float(not _CONTROL.search(text) and not _STUTTER.search(text)) if text.strip() else math.nan


def log_length(row: RatedReply) -> float:
    """Logarithm of one more than the number of words."""
    return math.log1p(length(row))


FEATURES: tuple[Scorer, ...] = (
    TurnScorer("log length", log_length),
    TurnScorer("specificity", specificity),
    TurnScorer("informative", informative),
    TurnScorer("repetition", repetition),
    TurnScorer("repeats itself", repeats_itself),
    TurnScorer("uptake", uptake),
    TurnScorer("answers", answers),
    TurnScorer("about you", you),
    TurnScorer("about me", me),
    TurnScorer("well formed", well_formed),
)
"""What the words of a reply tell."""


def _cut(row: RatedReply) -> str:
    return " ".join((row.reply or "").split()[:ENOUGH_WORDS])


def _words(row: RatedReply) -> list[str]:
    return words(_cut(row))


def _pairs(tokens: Sequence[str]) -> list[tuple[str, str]]:
    return list(itertools.pairwise(tokens))


def _sentences(text: str) -> list[str]:
    return re.findall(r"[^.!?？؟]+[.!?？؟]*", text[: 10 * ENOUGH_WORDS])
