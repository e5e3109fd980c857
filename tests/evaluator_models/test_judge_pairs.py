"""The judge's pairs: what is held out shares no sentence with what is trained on, and labels are what the kinds say."""

from __future__ import annotations

import random

import pytest
from evaluator_models.__main__ import HERE
from evaluator_models.corpus import Kinds, crossed, near, split
from evaluator_models.evaluate import kinds_of
from evaluator_models.settings import load_recipe

from selfsame.data.loader import DatasetLoader
from selfsame.errors import ConfigError
from selfsame.text.contradictions import RuleJudge
from selfsame.text.keywords import words
from selfsame.types import LABELS, LabelledPair

TURNS = [(f"I like place {k // 3}.", f"I never saw place {k}, or animal {k % 7}.") for k in range(300)]


def test_connected_pairs_stay_together():
    kept, held = split(TURNS, 0.3)
    assert len(kept) + len(held) == 300 and 40 < len(held) < 140
    sides = [{" ".join(words(text)) for pair, _ in side for text in pair} for side in (kept, held)]
    assert sides[0].isdisjoint(sides[1])
    group_of = {pair[0]: group for pair, group in (*kept, *held)}
    assert len(set(group_of.values())) == 100
    assert all(group_of[pair[0]] == group for pair, group in (*kept, *held))
    again = split(TURNS[::-1], 0.3)  # a function of the words, not of the order
    assert {pair for pair, _ in again[1]} == {pair for pair, _ in held}


def test_crossed_pairs_are_of_two_pairs():
    place_of = {text: k // 3 for k, pair in enumerate(TURNS) for text in pair}
    rows = list(crossed(TURNS, random.Random(0), passes=2))
    assert 500 < len(rows) < 600
    assert all(
        place_of[row.premise] != place_of[row.hypothesis]
        for row in rows
        if "animal" not in row.premise + row.hypothesis
    )
    pairs = [{*pair} for pair in TURNS]
    assert not any({row.premise, row.hypothesis} in pairs for row in rows)
    assert {"animal" in row.premise for row in rows} == {"animal" in row.hypothesis for row in rows} == {True, False}


def test_near_pairs_share_a_word_and_are_no_contradiction_for_the_rules():
    animals, colours = ("horse", "otter", "heron", "badger"), ("teal", "maroon", "ochre", "indigo")
    turns = [(f"I painted a {a} in {c}.", f"My {a} is {c} now.") for a in animals for c in colours]
    turns += [(f"The {a} sleeps.", f"I never liked my {a} or {c}.") for a in animals for c in colours]
    rows = list(near(turns, random.Random(0)))
    assert len(rows) > 10
    sleeping = [(f"The {a} sleeps.", f"I don't like it when the {a} sleeps.") for a in animals]
    assert list(near(sleeping + sleeping[::-1], random.Random(0))) == []  # denied: the rules call these contradictions
    for row in rows:
        assert set(words(row.premise)) & set(words(row.hypothesis)) & {*animals, *colours}
        assert (row.premise, row.hypothesis) not in turns and (row.hypothesis, row.premise) not in turns
        assert RuleJudge().label(row.premise, row.hypothesis) != LABELS.index("contradiction")


def test_kinds_of_the_bundled_dialogues():
    made = Kinds(DatasetLoader().load().train, 0)
    drawn, denied, other = (list(getattr(made, kind)()) for kind in ("drawn", "denied", "other"))
    assert min(map(len, (drawn, denied, other))) > 50
    shares = [
        sum(bool(set(words(p)) & set(words(h)) - {"i", "a", "the", "my"}) for p, h, _ in k) / len(k)
        for k in (drawn, other)
    ]
    assert shares[0] > 0.9 and shares[1] < shares[0] - 0.2
    assert all(p != h for p, h, _ in denied)
    assert list(Kinds(DatasetLoader().load().train, 0).drawn()) == drawn


def test_types_of_contradictions():
    said = {
        ("I have two dogs.", "I don't have dogs."): ["one side is negated"],
        ("I am married.", "I'm single."): ["no content word in common", "opposite words"],
        ("I have two dogs.", "I have three dogs."): ["both name numbers"],
        ("The sea is blue here.", "A green sea is what you get."): ["common topic, neither negated nor opposite words"],
    }
    assert {pair: kinds_of(LabelledPair(*pair, "contradiction")) for pair in said} == said


def test_recipes(tmp_path):
    assert load_recipe(HERE / "recipe.yaml").lora.rank == 32
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "wrong.yaml").write_text("pairs: {decode: -1}")
    with pytest.raises(ConfigError, match="empty"):
        load_recipe(tmp_path / "empty.yaml")
    with pytest.raises(ConfigError, match=r"pairs\.decode.*got -1"):
        load_recipe(tmp_path / "wrong.yaml")
