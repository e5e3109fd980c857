"""Evaluated systems of runs as they are named on a command line: `RUN`, `RUN:SYSTEM`, or several runs of one recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from selfsame.errors import ConfigError, RunError
from selfsame.run.directory import RunDirectory
from selfsame.run.records import (
    CostRecord,
    EnvironmentRecord,
    EvaluationRecord,
    InheritedRecord,
    RewardRecord,
    read_record,
)
from selfsame.systems import LATEST


@dataclass(frozen=True)
class Machine:
    """What times depend on."""

    cpu: str | None
    cores: int | None
    gpus: list[Any] | None


@dataclass(frozen=True)
class System:
    """One system of a run, and what its run recorded.

    Attributes:
        name: `directory:system`, unlike that of the others.
        path: of the run.
        system: its name in the run.
        evaluation: of it.
        cost: of the run.
        reward: the run's reward model, where it was measured.
        config: of the run.
        machine: None where the run took over stages that were trained on another one.
        dtypes: the number formats that it and those stages are known to have been computed in.
    """

    name: str
    path: Path
    system: str
    evaluation: EvaluationRecord
    cost: CostRecord
    reward: RewardRecord | None
    config: dict[str, Any]
    machine: Machine | None
    dtypes: frozenset[str]


Recipes = Mapping[str, Sequence[System]]
"""Name -> one system, or the same one of several runs that differ in their seed."""


def read_recipes(runs: Sequence[str], groups: Sequence[str]) -> dict[str, list[System]]:
    """The systems under the names that they have in tables, in the order given, groups last."""
    named = [("", [text]) for text in runs]
    for group in groups:
        name, _, members = group.partition("=")
        named.append((name.strip(), [text.strip() for text in members.split(",") if text.strip()]))
        if not name.strip() or len(named[-1][1]) < 2:
            raise ConfigError(f"--group {group}: give a name and two or more runs, NAME=RUN[:SYSTEM],RUN[:SYSTEM]")
    if len(named) < 2:
        raise ConfigError("there is nothing to compare: give two or more RUN[:SYSTEM] before other options, or groups")
    systems = iter(_with_names([_read(text) for _, members in named for text in members]))
    found: dict[str, list[System]] = {}
    for group, members in named:
        own = [next(systems) for _ in members]
        if len({system.system for system in own}) > 1:
            raise ConfigError(
                f"--group {group} mixes {', '.join(s.name for s in own)}: name the same system of each run"
            )
        name = f"{group} ({len(own)} seeds)" if group else own[0].name
        if name in found:
            raise ConfigError(f"there are two groups {name}: give each a name of its own")
        found[name] = own
    return found


def _read(text: str) -> System:
    head, colon, tail = text.rpartition(":")
    path, wanted = (head, tail) if colon and not Path(text).is_dir() else (text, None)
    run = RunDirectory.open(path)
    there = sorted(file.stem for file in (run.path / "eval").glob("*.json"))
    if not there:
        raise RunError(f"{path} has not been evaluated: give the command that made it with --run.stages evaluate")
    if wanted is not None and wanted not in there:
        raise RunError(f"{path} has no evaluation of {wanted!r}: there is {', '.join(there)}")
    system = wanted or next((name for name in LATEST if name in there), there[-1])
    reward, environment = run.path / "reward.json", run.environment_path
    here = read_record(environment, EnvironmentRecord) if environment.exists() else EnvironmentRecord()
    there_too = read_record(run.inherited_path, InheritedRecord).environment if run.inherited_path.exists() else here
    return System(
        name=text,
        path=run.path,
        system=system,
        evaluation=read_record(run.eval_path(system), EvaluationRecord),
        cost=read_record(run.cost_path, CostRecord) if run.cost_path.exists() else CostRecord(),
        reward=read_record(reward, RewardRecord) if reward.exists() else None,
        config=run.config(),
        machine=_machine(here) if _machine(here) == _machine(there_too) else None,
        dtypes=frozenset(known.dtype for known in (here, there_too) if known.dtype),
    )


def _machine(environment: EnvironmentRecord) -> Machine:
    return Machine(environment.cpu, environment.cores, environment.gpus)


def _with_names(systems: Sequence[System]) -> list[System]:
    """Named with as many folders in front as tell them apart."""
    whole = [(system.path.resolve().parts, system.system) for system in systems]
    for index, one in enumerate(whole):
        if one in whole[:index]:
            raise ConfigError(f"{systems[index].path}:{one[1]} is named twice: give each system once")
    names: list[str] = []
    for depth in range(1, 1 + max(len(parts) for parts, _ in whole)):
        names = [f"{'/'.join(parts[-depth:])}:{system}" for parts, system in whole]
        if len(set(names)) == len(names):
            break
    return [replace(system, name=name) for system, name in zip(systems, names, strict=True)]
