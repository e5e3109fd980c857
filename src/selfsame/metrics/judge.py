"""Judges of contradictions: whether a sentence contradicts another, follows from it, or neither.

Three judges share one interface: rules, which need nothing; the judge in the package, an adapter on the bundled base; and any
natural-language-inference model. The accuracy of a judge belongs with every number made with it.
"""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from selfsame.errors import ConfigError
from selfsame.text.contradictions import Pair, RuleJudge
from selfsame.text.keywords import words
from selfsame.text.language import ENGLISH
from selfsame.types import LABELS

BUNDLED_JUDGE = "selfsame-judge"
"""The judge in the package; `evaluator_models/` says how it was made."""
RECORD = "judge.json"


class Judge(Protocol):
    """Says how likely it is that a pair of sentences (premise, hypothesis) is a contradiction, neutral or an entailment."""

    @property
    def name(self) -> str: ...

    @property
    def threshold(self) -> float:
        """From which probability on a pair counts as a contradiction where false alarms matter."""
        ...

    @property
    def language(self) -> str | None:
        """Code of the language it judges; None: any, or unknown."""
        ...

    def probabilities(self, pairs: Sequence[Pair]) -> np.ndarray:
        """(N, 3) probabilities in the order of `LABELS`; a row of NaN where nothing can be said."""
        ...


class AdapterJudge:
    """A `judge` role: an adapter and a head on a base model, in a folder that `evaluator_models` wrote, together with the
    rules: a small model misses what they are sure of, such as another number. It remembers whole questions, never single
    pairs: what it says must not depend on what it was asked before, and a pair's last digits depend on its batch.

    Args:
        name: a folder with `judge.json`, or `selfsame-judge` for the one in the package.

    Raises:
        SelfsameError: the folder is incomplete, or its base model is not there.
    """

    language = ENGLISH

    def __init__(self, name: str = BUNDLED_JUDGE) -> None:
        from selfsame.model.load import load_roles
        from selfsame.model.pairs import PairModel
        from selfsame.model.settings import LoraSettings, ModelSettings

        folder = judge_folder(name)
        self.name, record = name, json.loads((folder / RECORD).read_text(encoding="utf-8"))
        # The bound is what 5 % of people's replies reach in dialogues that the judge never saw. Measured with .80,
        # set on people of its training: .23 of what other people said counted as contradicted.
        self.threshold: float = record["threshold"]
        roles = load_roles(ModelSettings(base=record["base"], lora=LoraSettings(**record["lora"])))
        roles.load("judge", folder)
        self.model = PairModel(roles)
        self._known: dict[tuple[Pair, ...], np.ndarray] = {}

    def probabilities(self, pairs: Sequence[Pair]) -> np.ndarray:
        """(N, 3) in the order of `LABELS`; NaN where a side has no word."""
        asked = tuple(pairs)
        if asked not in self._known:
            self._known[asked] = self._ask(asked)
        return self._known[asked].copy()

    def _ask(self, pairs: Sequence[Pair]) -> np.ndarray:
        new = [pair for pair in dict.fromkeys(pairs) if all(map(words, pair))]
        found_N3 = _surer(self._both_ways(new), RuleJudge().probabilities(new)) if new else []
        known, nothing = dict(zip(new, found_N3, strict=True)), np.full(len(LABELS), np.nan)
        return np.array([known.get(pair, nothing) for pair in pairs]).reshape(-1, len(LABELS))

    def _both_ways(self, pairs: Sequence[Pair]) -> np.ndarray:
        """(N, 3): who contradicts is contradicted, so a contradiction is as likely as both orders of a pair say on average."""
        found_N3 = self.model.probabilities(pairs).numpy()
        # Measured with both orders: accuracy .80 to .81 on crossed pairs, .76 to .77 on turns of one speaker.
        turned_N3 = self.model.probabilities([(hypothesis, premise) for premise, hypothesis in pairs]).numpy()
        return _with_contradiction(found_N3, (found_N3[:, 0] + turned_N3[:, 0]) / 2)


def _surer(found_N3: np.ndarray, rules_N3: np.ndarray) -> np.ndarray:
    """With the rules' probability of a contradiction where they find one and are surer."""
    # The adapter alone took "three dogs" after "two dogs" for an entailment. Measured with the rules: .88 to .91
    # on edits of our own, a point or less elsewhere.
    rules_N = np.where(rules_N3.argmax(1) == 0, rules_N3[:, 0], 0.0)
    return _with_contradiction(found_N3, np.maximum(found_N3[:, 0], rules_N))


def _with_contradiction(found_N3: np.ndarray, contradiction_N: np.ndarray) -> np.ndarray:
    """With another probability of a contradiction; the other two share the rest as they did."""
    rest_N2 = (
        found_N3[:, 1:] / np.maximum(found_N3[:, 1:].sum(1, keepdims=True), 1e-30) * (1 - contradiction_N)[:, None]
    )
    return np.concatenate([contradiction_N[:, None], rest_N2], axis=1)


def judge_folder(name: str) -> Path:
    """Where the judge of that name is."""
    bundled = importlib.resources.files("selfsame") / "model" / "bundled" / "judge"
    return Path(str(bundled)) if name == BUNDLED_JUDGE else Path(name)


class ModelJudge:
    """A sequence-classification model for natural-language inference, by hub id or folder.

    Args:
        model: its id or folder; the labels' order is read from its configuration.
        batch_size: pairs at a time.
        max_length: tokens of a pair that are read; what is beyond is cut off the longer sentence.

    Raises:
        ConfigError: there is no such model, or its labels are not those of natural-language inference.
    """

    threshold = 0.5
    language = None

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


def load_judge(name: str = BUNDLED_JUDGE) -> Judge:
    """The judge of that name: `selfsame-judge`, `rules`, a folder that `evaluator_models` wrote, or an NLI model's hub id or
    folder. It is loaded once in a process."""
    return _load(name)


@lru_cache(maxsize=4)
def _load(name: str) -> Judge:
    if name == "rules":
        return RuleJudge()
    return AdapterJudge(name) if "base" in _record(name) else ModelJudge(name)


def _record(name: str) -> dict[str, Any]:
    file = judge_folder(name) / RECORD
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def held_out_record(name: str) -> dict[str, dict[str, Any]]:
    """What is known of a judge on pairs that it was not made on: by set, results of `judge_pairs` (empty where nothing is).
    It is in `judge.json` in a judge's folder, under `held_out`; that of the rules is beside the judge in the package, on
    the same pairs."""
    return _record(BUNDLED_JUDGE).get("rules", {}) if name == "rules" else _record(name).get("held_out", {})


def judge_summary(judge: Judge, language: str = ENGLISH) -> dict[str, Any]:
    """A judge's name, its threshold, and its balanced accuracy by held-out set (none known: empty), to stand beside numbers;
    `unknown_language`: that of the replies, where the judge does not know it, else ""."""
    # The accuracy stands by every number: the judge sees relatedness (measured: .50 on two turns of one topic).
    known = held_out_record(judge.name)
    accuracy = {name: result["balanced_accuracy"]["value"] for name, result in known.items()}
    unknown = "" if judge.language in (None, language) else language
    return {
        "name": judge.name,
        "threshold": judge.threshold,
        "balanced_accuracy": accuracy,
        "unknown_language": unknown,
    }
