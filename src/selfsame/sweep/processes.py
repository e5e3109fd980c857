"""Commands in local processes, a few at a time, each with a log of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from selfsame.errors import TimeUp
from selfsame.launch import cores, end_processes, start_process, why_ended

_TAIL = 20  # lines of a log that say why


@dataclass(frozen=True)
class Task:
    """A command of `selfsame` for a run.

    Attributes:
        name: of the run.
        key: tells it from others of the same run.
        arguments: of the command.
        log: the file that its output is added to.
    """

    name: str
    key: str
    arguments: tuple[str, ...]
    log: Path


Ended = Callable[[Task, int, str], None]
"""Called with a task, its exit code and, where that is not 0, why."""


def work(tasks: Sequence[Task], count: int, ended: Ended) -> None:
    """Run the tasks in this order, `count` at a time; the threads of the machine are divided among them.

    A task whose time is up (exit code 75) keeps the rest from starting. On Ctrl-C all processes save and stop.
    """
    from selfsame.training import stopping

    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, cores() // count)))
    environment = os.environ | {
        "OMP_NUM_THREADS": threads,
        "PYTHONUNBUFFERED": "1",
        "SELFSAME_STARTED": str(stopping.STARTED),
    }
    waiting, running, late = deque(tasks), dict[str, tuple[Task, subprocess.Popen[str]]](), False
    try:
        while running or (waiting and not late):
            while waiting and len(running) < count and not late:
                task = waiting.popleft()
                with open(task.log, "a", encoding="utf-8") as log:
                    command = [sys.executable, "-m", "selfsame.cli", *task.arguments]
                    running[task.key] = task, start_process(command, environment, log)
            for task, process in [*running.values()]:
                if (code := process.poll()) is not None:
                    del running[task.key]
                    late = late or code == TimeUp.exit_code
                    ended(task, code, _why(task, code))
            time.sleep(0.1)
    finally:
        processes = [process for _, process in running.values()]
        for process in processes:
            process.send_signal(signal.SIGINT)
        end_processes(processes)


def _why(task: Task, code: int) -> str:
    lines = deque(task.log.read_text(encoding="utf-8", errors="replace").splitlines(), _TAIL)
    return why_ended(task.name, code, lines) if code else ""
