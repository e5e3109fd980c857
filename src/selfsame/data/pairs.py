"""Preference pairs, prompts and test sets from the examples of a data set.

The chosen reply is what the person said; the rejected one is worse for one known reason (`REASONS`). A pair that is not
surely right is not made: a wrong label costs more than a missing one. Length says nothing: for each reason the
rejected replies are as often longer as shorter, and by as many words.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

from selfsame.data.corruptions import bland_replies, contradictions, cut_off, loops, spoken
from selfsame.data.phrases import denials, load_phrases
from selfsame.data.settings import PairSettings
from selfsame.data.sites import Site, TestSets, answers_at
from selfsame.text.keywords import (
    TraitMatcher,
    count_words,
    is_question,
    plain_match,
    question_words,
    sentences,
    words,
)
from selfsame.text.language import ENGLISH
from selfsame.types import Answer, Example, Persona, PreferencePair, Prompt

REASONS = ("persona_swapped", "contradicted", "bland", "degenerate", "recited", "speaker_mixed")
"""Why a rejected reply is worse: another life; a denied trait; nothing said; cut off, looping; recited; the partner's life."""

HELD_OUT = 1
"""The seed of held-out pairs and prompts, whatever a run's seed is: runs with different seeds meet the same prompts."""
_HAS_QUESTION = re.compile("[?？؟]")


def length_accuracy(pairs: Sequence[PreferencePair]) -> float:
    """How well "the longer reply is better" ranks the pairs: 0.5 is chance. Ties count half; NaN without pairs."""
    wins = [_sign(count_words(pair.chosen) - count_words(pair.rejected)) for pair in pairs]
    return sum(1 + win for win in wins) / (2 * len(wins)) if wins else float("nan")


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


class PreferenceGenerator:
    """Makes pairs, prompts and test sets. Item k is a function of (examples, settings, seed, k): asking for more does
    not change the first ones. After `generate_pairs`, `missing` counts by reason the pairs that another reason stood in
    for, or that could not be made at all.
    """

    def __init__(self, examples: Sequence[Example], settings: PairSettings | None = None, seed: int = 0) -> None:
        self.settings = settings or PairSettings()
        self.seed = seed
        self.missing: Counter[str] = Counter()
        self.matcher = TraitMatcher(text for e in examples for text in (*e.persona, *e.replies))
        self.phrases = load_phrases(self.matcher.language)
        self._sites = [site for example in examples for site in self._find_sites(example)]

    def _find_sites(self, example: Example) -> Iterator[Site]:
        for k, (reply, traits) in enumerate(zip(example.replies, example.traits, strict=True)):
            if reply:
                yield Site(example, k, self.matcher.drawn(example.persona, reply) if traits is None else traits)

    @cached_property
    def _grounded(self) -> list[Site]:
        """Sites where the person answers out of the persona."""
        return [s for s in self._sites if s.traits and s.asked and 3 <= count_words(s.reply) <= 60]

    @cached_property
    def _unasked(self) -> list[Site]:
        """Sites mid-dialogue where the partner asked for nothing and the person did not speak of the persona."""
        return [
            site
            for site in self._sites
            if site.k
            and not site.traits
            and 4 <= count_words(site.reply) <= 60
            and self.matcher.stems(site.asked)
            and not self.phrases.asks.search(site.asked)
        ]

    def extract_prompts(self, count: int | None = None) -> list[Prompt]:
        """The prompts of `extract_items`."""
        return [item.prompt for item in self.extract_items(count)]

    def extract_items(self, count: int | None = None, grounded_share: float = 1.0) -> list[Answer]:
        """Different prompts in random order with what was said to them: first those whose gold reply draws on the persona, then
        others. With a `grounded_share` below 1 both are as many as that share of the count says, fewer in that proportion where
        there are not enough of the first."""
        sites = self._shuffled("prompts")
        count = len(sites) if count is None else count
        items: dict[Prompt, Answer] = {}

        def take(gold_traits: bool, limit: int) -> None:
            for site in sites:
                if len(items) >= limit:
                    return
                if bool(site.traits) is gold_traits:
                    (item,) = answers_at([site])
                    items.setdefault(item.prompt, item)

        take(True, round(grounded_share * count))
        take(False, count if grounded_share == 1 else min(count, round(len(items) / grounded_share)))
        return list(items.values())

    def create_test_sets(self, consistency_size: int = 500, engagement_size: int = 300) -> TestSets:
        """Consistency: the gold reply draws on the persona. Engagement: any turn mid-dialogue. Fewer if fewer exist."""
        consistency = [site for site in self._shuffled("consistency") if site.traits and site.asked]
        engagement = [s for s in self._shuffled("engagement") if s.asked and 0 < s.k < len(s.example.replies) - 1]
        return TestSets(
            answers_at(consistency[:consistency_size]),
            answers_at(engagement[:engagement_size]),
            (consistency_size, engagement_size),
        )

    def _shuffled(self, purpose: str) -> list[Site]:
        return random.Random(f"{self.seed}/{purpose}").sample(self._sites, len(self._sites))

    def generate_pairs(self, count: int | None = None) -> list[PreferencePair]:
        """`count` pairs (default: of the settings), the reasons in turn; fewer where no reason can be made any more."""
        self.missing = Counter()
        balance = {reason: [0, 0] for reason in REASONS}
        made: Counter[str] = Counter()
        used: set[tuple[str, int, str]] = set()
        pairs: list[PreferencePair] = []
        for k in range(self.settings.count if count is None else count):
            rng = random.Random(f"{self.seed}/pair/{k}")
            wanted = REASONS[k % len(REASONS)]
            order = sorted(REASONS, key=lambda reason: (reason != wanted, made[reason]))
            found = next(((r, pair) for r in order if (pair := self._make(r, rng, balance[r], used))), None)
            if found is None:
                self.missing[wanted] += 1
                continue
            reason, (site, rejected) = found
            made[reason] += 1
            self.missing.update([wanted] if reason != wanted else [])
            used.add((site.example.id, site.k, rejected))
            pairs.append(PreferencePair(site.example.prompt(site.k), site.reply, rejected, reason))
        return pairs

    def _make(
        self, reason: str, rng: random.Random, balance: list[int], used: set[tuple[str, int, str]], sites: int = 6
    ) -> tuple[Site, str] | None:
        """A site and a rejected reply, chosen among those of a few sites so that the lengths of a reason even out."""
        pool = self._unasked if reason == "recited" else self._grounded
        options: list[tuple[Site, str]] = []
        for site in rng.sample(pool, min(len(pool), 40)):
            made = [text for text in self._candidates(reason, site, rng) if self._fits(site, text)]
            fresh = [text for text in made if (site.example.id, site.k, text) not in used]
            options += [(site, text) for text in dict.fromkeys(fresh)]
            if len({id(site) for site, _ in options}) >= sites:
                break
        if not options:
            return None
        choice = _even_out(options, balance, rng)
        difference = count_words(choice[1]) - count_words(choice[0].reply)
        balance[0] += _sign(difference)
        balance[1] += difference
        return choice

    def _fits(self, site: Site, text: str) -> bool:
        chosen, rejected = count_words(site.reply), count_words(text)
        within = rejected and max(chosen, rejected) <= self.settings.length_ratio * min(chosen, rejected)
        return bool(within) and words(text) != words(site.reply)

    def _candidates(self, reason: str, site: Site, rng: random.Random) -> Iterable[str]:
        """Replies to this site that are worse for this reason, of any length."""
        makers = {"persona_swapped": self._swapped, "bland": self._said_blandly, "recited": self._recited}
        if reason in makers:
            return makers[reason](site, rng)
        if reason == "contradicted":
            traits = [site.example.persona[k] for k in site.traits]
            if self.matcher.language != ENGLISH:
                return denials(site.reply, traits, self.matcher, self.phrases)
            return contradictions(site.reply, traits, self._own_stems(site), rng)
        if reason == "degenerate":
            return [*cut_off(site.reply, self.phrases.dangling), *loops(site.reply, self.settings.length_ratio, rng)]
        return self._mixed(site)

    def _said_blandly(self, site: Site, rng: random.Random) -> list[str]:
        """Empty phrases without a word of the persona; many of them in a row are no reply that anybody would give."""
        length = count_words(site.reply)
        if length > 20 or not self._bland:
            return []
        made = bland_replies(self._bland, length, self.settings.length_ratio, rng)
        return [text for text in made if not plain_match(site.example.persona, text, self.matcher.language)]

    def _swapped(self, site: Site, rng: random.Random) -> list[str]:
        """What people with another persona answered to the most similar questions."""
        asked = question_words(site.asked)
        rarest = sorted(asked, key=lambda word: (self._count(word), word))[:6]
        near: dict[int, Site] = {}
        for word in rarest:
            found = self._answers.get(word, [])
            near.update((id(other), other) for other in rng.sample(found, min(40, len(found))))
        scored = [(self._similarity(asked, question_words(other.asked)), other) for other in near.values()]
        best = sorted((pair for pair in scored if pair[0] >= 0.2), key=lambda pair: -pair[0])[:12]
        best = [pair for pair in best if pair[0] >= 0.6 * best[0][0]]
        return [
            other.reply for _, other in best if self._is_foreign(site, other.reply, other.example.persona, other.traits)
        ]

    @cached_property
    def _answers(self) -> dict[str, list[Site]]:
        """Grounded answers that stand on their own, by the words of the question."""
        index: dict[str, list[Site]] = defaultdict(list)
        for site in self._grounded:
            if not self.phrases.agrees.search(site.reply) and not _HAS_QUESTION.search(site.reply):
                for word in sorted(question_words(site.asked)):
                    index[word].append(site)
        return dict(index)

    def _count(self, word: str) -> int:
        return len(self._answers.get(word, ()))

    def _similarity(self, first: frozenset[str], second: frozenset[str]) -> float:
        """Jaccard similarity of two questions, every word weighted by its rarity among the questions; 0..1."""
        # fsum, whose result does not depend on the order of a set: the same pairs in every process.
        shared, all_words = (
            math.fsum(1 / (1 + self._count(word)) ** 0.5 for word in part) for part in (first & second, first | second)
        )
        return shared / all_words if all_words else 0.0

    def _own_stems(self, site: Site) -> frozenset[str]:
        """Everything the person says or is known to be, in the whole dialogue."""
        example = site.example
        return frozenset(stem for text in (*example.persona, *example.replies) for stem in self.matcher.stems(text))

    def _is_foreign(self, site: Site, text: str, persona: Persona, traits: Sequence[int]) -> bool:
        """Whether `text` claims, of another's persona, something this person never says, and nothing this person is."""
        if not traits or not site.example.persona or self.matcher.drawn(site.example.persona, text):
            return False
        said = self.matcher.statement_stems(text)
        drawn = frozenset().union(*(self.matcher.trait_stems(persona[k]) for k in traits))
        claimed = said & drawn or said
        mass = self.matcher.mass(claimed)
        return mass > 0.3 and self.matcher.mass(claimed - self._own_stems(site)) >= 0.6 * mass

    @cached_property
    def _bland(self) -> tuple[str, ...]:
        """The written bland replies, and those without content that five dialogues or more share."""
        seen: dict[str, set[str]] = defaultdict(set)
        for site in self._sites:
            short = count_words(site.reply) <= 14 and not _HAS_QUESTION.search(site.reply)
            if short and not self.matcher.stems(site.reply):
                seen[site.reply].add(site.example.id)
        mined = [text for text, ids in seen.items() if len(ids) >= 5 and self.phrases.small_talk.search(text)]
        mined = [text for text in mined if not self.phrases.in_context.search(text)]
        return tuple(dict.fromkeys([*self.phrases.bland, *sorted(mined)]))

    def _recited(self, site: Site, rng: random.Random) -> list[str]:
        """Own traits, one after the other, that have nothing to do with what was said."""
        topic = {*self.matcher.stems(site.asked), *self.matcher.stems(site.reply)}
        traits = [trait for trait in site.example.persona if topic.isdisjoint(self.matcher.trait_stems(trait))]
        picks = [rng.sample(traits, rng.randint(1, len(traits))) for _ in range(6)] if traits else []
        said = spoken if self.matcher.language == ENGLISH else str
        return [" ".join(map(said, pick)) for pick in picks]

    def _mixed(self, site: Site) -> list[str]:
        """What the partner says about the partner, here or later, as if it were the bot's own."""
        persona, turns = site.example.partner_persona, site.example.turns[0::2]
        made = []
        for k, turn in enumerate(turns):
            claims = " ".join(part for part in sentences(turn) if not is_question(part))
            traits = self.matcher.drawn(persona, claims)
            if (
                k != site.k
                and not self.phrases.agrees.search(claims)
                and self._is_foreign(site, claims, persona, traits)
            ):
                made.append(claims)
        return made


def _even_out(options: list[tuple[Site, str]], balance: list[int], rng: random.Random) -> tuple[Site, str]:
    """Any option that keeps the balance (signs, words) near zero, or else the one that brings it nearest."""

    def after(option: tuple[Site, str]) -> tuple[int, int]:
        difference = count_words(option[1]) - count_words(option[0].reply)
        return abs(balance[0] + _sign(difference)), abs(balance[1] + difference)

    good = [option for option in options if after(option)[0] <= 2 and after(option)[1] <= 6]
    return rng.choice(good) if good else min(options, key=after)
