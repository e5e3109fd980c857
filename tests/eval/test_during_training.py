"""The look at held-out people while a policy learns, and the halves that they are in."""

from __future__ import annotations

import math

from held_out import short_examples
from test_roles import load, scramble

from selfsame.data.loader import half, persona_key
from selfsame.data.pairs import PreferenceGenerator
from selfsame.eval.during_training import PolicyEvaluation
from selfsame.metrics.persona import PersonaEvaluator
from selfsame.metrics.quality import QualityEvaluator
from selfsame.model.reward_model import RewardModel
from selfsame.model.settings import LoraSettings
from selfsame.rollout.engine import Reply, RolloutEngine
from selfsame.rollout.policy import Policy
from selfsame.rollout.sampler import reply_noise
from selfsame.rollout.settings import SamplingSettings
from selfsame.text.contradictions import RuleJudge
from selfsame.text.functions import weighted_sum
from selfsame.text.keywords import TraitMatcher
from selfsame.types import Prompt

SAMPLING = SamplingSettings(max_new_tokens=8)


def test_it_scores_the_policy_and_gives_its_reward(tiny_models, monkeypatch):
    roles = load(tiny_models(), lora=LoraSettings(rank=4))
    for k, role in enumerate(("sft", "policy", "reward")):
        roles.add(role)
        scramble(roles, role, k)
    people = short_examples()
    tests = PreferenceGenerator(people, seed=1).create_test_sets(6, 5)
    items, talk, evaluator = (
        tests.consistency,
        tests.engagement,
        PersonaEvaluator(TraitMatcher.of(people), judge=RuleJudge()),
    )
    evaluate_policy = PolicyEvaluation(items, talk, people[:3], evaluator, SAMPLING, 3)
    found = evaluate_policy(roles)
    assert found == evaluate_policy(roles) and all(
        name.startswith("eval_") and math.isfinite(v) for name, v in found.items()
    )
    scramble(roles, "sft", 7)
    assert evaluate_policy(roles) == found  # the policy speaks, nobody else
    said = {item.prompt: item.reply for item in (*items, *talk)}
    monkeypatch.setattr(RolloutEngine, "reply", lambda self, role, prompts, *rest: [said[prompt] for prompt in prompts])
    gold = evaluate_policy(roles)
    assert gold["eval_consistency"] == gold["eval_grounding"] == 1 and gold["eval_copying_unprompted"] == 0
    assert gold["eval_reply_words"] == sum(len(i.reply.split()) for i in items) / len(items)
    assert gold["eval_reward"] != found["eval_reward"]
    told = [bool(evaluator.matcher.drawn(i.prompt.persona, i.reply)) for i in talk]
    assert gold["eval_grounding_anywhere"] == sum(told) / len(talk) and 0 < sum(told) < len(talk)
    assert gold["eval_distinct_2"] == QualityEvaluator().compute_distinct_n([i.reply for i in talk], 2).value
    assert gold["eval_perplexity"] == found["eval_perplexity"]  # of what people said, whatever the policy says
    scramble(roles, "policy", 8)
    assert evaluate_policy(roles)["eval_perplexity"] != found["eval_perplexity"]


def test_every_persona_is_in_one_half():
    people = short_examples() * 2
    dev, test = half(people, "dev"), half(people, "test")
    assert half(people, "all") == people and len(dev) + len(test) == len(people) and dev and test
    assert not {persona_key(e.persona) for e in dev} & {persona_key(e.persona) for e in test}


def test_the_best_of_several_replies_has_the_highest_reward(tiny_models, tmp_path):
    roles = load(tiny_models(), lora=LoraSettings(rank=4))
    for k, role in enumerate(("sft", "reward")):
        roles.add(role)
        scramble(roles, role, k)
    prompts = [e.prompt(1) for e in short_examples(4)]
    best = Policy(roles, "sft", SAMPLING, 3, best_of=4).generate(prompts)
    ids = [roles.processor.encode_prompt(p, 8) for p in prompts]
    groups = RolloutEngine(roles).sample(
        "sft", ids, reply_noise(3, 0, range(16), 8), SAMPLING.temperature, SAMPLING.top_p
    )
    texts = [[roles.processor.decode_reply(reply.ids) for reply in group] for group in groups]
    scores = RewardModel(roles).score_ids(ids, [[reply.ids for reply in group] for group in groups])
    assert best == [max(zip(s, t, strict=True))[1] for s, t in zip(scores, texts, strict=True)]
    assert best != [group[0] for group in texts]
    longest = weighted_sum({f"{_longer(tmp_path)}:letters": 1000.0}, 0.5)
    chosen = Policy(roles, "sft", SAMPLING, 3, 4, longest).generate(prompts)
    assert [len(reply) for reply in chosen] == [max(map(len, group)) for group in texts]


def _longer(folder):
    file = folder / "mine.py"
    file.write_text("def letters(prompts, replies, gold):\n    return [float(len(reply)) for reply in replies]\n")
    return file


def test_of_several_replies_one_that_says_something_again_is_the_last_choice(tiny_models, monkeypatch):
    roles = load(tiny_models(), lora=LoraSettings(rank=4))
    roles.add("reward")
    said = [["I sing.", "Yes, two dogs.", "No."], ["I sing.", "I sing.", "I sing."]]
    monkeypatch.setattr(
        RolloutEngine, "sample", lambda *a: [[Reply([p, k], [], True) for k in range(3)] for p in range(2)]
    )
    monkeypatch.setattr(type(roles.processor), "decode_reply", lambda self, ids: said[ids[0]][ids[1]])
    monkeypatch.setattr(RewardModel, "score_ids", lambda *a: [[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    prompts = [Prompt(("I sing.",), ("Hi!", "I sing.", "And?"))] * 2
    engine = RolloutEngine(roles)
    once = SamplingSettings(max_new_tokens=8, retries=1)
    assert engine.reply("sft", prompts, once, best_of=3) == ["Yes, two dogs.", "I sing."]
    assert engine.reply("sft", prompts, SAMPLING, best_of=3) == ["I sing.", "I sing."]
