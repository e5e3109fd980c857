"""Selfsame beside its peers: the same work in turns, medians, ratios with their spread, peak memory.

    python -m benchmarks.compare run --shape 10m --data synthetic-persona-chat --json benchmarks/results/cpu-10m.json
    python -m benchmarks.compare table benchmarks/results/cpu-10m.json --readme docs/performance.md --marker benchmarks

Every measurement is a process of its own, with the same number of threads, and none runs beside another. A round measures
every engine of every case once. What the JSON file holds already is not measured again, so a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.workload import Amount, build
from selfsame.plan.hardware import gemm_peak
from selfsame.report.tables import update_readme
from selfsame.run.environment import describe_environment
from selfsame.run.files import read_json, write_json

HERE = Path(__file__).resolve().parent
TRL = (HERE / ".venv-trl/bin/python", HERE / "peers/trl_current.py")
TRL_PPO = (HERE / ".venv-trl-ppo/bin/python", HERE / "peers/trl_ppo.py")


@dataclass(frozen=True)
class Case:
    """One line of the table. `samples`: replies to a prompt; `ours`, `theirs`: options of the scripts. `unit`: work of a
    step, by name."""

    name: str
    stage: str
    ours: tuple[str, ...] = ()
    theirs: tuple[str, ...] = ()
    samples: int = 4
    peer: tuple[Path, Path] = TRL_PPO
    peer_stage: str = "ppo"
    settings: tuple[str, ...] = ("default", "best")
    unit: str = "episodes"
    steps: int | None = None
    """Where not as the others."""
    against: str | None = None
    """The case whose peer this one is held against, too."""


CASES = (
    Case("SFT", "sft", peer=TRL, peer_stage="sft", unit="tokens", steps=6),
    Case("reward model", "reward", peer=TRL, peer_stage="reward", unit="pairs", steps=6),
    Case("generation, 4 replies to a prompt", "generate", peer=TRL, peer_stage="generate", steps=6),
    Case("PPO, 4 replies to a prompt", "ppo"),
    Case(
        "PPO, critic on the reward role*",
        "ppo",
        ("--value-model", "reward_states"),
        settings=(),
        against="PPO, 4 replies to a prompt",
    ),
    Case(
        "PPO, critic on the policy*",
        "ppo",
        ("--value-model", "policy_states"),
        settings=(),
        against="PPO, 4 replies to a prompt",
    ),
    Case("PPO, 1 reply to a prompt", "ppo", samples=1),
    Case("GRPO, 4 replies to a prompt", "ppo", ("--advantage-estimator", "grpo"), peer=TRL, peer_stage="grpo"),
    Case("PPO, adapters in the upper half", "ppo", ("--adapters", "upper"), ("--adapters", "upper")),
    Case(
        "PPO, upper half, critic on the policy*",
        "ppo",
        ("--adapters", "upper", "--value-model", "policy_states"),
        settings=(),
        against="PPO, 4 replies to a prompt",
    ),
    Case("PPO, LoRA for full fine-tuning*", "ppo", theirs=("--adapters", "none"), settings=("default",)),
)
NOTE = (
    "Ratios above 1: Selfsame is faster. `default`: the peer as it comes; `best`: with the settings in "
    "`benchmarks/README.md`. In brackets: smallest and largest ratio of the rounds. * not the same algorithm on both sides;"
    " lines that name a critic are held against trl's PPO with adapters in all blocks and a critic of its own."
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run")
    command.add_argument("--shape", default="10m")
    command.add_argument("--data", default="demo", help="as data.path in Selfsame's configuration")
    command.add_argument("--json", type=Path, required=True)
    command.add_argument("--rounds", type=int, default=2)
    command.add_argument("--steps", type=int, default=2, help="of each measurement; the first is not counted")
    command.add_argument("--replies", type=int, default=32, help="in a step of PPO")
    command.add_argument("--batch", type=int, default=8)
    command.add_argument("--threads", type=int, default=1)
    command.add_argument("--float32", action="store_true", help="no bfloat16 on either side")
    command.add_argument("--cases", nargs="+", help="names begin with one of these; default: all")
    command = commands.add_parser("table")
    command.add_argument("json", type=Path, nargs="+")
    command.add_argument("--readme", type=Path)
    command.add_argument("--marker", default="benchmarks")
    options = parser.parse_args()
    if options.command == "run":
        _run(options)
    records = [read_json(path) for path in ([options.json] if options.command == "run" else options.json)]
    text = "\n\n".join(table(record) for record in merged(records))
    print(text)
    if options.command == "table" and options.readme:
        update_readme(options.readme, options.marker, f"{text}\n\n{NOTE}")


def _run(options: argparse.Namespace) -> None:
    cases = [c for c in CASES if not options.cases or c.name.startswith(tuple(options.cases))]
    record: dict[str, Any] = {"shape": options.shape, "threads": options.threads, "measurements": []}
    kept = ("shape", "data", "threads", "steps", "replies", "batch")
    record["options"] = {name: getattr(options, name) for name in kept} | ({"float32": True} if options.float32 else {})
    if options.json.exists():
        known = read_json(options.json)
        if known["options"] != record["options"]:
            raise SystemExit(f"{options.json} holds measurements with other options: {known['options']}")
        record = known
    now = describe_environment()
    if _commit(record.setdefault("environment", now)) != _commit(now):
        raise SystemExit(f"{options.json} holds measurements of another commit: give another --json, or measure anew")
    if "gemm" not in record:
        torch.set_num_threads(options.threads)
        record["gemm"] = gemm_peak()
    record["measurements"] = [m for m in record["measurements"] if "failed" not in m]
    done = {(m["case"], m["engine"], m["round"]) for m in record["measurements"]}
    with tempfile.TemporaryDirectory() as folder:
        works = {case: _work(options, case, Path(folder)) for case in cases}
        for case in cases:
            record.setdefault("work", {})[case.name] = _amount(case, works[case])
            if case.name not in record.setdefault("flops", {}):
                record["flops"][case.name] = _flops(case, works[case], options)
        for number in range(options.rounds):
            for case in cases:
                for engine in ("ours", *case.settings):
                    if (case.name, engine, number) in done:
                        continue
                    print(f"round {number + 1}: {case.name}, {engine}", file=sys.stderr, flush=True)
                    made = _measure(case, engine, works[case], options)
                    record["measurements"].append({"case": case.name, "engine": engine, "round": number, **made})
                    write_json(options.json, record)


def _commit(environment: dict[str, Any]) -> str | None:
    return (environment.get("git") or {}).get("commit")


def _work(options: argparse.Namespace, case: Case, folder: Path) -> Path:
    amount = Amount(case.steps or options.steps, options.batch, options.replies // case.samples, case.samples)
    place = folder / f"{amount.steps}-{amount.samples}"
    return place if (place / "work.json").exists() else build(options.shape, options.data, amount, place)


def _measure(case: Case, engine: str, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """A record of `benchmarks.ours` or of a peer, without the first step."""
    out = work / "record.json"
    out.unlink(missing_ok=True)
    if engine == "ours":
        command = [sys.executable, "-m", "benchmarks.ours", case.stage, *case.ours]
        command += ["--dtype", "float32"] if options.float32 else []
    else:
        command = [*map(str, case.peer), case.peer_stage, *case.theirs, "--settings", engine]
        command += ["--float32"] if options.float32 else []
    result = _process([*command, "--work", str(work), "--json", str(out)], options.threads)
    if not out.exists():
        return {"failed": (result.stderr.strip() or "no message").splitlines()[-1]}
    made = read_json(out)
    if "seconds" not in made:
        return {"failed": made["out_of_memory"]}
    made["first"], made["seconds"] = made["seconds"][0], made["seconds"][1:]
    return {k: v for k, v in made.items() if k != "environment"}


def _flops(case: Case, work: Path, options: argparse.Namespace) -> float:
    """Floating-point operations of a step of ours; PyTorch's own attention on a CPU, which float32 takes, is not counted."""
    out = work / "flops.json"
    out.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.ours", case.stage, *case.ours, "--flops"]
    command += ["--dtype", "float32"] if options.float32 else []
    _process([*command, "--work", str(work), "--json", str(out)], options.threads)
    return read_json(out)["flops"]


def _process(command: list[str], threads: int) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    environment["PYTHONPATH"] = os.pathsep.join((str(HERE.parent / "src"), str(HERE.parent)))
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=HERE.parent)


def _amount(case: Case, work: Path) -> float:
    """Tokens, pairs or replies of a step that is counted (mean)."""
    content = read_json(work / "work.json")
    amount = Amount(**content["amount"])
    if case.stage == "sft":
        return statistics.fmean(sum(len(row["ids"]) for row in step) for step in content["sft"][1:])
    return amount.batch if case.stage == "reward" else amount.prompts * amount.samples


def merged(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One record for each shape and number format: the rounds of all its records, one after the other.

    Raises:
        SystemExit: records of one of them were made with different options.
    """
    found: dict[tuple[str, bool], dict[str, Any]] = {}
    for record in records:
        kind = record["shape"], "float32" in record["options"]
        first = found.setdefault(kind, record | {"measurements": [], "commits": []})
        if first["options"] != record["options"]:
            raise SystemExit(f"two records of {record['shape']} were made with different options: make a table of each")
        known = 1 + max((m["round"] for m in first["measurements"]), default=-1)
        for m in record["measurements"]:
            own = {"gemm": record["gemm"], "flops": record["flops"].get(m["case"]), "round": known + m["round"]}
            first["measurements"].append(m | own)
        first["commits"].append(_commit(record["environment"]) or "unknown")
        first["flops"], first["work"] = ({**first[k], **record[k]} for k in ("flops", "work"))
    return list(found.values())


def table(record: dict[str, Any]) -> str:
    """Markdown of a record, or of several `merged`."""
    lines = [
        "| work | Selfsame | of the GEMM peak | memory | times faster than default | than best | peer memory: default, best |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for case in CASES:
        ours = _of(record, case, "ours")
        if not ours:
            continue
        seconds = statistics.fmean(s for m in ours.values() for s in m["seconds"])
        amount, counted = record["work"][case.name], record["flops"][case.name]
        share = statistics.fmean(
            (m.get("flops") or counted) / statistics.fmean(m["seconds"]) / m.get("gemm", record["gemm"])[m["dtype"]]
            for m in ours.values()
        )
        peers = [_gib(_of(record, case, s).values()) for s in ("default", "best")]
        cells = [
            case.name,
            f"{amount / seconds:.3g} {case.unit}/s",
            f"{share:.0%}",
            _gib(ours.values()),
            _ratio(record, case, "default"),
            _ratio(record, case, "best"),
            ", ".join(peers),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    rounds = 1 + max(m["round"] for m in record["measurements"])
    commits = ", ".join(commit[:7] for commit in record.get("commits", []))
    exact = ", float32 on both sides" if "float32" in record["options"] else ""
    head = f"Model shape {record['shape']}{exact}, {record['threads']} thread(s), rounds: {rounds}"
    head += f" (commits {commits})." if commits else "."
    return "\n".join([head, "", *lines])


def _of(record: dict[str, Any], case: Case, engine: str) -> dict[int, dict[str, Any]]:
    return {
        m["round"]: m
        for m in record["measurements"]
        if m["case"] == ((case.against or case.name) if engine != "ours" else case.name)
        and m["engine"] == engine
        and "seconds" in m
    }


def _ratio(record: dict[str, Any], case: Case, engine: str) -> str:
    """The peer's time over ours: median over the rounds, smallest and largest."""
    ours, theirs = _of(record, case, "ours"), _of(record, case, engine)
    ratios = [sum(theirs[k]["seconds"]) / sum(ours[k]["seconds"]) for k in sorted(ours.keys() & theirs.keys())]
    if not ratios:
        return "–"
    spread = f" [{min(ratios):.1f}, {max(ratios):.1f}]" if len(ratios) > 1 else ""
    return f"{statistics.median(ratios):.1f}{spread}"


def _gib(measurements: Any) -> str:
    peaks = [m["peak_memory"] for m in measurements]
    return f"{min(peaks) / 2**30:.2f} GiB" if peaks else "–"


if __name__ == "__main__":
    main()
