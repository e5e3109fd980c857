"""Memory and time of every stage of a run on given hardware, before anything is loaded."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from selfsame.config import Config
from selfsame.model.concurrent import USUAL_BUDGET, passes_at_once
from selfsame.plan.hardware import DECODING_SHARE, EFFICIENCY_SOURCE, TRAINING_SHARE, Hardware
from selfsame.plan.probe import Decoding
from selfsame.plan.skeleton import base_parameters, find_processor, role_parameters, skeleton, weight_bytes
from selfsame.plan.stages import ENGINE_BATCH, UNCALLED, Groups, Probe, compared_share
from selfsame.plan.workload import Workload, workload
from selfsame.systems import BEST_OF_N, SINGLE, STAGES, SYSTEMS
from selfsame.training.loop import step_count

RUNTIME = {True: 0.55 * 2**30, False: 1.0 * 2**30}
"""Bytes beside the tensors. CPU (True): PyTorch and the libraries, loaded
(0.50 to 0.58 GiB in runs of tiny models). GPU: CUDA's context and libraries, and what the
allocator cannot use for being in pieces: an allowance, not measured."""


@dataclass(frozen=True)
class StagePlan:
    """One stage on one device. Bytes: `weights` of the frozen base; `adapters` of all roles there with gradients and Adam's
    moments; `activations` of the passes at hand (the vocabulary's apart: `logits`); `cache` of keys and values with what
    sampling takes beside it; `runtime`. Activations and cache are not there at once: `total` holds the larger. `seconds`:
    of the whole stage, `steps` of it."""

    stage: str
    weights: float
    adapters: float
    activations: float
    logits: float
    cache: float
    runtime: float
    steps: int
    seconds: float

    @property
    def total(self) -> float:
        return self.weights + self.adapters + max(self.activations + self.logits, self.cache) + self.runtime


@dataclass(frozen=True)
class Plan:
    """What a run takes. `parameters` of the base, `trainable` of one role; `memory`: bytes of a device; `hours`: allowed, if
    limited; `notes`: what was assumed."""

    model: str
    dtype: str
    hardware: str
    count: int
    parameters: int
    trainable: int
    memory: float
    hours: float | None
    stages: tuple[StagePlan, ...]
    notes: tuple[str, ...]

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)

    @property
    def too_large(self) -> tuple[StagePlan, ...]:
        """The stages that take more memory than there is."""
        return tuple(stage for stage in self.stages if stage.total > self.memory)

    @property
    def in_time(self) -> bool:
        return self.hours is None or self.seconds <= self.hours * 3600

    @property
    def fits(self) -> bool:
        """In memory, and in the hours if they are limited."""
        return not self.too_large and self.in_time

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        stages = [asdict(stage) | {"total": stage.total} for stage in self.stages]
        return asdict(self) | {"stages": stages, "seconds": self.seconds, "fits": self.fits}


def plan(
    config: Config,
    hardware: Hardware,
    hours: float | None = None,
    work: Workload | None = None,
    probe: Probe | None = None,
) -> Plan:
    """Memory and time of the stages in `config.run.stages` on this hardware. Needs the model's configuration only, not its
    weights. `work`: lengths that are known already (None: read from the data, or assumed); `probe`: of the same model.

    Raises:
        ConfigError: the model's configuration is not there or does not fit the settings.
        DataError: the data cannot be used.
    """
    probe = probe or make_probe(config, hardware, work)
    planner = _Planner(config, hardware, probe)
    stages = tuple(planner.stage(name) for name in sorted(set(config.run.stages) - {"data"}, key=_ORDER.index))
    return Plan(
        model=config.model.base,
        dtype="4-bit, " * config.model.four_bit + planner.dtype,
        hardware=hardware.name,
        count=hardware.count,
        parameters=sum(p.numel() for p in base_parameters(probe.roles).values()),
        trainable=max(planner.present.values(), default=0),
        memory=hardware.memory,
        hours=hours,
        stages=stages,
        notes=planner.notes(),
    )


def sampling_plan(config: Config, probe: Probe, prompts: int, samples: int, length: int) -> StagePlan:
    """One step that samples so many replies of `length` tokens to each of the prompts with the `sft` role, and does nothing
    else."""
    planner = _Planner(config, probe.hardware, probe)
    probe.prepare("sft")
    batch = min(prompts, max(1, ENGINE_BATCH // samples))
    decoding = probe.decoding("sft", batch * samples, samples, length)
    seconds = planner.sampling(decoding, length) * prompts / batch
    runtime = RUNTIME[probe.hardware.is_cpu]
    adapters = 4.0 * role_parameters(probe.roles, "sft")
    cache = planner.at_once(prompts / batch) * decoding.peak
    return StagePlan("sampling", planner.weights, adapters, 0.0, 0.0, cache, runtime, 1, seconds)


def make_probe(config: Config, hardware: Hardware, work: Workload | None = None) -> Probe:
    """The configuration's model without weights, and the lengths of its data (if not `work`)."""
    processor = find_processor(config.model)
    roles = skeleton(config.model, hardware, processor)
    return Probe(config, hardware, roles, work or workload(config, processor))


_ORDER = ("sft", "reward", "ppo", "dpo", "evaluate")


class _Planner:
    """One pass over the stages."""

    def __init__(self, config: Config, hardware: Hardware, probe: Probe) -> None:
        self.config, self.hardware, self.probe, self.work = config, hardware, probe, probe.work
        self.dtype = str(probe.roles.base.dtype).removeprefix("torch.")
        self.read = weight_bytes(probe.roles, config.model.four_bit)
        self.weights = weight_bytes(probe.roles, config.model.four_bit, hardware.count if config.model.shard else 1)
        self.present: dict[str, int] = {}
        """Parameters of the roles that were made so far."""

    def stage(self, name: str) -> StagePlan:
        needed = STAGES[name].needs
        if name == "evaluate":
            needed = sorted(set().union(*(SYSTEMS[system].roles for system in self._systems())))
        self.probe.prepare(*needed)
        self.present |= {role: role_parameters(self.probe.roles, role) for role in needed}
        made = partial(StagePlan, name, self.weights, runtime=RUNTIME[self.hardware.is_cpu])
        return {"ppo": self._ppo, "evaluate": self._evaluation}.get(name, partial(self._supervised, name))(made)

    # --- stages ------------------------------------------------------------------------------------------------------

    def _supervised(self, name: str, made: Any) -> StagePlan:
        """SFT, the reward model, DPO."""
        settings, count = getattr(self.config.training, name), self.hardware.count
        pairs = self.config.pairs
        reward = self.config.training.reward
        more = reward.sampled_share + compared_share(reward)
        items = self.work.sides if name == "sft" else round(pairs.count * (1 + more))
        steps = step_count(items, settings.batch_size, settings.epochs, settings.max_steps)
        groups = self.probe.groups(name, self.config)
        held_out = min(settings.validation_size, self.work.held_out) if name == "sft" else pairs.validation_count
        evaluations = steps // settings.eval_every + 1
        reading = evaluations * self._reading(groups) * held_out / settings.batch_size / (count if name == "sft" else 1)
        reading += steps * self._reading(groups) * (name == "dpo")  # the reference
        cache, sampling = 0.0, 0.0
        if name != "sft":
            compared = (1 - UNCALLED) * bool(reward.comparison_share) + UNCALLED * bool(reward.off_topic_share)
            each = reward.sampled_share + compared * reward.comparison_samples
            replies = (pairs.count + pairs.validation_count) * each / count
            replies += reward.normalise_samples * (name == "reward")
            length = min(self.config.training.ppo.max_new_tokens, self.config.model.max_length // 2)
            decoding = self.probe.decoding("sft", ENGINE_BATCH, 1, length)
            cache = self.at_once(replies / ENGINE_BATCH) * decoding.peak
            sampling = self.sampling(decoding, length) * replies / ENGINE_BATCH
        trained = {"dpo": "policy"}.get(name, name)
        seconds = steps * self._learning(groups) + reading + sampling
        return self._made(made, groups, self._adapters(trained), cache, steps, seconds)

    def _ppo(self, made: Any) -> StagePlan:
        s, count = self.config.training.ppo, self.hardware.count
        groups = self.probe.groups("ppo", self.config)
        prompts, batch = math.ceil(s.prompts_per_step / count), max(1, ENGINE_BATCH // s.samples_per_prompt)
        decoding = self.probe.decoding(
            "policy", min(batch, prompts) * s.samples_per_prompt, s.samples_per_prompt, s.max_new_tokens
        )
        sampling = self.sampling(decoding, s.max_new_tokens) * prompts / min(batch, prompts)
        passes = 2 + (s.value_source in ("adapter", "policy_states"))  # reward, reference, value
        policy = self._reading(groups) / (2 if s.value_source == "adapter" else 1)
        seconds = s.steps * (sampling + passes * policy + s.epochs * self._learning(groups))
        trained = ("policy", "value") if s.value_source else ("policy",)
        cache = self.at_once(prompts / batch) * decoding.peak
        return self._made(made, groups, self._adapters(*trained), cache, s.steps, seconds)

    def _evaluation(self, made: Any) -> StagePlan:
        """Every process does all of it."""
        s, sampling, best_of = self.config.evaluation, self.config.sampling, self.config.evaluation.best_of
        several = len({*BEST_OF_N} & self._systems())
        systems = len(self._systems()) - several
        one, kept = self._speaking(1)
        best, more = self._speaking(best_of) if several else (0.0, 0.0)
        ranking = self.probe.ranking()
        compute = self._compute(ranking.forward, ranking.kernels) / ranking.tokens
        prompt, replies = self.probe.candidates()
        tokens = s.engagement_size * (len(prompt) + sum(map(len, replies))) + s.perplexity_size * len(
            self.work.dialogues[-1].ids
        )
        judged = best_of * sampling.max_new_tokens + len(prompt)  # tokens that the reward model reads for a reply
        answered = 2 * s.consistency_size + s.engagement_size + 2 * s.selfplay_turns * s.selfplay_size
        seconds = (systems + several) * compute * tokens + systems * one
        seconds += several * (best + compute * judged * answered)
        return made(
            adapters=4.0 * sum(self.present.values()),
            activations=self.at_once(s.engagement_size) * (ranking.peak - ranking.vocabulary),
            logits=self.at_once(s.engagement_size) * ranking.vocabulary,
            cache=max(kept, more),
            steps=systems + several,
            seconds=seconds,
        )

    def _systems(self) -> set[str]:
        """Those that are evaluated: named, or all that the stages train."""
        found = {"base", *self.config.run.stages} & {*SINGLE}
        if self.config.evaluation.best_of > 1 and "reward" in self.config.run.stages:
            found |= {name for name in BEST_OF_N if SYSTEMS[name].stage in found}
        return set(self.config.run.systems) or found

    def _speaking(self, n: int) -> tuple[float, float]:
        """(seconds of sampling n replies to everything that an evaluated system answers, the most that it keeps meanwhile)."""
        s, sampling = self.config.evaluation, self.config.sampling
        length, batch = sampling.max_new_tokens, max(1, sampling.batch_size // n)
        decoding = self.probe.decoding(None, batch * n, n, length)
        batches = (2 * s.consistency_size + s.engagement_size) / batch
        seconds = self.sampling(decoding, length) * batches
        if s.selfplay_size:  # turn by turn, all dialogues together
            together = min(s.selfplay_size, batch)
            talking = self.sampling(self.probe.decoding(None, together * n, n, length), length)
            seconds += 2 * s.selfplay_turns * talking * s.selfplay_size / together
        return seconds, self.at_once(batches) * decoding.peak

    def _made(self, made: Any, groups: Groups, adapters: float, cache: float, steps: int, seconds: float) -> StagePlan:
        worst, at_once = groups.worst, self.at_once(groups.count, groups.token_budget)
        return made(
            adapters=adapters,
            activations=at_once * (worst.peak - worst.vocabulary),
            logits=at_once * worst.vocabulary,
            cache=cache,
            steps=steps,
            seconds=seconds,
        )

    def at_once(self, passes: float, token_budget: int = USUAL_BUDGET) -> int:
        """How many of so many passes are under way at a time, and need memory."""
        return max(1, passes_at_once(math.ceil(passes), token_budget)) if self.hardware.is_cpu else 1

    def _adapters(self, *trained: str) -> float:
        """Bytes of all roles, and of those trained gradients and two moments; all in float32."""
        self.present |= {role: role_parameters(self.probe.roles, role) for role in trained}
        return 4.0 * (sum(self.present.values()) + 3 * sum(self.present[role] for role in trained))

    # --- time --------------------------------------------------------------------------------------------------------

    def _compute(self, operations: float, kernels: float, share: float = TRAINING_SHARE) -> float:
        """Seconds: as fast as the products are, or as operations can be started, which a GPU does meanwhile."""
        peak = self.hardware.peak.get(self.dtype, self.hardware.peak["float32"])
        products, starts = operations / (peak * share), kernels * self.hardware.launch
        return products + starts if self.hardware.is_cpu else max(products, starts)

    def _learning(self, groups: Groups) -> float:
        """Seconds of a batch, forward and backward."""
        worst = groups.worst
        return self._compute(
            (worst.forward + worst.backward) * groups.tokens / worst.tokens,
            worst.kernels * groups.count + groups.optimiser,
        )

    def _reading(self, groups: Groups) -> float:
        """Seconds of a batch, forward only."""
        worst = groups.worst
        return self._compute(worst.forward * groups.tokens / worst.tokens, worst.kernels * groups.count / 3)

    def sampling(self, decoding: Decoding, length: int) -> float:
        """Seconds of a batch of replies of full length; each step reads all weights and the cache."""
        share, read = DECODING_SHARE, (self.read + decoding.cache) / self.hardware.bandwidth
        step = max(self._compute(decoding.step, decoding.kernels, share), read)
        return self._compute(decoding.prefill, decoding.kernels, share) + (length - 1) * step

    def notes(self) -> tuple[str, ...]:
        """What the numbers rest on."""
        hardware = self.hardware
        notes = [
            self.work.source,
            "replies are counted at full length (max_new_tokens)",
            f"hardware: {hardware.source}",
            f"share of the peak: {EFFICIENCY_SOURCE}",
            "memory is an estimate too (tests hold it to a factor of 1.5 of what trainers keep on a CPU): leave some room",
        ]
        how = "measured" if hardware.is_cpu else "assumed"
        notes.append(f"an operation takes {hardware.launch * 1e6:.0f} microseconds at least ({how})")
        if self.dtype not in hardware.peak:
            notes.append(f"{hardware.name} has no {self.dtype} arithmetic: it would be as slow as float32, or slower")
        if self.config.model.shard and hardware.count > 1:
            notes.append("a split base has to be gathered for every pass, which takes time that is not counted here")
        return tuple(notes)
