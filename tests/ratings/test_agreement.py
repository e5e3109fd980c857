"""Reading rated rows, scores on whatever people may have rated, ceilings, and the whole table."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from held_out import ODD_REPLIES
from test_roles import load

from commands import make
from selfsame.errors import DataError
from selfsame.metrics.statistics import Bootstrap
from selfsame.ratings.agreement import agreement, human_ceiling, table_lines, text_tables
from selfsame.ratings.likelihood import Likelihood, prompt_of
from selfsame.ratings.rows import RatedReply, read_rated
from selfsame.ratings.scorers import FEATURES, FLOORS, TurnScorer, our_scores
from selfsame.text.contradictions import RuleJudge
from selfsame.types import Prompt

FEW = Bootstrap(200)
PERSONA = ("I have two dogs.", "I teach chemistry.")


def rated(k=0, reply: str | None = "I have two dogs.", context=("Any pets?",), **ratings):
    return RatedReply(f"r{k}", f"d{k // 2}", PERSONA, tuple(context), reply, ratings or {"overall": (1.0,)})


def value(scorers, name, row):
    return next(s for s in scorers if s.name == name).score([row])[0]


# --- reading


def test_rows_are_read_and_bad_ones_are_told(tmp_path):
    good = {"id": "a", "dialogue": "d", "persona": [" I sing. "], "context": ["Hi. "], "reply": " Yes.",
            "ratings": {"overall": [4, None, 5], "one": 3, "none": []}}  # fmt: skip
    bad = [
        good | {"reply": 3},
        good | {"context": "Hi."},
        good | {"ratings": [4]},
        good | {"ratings": {"overall": ["N/A"]}},
        good | {"ratings": {"overall": [True]}},
        good | {"ratings": {"overall": [10**400]}},
        {"context": ["Hi."], "ratings": {}},
        good,
    ]
    lines = [
        json.dumps(good),
        "",
        *map(json.dumps, bad),
        "{",
        "[1]",
        '{"context": ["Hi", "Yes"]}',
        '{"ratings": {"x": [NaN]}, "reply": ""}',
    ]
    rows, rejected = read_rated(make(tmp_path, "r.jsonl", "\n".join(lines)))
    first, whole = rows
    assert first == RatedReply(
        "a", "d", ("I sing.",), ("Hi.",), "Yes.", {"overall": (4.0, 5.0), "one": (3.0,), "none": ()}
    )
    assert first.rating("overall") == 4.5 and math.isnan(first.rating("none")) and math.isnan(first.rating("other"))
    assert whole.reply is None and whole.ratings == {} and whole.id == whole.dialogue == "13"
    assert [row.line for row in rejected] == [*range(3, 13), 14]
    assert "used before, on line 1" in str(rejected[7]) and str(rejected[0]).startswith(
        f"{tmp_path / 'r.jsonl'}:3: reply"
    )


def test_a_file_without_a_row_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no row can be used"):
        read_rated(make(tmp_path, "r.jsonl", "[]\n{}\n"))
    with pytest.raises(DataError, match="no such file"):
        read_rated(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="no row has a rating"):
        agreement([rated(overall=())], [], FEW)


# --- scores


def test_floors():
    row = rated(reply="You have pets? You do?", context=("Do you have any pets?",))
    found = [value(FLOORS, name, row) for name in ("length", "question mark", "context overlap", "distinctness")]
    assert found == [5.0, 1.0, 1.0, 4 / 5] or found == [5.0, 1.0, 1.0, 3 / 5]
    assert value(FLOORS, "length", rated(reply="")) == 0 and math.isnan(value(FLOORS, "distinctness", rated(reply="")))


def test_features():
    assert value(FEATURES, "repetition", rated(reply="no dogs no dogs no dogs")) == pytest.approx(3 / 5)
    again = rated(reply="I have two dogs.", context=("Pets?", "I have two dogs.", "What?"))
    assert value(FEATURES, "repeats itself", again) == 1.0
    assert value(FEATURES, "uptake", rated(reply="Dogs!", context=("I like dogs.",))) == 1.0
    assert value(FEATURES, "answers", rated(reply="And you?")) == 0 and value(FEATURES, "answers", rated()) == 1
    assert math.isnan(value(FEATURES, "answers", rated(context=("I have pets.",))))
    assert [
        value(FEATURES, "well formed", rated(reply=r))
        for r in ("Yes.", "Yes [SEP] no", "User: hi", "no no no", "aaaaaa")
    ] == [1, 0, 0, 0, 0]
    rare, common = (value(FEATURES, "specificity", rated(reply=r)) for r in ("Zeppelins!", "I have dogs and work."))
    assert rare > common


def test_a_dialogue_gets_the_mean_of_the_own_turns():
    whole = rated(reply=None, context=("Hi.", "one two", "Oh.", "one two three four", "Bye."))
    assert [turn.reply for turn in whole.own_turns()] == ["one two", "one two three four"]
    assert whole.own_turns()[1].context == ("Hi.", "one two", "Oh.")
    assert value(FLOORS, "length", whole) == 3.0 and value(FLOORS, "total length", whole) == 6.0
    half = replace(whole, context=("Hi.", "😀", "Oh.", "one two"))
    assert value(FLOORS, "distinctness", half) == 1.0


def test_evidence_of_the_persona_adds_up():
    scorers = our_scores(RuleJudge())
    none, dogs = (value(scorers, "persona evidence", rated(reply=r)) for r in ("My zeppelin!", "My dogs bark."))
    both = value(scorers, "persona evidence", rated(reply="Dogs like chemistry."))
    assert 0 == none < dogs < both
    whole = rated(reply=None, context=("Hi.", "I like dogs.", "Oh.", "Dogs, yes.", "Bye."))
    assert value(scorers, "persona evidence", whole) == pytest.approx(2 * dogs)
    assert math.isnan(value(scorers, "persona evidence", replace(rated(), persona=())))


@pytest.fixture(scope="module")
def likelihood(tiny_models):
    return Likelihood(load(tiny_models()))


def test_odd_replies_have_defined_scores(likelihood):
    scorers = [*FLOORS, *our_scores(RuleJudge()), *FEATURES, *likelihood.scorers()]
    rows = [rated(k, text.strip(), ("Hi.",)) for k, text in enumerate(ODD_REPLIES)]
    rows += [rated(k, "Yes.", (text,)) for k, text in enumerate(ODD_REPLIES, start=50)]
    rows += [rated(k, None, ("Hi.", text, text)) for k, text in enumerate(ODD_REPLIES, start=100)]
    rows += [
        replace(rated(200), context=()),
        replace(rated(201), persona=()),
        replace(rated(202), persona=("x " * 900,)),
    ]
    for scorer in scorers:
        found = scorer.score(rows)
        assert len(found) == len(rows) and not any(map(math.isinf, found)), scorer.name
        assert scorer.score([]) == []
    for name in ("engagement", "specificity", "distinctness", "likelihood alone"):
        assert math.isnan(value(scorers, name, rated(reply=""))), name
    assert math.isnan(value(scorers, "likelihood, all given", replace(rated(), persona=("x " * 900,))))
    assert math.isnan(value(scorers, "likelihood, persona adds", replace(rated(), persona=())))
    assert math.isnan(value(scorers, "likelihood, context adds", replace(rated(), context=())))


def test_likelihood_is_that_of_plain_forwards(likelihood):
    from test_benchmark import naive

    rows = [rated(k, reply, ("Hello!",) if k % 3 else ("Hi.", "Yes?", "Any pets?")) for k, reply in
            enumerate(["Yes.", "I have two dogs.", "No, I teach.", "Hello! How are you?"] * 2)]  # fmt: skip
    for row, all_, context, alone in zip(
        rows, likelihood.given_all(rows), likelihood.given_context(rows), likelihood.alone(rows), strict=True
    ):
        prompt = prompt_of(PERSONA, row.context)
        assert all_ == pytest.approx(naive(likelihood.roles, None, prompt, row.reply), abs=2e-4)
        assert context == pytest.approx(naive(likelihood.roles, None, prompt.with_persona(()), row.reply), abs=2e-4)
        assert alone == pytest.approx(naive(likelihood.roles, None, Prompt(()), row.reply), abs=2e-4)
    assert likelihood.persona_lift(rows)[0] == pytest.approx(
        likelihood.given_all(rows)[0] - likelihood.given_context(rows)[0]
    )
    whole = rated(reply=None, context=("Hi.", "Yes.", "Any pets?", "I have two dogs.", "Bye."))
    (found,) = likelihood.given_context([whole])
    assert found == pytest.approx(np.mean(likelihood.given_context(whole.own_turns())), abs=2e-4)


# --- tables


def people(count=80, annotators=3, seed=0):
    """Longer replies are better, and annotators see it with noise."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=count)
    rows = []
    for k, q in enumerate(quality):
        given = tuple(float(q + rng.normal()) for _ in range(annotators))
        rows.append(rated(k, "word " * int(6 + 2 * round(rng.normal())), overall=given))
    return rows, dict(zip((r.id for r in rows), quality, strict=True))


def test_a_score_that_knows_beats_the_floors_and_noise_ties():
    rows, quality = people()
    rng = np.random.default_rng(5)
    noise = {row.id: float(rng.normal()) for row in rows}
    knows = TurnScorer("knows", lambda row: quality[row.id])
    guesses = TurnScorer("guesses", lambda row: noise[row.id])
    result = agreement(rows, [knows, guesses], FEW, features=FEATURES)
    (table,) = result["tables"]
    by_name = {row["name"]: row for row in table["scores"]}
    assert by_name["knows"]["beside_floor"]["verdict"] == "higher"
    assert by_name["guesses"]["beside_floor"]["verdict"] == "tie"
    assert "beside_floor" not in by_name["length"] and "beside_floor" not in by_name["specificity"]
    assert table["annotators"] == 3 and 0.4 < table["ceiling"]["pearson"]["value"] < 0.8
    lines = {line[0]: line for line in table_lines(table)}
    assert lines["floor: total length"][1] == lines["floor: length"][1] and lines["knows"][-1].startswith("higher")
    assert "feature: specificity" in text_tables(result)


def test_the_ceiling_is_one_against_the_mean_of_the_others():
    rows = [rated(0, a=(1.0, 2.0, 3.0)), rated(2, a=(2.0, 2.0)), rated(4, a=(5.0,)), rated(6, a=(4.0, 5.0))]
    one, others = [1, 2, 3, 2, 2, 4, 5], [2.5, 2, 1.5, 2, 2, 5, 4]
    found = human_ceiling(rows, "a", FEW)["pearson"]
    assert found["value"] == pytest.approx(np.corrcoef(one, others)[0, 1])
    assert (found["count"], found["missing"]) == (7, 1)


def test_levels_and_odd_ratings_stay_apart():
    rows = [rated(k, overall=(float(k),), same=(3.0, 3.0), picked=(float(k % 2),)) for k in range(8)]
    rows += [rated(20 + k, None, ("Hi.", "Yes. " * k), overall=(float(k),)) for k in range(1, 6)]
    result = agreement(rows, our_scores(RuleJudge()), FEW)
    tables = {(t["level"], t["rating"]): t for t in result["tables"]}
    assert set(tables) == {("reply", "overall"), ("reply", "same"), ("reply", "picked"), ("dialogue", "overall")}
    assert {row.get("note") for row in tables["reply", "same"]["scores"]} <= {"constant rating", "constant score"}
    assert math.isnan(tables["reply", "overall"]["ceiling"]["pearson"]["value"])
    assert all("auc" in row for row in tables["reply", "picked"]["scores"])
    assert tables["dialogue", "overall"]["rows"] == 5
    assert "constant" in text_tables(result)
