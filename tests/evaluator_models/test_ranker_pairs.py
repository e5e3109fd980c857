"""The ranker's pairs: the chosen reply is what was said there, the rejected one is what its reason says."""

from __future__ import annotations

from evaluator_models.ranker import make_pairs, sides

from selfsame.data.loader import DatasetLoader
from selfsame.ratings.ranker import RECENT


def test_pairs_are_what_their_reason_says():
    examples = DatasetLoader().load().train
    pairs = make_pairs(examples, 400, 0)
    places = {
        (e.turns[max(0, 2 * k + 1 - RECENT) : 2 * k + 1], r): e for e in examples for k, r in enumerate(e.replies)
    }
    assert len(pairs) > 300 and {p.reason for p in pairs} == {"other", "elsewhere", "echo"}
    for pair in pairs:
        example = places[pair.prompt.history, pair.chosen]
        assert pair.prompt.persona in ((), example.persona) and pair.rejected != pair.chosen
        if pair.reason == "elsewhere":
            assert pair.rejected in example.replies
        elif pair.reason == "echo":
            assert pair.rejected in pair.prompt.history[-2:]
    assert 100 < sum(bool(p.prompt.persona) for p in pairs) < len(pairs) - 100
    assert make_pairs(examples, 400, 0) == pairs != make_pairs(examples, 400, 1)


def test_sides_of_chats():
    (found,) = sides(iter([["a", "b", "c", "d", "e"], ["a", "b"], ["a", " ", "c", "d"]]), "chat")
    assert found.turns == ("a", "b", "c", "d") and found.persona == () and found.replies == ("b", "d")
