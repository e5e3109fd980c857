"""How far a policy has to move to keep its persona more often, at the least: what SFT's own samples say.

    python -m benchmarks.tilt run runs/spc --json benchmarks/results/tilt.json
    python -m benchmarks.tilt table benchmarks/results/tilt.json [--readme FILE --marker tilt]

Of all policies that are consistent with a wanted probability, the one nearest to SFT (least KL) multiplies the odds of its
being consistent on each prompt by the same factor e^t (its tilt) and changes nothing else (Csiszar 1975). From several samples
to each held-out prompt, t and that least KL follow. The same tilt on prompts from anywhere in mid-dialogue, where nothing says
whether the persona is called for, tells how often such a policy would speak of itself there, and by how much it would find
people's replies less likely: an illustration, no bound, for a policy may know better than SFT when the persona is called for.
Where no sample is consistent the chance is taken as half a sample's, so the KL of high goals is too small, more so with fewer
`--samples` (for .85, of the run in docs/log: .49 from 4, .55 from 8, .60 from 16) and with a model that more often has none.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selfsame.arguments import check_writable
from selfsame.config import load_config
from selfsame.data.generator import HELD_OUT, PreferenceGenerator, TestItem
from selfsame.data.loader import DatasetLoader, half
from selfsame.eval.benchmark import fits
from selfsame.eval.judge import load_judge
from selfsame.eval.persona import PersonaEvaluator
from selfsame.model.base import get_model_info
from selfsame.model.roles import Roles, load_roles
from selfsame.report.tables import markdown_grid, update_readme
from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.sampler import uniforms
from selfsame.run.checkpoint import finished
from selfsame.run.directory import RunDirectory, read_json, write_json
from selfsame.run.environment import describe_environment
from selfsame.run.logger import Progress

GOALS = (0.6, 0.7, 0.8, 0.85, 0.9)
AT_ONCE = 64


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser_of("tilt", __doc__, help="directory of a run with a finished SFT").parse_args(arguments)
    if options.command == "run":
        check_writable(str(options.json))
        write_json(options.json, measure(RunDirectory.open(options.runs), options.prompts, options.samples))
    else:
        put(options, table)


def parser_of(name: str, about: str | None, **runs: Any) -> argparse.ArgumentParser:
    """The commands `run RUNS --prompts --samples --json` and `table JSON --readme --marker`. `runs`: how RUNS are read."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=(about or "").split("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run")
    command.add_argument("runs", metavar="RUN", type=Path, **runs)
    command.add_argument("--prompts", type=int, default=150)
    command.add_argument("--samples", type=int, default=32, help="replies to each prompt")
    command.add_argument("--json", type=Path, required=True)
    command = commands.add_parser("table")
    command.add_argument("json", type=Path)
    command.add_argument("--readme", type=Path)
    command.add_argument("--marker", default=name)
    return parser


def put(options: argparse.Namespace, table: Callable[[dict[str, Any]], str]) -> None:
    """Prints the table of a record and, where one is named, puts it into a file."""
    text = table(read_json(options.json))
    if options.readme:
        update_readme(options.readme, options.marker, text)
    print(text)


def measure(run: RunDirectory, prompts: int, samples: int) -> dict[str, Any]:
    """`{base, parameters, called: [row], talk: [row], samples, temperature, environment}`, a row for each prompt: the share of
    samples that are consistent (`p`) or draw on a trait (`telling`); the gold reply's `tokens`, whether it draws on a trait
    (`drawn`), and the `dialogue`."""
    config = load_config(run.config_path)
    checkpoint = finished(run, "sft")
    if checkpoint is None:
        raise SystemExit(f"{run.path} has no finished SFT")
    people = half(DatasetLoader(config.data).load().validation, "choose")
    generator = PreferenceGenerator(people, config.pairs, HELD_OUT + 1)
    tests = generator.create_test_sets(prompts, prompts)
    roles = load_roles(config.model, config.seed)
    parameters = get_model_info(roles.base).parameters  # before PEFT puts adapters among them
    roles.load("sft", checkpoint / "sft")
    evaluator = PersonaEvaluator(generator.matcher, judge=load_judge(config.evaluation.judge))
    found = {}
    for name, items in (("called", tests.consistency), ("talk", tests.engagement)):
        fitting = [item for item in items if fits(roles, item.prompt, config.training.ppo.max_new_tokens)]
        replies = _sample(roles, fitting, samples, config.training.ppo.max_new_tokens, config.training.ppo.temperature)
        rows = [_row(evaluator, roles, item, said) for item, said in zip(fitting, replies, strict=True)]
        found[name] = [row for row in rows if not math.isnan(row["telling"])]  # a persona that cannot be drawn on
    return found | {
        "base": Path(config.model.base).name,
        "parameters": parameters,
        "samples": samples,
        "temperature": config.training.ppo.temperature,
        "environment": describe_environment(),
    }


def _sample(roles: Roles, items: Sequence[TestItem], samples: int, length: int, temperature: float) -> list[list[str]]:
    engine, replies = RolloutEngine(roles), []
    with Progress(len(items), "samples") as progress:
        for at in range(0, len(items), AT_ONCE):
            some = items[at : at + AT_ONCE]
            ids = [roles.processor.encode_prompt(item.prompt, length) for item in some]
            numbers_NR = uniforms(0, 0, range(at * samples, (at + len(some)) * samples), length)
            groups = engine.sample("sft", ids, numbers_NR, temperature)
            replies += [[roles.processor.decode_reply(reply.ids) for reply in group] for group in groups]
            progress.advance(len(some))
    return replies


def _row(evaluator: PersonaEvaluator, roles: Roles, item: TestItem, replies: Sequence[str]) -> dict[str, Any]:
    n = len(replies)
    scores = evaluator.evaluate_each(
        [item.prompt.persona] * n, replies, [item.prompt.history] * n, [item.traits or None] * n
    )
    return {
        "p": float(np.nanmean(scores["consistency"])),
        "telling": float(np.nanmean(scores["expression"])),
        "tokens": len(roles.processor.encode_reply(item.reply)),
        "drawn": bool(item.traits),
        "dialogue": item.dialogue_id,
    }


def chance(shares: Sequence[float], samples: int) -> np.ndarray:
    """(N,) probabilities behind observed shares of so many samples, none of them 0 or 1 (Jeffreys's estimate)."""
    return (np.asarray(shares) * samples + 0.5) / (samples + 1)


def tilted(p_N: np.ndarray, tilt: float) -> np.ndarray:
    """(N,) the probabilities after the odds were multiplied by e^tilt."""
    return 1 / (1 + (1 - p_N) / p_N * math.exp(-tilt))


def least_kl(p_N: np.ndarray, goal: float) -> tuple[float, float]:
    """(tilt, KL in nats a reply) of the policy nearest to one with these probabilities whose mean probability is `goal`; no
    tilt where that is reached already."""
    low, high = 0.0, 40.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (low, middle) if tilted(p_N, middle).mean() >= goal else (middle, high)
    r_N = tilted(p_N, high if high > 1e-9 else 0.0)
    kl_N = r_N * np.log(r_N / p_N) + (1 - r_N) * np.log((1 - r_N) / (1 - p_N))
    return high, float(kl_N.mean())


def in_talk(rows: Sequence[dict[str, Any]], samples: int, tilt: float) -> tuple[float, float]:
    """(share of replies that would draw on the persona, factor on the perplexity of the gold replies) with that tilt."""
    p_N = chance([row["telling"] for row in rows], samples)
    r_N, drawn_N = tilted(p_N, tilt), np.array([row["drawn"] for row in rows])
    nats_N = np.where(drawn_N, np.log(p_N / r_N), np.log((1 - p_N) / (1 - r_N)))
    return float(r_N.mean()), math.exp(nats_N.sum() / sum(row["tokens"] for row in rows))


def table(content: dict[str, Any]) -> str:
    """As Markdown: a line for SFT itself, and one for each goal above it."""
    n = content["samples"]
    p_N = chance([row["p"] for row in content["called"]], n)
    lines = [["consistent where called for", "tilt, nats", "least KL", "telling in mid-dialogue", "perplexity times"]]
    for goal in (float(p_N.mean()), *(goal for goal in GOALS if goal > p_N.mean())):
        tilt, kl = least_kl(p_N, goal)
        telling, factor = in_talk(content["talk"], n, tilt)
        lines.append([f"{goal:.2f}", f"{tilt:.1f}", f"{kl:.2f}", f"{telling:.2f}", f"{factor:.3f}"])
    count = f"{len(content['called'])} and {len(content['talk'])} prompts, {n} samples of SFT to each"
    return f"{markdown_grid(lines)}\n\nFrom {count} at temperature {content['temperature']:g}; the first line is SFT."


if __name__ == "__main__":
    main()
