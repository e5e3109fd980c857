"""Which traits a text draws on, by shared content words; for the audit, the pair generator and the evaluators.

A word counts by its stem ("hiking" -> "hike") and by how rare the stem is in the documents given (idf). This sees words,
not meanings: "my pups" does not draw on "I have two dogs." for it. A matcher knows the language of its documents.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

import snowballstemmer

from selfsame.text import language as languages
from selfsame.text.language import COMPOUNDING, ENGLISH, find_language, need_segmenter, split_compounds, split_runs
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
# Vowels and marks of Devanagari, Thai and Arabic are no letters for `\w`, but parts of words.
_LETTER = r"(?:[^\W_]|[\u0900-\u0963\u0e31-\u0e4e\u064b-\u0652])"
_WORD = re.compile(rf"{_LETTER}+(?:'{_LETTER}+)*")
_SENTENCE_END = re.compile(
    r"(?<=[.!?])[\"')\]]*\s+|(?<=[。！？．])(?![”’」』）])\s*|(?<=[。！？．][”’」』）])\s*|(?<=[।؟])\s*|\n+"
)
_QUESTION_MARKS = ("?", "？", "؟")
_stemmer = snowballstemmer.stemmer("english")


@lru_cache(maxsize=200_000)
def _stem(word: str, language: str = ENGLISH) -> str:
    """The stem of one lower-case word, "" for a word without content. A contraction keeps its first part ("dog's")."""
    if language != ENGLISH:
        return languages.stem(word, language)
    word = word.split("'")[0]
    if word in STOP_WORDS or (len(word) == 1 and word.isascii() and not word.isdigit()):
        return ""
    return NUMBER_WORDS.get(word) or _stemmer.stemWord(word)


def words(text: str) -> list[str]:
    """The words of a text, lower-case, with straight apostrophes; any script."""
    plain = unicodedata.normalize("NFKC", text).replace("’", "'").lower()
    found = _WORD.findall(plain)
    return found if plain.isascii() else [part for word in found for part in split_runs(word)]


def word_spans(text: str) -> list[tuple[int, int, str]]:
    """(start, end, word) of each word as it stands in the text; the words are those of `words`, but for letters that NFKC
    takes apart."""
    spans = []
    for found in _WORD.finditer(text.replace("’", "'")):
        start = found.start()
        for part in split_runs(found[0]):
            spans.append((start, start + len(part), part.lower()))
            start += len(part)
    return spans


def count_words(text: str) -> int:
    """The length of a text in words: what stands between spaces, or the words of a script without spaces."""
    return len(text.split()) if text.isascii() else sum(len(split_runs(part)) for part in text.split())


def is_question(sentence: str) -> bool:
    """Whether a sentence ends with a question mark, of any script."""
    return sentence.endswith(_QUESTION_MARKS)


def content_stems(text: str, language: str = ENGLISH) -> list[str]:
    """Stems of the words with content, in order, repeats kept. English number words up to twelve become digits."""
    return [stem for word in words(text) if (stem := _stem(word, language))]


def sentences(text: str) -> list[str]:
    """The sentences of a text, stripped, empty ones left out."""
    return [clean for part in _SENTENCE_END.split(text) if (clean := part.strip())]


@lru_cache(maxsize=50_000)
def statement_stems(text: str, language: str = ENGLISH) -> frozenset[str]:
    """Content stems of the sentences that are not questions: asking "Do you have dogs?" claims no dogs."""
    said = (part for part in sentences(text) if not is_question(part))
    return frozenset(stem for part in said for stem in content_stems(part, language))


@lru_cache(maxsize=50_000)
def trait_stems(trait: str, language: str = ENGLISH) -> frozenset[str]:
    """Content stems of one trait."""
    return frozenset(content_stems(trait, language))


def plain_match(persona: Persona, text: str, language: str = ENGLISH) -> bool:
    """Plain keyword matching, as most persona-chat work scores it: any content stem of any trait occurs in the text."""
    stems = set(content_stems(text, language))
    return any(not stems.isdisjoint(trait_stems(trait, language)) for trait in persona)


def shared_words(persona: Iterable[str], text: str, language: str = ENGLISH) -> list[str]:
    """The different words of a text, lower-case, that share their stem with a content word of a trait."""
    stems = frozenset(stem for trait in persona for stem in trait_stems(trait, language))
    return [word for word in dict.fromkeys(words(text)) if _stem(word, language) in stems]


class TraitMatcher:
    """Tells which traits a text draws on; `documents` (traits, replies, anything typical) say how rare a word is.

    A text draws on a trait when its statements hold at least `share` of the trait's idf mass, or one stem of the trait
    at least as rare as `rare` (on the scale of `idf`). Without documents all stems are equally rare: one is enough.
    `language`: code of the texts' language; None: that of the documents.

    Raises:
        DataError: words of the documents' language cannot be counted.
        ConfigError: the package that finds its words is not installed.
    """

    def __init__(
        self, documents: Iterable[str] = (), share: float = 0.5, rare: float = 0.6, language: str | None = None
    ) -> None:
        self.share, self.rare = share, rare
        documents = [*documents]
        self.language = find_language(documents) if language is None else language
        need_segmenter(self.language)
        self._parts: dict[str, tuple[str, str]] = {}
        self._frequency = self._count(documents)
        if self.language in COMPOUNDING:
            self._parts = split_compounds(self._frequency, self.language)
            self._frequency = self._count(documents)
        self._log_count = math.log(len(documents) + 1) if documents else 0.0

    def _count(self, documents: Iterable[str]) -> Counter[str]:
        """In how many documents each stem is."""
        return Counter(stem for document in documents for stem in set(self.stems(document)))

    def stems(self, text: str) -> list[str]:
        """`content_stems` in the matcher's language; of a compound, those of its parts."""
        found = content_stems(text, self.language)
        return [part for stem in found for part in self._parts.get(stem, (stem,))] if self._parts else found

    def trait_stems(self, trait: str) -> frozenset[str]:
        """Content stems of one trait in the matcher's language."""
        return frozenset(self.stems(trait)) if self._parts else trait_stems(trait, self.language)

    def statement_stems(self, text: str) -> frozenset[str]:
        """`statement_stems` in the matcher's language."""
        found = statement_stems(text, self.language)
        return frozenset(part for stem in found for part in self._parts.get(stem, (stem,))) if self._parts else found

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
        return self.stems_match(self.trait_stems(trait), self.statement_stems(text))

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
        stems = self.statement_stems(text)
        return tuple(k for k, trait in enumerate(persona) if self.stems_match(self.trait_stems(trait), stems))


def question_words(text: str) -> frozenset[str]:
    """The words of the question that a turn ends with; empty without one."""
    last = words(sentences(text)[-1]) if is_question(text) else []
    # "And you?" means nothing alone: all that the partner said counts.
    return frozenset(words(text) if 0 < len(last) <= 4 else last)
