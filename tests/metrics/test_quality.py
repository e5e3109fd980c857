"""Perplexity against plain forwards of the model; BLEU, ROUGE, F1 and distinct-n against their own packages and numbers by
hand; nothing that was not scored is counted."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from held_out import ODD_REPLIES, demo_items, numpy_state, short_examples
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from scipy import stats
from test_roles import load, scramble

from selfsame.metrics import quality
from selfsame.metrics.quality import QualityEvaluator, word_f1
from selfsame.metrics.statistics import Bootstrap
from selfsame.types import Example

NAMES = ("perplexity", "perplexity_word", "bits_per_byte")
LONG = "I like long walks near the sea " * 40


@pytest.fixture(scope="module")
def roles(tiny_models):
    roles = load(tiny_models())
    roles.add("sft")
    scramble(roles, "sft")
    return roles


def example(name, *turns, persona=("I have two dogs.",)):
    return Example(name, persona, (), turns, (None,) * (len(turns) // 2))


def nats(roles, role, prompt_ids, reply_ids) -> float:
    """Negative log-likelihood of a reply by one plain forward."""
    with torch.no_grad(), roles.use(role) as model:
        logits = model(input_ids=torch.tensor([[*prompt_ids, *reply_ids]]), use_cache=False).logits[0]
    logprobs = logits.double().log_softmax(-1)[len(prompt_ids) - 1 : -1]
    return -float(logprobs[range(len(reply_ids)), reply_ids].sum())


def by_hand(roles, role, turns) -> dict[str, float]:
    """The three numbers of (prompt, reply) pairs, one forward each."""
    processor = roles.processor
    encoded = [(processor.encode_prompt(prompt), processor.encode_reply(reply)) for prompt, reply in turns]
    loss = sum(nats(roles, role, *pair) for pair in encoded)
    tokens = sum(len(reply) for _, reply in encoded)
    words, size = (sum(f(r) for _, r in turns) for f in (lambda r: len(r.split()), lambda r: len(r.encode("utf-8"))))
    return {
        "perplexity": math.exp(loss / tokens),
        "perplexity_word": math.exp(loss / words),
        "bits_per_byte": loss / size / math.log(2),
    }


def values(found) -> dict[str, float]:
    return {name: estimate.value for name, estimate in found.items()}


# --- perplexity -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [None, "sft"])
def test_perplexity_is_that_of_one_plain_forward_per_turn(roles, role):
    examples = [*short_examples(4), example("other/2", "", "Grüße aus Köln! 😀", "What?", "", "Why?", "I teach.")]
    turns = [pair for e in examples for pair in e.prompts()]
    found = QualityEvaluator().compute_perplexity(roles, role, examples)
    assert tuple(found) == NAMES
    assert values(found) == pytest.approx(by_hand(roles, role, turns), rel=1e-4)
    for estimate in found.values():
        assert (estimate.count, estimate.missing) == (len(turns), 0)
        assert estimate.low < estimate.value < estimate.high


def test_perplexity_does_not_depend_on_the_batches(roles):
    examples = short_examples(6)
    found = [values(QualityEvaluator().compute_perplexity(roles, None, examples, b)) for b in (1, 150, 10_000)]
    assert found[0] == pytest.approx(found[1], rel=1e-5) and found[0] == pytest.approx(found[2], rel=1e-5)


def test_replies_that_do_not_fit_are_missing_and_their_words_too(roles):
    """They once stayed in the word and byte counts: one long reply took a perplexity per word from 71,203 to 1.16."""
    kept, partner = example("a/2", "Hello!", "I'm fine.", "Why?", "I teach."), "Why? " * 200
    with_long = example("a/2", "Hello!", "I'm fine.", "Tell me", LONG, "Why?", "I teach.", partner, "I teach.")
    found = QualityEvaluator().compute_perplexity(roles, None, [with_long, example("b/2", "Tell me", LONG)])
    assert values(found) == pytest.approx(values(QualityEvaluator().compute_perplexity(roles, None, [kept])))
    assert all((e.count, e.missing) == (2, 3) for e in found.values())


def test_dialogues_that_were_split_count_every_reply_once(roles):
    turns = [t for k in range(8) for t in (f"What do you do, {k}?", "I drive a night bus in Leeds, and I teach.")]
    long = example("a/2", *turns)
    rows = roles.processor.encode_example(long)
    assert len(rows) > 1
    loss = sum(nats(roles, None, row.ids[:a], row.ids[a:b]) for row in rows for a, b in row.spans)
    found = QualityEvaluator().compute_perplexity(roles, None, [long])
    assert found["perplexity_word"].value == pytest.approx(math.exp(loss / (8 * 10)), rel=1e-4)
    assert found["bits_per_byte"].value == pytest.approx(loss / (8 * 42) / math.log(2), rel=1e-4)
    assert found["perplexity"].count == 8


def test_a_persona_that_does_not_fit_is_missing(roles):
    short = short_examples(2)
    found = QualityEvaluator().compute_perplexity(roles, None, [example("x/1", "Hi", "Yes.", persona=(LONG,)), *short])
    assert values(found) == pytest.approx(values(QualityEvaluator().compute_perplexity(roles, None, short)))
    assert all((e.count, e.missing) == (8, 1) for e in found.values())
    nothing = QualityEvaluator().compute_perplexity(roles, None, [example("x/1", "Hi", "Yes.", persona=(LONG,))])
    assert all(math.isnan(e.value) and (e.count, e.missing) == (0, 1) for e in nothing.values())
    assert all(math.isnan(e.value) for e in QualityEvaluator().compute_perplexity(roles, None, []).values())


def test_a_loss_that_is_nan_is_missing(roles, monkeypatch):
    def broken(model, batch):
        logprobs, entropies = plain(model, batch)
        logprobs[0, 0] = math.nan
        return logprobs, entropies

    plain, examples = quality.reply_logprobs, short_examples(3)
    whole = QualityEvaluator().compute_perplexity(roles, None, examples)
    monkeypatch.setattr(quality, "reply_logprobs", broken)
    found = QualityEvaluator().compute_perplexity(roles, None, examples)
    for name in NAMES:
        assert math.isfinite(found[name].value) and found[name].value != whole[name].value
        assert (found[name].count, found[name].missing) == (11, 1)


def test_both_sides_of_a_dialogue_are_one_group(roles):
    one, two = short_examples(2)
    sides = [one, Example("d0/1", *(getattr(two, n) for n in ("persona", "partner_persona", "turns", "traits")))]
    for estimate in QualityEvaluator().compute_perplexity(roles, None, sides).values():
        assert math.isnan(estimate.low) and estimate.count == 8
    for estimate in QualityEvaluator().compute_perplexity(roles, None, [one, two]).values():
        assert estimate.low < estimate.high


# --- overlap --------------------------------------------------------------------------------------------------------


def demo_replies(count=60):
    """(replies, gold, dialogues): other people's replies, and a few with something right in them."""
    items = demo_items()[1][:count]
    gold = [i.reply for i in items]
    replies = [" ".join(g.split()[: k % 9]) + " " + gold[k - 1] if k % 3 else gold[k - 1] for k, g in enumerate(gold)]
    return replies, gold, [i.group for i in items]


def test_bleu_is_sacrebleus():
    replies, gold, groups = demo_replies()
    found = QualityEvaluator().compute_bleu(replies, gold, groups)
    assert found.value == pytest.approx(BLEU().corpus_score(replies, [gold]).score)
    assert 0 < found.low < found.value < found.high < 100 and (found.count, found.missing) == (60, 0)
    assert QualityEvaluator().compute_bleu(gold, gold).value == pytest.approx(100)
    few = ["I have two dogs and no cat."], ["I have two cats, a dog."]  # no 4-gram in common: smoothing
    expected = BLEU().corpus_score(few[0], [few[1]]).score
    assert 0 < QualityEvaluator().compute_bleu(*few).value == pytest.approx(expected)


def test_bleus_interval_is_that_of_resampled_dialogues():
    replies, gold, groups = demo_replies(40)
    names = list(dict.fromkeys(groups))
    drawn = []
    for draw in np.random.default_rng(5).multinomial(len(names), np.full(len(names), 1 / len(names)), 100):
        times = dict(zip(names, draw, strict=True))
        chosen = [k for k, group in enumerate(groups) for _ in range(times[group])]
        drawn.append(BLEU().corpus_score([replies[k] for k in chosen], [[gold[k] for k in chosen]]).score)
    n = len(names)
    tail = 100 * stats.norm.cdf(stats.t.ppf(0.05, n - 1) * math.sqrt(n / (n - 1)))
    found = QualityEvaluator(Bootstrap(100, 0.9, 5)).compute_bleu(replies, gold, groups)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(drawn, [tail, 100 - tail])))


def test_bleu_leaves_numpys_random_state_alone():
    state = numpy_state()
    replies, gold, _ = demo_replies(10)
    assert QualityEvaluator().compute_bleu(replies, gold) == QualityEvaluator().compute_bleu(replies, gold)
    assert numpy_state() == state


def test_rouge_is_rouge_scores():
    replies, gold, groups = demo_replies()
    replies[:2] = ["Don't_stop: I've 2 dogs' bowls — running, runs!", ""]
    gold[:2] = ["Do not stop. I have two dogs; they've been running.", "Something."]
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    theirs = [scorer.score(g, r)["rougeL"].fmeasure for g, r in zip(gold, replies, strict=True)]
    assert QualityEvaluator().compute_rouge(replies, gold, groups).value == pytest.approx(np.mean(theirs))
    assert theirs[0] > 0.3 and theirs[1] == 0


@pytest.mark.parametrize("text", ["Привет, как дела?", "我有两只狗", "¿Dónde está el café?", "مرحبا بكم"])
def test_overlap_in_other_languages(text):
    """rouge_score by itself gives 0 to a reply that is the gold reply, in Cyrillic."""
    evaluator = QualityEvaluator()
    for metric in (evaluator.compute_rouge, evaluator.compute_f1):
        assert metric([text, "dogs"], [text, text]).value == pytest.approx(0.5)
    assert evaluator.compute_rouge(["cafe"], ["café"]).value == 0


def test_f1_by_hand():
    assert word_f1("I have the two dogs!", "Two dogs, I've") == pytest.approx(
        2 * 3 / (4 + 4)
    )  # i, two, dogs; i've is two
    assert word_f1("dogs dogs dogs cat", "dogs dogs bird") == pytest.approx(2 * 2 / (4 + 3))
    assert word_f1("a the", "the dog") == 0.0  # articles do not count (ParlAI's normalize_answer)
    assert word_f1("It’s", "it's") == word_f1("Same here", "same, HERE.") == 1.0
    assert word_f1("", "dog") == 0.0 and math.isnan(word_f1("dog", "")) and math.isnan(word_f1("dog", "The!"))
    found = QualityEvaluator().compute_f1(["dog", "a cat", "cat"], ["dog", "dog", "..."])
    assert found.value == 0.5 and (found.count, found.missing) == (2, 1)


@pytest.mark.parametrize("name", ["compute_bleu", "compute_rouge", "compute_f1"])
def test_overlap_with_nothing_is_missing_and_an_empty_reply_has_none(name):
    metric = getattr(QualityEvaluator(), name)
    found = metric(["dogs", "I have two dogs"], ["", "I have two dogs"], ["a", "b"])
    assert found.value == pytest.approx(metric(["I have two dogs"], ["I have two dogs"]).value)
    assert (found.count, found.missing) == (1, 1)
    nothing = metric(["dogs"] * 3, [""] * 3)
    assert math.isnan(nothing.value) and (nothing.count, nothing.missing) == (0, 3)
    assert math.isnan(metric([], []).value)
    silent = metric(["", "  "], ["I have two dogs"] * 2)
    assert silent.value == 0 and (silent.count, silent.missing) == (2, 0)
    with pytest.raises(ValueError):
        metric(["a"], ["a", "b"])


def test_odd_replies():
    """Nothing breaks any metric, nor does a reply that never ends."""
    evaluator, gold = QualityEvaluator(), ["I have two dogs."] * len(ODD_REPLIES)
    for name in ("compute_bleu", "compute_rouge", "compute_f1"):
        found = getattr(evaluator, name)(ODD_REPLIES, gold)
        assert found.value == 0 and found.count == len(ODD_REPLIES)
    thousands = " ".join(map(str, range(10_000)))
    assert evaluator.compute_f1([thousands], [thousands]).value == 1.0
    assert evaluator.compute_distinct_n(ODD_REPLIES, 1).missing == 4


# --- diversity ------------------------------------------------------------------------------------------------------


def test_distinct_n_by_hand():
    evaluator = QualityEvaluator()
    assert evaluator.compute_distinct_n(["a b a b", "B, a!"], 1).value == pytest.approx(2 / 6)
    assert evaluator.compute_distinct_n(["a b a b", "b a"], 2).value == pytest.approx(2 / 4)  # no gram across replies
    found = evaluator.compute_distinct_n(["one two", "one", "", "😀"], 2)
    assert found.value == 1.0 and (found.count, found.missing) == (1, 3) and math.isnan(found.low)
    for replies in ([], ["", "😀"], ["one", "two"]):
        nothing = evaluator.compute_distinct_n(replies, 2)
        assert math.isnan(nothing.value) and (nothing.count, nothing.missing) == (0, len(replies))


def test_distinct_n_stays_between_0_and_1():
    """The interval of these three was once [-0.70, 1.70]."""
    found = QualityEvaluator().compute_distinct_n(["a b", "c d", "a c d e f g a b a b"], 1)
    assert 0 <= found.low < found.value < found.high <= 1


def test_distinct_ns_interval_holds_the_truth():
    """150 replies of words drawn by Zipf's law, among them each dialogue's own; the truth is the mean over 300 such sets."""
    weights = 1 / np.arange(1, 801)

    def replies(seed):
        rng = np.random.default_rng(seed)
        made = []
        for _ in range(15):
            own, lengths = rng.permutation(800)[:40], rng.integers(3, 12, 10)
            common = rng.choice(800, lengths.sum(), p=weights / weights.sum())
            words = np.where(rng.random(lengths.sum()) < 0.4, rng.choice(own, lengths.sum()), common)
            made += [" ".join(f"w{w}" for w in part) for part in np.split(words, lengths.cumsum()[:-1])]
        return [made[k] for k in rng.permutation(len(made))]

    def value(texts):
        grams = [g for t in texts for g in zip(t.split(), t.split()[1:], strict=False)]
        return len(set(grams)) / len(grams)

    truth = np.mean([value(replies([1, k])) for k in range(300)])
    found = [QualityEvaluator().compute_distinct_n(replies([2, k])) for k in range(100)]
    assert sum(e.low <= truth <= e.high for e in found) >= 90
    assert np.mean([e.high - e.low for e in found]) < 0.1
