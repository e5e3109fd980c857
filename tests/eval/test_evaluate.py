"""A whole evaluation on tiny models: what is in it, that systems are compared on the same terms, and that the reference
rows are what they say."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import pytest
import torch
from held_out import PERSONA_METRICS, numpy_state, short_examples
from test_roles import with_sft

from selfsame.data.pairs import PreferenceGenerator
from selfsame.eval.evaluate import evaluate_system
from selfsame.eval.scoring import AnswerScorer
from selfsame.eval.settings import EvaluationSettings
from selfsame.metrics.hits import BenchmarkEvaluator, draw_distractors
from selfsame.metrics.judge import judge_summary
from selfsame.metrics.quality import QualityEvaluator
from selfsame.metrics.statistics import Bootstrap
from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.policy import Policy
from selfsame.rollout.settings import SamplingSettings
from selfsame.run.files import read_json, write_json
from selfsame.text.contradictions import RuleJudge
from selfsame.types import Example

SETTINGS = EvaluationSettings(resamples=100, judge="rules", selfplay_size=0, model="selfsame-9m")
SAMPLING = SamplingSettings(max_new_tokens=6)
GROUNDED_METRICS = ["sensible_consistency", *PERSONA_METRICS]
CHARACTER_METRICS = ["in_character", "in_character_grounded", "in_character_other", "well_formed", "answers"]
TALK_METRICS = [
    *CHARACTER_METRICS,
    "grounding_anywhere",
    "engagement",
    "fitted_quality",
    "bleu",
    "rouge_l",
    "f1",
    "distinct_1",
    "distinct_2",
    "reply_words",
    "hits_at_1",
]
PERPLEXITIES = ["perplexity", "perplexity_word", "bits_per_byte"]


@pytest.fixture(scope="module")
def roles(tiny_models):
    return with_sft(tiny_models())


def evaluate(roles, role=None, examples=None, sampling=SAMPLING, seed=0, **settings):
    examples = short_examples() if examples is None else examples
    changed = SETTINGS.model_copy(update=settings)
    policy = Policy(roles, role, sampling, seed)
    return evaluate_system(policy, examples, PreferenceGenerator(examples, seed=1), changed).model_dump()


def replies(result) -> list[str]:
    return [row["reply"] for row in result["replies"]]


@pytest.fixture(scope="module")
def results(roles):
    return evaluate(roles), evaluate(roles, "sft")


def test_every_metric_accounts_for_every_item(results):
    """12 dialogues of four own turns: one of each draws on the persona, two are mid-dialogue."""
    for result in results:
        metrics = result["metrics"]
        assert sorted(metrics) == sorted(GROUNDED_METRICS + TALK_METRICS + PERPLEXITIES)
        for names, items in ((GROUNDED_METRICS, 12), (TALK_METRICS, 24), (PERPLEXITIES, 48)):
            for name in names:
                cell = metrics[name]
                # 15 different own turns in all: not 19 distractors; no turn in mid-dialogue calls for the persona
                empty = name in ("hits_at_1", "in_character_grounded")
                assert cell["count"] + cell["missing"] == items and (cell["count"] or empty), name
                assert math.isnan(cell["value"]) == (cell["count"] == 0), name
        assert (result["items"], result["left_out"]) == (12, 0) == (len(result["replies"]), 0)


def test_the_role_that_is_named_is_measured(roles, results):
    for role, result in zip((None, "sft"), results, strict=True):
        expected = QualityEvaluator().compute_perplexity(roles, role, short_examples())
        for name in PERPLEXITIES:
            assert result["metrics"][name]["value"] == pytest.approx(expected[name].value, rel=1e-4)
    assert replies(results[0]) != replies(results[1])


def test_results_survive_json(results, tmp_path):
    write_json(tmp_path / "base.json", results[0])
    back = read_json(tmp_path / "base.json")
    assert back["metrics"]["perplexity"] == results[0]["metrics"]["perplexity"]
    assert back["metrics"]["hits_at_1"]["value"] is None and back["metrics"]["hits_at_1"]["missing"] == 24
    assert back["settings"]["seed"] == 0 and back["settings"]["sampling"]["max_new_tokens"] == 6
    assert json.dumps(back["replies"][0]["scores"])


def test_the_same_seed_gives_the_same_result(roles, results):
    random.seed(5)
    states = numpy_state(), random.getstate(), torch.get_rng_state().tolist()
    again = evaluate(roles)
    assert (numpy_state(), random.getstate(), torch.get_rng_state().tolist()) == states
    assert str(again) == str(results[0])  # text, in which NaN equals NaN
    other = evaluate(roles, seed=1)
    assert replies(other) != replies(again)
    assert [row["gold"] for row in other["replies"]] == [row["gold"] for row in again["replies"]]


def test_replies_do_not_depend_on_the_batch_size(roles, results):
    """The seed of a reply was once a function of the batch it fell into."""
    small = evaluate(roles, sampling=SAMPLING.model_copy(update={"batch_size": 1}))
    assert replies(small) == replies(results[0])


def test_systems_meet_the_same_prompts_with_the_same_random_numbers(roles, monkeypatch):
    seen = []

    def sample(self, role, prompts, uniform_NR, *rest):
        seen.append((role, [list(p) for p in prompts], uniform_NR))
        return plain(self, role, prompts, uniform_NR, *rest)

    plain = RolloutEngine.sample
    monkeypatch.setattr(RolloutEngine, "sample", sample)
    one, other = evaluate(roles), evaluate(roles, "sft")
    assert [role for role, *_ in seen] == [None, "sft"]
    (_, prompts, numbers), (_, same_prompts, same_numbers) = seen
    assert prompts == same_prompts and torch.equal(numbers, same_numbers)
    assert torch.equal(numbers[:12], numbers[12:24]) and prompts[:12] != prompts[12:24]  # with and without the persona
    assert len({tuple(row) for row in numbers[:12].tolist()}) == 12  # and no two replies share theirs
    for name in ("dialogue", "persona", "history", "gold"):
        assert [row[name] for row in one["replies"]] == [row[name] for row in other["replies"]]


def speaking(monkeypatch, words):
    """Lets every system say `words(prompt)`."""
    monkeypatch.setattr(RolloutEngine, "reply", lambda self, role, prompts, *rest: [words(p) for p in prompts])


def test_reference_rows_bound_a_model_that_recites(roles, monkeypatch):
    speaking(monkeypatch, lambda prompt: " ".join(prompt.persona))
    first, *rest = short_examples()
    vague = replace(first, turns=tuple("My pets!" if "dogs" in turn else turn for turn in first.turns))
    result = evaluate(roles, examples=[vague, *rest])
    rows = {name: row["consistency"] for name, row in result["references"].items() if "consistency" in row}
    assert list(rows) == ["gold", "no_persona", "persona_recited", "random_persona"]
    assert result["metrics"]["consistency"]["value"] == rows["persona_recited"]["value"] == 1
    assert rows["gold"]["value"] == pytest.approx(11 / 12)  # people say it in other words
    assert rows["no_persona"]["value"] == 0 and rows["no_persona"]["high"] > 0.2
    random = result["references"]["random_persona"]
    assert random["keywords"]["value"] == 1  # they all have two of something: a keyword is not a fact
    assert random["grounding"]["value"] == rows["random_persona"]["value"] == 0
    assert all(row["count"] == 12 and row["missing"] == 0 for row in rows.values())
    scores = [row["scores"] for row in result["replies"]]
    said = {"consistency": 1.0, "grounding": 1.0, "same_trait": 1.0, "contradiction": 0.0, "copying_unprompted": 0.0}
    said |= {"copying": 1.0, "keywords": 1.0}
    assert [{n: v for n, v in row.items() if n != "sensible_consistency"} for row in scores] == [said] * 12
    assert result["judge"] == judge_summary(RuleJudge())


def test_gold_is_measured_by_all_that_does_not_compare_with_it(roles, monkeypatch):
    speaking(monkeypatch, lambda prompt: "I have two kites?")
    result = evaluate(roles)
    gold, metrics = result["references"]["gold"], result["metrics"]
    assert sorted(gold) == sorted(
        [
            *GROUNDED_METRICS,
            *CHARACTER_METRICS,
            "grounding_anywhere",
            "engagement",
            "fitted_quality",
            "distinct_1",
            "distinct_2",
        ]
        + ["reply_words"]
    )
    assert gold["reply_words"]["value"] == pytest.approx((4 + 1) / 2)  # "I have two dogs." and "Bye."
    assert gold["distinct_1"]["value"] == pytest.approx((3 + 12 + 1) / (5 * 12))
    assert metrics["distinct_1"]["value"] == pytest.approx(4 / (4 * 24)) and metrics["reply_words"]["value"] == 4
    assert metrics["f1"]["value"] == pytest.approx((11 * 0.75 + 1) / 24)  # one of them is right


def test_other_replies_bound_what_is_compared_with_gold(roles, results):
    """Somebody's reply to another prompt: right by chance only, and never the very reply."""
    other = results[0]["references"]["other_reply"]
    assert sorted(other) == sorted([*CHARACTER_METRICS, "bleu", "engagement", "f1", "fitted_quality", "rouge_l"])
    assert other == results[1]["references"]["other_reply"]
    assert 0 < other["f1"]["value"] < 0.75 and other["f1"]["count"] == 24
    assert other["engagement"]["count"] + other["engagement"]["missing"] == 24
    alone = evaluate(roles, examples=[Example("a/2", ("I sing.",), (), ("Hi", "Yes.") * 3, ((),) * 3)])
    nobody = alone["references"]["other_reply"]["f1"]
    assert alone["metrics"]["f1"]["count"] == 1 and math.isnan(nobody["value"]) and nobody["count"] == 0


def test_rows_of_what_people_said_there_and_elsewhere_are_not_mixed_up(roles, monkeypatch):
    def said_there(self, answers):
        return {"in_character": [float(answer.reply == answer.gold) for answer in answers]}

    monkeypatch.setattr(AnswerScorer, "of_character", said_there)
    references = evaluate(roles)["references"]
    found = {row: references[row]["in_character"] for row in ("gold", "other_reply")}
    assert {row: (share["value"], share["count"]) for row, share in found.items()} == {
        "gold": (1.0, 24),
        "other_reply": (0.0, 24),
    }


def test_scores_of_two_systems_can_be_compared_in_pairs(roles, monkeypatch):
    found = []
    for words in (lambda prompt: prompt.persona[0] if prompt.persona else "", lambda prompt: "No."):
        speaking(monkeypatch, words)
        found.append(evaluate(roles)["replies"])
    one, other = ([row["scores"]["consistency"] for row in rows] for rows in found)
    difference = Bootstrap().difference(one, other, [row["dialogue"] for row in found[0]])
    assert difference.value == 1.0 and difference.count == 12


def test_a_model_that_says_nothing(roles, monkeypatch):
    speaking(monkeypatch, lambda prompt: "")
    metrics = evaluate(roles)["metrics"]
    for name in ("engagement", "fitted_quality", "distinct_1", "distinct_2"):
        assert math.isnan(metrics[name]["value"]) and metrics[name]["missing"] == 24, name
    for name in ("contradiction", "copying_unprompted"):
        assert math.isnan(metrics[name]["value"]) and metrics[name]["missing"] == 12, name
    for name in ("consistency", "bleu", "rouge_l", "f1", "reply_words"):
        assert metrics[name]["value"] == 0 and metrics[name]["missing"] == 0, name


def test_hits_at_1_draws_from_all_held_out_replies(roles):
    more = short_examples()
    for k in range(8):
        texts = ("Hello!", f"I like {k} of them.", "Why?", f"Because of {k}.")
        more.append(Example(f"e{k}/2", (f"I collect {k} things.",), (), texts, ((), ())))
    talk = PreferenceGenerator(more, seed=1).create_test_sets().engagement
    gold, groups = [i.reply for i in talk], [i.group for i in talk]
    distractors = draw_distractors(gold, [r for e in more for r in e.replies], 19, 0)
    values = []
    for role in (None, "sft"):
        found = evaluate(roles, role, examples=more)["metrics"]["hits_at_1"]
        expected = BenchmarkEvaluator(Bootstrap(100)).hits_at_1(
            roles, role, [i.prompt for i in talk], gold, distractors, groups
        )
        assert found == expected.to_dict() and (found["count"], found["missing"]) == (24, 0)
        values.append(found["value"])
    assert 0 <= min(values) < max(values) < 1


def test_one_person_and_nobody(roles):
    """Too little to compare with: no interval, no other persona, no distractors - and no crash."""
    one = evaluate(roles, examples=short_examples(1))
    assert one["items"] == 1 and one["metrics"]["consistency"]["count"] == 1
    assert math.isnan(one["metrics"]["perplexity"]["low"]) and math.isfinite(one["metrics"]["perplexity"]["value"])
    for row, metric in (("random_persona", "consistency"), ("random_persona", "grounding")):
        cell = one["references"][row][metric]
        assert math.isnan(cell["value"]) and (cell["count"], cell["missing"]) == (0, 1)
    assert math.isnan(one["metrics"]["hits_at_1"]["value"])
    two = short_examples(2)
    dull = [Example(e.id, ("I am me.",), (), e.turns[:4], ((), ())) for e in two]
    none = evaluate(roles, examples=dull)
    assert none["items"] == 0 and none["replies"] == []
    assert math.isnan(none["metrics"]["consistency"]["value"]) and math.isfinite(none["metrics"]["perplexity"]["value"])


def test_a_persona_that_does_not_fit_is_left_out_and_counted(roles):
    first, *rest = short_examples()
    long = Example(first.id, (*first.persona, "I live near the sea " * 30), (), first.turns, first.traits)
    found = evaluate(roles, examples=[long, *rest])
    assert (found["items"], found["left_out"]) == (11, 3)
    assert (found["metrics"]["perplexity"]["count"], found["metrics"]["perplexity"]["missing"]) == (44, 4)


def test_sizes_are_limits(roles):
    found = evaluate(roles, consistency_size=5, engagement_size=7, perplexity_size=3)
    counts = {name: found["metrics"][name]["count"] for name in ("consistency", "f1", "perplexity")}
    assert counts == {"consistency": 5, "f1": 7, "perplexity": 12}


def test_a_function_of_the_user_is_measured_and_compared(roles, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def gold_words(prompts, replies, gold):\n    return [float(len(g.split())) for g in gold]\n")
    result = evaluate(roles, functions=(f"{file}:gold_words",))
    measured = result["metrics"]["mine.py:gold_words"]
    expected = [len(row["gold"].split()) for row in result["talk"]]
    assert measured["value"] == pytest.approx(sum(expected) / len(expected)) and measured["count"] == len(expected)
    assert [row["scores"]["mine.py:gold_words"] for row in result["talk"]] == expected
    assert result["references"]["gold"]["mine.py:gold_words"]["value"] == pytest.approx(measured["value"])
