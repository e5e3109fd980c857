"""What of a growing reply is shown: never half a stop string, half a control string, or half a letter."""

from __future__ import annotations

import pytest
from test_roles import load

from selfsame.serve.reply_text import ReplyText


def grown(text: str, stops=(), controls=("[SEP]", "<|im_end|>")):
    """The pieces of a text that grows by a letter a token."""
    reply = ReplyText(lambda ids: "".join(map(chr, ids)).replace("[\\SEP]", "[SEP]"), controls, stops)
    ids = [*map(ord, text)]
    pieces = []
    for size in range(1, len(ids) + 1):
        pieces.append(reply.grow(ids[:size], last=size == len(ids)))
        if reply.stopped:
            break
    assert "".join(pieces) == reply.text
    return pieces, reply


@pytest.mark.parametrize(
    ("text", "stops", "shown"),
    [
        ("I sing. User: yes", ("User:",), "I sing. "),
        ("I sing. Use it", ("User:",), "I sing. Use it"),
        ("I sing\nYou: a", ("\nYou:", "sing\nX"), "I sing"),
        ("aaab", ("aab",), "a"),
        ("abcab", ("cab", "b"), "a"),
        ("no stop here", ("here!",), "no stop here"),
        ("I have [\\SEP] two", (), "I have [SEP] two"),
        ("I have [", (), "I have ["),
        ("<|im_ <", (), "<|im_ <"),
    ],
)
def test_what_is_shown(text, stops, shown):
    pieces, reply = grown(text, stops)
    assert reply.text == shown
    assert reply.stopped == any(stop in text for stop in stops)
    so_far = ""
    for piece in pieces[:-1]:  # nothing that is shown is taken back
        so_far += piece
        assert shown.startswith(so_far)
    assert len([p for p in pieces if p]) >= min(2, len(shown))


def test_a_letter_of_several_tokens_is_shown_when_it_is_whole(tiny_models):
    processor = load(tiny_models()).processor
    reply = ReplyText(processor.decode_reply)
    ids = processor.encode_reply("Öl für 日本")[:-1]
    pieces = [reply.grow(ids[: size + 1], size + 1 == len(ids)) for size in range(len(ids))]
    assert "".join(pieces) == "Öl für 日本" and "" in pieces and "\ufffd" not in "".join(pieces)
