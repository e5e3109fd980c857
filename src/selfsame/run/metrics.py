"""The cost of a run: seconds, money and memory, all measured; None where that failed."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    import resource
except ImportError:  # Windows: peak memory of the process is then unknown
    resource = None

_SECONDS_PER_HOUR = 3600
_BYTES_PER_GB = 10**9
T4_MEMORY_GB = 16.0
"""Of the GPU whose number is estimated where no other size is given."""


class MetricsTracker:
    """Stopwatch and bill of a run.

    A name with a slash (`ppo/rollout`) is a part of another timing: it is listed, but not added to the total.
    gpus: GPUs in use; found out where not given, as one per process on a machine with CUDA and 0 on a CPU.
    """

    def __init__(
        self,
        gpu_hourly_rate: float = 0.35,
        storage_cost_per_gb: float = 0.10,
        clock: Callable[[], float] = time.perf_counter,
        gpus: int | None = None,
    ) -> None:
        self.gpu_hourly_rate, self.storage_cost_per_gb = gpu_hourly_rate, storage_cost_per_gb
        self.gpus = _gpus_in_use() if gpus is None else gpus
        self.seconds: dict[str, float] = {}
        self.gpu_seconds = 0.0
        self.unpriced_time = False
        self.storage_bytes: int | None = None
        self._clock = clock
        self._started: dict[str, float] = {}
        self._peaks: dict[str, int | None] = {"rss": None, "cuda": None}

    def start_timing(self, name: str) -> None:
        """Start the stopwatch `name`. Raises ValueError where it runs already."""
        if name in self._started:
            raise ValueError(f"timing {name!r} runs already: stop it before starting it again")
        self._started[name] = self._clock()

    def stop_timing(self, name: str) -> float:
        """Stop the stopwatch `name`; its seconds since the start, which are added to earlier ones of the same name."""
        if name not in self._started:
            raise ValueError(f"timing {name!r} was not started; running are {sorted(self._started)}")
        elapsed = self._clock() - self._started.pop(name)
        self.seconds[name] = self.seconds.get(name, 0.0) + elapsed
        if "/" not in name:
            self.gpu_seconds += elapsed * self.gpus
            self.unpriced_time |= self.gpus == 0
        return elapsed

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        """Time a block; an exception in it counts too, since the time was spent."""
        self.start_timing(name)
        try:
            yield
        finally:
            self.stop_timing(name)

    def track_cost(self, directory: str | Path | None = None) -> dict[str, Any]:
        """The bill so far, as `cost.json` stores it: seconds, dollars (1 GB = 10^9 bytes) and bytes.

        directory: the run directory, whose bytes are the storage to pay for.
        """
        self._measure_memory()
        if directory is not None:
            self.storage_bytes = _bytes_of(Path(directory))
        gpu_cost = None if self.unpriced_time else self.gpu_seconds / _SECONDS_PER_HOUR * self.gpu_hourly_rate
        gigabytes = None if self.storage_bytes is None else self.storage_bytes / _BYTES_PER_GB
        storage_cost = None if gigabytes is None else gigabytes * self.storage_cost_per_gb
        return {
            "seconds": dict(self.seconds),
            "total_seconds": sum(seconds for name, seconds in self.seconds.items() if "/" not in name),
            "gpus": self.gpus,
            "gpu_seconds": self.gpu_seconds,
            "gpu_hourly_rate": self.gpu_hourly_rate,
            "gpu_cost": gpu_cost,
            "storage_bytes": self.storage_bytes,
            "storage_cost_per_gb": self.storage_cost_per_gb,
            "storage_cost": storage_cost,
            "total_cost": None if gpu_cost is None or storage_cost is None else gpu_cost + storage_cost,
            "peak_memory_bytes": self._peaks["rss"],
            "peak_gpu_memory_bytes": self._peaks["cuda"],
            "estimated_gpus": estimate_gpus(self._peaks["cuda"]),
            "notes": self._notes(),
        }

    def calculate_savings(self, other: MetricsTracker | Mapping[str, Any]) -> dict[str, float | None]:
        """Percent of the time, cost and memory of the measured run `other` that this run saved (negative: took more).

        other: a tracker, or what `track_cost` gave. None where either side was not measured; memory is compared
        GPU with GPU, or process with process where neither used a GPU. GPUs are estimates (`estimate_gpus`).
        """
        return savings_between(self.track_cost(), other.track_cost() if isinstance(other, MetricsTracker) else other)

    def to_dict(self) -> dict[str, Any]:
        """What a resumed run needs to go on counting; stopwatches that still run count up to now."""
        self._measure_memory()
        running = {name: self._clock() - start for name, start in self._started.items()}
        seconds = {name: self.seconds.get(name, 0.0) + running.get(name, 0.0) for name in {**self.seconds, **running}}
        stages = [elapsed for name, elapsed in running.items() if "/" not in name]
        return {
            "seconds": seconds,
            "gpu_seconds": self.gpu_seconds + sum(stages) * self.gpus,
            "unpriced_time": self.unpriced_time or (bool(stages) and self.gpus == 0),
            "storage_bytes": self.storage_bytes,
            "peaks": dict(self._peaks),
        }

    def from_dict(self, state: Mapping[str, Any]) -> MetricsTracker:
        """Take over what an earlier part of the run counted (`to_dict`), in place; the prices stay this tracker's."""
        self.seconds = dict(state["seconds"])
        self.gpu_seconds, self.unpriced_time = state["gpu_seconds"], state["unpriced_time"]
        self.storage_bytes = state["storage_bytes"]
        self._peaks = {name: _larger(self._peaks[name], state["peaks"].get(name)) for name in self._peaks}
        return self

    def _measure_memory(self) -> None:
        now = {"rss": _peak_rss(), "cuda": _peak_cuda()}
        self._peaks = {name: _larger(self._peaks[name], now[name]) for name in now}

    def _notes(self) -> list[str]:
        notes = []
        if self.unpriced_time:
            notes.append("Some or all of the time was spent on a CPU, whose price is not known: no cost is given.")
        if self.storage_bytes is None:
            notes.append("The size of the run directory was not measured.")
        if self._peaks["rss"] is None:
            notes.append("This system does not tell the peak memory of a process.")
        return notes


def savings_between(
    mine: Mapping[str, Any], theirs: Mapping[str, Any], gpu_memory_gb: float = T4_MEMORY_GB
) -> dict[str, float | None]:
    """What `MetricsTracker.calculate_savings` says, of two bills that `track_cost` gave, in any process."""
    memory = memory_key(mine, theirs)
    keys = {"time": "total_seconds", "cost": "total_cost", "memory": memory}
    saved = {f"{name}_saved_percent": percent_saved(mine.get(key), theirs.get(key)) for name, key in keys.items()}
    gpus = [estimate_gpus(bill.get("peak_gpu_memory_bytes"), gpu_memory_gb) for bill in (mine, theirs)]
    return saved | {"estimated_gpus_saved_percent": percent_saved(*gpus)}


def memory_key(*bills: Mapping[str, Any]) -> str:
    """By which memory runs are compared: a GPU's if any of them used one, else that of the process."""
    on_gpu = any(bill.get("peak_gpu_memory_bytes") is not None for bill in bills)
    return "peak_gpu_memory_bytes" if on_gpu else "peak_memory_bytes"


def estimate_gpus(peak_bytes: float | None, gpu_memory_gb: float = T4_MEMORY_GB) -> int | None:
    """GPUs of so much memory (in 10^9 bytes) that would hold the measured peak of a GPU's process: an estimate, which supposes
    that the memory can be divided evenly. None where it was not measured on a GPU."""
    if peak_bytes is None or not math.isfinite(peak_bytes) or peak_bytes <= 0:
        return None
    return math.ceil(peak_bytes / (gpu_memory_gb * _BYTES_PER_GB))


def percent_saved(mine: float | None, theirs: float | None) -> float | None:
    """100 * (1 - mine / theirs), or None where that says nothing."""
    if mine is None or theirs is None or not math.isfinite(mine) or not math.isfinite(theirs) or theirs <= 0:
        return None
    return 100 * (1 - mine / theirs)


def _larger(one: int | None, other: int | None) -> int | None:
    known = [value for value in (one, other) if value is not None]
    return max(known) if known else None


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _peak_rss() -> int | None:
    """Bytes. Linux also counts the peak of the process that started this one into `ru_maxrss`, but not into VmHWM."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, KiB elsewhere


def _peak_cuda() -> int | None:
    torch = sys.modules.get("torch")  # a process that never imported torch used no GPU through it
    if torch is None or not torch.cuda.is_available():
        return None
    return max(torch.cuda.max_memory_allocated(index) for index in range(torch.cuda.device_count()))


def _gpus_in_use() -> int:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return 0
    return int(os.environ.get("WORLD_SIZE", "1"))
