"""Questions made from traits: English, and without their answer."""

from __future__ import annotations

import pytest
from held_out import ODD_REPLIES, demo_examples

from selfsame.text.keywords import content_stems, trait_stems
from selfsame.text.questions import question_about, question_for


@pytest.mark.parametrize(
    ("trait", "question"),
    [
        ("I drive a night bus in Leeds.", "What do you drive?"),
        ("I've got two dogs.", "What do you have?"),
        ("I’m from Jamaica.", "Where are you from?"),
        ("I am a nurse.", "Who are you?"),
        ("I'm saving up for a motorbike.", "What are you saving up for?"),
        ("I live in my sister's basement.", "Where do you live?"),
        ("I now live near the sea.", "Where do you now live?"),
        ("I never haggle over prices.", "What do you never haggle over?"),
        ("I can't stand mushrooms.", "What can't you stand?"),
        ("I cannot eat eggs.", "What can't you eat?"),
        ("I want to be a marine biologist.", "What do you want to be?"),
        ("I like to swim in lakes.", "What do you like to do?"),
        ("My favourite food is curry. I eat it daily.", "What is your favourite food?"),
        ("My two cats are white.", "What are your two cats?"),
        ("I was robbed by pirates once.", ""),
        ("I lost my front tooth.", ""),
        ("I retired last year.", ""),
        ("I've never been to Spain.", ""),
        ("I have never been to Spain.", ""),
        ("I do not eat eggs.", ""),
        ("I haven't slept.", ""),
        ("I sing.", ""),
        ("My daughter thinks so.", ""),
        ("We sing.", ""),
        ("Ich habe zwei Hunde.", ""),
        ("我有两只狗。", ""),
    ],
)
def test_questions(trait, question):
    assert question_about(trait) == question


@pytest.mark.parametrize(
    "text", [*ODD_REPLIES, "I", "My", "I'm", "I am", "I can't", "I never", "I 've", "My is", "I now up"]
)
def test_odd_traits_are_no_error(text):
    assert isinstance(question_about(text), str)


def test_which_trait_is_asked_about():
    assert question_for(("I am tall.", "I sing.", "I drive a bus.")) == ("What do you drive?", 2)
    assert question_for(("I am tall.", "I sing.")) == ("Who are you?", 0)
    assert question_for(("I like tea.", "I like cake.", "I own a boat.")) == (
        "What do you own?",
        2,
    )  # which of the two?
    assert question_for(("I own it all.", "I sing.")) == ("", 0)  # nothing is left to answer
    assert question_for(()) == ("", 0)


def test_nearly_everybody_of_the_bundled_people_can_be_asked():
    personas = {example.persona for example in demo_examples()}
    for persona in personas:
        question, k = question_for(persona)
        assert question.endswith("?") and trait_stems(persona[k]) - set(content_stems(question)), persona
