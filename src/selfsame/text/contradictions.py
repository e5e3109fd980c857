"""A judge made of hand-written rules on words: negation, numbers, opposites, and things that a person has once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from selfsame.text.keywords import NUMBER_WORDS, TraitMatcher, content_stems, words
from selfsame.text.language import ENGLISH
from selfsame.types import LABELS

CONTRADICTION, NEUTRAL, ENTAILMENT = range(len(LABELS))
Pair = tuple[str, str]
_NEGATING = """
no not never none nobody nothing neither nor cannot cant dont doesnt didnt isnt arent wasnt werent wont wouldnt couldnt
shouldnt havent hasnt hadnt aint without hardly barely hate hates hated dislike dislikes disliked stopped quit dont don
doesn didn isn aren wasn weren won wouldn couldn haven hasn hadn
"""
_NEGATION = frozenset(_NEGATING.split())
_OPPOSITES = """
love hate|like dislike|like hate|love dislike|enjoy hate|enjoy dislike|adore hate|single married|married divorced|
single engaged|old young|tall short|rich poor|big small|large small|thin fat|early late|morning night|day night|hot cold|
summer winter|alive dead|happy sad|happy unhappy|healthy sick|vegan meat|vegetarian meat|vegan steak|vegetarian steak|
vegan bacon|vegetarian bacon|vegan burgers|employed unemployed|working retired|employed retired|city country|
city farm|urban rural|inside outside|indoors outdoors|introvert extrovert|shy outgoing|quiet loud|clean messy|tidy messy|
right left|male female|man woman|boy girl|husband wife|optimist pessimist|believe atheist|religious atheist|
church atheist|sober drunk|smoker nonsmoker|first last|full part|always never|student retired|fast slow|strong weak|
cheap expensive|easy difficult|blonde brunette|only siblings|child siblings|homeless house
"""
_CLASSES = """
job: teacher nurse doctor lawyer chef cook engineer programmer developer accountant mechanic farmer pilot waiter waitress
 bartender librarian plumber electrician carpenter police policeman fireman firefighter soldier artist musician actor dentist
 secretary cashier scientist writer photographer journalist banker barista hairdresser veterinarian vet therapist
pet: dog dogs cat cats hamster hamsters rabbit rabbits parrot parrots snake snakes turtle turtles goldfish lizard lizards
 ferret ferrets horse horses puppy puppies kitten kittens
colour: red blue green yellow orange purple pink black white brown grey gray
kin: brother sister mother father son daughter
meal: pizza pasta sushi tacos steak burgers salad spaghetti lasagna chicken seafood curry
country: usa america canada england france germany italy spain mexico japan china india australia russia ireland brazil
 florida texas california ohio alaska hawaii michigan london paris chicago
drink: coffee tea beer wine water soda milk juice whiskey
vehicle: car truck bike motorcycle bus jeep toyota honda ford bmw tesla
sport: football soccer baseball basketball tennis hockey golf swimming running
instrument: guitar piano violin drums flute trumpet cello bass
music: rock jazz country classical rap metal pop blues
season: summer winter spring fall autumn
"""
_HAVE_ONE = frozenset("job colour country season".split())  # noqa: SIM905
"""Of these a person has one at a time; of the others only where both sentences claim a favourite or an only one."""
_FAVOURITE = re.compile(r"\bfav(?:ou?rite)?s?\b|\bonly\b|\bbest\b|\bmost\b", re.IGNORECASE)
_HYPOTHETICAL = frozenset("if would could might may wish maybe perhaps used want hope".split())  # noqa: SIM905


@dataclass(frozen=True)
class RuleJudge:
    """Hand-written rules on words. Two sentences about the same thing contradict where one of them is negated, their
    numbers differ, an opposite occurs, or they name different ones of what a person has one of; the first entails the
    second where it holds its words. It sees words, not meanings: most of what contradicts it calls neutral.

    Args:
        negation: whether a sentence and its negation contradict. Of what people say in long replies many a sentence is negated
            that has nothing to do with what they share with a trait.
        sure: probability of the label that a rule gives; the other two share the rest.
        threshold: as every judge has it: the label that a rule gives counts.
        share: of a sentence's content words, by rarity, that have to occur in the other for both to be about the same.
    """

    sure: float = 0.8
    share: float = 0.5
    threshold: float = 0.5
    matcher: TraitMatcher = field(default_factory=TraitMatcher)
    name: str = "rules"
    language: str = ENGLISH
    negation: bool = True

    def probabilities(self, pairs: Sequence[Pair]) -> np.ndarray:
        """(N, 3) in the order of `LABELS`; NaN where a side has no word."""
        found_N3 = np.full((len(pairs), 3), (1 - self.sure) / 2)
        for row, (premise, hypothesis) in zip(found_N3, pairs, strict=True):
            if words(premise) and words(hypothesis):
                row[self.label(premise, hypothesis)] = self.sure
            else:
                row[:] = np.nan
        return found_N3

    def label(self, premise: str, hypothesis: str) -> int:
        """Which label the rules give."""
        one, other = words(premise)[:400], words(hypothesis)[:400]
        if _HYPOTHETICAL & (set(one) ^ set(other)):
            return NEUTRAL
        first, second = set(content_stems(" ".join(one))), set(content_stems(" ".join(other)))
        odd = self.negation and negated(one) != negated(other)
        if self._clash(premise, hypothesis, one, other, first, second):
            return NEUTRAL if odd else CONTRADICTION
        if self._about(first, second) >= self.share:
            return CONTRADICTION if odd else ENTAILMENT if self._about(first, second) > 0.99 else NEUTRAL
        return NEUTRAL

    def _clash(
        self, premise: str, hypothesis: str, one: list[str], other: list[str], first: set[str], second: set[str]
    ) -> bool:
        shared = first & second
        if opposite_words(one, other):
            return True
        numbers = [{_number(word) for word in side} - {""} for side in (one, other)]
        if all(numbers) and not numbers[0] & numbers[1] and {s for s in shared if not s.isdigit()}:
            return True
        favourite = bool(_FAVOURITE.search(premise) and _FAVOURITE.search(hypothesis))
        kinds = [_kinds(side) for side in (one, other)]
        return any(
            not kinds[0][kind] & kinds[1][kind] and (favourite or (kind in _HAVE_ONE and self._same_frame(one, other)))
            for kind in kinds[0].keys() & kinds[1].keys()
        )

    @staticmethod
    def _same_frame(one: list[str], other: list[str]) -> bool:
        """Whether both speak of the speaker, or neither does."""
        mine = frozenset(("i", "i'm", "im", "my", "me"))
        return bool(mine & set(one)) == bool(mine & set(other))

    def _about(self, own: set[str], of: set[str]) -> float:
        """Share of `of`, by rarity, that occurs in `own`."""
        mass = self.matcher.mass(of)
        return self.matcher.mass(own & of) / mass if mass else 0.0


def opposite_words(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether one side has a word and the other its opposite."""
    return any((a in one and b in other) or (b in one and a in other) for a, b in _opposites())


@lru_cache(maxsize=1)
def _opposites() -> tuple[Pair, ...]:
    pairs = [part.split() for part in " ".join(_OPPOSITES.split()).split("|")]
    return tuple((one, other) for one, other in pairs)


@lru_cache(maxsize=1)
def _kind_of() -> dict[str, tuple[str, str]]:
    """word -> (kind, its singular)."""
    found = {}
    for part in re.split(r"\n(?=\w)", _CLASSES.strip()):
        kind, _, members = part.partition(":")
        found |= {word: (kind, content_stems(word)[0]) for word in members.split() if content_stems(word)}
    return found


def _kinds(tokens: Sequence[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for token in tokens:
        if token in _kind_of():
            kind, stem = _kind_of()[token]
            found.setdefault(kind, set()).add(stem)
    return found


def negated(tokens: Sequence[str]) -> bool:
    """Whether the sentence is negated: an odd number of negations."""
    return sum(token.replace("'", "") in _NEGATION or token.endswith("n't") for token in tokens) % 2 == 1


def _number(word: str) -> str:
    return word if word.isdigit() else NUMBER_WORDS.get(word, "")
