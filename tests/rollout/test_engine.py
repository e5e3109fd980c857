"""The sampler: its log-probabilities are the trainer's, its greedy replies are Hugging Face's, batches do not matter."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
import torch
from test_roles import load, scramble
from transformers import AutoModelForCausalLM

from conftest import FAMILIES
from selfsame.model.attention import MATMUL
from selfsame.model.prefix_batch import PASS_PRICE, micro_batches
from selfsame.model.reward_model import RewardModel
from selfsame.rollout import decoding
from selfsame.rollout.collect import Rows, collect_rollout, token_logprobs
from selfsame.rollout.engine import Reply, RolloutEngine
from selfsame.rollout.sampler import reply_noise
from selfsame.rollout.settings import SamplingSettings
from selfsame.training.settings import PPOSettings
from selfsame.types import Prompt

PROMPTS = [[5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [30, 31, 32], [40, 41, 42, 43, 44]]


def roles_of(folder):
    roles = load(folder)
    roles.add("sft")
    scramble(roles, "sft")
    return roles


# A window, grouped heads, several layer types: decoding with a cache under the attention that bfloat16 on CPUs has.
@pytest.mark.parametrize("attention", [None, MATMUL])
@pytest.mark.parametrize("family", FAMILIES)
def test_sampled_logprobs_are_the_trainers(tiny_models, family, attention):
    roles = roles_of(tiny_models(family))
    if attention:
        default = RolloutEngine(roles).sample("sft", PROMPTS, reply_noise(0, 0, range(9), 14), temperature=0.7)
        roles.base.set_attn_implementation(attention)
    replies = RolloutEngine(roles).sample("sft", PROMPTS, reply_noise(0, 0, range(9), 14), temperature=0.7)
    ids = [[r.ids for r in group] for group in replies]
    again = token_logprobs(roles, "sft", Rows(PROMPTS, ids), 4096, temperature=0.7)
    for group, values in zip(replies, again, strict=True):
        assert len(group) == 3
        for reply, expected in zip(group, values, strict=True):
            torch.testing.assert_close(torch.tensor(reply.logprobs), torch.tensor(expected), atol=1e-4, rtol=1e-4)
    if attention:
        same = [a.ids == b.ids for g, h in zip(replies, default, strict=True) for a, b in zip(g, h, strict=True)]
        assert sum(same) >= 8  # a number may fall between two tokens' probabilities that differ in the last digit


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
def test_greedy_replies_are_those_of_hugging_face(tiny_models, family):
    roles = load(tiny_models(family, chat=True))
    (reply,), (second,) = RolloutEngine(roles).sample(None, PROMPTS[:2], reply_noise(0, 0, range(2), 12), temperature=0)
    theirs = AutoModelForCausalLM.from_pretrained(tiny_models(family, chat=True), dtype=torch.float32)
    for prompt, ours in zip(PROMPTS[:2], (reply, second), strict=True):
        out = theirs.generate(
            torch.tensor([prompt]),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=roles.processor.end_id,
            pad_token_id=0,
        )
        assert ours.ids == out[0, len(prompt) :].tolist()


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_prompts_are_read_in_several_passes(tiny_models, family, monkeypatch):
    """Prompts of 2 to 60 tokens, unsorted, three replies each: the tables are filled pass by pass and grow."""
    roles, prompts = roles_of(tiny_models(family)), [list(range(5, 5 + size)) for size in (60, 2, 31, 7, 33)]
    noise, engine = reply_noise(0, 0, range(15), 40), RolloutEngine(roles)
    alone = [engine.sample("sft", [prompt], noise[3 * k : 3 * k + 3])[0] for k, prompt in enumerate(prompts)]
    monkeypatch.setattr(decoding, "micro_batches", lambda sizes, *_: [[3], [0, 2], [4, 1]])
    together = engine.sample("sft", prompts, noise)
    assert [[reply.ids for reply in own] for own in together] == [[reply.ids for reply in own] for own in alone]


def test_replies_do_not_depend_on_the_batch(tiny_models):
    roles = roles_of(tiny_models("llama"))
    numbers = reply_noise(0, 0, range(6), 16)
    together = RolloutEngine(roles, 64).sample("sft", PROMPTS, numbers)
    apart = RolloutEngine(roles, 1).sample("sft", PROMPTS, numbers)
    assert [[r.ids for r in g] for g in together] == [[r.ids for r in g] for g in apart]


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2"])  # the last two with sliding windows
def test_finished_replies_stop_and_the_others_go_on(tiny_models, family):
    """With the likely tokens as end token, replies end at different times; each is cut right behind its first one."""
    roles = roles_of(tiny_models(family))
    numbers = reply_noise(2, 0, range(24), 20)
    free = [r for g in RolloutEngine(roles).sample("sft", PROMPTS, numbers, 2.0) for r in g]
    common = torch.tensor([i for r in free for i in r.ids]).bincount().argmax().item()
    roles.processor.end_id = common
    ended = [r for g in RolloutEngine(roles).sample("sft", PROMPTS, numbers, 2.0) for r in g]
    assert 3 < sum(r.ended for r in ended) < 24 and len({len(r.ids) for r in ended}) > 3
    for before, after in zip(free, ended, strict=True):
        size = before.ids.index(common) + 1 if common in before.ids else 20
        assert after.ids == before.ids[:size] and after.ended == (common in before.ids) and len(after.logprobs) == size


def test_text_replies_are_reproducible(tiny_models):
    roles = roles_of(tiny_models())
    engine, prompts = RolloutEngine(roles), [Prompt(("I teach.",), ("Hi",)), Prompt((), ("Any pets?",))]
    settings = SamplingSettings(max_new_tokens=8, temperature=1.5)
    assert engine.reply("sft", prompts, settings, 1) == engine.reply("sft", prompts, settings, 1)
    assert engine.reply("sft", prompts, settings, 1) != engine.reply("sft", prompts, settings, 2)
    assert engine.reply("sft", [], settings) == []


def test_rollout_is_padded_with_zeros_outside_the_mask(tiny_models):
    roles = roles_of(tiny_models())
    roles.add("reward", like="sft")
    roles.add("value", like="reward")
    roles.add("policy", like="sft")
    scramble(roles, "value", 5)
    roles.processor.end_id = 17
    settings = PPOSettings(samples_per_prompt=2, max_new_tokens=12, temperature=2.0, token_budget=64)
    rollout = collect_rollout(RolloutEngine(roles), RewardModel(roles), PROMPTS, settings, 0, 0)
    mask = rollout.reply_mask_NR
    assert mask.sum(1).tolist() == [len(r.ids) for r in rollout.replies] and len(rollout.replies) == 6
    for tensor in (rollout.logprobs_NR, rollout.ref_logprobs_NR, rollout.values_NR):
        assert tensor.shape == mask.shape and (tensor[~mask] == 0).all() and (tensor[mask] != 0).all()
    assert rollout.ended_N.tolist() == [r.ids[-1] == 17 for r in rollout.replies]


def test_micro_batches_keep_to_the_budget_and_lose_nothing():
    lengths = [10, 500, 20, 30, 5, 30, 90]
    batches = micro_batches(lengths, 100)
    assert sorted(i for b in batches for i in b) == list(range(7))
    assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= 100 for b in batches)
    assert micro_batches([], 100) == []


def test_micro_batches_cost_least_of_all_ways_to_group_by_length():
    lengths = [7, 300, 9, 280, 40, 150, 160]
    ordered = sorted(lengths)
    for budget in (310, 620, 5000):
        for device, price in PASS_PRICE.items():
            found = micro_batches(lengths, budget, torch.device(device))
            ways = [
                [ordered[a:b] for a, b in pairwise((0, *cuts, len(ordered)))]
                for size in range(len(ordered))
                for cuts in combinations(range(1, len(ordered)), size)
            ]
            allowed = [way for way in ways if all(len(b) == 1 or max(b) * len(b) <= budget for b in way)]
            cost = [sum(max(b) * len(b) + price for b in way) for way in allowed]
            assert sum(max(lengths[i] for i in b) * len(b) + price for b in found) == min(cost)


def test_what_is_said_again_is_sampled_anew(tiny_models, monkeypatch):
    """Those replies alone, with other random numbers, so often as the settings say."""
    engine, asked = RolloutEngine(load(tiny_models())), []
    texts = iter(
        [
            ["I like tea a lot!", "So do I.", "go to the go to the"],
            ["I like tea a lot, too.", "Is it far?"],
            ["Coffee!"],
        ]
    )

    def sample(self, role, ids, numbers_NR, temperature, top_p):
        asked.append((ids, numbers_NR))
        said.extend(next(texts))
        return [[Reply([k], [0.0], True)] for k in range(len(said) - len(ids), len(said))]

    said: list[str] = []
    monkeypatch.setattr(RolloutEngine, "sample", sample)
    monkeypatch.setattr(engine.processor, "decode_reply", lambda ids: said[ids[0]])
    prompts = [Prompt((), ("Hi", "I like tea a lot.", "And?")), Prompt((), ("Hi",)), Prompt((), ("Where?",))]
    settings = SamplingSettings(max_new_tokens=4, retries=2)
    assert engine.reply(None, prompts, settings, 5, 3, [7, 8, 9]) == ["Coffee!", "So do I.", "Is it far?"]
    ids = [engine.processor.encode_prompt(prompt, 4) for prompt in prompts]
    assert [call[0] for call in asked] == [ids, [ids[0], ids[2]], [ids[0]]]
    numbers = [
        reply_noise(5, step, places, 4) for step, places in ((3, [7, 8, 9]), (1_000_003, [7, 9]), (2_000_003, [7]))
    ]
    assert all(torch.equal(call[1], wanted) for call, wanted in zip(asked, numbers, strict=True))
    for once in (settings.model_copy(update={"retries": 0}), settings.model_copy(update={"temperature": 0.0})):
        texts = iter([["I like tea a lot!", "So do I.", "go to the go to the"]])
        assert engine.reply(None, prompts, once)[0] == "I like tea a lot!"
