"""Replies that are wrong on purpose, made of words alone."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from selfsame.data import corruptions
from selfsame.data.phrases import load_phrases
from selfsame.text.keywords import count_words
from selfsame.text.language import is_unspaced


@given(st.text(), st.floats(1.0, 3.0), st.integers(0, 100))
@example("0 0 0 0㐀0", 1.0, 0)
@example("0 . 0 0 0 0 0", 1.0, 100)
def test_loops_stay_in_the_ratio(reply: str, ratio: float, seed: int) -> None:
    length = count_words(reply)
    for made in corruptions.loops(reply, ratio, random.Random(seed)):
        # Words of a script without spaces that meet anew may read as others.
        assert is_unspaced(reply) or length / ratio - 1 <= count_words(made) <= length * ratio


def test_a_broken_reply_keeps_its_spaces_beside_a_word_without() -> None:
    reply = "Yes, I love 寿司を食べる and tea with my mum."
    cut = {*corruptions.cut_off(reply, load_phrases("en").dangling)}
    assert "Yes, I love 寿司を食べる and" in cut and all(reply.startswith(text) for text in cut)
    made = {text for seed in range(40) for text in corruptions.loops(reply, 2.0, random.Random(seed))}
    assert len(made) > 9
    for text in made:
        assert {*re.findall("[A-Za-z]+", text)} <= {*re.findall("[A-Za-z]+", reply)}, text
    for chinese in ("我喜欢音乐和茶。", "我喜欢，你呢，好！"):
        made = {text for seed in range(9) for text in corruptions.loops(chinese, 3.0, random.Random(seed))}
        assert made and not any(" " in text for text in made)
    tokenised = "i love dogs . and you ? yes !"
    assert not any("  " in text for seed in range(9) for text in corruptions.loops(tokenised, 2.0, random.Random(seed)))


@pytest.mark.parametrize(
    ("reply", "trait", "never"),
    [
        ("I haven't let a dentist near me since 2010.", "I haven't seen a dentist since 2010.", "teacher"),
        ("My brother was like that, and now he's an actor.", "My brother is an actor.", "sister"),
        ("At seventy-five, yes, I am seventy-five.", "I am seventy-five and I skate.", "seventy-ten"),
    ],
)
def test_a_contradiction_is_one_and_good_english(reply, trait, never) -> None:
    found = [
        text
        for seed in range(40)
        for text in corruptions.contradictions(reply, [trait], frozenset(), random.Random(seed))
    ]
    assert not [text for text in found if never in text]
    assert all("seventy-" not in text or "seventy-five" in text for text in found)
