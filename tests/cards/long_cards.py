"""Cards whose texts are made to cost much time, in one process: `python long_cards.py LENGTH`. Prints the seconds of each."""

from __future__ import annotations

import contextlib
import sys
import time

from selfsame.cards.card import make_card
from selfsame.errors import DataError

PIECES = [
    "word ", "![", "![a](", "![a](data:", "[", "[a](/", "[a](", "<a", "<p>", "<", "- ", "-\n", "- - x\n", "*a", "* a\n", "**",
    "{{", "}}", "{{a}} ", "x {{user}} ", "{{user}} ", ", {{user}}", "{{char}} bakes. ", "{{random:a,", "{{reverse:",
    "{{newline}}", "{{// a}}\n", '("a"', '"a" ', '("', 'Likes("a") ', 'Likes="a",', "(", ")", "()", "[(", "{", "{a: b; ",
    "[a: b; ", "[a: b]", "a;", "a,(", "a, ", "a + ", "# ", "#", "##x ", "# (", "Likes: a\n", "a:", "A b: c\n", "Bob: a\n",
    "You:\n", "<START>\n", "***\n", "Bob ", "Anna Anna Anna Anna: a\n", ".", '."', "。」", "\t", "\n", " \n", "\xa0 x", "a",
    "é的", "_", "การ",
    "She's ", "You are ", "Hi ", ">", "> a\n", "```\n", "=", ":", "!", "a ! ", '"', "'s ", "1. ", "\x00", "a\x1c",
    "he she ", "ly ",
]  # fmt: skip
FRAME = "I am a{}x {{{{user}}}}"
FIELDS = ("description", "first_mes")


def seconds(length: int) -> dict[str, float]:
    """Of a card with each piece, repeated up to the length."""
    spent = {}
    for piece in PIECES:
        text = FRAME.format(piece * (length // len(piece)))
        start = time.perf_counter()
        with contextlib.suppress(DataError):
            make_card({"name": "Bob", **dict.fromkeys(FIELDS, text), "mes_example": text.replace("{{user}}", "")})
        spent[repr(piece)] = time.perf_counter() - start
    return spent


if __name__ == "__main__":
    spent = seconds(int(sys.argv[1]))
    for case in sorted(spent, key=lambda case: -spent[case])[:30]:
        print(f"{spent[case]:.2f} s: {case}")
