"""The ranker: its scores are the reward role's, and do not depend on what it was asked before."""

from __future__ import annotations

import math

import pytest
import torch
from test_roles import load, scramble

from selfsame.errors import RunError
from selfsame.model.reward_model import RewardModel
from selfsame.model.settings import LoraSettings
from selfsame.ratings.ranker import RECENT, Ranker, load_ranker
from selfsame.ratings.rows import RatedReply
from selfsame.types import Prompt

PERSONA = ("I have two dogs.",)
TALK = tuple(f"Turn {k}." for k in range(9))


@pytest.fixture
def reward(tiny_models):
    roles = load(tiny_models(), lora=LoraSettings(rank=4))
    roles.add("reward")
    scramble(roles, "reward")
    with torch.no_grad():
        for parameter in roles.heads["reward"].parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return RewardModel(roles)


def row(k, reply, context=("Any pets?",), persona=PERSONA):
    return RatedReply(f"r{k}", f"d{k}", persona, tuple(context), reply)


def test_scores_are_the_rewards(reward):
    rows = [row(0, "Two dogs!"), row(1, "My mother is a nurse.", TALK), row(2, "Two dogs!", persona=())]
    prompts = [Prompt(PERSONA, ("Any pets?",)), Prompt(PERSONA, TALK[-RECENT:]), Prompt((), ("Any pets?",))]
    expected = [reward.compute_reward(p.persona, p.history, r.reply) for p, r in zip(prompts, rows, strict=True)]
    given, alone, adds = (scorer.score(rows) for scorer in Ranker(reward).scorers())
    assert given == pytest.approx(expected, abs=1e-4) and len({round(v, 4) for v in given}) == 3
    assert alone == pytest.approx([reward.compute_reward((), ("",), r.reply) for r in rows], abs=1e-4)
    assert adds == pytest.approx([a - b for a, b in zip(given, alone, strict=True)])


def test_what_cannot_be_scored_is_missing(reward):
    rows = [row(0, ""), row(1, "😀"), row(2, "Yes.", persona=("x " * 900,)), row(3, "Yes.", ())]
    given, alone, adds = (scorer.score(rows) for scorer in Ranker(reward).scorers())
    assert [math.isnan(v) for v in given] == [True, True, True, False]
    assert [math.isnan(v) for v in alone] == [True, True, False, False]
    assert all(map(math.isnan, adds))  # the last has no context


def test_a_persona_that_leaves_no_room_for_a_long_reply_is_missing(reward):
    """A reply is cut to half of the context: a persona that fills more than the rest does not fit."""
    limit, processor = reward.processor.max_length, reward.processor
    persona = next(p for n in range(1, 900) if len(processor.encode_prompt(Prompt(p := ("x " * n,)))) > 0.6 * limit)
    assert math.isnan(Ranker(reward).in_context([row(0, "word " * 900, persona=persona)])[0])


def test_a_dialogue_gets_the_mean_of_the_own_turns(reward):
    ranker = Ranker(reward)
    whole = RatedReply("w", "w", PERSONA, ("Hi!", "My dogs bark.", "Oh.", "I teach.", "Bye."), None)
    turns = whole.own_turns()
    assert ranker.in_context([whole])[0] == pytest.approx(sum(ranker.in_context(turns)) / 2, abs=1e-4)


def test_nothing_depends_on_what_was_asked_before(reward):
    rows = [row(k, f"My dog {k} barks and barks, {'and barks ' * k}") for k in range(6)]
    fresh, used = Ranker(reward), Ranker(reward)
    used.in_context(rows[:3])
    assert used.in_context(rows) == fresh.in_context(rows)  # to the last digit: the same batches


def test_a_package_without_a_ranker(tmp_path):
    with pytest.raises(RunError, match="holds no ranker"):
        load_ranker(tmp_path)
