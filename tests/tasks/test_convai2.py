"""ConvAI2's protocol against one plain forward per candidate; ties; what does not fit; stopping and going on."""

from __future__ import annotations

import math

import pytest
import torch
from held_out import ODD_REPLIES
from test_benchmark import naive
from test_roles import load, scramble

import selfsame.tasks.convai2 as module
from selfsame.metrics.quality import word_f1
from selfsame.metrics.statistics import Bootstrap
from selfsame.rollout.settings import SamplingSettings
from selfsame.run.partial import Partial
from selfsame.tasks.convai2 import COLUMNS, ConvAI2Protocol, pack, summary, unpack, weights_digest
from selfsame.tasks.external import CandidateExample
from selfsame.types import Prompt

SAMPLING = SamplingSettings(max_new_tokens=6)
FEW = Bootstrap(resamples=100)
TEXTS = ["i have two dogs .", "yes .", "i drive a night bus in leeds .", "hello ! how are you ?", "no ."]


def examples(count=12):
    made = []
    for k in range(count):
        prompt = Prompt((f"i have {k} dogs .",), ("hi .", "hello .", f"what {k} ?")[: 1 + 2 * (k % 2)])
        gold = TEXTS[k % 5]
        made.append(CandidateExample(10 + k, k // 3, prompt, gold, tuple(t for t in TEXTS if t != gold), 3))
    return made


@pytest.fixture(scope="module")
def roles(tiny_models):
    roles = load(tiny_models())
    roles.add("sft")
    scramble(roles, "sft")
    return roles


def run(roles, some, replies=0, kept=None, role="sft"):
    return ConvAI2Protocol(roles, role, SAMPLING).run(some, replies, kept or Partial(None, {}))


def test_scores_are_those_of_plain_forwards(roles):
    items, some = run(roles, examples()), examples()
    for example, item in zip(some, items, strict=True):
        texts = [example.gold, *example.distractors]
        mean = [naive(roles, "sft", example.prompt, t) for t in texts]
        tokens = [len(roles.processor.encode_reply(t)) for t in texts]
        total = [m * n for m, n in zip(mean, tokens, strict=True)]
        assert item["hits_at_1"] == float(mean[0] == max(mean)) and item["hits_at_1_sum"] == float(
            total[0] == max(total)
        )
        assert item["nats"] + item["end_nats"] == pytest.approx(-total[0], abs=5e-3) and item["tokens"] == tokens[0]
        assert item["bytes"] == len(example.gold) and (item["line"], item["words"]) == (example.line, 3)
    found = summary(items, FEW)
    assert 0 < found["hits_at_1"].value < 1 and found["hits_at_1"].count == 12 and "f1" not in found
    nats, ends = (sum(item[name] for item in items) for name in ("nats", "end_nats"))
    assert found["perplexity_word"].value == pytest.approx(math.exp(nats / 36))
    assert found["perplexity_word_end"].value == pytest.approx(math.exp((nats + ends) / 36))
    bytes_ = sum(item["bytes"] for item in items)
    assert found["bits_per_byte"].value == pytest.approx((nats + ends) / math.log(2) / bytes_)


def test_no_order_of_the_candidates_wins(roles, monkeypatch):
    """The gold reply is the last one in the file. A model that scores all alike has one hit in five."""
    backwards = [
        CandidateExample(e.line, e.dialogue, e.prompt, e.gold, e.distractors[::-1], e.words) for e in examples()
    ]
    assert [i["hits_at_1"] for i in run(roles, backwards)] == [i["hits_at_1"] for i in run(roles, examples())]
    alike = module.BenchmarkEvaluator.score_tokens
    monkeypatch.setattr(
        module.BenchmarkEvaluator,
        "score_tokens",
        lambda *a: [[[-1.0] * 4 for _ in group] for group in alike(*a)],
    )
    assert summary(run(roles, examples()), FEW)["hits_at_1"].value == pytest.approx(0.2)


def test_what_does_not_fit_is_missing(roles):
    """A persona longer than the model's context; a gold reply of which only the beginning is ranked."""
    long = "i have two dogs and teach . " * 60
    some = [
        CandidateExample(1, 1, Prompt((long,), ("hi",)), "yes .", ("no .",), 2),
        CandidateExample(2, 1, Prompt(("a",), ("hi",)), long.strip(), ("no .",), 420),
        CandidateExample(3, 2, Prompt(("a",), (long,) * 9), "yes .", ("no .",), 2),
    ]
    items = run(roles, some, replies=3)
    assert math.isnan(items[0]["hits_at_1"]) and math.isnan(items[0]["nats"]) and items[0]["reply"] is None
    assert items[1]["hits_at_1"] in (0.0, 1.0) and math.isnan(items[1]["nats"])
    assert items[2]["hits_at_1"] in (0.0, 1.0) and items[2]["nats"] > 0
    found = summary(items, FEW)
    assert (found["hits_at_1"].count, found["hits_at_1"].missing) == (2, 1)
    assert (found["bits_per_byte"].count, found["bits_per_byte"].missing) == (1, 2)
    assert (found["f1"].count, found["f1"].missing) == (2, 1)


def test_odd_texts(roles):
    odd = tuple(dict.fromkeys(text.strip() for text in ODD_REPLIES))
    some = [CandidateExample(k, k, Prompt((), (t,)), t, tuple(o for o in odd if o != t), 1) for k, t in enumerate(odd)]
    assert all(item["hits_at_1"] in (0.0, 1.0) for item in run(roles, some, replies=99))


def test_replies_are_of_the_drawn_examples_and_belong_to_seed_and_line(roles):
    items = run(roles, examples(), replies=5)
    drawn = [i for i in items if "reply" in i]
    assert len(drawn) == 5 and summary(items, FEW)["f1"].count == 5
    gold = {e.line: e.gold for e in examples()}
    assert all(i["f1"] == word_f1(i["reply"], gold[i["line"]]) for i in drawn)
    every = {i["line"]: i["reply"] for i in run(roles, examples(), replies=12)}
    assert all(every[i["line"]] == i["reply"] for i in drawn)


def test_a_stopped_measurement_goes_on_and_ends_the_same(roles, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 4)
    whole = run(roles, examples(), replies=6)
    done = []

    def stop(self, some):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append([e.line for e in some])
        return score(self, some)

    score = ConvAI2Protocol.score
    with monkeypatch.context() as patched:
        patched.setattr(ConvAI2Protocol, "score", stop)
        with pytest.raises(KeyboardInterrupt):
            run(roles, examples(), 6, Partial(tmp_path / "out", {}))
    assert len(done) == 2
    kept = Partial(tmp_path / "out", {})
    assert len(kept.items) == 8
    kept.path.write_text("\n".join(kept.path.read_text().split("\n")[:-3]))  # the disk was full: two lines are lost
    done.clear()
    monkeypatch.setattr(ConvAI2Protocol, "score", stop)
    resumed = run(roles, examples(), 6, Partial(tmp_path / "out", {}))
    assert done == [[14, 15, 16, 17], [18, 19, 20, 21]]
    assert pack(resumed) == pack(whole) and [i.get("reply") for i in resumed] == [i.get("reply") for i in whole]


def test_rows_are_packed_and_unpacked(roles):
    items = run(roles, examples(), replies=3)
    rows = unpack(pack(items))
    for item, row in zip(items, rows, strict=True):
        assert list(row) == list(COLUMNS)
        for name in COLUMNS:
            value = item.get(name, math.nan)
            assert row[name] == pytest.approx(value, nan_ok=True)
    with pytest.raises(ValueError):
        unpack(["1 2"])


def test_the_digest_tells_weights_apart(roles):
    before = weights_digest(roles, "sft")
    assert before == weights_digest(roles, "sft") and len(before) == 16
    name, parameter = next(iter(roles.parameters("sft").items()))
    old = parameter.detach().clone()
    with torch.no_grad():
        parameter.view(-1)[0] += 1e-4
    assert weights_digest(roles, "sft") != before, name
    with torch.no_grad():
        parameter.copy_(old)
    assert weights_digest(roles, "sft") == before
