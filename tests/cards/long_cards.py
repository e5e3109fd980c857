"""Cards whose texts are made to cost much time, in one process: `python long_cards.py LENGTH`. Prints the seconds of each."""

from __future__ import annotations

import sys
import time

from selfsame.cards.card import make_card
from selfsame.errors import DataError

PIECES = [
    "word ", "![", "![a](", "![a](data:", "[", "[a](/", "[a](", "<a", "<p>", "<", "- ", "-\n", "- - x\n", "*a", "* a\n", "**", "_",
    "{{", "}}", "{{a}} ", "x {{user}} ", "{{user}} ", ", {{user}}", "{{char}} bakes. ", "{{random:a,", "{{reverse:",
    "{{newline}}", "{{// a}}\n", '("a"', '"a" ', '("', 'Likes("a") ', 'Likes="a",', "(", ")", "()", "[(", "{", "{a: b; ",
    "[a: b; ", "[a: b]", "a;", "a,(", "a, ", "a + ", "# ", "#", "##x ", "# (", "Likes: a\n", "a:", "A b: c\n", "Bob: a\n",
    "You:\n", "<START>\n", "***\n", "Bob ", "Anna Anna Anna Anna: a\n", ".", '."', "。」", "\t", "\n", " \n", "\xa0 x", "a", "é的", "การ",
    "She's ", "You are ", "Hi ", ">", "> a\n", "```\n", "=", ":", "!", "a ! ", '"', "'s ", "1. ", "\x00", "a\x1c", "he she ", "ly ",
]  # fmt: skip
FRAMES = ["{}", "I am a{}b", "Likes: {}b", "# a {}x", 'Likes("a"{}x', "{{{{user}}}}{}x", "{}x {{{{user}}}}", "Bob: {}"]
FIELDS = ("description", "personality", "scenario", "first_mes", "mes_example")


def seconds(length: int) -> dict[str, float]:
    """Of a card with each piece in each frame, repeated up to the length, in every field."""
    spent = {}
    for piece in PIECES:
        for frame in FRAMES:
            text = frame.format(piece * (length // len(piece)))
            start = time.perf_counter()
            try:
                make_card(
                    {"name": "Bob", **dict.fromkeys(FIELDS, text), "character_book": [{"key": "a", "content": text}]}
                )
            except DataError:
                pass
            spent[f"{frame!r} of {piece!r}"] = time.perf_counter() - start
    return spent


if __name__ == "__main__":
    spent = seconds(int(sys.argv[1]))
    for case in sorted(spent, key=lambda case: -spent[case])[:30]:
        print(f"{spent[case]:.2f} s: {case}")
