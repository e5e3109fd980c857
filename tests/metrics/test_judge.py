"""Judges of contradictions, how good they are, and which group of candidates a model ranks first."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from held_out import ODD_REPLIES
from test_roles import load
from transformers import LlamaConfig, LlamaForSequenceClassification

from commands import make
from conftest import make_tokenizer
from selfsame.errors import ConfigError, DataError
from selfsame.metrics.judge import (
    BUNDLED_JUDGE,
    AdapterJudge,
    ModelJudge,
    judge_summary,
    load_judge,
)
from selfsame.metrics.statistics import Bootstrap
from selfsame.ratings.judge_accuracy import judge_pairs, judge_text
from selfsame.ratings.rows import RankedPrompt, read_candidates, read_pairs
from selfsame.tasks.ranking import rank_rows, rank_text
from selfsame.text.contradictions import RuleJudge
from selfsame.types import LABELS, LabelledPair

FEW = Bootstrap(200)
SAID = [
    ("I have two dogs.", "I have three dogs.", "contradiction"),
    ("I love coffee.", "I don't love coffee.", "contradiction"),
    ("I have never been to Spain.", "I have been to Spain.", "contradiction"),
    ("I am a teacher.", "I work as a nurse.", "contradiction"),
    ("My favorite color is blue.", "My favorite color is red.", "contradiction"),
    ("I am married.", "I'm single.", "contradiction"),
    ("I have two dogs and teach chemistry.", "I teach chemistry.", "entailment"),
    ("I hiked in the hills.", "I like hiking in the hills.", "entailment"),
    ("I have two dogs.", "The sea is nice.", "neutral"),
    ("I have a dog.", "I have a cat.", "neutral"),
    ("I have two dogs.", "I am three years older than my wife.", "neutral"),
    ("I don't eat meat or fish.", "I never eat meat.", "entailment"),
]


@pytest.mark.parametrize(("premise", "hypothesis", "label"), SAID)
def test_rules(premise, hypothesis, label):
    assert LABELS[RuleJudge().label(premise, hypothesis)] == label


def test_probabilities_are_probabilities_and_nothing_is_said_of_nothing():
    texts = [*ODD_REPLIES, "I have two dogs."]
    pairs = [(a, b) for a in texts for b in texts]
    found = RuleJudge().probabilities(pairs)
    assert found.shape == (len(pairs), 3)
    silent = np.isnan(found).any(1)
    assert found[~silent].sum(1) == pytest.approx(1.0) and (found[~silent] >= 0).all()
    assert [bool(s) for s in silent] == [not (any(map(str.isalnum, a)) and any(map(str.isalnum, b))) for a, b in pairs]
    assert RuleJudge().probabilities([]).shape == (0, 3)


class Fixed:
    name, threshold, language = "fixed", 0.5, None

    def __init__(self, said):
        self.said = said

    def probabilities(self, pairs):
        found = np.full((len(pairs), 3), math.nan)
        for row, label in zip(found, self.said, strict=True):
            if label:
                row[:] = [float(label == one) for one in LABELS]
        return found


def test_balanced_accuracy_is_the_mean_recall():
    c, n, e = LABELS
    true = [c, c, c, c, n, n, e, e]
    said = [c, c, c, n, n, e, e, None]
    rows = [LabelledPair("a", "b", label, str(k)) for k, label in enumerate(true)]
    result = judge_pairs(Fixed(said), rows, FEW)
    assert result["balanced_accuracy"]["value"] == pytest.approx((3 / 4 + 1 / 2 + 1) / 3)
    assert result["accuracy"]["value"] == pytest.approx(5 / 7) and result["missing"] == 1
    assert result["confusion"] == {c: {c: 3, n: 1, e: 0}, n: {c: 0, n: 1, e: 1}, e: {c: 0, n: 0, e: 1}}
    assert result["recall"][e]["count"] == 1 and "not known" in judge_text(result)
    assert judge_pairs(Fixed([n] * 8), rows, FEW)["balanced_accuracy"]["value"] == pytest.approx(1 / 3)
    some = [row for row in rows if row.label != e]
    assert judge_pairs(Fixed([c] * 6), some, FEW)["balanced_accuracy"]["value"] == pytest.approx(1 / 2)
    silent = judge_pairs(Fixed([None] * 8), rows, FEW)
    assert math.isnan(silent["balanced_accuracy"]["value"]) and silent["missing"] == 8
    assert "–" in judge_text(silent)


class Unsure:
    """A third each for contradiction, and the rest between the other two."""

    name, threshold, language = "unsure", 0.5, None

    def probabilities(self, pairs):
        return np.array([[0.4, 0.3, 0.3]] * len(pairs))


def test_where_a_label_does_not_occur_the_question_is_yes_or_no():
    """.4 is the most of three, and less than half."""
    c, n, e = LABELS
    for labels, expected in (((c, n), 1 / 2), ((c, e), 1 / 2), ((c, n, e), 1 / 3)):
        rows = [LabelledPair("a", "b", label, str(k)) for k, label in enumerate(labels)]
        result = judge_pairs(Unsure(), rows, FEW)
        assert result["balanced_accuracy"]["value"] == pytest.approx(expected)
        assert result["recall"][c]["value"] == float(len(labels) == 3)


def test_the_judge_in_the_package():
    """Its claim is in its record; here it has to know the plainest cases, in one batch and one by one."""
    judge = load_judge()
    assert isinstance(judge, AdapterJudge) and judge is load_judge(BUNDLED_JUDGE) and 0 < judge.threshold < 1
    pairs = [("I have two dogs.", "I don't have any dogs."), ("I am a nurse.", "I love the sea in winter."),
             ("I love coffee.", "I hate coffee."), ("I play the guitar.", "Yes, I play the guitar in a band."),
             ("I have two dogs.", "I have three dogs.")]  # fmt: skip
    found = judge.probabilities(pairs)
    assert found.argmax(1).tolist() == [0, 1, 0, 2, 0]  # the last by the rules
    assert found.sum(1) == pytest.approx(1.0, abs=1e-3)
    alone = np.concatenate([AdapterJudge().probabilities([pair]) for pair in pairs])
    assert alone == pytest.approx(found, abs=0.05)  # bfloat16 rounds differently in batches of another size
    used = AdapterJudge()
    used.probabilities(pairs[:2])
    assert np.array_equal(used.probabilities(pairs), AdapterJudge().probabilities(pairs))  # whatever was asked before
    assert np.isnan(judge.probabilities([("", "Yes."), ("Yes.", "😀")])).all()
    known = judge_summary(judge)["balanced_accuracy"]
    assert known["decode_turns"] >= 0.75 and set(known) == set(judge_summary(RuleJudge())["balanced_accuracy"])


def nli_model(folder, labels):
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                         num_attention_heads=4, max_position_embeddings=64, pad_token_id=tokenizer.pad_token_id,
                         id2label=dict(enumerate(labels)), label2id={n: k for k, n in enumerate(labels)})  # fmt: skip
    model = LlamaForSequenceClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(12)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, model.eval(), tokenizer


def test_a_model_is_read_in_the_order_of_its_labels(tmp_path):
    folder, model, tokenizer = nli_model(tmp_path, ["ENTAILMENT", "neutral", "Contradiction"])
    judge = ModelJudge(str(folder), batch_size=3)
    pairs = [(a, b) for a, b, _ in SAID]
    found = judge.probabilities([*pairs, ("", "Yes."), ("Yes.", "😀")])
    assert np.isnan(found[-2:]).all()
    for pair, row in zip(pairs, found, strict=False):
        logits = model(**tokenizer(*pair, return_tensors="pt")).logits[0]
        assert row == pytest.approx(logits.softmax(-1)[[2, 1, 0]].detach().numpy(), abs=1e-4)
    assert np.ptp(found[:-2], axis=0).max() > 0.01
    odd = judge.probabilities([(a, b) for a in ODD_REPLIES for b in ODD_REPLIES])
    assert odd.shape == (len(ODD_REPLIES) ** 2, 3) and np.nansum(odd, axis=1).max() == pytest.approx(1, abs=1e-4)
    rows = [LabelledPair(a, b, label, a) for a, b, label in SAID]
    result = judge_pairs(judge, rows, FEW)
    assert result["held_out"] == {}
    (tmp_path / "judge.json").write_text(json.dumps({"held_out": {"our_pairs": result}}))
    again = judge_pairs(load_judge(str(folder)), rows, FEW)
    assert again["held_out"] == {"our_pairs": result["balanced_accuracy"]["value"]}
    assert f"our pairs {result['balanced_accuracy']['value']:.2f}" in judge_text(again)
    assert judge_summary(judge)["balanced_accuracy"] == again["held_out"]


def test_models_that_are_no_judges(tmp_path, tiny_models):
    folder, *_ = nli_model(tmp_path / "three", ["LABEL_0", "LABEL_1", "LABEL_2"])
    with pytest.raises(ConfigError, match="has the labels LABEL_0, LABEL_1, LABEL_2"):
        ModelJudge(str(folder))
    with pytest.raises(ConfigError, match="cannot load the judge"):
        load_judge(str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="judge"):
        ModelJudge(str(tiny_models()))
    assert load_judge("rules").name == "rules"


def test_pairs_and_candidates_are_read(tmp_path):
    lines = [{"premise": "a", "hypothesis": "b", "label": "neutral"}, {"premise": "a", "hypothesis": "b", "label": "yes"},
             {"premise": 1, "hypothesis": "b", "label": "neutral"}]  # fmt: skip
    rows, rejected = read_pairs(make(tmp_path, "p.jsonl", "\n".join(map(json.dumps, lines))))
    assert rows == [LabelledPair("a", "b", "neutral", "1")] and [r.line for r in rejected] == [2, 3]
    one = {"text": " Yes. ", "group": 1}
    lines = [
        {"persona": ["p"], "context": ["c"], "candidates": [one]},
        {"candidates": []},
        {"candidates": [{"text": "x"}]},
    ]
    rows, rejected = read_candidates(make(tmp_path, "c.jsonl", "\n".join(map(json.dumps, lines))))
    assert rows == [RankedPrompt(("p",), ("c",), (("Yes.", "1"),), "1")] and len(rejected) == 2
    with pytest.raises(DataError, match="no row can be used"):
        read_pairs(tmp_path / "c.jsonl")


def test_ranking_is_that_of_the_benchmark(tiny_models):
    from test_hits import REPLIES, naive

    from selfsame.ratings.likelihood import prompt_of

    roles = load(tiny_models())
    candidates = tuple(zip(REPLIES, "aabbc", strict=True))
    rows = [RankedPrompt((f"I have {k} dogs.",), ("Hello!",) if k % 2 else (), candidates, str(k)) for k in range(6)]
    result = rank_rows(roles, None, rows, FEW)
    wins = []
    for row in rows:
        scores = [naive(roles, None, prompt_of(row.persona, row.context), text) for text, _ in row.candidates]
        wins.append(row.candidates[int(np.argmax(scores))][1])
    for group in "abc":
        assert result["groups"][group]["first"]["value"] == pytest.approx(wins.count(group) / 6)
    assert [result["groups"][g]["chance"] for g in "abc"] == pytest.approx([0.4, 0.4, 0.2])
    same = RankedPrompt((), (), (("Yes.", "a"), ("Yes.", "b")), "0")
    odd = [same, RankedPrompt((), (), (("Yes.", "a"),), "1"), RankedPrompt(("x " * 900,), (), same.candidates, "2")]
    found = rank_rows(roles, None, odd, FEW)
    assert found["missing"] == 2 and found["groups"]["a"]["first"]["value"] == 0.5 and "a: 0.50" in rank_text(found)
    nothing = rank_rows(roles, None, odd[1:], FEW)
    assert math.isnan(nothing["groups"]["a"]["first"]["value"]) and "–" in rank_text(nothing)
    strange = [RankedPrompt((), (text,), tuple((t, "odd") for t in ODD_REPLIES), text[:5]) for text in ODD_REPLIES]
    assert rank_rows(roles, None, strange, FEW)["groups"]["odd"]["first"]["value"] == 1.0
