"""A run that starts from another one: stages that would come out the same are copied.

Their costs and evaluations are copied too, so that variants of a later stage share everything before it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfsame.errors import RunError
from selfsame.run.checkpoint import CheckpointManager, finished
from selfsame.run.directory import BUNDLED_RUNS, RunDirectory, locate_run
from selfsame.run.environment import RULES
from selfsame.run.files import dotted, plain, read_json, read_jsonl, write_json, write_text
from selfsame.run.logger import say
from selfsame.run.settings import is_free
from selfsame.systems import STAGES, SYSTEMS

_SFT = ("seed", "data", "model", "training.sft")
_REWARD = (*_SFT, "pairs", "training.reward", "training.ppo.max_new_tokens")
_EVALUATION = ("seed", "data", "model", "pairs", "sampling", "evaluation")
DEPENDS_ON = {"sft": _SFT, "reward": _REWARD}
"""The settings that a stage comes out of, as dotted names or beginnings of them."""
_FITS = ("model.base", "model.revision", "model.tuning", "model.lora")
"""What has to be the same for roles to fit. A run in the package is a starting point for other data and settings too."""


def inherit(
    run: RunDirectory,
    source: str | Path,
    config: Mapping[str, Any],
    stages: Sequence[str],
    dtype: str,
    defaults: Mapping[str, Any] = {},
    same: Sequence[str] = (),
) -> None:
    """Copies into a new run the stages of `source` that its settings would train again: their last checkpoint, curves, samples
    and seconds, and the evaluations of what they made. A run that has trained something is left as it is.

    Args:
        run: the new run.
        source: directory of the other run, which is only read, or the name of one in the package: its roles are taken
            whatever they were trained on. With `:ppo` behind that name, its policy is where the new run's SFT stands.
        config: the new run's settings, nested.
        stages: those that the new run may train itself, where its settings are others.
        dtype: the number format of the new run's base; it is said where the source, or what that started from, had another one.
        defaults: what settings were that `source` does not know, since an earlier version made it.
        same: dotted names of settings that mean the same there, though they are written otherwise.

    Raises:
        RunError: there is no such run, it shares nothing, it was made by another version's rules, or a stage that is needed
            and not among `stages` is not finished there, or was trained with other settings.
    """
    with run.lock():
        if (run.path / "checkpoints").exists():
            if not run.inherited_path.exists():
                say(f"{run.path} has stages of its own: nothing is taken from {source}")
            return
        name, policy = _policy_of(str(source))
        other, bundled = RunDirectory.open(locate_run(name)), name in BUNDLED_RUNS
        environment = read_json(other.environment_path) if other.environment_path.exists() else {}
        if not bundled and environment.get("rules") != RULES:
            raise RunError(
                f"{source} was made by a version of Selfsame whose pairs or scores mean something else: train those stages"
                " again, without --run.start-from"
            )
        now, then = dotted(plain(config)), dotted(plain(defaults)) | dotted(other.config())
        then |= {key: now[key] for key in same}
        depends_on = dict.fromkeys(DEPENDS_ON, _FITS) if bundled else DEPENDS_ON
        taken = dict(_same_stages(other, now, then, stages, depends_on))
        if not taken:
            raise RunError(f"{source} has nothing that this run could start from: leave out --run.start-from")
        record = {"source": str(source), "stages": list(taken), "environment": environment}
        systems = [name for name, system in SYSTEMS.items() if {*system.stages} <= {*taken}]
        if bundled or _differing(now, then, _EVALUATION) or now.get("evaluation.functions"):
            systems = []  # what a function of the user does may have changed
        elif any("training.ppo.rewards" in key and ":" in key for key in (*now, *then)):
            systems = [name for name in systems if not SYSTEMS[name].best_of_n]  # the user's functions choose the best
        _copy(other, run, taken, systems, record, None if bundled else other.data_path, policy)
    say(f"from {source}: {', '.join(taken)}{' (sft is its PPO policy)' if policy else ''}")
    earlier = read_json(other.inherited_path)["environment"] if other.inherited_path.exists() else {}
    others = {known["dtype"] for known in (environment, earlier) if known.get("dtype")} - {dtype}
    for made in () if bundled else sorted(others):  # a bundled run is a starting point, not a result to continue
        say(
            f"{source} was computed in {made}, at least in part, and this run continues in {dtype}: results will differ"
        )


def _same_stages(
    other: RunDirectory,
    now: Mapping[str, Any],
    then: Mapping[str, Any],
    stages: Sequence[str],
    depends_on: Mapping[str, Sequence[str]],
) -> Iterator[tuple[str, Path]]:
    """Each stage that can be taken, with its checkpoint."""
    for stage, names in depends_on.items():
        checkpoint, differing = finished(other, stage), _differing(now, then, names)
        if checkpoint is not None and not differing:
            yield stage, checkpoint
        elif stage not in stages and any(stage in STAGES[later].needs for later in stages):
            why = f"trained its {stage} with other settings ({'; '.join(differing[:4])})" if differing else (
                f"has not finished the stage {stage}"
            )  # fmt: skip
            raise RunError(f"{other.path} {why}: change that, or add {stage} to --run.stages to train it here")


def _differing(now: Mapping[str, Any], then: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [
        f"{key}: there {then.get(key)!r}, here {now.get(key)!r}"
        for key in {**now, **then}
        if any(key == name or key.startswith(f"{name}.") for name in names)
        and not is_free(key)
        and now.get(key) != then.get(key)
    ]


def _copy(
    other: RunDirectory,
    run: RunDirectory,
    taken: Mapping[str, Path],
    systems: Sequence[str],
    record: Mapping[str, Any],
    data: Path | None,
    policy: Path | None,
) -> None:
    """Everything is put together beside the run and moved in at the end, the checkpoints last. `data`: the record of the same
    data; `policy`: the checkpoint of PPO that becomes the SFT of the new run."""
    made = RunDirectory(run.path / ".inherited")
    shutil.rmtree(made.path, ignore_errors=True)
    made.path.mkdir()
    if data is not None:
        shutil.copy(data, made.data_path)  # tells whether the dialogues are the same
    files = [other.path / "reward.json"] if "reward" in taken else []
    files += [other.eval_path(name) for name in systems]
    for path in filter(Path.exists, files):
        target = made.path / path.relative_to(other.path)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
    for name in ("metrics.jsonl", "samples.jsonl"):
        records, _ = read_jsonl(other.path / name)
        lines = [json.dumps(row, ensure_ascii=False) for row in records if row.get("stage") in taken]
        write_text(made.path / name, "".join(f"{line}\n" for line in lines))
    if (other.path / "timing.json").exists():
        write_json(made.path / "timing.json", _timing_of(read_json(other.path / "timing.json"), taken))
    write_json(made.inherited_path, record)
    for stage, checkpoint in taken.items():
        if stage == "sft" and policy is not None:
            _copy_as_sft(policy, made)
        else:
            shutil.copytree(checkpoint, made.checkpoints(stage) / checkpoint.name)
    for path in sorted(made.path.iterdir(), key=lambda path: path.name == "checkpoints"):
        target = run.path / path.name
        if target.is_dir():
            shutil.rmtree(target)  # of a copy that was interrupted: nothing was trained here
        path.replace(target)
    made.path.rmdir()


def _policy_of(source: str) -> tuple[str, Path | None]:
    """(run, checkpoint of PPO to start from) of `selfsame-135m:ppo`; any other source is a run by itself.

    Raises:
        RunError: something else stands behind the name of a run in the package.
    """
    name, colon, stage = source.partition(":")
    if name not in BUNDLED_RUNS or not colon:
        return source, None
    if stage != "ppo":
        raise RunError(
            f"run.start_from is {source!r}: choose {name} (its SFT and reward model) or {name}:ppo (its policy)"
        )
    return name, finished(RunDirectory.open(locate_run(name)), stage)


def adapter_folder(name: str) -> Path:
    """The adapter that a name stands for: a run's SFT, its policy where `:ppo` stands behind it, or an adapter folder itself.

    Raises:
        RunError: there is no such run, or it has not finished that stage.
    """
    if (Path(name) / "adapter_config.json").is_file():
        return Path(name)
    run, _, stage = name.partition(":")
    role = {"": "sft", "sft": "sft", "ppo": "policy"}.get(stage)
    checkpoint = finished(RunDirectory.open(locate_run(run)), stage or "sft") if role else None
    if role is None or checkpoint is None:
        raise RunError(f"{name!r} names no trained role: give a run, RUN:ppo, or a folder with adapter_config.json")
    return checkpoint / role


def _copy_as_sft(policy: Path, run: RunDirectory) -> None:
    def write(folder: Path) -> None:
        shutil.copytree(policy / "policy", folder / "sft")

    step = int(policy.name.rpartition("-")[2])
    CheckpointManager(run.checkpoints("sft")).save(step, {}, {"done": True}, [write])


def _timing_of(timing: Mapping[str, Any], taken: Mapping[str, Path]) -> dict[str, Any]:
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
