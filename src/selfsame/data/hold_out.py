"""Who is held out for validation: people, where there are enough of them; else dialogues of the same people."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from selfsame.types import Dialogue, Persona

FEWEST = 10
"""Dialogues of the same people of which some are held out."""


def persona_key(persona: Persona) -> frozenset[str]:
    """What makes two personas the same: their traits, whatever the order and case."""
    return frozenset(" ".join(trait.lower().split()) for trait in persona)


def personas_of(dialogues: Iterable[Dialogue]) -> set[frozenset[str]]:
    """The different personas of the dialogues, as `persona_key` gives them."""
    return {persona_key(persona) for dialogue in dialogues for persona in dialogue.personas if persona}


def hold_out_people(dialogues: Sequence[Dialogue], share: float) -> set[frozenset[str]]:
    """Personas for validation, chosen by hash so that a row more or less changes little.

    Whole groups of personas that talk to one another where the groups are small, so that no dialogue is torn; else
    single personas: a dialogue with one of them is not trained on, and only its side is validated on. At least half of
    the dialogues (or what `share` leaves) stay for training.
    """
    where: dict[frozenset[str], set[int]] = {}
    for k, dialogue in enumerate(dialogues):
        for key in personas_of([dialogue]):
            where.setdefault(key, set()).add(k)
    groups = _connected(dialogues)
    if any(len(set().union(*(where[key] for key in group))) >= 0.2 * len(dialogues) for group in groups):
        groups = [{key} for key in where]
    held: set[frozenset[str]] = set()
    lost: set[int] = set()
    for group in sorted(groups, key=lambda group: min(map(_stable_hash, group))):
        taken = lost.union(*(where[key] for key in group))
        if len(held) < share * len(where) and len(taken) <= max(0.5, share) * len(dialogues):
            held |= group
            lost = taken
    return held


def hold_out_dialogues(dialogues: Sequence[Dialogue], share: float) -> tuple[list[Dialogue], list[Dialogue]]:
    """(dialogues to train on, dialogues held out) where everybody speaks in nearly every dialogue. Two or more are held out,
    chosen by what was said in them; none of fewer than `FEWEST`."""
    if len(dialogues) < FEWEST:
        return list(dialogues), []
    order = sorted(range(len(dialogues)), key=lambda k: _said(dialogues[k]))
    held = {*order[: max(2, round(share * len(dialogues)))]}
    return [d for k, d in enumerate(dialogues) if k not in held], [d for k, d in enumerate(dialogues) if k in held]


def _said(dialogue: Dialogue) -> str:
    text = repr([(turn.speaker, turn.text) for turn in dialogue.turns])
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def told_of_few(train: Sequence[Dialogue], held_out: Sequence[Dialogue]) -> str:
    """What can and cannot be measured where nobody could be held out; one line."""
    count = len(personas_of([*train, *held_out]))
    who = "one persona" if count == 1 else f"{count} personas that speak in nearly all dialogues"
    if not held_out:
        return (
            f"no validation part: {who}, and {len(train)} dialogues are too few to hold any out ({FEWEST} are enough);"
            " nothing is evaluated"
        )
    whose = "the same character" if count == 1 else "the same characters"
    return f"{who}: {len(held_out)} held-out dialogues of {whose}; nothing is said about other characters"


def _connected(dialogues: Sequence[Dialogue]) -> list[set[frozenset[str]]]:
    """Groups of personas connected by dialogues (union-find)."""
    parent: dict[frozenset[str], frozenset[str]] = {}

    def root(key: frozenset[str]) -> frozenset[str]:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for dialogue in dialogues:
        roots = [root(key) for key in personas_of([dialogue])]
        parent.update((other, roots[0]) for other in roots)
    groups: dict[frozenset[str], set[frozenset[str]]] = {}
    for key in parent:
        groups.setdefault(root(key), set()).add(key)
    return list(groups.values())


def _stable_hash(key: frozenset[str]) -> str:
    return hashlib.sha256("\n".join(sorted(key)).encode()).hexdigest()
