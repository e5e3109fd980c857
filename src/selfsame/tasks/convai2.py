"""ConvAI2's protocol: Hits@1 among the given candidates, F1 of replies, perplexity of the gold replies.

Candidates and gold replies are scored in one pass. `published.py` holds what others reported.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selfsame.metrics.hits import BenchmarkEvaluator, fits, hit, longest_candidate
from selfsame.metrics.quality import word_f1
from selfsame.metrics.statistics import Bootstrap, Estimate
from selfsame.model.roles import Roles
from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.settings import SamplingSettings
from selfsame.run.logger import Progress
from selfsame.run.partial import Partial
from selfsame.tasks.external import CandidateExample

CHUNK = 128
"""Examples that are scored, and kept, at a time."""
COLUMNS = ("line", "dialogue", "hits_at_1", "hits_at_1_sum", "nats", "end_nats", "tokens", "words", "bytes", "f1")
"""What is known of each example, in this order, in the rows of a result. `nats` of the gold reply without its end token."""
DEFINITIONS = {
    "hits_at_1": "share of examples whose gold reply has the highest mean log-probability per token (end token included) of its"
    " candidates, as ParlAI's generative models rank them; a tie is shared out, so that no order of the candidates can win",
    "hits_at_1_sum": "the same by the sum of the tokens' log-probabilities, which favours short candidates",
    "f1": "mean F1 of the words of a reply and of the gold reply, lower-case, without punctuation and articles (ParlAI)",
    "perplexity_word": "exp(nats of the gold replies' tokens, end tokens left out, per word as ParlAI splits them); not"
    " strictly comparable: a model with another tokenizer spreads its probability over other pieces of words, and ConvAI2's"
    " own number is renormalised over a dictionary and skips words outside of it",
    "perplexity_word_end": "the same with the end tokens' nats, which ConvAI2 leaves out",
    "bits_per_byte": "bits of the gold replies' tokens, end tokens included, per byte of UTF-8: comparable between tokenizers",
}


@dataclass(frozen=True)
class ConvAI2Protocol:
    """How the examples are answered: by which model, with which decoding."""

    roles: Roles
    role: str | None
    sampling: SamplingSettings
    seed: int = 0
    token_budget: int = 4096

    def run(self, examples: Sequence[CandidateExample], replies: int, kept: Partial) -> list[dict[str, Any]]:
        """The scores of every example, and replies to `replies` of them, drawn at random; all of it as it stands in `kept`,
        where what is there already is not done again."""
        drawn = random.Random(self.seed).sample(list(examples), min(replies, len(examples)))
        drawn.sort(key=lambda e: e.line)
        scored = {item["line"] for item in kept.items if "tokens" in item}
        replied = {item["line"] for item in kept.items if "reply" in item}
        self._each("candidates", examples, scored, self.score, kept)
        self._each("replies", drawn, replied, self.reply, kept)
        items: dict[int, dict[str, Any]] = {e.line: {} for e in examples}
        for item in kept.items:
            items[item["line"]] |= item
        return list(items.values())

    def _each(
        self,
        name: str,
        examples: Sequence[CandidateExample],
        done: set[int],
        work: Callable[[Sequence[CandidateExample]], list[dict[str, Any]]],
        kept: Partial,
    ) -> None:
        """Always the same chunks, so that a resumed measurement is the same as one that was not stopped."""
        chunks = [examples[at : at + CHUNK] for at in range(0, len(examples), CHUNK)]
        left = [chunk for chunk in chunks if any(e.line not in done for e in chunk)]
        if not left:
            return
        with Progress(len(examples), name, done=len(examples) - sum(map(len, left))) as bar:
            for chunk in left:
                kept.add(work(chunk))
                bar.advance(len(chunk))

    def score(self, examples: Sequence[CandidateExample]) -> list[dict[str, Any]]:
        """Ranks the candidates; an example whose persona is too long for the model is not scored, nor is the perplexity of a
        reply longer than a quarter of `max_length`."""
        known = [e for e in examples if fits(self.roles, e.prompt)]
        evaluator, groups = BenchmarkEvaluator(), [[e.gold, *e.distractors] for e in known]
        prompts = [e.prompt for e in known]
        found = evaluator.score_tokens(self.roles, self.role, prompts, groups, self.token_budget)
        items = {e.line: self._item(e, values) for e, values in zip(known, found, strict=True)}
        return [items.get(e.line) or self._item(e, []) for e in examples]

    def _item(self, example: CandidateExample, values: Sequence[Sequence[float]]) -> dict[str, Any]:
        """`values`: log-probabilities of the tokens of the gold reply, then of the distractors; none: not scored."""
        gold = list(values[0]) if values else []
        whole = bool(gold) and len(self.roles.processor.encode_reply(example.gold)) <= longest_candidate(self.roles)
        nats = [-value if whole else math.nan for value in gold] or [math.nan]
        return {
            "line": example.line,
            "dialogue": example.dialogue,
            "hits_at_1": hit([sum(v) / len(v) for v in values]),
            "hits_at_1_sum": hit([sum(v) for v in values]),
            "nats": round(sum(nats[:-1]), 4) if whole else math.nan,
            "end_nats": round(nats[-1], 4),
            "tokens": len(gold),
            "words": example.words,
            "bytes": len(example.gold.encode()),
        }

    def reply(self, examples: Sequence[CandidateExample]) -> list[dict[str, Any]]:
        """One reply to each; its random numbers are a function of the seed and the example's line."""
        engine = RolloutEngine(self.roles, self.sampling.batch_size)
        known = [e for e in examples if fits(self.roles, e.prompt, self.sampling.max_new_tokens)]
        prompts, lines = [e.prompt for e in known], [e.line for e in known]
        texts = dict(zip(lines, engine.reply(self.role, prompts, self.sampling, self.seed, 0, lines), strict=True))
        return [{"line": e.line, "reply": texts.get(e.line), "f1": _f1(texts.get(e.line), e.gold)} for e in examples]


def _f1(reply: str | None, gold: str) -> float:
    return math.nan if reply is None else word_f1(reply, gold)


# --- results ------------------------------------------------------------------------------------------------------------


def summary(items: Sequence[Mapping[str, Any]], bootstrap: Bootstrap) -> dict[str, Estimate]:
    """Each metric with its interval over dialogues, shares from 0 to 1; no F1 without replies."""
    columns = {name: [number(item.get(name)) for item in items] for name in COLUMNS}
    dialogues = [item["dialogue"] for item in items]
    found = {name: bootstrap.share(columns[name], dialogues) for name in ("hits_at_1", "hits_at_1_sum")}
    replied = [k for k, item in enumerate(items) if "reply" in item]
    if replied:
        found["f1"] = bootstrap.share([columns["f1"][k] for k in replied], [dialogues[k] for k in replied])
    known = [k for k, nats in enumerate(columns["nats"]) if not math.isnan(nats)]
    groups, missing = [dialogues[k] for k in known], len(items) - len(known)
    nats, ends, words, bytes_ = ([columns[name][k] for k in known] for name in ("nats", "end_nats", "words", "bytes"))
    with_end = [a + b for a, b in zip(nats, ends, strict=True)]
    for name, top, bottom, transform in (
        ("perplexity_word", nats, words, np.exp),
        ("perplexity_word_end", with_end, words, np.exp),
        ("bits_per_byte", with_end, bytes_, lambda x: x / math.log(2)),
    ):
        found[name] = bootstrap.ratio(top, bottom, transform, groups, missing)
    return found


def number(value: Any) -> float:
    """A number of a record; NaN where it says null or nothing."""
    return math.nan if value is None else float(value)


def pack(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line of numbers for each example, in the order of `COLUMNS`; - for what is not known."""
    rows = ([number(item.get(name)) for name in COLUMNS] for item in items)
    return [" ".join("-" if math.isnan(value) else f"{value:.10g}" for value in row) for row in rows]


def unpack(rows: Sequence[str]) -> list[dict[str, float]]:
    """The inverse of `pack`; ValueError for anything else."""
    return [
        {name: math.nan if cell == "-" else float(cell) for name, cell in zip(COLUMNS, row.split(" "), strict=True)}
        for row in rows
    ]


def weights_digest(roles: Roles, role: str | None) -> str:
    """Tells apart what may have one name: a base from another one, a role before and after more training."""
    with roles.use(role) as model:
        tensors = [p.detach().flatten() for p in model.parameters()]
    some = [t[:: max(1, len(t) // 1000)].float().cpu().numpy().tobytes() for t in tensors]
    return hashlib.sha256(b"".join(some)).hexdigest()[:16]
