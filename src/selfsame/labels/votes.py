"""Labels of several people -> one verdict on each pair of replies, and how far the people agree."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from selfsame.labels.label import Label
from selfsame.types import PreferencePair, Prompt

LABELLED, CORRECTED = "labelled", "corrected"
"""The reasons of pairs that labels make."""


@dataclass(frozen=True)
class Verdict:
    """What all labellers said of two replies to one prompt.

    Attributes:
        prompt: what they answer.
        replies: the two.
        lead: labellers for the first less labellers for the second.
        corrections: better replies that were written.
    """

    prompt: Prompt
    replies: tuple[str, str]
    lead: int
    corrections: tuple[str, ...]

    def question(self) -> tuple[Prompt, frozenset[str]]:
        """What was asked, as `Label.question` says it."""
        return self.prompt, frozenset(self.replies)

    def pairs(self) -> list[PreferencePair]:
        """The better reply with the worse one, where most see one; each correction with both replies."""
        pairs = [
            PreferencePair(self.prompt, corrected, reply, CORRECTED)
            for corrected in self.corrections
            for reply in self.replies
            if corrected != reply
        ]
        if self.lead:
            chosen, rejected = self.replies if self.lead > 0 else self.replies[::-1]
            pairs.append(PreferencePair(self.prompt, chosen, rejected, LABELLED))
        return pairs


@dataclass(frozen=True)
class Agreement:
    """How far people agree on what two or more of them labelled.

    Attributes:
        people: labellers, all of them.
        questions: that two or more of them answered.
        alike: share of the pairs of answers to one question that are the same (None: there is no pair).
        alpha: Krippendorff's alpha for nominal data (2011, "Computing Krippendorff's alpha-reliability"): 1 for perfect
            agreement, 0 for that of chance; None where everybody always gave the same answer, or there is no pair.
    """

    people: int
    questions: int
    alike: float | None
    alpha: float | None

    def __str__(self) -> str:
        if self.people < 2:
            return "from one person"
        if self.alike is None:
            return f"from {self.people} people, who share no question"
        chance = "" if self.alpha is None else f", Krippendorff's alpha {self.alpha:.2f}"
        return f"from {self.people} people, alike in {self.alike:.0%} of {self.questions} shared questions{chance}"


def last_said(labels: Iterable[Label]) -> list[Label]:
    """The last answer of each person to each question: files may hold the same answers, as a backup does."""
    return [*{(label.labeller, label.question()): label for label in labels}.values()]


def verdicts(labels: Iterable[Label]) -> list[Verdict]:
    """One verdict on each question, in the order of its first label. The last answer of a person counts."""
    asked: dict[object, list[Label]] = defaultdict(list)
    for label in last_said(labels):
        asked[label.question()].append(label)
    found = []
    for same in asked.values():
        first = same[0]
        same = [label if label.replies == first.replies else label.turned() for label in same]
        corrections = tuple(dict.fromkeys(label.corrected for label in same if label.corrected))
        lead = sum(label.sign() for label in same)
        found.append(Verdict(first.prompt, first.replies, lead, corrections))
    return found


def agreement(labels: Iterable[Label]) -> Agreement:
    """How far the people agree, each by the last answer. The order of the replies does not matter; a tie and both bad are
    answers of their own."""
    asked: dict[object, list[str]] = defaultdict(list)
    people = set()
    for label in last_said(labels):
        people.add(label.labeller)
        better = {"first": label.replies[0], "second": label.replies[1]}
        asked[label.question()].append(better.get(label.choice, f"\0{label.choice}"))
    shared = [answers for answers in asked.values() if len(answers) > 1]
    # What is chosen differs from question to question: the values of alpha are the better and worse of two, in one order.
    coded = [_coded(question, answers) for question, answers in asked.items() if len(answers) > 1]
    pairs = [one == other for answers in shared for one, other in itertools.combinations(answers, 2)]
    alike = sum(pairs) / len(pairs) if pairs else None
    return Agreement(len(people), len(shared), alike, _alpha(coded))


def _coded(question: object, answers: list[str]) -> list[str]:
    """The answers as places of the replies in alphabetical order, ties and both bad as they are."""
    assert isinstance(question, tuple)
    places = {reply: str(k) for k, reply in enumerate(sorted(question[1]))}
    return [places.get(answer, answer) for answer in answers]


def _alpha(units: list[list[str]]) -> float | None:
    """1 less the disagreement seen over the disagreement by chance, of units with two answers or more."""
    totals = Counter(answer for answers in units for answer in answers)
    n = sum(totals.values())
    expected = n * n - sum(count * count for count in totals.values())
    if not expected:
        return None
    seen = sum(
        sum(one != other for one, other in itertools.permutations(answers, 2)) / (len(answers) - 1) for answers in units
    )
    return 1 - (n - 1) * seen / expected
