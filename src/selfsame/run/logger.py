"""The voice of a run: records in metrics.jsonl and samples.jsonl, trackers, and a progress bar for people.

The two files are the truth that reports read; a tracker that is missing or fails is switched off with one line and never stops
the training.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from selfsame.run.directory import RunDirectory
from selfsame.run.files import append_jsonl, dotted, read_jsonl, write_text
from selfsame.run.outlook import left_in_all
from selfsame.run.trackers import make_tracker, send_rest

Item = TypeVar("Item")

_RESERVED = ("stage", "step", "time", "not_finite")
_CONSOLE = Console(stderr=True, force_jupyter=False)
_LINE_EVERY = 5.0  # seconds between two progress lines where there is no terminal
_RUNNING: list[RichProgress] = []  # bars on the terminal


def say(text: str, enabled: bool = True) -> None:
    """One line for people, on stderr; goes above a running progress bar."""
    if enabled:
        _CONSOLE.print(text, markup=False, highlight=False, soft_wrap=True)


class RunLogger:
    """Writes the records of a run and forwards them to trackers (`wandb`, `tensorboard`, `trackio`).

    directory: the run; config: its configuration, nested, for the trackers; quiet: no notes about trackers.
    enabled: False on every rank but 0, where nothing is written then. Under torchrun, make the `Accelerator` first:
    accelerate's trackers ask it which rank they are on.
    """

    def __init__(
        self,
        directory: RunDirectory,
        trackers: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
        quiet: bool = False,
        enabled: bool = True,
    ) -> None:
        self.directory, self.quiet, self.enabled = directory, quiet, enabled
        self._trackers: dict[str, Any] = {}
        self._stages_at_wandb: set[str] = set()
        for name in trackers if enabled else ():
            self._guard(name, lambda name=name: self._start(name, config or {}))

    def log(self, stage: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Record the numbers of one step. A number that is not finite is stored as null and named in `not_finite`.

        Raises ValueError for a metric named like a field of the record, RunError where the disk is full.
        """
        if not self.enabled:
            return
        if clash := [name for name in metrics if name in _RESERVED]:
            raise ValueError(f"metrics may not be named {clash}: these are fields of every record")
        values = {name: _number(value) for name, value in metrics.items()}
        bad = [name for name, value in values.items() if isinstance(value, float) and not math.isfinite(value)]
        record = {"stage": stage, "step": step, "time": time.time(), **values}
        append_jsonl(self.directory.metrics_path, record | ({"not_finite": bad} if bad else {}))
        sent = {f"{stage}/{name}": value for name, value in values.items() if name not in bad}
        for name in list(self._trackers):
            self._guard(name, lambda name=name: self._forward(name, stage, step, sent))

    def sample(self, stage: str, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Record sample replies: rows of `persona`, `history`, `reply` and `reward` (None where there is no score)."""
        for row in rows if self.enabled else ():
            append_jsonl(self.directory.samples_path, {"stage": stage, "step": step, **row})

    def send_rest(self, find: Callable[[], tuple[Mapping[str, float], Mapping[str, bytes]]]) -> None:
        """Gives the trackers what belongs beside curves: the sample replies, and what `find` finds: results, and pictures (PNG)
        by name. It is asked only if there is a tracker, and may fail as a tracker may."""
        for name in list(self._trackers):
            self._guard(name, lambda name=name: self._send_rest(name, *find()))

    def _send_rest(self, name: str, results: Mapping[str, float], pictures: Mapping[str, bytes]) -> None:
        send_rest(name, self._trackers[name], results, read_jsonl(self.directory.samples_path)[0], pictures)

    def truncate(self, stage: str, step: int) -> int:
        """Before resuming `stage` from `step`: drop what was recorded after it, and half lines that a crash left.

        Returns the number of lines dropped. Other stages are untouched; each file is replaced atomically.
        """
        paths = (self.directory.metrics_path, self.directory.samples_path) if self.enabled else ()
        return sum(_truncate_file(path, stage, step) for path in paths)

    def close(self) -> None:
        """Finish the trackers. May be called twice."""
        for name in list(self._trackers):
            self._guard(name, self._trackers[name].finish)
        self._trackers.clear()

    def __enter__(self) -> RunLogger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _guard(self, name: str, action: Callable[[], None]) -> None:
        """Run what a tracker does. Whatever it raises switches it off; what it prints is not for the terminal."""
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                action()
        except Exception as error:  # any package may raise anything here, and none of it is worth the run
            reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
            self._trackers.pop(name, None)
            say(f"tracker {name} is switched off, the run continues without it: {reason}", not self.quiet)

    def _start(self, name: str, config: Mapping[str, Any]) -> None:
        tracker = make_tracker(name, self.directory.path)
        tracker.start()
        self._trackers[name] = tracker
        simple = {key: value if isinstance(value, (bool, int, float, str)) else str(value)
                  for key, value in dotted(config).items()}  # fmt: skip
        tracker.store_init_configuration(simple)

    def _forward(self, name: str, stage: str, step: int, values: dict[str, Any]) -> None:
        tracker = self._trackers[name]
        if name != "wandb":
            tracker.log(values, step=step)
            return
        # W&B drops a step smaller than the one before, and every stage counts from 0: give each stage its own axis.
        if stage not in self._stages_at_wandb:
            tracker.tracker.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
            self._stages_at_wandb.add(stage)
        tracker.log({**values, f"{stage}/step": step})


def _number(value: Any) -> Any:
    """A Python number (0-dim tensors and numpy scalars included) or text."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else float(value)


def _truncate_file(path: Path, stage: str, step: int) -> int:
    if not path.exists():
        return 0
    records, damaged = read_jsonl(path)
    kept = [record for record in records if record.get("stage") != stage or record.get("step", 0) <= step]
    if dropped := len(records) - len(kept) + damaged:
        write_text(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in kept))
    return dropped


class Progress:
    """How far a piece of work is: a bar with the time left on a terminal, a line that changes in a notebook, else a line every
    few seconds, on stderr.

    >>> with Progress(total=200, description="ppo") as bar:
    ...     bar.advance(note="reward 0.31")

    total: None where it is not known. enabled: False on every rank but 0. inner: part of a piece of work that has its own: a
    second bar on a terminal, which goes when it is done; elsewhere nothing is said of it where it takes only seconds.
    """

    def __init__(
        self,
        total: int | None,
        description: str,
        enabled: bool = True,
        done: int = 0,
        clock: Callable[[], float] = time.monotonic,
        inner: bool = False,
    ) -> None:
        self.total, self.description, self.enabled, self.done = total, description, enabled, done
        self._clock = clock
        self._began_at = done  # a resumed stage did not do these now: they say nothing about its speed
        self._start = self._said = clock()
        self._said_at = -1
        terminal = enabled and _CONSOLE.file.isatty()  # not is_terminal: FORCE_COLOR makes none
        self._inner, self._outer = inner, _RUNNING[-1] if terminal and _RUNNING else None  # one display at a time
        self._bar = self._outer or (_bar() if terminal else None)
        fields = {"note": "", "part": inner or self._outer is not None}
        self._task = self._bar.add_task(description, total=total, completed=done, **fields) if self._bar else None
        self._cell = _cell() if enabled and not self._bar else None

    def __enter__(self) -> Progress:
        if self._bar and not self._outer:
            self._bar.start()
            _RUNNING.append(self._bar)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def advance(self, count: int = 1, note: str = "") -> None:
        """`count` more units are done; `note` is shown after the time left."""
        self.done += count
        if self._bar and self._task is not None:
            self._bar.update(self._task, advance=count, note=note)
        elif self.enabled and self._clock() - self._said >= _LINE_EVERY:
            self._say(note)

    def close(self) -> None:
        """Leave the bar, or a last line, as it stands."""
        if self._outer and self._task is not None:
            self._outer.remove_task(self._task)
            self._bar = self._outer = self._task = None
        elif self._bar:
            self._bar.stop()
            _RUNNING[:] = [bar for bar in _RUNNING if bar is not self._bar]
        elif self.enabled and self._said_at != self.done and not (self._inner and self._said_at < 0):
            self._say("")
        self.enabled = False

    def _say(self, note: str) -> None:
        first, self._said, self._said_at = self._said_at < 0, self._clock(), self.done
        if self._cell is None:
            say(self.line(note))
        else:
            (self._cell.display if first else self._cell.update)({"text/plain": self.line(note)}, raw=True)

    def line(self, note: str = "") -> str:
        """The state as text: `sft: 40/200 (20%), 3.2/s, 0:50 left, at least 4:10 left in all, loss 2.31`."""
        elapsed, worked = self._clock() - self._start, self.done - self._began_at
        rate = worked / elapsed if elapsed > 0 and worked else None
        share = f" ({100 * self.done / self.total:.0f}%)" if self.total else ""
        parts = [f"{self.done}/{self.total}{share}" if self.total is not None else f"{self.done}"]
        if rate is not None:
            parts.append(f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each")
        if rate is not None and self.total is not None and self.done < self.total:
            left = (self.total - self.done) / rate
            parts += [f"{_duration(left)} left", *([] if self._inner else _in_all(left))]
        elif self.total is not None and self.done >= self.total:
            parts.append(f"took {_duration(elapsed)}")
        return f"{self.description}: " + ", ".join([*parts, *([note] if note else [])])


def progress(items: Iterable[Item], description: str, total: int | None = None, enabled: bool = True) -> Iterator[Item]:
    """The items, with a `Progress` of how many were taken. `total` is needed only for items without a length."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Progress(total, description, enabled) as bar:
        for item in items:
            yield item
            bar.advance()


class _Times(ProgressColumn):
    """`elapsed 0:11, left 0:13, at least 4:10 left in all`."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        left = None if task.finished else task.time_remaining
        times = [f"elapsed {_duration(task.finished_time or task.elapsed or 0.0)}"]
        times += [] if left is None else [f"left {_duration(left)}"]
        times += [] if left is None or task.fields.get("part") else _in_all(left)
        return Text(", ".join(times))


def _in_all(left: float) -> list[str]:
    """What is known of the time that the whole run has left, as a list of one or no text."""
    known = left_in_all(left)
    return [] if known is None else [f"{'about' if known[1] else 'at least'} {_duration(known[0])} left in all"]


def _bar() -> RichProgress:
    texts = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=20), MofNCompleteColumn(), _Times())
    return RichProgress(*texts, TextColumn("{task.fields[note]}", markup=False), console=_CONSOLE)


def _cell() -> Any:
    """What changes a line of a notebook's output; None outside of one."""
    if "ipykernel" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython
    from IPython.display import DisplayHandle

    return DisplayHandle() if type(get_ipython()).__name__ == "ZMQInteractiveShell" else None


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
