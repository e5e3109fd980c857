"""Replies that join and leave a batch at any time are those that the engine gives alone."""

from __future__ import annotations

import pytest
import torch
from test_roles import load, scramble

from selfsame.model.attention import MATMUL
from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.prefixes import KeptPrefixes, shared_length
from selfsame.rollout.sampler import reply_noise
from selfsame.rollout.slots import SlotReply, Slots

PERSONA = [*range(5, 17)]
PROMPTS = [PERSONA + [20, 21, 22], [30, 31, 32], PERSONA + [40, 41], [*range(60, 90)], PERSONA + [20, 21, 23, 24]]
LENGTH = 18
FAMILIES = ["llama", "gpt2", "qwen2", "mistral", "gemma2", "gemma3"]  # the last three with sliding windows


def roles_of(folder):
    roles = load(folder)
    roles.add("sft")
    scramble(roles, "sft")
    return roles


def replies_to(prompts, temperature=0.0, top_p=1.0, seed=0):
    noise = reply_noise(seed, 0, range(len(prompts)), LENGTH)
    return [SlotReply(prompt, noise[k], temperature, top_p) for k, prompt in enumerate(prompts)]


def drive(slots, replies, end_id, every=2):
    """One more reply joins every so many steps, while the others leave."""
    coming, step = list(replies), 0
    sizes = []
    while coming or slots.replies:
        with slots.turn():
            if coming and step % every == 0:
                slots.join([coming.pop(0)])
            for reply in slots.sample():
                if reply.ids[-1] == end_id or len(reply.ids) == LENGTH:
                    slots.leave(reply)
            slots.advance()
        sizes.append(len(slots.replies))
        step += 1
    return sizes


def alone(roles, temperature=0.0, top_p=1.0, seed=0):
    noise = reply_noise(seed, 0, range(len(PROMPTS)), LENGTH)
    engine = RolloutEngine(roles, 1)
    return [engine.sample("sft", [p], noise[k : k + 1], temperature, top_p)[0][0].ids for k, p in enumerate(PROMPTS)]


@pytest.mark.parametrize("kept_bytes", [0, 2**24])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sampling", [(0.0, 1.0), (0.9, 0.9)])
def test_replies_are_those_of_the_engine(tiny_models, family, sampling, kept_bytes):
    roles = roles_of(tiny_models(family))
    expected = alone(roles, *sampling)
    assert len({tuple(ids) for ids in expected}) > 3
    roles.processor.end_id = end = expected[0][9]  # so that replies end at different times
    expected = alone(roles, *sampling)
    slots = Slots(roles, "sft", KeptPrefixes(kept_bytes))
    replies = replies_to(PROMPTS, *sampling)
    sizes = drive(slots, replies, end)
    assert [reply.ids for reply in replies] == expected
    assert max(sizes) > 1 and len({len(reply.ids) for reply in replies}) > 1
    assert replies[2].reused == replies[4].reused - 2 == len(PERSONA) or not kept_bytes


@pytest.mark.parametrize("family", FAMILIES)
def test_replies_join_together(tiny_models, family):
    """Prompts of different length in one pass; one that begins as another of them takes that part from it."""
    roles = roles_of(tiny_models(family))
    slots, replies = Slots(roles, "sft", KeptPrefixes(0)), replies_to(PROMPTS)
    twin = SlotReply(PROMPTS[3], replies[3].uniform_R)
    with slots.turn():
        slots.join(replies[:2])
        for step in range(LENGTH + 2):
            if step == 2:
                slots.join([*replies[2:], twin])
            slots.sample()
            for reply in [r for r in slots.replies if len(r.ids) == LENGTH]:
                slots.leave(reply)
            slots.advance()
    assert [reply.ids for reply in replies] == alone(roles)
    assert [reply.reused for reply in replies] == [0, 0, len(PERSONA), 0, len(PERSONA) + 2]
    assert twin.reused == len(PROMPTS[3]) - 1


def test_attention_of_bfloat16_on_cpus_gives_the_same(tiny_models):
    roles = roles_of(tiny_models("mistral"))
    roles.base.set_attn_implementation(MATMUL)
    replies = replies_to(PROMPTS)
    drive(Slots(roles, "sft", KeptPrefixes(2**24)), replies, -1)
    assert [reply.ids for reply in replies] == alone(roles)


def test_each_row_has_its_own_sampling(tiny_models):
    roles, settings = roles_of(tiny_models()), [(0.0, 1.0), (1.0, 1.0), (0.0, 1.0), (0.7, 0.8), (1.0, 1.0)]
    noise = reply_noise(3, 0, range(5), LENGTH)
    replies = [SlotReply(p, noise[k], *settings[k]) for k, p in enumerate(PROMPTS)]
    drive(Slots(roles, "sft", KeptPrefixes(0)), replies, -1, every=1)
    for k, reply in enumerate(replies):
        (found,) = RolloutEngine(roles).sample("sft", [PROMPTS[k]], noise[k : k + 1], *settings[k])
        assert reply.ids == found[0].ids, k


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_a_chat_that_continues_computes_only_what_is_new(tiny_models, family):
    roles = roles_of(tiny_models(family))
    slots = Slots(roles, "sft", KeptPrefixes(2**24))
    (first,) = replies_to([PROMPTS[3]])
    drive(slots, [first], -1)
    longer = [*PROMPTS[3], *first.ids, 50, 51, 52, 53]
    (second,) = replies_to([longer])
    drive(slots, [second], -1)
    assert second.reused == len(PROMPTS[3]) + LENGTH - 1  # the last token of a reply is not computed
    (expected,) = RolloutEngine(roles).sample("sft", [longer], reply_noise(0, 0, range(1), LENGTH), 0.0)
    assert second.ids == expected[0].ids
    assert len(slots.kept) == 1, "the longer row holds the shorter one"


def test_a_cancelled_row_leaves_the_others_as_they_are(tiny_models):
    roles = roles_of(tiny_models())
    slots, replies = Slots(roles, "sft", KeptPrefixes(0)), replies_to(PROMPTS)
    with slots.turn():
        slots.join(replies)
        for step in range(LENGTH):
            slots.sample()
            if step == 5:
                slots.leave(replies[1])
                slots.leave(replies[4])
            slots.advance()
    expected = alone(roles)
    assert [replies[k].ids for k in (0, 2, 3)] == [expected[k] for k in (0, 2, 3)]
    assert replies[1].ids == expected[1][:6]


def test_one_role_is_not_given_what_another_computed(tiny_models):
    roles = roles_of(tiny_models())
    kept = KeptPrefixes(2**24)
    drive(Slots(roles, "sft", kept), replies_to(PROMPTS[:1]), -1)
    (reply,) = replies_to(PROMPTS[:1])
    drive(Slots(roles, None, kept), [reply], -1)
    (expected,) = RolloutEngine(roles).sample(None, PROMPTS[:1], reply_noise(0, 0, range(1), LENGTH), 0.0)
    assert reply.reused == 0 and reply.ids == expected[0].ids


def test_what_was_not_used_for_longest_is_forgotten_first():
    pair = [(torch.zeros(2, 10, 4), torch.zeros(2, 10, 4))]  # 640 bytes
    kept = KeptPrefixes(2000)
    for start in (100, 200, 300):
        kept.keep("a", range(start, start + 10), pair)
    assert kept.longest("a", range(100, 105)).length == 5  # used
    kept.keep("a", range(400, 410), pair)
    assert (len(kept), kept.size) == (3, 1920)
    assert [kept.longest("a", range(s, s + 9)).length for s in (100, 200, 300, 400)] == [9, 0, 9, 9]
    kept.keep("a", range(500, 600), [(torch.zeros(2, 100, 4), torch.zeros(2, 100, 4))])
    assert len(kept) == 3, "larger than all that may be kept"


def test_shared_length():
    import numpy as np

    one = np.array([1, 2, 3, 4])
    assert [shared_length(one, np.array(other)) for other in ([1, 2, 9], [1, 2, 3, 4, 5], [7], [])] == [2, 4, 0, 0]
