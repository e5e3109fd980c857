"""Dialogues that the policy brings about itself."""

from __future__ import annotations

from stages import ppo_trainer

from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.selfplay import converse
from selfsame.training.loop import batch_indices
from selfsame.types import Prompt


def trained(folder, **settings):
    trainer = ppo_trainer(folder, **settings)
    trainer.partners = dict.fromkeys(trainer.prompts, ("I ask.",))
    return trainer


def test_each_side_sees_the_dialogue_from_its_own_side(tiny_models, monkeypatch):
    engine, asked = ppo_trainer(tiny_models()).engine, []
    parse = engine.processor.parse_prompt

    def sample(self, role, ids, numbers_NR, temperature):
        shown = [parse(self.processor.tokenizer.decode(prompt)) for prompt in ids]
        asked.extend((role, prompt.persona, prompt.history) for prompt in shown)
        replies = [self.processor.encode_reply(f"{role} {len(p.history)}") for p in shown]
        return [[type("Reply", (), {"ids": reply})()] for reply in replies]

    monkeypatch.setattr(RolloutEngine, "sample", sample)
    start = Prompt(("I have two dogs.",), ("Hello!",))
    made = converse(engine, [start], [("I sing.",)], 3)
    assert [(role, persona) for role, persona, _ in asked] == [("policy", start.persona), ("sft", ("I sing.",))] * 2
    assert [history for _, _, history in asked] == [
        ("Hello!",),
        ("", "Hello!", "policy 1"),
        ("Hello!", "policy 1", "sft 3"),
        ("", "Hello!", "policy 1", "sft 3", "policy 3"),
    ]
    assert [p.history for p in made] == [
        ("Hello!",),
        ("Hello!", "policy 1", "sft 3"),
        ("Hello!", "policy 1", "sft 3", "policy 3", "sft 5"),
    ]
    assert {p.persona for p in made} == {start.persona}
    asked.clear()
    opened = converse(engine, [Prompt(start.persona, ("",))], [("I sing.",)], 2)
    assert [history for _, _, history in asked] == [("",), ("policy 1",)]  # the own side opened the dialogue
    assert [p.history for p in opened] == [("",), ("", "policy 1", "sft 1")]
    long = converse(engine, [start], [("word " * 4000,)], 2)
    assert len(long) == 2 and asked[-1][1] == ()  # a persona that does not fit


def test_one_turn_is_the_data_and_more_are_the_policys(tiny_models):
    single = ppo_trainer(tiny_models(), prompts_per_step=4)
    assert all(p in single.prompts for p in single.prompts_of(0)) and len(single.prompts_of(0)) == 4
    several = trained(tiny_models(), prompts_per_step=5, turns=2)
    prompts = several.prompts_of(0)
    assert len(prompts) == 6 and prompts[0::2] == [p for p in prompts if p in several.prompts]
    assert all(len(b.history) == len(a.history) + 2 for a, b in zip(prompts[0::2], prompts[1::2], strict=True))
    assert several.prompts_of(0) == prompts != several.prompts_of(1)
    assert several.collect(0).rollout.samples_per_prompt == 2


def test_it_trains(tiny_models):
    trainer = trained(tiny_models(), turns=3, steps=1)
    before = {name: p.clone() for name, p in trainer.roles.parameters("policy").items()}
    trainer.train()
    assert any(not before[name].equal(p) for name, p in trainer.roles.parameters("policy").items())


def test_the_other_prompts_of_a_step_are_answered_once(tiny_models):
    trainer = trained(tiny_models(), turns=2, talk_share=0.5, prompts_per_step=4)
    prompts = trainer.prompts_of(0)
    assert len(prompts) == 4
    known = [prompt in trainer.prompts for prompt in prompts]
    assert known == [True, False, True, True] and len(prompts[1].history) == len(prompts[0].history) + 2
    assert [p for p, there in zip(prompts, known, strict=True) if there] == [
        trainer.prompts[i] for i in batch_indices(len(trainer.prompts), 3, 0, trainer.seed)
    ]
