"""What the rules see in a reply: the traits that it draws on, their wording, what it is at odds with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selfsame.comparing.side_by_side import marked
from selfsame.errors import SelfsameError
from selfsame.text.contradictions import CONTRADICTION, RuleJudge
from selfsame.text.keywords import TraitMatcher
from selfsame.text.language import ENGLISH, find_language
from selfsame.text.violations import claims, copied_traits, copies_unprompted
from selfsame.types import Persona

_JUDGE = RuleJudge(negation=False)
"""Of long replies many a sentence is negated that has nothing to do with what it shares with a trait."""


@dataclass(frozen=True)
class Seen:
    """What was found.

    Attributes:
        parts: the reply, `[text, kind]` as `comparing.side_by_side.marked` has it.
        drawn: traits that it draws on.
        copied: traits that it recites, where more than one, which may be asked for.
        at_odds: traits, and own turns, that it contradicts.
    """

    parts: Sequence[Sequence[str]]
    drawn: tuple[str, ...] = ()
    copied: tuple[str, ...] = ()
    at_odds: tuple[str, ...] = ()


def look_at(persona: Persona, history: Sequence[str], reply: str) -> Seen:
    """What the rules see in a reply. In a language whose words cannot be counted they see nothing; contradictions are found in
    English alone."""
    try:
        language = find_language((*persona, *history, reply))
        matcher = TraitMatcher(language=language)
        recited = copies_unprompted(persona, reply)
        return Seen(
            parts=marked(persona, reply, recited, language),
            drawn=tuple(persona[k] for k in matcher.drawn(persona, reply)),
            copied=tuple(persona[k] for k in sorted(copied_traits(persona, reply))) if recited else (),
            at_odds=_at_odds(persona, history, reply) if language == ENGLISH else (),
        )
    except SelfsameError:
        return Seen([[reply, ""]])


def _at_odds(persona: Persona, history: Sequence[str], reply: str) -> tuple[str, ...]:
    return tuple(p for p, said in claims(persona, history, reply) if _JUDGE.label(p, said) == CONTRADICTION)
