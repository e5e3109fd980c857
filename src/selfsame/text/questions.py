"""Questions made from traits by rules, for English sentences of common forms in the present.

A question asks for subject and verb; what follows them is the answer and stays out ("I drive a night bus." gives "What do you
drive?"). Questions that people asked in the data would be better English. But nearly all of them lean on earlier turns ("Why
do you stay?"), and a reply that uses a trait need not be the answer to the question before it.
"""

from __future__ import annotations

from selfsame.text.keywords import content_stems, sentences, trait_stems, words
from selfsame.types import Persona

_ADVERBS = frozenset("never always really also often usually still sometimes only now".split())  # noqa: SIM905
_MODALS = frozenset("can can't cannot don't won't must should".split())  # noqa: SIM905
_PLACES = frozenset("in at near by under".split())  # noqa: SIM905
_PARTICLES = frozenset("up for with over on to about of out after into off from as".split())  # noqa: SIM905
_WISHES = frozenset("want wanting like love hope plan planning need hate learning studying trying prefer".split())  # noqa: SIM905
"""Verbs after which "to" begins another verb."""
_NOT_TURNED = """
was were had did lost grew got met won went came saw took made found left broke ran wrote bought sold taught thought brought
spent began became knew fell used felt kept gave told quit would could will might may once recently just do does not
"""
_ODD = frozenset(_NOT_TURNED.split())
"""Words in the verb's place that the rules do not turn round, beside those in -ed."""


def question_for(persona: Persona) -> tuple[str, int]:
    """(question, index of the trait it is about): of the first trait that no other trait of the persona shares its question
    with and that says more than the question; one with a content word ("What is your favourite food?") before others
    ("Who are you?"). ("", 0) where there is none."""
    asked = [question_about(trait) for trait in persona]
    fit = [
        k
        for k, question in enumerate(asked)
        if question and asked.count(question) == 1 and trait_stems(persona[k]) - set(content_stems(question))
    ]
    best = min(fit, key=lambda k: (not content_stems(asked[k]), k), default=None)
    return ("", 0) if best is None else (asked[best], best)


def question_about(trait: str) -> str:
    """The question; empty for a sentence of another form, or in another language."""
    said = words((sentences(trait) or [""])[0])
    if said[:1] == ["my"]:
        return _about_mine(said[1:])
    start = {"i'm": ["am"], "i've": ["have"], "i": []}.get(said[0]) if said else None
    if start is None:
        return ""
    said = start + said[1:]
    if said[:2] == ["have", "got"]:
        said = ["have", *said[2:]]
    elif start == ["have"]:
        return ""  # "I've been to Spain."
    return _about_me(said)


def _about_mine(said: list[str]) -> str:
    verb = next((word for word in said[1:5] if word in ("is", "are")), None)
    if verb is None:
        return ""
    return f"What {verb} your {' '.join(said[: said.index(verb)])}?"


def _about_me(said: list[str]) -> str:
    """`said`: what follows "I"."""
    if len(said) < 2:
        return ""
    first, *rest = said
    if first == "am":
        if rest[0] == "from":
            return "Where are you from?"
        return _ask("are", rest) if rest[0].endswith("ing") and len(rest[0]) > 4 else "Who are you?"
    if first in _MODALS:
        return _ask("can't" if first == "cannot" else first, rest)
    return _ask("do", said)


def _ask(helper: str, said: list[str]) -> str:
    """`said`: verb and what follows it, maybe an adverb before it."""
    adverbs = said[:1] if said[0] in _ADVERBS else []
    verb, *rest = said[len(adverbs) :] or [""]
    odd = _ODD | _ADVERBS | _PARTICLES | _PLACES
    if not rest or verb in odd or verb.endswith(("ed", "n't")) or rest[0] in {*_ADVERBS, "not"}:
        return ""
    asked = " ".join([helper, "you", *adverbs, verb])
    if verb in _WISHES and rest[0] == "to":
        return f"What {asked} to {'be' if rest[1:2] == ['be'] else 'do'}?"
    if rest[0] in _PLACES:
        return f"Where {asked}?"
    particles = [word for k, word in enumerate(rest) if all(w in _PARTICLES for w in rest[: k + 1])]
    return f"What {' '.join([asked, *particles])}?"
