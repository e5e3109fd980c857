"""The folder of a sweep: `sweep.json` (what is swept, what is finished), a folder for each run, `logs/`, `other_half/`,
`results.md` and `results.json`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfsame.config import Config
from selfsame.errors import ConfigError, RunError
from selfsame.run.directory import RunDirectory
from selfsame.run.files import dotted, read_json, write_json, writing
from selfsame.run.settings import is_free

_MOST_DIFFERENCES = 4


class SweepFolder:
    """Make the folder of a sweep, or come back to one of the same settings; the grid may have other values than before.

    Args:
        path: the folder.
        config: the settings that the runs share.
        swept: dotted names of those that differ.

    Raises:
        SelfsameError: it holds something else, or a sweep of other settings.
    """

    def __init__(self, path: Path, config: Config, swept: Sequence[str]) -> None:
        self.path, self._file = path, path / "sweep.json"
        if "," in str(path):
            raise ConfigError(f"--run.directory {path}: the folder of a sweep has no comma in its name; choose another")
        flat = dotted(config.model_dump(mode="json"))
        self._settings = {key: value for key, value in flat.items() if not is_free(key) and key not in swept}
        self._swept = sorted(swept)
        self.finished: list[str] = []
        if self._file.is_file():
            self._resume(read_json(self._file))
        elif path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ConfigError(f"{path} is there and holds no sweep: choose another --run.directory")

    def _resume(self, stored: dict[str, Any]) -> None:
        if stored.get("swept") != self._swept:
            raise RunError(
                f"{self.path} holds a sweep of {', '.join(stored.get('swept', []))}: choose another --run.directory"
            )
        known = stored["settings"]
        differing = [
            f"{key}: stored {known.get(key)!r}, now {self._settings.get(key)!r}"
            for key in {**known, **self._settings}
            if known.get(key) != self._settings.get(key)
        ]
        if differing:
            raise RunError(
                f"{self.path} holds a sweep with other settings ({'; '.join(differing[:_MOST_DIFFERENCES])}):"
                " go back to the stored ones to resume it, or choose another --run.directory"
            )
        self.finished = [key for key in stored["finished"] if self.run(key.partition(": ")[0]).config_path.is_file()]

    def make(self) -> None:
        """Make the folder and its files."""
        for folder in (self.path, self.path / "logs", self.path / "other_half"):
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
        self._write()

    def finish(self, key: str) -> None:
        """Note that a job is done."""
        self.finished.append(key)
        self._write()

    def _write(self) -> None:
        write_json(self._file, {"swept": self._swept, "settings": self._settings, "finished": self.finished})

    def run(self, name: str) -> RunDirectory:
        """The directory of one run."""
        return RunDirectory(self.path / name)

    def log(self, name: str) -> Path:
        """The output of one run."""
        return self.path / "logs" / f"{name}.log"

    def other_half(self, name: str) -> Path:
        """The evaluation of one run on the half of the held-out people that chose nothing."""
        return self.path / "other_half" / f"{name}.json"
