"""Faults of a reply, as far as rules can find them.

It uses no trait where the persona is called for, or one where it is not; it recites; it repeats itself or an earlier turn;
or it denies what the person is. The evaluators count the same recitations and repetitions; their judge of contradictions
knows more than these rules.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from difflib import SequenceMatcher

from selfsame.text.contradictions import CONTRADICTION, Pair, RuleJudge
from selfsame.text.keywords import TraitMatcher, content_stems, is_question, sentences, words
from selfsame.text.language import ENGLISH
from selfsame.types import Persona, Prompt

VIOLATIONS = ("ungrounded", "off_topic_grounding", "contradiction", "copying_unprompted", "repetition", "nothing_new")
REMEMBERED = 8
"""Own earlier turns that a reply is held against, the last ones."""
COPIED_SHARE = 0.8
"""A trait is copied where so much of its words, four at least, stands in the reply in one piece."""
ALIKE = 0.8
"""Two turns are nearly the same word for word from this share of words on, 2 M / (a + b) of M in the same order."""
# Measured: the rule holds for 6 % of people's replies that use a trait, and for .5 to .6 of a looping bot's turns.
RETOLD_SHARE = 0.75
"""A reply tells nothing new where so much of its content words, each counted once, stands in own earlier turns."""
LONGEST_TURN = 200
"""Words of a turn that are looked at for that."""
_RULES = RuleJudge(negation=False)


def find_violations(
    matcher: TraitMatcher, prompt: Prompt, reply: str, gold_traits: Sequence[int] | None = None
) -> dict[str, bool]:
    """Which of the rules `VIOLATIONS` a reply breaks. `gold_traits`: indices of the traits that the gold reply uses. If it uses
    some, a reply that draws on no trait at all is ungrounded; if it uses none, a reply that draws on any is grounded off topic;
    None: unknown."""
    draws = bool(gold_traits is not None and matcher.drawn(prompt.persona, reply))
    pairs = claims(prompt.persona, prompt.history, reply)
    return {
        # Any trait counts: more samples earn it, so it is learned faster. Measured: PPO came to .14 ungrounded,
        # with the gold reply's own trait asked for to .45.
        "ungrounded": bool(gold_traits) and not draws,
        # Measured: people use a trait in 12 % of their turns, in 7 % of those that answer no question.
        "off_topic_grounding": not gold_traits and draws,
        "contradiction": matcher.language == ENGLISH and any(_RULES.label(*pair) == CONTRADICTION for pair in pairs),
        "copying_unprompted": copies_unprompted(prompt.persona, reply, gold_traits),
        "repetition": says_again(prompt.history[1::2], reply, matcher.language),
        "nothing_new": says_nothing_new(prompt.history[1::2], reply, matcher.language),
    }


def claims(persona: Persona, history: Sequence[str], reply: str) -> list[Pair]:
    """The pairs that a judge is asked about a reply: each trait, and each of the last own turns, with what the reply says
    apart from its questions. `history`: the partner's turns at even places."""
    said = _statements(reply)
    own = [text for turn in history[1::2][-REMEMBERED:] if (text := _statements(turn))]
    return [(premise, said) for premise in dict.fromkeys((*persona, *own)) if words(said) and words(premise)]


def copied_traits(persona: Persona, reply: str) -> set[int]:
    """Indices of the traits whose wording stands in the reply (see `COPIED_SHARE`)."""
    said = f" {' '.join(words(reply))} "
    return {k for k, trait in enumerate(persona) if _is_copied(words(trait), said)}


def copied_words(persona: Persona, said: Sequence[str]) -> set[int]:
    """Places of those words of a reply, `said`, that stand in the wording of a trait."""
    parts = [part for trait in persona for part in _copies(words(trait))]
    return {
        at + k
        for part in parts
        for at in range(len(said) - len(part) + 1)
        if list(said[at : at + len(part)]) == part
        for k in range(len(part))
    }


def copies_unprompted(persona: Persona, reply: str, gold_traits: Collection[int] | None = None) -> bool:
    """Whether the reply copies the wording of two traits or more, or of one that was not called for. All of `gold_traits` may
    be copied; None: any one may."""
    copied = copied_traits(persona, reply)
    allowed = {min(copied, default=0)} if gold_traits is None else set(gold_traits)
    return bool(copied - allowed)


def says_again(earlier: Sequence[str], reply: str, language: str = ENGLISH) -> bool:
    """Whether the reply says one of the turns `earlier`, or itself, again (see `repeats`, `stutters`)."""
    return stutters(reply, language) or repeats(earlier, reply)


def repeats(earlier: Sequence[str], reply: str) -> bool:
    """Whether the reply says one of the turns `earlier` again nearly word for word (see `alike`)."""
    said = words(reply)[:LONGEST_TURN]
    return bool(said) and any(alike(said, words(turn)[:LONGEST_TURN]) for turn in earlier)


def says_nothing_new(earlier: Sequence[str], reply: str, language: str = ENGLISH) -> bool:
    """Whether the reply says and asks nothing that the turns `earlier` have not told, in any words (see `RETOLD_SHARE`)."""
    said = set(content_stems(" ".join(words(reply)[:LONGEST_TURN]), language))
    told = content_stems(" ".join(earlier), language)
    return bool(said) and len(said.intersection(told)) >= RETOLD_SHARE * len(said)


def stutters(reply: str, language: str = ENGLISH) -> bool:
    """Whether three words in a row come twice, or one content word three times."""
    said = words(reply)[:LONGEST_TURN]
    runs = Counter(zip(said, said[1:], said[2:], strict=False))
    stems = Counter(content_stems(" ".join(said), language))
    return max(runs.values(), default=0) > 1 or max(stems.values(), default=0) > 2


def alike(one: list[str], other: list[str]) -> bool:
    """Whether two turns of a and b words are nearly the same (see `ALIKE`)."""
    matcher = SequenceMatcher(None, one, other, autojunk=False)
    bounds = (matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio)  # each above the next, and faster
    return all(bound() >= ALIKE for bound in bounds)


def _is_copied(trait: list[str], said: str) -> bool:
    return any(f" {' '.join(part)} " in said for part in _copies(trait))


def _copies(trait: list[str]) -> list[list[str]]:
    """The stretches of a trait's words each of which alone is a copy of it."""
    width = max(min(4, len(trait)), math.ceil(COPIED_SHARE * len(trait)))
    return [trait[k : k + width] for k in range(len(trait) - width + 1)] if trait else []


def _statements(text: str) -> str:
    return " ".join(part for part in sentences(text) if not is_question(part))
