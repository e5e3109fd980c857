"""Does one sentence contradict another, follow from it, or neither? Two judges behind one interface: rules, which need
nothing, and any natural-language-inference model. How good a judge is belongs beside every number made with it."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from selfsame.data.keywords import words
from selfsame.errors import ConfigError
from selfsame.eval.rows import LABELS, LabelledPair
from selfsame.eval.rules import Pair, RuleJudge
from selfsame.eval.statistics import Bootstrap


class Judge(Protocol):
    """Says how likely it is that a pair of sentences (premise, hypothesis) is a contradiction, neutral or an entailment."""

    @property
    def name(self) -> str: ...

    def probabilities(self, pairs: Sequence[Pair]) -> np.ndarray:
        """(N, 3) probabilities in the order of `LABELS`; a row of NaN where nothing can be said."""
        ...


class ModelJudge:
    """A sequence-classification model for natural-language inference, by hub id or folder.

    Args:
        model: its id or folder; the labels' order is read from its configuration.
        batch_size: pairs at a time.
        max_length: tokens of a pair that are read; what is beyond is cut off the longer sentence.

    Raises:
        ConfigError: there is no such model, or its labels are not those of natural-language inference.
    """

    def __init__(self, model: str, batch_size: int = 32, max_length: int = 256) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self.name, self.batch_size = model, batch_size
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(model)
            self.model: Any = AutoModelForSequenceClassification.from_pretrained(model).eval()
        except (OSError, ValueError) as error:
            first = str(error).strip().split("\n")[0][:160]
            raise ConfigError(
                f"cannot load the judge {model!r}: {first}; give a hub id or folder of an NLI classifier"
            ) from error
        if self.tokenizer.pad_token is None:
            raise ConfigError(f"the judge {model!r} has no padding token: give a sequence-classification model")
        self.max_length = min(max_length, getattr(self.model.config, "max_position_embeddings", max_length))
        self.columns = _columns(model, self.model.config.id2label)

    def probabilities(self, pairs: Sequence[Pair]) -> np.ndarray:
        """(N, 3) in the order of `LABELS`; NaN where a side has no word."""
        found_N3 = np.full((len(pairs), 3), np.nan)
        known = [k for k, pair in enumerate(pairs) if all(map(words, pair))]
        known.sort(key=lambda k: len(pairs[k][0]) + len(pairs[k][1]))
        for at in range(0, len(known), self.batch_size):
            chosen = known[at : at + self.batch_size]
            found_N3[chosen] = self._batch([pairs[k] for k in chosen])
        return found_N3

    def _batch(self, pairs: Sequence[Pair]) -> np.ndarray:
        import torch

        sides = [[text[: 20 * self.max_length] for text in side] for side in zip(*pairs, strict=True)]
        encoded = self.tokenizer(*sides, padding=True, truncation=True, max_length=self.max_length, return_tensors="pt")
        with torch.no_grad():
            logits_NL = self.model(**encoded).logits
        return logits_NL.float().softmax(-1)[:, self.columns].numpy()


def _columns(model: str, labels: dict[int, str]) -> list[int]:
    """Where the model has contradiction, neutral and entailment."""
    found = {str(name).lower()[:7]: int(k) for k, name in labels.items()}
    if len(labels) != 3 or {label[:7] for label in LABELS} != set(found):
        raise ConfigError(
            f"the judge {model!r} has the labels {', '.join(map(str, labels.values()))}: it needs {', '.join(LABELS)}"
        )
    return [found[label[:7]] for label in LABELS]


def load_judge(name: str = "rules") -> Judge:
    """The judge of that name: `rules`, or a model's hub id or folder."""
    return RuleJudge() if name == "rules" else ModelJudge(name)


def held_out_record(name: str) -> dict[str, Any] | None:
    """What is known of a judge's accuracy on pairs it was not made on; None where nothing is. A model's folder may hold a
    `judge.json` with it; those of the package are in `judges.json` beside this file."""
    own = Path(name) / "judge.json"
    if own.is_file():
        return json.loads(own.read_text(encoding="utf-8"))
    file = importlib.resources.files("selfsame") / "eval" / "judges.json"
    return json.loads(file.read_text(encoding="utf-8")).get(name) if file.is_file() else None


# --- how good is a judge ------------------------------------------------------------------------------------------------


def judge_pairs(judge: Judge, rows: Sequence[LabelledPair], bootstrap: Bootstrap) -> dict[str, Any]:
    """A judge against labels.

    Returns:
        `{judge, rows, missing, balanced_accuracy, accuracy, recall: {label: estimate}, confusion: {label: {said: count}},
        held_out}`; balanced accuracy is the mean recall of the labels that occur, whatever their counts; pairs about which
        the judge says nothing are missing, never wrong.
    """
    found_N3 = judge.probabilities([(row.premise, row.hypothesis) for row in rows])
    said = [None if np.isnan(p).any() else LABELS[int(np.argmax(p))] for p in found_N3]
    known = [(row, label) for row, label in zip(rows, said, strict=True) if label is not None]
    groups, missing = [row.group for row, _ in known], len(rows) - len(known)
    counts_N6 = [_recall_counts(row.label, label) for row, label in known]

    def recall(column: int) -> dict[str, Any]:
        part = [(c[column], c[3 + column], g) for c, g in zip(counts_N6, groups, strict=True) if c[3 + column]]
        return bootstrap.share([hit for hit, *_ in part], [group for *_, group in part]).to_dict()

    hits = [float(row.label == label) for row, label in known]
    return {
        "judge": judge.name,
        "rows": len(rows),
        "missing": missing,
        "balanced_accuracy": bootstrap.of_sums(np.reshape(counts_N6, (-1, 6)), _balanced, groups, missing).to_dict(),
        "accuracy": bootstrap.share(hits, groups).to_dict() | {"missing": missing},
        "recall": {label: recall(k) for k, label in enumerate(LABELS)},
        "confusion": {
            true: {label: sum(row.label == true and s == label for row, s in known) for label in LABELS}
            for true in LABELS
        },
        "held_out": held_out_record(judge.name),
    }


def _recall_counts(label: str, said: str) -> list[float]:
    """Three hits and three counts, by label."""
    return [float(label == one == said) for one in LABELS] + [float(label == one) for one in LABELS]


def _balanced(sums: np.ndarray) -> Any:
    hits, counts = sums[..., :3], sums[..., 3:]
    there = counts > 0
    shares = np.where(there, hits / np.where(there, counts, 1.0), 0.0)
    return shares.sum(-1) / there.sum(-1)


def judge_text(result: dict[str, Any]) -> str:
    """As plain text."""
    from selfsame.eval.agreement import show

    lines = [f"{result['judge']}: {result['rows']} pairs, {result['missing']} about which it says nothing"]
    for name in ("balanced_accuracy", "accuracy"):
        lines.append(f"{name.replace('_', ' ')}: {show(result[name])}")
    lines += [
        f"recall of {label}: {show(estimate)} n={estimate['count']}" for label, estimate in result["recall"].items()
    ]
    width = max(map(len, LABELS))
    lines += ["", " ".join([" " * (width + 9), *(f"{label:>{width}}" for label in LABELS)])]
    for true, said in result["confusion"].items():
        lines.append(" ".join([f"label {true:<{width}}  ", *(f"{said[label]:>{width}}" for label in LABELS)]))
    record = result["held_out"]
    known = "not known: compare with labelled pairs first" if record is None else json.dumps(record, ensure_ascii=False)
    return "\n".join([*lines, "", f"held-out accuracy of this judge: {known}"])
