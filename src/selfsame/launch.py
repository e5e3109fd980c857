"""A run started from a notebook or a script: in this process, or in one for each GPU."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from selfsame.config import Config, save_config
from selfsame.errors import ConfigError, RunError, TimeUp
from selfsame.run.directory import RunDirectory

_GRACE = 60.0  # seconds that processes have to save and stop


def train(config: Config, name: str = "run", processes: int | None = None) -> RunDirectory:
    """Does the stages of the configuration that are not done yet, as `selfsame run` does; called again, it goes on.

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

    if processes is not None and processes < 1:
        raise ConfigError(f"processes must be 1 or more (got {processes})")
    count = processes or parallel.gpus()
    if processes is None and count < 2:
        return pipeline.run(config, name)
    path = pipeline.run_directory(config, name)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        save_config(config, file)
        command = [sys.executable, "-m", "selfsame.cli", "run", "--config", str(file), "--run.directory", str(path)]
        code, last = _together(command, count)
    if code == TimeUp.exit_code:
        raise TimeUp(last.partition("; give the same command")[0])
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise RunError(last or f"a process of the run ended with exit code {code}")
    return RunDirectory.open(path)


def _together(command: Sequence[str], count: int) -> tuple[int, str]:
    """Runs a program `count` times as one process group, of which the first is heard.

    Returns:
        (exit code of the first that failed, or 0; the last line that it said)
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))}
    started: list[subprocess.Popen[str]] = []
    last = [""] * count
    readers = []
    try:
        for rank in range(count):
            env = os.environ | threads | group | {"RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONUNBUFFERED": "1"}
            process = subprocess.Popen(
                command, env=env, text=True, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            started.append(process)
            readers.append(threading.Thread(target=_listen, args=(process, last, rank), daemon=True))
            readers[rank].start()
        failed = _wait(started)
    except KeyboardInterrupt:
        for process in started:
            process.send_signal(signal.SIGINT)
        _wait(started)
        return 130, ""
    finally:
        for process in started:
            process.kill()
    for reader in readers:
        reader.join(_GRACE)
    return (0, last[0]) if failed is None else (started[failed].returncode, last[failed])


def _listen(process: subprocess.Popen[str], last: list[str], rank: int) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if rank == 0:
            print(line, end="", flush=True)
        last[rank] = line.strip().removeprefix("selfsame: ") or last[rank]


def _wait(processes: Sequence[subprocess.Popen[str]]) -> int | None:
    """The number of the first process that fails, None if none does. The others, who would wait for it for ever, get some time
    and are then ended."""
    left = dict(enumerate(processes))
    while left:
        for rank in [rank for rank, process in left.items() if process.poll() is not None]:
            if left.pop(rank).returncode:
                for other in left.values():
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        other.wait(_GRACE)
                    other.kill()
                return rank
        time.sleep(0.1)
    return None
