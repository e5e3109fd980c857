"""From `--grid NAME=VALUE,VALUE` to the runs of a sweep."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfsame.config import Config, check, merge_configs, parse_values
from selfsame.errors import ConfigError
from selfsame.run.files import dotted
from selfsame.run.inherit import DEPENDS_ON
from selfsame.run.settings import is_free
from selfsame.systems import STAGES

MOST = 100
"""Runs of a sweep. More are a mistype, or a search that reads noise: the best of many is best by chance."""


@dataclass(frozen=True)
class Variant:
    """One run of a sweep.

    Attributes:
        name: of its folder; it says the settings that differ.
        values: those settings, by dotted name.
        config: all settings.
    """

    name: str
    values: Mapping[str, Any]
    config: Config

    def recipe(self) -> str:
        """Say the settings that differ, but for the seed."""
        names = short_names([*self.values])
        return ", ".join(f"{names[key]} {value}" for key, value in self.values.items() if key != "seed")


def read_grid(texts: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Read `NAME=VALUE,VALUE` each.

    Returns:
        dotted name -> a nested difference for each of its values.

    Raises:
        ConfigError: no setting, a value that it cannot have, a setting that changes no bot or is given twice.
    """
    grid: dict[str, list[dict[str, Any]]] = {}
    for text in texts:
        flag, equals, values = text.partition("=")
        if not equals or not values:
            raise ConfigError(
                f"--grid {text}: give a setting and its values, such as training.ppo.kl_coef=0.05,0.1,0.2"
            )
        differences = [parse_values([f"--{flag.removeprefix('--')}={value.strip()}"]) for value in values.split(",")]
        if problems := [line for difference in differences for line in check("--grid", difference)]:
            raise ConfigError("; ".join(problems))
        name = next(iter(dotted(differences[0])))
        if is_free(name) or name.startswith("evaluation."):
            raise ConfigError(
                f"--grid {text}: {name} changes no bot; sweep settings of data, model, training or sampling"
            )
        if name in grid:
            raise ConfigError(f"--grid gives {name} twice: write all of its values behind one =")
        grid[name] = differences
    return grid


def make_variants(config: Config, grid: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Variant]:
    """Make a run of every combination of values, the first setting varying slowest.

    Raises:
        ConfigError: fewer than two runs, too many, two that are equal, values that do not fit together, or a setting that no
            stage of the runs uses.
    """
    for name in grid:
        stage = name.split(".")[1] if name.startswith("training.") else ""
        users = {stage} | {other for other, settings in DEPENDS_ON.items() if name in settings}
        # The best of several replies is chosen by these weights.
        chooses = name.startswith("training.ppo.rewards.") and config.evaluation.best_of > 1
        if stage in STAGES and users.isdisjoint(config.run.stages) and not chooses:
            raise ConfigError(
                f"--grid {name}: the runs have no stage {stage} (run.stages: {' '.join(config.run.stages)});"
                " add it with --run.stages"
            )
    count = math.prod(len(values) for values in grid.values())
    if count < 2 or count > MOST:
        few = "give a setting with two values or more" if count < 2 else "give fewer values"
        raise ConfigError(f"--grid makes {count} run{'s' * (count != 1)}, 2 to {MOST} are allowed: {few}")
    names, found = short_names([*grid]), []
    for differences in itertools.product(*grid.values()):
        made = merge_configs(config, *differences)
        flat = dotted(made.model_dump(mode="json"))
        values = {key: flat[key] for key in grid}
        name = "_".join(f"{names[key]}={_in_a_name(value)}" for key, value in values.items())
        if any(name == other.name or made == other.config for other in found):
            raise ConfigError(f"--grid makes the run {name} twice: give each value once")
        found.append(Variant(name, values, made))
    return found


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each dotted name, or the whole where two of them end alike."""
    last = {key: key.rpartition(".")[2] for key in keys}
    return {key: name if [*last.values()].count(name) == 1 else key for key, name in last.items()}


def _in_a_name(value: Any) -> str:
    """As a folder may be called."""
    return re.sub(r"[^\w.+-]+", "-", str(value)).strip("-") or "none"
