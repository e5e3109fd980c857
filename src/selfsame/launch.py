"""A run started from a notebook or a script: in this process, or in one for each GPU."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from selfsame.config import Config, save_config
from selfsame.errors import ConfigError, RunError, TimeUp
from selfsame.run.directory import RunDirectory

_GRACE = 60.0  # seconds that processes have to save and stop
_TAIL = 20  # lines of a process that are remembered
_ERROR = "selfsame: "


def train(config: Config, name: str = "run", processes: int | None = None) -> RunDirectory:
    """Does the stages of the configuration that are not done yet, as `selfsame run` does; call it again to resume.

    Args:
        config: see `load_config`.
        name: begins the name of the run directory, where the configuration gives none.
        processes: how many share the work. They are started as programs of their own, so that several work in a notebook, too,
            and memory is measured apart from what is here already; what the first prints is printed here. None: one for each
            GPU where there are several, else this process does it.

    Raises:
        SelfsameError: see the stages.
        TimeUp: after `run.max_hours`, when everything is saved.
        KeyboardInterrupt: Ctrl-C or a notebook's stop button, after saving.
    """
    from selfsame import pipeline
    from selfsame.model import parallel
    from selfsame.training import stopping

    if processes is not None and processes < 1:
        raise ConfigError(f"processes must be 1 or more (got {processes})")
    here = int(os.environ.get("WORLD_SIZE", "1")) > 1 or config.model.device == "cpu" or parallel.gpus() < 2
    if processes is None and here:
        return pipeline.run(config, name)
    path = pipeline.run_directory(config, name)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        save_config(config, file)
        command = [sys.executable, "-m", "selfsame.cli", "run", "--config", str(file), "--run.directory", str(path)]
        code, told = run_together(command, processes or parallel.gpus(), {"SELFSAME_STARTED": str(stopping.STARTED)})
    if code == TimeUp.exit_code:
        raise TimeUp(told.partition("; run the same command")[0])
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise RunError(told)
    return RunDirectory.open(path)


def run_together(command: Sequence[str], count: int, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Runs a program `count` times as one process group; what the first says is printed. The processes end with this one.

    Returns:
        (exit code of the first that failed, or 0; its error, or what is known of why it ended)
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, cores() // count)))}
    started: list[subprocess.Popen[str]] = []
    said: list[deque[str]] = [deque(maxlen=_TAIL) for _ in range(count)]
    readers: list[threading.Thread] = []
    failed: int | None = None
    try:
        for rank in range(count):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONUNBUFFERED": "1"}
            started.append(start_process(command, {**os.environ, **threads, **group, **own, **(environment or {})}))
            readers.append(threading.Thread(target=_listen, args=(started[rank], said[rank], rank == 0), daemon=True))
            readers[rank].start()
        failed = _first_to_fail(started)
    except KeyboardInterrupt:
        for process in started:
            process.send_signal(signal.SIGINT)
        end_processes(started)
        return 130, ""
    finally:
        end_processes(started)
    for reader in readers:
        reader.join(_GRACE)
    return (
        (0, "")
        if failed is None
        else (
            started[failed].returncode,
            why_ended(f"process {failed} of the run", started[failed].returncode, said[failed]),
        )
    )


def start_process(
    command: Sequence[str], environment: Mapping[str, str], output: IO[str] | int = subprocess.PIPE
) -> subprocess.Popen[str]:
    """Start a program in a session of its own, so that a terminal's Ctrl-C comes from here alone. Call it from a thread that
    lives as long as the program: on Linux the end of that thread stops it."""
    return subprocess.Popen(
        command, env=dict(environment), start_new_session=True, stdout=output, stderr=subprocess.STDOUT,
        encoding="utf-8", errors="replace", preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )  # fmt: skip


def _end_with_parent() -> None:
    """Linux: a process gets SIGTERM when the one that started it is gone, by which it saves and stops."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _listen(process: subprocess.Popen[str], said: deque[str], aloud: bool) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line.rstrip())
        if aloud and not line.startswith(_ERROR):  # that is raised here
            with contextlib.suppress(OSError, ValueError):  # nobody listens any more: go on, or the process would wait
                print(line, end="", flush=True)


def _first_to_fail(processes: Sequence[subprocess.Popen[str]]) -> int | None:
    """Waits until all have ended or one has failed; its number. One that was killed comes before those that miss it."""
    while True:
        ended = [rank for rank, process in enumerate(processes) if process.poll() is not None]
        bad = [rank for rank in ended if processes[rank].returncode]
        if bad or len(ended) == len(processes):
            return min(bad, key=lambda rank: (processes[rank].returncode > 0, rank), default=None)
        time.sleep(0.1)


def end_processes(processes: Sequence[subprocess.Popen[str]]) -> None:
    """Give all of them together some time, for who waits for one that failed waits for ever; then end what is left."""
    until = time.monotonic() + _GRACE
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, until - time.monotonic()))
    for process in processes:
        process.kill()
        process.wait()


def why_ended(process: str, code: int, said: Sequence[str]) -> str:
    """Say why a process failed: its error, or its exit code and last words.

    Args:
        process: what to call it.
        code: its exit code; below 0 a signal.
        said: the last lines of its output.
    """
    errors = [line.removeprefix(_ERROR) for line in said if line.startswith(_ERROR)]
    if errors:
        return errors[-1]
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    last = " / ".join(line for line in said if line)
    return f"{process} ended with {how}{f'; it said last: {last}' if last else ''}"


def cores() -> int:
    """Count the processor cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
