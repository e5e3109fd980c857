"""Commands in processes that can be killed and need not import anything: forks of one process that has imported `selfsame`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_SERVER = """
import json, os, sys, traceback
import selfsame.pipeline
from selfsame.cli import main
exec(sys.argv[2])
for line in os.fdopen(os.dup(0)):  # sys.stdin stays unread
    child = os.fork()
    if child == 0:
        null, errors = os.open(os.devnull, os.O_RDWR), os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for old, new in ((null, 0), (null, 1), (errors, 2)):
            os.dup2(old, new)
        try:
            os._exit(main(json.loads(line)))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

QUICK = """
from selfsame.eval import evaluate
from selfsame.report.plots import Plot
evaluate.CALIBRATION = 40
Plot.svg = '<svg viewBox="0 0 1 1" role="img"></svg>'
del evaluate, Plot
"""
"""What `conftest.quick_runs` does, for other processes; plots are not drawn at all."""


class Forked:
    """One command at a time. Strings have other hashes than in this process.

    Args:
        errors: where the stderr of the last one goes.
        before: what is executed before all of them.
    """

    def __init__(self, errors: Path, before: str = "") -> None:
        self.errors = errors
        self._server = subprocess.Popen(
            [sys.executable, "-c", _SERVER, str(errors), before],
            env={**os.environ, "PYTHONHASHSEED": "random"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._server.stdin and self._server.stdout
        self._to, self._from = self._server.stdin, self._server.stdout

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *_: Any) -> None:
        self._to.close()
        self._server.wait(60)
        self._from.close()

    def start(self, arguments: Sequence[str]) -> int:
        """The id of the process that runs the command."""
        self._to.write(json.dumps(list(arguments)) + "\n")
        self._to.flush()
        return int(self._from.readline())

    def wait(self) -> int:
        """How it ended: its exit code, or the signal, negative."""
        return int(self._from.readline())
