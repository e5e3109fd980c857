"""A run that starts from another one: stages that would come out the same are copied, with what they cost and what was
measured on them, so that variants of a later stage share everything before it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfsame.errors import RunError
from selfsame.run.checkpoint import finished
from selfsame.run.directory import RunDirectory, dotted, plain, read_json, read_jsonl, write_json, write_text
from selfsame.run.logger import say

_SFT = ("seed", "data", "model", "training.sft")
_REWARD = (*_SFT, "pairs", "training.reward", "training.ppo.max_new_tokens")
_EVALUATION = ("seed", "data", "model", "pairs", "sampling", "evaluation")
DEPENDS_ON = {"sft": _SFT, "reward": _REWARD}
"""The settings that a stage comes out of, as dotted names or beginnings of them."""
_EVALUATED = {"base": (), "sft": ("sft",), "best_of": ("sft", "reward")}
_CHANGES_NOTHING = ("evaluation.watch_size", "model.device")


def inherit(run: RunDirectory, source: str | Path, config: Mapping[str, Any], stages: Sequence[str]) -> None:
    """Copies into a new run the stages of `source` that its settings would train again: their last checkpoint, curves, samples
    and seconds, and the evaluations of what they made.

    Args:
        run: a run without any checkpoint; one that has some is left as it is.
        source: directory of the other run, which is only read.
        config: the new run's settings, nested.
        stages: those that the new run may train itself, where its settings are others.

    Raises:
        RunError: there is no such run, it shares nothing, or a stage that is not among `stages` has other settings there.
    """
    if (run.path / "checkpoints").exists():
        return
    other = RunDirectory.open(source)
    now, then = dotted(plain(config)), dotted(other.config())
    taken = []
    for stage, names in DEPENDS_ON.items():
        checkpoint, differing = finished(other, stage), _differing(now, then, names)
        if checkpoint is not None and not differing:
            taken.append(stage)
        elif checkpoint is not None and stage not in stages:
            raise RunError(
                f"{source} trained its {stage} with other settings ({'; '.join(differing[:4])}): use the same, or add {stage}"
                " to --run.stages to train it here"
            )
    if not taken:
        raise RunError(f"{source} has nothing that this run could start from: leave out --run.start-from")
    with run.lock():
        _copy(other, run, taken, evaluated=not _differing(now, then, _EVALUATION))
    say(f"from {source}: {', '.join(taken)}")


def _differing(now: Mapping[str, Any], then: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [
        f"{key}: there {then.get(key)!r}, here {now.get(key)!r}"
        for key in {**now, **then}
        if any(key == name or key.startswith(f"{name}.") for name in names)
        and key not in _CHANGES_NOTHING
        and not key.endswith(".token_budget")
        and now.get(key) != then.get(key)
    ]


def _copy(other: RunDirectory, run: RunDirectory, taken: Sequence[str], evaluated: bool) -> None:
    """The checkpoints come last and under their name at once: a copy that was interrupted is begun anew."""
    shutil.copy(other.data_path, run.data_path)  # tells whether the dialogues are the same
    for path, wanted in ((other.path / "reward.json", "reward" in taken), *_evaluations(other, taken, evaluated)):
        if wanted and path.exists():
            target = run.path / path.relative_to(other.path)
            target.parent.mkdir(exist_ok=True)
            shutil.copy(path, target)
    for name in ("metrics.jsonl", "samples.jsonl"):
        records, _ = read_jsonl(other.path / name)
        lines = [json.dumps(record, ensure_ascii=False) for record in records if record.get("stage") in taken]
        write_text(run.path / name, "".join(f"{line}\n" for line in lines))
    if (other.path / "timing.json").exists():
        write_json(run.path / "timing.json", _timing_of(read_json(other.path / "timing.json"), taken))
    temporary = run.path / ".checkpoints"
    shutil.rmtree(temporary, ignore_errors=True)
    for stage in taken:
        checkpoint = finished(other, stage)
        assert checkpoint is not None
        shutil.copytree(checkpoint, temporary / stage / checkpoint.name)
    temporary.rename(run.path / "checkpoints")


def _evaluations(other: RunDirectory, taken: Sequence[str], evaluated: bool) -> list[tuple[Path, bool]]:
    return [(other.eval_path(system), evaluated and set(stages) <= set(taken)) for system, stages in _EVALUATED.items()]


def _timing_of(timing: Mapping[str, Any], taken: Sequence[str]) -> dict[str, Any]:
    """What the stages taken cost, as `MetricsTracker.to_dict` says it. The peak of memory is of what the new run does itself:
    that of a stage by itself is not known."""
    seconds = {name: value for name, value in timing["seconds"].items() if name.split("/")[0] in taken}
    whole = sum(value for name, value in timing["seconds"].items() if "/" not in name)
    own = sum(value for name, value in seconds.items() if "/" not in name)
    return {
        "seconds": seconds,
        "gpu_seconds": timing["gpu_seconds"] * own / whole if whole else 0.0,
        "unpriced_time": timing["unpriced_time"],
        "storage_bytes": None,
        "peaks": {"rss": None, "cuda": None},
    }
