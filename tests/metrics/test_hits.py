"""Hits@1 against one plain forward per candidate; ties, missing distractors and how they are drawn."""

from __future__ import annotations

import math

import pytest
import torch
from held_out import ODD_REPLIES, short_examples
from test_roles import with_sft

from selfsame.metrics.hits import BenchmarkEvaluator, draw_distractors, hit, longest_candidate
from selfsame.types import Prompt

REPLIES = ["I have two dogs.", "Yes.", "I drive a night bus in Leeds and live near the sea.", "Hello! How are you?", ""]


@pytest.fixture(scope="module")
def roles(tiny_models):
    return with_sft(tiny_models())


def naive(roles, role, prompt, reply, limit=None) -> float:
    """Mean log-probability per token of one reply, by one plain forward."""
    head, tail = roles.processor.encode_prompt(prompt), roles.processor.encode_reply(reply)[:limit]
    with torch.no_grad(), roles.use(role) as model:
        logits = model(input_ids=torch.tensor([head + tail]), use_cache=False).logits[0].double()
    return float(logits.log_softmax(-1)[len(head) - 1 : -1][range(len(tail)), tail].mean())


def prompts(count=8):
    return [e.prompt(k) for e in short_examples(count) for k in (1, 2)]


@pytest.mark.parametrize("role", [None, "sft"])
def test_ranks_as_a_loop_of_plain_forwards(roles, role):
    groups = [REPLIES[: 2 + k % 4] for k in range(16)]  # two to five candidates
    for budget in (1, 4096):
        found = BenchmarkEvaluator().rank(roles, role, prompts(), groups, budget)
        for prompt, group, scores in zip(prompts(), groups, found, strict=True):
            assert scores == pytest.approx([naive(roles, role, prompt, c) for c in group], abs=2e-4)


def test_hits_at_1_is_the_share_of_first_places(roles):
    gold = [REPLIES[k % 5] for k in range(16)]
    distractors = [[r for r in REPLIES if r != g] for g in gold]
    scores = [
        [naive(roles, "sft", p, c) for c in (g, *d)] for p, g, d in zip(prompts(), gold, distractors, strict=True)
    ]
    expected = sum(s[0] == max(s) for s in scores) / 16
    assert 0 < expected < 1
    groups = [k // 2 for k in range(16)]
    found = BenchmarkEvaluator().hits_at_1(roles, "sft", prompts(), gold, distractors, groups)
    assert found.value == expected and found.low < expected < found.high and (found.count, found.missing) == (16, 0)
    backwards = [d[::-1] for d in distractors]
    assert BenchmarkEvaluator().hits_at_1(roles, "sft", prompts(), gold, backwards, groups) == found
    best = [(g, *d)[s.index(max(s))] for g, d, s in zip(gold, distractors, scores, strict=True)]
    others = [[r for r in REPLIES if r != b] for b in best]
    always = BenchmarkEvaluator().hits_at_1(roles, "sft", prompts(), best, others, groups)
    assert always.value == always.high == 1 and always.low == pytest.approx(0.025 ** (1 / 8))


def test_a_tie_is_a_share_of_a_hit():
    assert [hit(s) for s in ([-1.0, -2.0], [-2.0, -1.0], [-1.0, -1.0, -2.0], [-1.0] * 20)] == [1.0, 0.0, 0.5, 0.05]
    assert hit([-3.0, -1.0, -1.0]) == 0.0


def test_what_cannot_be_ranked_is_missing(roles):
    """The only candidate is always first; a score that is NaN is neither more nor less than another."""
    for scores in ([], [-1.0], [-1.0, math.nan], [math.nan, -1.0], [-2.0, math.nan, -1.0]):
        assert math.isnan(hit(scores))
    some = prompts(1)
    found = BenchmarkEvaluator().hits_at_1(roles, None, some, ["Hi.", "Yes."], [[], ["No."]])
    assert (found.count, found.missing) == (1, 1) and found.value in (0.0, 1.0)
    alone = BenchmarkEvaluator().hits_at_1(roles, None, some, ["Hi.", "Yes."], [[], []])
    assert math.isnan(alone.value) and (alone.count, alone.missing) == (0, 2)
    assert math.isnan(BenchmarkEvaluator().hits_at_1(roles, None, [], [], []).value)
    with pytest.raises(ValueError):
        BenchmarkEvaluator().hits_at_1(roles, None, some, ["Hi."], [["No."], ["No."]])


def test_odd_candidates_and_prompts(roles):
    """A reply of 10,000 words is judged by its beginning, after as much of the dialogue as fits."""
    limit = longest_candidate(roles)
    assert limit == 32
    long = "I have two dogs and teach. " * 2_000
    prompt = Prompt(("I have two dogs.",), ("Hello!",))
    ((cut, other),) = BenchmarkEvaluator().rank(roles, "sft", [prompt], [[long, "Yes."]])
    assert cut == pytest.approx(naive(roles, "sft", prompt, long, limit), abs=2e-4)
    assert other == pytest.approx(naive(roles, "sft", prompt, "Yes."), abs=2e-4)
    for text in ODD_REPLIES:
        (scores,) = BenchmarkEvaluator().rank(roles, None, [Prompt((), (text,))], [[text, *ODD_REPLIES]])
        assert all(map(math.isfinite, scores)) and len(scores) == 1 + len(ODD_REPLIES)


def test_distractors_differ_from_the_gold_reply_and_each_other():
    pool = [f"Reply {k}." for k in range(40)] * 2 + ["reply 3", "REPLY 4!", "😀", "😀"]
    gold = ["Reply 3!", "Reply 5.", "Something else.", "😀"]
    found = draw_distractors(gold, pool, 19, seed=2)
    for reply, drawn in zip(gold, found, strict=True):
        bare = [d.lower().strip(".!") for d in drawn]
        assert len(drawn) == len(set(bare)) == 19 and reply.lower().strip(".!") not in bare and set(drawn) <= set(pool)
    assert found == draw_distractors(gold, pool, 19, seed=2) != draw_distractors(gold, pool, 19, seed=3)
    assert draw_distractors(gold[:2], pool, 19, seed=2) == found[:2]


def test_distractors_are_drawn_evenly():
    drawn = [d for (d,) in draw_distractors(["0"] * 3000, [str(k) for k in range(11)], 1, seed=0)]
    assert min(map(drawn.count, map(str, range(1, 11)))) > 240 and drawn.count("0") == 0


def test_too_few_distractors_are_none():
    """One of five is not one of twenty."""
    pool = [f"Reply {k}." for k in range(19)]
    assert draw_distractors(["New.", "Reply 1."], pool, 19, seed=0)[1] == []
    assert len(draw_distractors(["New.", "Reply 1."], pool, 19, seed=0)[0]) == 19
    assert draw_distractors(["Hi."], ["Hi."], 1, seed=0) == [[]]
