"""Which traits a text draws on, by shared content words; for the audit, the pair generator and the evaluators.

A word counts by its English stem ("hiking" -> "hike") and by how rare the stem is in the documents given (idf). This
sees words, not meanings: "my pups" does not draw on "I have two dogs." for it.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

import snowballstemmer

from selfsame.types import Example, Persona

_FUNCTION_WORDS = """
a about above across after again against ago ain all almost along already also although always am among an and another
any anybody anyone anything anywhere are aren around as at away back be became because become been before behind being
below beside besides between both but by can cannot cant could couldn did didn didnt do does doesn doesnt doing don
done dont down during each either else enough especially etc even ever every everybody everyone everything everywhere
except few for from further had hadn has hasn have haven having he hence her here hers herself him himself his how
however i id if im in indeed instead into is isn isnt it its itself ive just least less let lets ll lot lots m many
may maybe me might mine more most much must mustn my myself near need needn neither never no nobody none nor not
nothing now nowhere of off often oh ok okay on once one ones only onto or other others otherwise ought our ours
ourselves out over own per perhaps quite rather re really s same shall shan she should shouldn since so some somebody
somehow someone something sometimes somewhere soon still such t than that thats the their theirs them themselves then
there therefore theres these they this those though through throughout till to together too toward towards under
unless until up upon us usually ve very was wasn wasnt we well were weren what whatever whats when whenever where
wherever whether which while who whoever whole whom whose why will with within without won would wouldn yeah yep yes
yet you your youre yours yourself yourselves
"""
_CHAT_WORDS = """
able actually agree amazing ask available awesome bad best better big bit bye call came care check come coming cool
course currently day definitely different enjoy enjoyed enjoying exactly excited fan fantastic far favorite favourite
feel feeling find fine first forward fun gave get gets getting give glad go goes going gone gonna good goodbye got
gotten great guess guy guys happen happy hard hear heard hello help hey hi hobbies hobby hope hopefully huge idea
important interest interested interesting interests keep kind kinda kinds know last later learn learned learning left
like liked likes little long look looking looks love loved loves luck made main make makes making mean meet meeting
met mind moment name need needs new next nice old particular passion past people person place places plan plans please
pleasure pretty probably put question really reason recently right said same saw say says see seem seems sense sir
sometime soon sorry sort sound sounds special start started stuff super suppose sure take taking talk talking tell
thank thanks thing things think thinking thought time times today tomorrow tonight took total totally tried true try
trying type understand use used usual want wanted wants way ways week weekend went whoa wish wonder wonderful worry
wow year years
"""
STOP_WORDS = frozenset((_FUNCTION_WORDS + _CHAT_WORDS).split())
"""English function words, and the words of small talk that say nothing about a person."""

_NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
NUMBER_WORDS = {word: str(value) for value, word in enumerate(_NUMBERS, start=2)}
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+|\n+")
_stemmer = snowballstemmer.stemmer("english")


@lru_cache(maxsize=200_000)
def _stem(word: str) -> str:
    """The stem of one lower-case word, "" for a word without content. A contraction keeps its first part ("dog's")."""
    word = word.split("'")[0]
    if word in STOP_WORDS or (len(word) == 1 and word.isascii() and not word.isdigit()):
        return ""
    return NUMBER_WORDS.get(word) or _stemmer.stemWord(word)


def words(text: str) -> list[str]:
    """The words of a text, lower-case, with straight apostrophes; any script."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).replace("’", "'").lower())


def word_spans(text: str) -> list[tuple[int, int, str]]:
    """(start, end, word) of each word as it stands in the text; the words are those of `words`, but for letters that NFKC
    takes apart."""
    return [(*found.span(), found[0].lower()) for found in _WORD.finditer(text.replace("’", "'"))]


def content_stems(text: str) -> list[str]:
    """Stems of the words with content, in order, repeats kept. Number words up to twelve become digits."""
    return [stem for word in words(text) if (stem := _stem(word))]


def sentences(text: str) -> list[str]:
    """The sentences of a text, stripped, empty ones left out."""
    return [clean for part in _SENTENCE_END.split(text) if (clean := part.strip())]


@lru_cache(maxsize=50_000)
def statement_stems(text: str) -> frozenset[str]:
    """Content stems of the sentences that are not questions: asking "Do you have dogs?" claims no dogs."""
    return frozenset(stem for part in sentences(text) if not part.endswith("?") for stem in content_stems(part))


@lru_cache(maxsize=50_000)
def trait_stems(trait: str) -> frozenset[str]:
    """Content stems of one trait."""
    return frozenset(content_stems(trait))


def plain_match(persona: Persona, text: str) -> bool:
    """Plain keyword matching, as most persona-chat work scores it: any content stem of any trait occurs in the text."""
    stems = set(content_stems(text))
    return any(not stems.isdisjoint(trait_stems(trait)) for trait in persona)


def shared_words(persona: Iterable[str], text: str) -> list[str]:
    """The different words of a text, lower-case, that share their stem with a content word of a trait."""
    stems = frozenset(stem for trait in persona for stem in trait_stems(trait))
    return [word for word in dict.fromkeys(words(text)) if _stem(word) in stems]


class TraitMatcher:
    """Tells which traits a text draws on; `documents` (traits, replies, anything typical) say how rare a word is.

    A text draws on a trait when its statements hold at least `share` of the trait's idf mass, or one stem of the trait
    at least as rare as `rare` (on the scale of `idf`). Without documents all stems are equally rare: one is enough.
    """

    def __init__(self, documents: Iterable[str] = (), share: float = 0.5, rare: float = 0.6) -> None:
        self.share, self.rare = share, rare
        self._frequency: Counter[str] = Counter()
        count = 0
        for count, document in enumerate(documents, start=1):  # noqa: B007 (the last value is the number of documents)
            self._frequency.update(set(content_stems(document)))
        self._log_count = math.log(count + 1) if count else 0.0

    @classmethod
    def of(cls, examples: Iterable[Example]) -> TraitMatcher:
        """A matcher that knows how rare words are in these personas and turns."""
        return cls(text for e in examples for text in (*e.persona, *e.turns))

    def idf(self, stem: str) -> float:
        """Rarity from 0 (in every document) to 1 (in none): log((n + 1) / (df + 1)) / log(n + 1)."""
        if not self._log_count:
            return 1.0
        return 1.0 - math.log(self._frequency[stem] + 1) / self._log_count

    def mass(self, stems: Iterable[str]) -> float:
        """Summed idf; exact, so that it does not depend on the order of a set."""
        return math.fsum(self.idf(stem) for stem in stems)

    def matches(self, trait: str, text: str) -> bool:
        """Whether `text` draws on `trait`."""
        return self.stems_match(trait_stems(trait), statement_stems(text))

    def stems_match(self, trait: frozenset[str], text: Iterable[str]) -> bool:
        """`matches` on stems already taken."""
        shared = trait.intersection(text)
        if not shared:
            return False
        if any(self.idf(stem) >= self.rare for stem in shared):
            return True
        return self.mass(shared) >= self.share * self.mass(trait)

    def drawn(self, persona: Sequence[str], text: str) -> tuple[int, ...]:
        """Indices of the traits that `text` draws on."""
        stems = statement_stems(text)
        return tuple(k for k, trait in enumerate(persona) if self.stems_match(trait_stems(trait), stems))
