"""How PPO went with other settings: runs of one start side by side, finished or not, from their records alone.

    python -m benchmarks.search collect runs/a runs/b ... --json benchmarks/results/ppo-search.json
    python -m benchmarks.search table benchmarks/results/ppo-search.json [--at 20 40] [--readme FILE --marker search]

What a policy does in its own rollouts is a mean over the ten steps before; what the watch said of held-out people is of that
step alone, on `evaluation.watch_size` prompts. Runs are told apart by the settings that are not the same in all of them.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfsame.errors import RunError
from selfsame.report.tables import markdown_grid, update_readme
from selfsame.run.directory import RunDirectory, dotted, read_json, read_jsonl, write_json
from selfsame.training.settings import PPOSettings

WINDOW = 10
ROLLOUT = (
    "reward",
    "kl",
    "entropy",
    "explained_variance",
    "missed",
    "unasked",
    "contradiction",
    "recitation",
    "repetition",
    "retelling",
)
WATCH = (
    "consistency",
    "expression",
    "contradiction",
    "recitation",
    "reply_words",
    "telling",
    "distinct_2",
    "perplexity",
)
SHOWN = (
    "kl",
    "explained_variance",
    "missed",
    "unasked",
    "recitation",
    "watch_consistency",
    "watch_expression",
    "watch_telling",
    "watch_distinct_2",
    "watch_perplexity",
)
_MEANS_NOTHING = (
    "run.",
    "model.device",
    "evaluation.consistency_size",
    "evaluation.engagement_size",
    "evaluation.best_of",
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("collect")
    command.add_argument("runs", type=Path, nargs="+", help="directories of runs")
    command.add_argument("--json", type=Path, required=True)
    command = commands.add_parser("table")
    command.add_argument("json", type=Path)
    command.add_argument(
        "--at", type=int, nargs="+", help="steps that are shown (default: the last looked at of each run)"
    )
    command.add_argument("--readme", type=Path)
    command.add_argument("--marker", default="search")
    options = parser.parse_args(arguments)
    if options.command == "collect":
        write_json(options.json, collect(options.runs))
        return
    text = table(read_json(options.json), options.at)
    if options.readme:
        update_readme(options.readme, options.marker, text)
    print(text)


def collect(paths: Sequence[Path]) -> dict[str, Any]:
    """`{runs: {name: {settings, steps, seconds_per_step, looks: [{step, ...}]}}}`; `settings`: those that differ between the
    runs; a look has means of the last `WINDOW` rollouts and what the watch said."""
    defaults = dotted({"training": {"ppo": PPOSettings().model_dump()}})  # what a version without a setting did
    configs = {path.name: _hashable(defaults | dotted(RunDirectory.open(path).config())) for path in paths}
    keys = dict.fromkeys(key for config in configs.values() for key in config if not key.startswith(_MEANS_NOTHING))
    differing = [key for key in keys if len({str(config.get(key)) for config in configs.values()}) > 1]
    runs = {}
    for path in paths:
        rows = [row for row in read_jsonl(path / "metrics.jsonl")[0] if row["stage"] == "ppo"]
        if not rows:
            raise RunError(f"{path} has no step of PPO")
        took = (rows[-1]["time"] - rows[0]["time"]) / max(1, len(rows) - 1)
        settings = {key: configs[path.name].get(key) for key in differing}
        runs[path.name] = {"settings": settings, "steps": len(rows), "seconds_per_step": took, "looks": _looks(rows)}
    return {"window": WINDOW, "runs": runs}


def _hashable(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: " ".join(map(str, value)) if isinstance(value, list) else value for key, value in config.items()}


def _looks(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    found = []
    for at, row in enumerate(rows):
        if row.get("watch_consistency") is None:
            continue
        before = rows[max(0, at + 1 - WINDOW) : at + 1]
        means = {name: _mean([r.get(name) for r in before]) for name in ROLLOUT}
        found.append({"step": row["step"], **means, **{f"watch_{name}": row.get(f"watch_{name}") for name in WATCH}})
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def table(content: Mapping[str, Any], at: Sequence[int] | None = None) -> str:
    """As Markdown: what the settings are unless a line says otherwise, and a line for each look that is shown."""
    usual = _usual([run["settings"] for run in content["runs"].values()])
    lines = [["otherwise", "steps", "s a step", "step", *(name.replace("_", " ") for name in SHOWN)]]
    for run in content["runs"].values():
        chosen = run["looks"][-1:] if at is None else [look for look in run["looks"] if look["step"] in at]
        other = {key: v for key, v in run["settings"].items() if v is not None and v != usual[key]}
        for k, look in enumerate(chosen):
            whose = [_said(other) or "as said", str(run["steps"]), f"{run['seconds_per_step']:.1f}"]
            values = ["–" if look.get(key) is None else f"{look[key]:.2f}" for key in SHOWN]
            lines.append([*(whose if not k else [""] * 3), str(look["step"]), *values])
    head = f"Unless said otherwise: {_said(usual)}.\n\n" if _said(usual) else ""  # nothing differs in a single run
    return f"{head}{markdown_grid(lines)}"


def _usual(settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The commonest value of each, of those that have one."""
    counts = {key: Counter(own[key] for own in settings if own[key] is not None) for key in settings[0]}
    return {key: count.most_common(1)[0][0] for key, count in counts.items()}


def _said(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{_short(key)} {value}" for key, value in settings.items())


def _short(key: str) -> str:
    """The setting's own name; of a stage other than PPO the stage's, too."""
    *_, stage, name = ("", *key.split("."))
    other = key.startswith("training.") and stage != "ppo"
    return (f"{stage} {name}" if other else name).replace("_", " ")


if __name__ == "__main__":
    main()
