"""What PPO's cheaper critics cost in reward: the same steps from the same `sft` and `reward` roles with each, over seeds.

    python -m benchmarks.critics run runs/spc --json benchmarks/results/critics.json
    python -m benchmarks.critics table benchmarks/results/critics.json

Every few steps the policy answers held-out prompts, always with the same random numbers: mean reward and KL to `sft`.
Policies are compared at equal KL, which is the largest that all of them reached, on the straight lines between those points.
What the JSON file holds already is not computed again.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from selfsame.config import load_config
from selfsame.data.generator import HELD_OUT, PreferenceGenerator
from selfsame.data.loader import DatasetLoader
from selfsame.model.roles import Roles, load_roles
from selfsame.report.tables import update_readme
from selfsame.rollout.collect import collect_rollout
from selfsame.run.checkpoint import finished
from selfsame.run.directory import RunDirectory, read_json, write_json
from selfsame.run.environment import describe_environment
from selfsame.training.loop import Optimiser, deterministic, update
from selfsame.training.ppo import PPOTrainer
from selfsame.types import Prompt

CRITICS = ("adapter", "reward", "policy", "none")
EVALUATION_SEED = 1_000_003
"""Of the replies to held-out prompts; no seed of training."""


@dataclass(frozen=True)
class Course:
    """How long and how often: `steps` of `prompts` prompts, held-out prompts answered every `every` steps."""

    steps: int
    prompts: int
    every: int
    held_out: int


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.critics", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run")
    command.add_argument("run", type=Path, help="directory of a run with the stages sft and reward")
    command.add_argument("--json", type=Path, required=True)
    command.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    command.add_argument("--critics", nargs="+", choices=CRITICS, default=CRITICS)
    command.add_argument("--steps", type=int, default=20)
    command.add_argument("--prompts", type=int, default=12, help="a step")
    command.add_argument("--every", type=int, default=5)
    command.add_argument("--held-out", type=int, default=64)
    command = commands.add_parser("table")
    command.add_argument("json", type=Path, nargs="+")
    command.add_argument("--readme", type=Path)
    command.add_argument("--marker", default="critics")
    options = parser.parse_args(arguments)
    if options.command == "run":
        _run(options)
    text = table([read_json(path) for path in ([options.json] if options.command == "run" else options.json)])
    print(text)
    if options.command == "table" and options.readme:
        update_readme(options.readme, options.marker, text)


def _run(options: argparse.Namespace) -> None:
    course = Course(options.steps, options.prompts, options.every, options.held_out)
    record: dict[str, Any] = {"course": vars(course), "environment": describe_environment(), "runs": {}}
    if options.json.exists():
        record = read_json(options.json)
        if record["course"] != vars(course):
            raise SystemExit(f"{options.json} holds runs of another course: {record['course']}")
    config = load_config(options.run / "config.yaml")
    data = DatasetLoader(config.data).load()
    roles = load_roles(config.model, config.seed)
    for stage, role in (("sft", "sft"), ("reward", "reward")):
        checkpoint = finished(RunDirectory(options.run), stage)
        if checkpoint is None:
            raise SystemExit(f"{options.run} holds no finished stage {stage}")
        roles.load(role, checkpoint / role)
    prompts = PreferenceGenerator(data.train, config.pairs, config.seed).extract_prompts(course.steps * course.prompts)
    held_out = PreferenceGenerator(data.validation, config.pairs, HELD_OUT).extract_prompts(course.held_out)
    for seed in options.seeds:
        for critic in options.critics:
            key = f"{critic}/{seed}"
            if key not in record["runs"]:
                settings = config.training.ppo.model_copy(
                    update={"critic": critic, "steps": course.steps, "prompts_per_step": course.prompts}
                )
                record["runs"][key] = _train(roles, prompts, held_out, settings, seed, course.every)
                write_json(options.json, record)
                print(key, record["runs"][key]["points"][-1], flush=True)


def _train(
    roles: Roles, prompts: list[Prompt], held_out: list[Prompt], settings: Any, seed: int, every: int
) -> dict[str, Any]:
    trainer = PPOTrainer(roles, prompts=prompts, settings=settings, seed=seed)
    trainer.begin()  # the roles are those of the course before
    optimiser = Optimiser(roles, trainer.trained, settings, settings.steps)
    points = [{"step": 0, **_measure(trainer, held_out)}]
    with deterministic():
        for step in range(settings.steps):
            metrics = update(trainer, optimiser, trainer.collect(step), step)
            if (step + 1) % every == 0:
                known = {"explained_variance": metrics["explained_variance"], "kl_coef": metrics["kl_coef"]}
                points.append({"step": step + 1, **_measure(trainer, held_out), **known})
    return {"points": points}


def _measure(trainer: PPOTrainer, prompts: list[Prompt]) -> dict[str, float]:
    """Mean reward of four replies to each held-out prompt, and their mean KL, nats a reply (as PPO estimates it)."""
    s, processor = trainer.settings, trainer.roles.processor
    encoded = [processor.encode_prompt(p, s.max_new_tokens) for p in prompts]
    rollout = collect_rollout(
        trainer.engine,
        trainer.reward_model,
        encoded,
        4,
        s.max_new_tokens,
        s.temperature,
        EVALUATION_SEED,
        0,
        s.token_budget,
        None,
    )
    kl_NR = (rollout.logprobs_NR - rollout.ref_logprobs_NR) * rollout.reply_mask_NR
    return {"reward": float(trainer.scores(rollout).mean()), "kl": float(kl_NR.sum(1).mean())}


def table(records: Sequence[dict[str, Any]]) -> str:
    """Markdown: mean over seeds with a 95 % t interval, and the paired difference from the critic with its own adapter."""
    runs = {key: run for record in records for key, run in record["runs"].items()}
    seeds = sorted({key.partition("/")[2] for key in runs})
    whole = [seed for seed in seeds if all(f"{critic}/{seed}" in runs for critic in CRITICS)]
    common = min(max(p["kl"] for p in runs[f"{c}/{s}"]["points"]) for c in CRITICS for s in whole)
    lines = [
        f"| critic | reward at a KL of {common:.2f} | less that of its own adapter | final reward | final KL |",
        "|---|---:|---:|---:|---:|",
    ]
    at_equal = {c: [_reward_at(runs[f"{c}/{s}"]["points"], common) for s in whole] for c in CRITICS}
    for critic in CRITICS:
        mine = [runs[f"{critic}/{seed}"] for seed in whole]
        difference = [a - b for a, b in zip(at_equal[critic], at_equal["adapter"], strict=True)]
        cells = [
            critic,
            _mean(at_equal[critic]),
            "–" if critic == "adapter" else _mean(difference),
            _mean([run["points"][-1]["reward"] for run in mine]),
            _mean([run["points"][-1]["kl"] for run in mine]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    course = records[0]["course"]
    tail = f"{len(whole)} seeds, {course['steps']} steps of {course['prompts']} prompts with several replies each; rewards of"
    return "\n".join([*lines, "", f"{tail} {4 * course['held_out']} replies to {course['held_out']} held-out prompts."])


def _reward_at(points: Sequence[dict[str, float]], kl: float) -> float:
    """The reward where the course first reaches this KL, on straight lines between the points."""
    for before, after in pairwise(points):
        if before["kl"] <= kl <= after["kl"]:
            return float(np.interp(kl, (before["kl"], after["kl"]), (before["reward"], after["reward"])))
    raise ValueError(f"no point of the course has a KL of {kl}")


def _mean(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.3f}"
    half = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return (
        f"{statistics.fmean(values):.3f} [{statistics.fmean(values) - half:.3f}, {statistics.fmean(values) + half:.3f}]"
    )


if __name__ == "__main__":
    main()
