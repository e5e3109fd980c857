"""The audit of dialogues: `audit` counts what is wrong, shows examples and names what clean-up removes.

Synthetic dialogues carry unfilled placeholders, copies of one conversation, and speakers who claim the other's persona. A model
trained on them learns exactly that.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from selfsame.data.phrases import Phrases, load_phrases
from selfsame.text.keywords import TraitMatcher, count_words, is_question, sentences, words
from selfsame.types import Dialogue, Turn

LONG_TURN = 100
"""Words from which on a turn counts as very long: a chat turn has about twelve."""
NEAR_DUPLICATE = 0.8
"""Jaccard similarity of word triples from which on two dialogues count as one."""
EXAMPLES = 3
"""Examples kept for each kind."""

CONTROL_MARKER = re.compile(r"\[(?:PERSONA|DIALOGUE|RESPONSE|SEP)\]|<\|[^|<>\n]{1,40}\|>|</?s>")
_SLOT = (
    r"(?:"
    r"names?|username|user|hometown|home town|city|town|country|state|location|place|restaurant|school"
    r"|university|college|major|occupation|job title|company|age|gender|hair color|eye color|link|url"
    r"|phone number|number|date|time|address|team|movie|movie title|book|song|band|game|author|title|hobby"
    r"|neighborhood|field of study"
    r")"
)
PLACEHOLDER = re.compile(
    rf"[\[<](?:[\w'’]+[ _]){{0,4}}{_SLOT}(?: here| \d)?[\]>]"
    r"|[\[<(](?:insert|user[ _]?\d)[^\[\]<>()\n]{0,40}[\]>)]|\[(?:your|their|list of|name of) [^\[\]\n]{1,40}\]"
    rf"|\((?:(?:[\w'’]+|user[ _]?\d(?:['’]s)?) )?{_SLOT}\)"
    r"|\{\{?(?:user|char|name|username)\}?\}|\buser[ _]?[12]\b",
    re.IGNORECASE,
)
"""A slot somebody forgot to fill: "[user 1's name]", "[city]", "<name>", "(your name)", "[insert hobby]", "User 2"."""


class Kind(NamedTuple):
    """One kind of fault; `removes`: clean-up leaves such dialogues out, otherwise it is only reported."""

    name: str
    removes: bool
    meaning: str


KINDS = (
    Kind("empty", True, "fewer than two turns"),
    Kind("one_sided", True, "only one of the two speaks"),
    Kind("placeholder", True, 'a slot nobody filled, "[user 1\'s name]"'),
    Kind("speaker_swap", True, "a speaker claims the other's persona"),
    Kind("duplicate", True, "the same turns as a dialogue before it"),
    Kind("near_duplicate", True, f"{NEAR_DUPLICATE:.0%} the same word triples as a dialogue before it"),
    Kind("control_marker", False, "a control marker in the text (it stays text)"),
    Kind("same_speaker", False, "two turns in a row by one speaker (they are joined)"),
    Kind("long_turn", False, f"a turn of more than {LONG_TURN} words"),
)


@dataclass
class Finding:
    """The dialogues with one kind of fault, in order, and an excerpt of the first few."""

    kind: Kind
    ids: list[str] = field(default_factory=list)
    examples: list[tuple[str, str]] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.ids)

    def add(self, id: str, excerpt: str) -> None:
        self.ids.append(id)
        if len(self.examples) < EXAMPLES:
            self.examples.append((id, " ".join(excerpt.split())[:100]))


@dataclass
class Audit:
    """What `audit` found in `total` dialogues: a finding for every kind, also for those without a case."""

    total: int
    findings: dict[str, Finding]

    @property
    def removed(self) -> set[str]:
        """Ids of the dialogues that clean-up leaves out."""
        return {id for finding in self.findings.values() if finding.kind.removes for id in finding.ids}

    def reasons(self) -> dict[str, str]:
        """Why each dialogue goes: its id and the first kind (in the order of `KINDS`) that removes it."""
        found: dict[str, str] = {}
        for name, finding in self.findings.items():
            if finding.kind.removes:
                found.update({id: name for id in finding.ids if id not in found})
        return found

    def share(self, name: str) -> float:
        """Share of the dialogues with this kind of fault, 0..1."""
        return self.findings[name].count / self.total if self.total else 0.0

    def table(self) -> str:
        """Plain text: one line a kind, then the first examples."""
        lines = [f"{'kind':<15}{'dialogues':>10}{'share':>8}  {'clean-up':<9} meaning"]
        for name, finding in self.findings.items():
            action = "removes" if finding.kind.removes else "keeps"
            lines.append(f"{name:<15}{finding.count:>10}{self.share(name):>8.1%}  {action:<9} {finding.kind.meaning}")
        share = len(self.removed) / self.total if self.total else 0.0
        lines.append(f"{'removed':<15}{len(self.removed):>10}{share:>8.1%}  of {self.total} dialogues")
        for name, finding in self.findings.items():
            lines += [f"  {name}: {id}: {excerpt}" for id, excerpt in finding.examples]
        return "\n".join(lines)


def audit(dialogues: Sequence[Dialogue]) -> Audit:
    """Every fault in `dialogues`, whose ids must differ. Copies are found in order: the first one is never the copy."""
    result = Audit(len(dialogues), {kind.name: Finding(kind) for kind in KINDS})
    matcher = TraitMatcher(text for dialogue in dialogues for text in _texts(dialogue))
    checks: dict[str, Callable[[Dialogue], str | None]] = {
        "empty": lambda dialogue: f"{len(dialogue.turns)} turns" if len(dialogue.turns) < 2 else None,
        "one_sided": _find_one_sided,
        "placeholder": lambda dialogue: _find_pattern(dialogue, PLACEHOLDER),
        "speaker_swap": lambda dialogue: find_swap(dialogue, matcher),
        "control_marker": lambda dialogue: _find_pattern(dialogue, CONTROL_MARKER),
        "same_speaker": _find_same_speaker,
        "long_turn": _find_long_turn,
    }
    for dialogue in dialogues:
        for name, check in checks.items():
            if (excerpt := check(dialogue)) is not None:
                result.findings[name].add(dialogue.id, excerpt)
    for name, id, first in _find_copies(dialogues):
        result.findings[name].add(id, f"copies {first}")
    return result


def _texts(dialogue: Dialogue) -> Iterator[str]:
    yield from (trait for persona in dialogue.personas for trait in persona)
    yield from (turn.text for turn in dialogue.turns)


def _find_pattern(dialogue: Dialogue, pattern: re.Pattern[str]) -> str | None:
    """What stands around the first match."""
    for text in _texts(dialogue):
        if match := pattern.search(CONTROL_MARKER.sub("", text) if pattern is PLACEHOLDER else text):
            return match.string[max(0, match.start() - 30) : match.end() + 30]
    return None


def _find_one_sided(dialogue: Dialogue) -> str | None:
    speakers = {turn.speaker for turn in dialogue.turns}
    return f"only speaker {speakers.pop()} speaks" if len(dialogue.turns) > 1 and len(speakers) == 1 else None


def _find_same_speaker(dialogue: Dialogue) -> str | None:
    pairs = zip(dialogue.turns, dialogue.turns[1:], strict=False)
    return next((second.text for first, second in pairs if first.speaker == second.speaker), None)


def _find_long_turn(dialogue: Dialogue) -> str | None:
    # A word takes at least two characters with its space: most turns need no counting.
    return next((turn.text for turn in dialogue.turns if len(turn.text) > 2 * LONG_TURN and _is_long(turn)), None)


def _is_long(turn: Turn) -> bool:
    return count_words(turn.text) > LONG_TURN


def find_swap(dialogue: Dialogue, matcher: TraitMatcher) -> str | None:
    """The first sentence in which a speaker claims a trait of the other's persona, or None.

    It is a plain first-person statement that shares weighty words with a trait of the other and no word with the
    speaker's own traits, which no annotation says it draws on; and the other has not said those words before (else it
    may be an answer: "I love karate as well!").
    """
    said: tuple[set[str], set[str]] = (set(), set())
    phrases = load_phrases(matcher.language)
    own_stems = [frozenset().union(*map(matcher.trait_stems, persona)) for persona in dialogue.personas]
    for turn in dialogue.turns:
        own, other = turn.speaker - 1, 2 - turn.speaker
        stems = set(matcher.stems(turn.text))
        foreign = set() if turn.traits else stems - own_stems[own] - said[other]
        said[own].update(stems)
        if foreign.isdisjoint(own_stems[other]):
            continue
        for sentence in sentences(turn.text):
            said_here = matcher.stems(sentence)
            claimed = foreign.intersection(said_here)
            if not _is_claim(sentence, phrases) or not own_stems[own].isdisjoint(said_here):
                continue
            if any(_weighty(claimed, trait, matcher) for trait in dialogue.personas[other]):
                return sentence
    return None


def _is_claim(sentence: str, phrases: Phrases) -> bool:
    """A statement about oneself: no question, wish, denial, agreement or remark about the other."""
    return not is_question(sentence) and bool(phrases.claims.search(sentence)) and not phrases.no_claim.search(sentence)


def _weighty(stems: set[str], trait: str, matcher: TraitMatcher) -> bool:
    """Whether the stems hold most of what the trait says, and that is more than a common hobby ("video games")."""
    shared = matcher.trait_stems(trait) & stems
    mass = matcher.mass(shared)
    if not shared or mass < 0.6 * matcher.mass(matcher.trait_stems(trait)):
        return False
    return mass >= 1.0 or any(matcher.idf(stem) >= matcher.rare for stem in shared)


def _find_copies(dialogues: Sequence[Dialogue]) -> Iterator[tuple[str, str, str]]:
    """(kind, id of the copy, id of the first) for exact and near copies."""
    vocabulary: dict[str, int] = defaultdict(lambda: len(vocabulary))
    first_with: dict[tuple[str, ...], str] = {}
    kept: list[tuple[str, np.ndarray]] = []
    for dialogue in dialogues:
        key = tuple(" ".join(words(turn.text)) for turn in dialogue.turns)
        first = first_with.setdefault(key, dialogue.id)
        if first != dialogue.id and any(key):
            yield "duplicate", dialogue.id, first
        else:
            kept.append((dialogue.id, _triples(" ".join(key), vocabulary)))
    yield from (("near_duplicate", copy, first) for copy, first in _near_copies(kept))


def _triples(text: str, vocabulary: dict[str, int]) -> np.ndarray:
    """Sorted hashes of the word triples of a text, uint64."""
    ids = np.array([vocabulary[word] for word in text.split()], dtype=np.uint64)
    if len(ids) < 3:
        return np.unique(ids)
    with np.errstate(over="ignore"):  # hashing wraps around
        mixed = (ids[:-2] * np.uint64(0x9E3779B97F4A7C15)) ^ (ids[1:-1] * np.uint64(0xC2B2AE3D27D4EB4F))
        mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9) + ids[2:]
    return np.unique(mixed)


def _near_copies(kept: list[tuple[str, np.ndarray]], bands: int = 12, rows: int = 5) -> Iterator[tuple[str, str]]:
    """(copy, first): candidates by MinHash (Broder 1997) in bands, then checked exactly. Two dialogues at the threshold
    meet in one of 12 bands of 5 with probability 1 - (1 - 0.8^5)^12 = 0.992."""
    random = np.random.default_rng(0)
    multipliers = random.integers(1, 2**63, size=(bands * rows, 1), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for position, (id, triples) in enumerate(kept):
        if not len(triples):
            continue
        keys = _signature(triples, multipliers, bands)
        candidates = sorted({other for key in keys for other in buckets[key]})
        first = next((other for other in candidates if _jaccard(kept[other][1], triples) >= NEAR_DUPLICATE), None)
        if first is not None:
            yield id, kept[first][0]
            continue  # a copy takes no bucket: copies are compared with firsts only
        for key in keys:
            buckets[key].append(position)


def _signature(triples: np.ndarray, multipliers: np.ndarray, bands: int) -> list[tuple[int, bytes]]:
    """One key per band: the smallest hashes of the set under the band's multipliers."""
    with np.errstate(over="ignore"):
        smallest = ((triples ^ (triples >> np.uint64(31))) * multipliers).min(axis=1)
    return [(band, part.tobytes()) for band, part in enumerate(np.split(smallest, bands))]


def _jaccard(first: np.ndarray, second: np.ndarray) -> float:
    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared / (len(first) + len(second) - shared)
