"""Self-play: whether a system stays one person through a whole conversation.

Held-out people meet in pairs. The system speaks for both, each from its own side (two copies of a model that talk: Li et al.
2016, arXiv:1606.01541), and one side's turns are measured as `metrics/conversation.py` says. Both sides are the system's, so
a partner who rambles is part of the measurement.

Systems are compared fairly: pairings and questions depend on the data and the seed alone, and the random numbers of a turn
are a function of the seed, the turn and the dialogue.

The question that is asked twice is made from a trait, without the words that would answer it (`text/questions.py`). Where
the rules make none, nothing is asked, and the dialogue is missing from these measures.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from selfsame.data.loader import persona_key
from selfsame.metrics.conversation import Scores, Talk, estimates, mean_of_known, mistaken, score_talks
from selfsame.metrics.hits import fits
from selfsame.metrics.persona import PersonaEvaluator
from selfsame.model import parallel
from selfsame.rollout.policy import Policy
from selfsame.run.logger import Progress
from selfsame.run.records import SelfplayRecord
from selfsame.text.keywords import trait_stems
from selfsame.text.questions import question_for
from selfsame.types import Example, Persona, Prompt

SAMPLES = 3
"""Dialogues that are kept whole."""


@dataclass(frozen=True)
class Meeting:
    """Two people who are to talk. `gold`: a dialogue that the first of them really led; `stranger`: the persona of a third
    (empty: there is none); `question`: what the partner asks twice about own trait `trait` (empty: nothing)."""

    gold: Example
    partner: Persona
    stranger: Persona
    question: str
    trait: int


def evaluate_selfplay(
    policy: Policy,
    examples: Sequence[Example],
    evaluator: PersonaEvaluator,
    size: int,
    turns: int,
    system: str = "model",
) -> SelfplayRecord:
    """The measures of `score_talks` on dialogues of the system with itself, and what to read them beside.

    Args:
        policy: who speaks for both.
        examples: held-out sides of dialogues.
        evaluator: with matcher, judge and bootstrap.
        size: dialogues (at most as many as there are different personas).
        turns: own turns of each, four or more.
        system: its name in the progress bar.

    Returns:
        the measures. `references` are the same measures of what the same people really said, in as many turns, and of the
        system's own turns held against someone who is not there; `left_out`: personas too long for the model.
    """
    fitting = [e for e in examples if fits(policy.roles, Prompt(e.persona), policy.sampling.max_new_tokens)]
    people = meetings(fitting, size, policy.seed)
    talks = play(policy, people, turns, system)
    scores = score_talks(evaluator, talks)
    references = {
        "gold": score_talks(evaluator, [_gold(meeting, turns) for meeting in people]),
        "random_persona": _held_against_strangers(evaluator, people, talks),
    }
    return SelfplayRecord.model_validate(
        {
            "items": len(talks),
            "turns": turns,
            "left_out": len({persona_key(e.persona) for e in examples} - {persona_key(e.persona) for e in fitting}),
            "metrics": estimates(evaluator, scores),
            "references": {name: estimates(evaluator, found) for name, found in references.items()},
            "dialogues": [
                {"dialogue": talk.dialogue, "scores": {name: mean_of_known(s[k]) for name, s in scores.items()}}
                for k, talk in enumerate(talks)
            ],
            "samples": [_sample(*pair) for pair in zip(people[:SAMPLES], talks, strict=False)],
        }
    )


# --- who meets whom -----------------------------------------------------------------------------------------------------


def meetings(examples: Sequence[Example], count: int, seed: int) -> list[Meeting]:
    """At most `count` pairs of different people: drawn in a ring, everybody meets the next one, and the one after that is
    the stranger. People without a trait that can be drawn on are left out; of one person alone nobody meets anyone."""
    known: dict[Any, Example] = {}
    for example in examples:
        if any(map(trait_stems, example.persona)):
            known.setdefault(persona_key(example.persona), example)
    ring = random.Random(f"{seed}/selfplay").sample(list(known.values()), len(known))
    found = []
    for k in range(min(count, len(ring)) if len(ring) > 1 else 0):
        gold, partner, third = (ring[(k + step) % len(ring)] for step in range(3))
        stranger = third.persona if len(ring) > 2 else ()
        found.append(Meeting(gold, partner.persona, stranger, *question_for(gold.persona)))
    return found


# --- talking ------------------------------------------------------------------------------------------------------------


def play(policy: Policy, people: Sequence[Meeting], turns: int, system: str = "model") -> list[Talk]:
    """The dialogues, turn by turn, all together; the partner speaks first. What no longer fits into the model's context is
    cut as in every prompt, oldest exchanges first."""
    asked = (1, turns - 2)
    said: list[list[str]] = [[] for _ in people]
    with Progress(2 * turns * len(people), f"self-play {system}", enabled=parallel.is_main()) as progress:
        for turn in range(2 * turns):
            own = turn % 2 == 1
            given = {k: p.question for k, p in enumerate(people) if not own and turn // 2 in asked and p.question}
            speaking = [k for k in range(len(people)) if k not in given]
            prompts = [_prompt(people[k], said[k], own) for k in speaking]
            # Single replies hide loops. Measured: PPO said an earlier turn again in .72 of its turns, SFT in .19.
            replies = policy.generate(prompts, step=1 + turn, places=speaking)  # step 0: single replies
            given |= dict(zip(speaking, replies, strict=True))
            for k, history in enumerate(said):
                history.append(given[k].strip())
            progress.advance(len(people))
    return [
        Talk(p.gold.id, p.gold.persona, p.partner, tuple(texts), asked if p.question else (), p.trait, p.question)
        for p, texts in zip(people, said, strict=True)
    ]


def _prompt(meeting: Meeting, said: Sequence[str], own: bool) -> Prompt:
    """What the side whose turn it is sees: itself, and the other one first (who said nothing where it opens)."""
    return Prompt(meeting.gold.persona, tuple(said)) if own else Prompt(meeting.partner, ("", *said))


# --- what it is read beside ---------------------------------------------------------------------------------------------


def _gold(meeting: Meeting, turns: int) -> Talk:
    gold = meeting.gold
    return Talk(gold.id, gold.persona, gold.partner_persona, gold.turns[: 2 * turns])


def _held_against_strangers(evaluator: PersonaEvaluator, people: Sequence[Meeting], talks: Sequence[Talk]) -> Scores:
    """What the measures give by chance: a stranger's persona in place of the own one, for `mistaken_identity` in place of
    the partner's."""
    pairs = [(talk, meeting.stranger) for meeting, talk in zip(people, talks, strict=True) if meeting.stranger]
    scores = score_talks(evaluator, [replace(talk, persona=stranger, asked=()) for talk, stranger in pairs])
    scores["mistaken_identity"] = [mistaken(evaluator.matcher, replace(talk, partner=s)) for talk, s in pairs]
    del scores["repetition"]  # has nothing to do with the persona
    return scores


def _sample(meeting: Meeting, talk: Talk) -> dict[str, Any]:
    return {
        "dialogue": talk.dialogue,
        "persona": list(talk.persona),
        "partner_persona": list(talk.partner),
        "asked": {"question": meeting.question, "trait": talk.trait, "own_turns": [k + 1 for k in talk.asked]},
        "turns": list(talk.turns),
    }
