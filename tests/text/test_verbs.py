"""English sentences in the first person, where that is sure."""

from __future__ import annotations

import pytest

from selfsame.text.verbs import first_person, from_second_person, plain_verb, pronoun_of


@pytest.mark.parametrize(
    ("word", "plain"),
    [("bakes", "bake"), ("has", "have"), ("goes", "go"), ("studies", "study"), ("watches", "watch"), ("lies", "lie"),
     ("doesn't", "don't"), ("is", "is"), ("kiss", "kiss"), ("lost", "lost"), ("fixes", "fix")],
)  # fmt: skip
def test_verbs_lose_their_ending(word, plain):
    assert plain_verb(word) == plain


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("She bakes rye bread.", "I bake rye bread."),
        ("Ida Berg is a baker", "I am a baker"),
        ("Ida isn't tall", "I am not tall"),
        ("She's afraid of lifts", "I am afraid of lifts"),
        ("She's been to Rome", "I have been to Rome"),
        ("Ida's a nurse", "I am a nurse"),
        ("She rarely sleeps and she... no", ""),
        ("She often loses her keys", "I often lose my keys"),
        ("Her cat is deaf", "My cat is deaf"),
        ("Ida's cat loves her", "My cat loves me"),
        ("She taught herself to sew", "I taught myself to sew"),
        ("Ida lost her left hand", "I lost my left hand"),
        ("She bakes and sings", ""),
        ("She buys apples and pears of two kinds", ""),
        ("He is her brother", ""),
        ("They say so", ""),
        ("Ida and Jan bake", ""),
        ("Ida Holm is another one", ""),
        ("She says that it rains", ""),
        ("Tall, with silver hair", ""),
    ],
)
def test_the_third_person_becomes_the_first_where_that_is_sure(sentence, said):
    assert first_person(sentence, "Ida Berg", "she") == said


def test_you_becomes_i():
    text = "You are a baker, and your cat loves you. Are you tired? You've lost yourself."
    assert from_second_person(text) == "I am a baker, and my cat loves me. am I tired? I have lost myself."
    assert from_second_person("It rains.") == "It rains."


def test_how_a_text_speaks_of_its_person():
    assert pronoun_of("She met him. Her cat left her.") == "she"
    assert pronoun_of("It rains.") == ""
