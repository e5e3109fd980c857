"""Quality of a model and its replies by the field's usual measures, with their settings."""

from __future__ import annotations

import math
import string
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from selfsame.data.processor import DataProcessor, EncodedDialogue
from selfsame.errors import DataError
from selfsame.metrics.statistics import Bootstrap, Estimate, jackknife
from selfsame.model.concurrent import concurrently
from selfsame.model.prefix_batch import dialogue_batch, micro_batches, reply_logprobs
from selfsame.model.roles import Roles
from selfsame.text.keywords import words
from selfsame.types import Example

_ARTICLES = ("a", "an", "the")
_NO_PUNCTUATION = str.maketrans(string.punctuation + "’", " " * (len(string.punctuation) + 1))


@dataclass(frozen=True)
class QualityEvaluator:
    """Perplexity of gold replies; overlap with gold replies; diversity. `bootstrap`: how intervals are made. `groups` are
    the dialogues of the replies. An empty gold reply has nothing to overlap with: missing."""

    bootstrap: Bootstrap = field(default_factory=Bootstrap)

    def compute_perplexity(
        self, roles: Roles, role: str | None, examples: Sequence[Example], token_budget: int = 4096
    ) -> dict[str, Estimate]:
        """Of the own turns, given the persona and what was said before (of a dialogue too long for the model: since it was
        split). `perplexity` per token (depends on the tokenizer), `perplexity_word` per white-space word, `bits_per_byte`
        of UTF-8; end tokens count in all three losses. Replies that do not fit into the model, and such that it gives NaN
        for, are missing from losses, words and bytes alike."""
        scored = [s for s in score_replies(roles, role, examples, token_budget) if not math.isnan(s.loss)]
        missing = sum(len(e.replies) for e in examples) - len(scored)
        units: dict[str, tuple[list[int], Any]] = {
            "perplexity": ([s.tokens for s in scored], np.exp),
            "perplexity_word": ([len(s.text.split()) for s in scored], np.exp),
            "bits_per_byte": ([len(s.text.encode()) for s in scored], lambda nats: nats / math.log(2)),
        }
        losses, groups = [s.loss for s in scored], [s.dialogue for s in scored]
        return {name: self.bootstrap.ratio(losses, per, to, groups, missing) for name, (per, to) in units.items()}

    def compute_bleu(
        self, responses: Sequence[str], references: Sequence[str], groups: Sequence[Hashable] | None = None
    ) -> Estimate:
        """Corpus BLEU-4, 0 to 100, by sacrebleu with its defaults (13a tokenization, exponential smoothing)."""
        from sacrebleu.metrics.bleu import BLEU

        def corpus_score(sums: np.ndarray) -> float:
            lengths, counts, totals = np.split(np.rint(sums).astype(int), (2, 6))
            return BLEU.compute_bleu(counts.tolist(), totals.tolist(), *lengths.tolist(), smooth_method="exp").score

        scorer = BLEU(
            effective_order=True
        )  # only for its counts: effective order is what it wants for single sentences
        names = range(len(responses)) if groups is None else groups
        pairs = [x for x in zip(responses, references, names, strict=True) if x[1].strip()]
        found = [scorer.sentence_score(reply, [gold]) for reply, gold, _ in pairs]
        counts_NK = [[s.sys_len, s.ref_len, *s.counts, *s.totals] for s in found]
        return self.bootstrap.of_sums(
            counts_NK,
            lambda sums: np.apply_along_axis(corpus_score, -1, sums),
            [name for *_, name in pairs],
            len(responses) - len(pairs),
        )

    def compute_rouge(
        self, responses: Sequence[str], references: Sequence[str], groups: Sequence[Hashable] | None = None
    ) -> Estimate:
        """Mean ROUGE-L F1, 0 to 1, with stemming; as rouge_score gives it for English, and for other scripts too."""
        from rouge_score.rouge_scorer import RougeScorer

        tokenizer: Any = _RougeTokenizer()
        scorer = RougeScorer(["rougeL"], tokenizer=tokenizer)
        scores = [
            scorer.score(gold, reply)["rougeL"].fmeasure if words(gold) else math.nan
            for reply, gold in zip(responses, references, strict=True)
        ]
        return self.bootstrap.share(scores, groups)

    def compute_distinct_n(self, responses: Sequence[str], n: int = 2) -> Estimate:
        """Different n-grams over all n-grams of all replies (Li et al. 2016, arXiv:1510.03055). Replies of fewer than n
        words are missing. Depends on how many replies there are: compare like with like."""
        grams = [found for reply in responses if (found := _ngrams(words(reply), n))]
        missing = len(responses) - len(grams)
        return jackknife(_distinct, grams, self.bootstrap.confidence, bounds=(0.0, 1.0), missing=missing)

    def compute_f1(
        self, responses: Sequence[str], references: Sequence[str], groups: Sequence[Hashable] | None = None
    ) -> Estimate:
        """Mean `word_f1`, 0 to 1."""
        return self.bootstrap.share([word_f1(r, g) for r, g in zip(responses, references, strict=True)], groups)


def word_f1(response: str, reference: str) -> float:
    """Harmonic mean of the shares of words that occur in the other text too, counted with repeats; NaN for an empty
    reference. Words as in ConvAI2 (ParlAI): lower-case, punctuation splits, articles do not count."""
    ours, gold = _convai2_words(response), _convai2_words(reference)
    if not gold:
        return math.nan
    return 2 * sum((Counter(ours) & Counter(gold)).values()) / (len(ours) + len(gold))


def _convai2_words(text: str) -> list[str]:
    return [word for word in text.lower().translate(_NO_PUNCTUATION).split() if word not in _ARTICLES]


class _RougeTokenizer:
    """rouge_score's tokens, which are a-z and 0-9 only, so that a reply in another script would score 0, and letters of
    every other script."""

    def __init__(self) -> None:
        from rouge_score.tokenizers import DefaultTokenizer

        self.plain = DefaultTokenizer(use_stemmer=True)

    def tokenize(self, text: str) -> list[str]:
        pieces = [piece for word in words(text) for piece in word.split("'")]
        return [token for p in pieces for token in (self.plain.tokenize(p) if p.isascii() else [p])]


def _ngrams(tokens: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


def _distinct(replies: Sequence[Sequence[tuple[str, ...]]]) -> float:
    return len({gram for grams in replies for gram in grams}) / sum(map(len, replies))


@dataclass(frozen=True)
class ScoredReply:
    """An own turn, the number of its tokens with the end token, and its negative log-likelihood in nats."""

    dialogue: str
    text: str
    tokens: int
    loss: float


@torch.no_grad()
def score_replies(roles: Roles, role: str | None, examples: Sequence[Example], token_budget: int) -> list[ScoredReply]:
    """Every own turn that fits into the model, whole dialogues at a time, in no particular order."""
    # Both sides of a dialogue may be among the examples ("id/1", "id/2"): they are one group.
    rows = [(e.id.rpartition("/")[0] or e.id, row, texts) for e in examples for row, texts in _rows(roles.processor, e)]
    scored: list[ScoredReply] = []
    with roles.use(role) as model:

        def measure(part: list[int]) -> list[ScoredReply]:
            batch = dialogue_batch([rows[k][1] for k in part], roles.processor.pad_id).to(model.device)
            replies = [(rows[k][0], text) for k in part for text in rows[k][2]]
            tokens_N, losses_N = batch.reply_mask_NR.sum(1), -reply_logprobs(model, batch)[0].sum(1)
            numbers = zip(replies, tokens_N.tolist(), losses_N.tolist(), strict=True)
            return [ScoredReply(name, text, tokens, loss) for (name, text), tokens, loss in numbers]

        parts = micro_batches([len(row.ids) for _, row, _ in rows], token_budget, model.device)
        for found in concurrently(measure, parts, model, token_budget):
            scored += found
    return scored


def _rows(processor: DataProcessor, example: Example) -> list[tuple[EncodedDialogue, list[str]]]:
    """The rows of an example, each with the replies in it: `encode_example` leaves out exchanges that are too long."""
    try:
        rows = processor.encode_example(example)
    except DataError:  # the persona alone is too long
        return []
    left = iter(example.replies)
    return [
        (row, [next(r for r in left if processor.encode_reply(r) == row.ids[a:b]) for a, b in row.spans])
        for row in rows
    ]
