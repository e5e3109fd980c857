"""Which of two replies is preferred, whatever the order they are shown in."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfsame.comparing.preference import ModelPreference, RewardPreference, _share, load_preference_judge, prefer
from selfsame.errors import ConfigError, RunError
from selfsame.metrics.statistics import Bootstrap
from selfsame.run.records import ReplyRecord
from selfsame.types import Prompt

BOOTSTRAP = Bootstrap(resamples=200)
PERSONA = ("I have two dogs.", "I drive a bus.")


class Longer:
    """Prefers the longer reply, and the place by `bias`; remembers what it was asked."""

    name = "longer"

    def __init__(self, bias=0.0):
        self.bias, self.asked = bias, []

    def first_is_better(self, prompts, first, second):
        self.asked += zip(prompts, first, second, strict=True)
        margins = [len(one) - len(other) + self.bias for one, other in zip(first, second, strict=True)]
        return torch.tensor(margins, dtype=torch.float64).sigmoid().tolist()


def replies(*texts):
    return [
        ReplyRecord(dialogue=f"d{k}", persona=list(PERSONA), history=[f"Hi {k}"], reply=text, scores={})
        for k, text in enumerate(texts)
    ]


def test_wins_ties_and_losses():
    judge = Longer()
    found = prefer(judge, [replies("aaa", "b", "same", "cc")], [replies("a", "bbb", "same", "dd")], BOOTSTRAP)
    assert (found.wins, found.ties, found.losses, found.prompts) == (1, 2, 1, 4)
    assert found.value == 0.5 and found.low < 0.5 < found.high and found.p is None
    assert found.swayed == 0 and len(judge.asked) == 6  # what is the same is not asked about
    prompt = Prompt(PERSONA, ("Hi 0",))
    assert judge.asked[0] == (prompt, "aaa", "a") and judge.asked[3] == (prompt, "a", "aaa")


def test_a_favourite_place_makes_ties_not_wins():
    found = prefer(Longer(bias=1.5), [replies("aa", "bbbb", "c")], [replies("a", "b", "cccc")], BOOTSTRAP)
    assert (found.wins, found.ties, found.losses) == (1, 1, 1)  # by one letter the place decides
    assert found.swayed == pytest.approx(1 / 3)
    assert prefer(Longer(9), [replies("aa")], [replies("a")], BOOTSTRAP).value == 0.5


def test_runs_meet_in_turn():
    ours = [replies("aaa", "aaa"), replies("b", "bbb"), replies("ccc", "ccc")]
    theirs = [replies("xx", "xx"), replies("yy", "yy")]
    found = prefer(Longer(), ours, theirs, BOOTSTRAP)
    assert (found.wins, found.losses) == (10, 2) and found.value == pytest.approx(5 / 6)
    assert 0 < found.p < 1 and 0 <= found.low < 5 / 6 < found.high <= 1
    assert prefer(Longer(), [replies()], [replies()], BOOTSTRAP).swayed is None
    always = prefer(Longer(), [replies(*"abcd")] * 2, [replies(*[""] * 4)] * 2, BOOTSTRAP)
    assert always.value == always.high == 1 and 0.3 < always.low < 0.9 and always.p is None
    single = prefer(Longer(), [replies("aa")] * 2, [replies("a"), replies("aaa")], BOOTSTRAP)  # one dialogue
    assert single.value == 0.5 and single.p is None


@pytest.mark.parametrize("runs", [(3, 1), (3, 2), (3, 3)])
def test_chance_is_rarely_taken_for_preference(runs):
    """Runs of two recipes that are equally good on average, each a little better or worse than that: p < .05 in 5 %."""
    draw, false, times = np.random.default_rng(0), 0, 400
    for _ in range(times):
        ours, theirs = (0.3 * draw.standard_normal(n) for n in runs)
        likely_ST1 = 1 / (1 + np.exp(theirs[None, :, None] - ours[:, None, None]))
        won_STP = (draw.random((*runs, 60)) < likely_ST1).astype(float)
        _, p = _share(won_STP, [f"d{k}" for k in range(60)], BOOTSTRAP)
        false += p is not None and p < 0.05
    assert false / times < 0.08


@pytest.mark.parametrize("chats", [False, True])
def test_a_language_model_is_asked_for_a_letter(tiny_models, chats):
    judge = ModelPreference(str(tiny_models()))
    if chats:
        judge.tokenizer.chat_template = "{% for m in messages %}[{{ m['content'] }}]{% endfor %}"
        judge.chats = True
    prompt, judge.room = Prompt(PERSONA, ("", "Hello!", "Any pets?")), 4000
    ids = judge._ids(prompt, "Two dogs.", "A cat.")
    text = judge.tokenizer.decode(ids).replace(" ", "")
    for part in ("- I drive a bus.", "Character: Hello!", "Other: Any pets?", "Reply A: Two dogs.", "Reply B: A cat."):
        assert part.replace(" ", "") in text
    assert text.startswith("[") == chats
    judge.room = len(ids) + len(judge.start) - 1
    shorter = judge.tokenizer.decode(judge._ids(prompt, "Two dogs.", "A cat."))
    assert "Hello" not in shorter and "pets" in shorter  # the oldest turn goes first
    judge.room = 20
    with pytest.raises(ConfigError, match="too few"):
        judge.first_is_better([prompt], ["Two dogs."], ["A cat."])


def test_how_likely_each_letter_is(tiny_models, monkeypatch):
    judge = ModelPreference(str(tiny_models()))
    monkeypatch.setattr(judge, "_ids", lambda prompt, first, second: [len(first), len(second), 7])
    found = judge.first_is_better([Prompt(()), Prompt(())], ["a", "aa"], ["bb", "b"])
    for ids, better in zip(([1, 2, 7], [2, 1, 7]), found, strict=True):
        logits = judge.model(input_ids=torch.tensor([[*ids, *judge.start]])).logits[0, -1].float()
        a, b = judge.answers
        assert a != b and better == pytest.approx((logits[a] - logits[b]).sigmoid().item(), abs=1e-5)


def test_what_is_no_judge(tmp_path):
    with pytest.raises(ConfigError, match="no folder"):
        load_preference_judge(str(tmp_path / "nothing"))
    (tmp_path / "config.yaml").write_text("seed: 0")
    with pytest.raises(RunError, match="no finished reward model"):
        RewardPreference(tmp_path)
