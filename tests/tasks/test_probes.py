"""Minimal edits against one plain forward per reply; answers to questions about a person, beside a random other person."""

from __future__ import annotations

import math

import pytest
from test_benchmark import naive
from test_roles import load, scramble

from selfsame.eval.scoring import strangers
from selfsame.metrics.statistics import Bootstrap
from selfsame.model.reward_model import RewardModel
from selfsame.ratings.likelihood import prompt_of
from selfsame.rollout.engine import Reply, RolloutEngine
from selfsame.rollout.settings import SamplingSettings
from selfsame.tasks.external import MinimalEdit, Probe
from selfsame.tasks.probes import (
    NO_SCORE,
    ask_probes,
    copies_unprompted,
    edits_text,
    prefer_edits,
    preferred,
    probes_text,
)

FEW = Bootstrap(resamples=100)
EDITS = [
    MinimalEdit((f"i have {k} dogs .",), ("any pets ?", "no .", "none ?")[: 1 + k % 3], "no .", ("two dogs .", "yes ."))
    for k in range(8)
]
PEOPLE = ("A chemist from Leeds.", "A carpenter who paints.", "A nurse.")
PROBES = [Probe(p, (p,), "Persona Consistency", f"Question {k}?") for p in PEOPLE for k in range(2)]


@pytest.fixture
def roles(tiny_models):
    return load(tiny_models())


def test_edits_are_preferred_where_a_plain_forward_prefers_them(roles):
    result = prefer_edits(roles, None, EDITS, FEW)
    for name, told in (("likelihood", True), ("likelihood_without_persona", False)):
        shares = []
        for row in EDITS:
            prompt = prompt_of(row.persona if told else (), row.context)
            first, *rest = (naive(roles, None, prompt, text) for text in (row.original, *row.edits))
            shares.append(sum(o > first for o in rest) / 2)
        assert result["preferred"][name]["value"] == pytest.approx(sum(shares) / 8)
    assert result["preferred"]["longer"]["value"] == pytest.approx(0.75)  # "yes ." is as long
    assert (result["rows"], result["edits"], result["missing"]) == (8, 16, 0) and "reward" not in result["preferred"]
    assert "8 rows, 16 edits by people" in edits_text(result)


def test_edits_by_the_reward_model(roles):
    roles.add("reward")
    scramble(roles, "reward")
    reward = RewardModel(roles)
    found = prefer_edits(roles, None, EDITS, FEW, reward)["preferred"]["reward"]
    scores = [[reward.compute_reward(r.persona, prompt_of((), r.context).history, t) for t in (r.original, *r.edits)]
              for r in EDITS]  # fmt: skip
    assert found["value"] == pytest.approx(sum(map(preferred, scores)) / 8)


def test_what_does_not_fit_is_missing(roles):
    long = MinimalEdit(("word " * 900,), ("hi",), "no .", ("yes .",))
    result = prefer_edits(roles, None, [*EDITS, long], FEW)
    assert result["missing"] == 1 and result["preferred"]["likelihood"]["missing"] == 1
    nothing = prefer_edits(roles, None, [long], FEW)
    assert math.isnan(nothing["preferred"]["likelihood"]["value"]) and "–" in edits_text(nothing)


def test_preferred():
    assert [preferred(s) for s in ([1.0, 2.0, 0.0], [1.0, 1.0], [1.0, 2.0, 2.0])] == [0.5, 0.5, 1.0]
    assert math.isnan(preferred([1.0, math.nan]))


def test_answers_that_draw_on_the_person(roles, monkeypatch):
    """A model that calls everyone a chemist is right about one person in three, told or not."""

    def sample(self, role, prompts, numbers_NR, temperature, top_p):
        return [[Reply(roles.processor.encode_reply("A chemist I am."), [], True)] for _ in prompts]

    monkeypatch.setattr(RolloutEngine, "sample", sample)
    result = ask_probes(roles, None, PROBES, SamplingSettings(), 0, FEW)
    drawn = result["drawn"]
    assert drawn["own"]["value"] == drawn["without_persona"]["value"] == pytest.approx(1 / 3)
    asked = strangers([p.persona for p in PROBES], 0)
    assert drawn["other"]["value"] == pytest.approx(sum("chemist" in p[0] for p in asked) / 6)
    assert (result["questions"], result["people"], result["missing"]) == (6, 3, 0)
    assert [a["draws"] for a in result["answers"]] == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert result["answers"][0]["person"] == PEOPLE[0] and result["answers"][0]["question"] == "Question 0?"
    assert NO_SCORE in probes_text(result)


def test_recitation(roles, monkeypatch):
    """Who repeats the description draws on it; in other words nobody does then."""
    people = ["A chemist from Leeds who sings at weddings.", "A carpenter who paints big boats and houses."]
    probes = [Probe(p, (p,), "Persona Consistency", "Who are you?") for p in people]

    def sample(self, role, prompts, numbers_NR, temperature, top_p):
        return [
            [Reply(roles.processor.encode_reply("I am a CHEMIST from Leeds who sings!"), [], True)] for _ in prompts
        ]

    monkeypatch.setattr(RolloutEngine, "sample", sample)
    result = ask_probes(roles, None, probes, SamplingSettings(), 0, FEW)
    assert [result["drawn"][name]["value"] for name in ("own", "recited", "own_words")] == [0.5, 0.5, 0.0]
    assert [a["recites"] for a in result["answers"]] == [1.0, 0.0]
    assert copies_unprompted(("A chemist from Leeds who sings.",), "A chemist from Leeds, I sing.") == 0.0
    assert copies_unprompted((), "") == copies_unprompted(("Short.",), "Short.") == 0.0


def test_a_model_is_asked_and_long_personas_are_not(roles):
    long = Probe("long", ("word " * 900,), "Persona Consistency", "Why?")
    settings = SamplingSettings(max_new_tokens=4)
    result = ask_probes(roles, None, [*PROBES, long], settings, 3, FEW)
    assert result["missing"] == 1 and len(result["answers"]) == 6
    assert result["decoding"] == {"max_new_tokens": 4, "temperature": 0.7, "top_p": 0.95, "retries": 0, "seed": 3}
    assert ask_probes(roles, None, [*PROBES, long], settings, 3, FEW) == result
