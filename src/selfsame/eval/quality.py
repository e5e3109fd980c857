"""Quality of a model and of its replies by the field's usual measures, with the settings that they depend on."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from selfsame.data.keywords import words
from selfsame.eval.statistics import Bootstrap, Estimate, jackknife
from selfsame.model.branches import chain, reply_logprobs
from selfsame.model.roles import Roles
from selfsame.rollout.collect import micro_batches
from selfsame.types import Example


@dataclass(frozen=True)
class QualityEvaluator:
    """Perplexity of gold replies; overlap with gold replies; diversity. `bootstrap`: how intervals are made."""

    bootstrap: Bootstrap = Bootstrap()

    @torch.no_grad()
    def compute_perplexity(self, roles: Roles, role: str | None, examples: Sequence[Example], token_budget: int = 4096) -> dict[str, Estimate]:
        """Of the own turns, given the persona and everything said before. `perplexity` per token (depends on the tokenizer;
        end tokens count), `perplexity_word` per white-space word, `bits_per_byte` of UTF-8; intervals over dialogues."""
        encoded = [(i, row) for i, e in enumerate(examples) for row in roles.processor.encode_example(e)]
        losses, tokens = np.zeros(len(examples)), np.zeros(len(examples))
        with roles.use(role) as model:
            for part in micro_batches([len(row.ids) for _, row in encoded], token_budget):
                batch = chain([encoded[k][1] for k in part], roles.processor.pad_id).to(model.device)
                summed_N = -reply_logprobs(model, batch)[0].sum(1)
                for row, loss in zip(batch.row_N.tolist(), summed_N.tolist(), strict=True):
                    losses[encoded[part[row]][0]] += loss
                for k in part:
                    tokens[encoded[k][0]] += sum(end - start for start, end in encoded[k][1].spans)
        count = np.array([sum(len(r.split()) for r in e.replies) for e in examples], dtype=float)
        size = np.array([sum(len(r.encode()) for r in e.replies) for e in examples], dtype=float)
        kept = tokens > 0
        missing = int((~kept).sum())
        ratios = {"perplexity": (tokens, np.exp), "perplexity_word": (count, np.exp), "bits_per_byte": (size, lambda x: x / math.log(2))}
        return {n: self.bootstrap.ratio(losses[kept], per[kept], transform, missing) for n, (per, transform) in ratios.items()}

    def compute_bleu(self, responses: Sequence[str], references: Sequence[str]) -> Estimate:
        """Corpus BLEU-4, 0 to 100, by sacrebleu with its default tokenization; interval by its own bootstrap."""
        if not responses:
            return Estimate(math.nan, math.nan, math.nan, 0)
        from sacrebleu.metrics.bleu import BLEU

        np.random.seed(self.bootstrap.seed)  # sacrebleu's bootstrap draws from numpy's global state
        score = BLEU().corpus_score(list(responses), [list(references)], n_bootstrap=self.bootstrap.resamples)
        if score._mean < 0:
            return Estimate(score.score, math.nan, math.nan, len(responses))
        return Estimate(score.score, score._mean - score._ci, score._mean + score._ci, len(responses))

    def compute_rouge(self, responses: Sequence[str], references: Sequence[str], groups: Sequence[Hashable] | None = None) -> Estimate:
        """Mean ROUGE-L F1, 0 to 1, with stemming."""
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer(["rougeL"], use_stemmer=True)
        scores = [scorer.score(gold, reply)["rougeL"].fmeasure for reply, gold in zip(responses, references, strict=True)]
        return self.bootstrap.mean(scores, groups)

    def compute_distinct_n(self, responses: Sequence[str], n: int = 2) -> Estimate:
        """Different n-grams over all n-grams of all replies (Li et al. 2016, arXiv:1510.03055); NaN if there is none.
        Depends on how many replies there are: compare like with like."""
        return jackknife(lambda texts: _distinct(texts, n), list(responses), self.bootstrap.confidence)

    def compute_f1(self, responses: Sequence[str], references: Sequence[str], groups: Sequence[Hashable] | None = None) -> Estimate:
        """Mean F1 of the words that reply and gold share (ConvAI2's), 0 to 1."""
        return self.bootstrap.mean([word_f1(r, g) for r, g in zip(responses, references, strict=True)], groups)


def word_f1(response: str, reference: str) -> float:
    """Harmonic mean of the shares of words that occur in the other text too, counted with repeats; NaN for an empty
    reference."""
    ours, gold = words(response), words(reference)
    if not gold:
        return math.nan
    shared = sum(min(ours.count(w), gold.count(w)) for w in set(ours))
    return 2 * shared / (len(ours) + len(gold)) if shared else 0.0


def _distinct(texts: Sequence[str], n: int) -> float:
    grams = [tuple(tokens[i : i + n]) for tokens in map(words, texts) for i in range(len(tokens) - n + 1)]
    return len(set(grams)) / len(grams) if grams else math.nan
