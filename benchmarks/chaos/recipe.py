"""A whole run of a few seconds, in processes that can be killed and need not import anything: forks of this one."""

from __future__ import annotations

import importlib.resources
import mmap
import os
import struct
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rouge_score.rouge_scorer  # noqa: F401 - what a run imports on its way is here before the forks
import transformers.models.llama.modeling_llama  # noqa: F401

import selfsame.pipeline
import selfsame.report.tracked  # noqa: F401
from benchmarks.shapes import make_model
from selfsame.cli import main
from selfsame.eval import evaluate
from selfsame.report.plots import Plot

STAGES = ("sft", "reward", "ppo")
DIALOGUES = 24
_OPTIONS = """--run.save-every 1 --run.samples-every 2 --run.shown 1 --run.systems base ppo
    --model.dtype float32 --model.max-length 192 --model.lora.rank 4 --data.max-turns 6 --data.validation-share 0.5
    --training.sft.max-steps 3 --training.sft.batch-size 2 --training.sft.validation-size 2
    --training.reward.max-steps 3 --training.reward.batch-size 2 --training.reward.comparison-samples 2
    --training.reward.normalise-samples 4 --training.ppo.steps 3 --training.ppo.prompts-per-step 2
    --training.ppo.samples-per-prompt 2 --training.ppo.max-new-tokens 6 --training.ppo.eval-size 2
    --training.ppo.eval-every 2 --pairs.count 12 --pairs.validation-count 10 --sampling.max-new-tokens 6
    --evaluation.consistency-size 2 --evaluation.engagement-size 2 --evaluation.perplexity-size 2
    --evaluation.resamples 100 --evaluation.selfplay-size 1 --evaluation.selfplay-turns 4
    --evaluation.judge rules --evaluation.model selfsame-9m"""


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (a signal: negative), and what it said."""

    code: int
    said: str

    @property
    def line(self) -> str:
        """Its last line, without the name of the program."""
        return (self.said.splitlines() or [""])[-1].removeprefix("selfsame: ")

    def is_clear(self) -> bool:
        """Whether it failed with one line for the user, which is the last."""
        lines = [line for line in self.said.splitlines() if line.startswith("selfsame: ")]
        last = (self.said.splitlines() or [""])[-1]
        return self.code != 0 and lines == [last] and "Traceback" not in self.said


@dataclass(frozen=True)
class Running:
    """A process that runs a command."""

    process: int
    errors: Path

    def wait(self) -> Ended:
        code = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        return Ended(code, self.errors.read_text(encoding="utf-8", errors="replace"))

    def works(self) -> float:
        """Seconds that it has computed: on a busy machine these say how far it is, and seconds of the clock do not."""
        return int(Path(f"/proc/{self.process}/schedstat").read_text().split()[0]) / 1e9

    def wait_for(self, seconds: float) -> bool:
        """Waits until it has computed so long, or has ended; whether it still runs."""
        while not os.waitid(os.P_PID, self.process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if self.works() >= seconds:
                return True
            time.sleep(0.002)
        return False

    def signal(self, number: int) -> None:
        os.kill(self.process, number)


class Recipe:
    """What all runs have in common: a random base, a few dialogues, the settings.

    folder: where they are written.
    stages: that a run does.
    """

    def __init__(self, folder: Path, stages: Sequence[str] = (*STAGES, "evaluate")) -> None:
        self.folder, self.stages, self._started = folder, stages, 0
        folder.mkdir(parents=True, exist_ok=True)
        self.base = make_model("tiny", folder / "base")
        self.data = folder / "data.jsonl"
        if not self.data.exists():
            bundled = Path(str(importlib.resources.files("selfsame") / "data/demo/dialogues.jsonl"))
            rows = bundled.read_text(encoding="utf-8").splitlines()[:DIALOGUES]
            self.data.write_text("\n".join(rows) + "\n", encoding="utf-8")

    def command(self, directory: Path, stages: Sequence[str] = (), data: Path | None = None) -> list[str]:
        """The run in this directory."""
        where = [
            "--run.directory",
            str(directory),
            "--model.base",
            str(self.base),
            "--data.path",
            str(data or self.data),
        ]
        return ["run", *where, "--run.stages", *(stages or self.stages), *_OPTIONS.split()]

    def start(
        self,
        command: Sequence[str],
        prepare: Callable[[], Any] = lambda: None,
        run: Callable[[list[str]], int] | None = None,
    ) -> Running:
        """A process for the command. `prepare` is called in it first; `run`: instead of the command line."""
        self._started += 1
        errors = self.folder / f"errors-{os.getpid()}-{self._started}"
        process = os.fork()
        if process:
            return Running(process, errors)
        try:
            null, told = os.open(os.devnull, os.O_RDWR), os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for old, new in ((null, 0), (null, 1), (told, 2)):
                os.dup2(old, new)
            prepare()
            os._exit((run or quickly)(list(command)))
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(1)

    def run(self, command: Sequence[str], prepare: Callable[[], Any] = lambda: None) -> Ended:
        """Starts and waits."""
        return self.start(command, prepare).wait()


def quickly(arguments: list[str]) -> int:
    """The command line without what only costs time: plots, rows of replies to compare with, many turns for bounds of sense."""
    evaluate.CALIBRATION, evaluate._references, Plot.svg = 12, lambda *_: {}, "<svg/>"  # pyright: ignore
    return main(arguments)


class Writes:
    """Counts what a process does to the files of a folder, and ends it with SIGKILL before one of those.

    folder: paths in it are counted.
    at: number of the write that is the last to be tried; None: it only counts.
    name: what its path must contain; "": nothing.
    """

    def __init__(self, folder: Path, at: int | None = None, name: str = "") -> None:
        self._folder, self._at, self._name, self._shared = str(folder), at, name, mmap.mmap(-1, 8)

    @property
    def count(self) -> int:
        """So many were tried."""
        return struct.unpack("q", self._shared[:8])[0]

    def __call__(self) -> None:
        """Begins to watch, in the process that is to be watched."""
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _WRITES or not _is_write(event, arguments):
            return
        path = os.fspath(arguments[0]) if isinstance(arguments[0], (str, os.PathLike)) else ""
        within = path.startswith(self._folder) or (event in ("os.remove", "os.rmdir") and not os.path.isabs(path))
        if not within or self._name not in path:
            return
        self._shared[:8] = struct.pack("q", self.count + 1)
        if self.count == self._at:
            os.kill(os.getpid(), 9)


_WRITES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")


def _is_write(event: str, arguments: tuple[Any, ...]) -> bool:
    return event != "open" or bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
