"""Replies side by side: which prompts, and what is marked in them."""

from __future__ import annotations

import pytest

from evaluated import recorded, recorded_reply
from selfsame.comparing.side_by_side import marked, side_by_side

PERSONA = ("I have two big brown dogs at home.", "I teach chemistry.")


def test_prompts_where_the_systems_differ_are_shown_first():
    one, other = [0.0] * 40, [0.0] * 40
    one[7] = other[22] = one[23] = 1.0
    found = side_by_side({"a": recorded(one).replies, "b": recorded(other).replies}, most=5)
    assert [row.differ for row in found] == [True, True, False, False, False]
    assert [row.dialogue for row in found][:2] == ["d3", "d11"]  # once for two prompts of d11
    assert len({row.dialogue for row in found}) == 5
    assert [int(row.dialogue[1:]) for row in found][2:] == [0, 7, 14]  # spread over the others
    assert found[0].replies["a"].parts == [
        ["I have ", ""],
        ["two", "drawn"],
        [" ", ""],
        ["dogs", "drawn"],
        [".", ""],
    ]


def test_what_a_reply_is_at_odds_with_goes_along():
    rows = [recorded_reply(0, 0.0, "I have a cat.", at_odds=["I have two dogs."])]
    (found,) = side_by_side({"a": rows})
    assert found.replies["a"].at_odds == ["I have two dogs."]


@pytest.mark.parametrize(
    ("text", "recited", "parts"),
    [
        ("", False, []),
        ("Nice!", True, [["Nice!", ""]]),
        ("My dog’s chemistry…", False, [["My ", ""], ["dog’s", "drawn"], [" ", ""], ["chemistry", "drawn"], ["…", ""]]),
        ("So I TEACH, chemistry.", True, [["So ", ""], ["I TEACH, chemistry", "copied"], [".", ""]]),
        ("So I TEACH, chemistry.", False, [["So I ", ""], ["TEACH", "drawn"], [", ", ""], ["chemistry", "drawn"], [".", ""]]),
        ("I have two big brown dogs at sea", True, [["I have two big brown dogs at", "copied"], [" sea", ""]]),
        ("two bad dogs", True, [["two", "drawn"], [" bad ", ""], ["dogs", "drawn"]]),
    ],
)  # fmt: skip
def test_words_of_traits_and_copied_wording_are_marked(text, recited, parts):
    found = marked(PERSONA, text, recited)
    assert found == parts
    assert "".join(part for part, _ in found) == text
