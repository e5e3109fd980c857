"""A run is a directory; this file says what lies where in it.

`config.yaml environment.json data.json metrics.jsonl samples.jsonl cost.json rejects.jsonl report.html card.json`
`eval/<system>.json checkpoints/<stage>/step-*/`
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from selfsame.errors import ConfigError, RunError
from selfsame.renamed import modern_config
from selfsame.run.environment import describe_environment
from selfsame.run.files import dotted, plain, read_json, write_json, write_text, writing

try:
    import fcntl
except ImportError:  # Windows has no flock: two processes in one run directory are not kept apart there
    fcntl = None

BUNDLED_RUNS = ("selfsame-135m",)
"""Runs in the package, reduced to what speaks: `base_model/bundle.py` made them."""
_MOST_DIFFERENCES = 6


def locate_run(name: str | Path) -> Path:
    """The folder of a run: one in the package by its name, or the folder itself."""
    if str(name) in BUNDLED_RUNS:
        return Path(__file__).resolve().parents[1] / "model" / "bundled" / str(name)
    return Path(name)


class RunDirectory:
    """The paths of one run. `create` starts or resumes it, `open` reads it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @classmethod
    def create(
        cls, path: str | Path, config: Mapping[str, Any], free: Sequence[str] = (), defaults: Mapping[str, Any] = {}
    ) -> RunDirectory:
        """Make the directory and store `config`, or come back to one that holds the same `config`.

        free: dotted keys, or beginnings of them (`run.trackers`), that may differ when a run is resumed.
        defaults: what settings were that the stored `config` does not know, since an earlier version wrote it.
        Raises ConfigError where `path` cannot be a run directory, RunError where it holds a run with another
        configuration or cannot be written.
        """
        run, now = cls(path), plain(config)
        if run.path.exists() and not run.path.is_dir():
            raise ConfigError(f"{path} is a file: a run needs a folder, choose another --run.directory")
        with writing(run.path):
            run.path.mkdir(parents=True, exist_ok=True)
            others = [entry.name for entry in run.path.iterdir() if not entry.name.startswith(".")]
        if others and not run.config_path.exists():
            raise ConfigError(f"{path} is not empty and holds no run: choose another --run.directory")
        with writing(run.path):
            _probe(run.path)
        with run.lock():  # a run that works there has no results yet perhaps
            if run.config_path.exists() and run.has_results():
                run._check_same(now, free, plain(defaults))
            else:  # nothing was made yet: a mistyped setting may be put right
                run.data_path.unlink(missing_ok=True)
                run.environment_path.unlink(missing_ok=True)
            if not run.config_path.exists() or run.config() != now:
                write_text(run.config_path, yaml.safe_dump(now, sort_keys=False))
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """The run in `path`. Raises RunError where there is none."""
        run = cls(path)
        if not run.config_path.is_file():
            raise RunError(f"{path} is not a run directory (no config.yaml): give the folder that training wrote to")
        return run

    @property
    def config_path(self) -> Path:
        return self.path / "config.yaml"

    @property
    def environment_path(self) -> Path:
        return self.path / "environment.json"

    @property
    def data_path(self) -> Path:
        return self.path / "data.json"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def samples_path(self) -> Path:
        return self.path / "samples.jsonl"

    @property
    def cost_path(self) -> Path:
        return self.path / "cost.json"

    @property
    def inherited_path(self) -> Path:
        """Says what the run took over from another one: `{source, stages, environment}`, the last that of the source."""
        return self.path / "inherited.json"

    @property
    def rejects_path(self) -> Path:
        return self.path / "rejects.jsonl"

    @property
    def card_path(self) -> Path:
        """The character that the run was made for, if it was made for one."""
        return self.path / "card.json"

    @property
    def report_path(self) -> Path:
        return self.path / "report.html"

    def eval_path(self, name: str) -> Path:
        """Where the evaluation of one system (`base`, `sft`, `ppo`, `dpo`) is stored."""
        path, earlier = (
            self.path / "eval" / f"{n}.json" for n in (name, name.removeprefix("sft_").removesuffix("_of_n") + "_of")
        )
        return earlier if name.endswith("best_of_n") and earlier.exists() and not path.exists() else path

    def checkpoints(self, stage: str) -> Path:
        """The folder for the `CheckpointManager` of one stage."""
        return self.path / "checkpoints" / stage

    def config(self) -> dict[str, Any]:
        """The stored configuration. Raises RunError where config.yaml is damaged."""
        try:
            stored = yaml.safe_load(self.config_path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            reason, remedy = str(error).splitlines()[0], "repair it or choose another directory"
            raise RunError(f"{self.config_path} cannot be read ({reason}): {remedy}") from error
        if not isinstance(stored, dict):
            raise RunError(f"{self.config_path} is damaged (not a mapping): repair it or choose another directory")
        return modern_config(stored)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep every other process from training in this directory. Raises RunError where one does already."""
        with writing(self.path / ".lock"):
            file = open(self.path / ".lock", "a+", encoding="utf-8")  # noqa: SIM115 - held as long as the lock
        with file:
            with writing(self.path / ".lock"):
                _take(file, self.path)
            for left in self.path.rglob(".*.tmp"):  # by a process that was killed while it wrote
                left.unlink(missing_ok=True)
            yield

    def write_environment(self, dtype: str, base: Mapping[str, Any] | None = None) -> str | None:
        """Store on what machine, with which versions, in which number format and on which base the run was begun. Returns that
        format where a run that is resumed was begun in another one than `dtype`."""
        if not self.environment_path.exists():
            write_json(self.environment_path, describe_environment() | {"dtype": dtype, "base": base})
        begun = self.environment().get("dtype")
        return begun if begun != dtype else None

    def environment(self) -> dict[str, Any]:
        """On what the run was begun; empty where that is not known, or damaged."""
        try:
            found = read_json(self.environment_path)
        except RunError:
            return {}
        return found if isinstance(found, dict) else {}

    def has_results(self) -> bool:
        """Whether anything was trained or evaluated."""
        return any((self.path / name).exists() for name in ("checkpoints", "eval"))

    def _check_same(self, now: Mapping[str, Any], free: Sequence[str], defaults: Mapping[str, Any]) -> None:
        known, current = dotted(self.config()), dotted(now)
        stored = known | dotted(defaults) | known  # what it knows first, in the message too
        differences = [
            f"{key}: stored {stored.get(key)!r}, now {current.get(key)!r}"
            for key in {**stored, **current}
            if (key in stored) != (key in current) or stored.get(key) != current.get(key)
            if not any(key == name or key.startswith(f"{name}.") for name in free)
        ]
        if not differences:
            return
        more = len(differences) - _MOST_DIFFERENCES
        listed = "; ".join(differences[:_MOST_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")
        raise RunError(
            f"{self.path} holds a run with other settings ({listed}): "
            "go back to the stored ones to resume it, or choose another --run.directory"
        )


def _probe(folder: Path) -> None:
    """Find out now, not after the first stage, whether `folder` can be written to."""
    probe = folder / f".probe-{os.getpid()}.tmp"
    probe.touch()
    probe.unlink(missing_ok=True)


def _take(file: Any, folder: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = f"process {file.read().strip() or 'unknown'}"
        raise RunError(f"{folder} is in use by {holder}: wait for it, or choose another --run.directory") from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
