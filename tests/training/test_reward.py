"""Samples that the reward trainer adds: against what the person said, and against each other."""

from __future__ import annotations

import pytest
import torch
from stages import LORA, pairs
from test_roles import load, scramble

from selfsame.errors import RunError
from selfsame.rollout.engine import RolloutEngine
from selfsame.text.keywords import TraitMatcher
from selfsame.training.comparisons import PairSampler, contrast, matched_pairs, matcher_of
from selfsame.training.losses import ranking_loss
from selfsame.training.reward import RewardTrainer, encode_comparison, pairs_within
from selfsame.training.settings import RewardSettings
from selfsame.types import Comparison, PreferencePair, Prompt


def trainer(folder, share, seed=0, sft=True, missed=0.0):
    roles = load(folder, lora=LORA)
    if sft:
        roles.add("sft")
        scramble(roles, "sft")
    settings = RewardSettings(sampled_share=share, comparison_share=missed, comparison_samples=4)
    sampler = PairSampler(roles, settings, seed, 12, matcher_of(pairs()))
    return RewardTrainer(roles, pairs=pairs() * 8, validation=pairs(), settings=settings, seed=seed, sampler=sampler)


def as_comparisons(pairs):
    return [Comparison(p.prompt, (p.chosen,), (p.rejected,), p.reason) for p in pairs]


def ends_often(monkeypatch, roles):
    """A random model hardly ever ends a reply: here every fifth token is an end."""
    sample = RolloutEngine.sample
    monkeypatch.setattr(RolloutEngine, "sample", lambda self, *a: [[end(r) for r in g] for g in sample(self, *a)])

    def end(reply):
        return type(reply)(reply.ids[:5] + [roles.processor.end_id], [*reply.logprobs[:6]], True)


def test_half_of_the_pairs_come_again_against_samples(tiny_models, monkeypatch):
    ends_often(monkeypatch, load(tiny_models(), lora=LORA))
    made = trainer(tiny_models(), 0.5)
    own, sampled = made.comparisons[:24], made.comparisons[24:]
    assert own == as_comparisons(pairs() * 8) and 8 <= len(sampled) <= 12
    expected = [(p.prompt, p.better) for p in own[:12]]
    assert all((p.prompt, p.better) in expected and p.reason == "sampled" for p in sampled)
    assert all(p.worse[0].strip() and p.worse != p.better for p in sampled)
    assert len({p.worse for p in sampled}) > 1  # the same prompts, other random numbers
    assert [p.reason for p in made.validation[3:]] == ["sampled"] * 2
    assert made.steps == -(-2 * len(made.comparisons) // made.settings.batch_size)
    again, other = trainer(tiny_models(), 0.5), trainer(tiny_models(), 0.5, seed=1)
    assert again.comparisons == made.comparisons != other.comparisons


def test_no_pairs_against_samples(tiny_models, monkeypatch):
    ends_often(monkeypatch, load(tiny_models(), lora=LORA))
    assert trainer(tiny_models(), 0.0).comparisons == as_comparisons(pairs() * 8)
    assert trainer(tiny_models(), 1.0, sft=False).comparisons == as_comparisons(pairs() * 8)


def test_a_training_does_not_go_on_with_other_samples(tiny_models, monkeypatch):
    ends_often(monkeypatch, load(tiny_models(), lora=LORA))
    begun, other = trainer(tiny_models(), 0.5), trainer(tiny_models(), 0.5, seed=1)
    trainer(tiny_models(), 0.5).load_state(begun.state())
    with pytest.raises(RunError, match="not those that the training began with"):
        other.load_state(begun.state())


def test_samples_that_keep_to_the_persona_are_better_than_those_that_do_not(tiny_models, monkeypatch):
    groups = (
        ("I have dogs", "hm", "I teach chemistry", ""),
        ("hm", "", "ok", "dogs"),
        ("sea", "hm", "near the sea", "ah"),
    )
    said = iter([text for group in groups + groups for text in group])
    monkeypatch.setattr(PairSampler, "_text", lambda self, reply: next(said))
    made = trainer(tiny_models(), 0.0, missed=1.0)
    first, third = pairs()[0].prompt, pairs()[2].prompt  # of the replies to the second prompt none keeps to the persona
    assert made.comparisons[24:] == [
        Comparison(first, ("I have dogs",), ("hm", "I teach chemistry"), "ungrounded"),
        Comparison(third, ("sea", "near the sea"), ("hm", "ah"), "ungrounded"),
    ]
    expected = [(first, "I have dogs", "I teach chemistry"), (third, "sea", "hm"), (third, "near the sea", "ah")]
    assert [(p.prompt, p.chosen, p.rejected) for p in made.validation[3:]] == expected  # no sample twice
    assert {p.reason for p in made.validation[3:]} == {"ungrounded"}
    said = iter([text for group in groups for text in group] * 2)
    assert len(trainer(tiny_models(), 0.0, missed=0.05).comparisons) == 24 + 1  # one prompt for 24 pairs


def test_where_the_persona_is_not_called_for_samples_that_leave_it_out_are_better(tiny_models, monkeypatch):
    other = Prompt(pairs()[0].prompt.persona, ("Nice weather.",))
    recited = PreferencePair(other, "Sun at last!", "I have two dogs.", "recited")
    unknown = PreferencePair(other.followed_by("Oh.", "And now?"), "Hm!", "I own a cat.", "persona_swapped")
    said = ["I have dogs", "hm", "My dogs bark.", "So warm.", "My dogs love it.", "Sun!"]
    asked: list[Prompt] = []
    roles = load(tiny_models(), lora=LORA)
    roles.add("sft")

    def sampler(share: float) -> PairSampler:
        texts, asked[:] = iter(said), []
        settings = RewardSettings(sampled_share=0, comparison_share=1, off_topic_share=share, comparison_samples=3)
        made = PairSampler(roles, settings, 0, 8, TraitMatcher())
        sample = made.sample
        monkeypatch.setattr(made, "sample", lambda prompts, *a: asked.extend(prompts) or sample(prompts, *a))
        monkeypatch.setattr(made, "_text", lambda reply: next(texts))
        return made

    gold_traits, given = pairs()[0].prompt, [recited, unknown, pairs()[0]]
    missed = Comparison(gold_traits, ("I have dogs", "My dogs bark."), ("hm",), "ungrounded")
    unasked = Comparison(other, ("So warm.", "Sun!"), ("My dogs love it.",), "off_topic_grounding")
    assert sampler(1.0).comparisons(given)[3:] == [missed, unasked]
    # Of the other one nobody knows: what was said draws on no trait, but may have been called for.
    assert asked == [gold_traits, other]
    assert sampler(0.1).comparisons(given)[3:] == [missed]  # a tenth of three pairs is none
    assert sampler(0.0).comparisons(given)[3:] == [missed] and asked == [gold_traits]
    made = sampler(1.0).pairs(given)[3:]
    assert [(p.reason, p.chosen, p.rejected) for p in made] == [
        ("ungrounded", "I have dogs", "hm"),
        ("off_topic_grounding", "So warm.", "My dogs love it."),
    ]


def test_dpo_learns_from_the_same_samples(tiny_models, monkeypatch):
    said = ["I have dogs", "I teach chemistry", "sea", "two dogs", "hm", "near the sea"]
    ends_often(monkeypatch, load(tiny_models(), lora=LORA))
    monkeypatch.setattr(PairSampler, "_text", lambda self, reply: said[sum(reply.ids) % len(said)])
    sampler = trainer(tiny_models(), 0.5, missed=1.0).sampler
    compared, made = sampler.comparisons(pairs() * 8), sampler.pairs(pairs() * 8)
    assert {pair.reason for pair in made} > {"sampled", "ungrounded"}
    for pair in made:
        same = [c for c in compared if (c.prompt, c.reason) == (pair.prompt, pair.reason)]
        assert any(pair.chosen in c.better and pair.rejected in c.worse for c in same)


def test_a_reply_with_a_fault_is_the_worse_one():
    prompt, matcher = Prompt(("I have two dogs.", "I teach chemistry."), ("Any pets?",)), TraitMatcher()
    better, worse = "Yes, I own dogs.", "I have two dogs. I teach chemistry."
    assert contrast(prompt, ["", worse, better], [0], matcher) == Comparison(prompt, (better,), (worse,), "ungrounded")
    assert contrast(prompt, [better, "My dogs bark."], [0], matcher) is None  # both keep to it
    assert contrast(prompt, ["I sing.", worse, ""], [0], matcher) is None  # none does
    told = prompt.followed_by("Dogs, I have dogs!", "Really?")
    assert contrast(told, ["Yes, dogs.", worse], [0], matcher)  # telling again is no matter of the persona
    others = [
        "I sing in a very big choir each week.",
        "Dogs, big ones, and they sing with me each week.",
        "I sing.",
        "Oh.",
    ]
    made = matched_pairs(contrast(prompt, [better, *others, better], [0], matcher))
    assert [(p.chosen, p.rejected) for p in made] == [(others[1], others[0]), (better, others[2])]


def test_all_pairs_within_a_comparison_count_as_much_as_one_pair():
    rows = [([1], [[2], [3], [4]], 2), ([1], [[5], [6]], 1)]
    better, worse, weight = pairs_within(rows)
    assert list(zip(better.tolist(), worse.tolist(), weight.tolist(), strict=True)) == [
        (0, 2, 0.5),
        (1, 2, 0.5),
        (3, 4, 1.0),
    ]


def test_the_loss_of_a_batch_is_the_mean_over_its_comparisons(tiny_models):
    made = trainer(tiny_models(), 0.0)
    prompt = pairs()[0].prompt
    made.comparisons = [
        Comparison(prompt, ("I have dogs.", "Two dogs, yes."), ("Hm.", "I sing.", "No."), "ungrounded"),
        *as_comparisons(pairs()),
    ]
    scramble(made.roles, "reward")
    made.roles.heads["reward"].linear.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    score = made.reward_model.score
    expected = []
    for c in made.comparisons:
        ((*values,),) = score([c.prompt], [[*c.better, *c.worse]])
        better, worse = torch.tensor(values[: len(c.better)]), torch.tensor(values[len(c.better) :])
        margin = (better[:, None] - worse[None]).flatten()
        expected.append(float(ranking_loss(margin, torch.ones_like(margin))) / len(margin))
    batch = [encode_comparison(made.roles.processor, c) for c in made.comparisons]
    for budget in (4096, 64):  # in one part, and in several
        made.settings = made.settings.model_copy(update={"token_budget": budget})
        (parts,) = made.minibatches(batch, 0)
        assert (len(parts) > 1) is (budget == 64)
        assert sum(made.loss(part)[1]["loss"] for part in parts) == pytest.approx(
            sum(expected) / len(expected), rel=1e-4
        )
