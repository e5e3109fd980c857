"""Systems that talk with themselves: who meets whom, what each side sees, and that systems are compared fairly."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import pytest
import torch
from held_out import demo_examples, numpy_state, short_examples
from test_roles import with_sft

from selfsame.data.loader import persona_key
from selfsame.data.pairs import PreferenceGenerator
from selfsame.eval import selfplay
from selfsame.eval.evaluate import evaluate_system
from selfsame.eval.selfplay import evaluate_selfplay, meetings, play
from selfsame.eval.settings import EvaluationSettings
from selfsame.metrics.persona import PersonaEvaluator
from selfsame.metrics.statistics import Bootstrap
from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.policy import Policy
from selfsame.rollout.settings import SamplingSettings
from selfsame.run.files import read_json, write_json
from selfsame.text.contradictions import RuleJudge
from selfsame.text.keywords import TraitMatcher
from selfsame.types import Example, Prompt

SAMPLING = SamplingSettings(max_new_tokens=6)
TURNS = 5
EVALUATOR = PersonaEvaluator(bootstrap=Bootstrap(100), judge=RuleJudge())
MEASURES = ["coverage", "contradiction", "drift", "mistaken_identity", "repetition"]
FACT = [f"same_fact_{name}" for name in ("again", "contradicted", "in_both", "in_one", "in_none")]


@pytest.fixture(scope="module")
def roles(tiny_models):
    return with_sft(tiny_models())


def evaluate(roles, role=None, examples=None, size=12, turns=TURNS, sampling=SAMPLING, seed=0, best_of=1):
    examples = short_examples() if examples is None else examples
    policy = Policy(roles, role, sampling, seed, best_of)
    return evaluate_selfplay(policy, examples, EVALUATOR, size, turns, "it").model_dump()


def people(count=12, seed=0):
    """One of them cannot be asked anything: her trait has no form that the rules know."""
    first, *rest = short_examples()
    return meetings([replace(first, persona=("Two dogs live here.",)), *rest], count, seed)


def is_askable(meeting):
    return meeting.gold.persona[0].startswith("I ")


def speaking(monkeypatch, words, several=1):
    """Lets every side say `words(prompt)`, the best of so many replies; returns the prompts, turn by turn."""
    seen: list[list[Prompt]] = []

    class Engine:
        def __init__(self, *_): ...

        def reply(self, role, prompts, sampling, seed, step, places, best_of):
            assert best_of == several
            seen.extend([] for _ in range(step - 1 - len(seen)))  # turns in which everyone asked the question
            assert step == 1 + len(seen)
            seen.append(list(prompts))
            return [words(prompt) for prompt in prompts]

    monkeypatch.setattr("selfsame.rollout.policy.RolloutEngine", Engine)
    return seen


# --- who meets whom


def test_everybody_meets_somebody_else():
    found = people()
    assert len(found) == 12 and found == people() != people(seed=1)
    assert found[:3] == people(3)  # more dialogues do not change the first ones
    assert {m.gold.persona for m in found} == {m.partner for m in found} == {m.stranger for m in found}
    for meeting in found:
        assert len({meeting.gold.persona, meeting.partner, meeting.stranger}) == 3
    state = random.getstate()
    people()
    assert random.getstate() == state


def test_the_same_person_in_other_words_is_nobody_else():
    first, second, third, *_ = short_examples()
    twin = replace(second, persona=(first.persona[0].upper(),))
    dull = replace(third, persona=("I am me.",))
    assert meetings([first, twin, dull], 9, 0) == []
    (one, other) = meetings([first, twin, second, dull], 9, 0)
    assert persona_key(one.gold.persona) == persona_key(other.partner) != persona_key(one.partner)
    assert one.stranger == other.stranger == ()


def test_what_is_asked_is_about_a_trait_of_the_one_who_is_asked():
    for meeting in people():
        assert (meeting.question, meeting.trait) == (("What do you have?", 0) if is_askable(meeting) else ("", 0))
    found = meetings(demo_examples(), 48, 0)
    assert len(found) == 48 and all(m.question for m in found)


# --- talking


def test_each_side_sees_itself_and_what_was_said(monkeypatch):
    seen = speaking(monkeypatch, lambda prompt: f" {prompt.persona[0]} {len(prompt.history)} ")
    found = people()
    talks = play(Policy(None, None, SAMPLING, 0), found, TURNS)  # type: ignore[arg-type]
    assert len(seen) == 2 * TURNS
    for k, (meeting, talk) in enumerate(zip(found, talks, strict=True)):
        assert (talk.persona, talk.partner, talk.dialogue) == (meeting.gold.persona, meeting.partner, meeting.gold.id)
        own, other = meeting.gold.persona[0], meeting.partner[0]
        expected = [text for n in range(TURNS) for text in (f"{other} {2 * n + 1}", f"{own} {2 * n + 1}")]
        if meeting.question:
            expected[2] = expected[2 * TURNS - 4] = meeting.question
            assert talk.asked == (1, TURNS - 2)
        assert list(talk.turns) == expected
        assert seen[1][k] == Prompt((own,), talk.turns[:1]) and seen[9][k] == Prompt((own,), talk.turns[:9])
        assert seen[8][k] == Prompt((other,), ("", *talk.turns[:8]))
    assert len(seen[2]) == len(seen[6]) == sum(not m.question for m in found) == 1
    assert all(len(prompts) == 12 for turn, prompts in enumerate(seen) if turn not in (2, 6))


def test_turns_depend_on_nothing_but_the_dialogue(roles):
    """Neither on the batch nor on the other dialogues."""
    talks = play(Policy(roles, "sft", SAMPLING, 0), people(), TURNS)
    assert play(Policy(roles, "sft", SAMPLING.model_copy(update={"batch_size": 1}), 0), people(), TURNS) == talks
    assert play(Policy(roles, "sft", SAMPLING, 0), people(3), TURNS) == talks[:3]
    other = play(Policy(roles, "sft", SAMPLING, 1), people(), TURNS)
    assert all(one.turns != two.turns for one, two in zip(talks, other, strict=True))
    sampled = {text for talk in talks for k, text in enumerate(talk.turns) if k not in (2, 6)}
    assert len(sampled) > 60  # of 120: no two turns share their random numbers


def test_systems_meet_the_same_people_with_the_same_random_numbers(roles, monkeypatch):
    seen = []

    def sample(self, role, prompts, uniform_NR, *rest):
        seen.append((role, uniform_NR))
        return plain(self, role, prompts, uniform_NR, *rest)

    plain = RolloutEngine.sample
    monkeypatch.setattr(RolloutEngine, "sample", sample)
    one, other = (play(Policy(roles, role, SAMPLING, 0), people(), TURNS) for role in (None, "sft"))
    assert [role for role, _ in seen] == [None] * 2 * TURNS + ["sft"] * 2 * TURNS
    for (_, numbers), (_, same) in zip(seen[: 2 * TURNS], seen[2 * TURNS :], strict=True):
        assert torch.equal(numbers, same)
    rows = {tuple(row) for _, numbers in seen[: 2 * TURNS] for row in numbers.tolist()}
    assert len(rows) == 2 * TURNS * 12 - 2 * 11  # all but the questions
    assert [t.turns for t in one] != [t.turns for t in other]


def test_a_dialogue_longer_than_the_context_goes_on(roles):
    (talk, *_) = play(Policy(roles, None, SAMPLING.model_copy(update={"max_new_tokens": 16}), 0), people(2), 24)
    assert len(talk.turns) == 48
    whole = roles.processor.render(Prompt(talk.persona, talk.turns[:-1]))
    assert len(roles.processor.tokenizer(whole).input_ids) > roles.processor.max_length


# --- the whole


def test_every_measure_accounts_for_every_turn(roles, tmp_path):
    random.seed(5)
    states = numpy_state(), random.getstate(), torch.get_rng_state().tolist()
    found = evaluate(roles)
    assert (numpy_state(), random.getstate(), torch.get_rng_state().tolist()) == states
    assert (found["items"], found["turns"], found["left_out"]) == (12, TURNS, 0)
    assert list(found["metrics"]) == MEASURES + FACT
    per = {"contradiction": TURNS, "mistaken_identity": TURNS}
    for name, cell in found["metrics"].items():
        if name != "repetition":
            assert cell["count"] + cell["missing"] == 12 * per.get(name, 1), name
    repeated = found["metrics"]["repetition"]
    assert repeated["count"] + repeated["missing"] == 12 * (TURNS - 1) - 12  # not the second answers
    assert found["metrics"]["same_fact_again"]["count"] > 6
    assert list(found["references"]["gold"]) == MEASURES
    assert list(found["references"]["random_persona"]) == MEASURES[:4]
    assert [len(sample["turns"]) for sample in found["samples"]] == [2 * TURNS] * 3
    assert [row["dialogue"] for row in found["dialogues"]][:3] == [sample["dialogue"] for sample in found["samples"]]
    assert found["samples"][0]["asked"] == {"question": "What do you have?", "trait": 0, "own_turns": [2, TURNS - 1]}
    write_json(tmp_path / "a.json", found)
    assert json.dumps(read_json(tmp_path / "a.json")["dialogues"])
    assert str(evaluate(roles)) == str(found) and str(evaluate(roles, "sft")) != str(found)
    assert str(evaluate(roles, "sft")["references"]["gold"]) == str(found["references"]["gold"])


def test_a_system_that_recites_its_persona(monkeypatch):
    monkeypatch.setattr(selfplay, "fits", lambda *_: True)
    speaking(monkeypatch, lambda prompt: " ".join(prompt.persona))
    found = evaluate(None)
    metrics, floor, gold = found["metrics"], found["references"]["random_persona"], found["references"]["gold"]
    assert metrics["coverage"]["value"] == metrics["repetition"]["value"] == metrics["same_fact_again"]["value"] == 1
    assert metrics["contradiction"]["value"] == metrics["drift"]["value"] == metrics["mistaken_identity"]["value"] == 0
    assert gold["coverage"]["value"] == 1 and gold["repetition"]["value"] == gold["contradiction"]["value"] == 0
    assert floor["coverage"]["value"] == 1  # they all have two of something, and without documents no word is rare


def test_a_system_that_takes_itself_for_the_other(monkeypatch):
    monkeypatch.setattr(selfplay, "fits", lambda *_: True)
    examples = [
        Example(f"{w}/1", (f"We {w} a {w}er.",), (), ("Hi", "Yes."), ((),)) for w in ["climb", "paint", "sail", "cook"]
    ]
    partner = {m.gold.persona: m.partner for m in meetings(examples, 4, 0)}
    speaking(monkeypatch, lambda prompt: partner[prompt.persona][0] if len(prompt.history) > 4 else "Hm.")
    found = evaluate(None, examples=examples, size=4)
    assert found["metrics"]["coverage"]["value"] == 0
    # The first two own turns say nothing, the others are the partner's life.
    assert found["metrics"]["mistaken_identity"]["value"] == pytest.approx(3 / 5)
    assert found["references"]["random_persona"]["mistaken_identity"]["value"] == 0
    assert "same_fact_again" not in found["metrics"]  # nobody asked anything in these dialogues


def test_too_few_people_and_personas_that_do_not_fit(roles):
    alone = evaluate(roles, examples=short_examples(1))
    assert alone["items"] == 0 and alone["samples"] == alone["dialogues"] == []
    assert all(math.isnan(cell["value"]) and cell["count"] == 0 for cell in alone["metrics"].values())
    first, *rest = short_examples(4)
    long = replace(first, persona=(*first.persona, "I live near the sea " * 60))
    found = evaluate(roles, examples=[long, *rest])
    assert (found["items"], found["left_out"]) == (3, 1)
    two = evaluate(roles, examples=short_examples(2))
    assert two["items"] == 2 and two["references"]["random_persona"]["coverage"]["count"] == 0


def test_it_is_part_of_an_evaluation_unless_switched_off(roles):
    examples = short_examples(4)
    settings = EvaluationSettings(judge="rules", resamples=100, selfplay_size=3, selfplay_turns=4)
    policy, results = Policy(roles, "sft", SAMPLING, 2), []
    for size in (3, 0):
        changed = settings.model_copy(update={"selfplay_size": size})
        generator = PreferenceGenerator(examples, seed=1)
        results.append(evaluate_system(policy, examples, generator, changed).model_dump())
    talking, silent = results
    assert silent["selfplay"] is None and (talking["selfplay"]["items"], talking["selfplay"]["turns"]) == (3, 4)
    matcher = TraitMatcher([text for e in examples for text in (*e.persona, *e.turns)])
    evaluator = PersonaEvaluator(matcher, Bootstrap(100, seed=2), RuleJudge())
    assert str(talking["selfplay"]) == str(evaluate_selfplay(policy, examples, evaluator, 3, 4).model_dump())
    del talking["selfplay"], silent["selfplay"]
    different = [key for key in silent if str(silent[key]) != str(talking[key])]
    assert different == ["settings"]


def test_each_turn_is_the_best_of_several(roles, monkeypatch):
    seen = speaking(monkeypatch, lambda prompt: "Hm.", several=3)
    assert evaluate(roles, best_of=3)["items"] == 12 and len(seen) == 2 * TURNS
