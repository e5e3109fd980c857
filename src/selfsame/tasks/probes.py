"""Two probes on other people's files, PersonaMinEdit and PersonaGym.

PersonaMinEdit: does a model prefer a human edit that makes a reply fit the persona to the reply as it was? PersonaGym: do its
answers to questions about a person use that person's traits?
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from selfsame.eval.scoring import strangers
from selfsame.metrics.hits import BenchmarkEvaluator, fits
from selfsame.metrics.persona import PersonaEvaluator
from selfsame.metrics.statistics import Bootstrap, show_estimate
from selfsame.model.reward_model import RewardModel
from selfsame.model.roles import Roles
from selfsame.ratings.likelihood import prompt_of
from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.settings import SamplingSettings
from selfsame.run.logger import Progress
from selfsame.tasks.external import MinimalEdit, Probe
from selfsame.text.keywords import TraitMatcher, words
from selfsame.types import Persona, Prompt

CHUNK = 128
EDIT_ROWS = {
    "likelihood": "mean log-probability per token, persona and context given",
    "likelihood_without_persona": "the same without the persona (what fluency alone gives)",
    "reward": "reward of the reward model",
    "longer": "the edit has more words (a floor)",
}
PROBE_ROWS = {
    "own": "answers that use a trait of the person asked",
    "recited": "answers that repeat five words of the description in a row",
    "own_words": "answers that use a trait without repeating it",
    "other": "the same answers held against a random other person (chance)",
    "without_persona": "answers of the model without the persona (the question's own words)",
}
NO_SCORE = (
    "These are probes without human labels. They are no PersonaScore, which needs an LLM with a rubric: use of the persona is"
    " matched by keywords, which pays for reciting the description and for repeating the question's words."
)


def prefer_edits(
    roles: Roles,
    role: str | None,
    rows: Sequence[MinimalEdit],
    bootstrap: Bootstrap,
    reward: RewardModel | None = None,
    token_budget: int = 4096,
) -> dict[str, Any]:
    """How often an edit is preferred to the original reply: of each row the share of its edits (a tie counts half), with
    intervals over rows.

    Returns:
        `{rows, edits, missing, preferred: {name: estimate}}`, names of `EDIT_ROWS`. A row whose persona or context does not fit
        is missing.
    """
    known = [row for row in rows if fits(roles, prompt_of(row.persona, row.context))]
    texts = [[row.original, *row.edits] for row in known]
    prompts = [prompt_of(row.persona, row.context) for row in known]
    bare = [prompt.with_persona(()) for prompt in prompts]
    evaluator, missing = BenchmarkEvaluator(), [math.nan] * (len(rows) - len(known))
    scores: dict[str, list[list[float]]] = {"likelihood": [], "likelihood_without_persona": [], "reward": []}
    with Progress(len(known), "edits") as bar:
        for at in range(0, len(known), CHUNK):
            part = slice(at, at + CHUNK)
            scores["likelihood"] += evaluator.rank(roles, role, prompts[part], texts[part], token_budget)
            scores["likelihood_without_persona"] += evaluator.rank(roles, role, bare[part], texts[part], token_budget)
            if reward is not None:
                scores["reward"] += reward.score(prompts[part], texts[part])
            bar.advance(len(known[part]))
    scores["longer"] = [[float(len(text.split())) for text in group] for group in texts]
    return {
        "rows": len(rows),
        "edits": sum(len(row.edits) for row in rows),
        "missing": len(missing),
        "preferred": {
            name: bootstrap.share([*map(preferred, scores[name]), *missing]).to_dict()
            for name in EDIT_ROWS
            if scores[name] or name != "reward"
        },
    }


def preferred(scores: Sequence[float]) -> float:
    """The share of the scores after the first that are higher than it; a tie counts half, NaN if any is."""
    if any(map(math.isnan, scores)):
        return math.nan
    first, rest = scores[0], scores[1:]
    return sum((score > first) + (score == first) / 2 for score in rest) / len(rest)


def edits_text(result: dict[str, Any]) -> str:
    """As plain text."""
    lines = [f"{result['rows']} rows, {result['edits']} edits by people, {result['missing']} rows not scored"]
    lines += ["share of the edits that are preferred to the reply as it was (by chance 0.50)"]
    return "\n".join(
        [
            *lines,
            *(
                f"{EDIT_ROWS[name]}: {show_estimate(found)} n={found['count']}"
                for name, found in result["preferred"].items()
            ),
        ]
    )


def ask_probes(
    roles: Roles,
    role: str | None,
    probes: Sequence[Probe],
    sampling: SamplingSettings,
    seed: int,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Answers to the questions, and how many draw on the persona (`PersonaEvaluator.evaluate_expression`, rarity by all the
    personas), with intervals over people.

    Returns:
        `{questions, people, missing, drawn: {name: estimate}, decoding, answers}`, names of `PROBE_ROWS`.
    """
    known = [p for p in probes if fits(roles, Prompt(p.persona, (p.question,)), sampling.max_new_tokens)]
    prompts = [Prompt(p.persona, (p.question,)) for p in known]
    both = [*prompts, *(p.with_persona(()) for p in prompts)]
    engine, answers = RolloutEngine(roles, sampling.batch_size), []
    with Progress(len(both), "answers") as bar:
        for at in range(0, len(both), CHUNK):
            part = both[at : at + CHUNK]
            # The same numbers with the persona and without it.
            places = [(at + k) % max(1, len(known)) for k in range(len(part))]
            answers += engine.reply(role, part, sampling, seed, 0, places)
            bar.advance(len(part))
    replies, without = answers[: len(known)], answers[len(known) :]
    own, people = [p.persona for p in known], [p.person for p in known]
    evaluator = PersonaEvaluator(TraitMatcher([" ".join(p) for p in dict.fromkeys(p.persona for p in probes)]))
    draws = evaluator.evaluate_grounding(own, replies)
    recited = [copies_unprompted(persona, reply) for persona, reply in zip(own, replies, strict=True)]
    drawn = {
        "own": draws,
        "recited": recited,
        "own_words": [d * (1 - r) for d, r in zip(draws, recited, strict=True)],
        "other": evaluator.evaluate_grounding(strangers(own, seed), replies),
        "without_persona": evaluator.evaluate_grounding(own, without),
    }
    return {
        "questions": len(probes),
        "people": len({p.person for p in probes}),
        "missing": len(probes) - len(known),
        "drawn": {name: bootstrap.share(values, people).to_dict() for name, values in drawn.items()},
        "decoding": sampling.model_dump(exclude={"batch_size"}) | {"seed": seed},
        "answers": [
            {"person": p.person, "question": p.question, "answer": reply, "draws": d, "recites": r}
            for p, reply, d, r in zip(known, replies, draws, recited, strict=True)
        ],
    }


def copies_unprompted(persona: Persona, reply: str, run: int = 5) -> float:
    """1 where the reply holds `run` words of the persona in a row, else 0."""
    known, said = words(" ".join(persona)), words(reply)
    runs = {tuple(known[k : k + run]) for k in range(len(known) - run + 1)}
    return float(any(tuple(said[k : k + run]) in runs for k in range(len(said) - run + 1)))


def probes_text(result: dict[str, Any]) -> str:
    """As plain text."""
    lines = [f"{result['questions']} questions to {result['people']} people, {result['missing']} not asked"]
    lines += [
        f"{PROBE_ROWS[name]}: {show_estimate(found)} n={found['count']}" for name, found in result["drawn"].items()
    ]
    return "\n".join([*lines, NO_SCORE])
