"""Words and turns of phrase of a language, for pairs of replies and the audit: what says nothing, denies, agrees or asks.

English has its own here; other languages have a file each in `languages/`. For a language without a file nothing is bland,
denied or cut off on purpose: those reasons are missing from its pairs.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import yaml

from selfsame.data.corruptions import BLAND
from selfsame.text.keywords import TraitMatcher, is_question, sentences
from selfsame.text.language import ENGLISH

_NEVER = re.compile(r"(?!)")


@dataclass(frozen=True)
class Phrases:
    """What is known of a language; a pattern that never matches stands for what is not.

    Attributes:
        bland: replies that fit anywhere and say nothing.
        dangling: a word that cannot end a sentence.
        agrees: words of somebody who agrees or speaks of the other.
        asks: words of somebody who asks for an answer about the bot, or greets.
        claims: words of somebody who speaks of themselves.
        no_claim: words that make a sentence in the first person no plain claim.
        small_talk, in_context: words that a bland reply has, or must not have, to be taken over from the dialogues.
        denials: (what to look for in a sentence, what to write there), the first that fits denies the sentence.
    """

    bland: tuple[str, ...] = ()
    dangling: re.Pattern[str] = _NEVER
    agrees: re.Pattern[str] = _NEVER
    asks: re.Pattern[str] = re.compile("[?？؟]")
    claims: re.Pattern[str] = _NEVER
    no_claim: re.Pattern[str] = _NEVER
    small_talk: re.Pattern[str] = _NEVER
    in_context: re.Pattern[str] = _NEVER
    denials: tuple[tuple[re.Pattern[str], str], ...] = ()


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)


_ENGLISH = Phrases(
    BLAND,
    dangling=_pattern(
        r"an?|the|and|or|but|to|of|my|your|his|her|their|our|with|for|in|on|at|is|are|am|was|because|that|i|i'm|if|so|as"
    ),
    agrees=_pattern(r"\b(?:too|also|either|neither|as well|same here|you|your|we|us|our)\b"),
    asks=_pattern(r"\?|\b(?:tell me|about you|yourself|introduce|how about|what about|welcome|hi|hello)\b"),
    claims=_pattern(r"\b(?:i|my)\b"),
    no_claim=_pattern(
        r"\b(?:never|not|no|wish|want|wanted|would|could|should|might|maybe|try|if|too|also|either|neither|you|your|that|it"
        r"|they|them|hear|heard)\b|n['’]t\b|['’](?:d|ll)\b"
    ),
    small_talk=_pattern(r"\b(?:that's|that is|sounds?|agree|cool|nice|awesome|interesting)\b"),
    in_context=_pattern(r"\b(?:hi|hello|bye|meet|talk\w*|welcome|thanks?|day|go|too|should|will|yes|no)\b|['’]ll\b"),
)


@lru_cache(maxsize=32)
def load_phrases(language: str) -> Phrases:
    """The phrases of a language, by its code."""
    if language == ENGLISH:
        return _ENGLISH
    file = importlib.resources.files("selfsame") / "data" / "languages" / f"{language}.yaml"
    if not file.is_file():
        return Phrases()
    known = yaml.safe_load(file.read_text(encoding="utf-8"))
    patterns = {name: _pattern(known[name]) for name in ("dangling", "agrees", "asks", "claims")}
    denying = tuple((_pattern(found), edit) for found, edit in known["denials"])
    return Phrases(tuple(known["bland"]), no_claim=patterns["agrees"], denials=denying, **patterns)


def denials(reply: str, traits: Sequence[str], matcher: TraitMatcher, phrases: Phrases) -> Iterator[str]:
    """The reply with the sentence that draws on a trait replaced by the trait denied: "Nein, Rotbuschtee bitte." -> "Ich
    trinke nie Rotbuschtee."."""
    space = " " if " " in reply else ""
    for trait in traits:
        denied = _deny(trait, phrases)
        parts = sentences(reply)
        drawing = [k for k, part in enumerate(parts) if not is_question(part) and matcher.matches(trait, part)]
        if denied and drawing:
            yield space.join([*parts[: drawing[0]], denied, *parts[drawing[0] + 1 :]])


def _deny(trait: str, phrases: Phrases) -> str:
    """The trait denied, or affirmed where it is negative; "" where no rule fits."""
    for pattern, edit in phrases.denials:
        match = pattern.search(trait)
        if match:
            # "Tengo dos gatos." -> "No tengo dos gatos.": what was the beginning is one no more.
            rest = trait[:1].lower() + trait[1:] if edit[:1].islower() and match.start() == 0 else trait
            denied = pattern.sub(edit, rest, count=1)
            return denied[:1].upper() + denied[1:]
    return ""
