"""Advice that makes a configuration fit: one setting after another, each tried by planning again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from selfsame.config import Config, merge_configs
from selfsame.errors import ConfigError, DataError
from selfsame.model.concurrent import CPU_TOKENS, passes_at_once
from selfsame.plan.estimate import Plan, StagePlan, make_probe, plan
from selfsame.plan.hardware import Hardware
from selfsame.plan.stages import Probe

ROUNDS = 24
"""Plans tried at most."""
SMALLEST_BUDGET, SHORTEST_CONTEXT, LOWEST_RANK, FEWEST_REPLIES = 256, 256, 4, 8
"""Below these another setting is tried."""
Change = tuple[str, Any]
"""Dotted name of a setting and its new value."""


@dataclass(frozen=True)
class Advice:
    """`changes`: setting -> (value now, value to give); `plan`: with them. If that does not fit either, no change does."""

    changes: dict[str, tuple[Any, Any]]
    plan: Plan

    def arguments(self) -> str:
        """As options of the command line."""
        return " ".join(f"--{name.replace('_', '-')} {str(new).lower()}" for name, (_, new) in self.changes.items())


def advise(config: Config, hardware: Hardware, hours: float | None = None, probe: Probe | None = None) -> Advice:
    """Changes until the run fits in memory, then in the hours; the least harmful to what is learned first. `probe`: of the
    configuration's model, if there is one already."""
    search = _Search(hardware, hours, probe or make_probe(config, hardware))
    now, current = config, search.plan(config)
    for _ in range(ROUNDS):
        better = next(search.better(now, current), None) if current.too_large else None
        if better is None:
            break
        now, current = better
    if not current.too_large and not current.in_time:
        now, current = search.shorter(now, current)
    return Advice(_differences(config, now), current)


class _Search:
    """Plans of changed configurations; what was measured on a model is kept."""

    def __init__(self, hardware: Hardware, hours: float | None, probe: Probe) -> None:
        self.hardware, self.hours, self.probe = hardware, hours, probe

    def plan(self, config: Config) -> Plan:
        if self.probe.config.model != config.model:
            same = self.probe.config.model.max_length == config.model.max_length
            self.probe = make_probe(config, self.hardware, self.probe.work if same else None)
        return plan(config, self.hardware, self.hours, probe=self.probe)

    def better(self, config: Config, current: Plan) -> Iterator[tuple[Config, Plan]]:
        """Configurations whose largest stage takes noticeably less."""
        stage = max(current.too_large, key=lambda s: s.total)
        for name, value in _remedies(config, stage, self.hardware):
            try:
                changed = merge_configs(config, _nested(name, value))
                made = self.plan(changed)
            except (ConfigError, DataError):  # settings that do not fit together, or no dialogue that fits
                continue
            after = next(s for s in made.stages if s.stage == stage.stage)
            if after.total - after.runtime < 0.99 * (stage.total - stage.runtime):
                yield changed, made

    def shorter(self, config: Config, current: Plan) -> tuple[Config, Plan]:
        """The same share of the steps of every stage, of the pairs and of the test prompts."""
        assert self.hours is not None
        share, found = 1.0, (config, current)
        for _ in range(6):
            share *= 0.98 * min(1.0, self.hours * 3600 / found[1].seconds)
            changed = merge_configs(config, *(_nested(*change) for change in _fewer(config, current, share)))
            found = changed, self.plan(changed)
            if found[1].in_time:
                break
        return found


def _remedies(config: Config, stage: StagePlan, hardware: Hardware) -> Iterator[Change]:
    """For a stage that is too large, the mildest first: smaller passes, fewer bits, then less to learn with."""
    model, fixed = config.model, stage.weights + stage.adapters + stage.runtime
    if fixed < hardware.memory:
        yield from _smaller_passes(config, stage, hardware.is_cpu)
    if model.dtype == "float32" and hardware.dtype != "float32":
        yield "model.dtype", hardware.dtype
    packable = not (model.four_bit or model.shard or hardware.is_cpu)
    if packable and stage.weights > 0.3 * hardware.memory:
        yield "model.four_bit", True
    if stage.adapters > 0.1 * hardware.memory:
        if stage.stage == "ppo" and config.training.ppo.value_source == "adapter":
            yield "training.ppo.value_model", "policy_states"
        if model.lora.rank > LOWEST_RANK:
            yield "model.lora.rank", model.lora.rank // 2
    if model.max_length > SHORTEST_CONTEXT and fixed < hardware.memory:
        yield "model.max_length", max(SHORTEST_CONTEXT, model.max_length // 2)
    if packable:
        yield "model.four_bit", True


def _smaller_passes(config: Config, stage: StagePlan, on_cpu: bool) -> Iterator[Change]:
    name = stage.stage
    if stage.cache > stage.activations + stage.logits:
        if name == "evaluate" and config.sampling.batch_size > FEWEST_REPLIES:
            yield "sampling.batch_size", config.sampling.batch_size // 2
        if name == "ppo" and config.training.ppo.prompts_per_step > 1:
            yield "training.ppo.prompts_per_step", config.training.ppo.prompts_per_step // 2
    elif name != "evaluate":
        settings = getattr(config.training, name)
        budget = settings.token_budget
        if on_cpu:  # what of it is used
            budget = min(budget, CPU_TOKENS * passes_at_once(budget // CPU_TOKENS or 1, budget))
        if budget > SMALLEST_BUDGET:
            yield f"training.{name}.token_budget", max(SMALLEST_BUDGET, budget // 2)


def _fewer(config: Config, current: Plan, share: float) -> Iterator[Change]:
    for stage in current.stages:
        steps = max(1, math.floor(stage.steps * share))
        if stage.stage == "ppo":
            yield "training.ppo.steps", steps
        elif stage.stage == "evaluate":
            yield "evaluation.consistency_size", max(1, math.floor(config.evaluation.consistency_size * share))
            yield "evaluation.engagement_size", max(1, math.floor(config.evaluation.engagement_size * share))
            if config.evaluation.best_of > 1 and share < 0.5:
                yield "evaluation.best_of", 0
            if config.evaluation.selfplay_size and share < 0.5:  # one dialogue takes nearly as long as many
                yield "evaluation.selfplay_size", 0
        else:
            yield f"training.{stage.stage}.max_steps", steps
    if {"reward", "dpo"} & set(config.run.stages):
        yield "pairs.count", max(10, math.floor(config.pairs.count * share))
        yield "pairs.validation_count", max(10, math.floor(config.pairs.validation_count * share))


def _nested(name: str, value: Any) -> dict[str, Any]:
    for part in reversed(name.split(".")):
        value = {part: value}
    return value


def _differences(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    before, after = _flat(old.model_dump()), _flat(new.model_dump())
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found
