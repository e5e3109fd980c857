"""What is measured of one side of a conversation, on dialogues written for it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from held_out import ODD_REPLIES, demo_examples, demo_persona_evaluator

from selfsame.metrics.conversation import Talk, drift, estimates, is_mistaken, mistaken, repetitions, score_talks
from selfsame.metrics.persona import PersonaEvaluator
from selfsame.metrics.statistics import Bootstrap
from selfsame.text.contradictions import RuleJudge

PERSONA = ("I have two dogs.", "I teach chemistry.", "I sing.")
PARTNER = ("I fly kites.", "I drive a bus.")
EVALUATOR = PersonaEvaluator(bootstrap=Bootstrap(100), judge=RuleJudge())


def talk(*own, asked=(), trait=0, persona=PERSONA):
    return Talk("d", persona, PARTNER, tuple(text for said in own for text in ("Go on.", said)), asked, trait)


def scores(*talks):
    return score_talks(EVALUATOR, talks)


def test_coverage_is_that_of_the_evaluator():
    talks = [talk("My dogs!", "Yes.", "I sing."), talk("Hm."), talk("I teach chemistry to dogs.", "And sing.")]
    found = scores(*talks)["coverage"]
    assert found == [[2 / 3], [0.0], [1.0]]
    expected = EVALUATOR.compute_multi_turn_consistency([PERSONA] * 3, [t.own for t in talks])
    assert estimates(EVALUATOR, {"coverage": found})["coverage"] == expected.to_dict()


def test_a_turn_is_held_against_the_traits_and_the_own_turns_before_it():
    found = scores(
        talk("I have three dogs.", "I have two cats.", "Oh?", "I have three cats.", ""),
        talk("I have two cats."),  # nobody else's turns
    )
    assert found["contradiction"][0][:4] == [1, 0, 0, 1] and math.isnan(found["contradiction"][0][4])
    assert found["contradiction"][1] == [0]
    cell = estimates(EVALUATOR, found)["contradiction"]
    assert (cell["value"], cell["count"], cell["missing"]) == (2 / 5, 5, 1)


def test_drift_is_of_the_traits_alone():
    """A late turn has more own turns to be at odds with: that is no drift."""
    steady = [f"I have {number} cats." for number in ("two", "three", "four", "five", "six", "seven")]
    drifting = ["I have two dogs."] * 4 + ["I have three dogs."] * 2
    found = scores(talk(*steady), talk(*drifting), talk(*reversed(drifting)), talk("Hi.", "No."))
    assert sum(found["contradiction"][0]) == 5
    assert [d[0] for d in found["drift"][:3]] == [0.0, 1.0, -1.0]
    assert math.isnan(found["drift"][3][0])
    cell = estimates(EVALUATOR, found)["drift"]
    assert cell["value"] == 0 and cell["low"] < 0 < cell["high"] and (cell["count"], cell["missing"]) == (3, 1)


def test_no_drift_anywhere_is_no_certainty():
    same = talk("I have two dogs.", "Hm.", "I have two dogs.")
    cell = estimates(EVALUATOR, scores(same, same, same))["drift"]
    share = EVALUATOR.bootstrap.share([0.0] * 3)
    assert (cell["value"], cell["low"], cell["high"]) == (0, -share.high, share.high)


def test_drift_leaves_the_middle_out_and_passes_over_what_has_no_score():
    nan = math.nan
    assert drift([0, 1, 0, 9, 9, 9, 9, 1, nan, 1]) == pytest.approx(1 - 1 / 3)
    assert math.isnan(drift([nan, 1, 1])) and math.isnan(drift([]))


@pytest.mark.parametrize(
    ("heard", "said", "expected"),
    [
        ("Hi.", "I fly kites.", 1),
        ("Hi.", "Nice. I'm off, my bus waits.", 1),
        ("Hi.", "I've a kite", 1),
        ("I fly kites!", "I fly kites too.", 0),  # takes up what was just said
        ("Hi.", "You fly kites, I think.", 0),
        ("Hi.", "Kites are pretty.", 0),
        ("Hi.", "I sing. Kites are pretty.", 0),
        ("Hi.", "I have two dogs and a kite.", 0),  # draws on an own trait
        ("Hi.", "I like rain.", 0),
        ("Hi.", "I see. Do you fly kites?", 0),
        ("Hi.", "Do I fly kites?", math.nan),
        ("Hi.", "", math.nan),
        ("Hi.", "😀!", math.nan),
    ],
)
def test_mistaken_identity(heard, said, expected):
    found = is_mistaken(EVALUATOR.matcher, PERSONA, PARTNER, heard, said)
    assert found == expected or (math.isnan(found) and math.isnan(expected))
    assert math.isnan(is_mistaken(EVALUATOR.matcher, PERSONA, (), heard, said))


def test_people_seldom_take_themselves_for_the_other():
    """On the bundled dialogues; held against each other's persona the measure sees it nearly always."""
    evaluator, sides = demo_persona_evaluator(), demo_examples()
    matcher = evaluator.matcher
    right = [Talk(e.id, e.persona, e.partner_persona, e.turns) for e in sides]
    swapped = [Talk(e.id, e.partner_persona, e.persona, e.turns) for e in sides]
    rates = []
    for talks in (right, swapped):
        found = [score for one in talks for score in mistaken(matcher, one) if not math.isnan(score)]
        rates.append(sum(found) / len(found))
    assert rates[0] < 0.03 and rates[1] > 0.3


def test_repetition_is_nearly_word_for_word():
    turns = [
        "I like tea a lot.",
        "Really?",
        "i like TEA, a lot!",
        "I like tea a whole lot.",
        "Tea.",
        "",
        "really",
        "?!",
    ]
    found = repetitions(turns)
    assert found[:4] == [0, 1, 1, 0] and found[5] == 1 and math.isnan(found[4]) and math.isnan(found[6])
    assert str(repetitions(turns, (2, 3))) == str([found[0], *found[3:]])  # text, in which NaN equals NaN
    assert repetitions(["I like a lot of tea.", "Of tea a lot I like."]) == [
        0
    ]  # the same words are not the same wording
    assert repetitions([]) == repetitions(["Hi."]) == []


def test_repetition_of_endless_turns():
    assert repetitions(["word " * 10_000] * 12) == [1.0] * 11
    assert repetitions([" ".join(map(str, range(k, k + 9_000))) for k in range(0, 120, 10)]) == [1.0] * 11


@pytest.mark.parametrize(
    ("first", "second", "again", "contradicted", "drawn"),
    [
        ("I have two dogs.", "Two dogs, as I said.", 1, 0, "both"),
        ("I have two dogs.", "I have three dogs.", 0, 1, "both"),
        ("I have two dogs.", "I don't know.", 0, 0, "one"),
        ("I don't know.", "My dogs.", 0, 0, "one"),
        ("No idea.", "What?", 0, 0, "none"),
    ],
)
def test_the_same_question_twice(first, second, again, contradicted, drawn):
    found = scores(talk("Hi.", first, "So.", "And so.", second, "Bye.", asked=(1, 4)))
    expected = {"again": again, "contradicted": contradicted} | {f"in_{n}": n == drawn for n in ("both", "one", "none")}
    assert {name: found[f"same_fact_{name}"] for name in expected} == {n: [[float(v)]] for n, v in expected.items()}


def test_an_echo_of_the_question_is_no_answer():
    asked = talk("Hi.", "I teach!", "So.", "I teach a lot.", asked=(1, 3), trait=1)
    assert scores(asked)["same_fact_in_both"] == [[1.0]]
    assert scores(replace(asked, question="What do you teach?"))["same_fact_in_none"] == [[1.0]]
    told = replace(
        talk("Hi.", "Chemistry.", "So.", "I teach chemistry.", asked=(1, 3), trait=1), question="What do you teach?"
    )
    assert scores(told)["same_fact_again"] == [[1.0]]


def test_the_second_answer_may_repeat_the_first():
    same = talk("Hi.", "I have two dogs.", "So.", "I have two dogs.", "I have two dogs.", asked=(1, 3))
    assert scores(same)["repetition"] == [[0, 0, 1]]


def test_nothing_asked_and_nothing_answered_are_missing():
    asked = talk("Hi.", "My dogs.", "So.", "😀", asked=(1, 3))
    found = estimates(
        EVALUATOR, scores(asked, talk("Hi.", "My dogs."), talk("A", "dogs", "dogs", "dogs", asked=(1, 3)))
    )
    for name in ("again", "contradicted", "in_both", "in_one", "in_none"):
        assert (found[f"same_fact_{name}"]["count"], found[f"same_fact_{name}"]["missing"]) == (1, 2)
    assert not any(name.startswith("same_fact") for name in scores(talk("Hi.", "My dogs.")))


def test_odd_turns_have_a_score_or_none():
    odd = talk(*ODD_REPLIES, asked=(1, len(ODD_REPLIES) - 2))
    found = estimates(EVALUATOR, scores(odd, talk(*reversed(ODD_REPLIES), persona=())))
    for name in ("contradiction", "mistaken_identity"):
        assert found[name]["count"] + found[name]["missing"] == 2 * len(ODD_REPLIES) and found[name]["missing"], name
    assert (found["coverage"]["count"], found["coverage"]["missing"]) == (1, 1)
    none = estimates(EVALUATOR, scores())
    assert all(math.isnan(cell["value"]) and cell["count"] == 0 for cell in none.values())
