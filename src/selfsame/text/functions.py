"""Functions of the user: `path/to/file.py:name` names one. It pays in PPO, chooses among the best of several, and measures.

    def short(prompts, replies, gold):
        return [1.0 if len(reply.split()) < 12 else 0.0 for reply in replies]

It gets N prompts (`Prompt`: persona and history), N replies and N human replies ("" where there is none), and returns N
floats; NaN means that a reply is not scored.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfsame.errors import ConfigError, RunError
from selfsame.types import Prompt

Total = Callable[[Sequence[Prompt], Sequence[str], Sequence[float]], list[float]]
"""Prompts, replies and the reward model's scores -> what each reply is worth."""


@dataclass(frozen=True)
class UserFunction:
    """A function of the user, with its name in settings and tables."""

    name: str
    function: Callable[..., Any] = field(repr=False, compare=False)

    @property
    def label(self) -> str:
        """Its name without the folders: the name of the metric."""
        path, _, function = self.name.rpartition(":")
        return f"{Path(path).name}:{function}"

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[str], gold: Sequence[str]) -> list[float]:
        """A number for each reply; NaN where it scores none.

        Raises:
            RunError: it fails, or gives something else than a finite number or NaN for each reply.
        """
        try:
            values = [float(value) for value in self.function(prompts, replies, gold)]
        except Exception as error:
            raise RunError(
                f"{self.name} failed with {type(error).__name__}: {error}; the first of the {len(replies)} replies was"
                f" {replies[0] if replies else ''!r:.80}. A run stands at its last checkpoint; run the same command again to"
                " resume"
            ) from error
        if len(values) != len(replies):
            raise RunError(f"{self.name} gave {len(values)} numbers for {len(replies)} replies")
        wrong = [reply for value, reply in zip(values, replies, strict=True) if math.isinf(value)]
        if wrong:
            raise RunError(f"{self.name} gave an infinite number for the reply {wrong[0]!r:.80}")
        return values


def load_function(name: str) -> UserFunction:
    """The function `path/to/file.py:name`.

    Raises:
        ConfigError: there is no such file or function, or the file cannot be executed.
    """
    path, _, function = name.rpartition(":")
    if not Path(path).is_file():
        raise ConfigError(f"{name}: there is no file {path} with a function {function}")
    unique = hashlib.sha256(str(Path(path).resolve()).encode()).hexdigest()[:8]
    spec = importlib.util.spec_from_file_location(f"selfsame_function_{Path(path).stem}_{unique}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"{name}: {path} fails: {type(error).__name__}: {error}") from error
    found: Any = getattr(module, function, None)
    if not callable(found):
        raise ConfigError(f"{name}: {path} has no function {function}")
    return UserFunction(name, found)


def load_functions(names: Sequence[str]) -> tuple[UserFunction, ...]:
    """Several functions, whose labels have to differ.

    Raises:
        ConfigError: one cannot be loaded, or two have the same label.
    """
    functions = tuple(map(load_function, names))
    labels = [function.label for function in functions]
    if twice := next((label for label in labels if labels.count(label) > 1), None):
        raise ConfigError(f"there are two functions {twice}: give one file or function another name")
    return functions


def digests(names: Sequence[str]) -> dict[str, str]:
    """A hash of each function's file: what was measured with it is out of date when it changes."""
    return {name: hashlib.sha256(Path(name.rpartition(":")[0]).read_bytes()).hexdigest()[:16] for name in names}


def weighted_sum(weights: Mapping[str, float], reward_weight: float = 1.0) -> Total | None:
    """What PPO pays, as far as it is known without people's replies: the weighted reward and these functions, each times its
    weight; what is not scored counts 0. None without functions."""
    if not weights:
        return None
    functions = {load_function(name): weight for name, weight in weights.items()}

    def total(prompts: Sequence[Prompt], replies: Sequence[str], scores: Sequence[float]) -> list[float]:
        sums = [reward_weight * score for score in scores]
        for function, weight in functions.items():
            values = function(prompts, replies, [""] * len(replies))
            sums = [s + weight * (0.0 if math.isnan(v) else v) for s, v in zip(sums, values, strict=True)]
        return sums

    return total
