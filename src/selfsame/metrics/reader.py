"""The reader model: how surprising a reply is, and how much the turns before it lower the surprise.

It never is the model that is judged. With `smollm2-135m` on the machine it is that base with an adapter of its own, which
learned dialogues without any persona from another seed; otherwise it is the bundled toy. The record says if the system that
is judged stands on the same base.
"""

from __future__ import annotations

import importlib.resources
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from selfsame.errors import ConfigError
from selfsame.metrics.hits import BenchmarkEvaluator, fits, longest_candidate
from selfsame.model.load import load_roles
from selfsame.model.named import NAMED, is_ready
from selfsame.model.roles import Roles
from selfsame.model.settings import BUNDLED, LoraSettings, ModelSettings
from selfsame.types import Prompt

TURNS = 3
"""Turns before a reply that the reader is shown, the partner's last."""
_TOGETHER = 16
"""Replies without a context that share one empty prompt."""
_BUDGET = 2048
"""Tokens of a batch."""
_QUESTIONS = 16
"""So many are remembered. An evaluation asks three that the next one asks again."""
_ROLE = "reader"
_Key = tuple[tuple[str, ...], str]
"""The turns that a reply is read after, and the reply."""


@dataclass(frozen=True)
class Reading:
    """What the reader found of a reply. `bits`: per byte of its text, after the turns before it; `lift`: nats per token that
    these turns take off. NaN for an empty reply; `lift` is NaN where nothing was said before."""

    bits: float
    lift: float


NOTHING = Reading(math.nan, math.nan)


class Reader:
    """Reads replies with a role of a model (None: the base). It remembers whole questions, never single replies: last digits
    depend on the batch, and an answer must not depend on what was asked before.

    Args:
        roles: the model.
        role: with whose adapter.
        name: in records.
        remember: a question is not read again; without, a long training keeps nothing.
    """

    def __init__(self, roles: Roles, role: str | None = None, name: str = "model", remember: bool = True) -> None:
        self.roles, self.role, self.name, self.remember = roles, role, name, remember
        self._known: dict[tuple[_Key, ...], list[Reading]] = {}

    def read(self, histories: Sequence[Sequence[str]], replies: Sequence[str]) -> list[Reading]:
        """A reading of each reply. `histories`: what was said before it, alternating, the partner's turn last. Replies to one
        prompt share its reading, and a reply is read alone once: ask for them together."""
        asked = tuple((_shown(history), reply.strip()) for history, reply in zip(histories, replies, strict=True))
        found = self._known.pop(asked, None) or self._ask(asked)
        if self.remember:
            self._known[asked] = found
            if len(self._known) > _QUESTIONS:
                del self._known[next(iter(self._known))]  # the one that was not asked for longest
        return list(found)

    def _ask(self, keys: Sequence[_Key]) -> list[Reading]:
        new = [key for key in dict.fromkeys(keys) if key[1] and fits(self.roles, Prompt((), key[0]))]
        after = self._likelihoods({key: Prompt((), key[0]) for key in new})
        alone = self._likelihoods({reply: Prompt(()) for reply in dict.fromkeys(text for _, text in new)})
        readings: dict[_Key, Reading] = {}
        for key in new:
            (total, tokens), (plain, _) = after[key], alone[key[1]]
            lift = (total - plain) / tokens if any(key[0]) else math.nan
            readings[key] = Reading(-total / math.log(2) / len(key[1].encode()), lift)
        return [readings.get(key, NOTHING) for key in keys]

    def _likelihoods(self, prompts: dict[Any, Prompt]) -> dict[Any, tuple[float, int]]:
        """(log-probability in nats, tokens) of each key's reply; the replies to one prompt share it, up to some at a time."""
        groups: dict[tuple[Prompt, int], list[Any]] = {}
        sizes: dict[Prompt, int] = {}
        for key, prompt in prompts.items():
            place = sizes[prompt] = sizes.get(prompt, -1) + 1
            groups.setdefault((prompt, place // _TOGETHER), []).append(key)
        texts = [[key if isinstance(key, str) else key[1] for key in group] for group in groups.values()]
        # A long prompt is cut in the same way whatever else shares it.
        how = _BUDGET, longest_candidate(self.roles)
        found = BenchmarkEvaluator().score_tokens(self.roles, self.role, [p for p, _ in groups], texts, *how)
        rows = zip(groups.values(), found, strict=True)
        return {key: (sum(values), len(values)) for group, row in rows for key, values in zip(group, row, strict=True)}


def _shown(history: Sequence[str]) -> tuple[str, ...]:
    """The last turns before a reply; of odd number, as a prompt wants."""
    turns = tuple(text.strip() for text in history)
    return turns[-TURNS:] if len(turns) % 2 else ("", *turns)[-TURNS:]


def reader_name(wanted: str = "auto") -> str:
    """The base that reads: the wanted one; of `auto` smollm2-135m where it is ready, else the bundled toy.

    Raises:
        ConfigError: there is no reader on that base.
    """
    name = next((n for n in NAMED if is_ready(n)), BUNDLED) if wanted == "auto" else wanted
    if name not in (BUNDLED, *NAMED):
        raise ConfigError(f"evaluation.model is {wanted!r}: choose auto, {', '.join(NAMED)} or {BUNDLED}")
    return name


def load_reader(wanted: str = "auto") -> Reader:
    """The reader on that base, loaded once in a process."""
    return _load(reader_name(wanted))


@lru_cache(maxsize=2)
def _load(name: str) -> Reader:
    if name == BUNDLED:
        # The toy notices little. Measured on its own dialogues: .86 of replies to other turns pass as answers.
        return Reader(load_roles(ModelSettings(base=name)), None, name)
    # An adapter tells answers from other replies better. Measured: AUC .93 with an SFT role, .87 with the base.
    folder = Path(str(importlib.resources.files("selfsame") / "model" / "bundled" / "reader"))
    saved = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    lora = LoraSettings(rank=saved["r"], alpha=saved["lora_alpha"], targets=tuple(sorted(saved["target_modules"])))
    roles = load_roles(ModelSettings(base=name, lora=lora))
    roles.load(_ROLE, folder)
    return Reader(roles, _ROLE, f"{name} + reader")
