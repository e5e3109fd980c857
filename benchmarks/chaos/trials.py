"""The disturbances: each makes a run, disturbs it, starts the same command again and says how it ended."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from selfsame import launch
from selfsame.config import read_config
from selfsame.errors import SelfsameError

from .recipe import STAGES, Ended, Recipe, Writes
from .verdict import difference, half_written

SAME = "same"
KILLS = 4
"""Of one run, one after the other."""
TURN_BACK = 86_400
"""Seconds that the clock is set back."""


class Wrong(Exception):
    """A run that ended as it must not."""


@dataclass(frozen=True)
class Reference:
    """The run that nobody disturbed: its results, the seconds that it computed, its writes, and bytes on the disk."""

    directory: Path
    results: Mapping[str, object]
    work: float
    writes: int
    size: int


@dataclass
class Trial:
    """One run. `at`: where it was disturbed, for the record; `said`: lines for the user."""

    recipe: Recipe
    reference: Reference
    draw: random.Random
    directory: Path
    at: str = ""
    said: list[str] = field(default_factory=list)

    @property
    def command(self) -> list[str]:
        return self.recipe.command(self.directory)

    def line(self, ended: Ended, what: str = "") -> None:
        """Checks that it ended in one clear line that holds `what`."""
        if not ended.is_clear() or what not in ended.line:
            raise Wrong(f"no clear line{f' with {what}' if what else ''}, exit code {ended.code}: {ended.said[-600:]}")
        self.said.append(ended.line)

    def whole(self) -> None:
        if found := half_written(self.directory):
            raise Wrong(f"half-written: {found}")

    def where(self) -> str:
        """How far the run is."""
        if not self.directory.exists():
            return "nothing"
        names = [p.parent.name + " " + p.name for p in self.directory.glob("checkpoints/*/step-*")]
        evaluated = len(list(self.directory.glob("eval/*.json")))
        return f"{evaluated} evaluated" if evaluated else max(names, key=_progress, default="start")

    def same(self, ended: Ended, but: str = "") -> str:
        """Checks that it ended as the reference did."""
        if ended.code != 0:
            raise Wrong(f"exit code {ended.code}: {ended.said[-600:]}")
        if found := difference(dict(self.reference.results), self.directory, but):
            raise Wrong(f"not the same: {found}")
        return SAME

    def disturbed(self, number: int, times: int = 1) -> Ended:
        """The run, to which a signal was sent at a random moment, and when it was started again at another one after that."""
        shares = sorted(self.draw.random() for _ in range(times))
        while True:
            self.at, ended, before = "", Ended(0, ""), 0.0
            for share in shares:
                running = self.recipe.start(self.command)
                if running.wait_for((share - before) * self.reference.work):
                    running.signal(number)
                ended, before = running.wait(), share
                self.at += f"{', ' if self.at else ''}{share:.2f} of its work: {self.where()}"
                if ended.code == 0:
                    break
                self.whole()
            if ended.code != 0 and self.directory.exists():
                return ended
            shutil.rmtree(self.directory, ignore_errors=True)  # it was faster than a signal, or had not begun
            shares = [0.9 * share + 0.01 for share in shares]


def _progress(name: str) -> tuple[int, str]:
    stage, step = name.split()
    return STAGES.index(stage), step


def kill(trial: Trial) -> str:
    """SIGKILL at four random moments."""
    trial.disturbed(signal.SIGKILL, KILLS)
    return trial.same(trial.recipe.run(trial.command))


def kill_at_write(trial: Trial) -> str:
    """SIGKILL before four random ones of its writes: files opened, renamed, removed; folders made and removed."""
    kills = 0
    while kills < KILLS:
        at = trial.draw.randint(1, trial.reference.writes // 2)
        ended = trial.recipe.run(trial.command, Writes(trial.directory, at))
        if ended.code == 0:  # so many were not left
            shutil.rmtree(trial.directory)
            trial.at, kills = "", 0
            continue
        if ended.code != -signal.SIGKILL:
            raise Wrong(f"was not killed at write {at}, exit code {ended.code}: {ended.said[-600:]}")
        trial.at, kills = f"{trial.at}{', ' if kills else ''}write {at}: {trial.where()}", kills + 1
        trial.whole()
    return trial.same(trial.recipe.run(trial.command))


def terminate(trial: Trial) -> str:
    """SIGTERM at a random moment: what a cluster sends before it kills."""
    trial.line(trial.disturbed(signal.SIGTERM), "run the same command again to resume")
    return trial.same(trial.recipe.run(trial.command))


def full_disk(trial: Trial) -> str:
    """A disk of random size, which is full on the way and is made larger then."""
    trial.directory.mkdir(parents=True)
    share = trial.draw.uniform(0.02, 1)
    _mount(trial.directory, share * trial.reference.size)
    try:
        while (ended := trial.recipe.run(trial.command)).code == 0:
            _clear(trial.directory)
            share *= 0.8
            _mount(trial.directory, share * trial.reference.size, "remount,")
        trial.at = f"{share:.2f} of its size: {trial.where()}"
        trial.line(ended, "disk full")
        trial.whole()
        _mount(trial.directory, 10 * trial.reference.size, "remount,")
        return trial.same(trial.recipe.run(trial.command))
    finally:
        subprocess.run(["umount", str(trial.directory)], check=True)


def can_mount(folder: Path) -> str:
    """Why no small disk can be mounted; "": it can."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _mount(folder, 1 << 20)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"a small disk cannot be mounted here: {error}"
    subprocess.run(["umount", str(folder)], check=True)
    return ""


def _mount(folder: Path, size: float, how: str = "") -> None:
    pages = max(4, round(size / 4096))
    command = ["mount", "-t", "tmpfs", "-o", f"{how}size={4 * pages}k", "tmpfs", str(folder)]
    subprocess.run(command, check=True, capture_output=True)


def _clear(folder: Path) -> None:
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def two_runs(trial: Trial) -> str:
    """The same command a second time while the first works: one of the two is refused, the other is not harmed."""
    share = trial.draw.choice((0.0, trial.draw.random() * 0.1, trial.draw.random()))
    trial.at = f"{share:.2f} of its work"
    first = trial.recipe.start(trial.command)
    if not first.wait_for(share * trial.reference.work):
        raise Wrong("the first was over before the second began")
    second = trial.recipe.start(trial.command)
    ended = sorted((first.wait(), second.wait()), key=lambda end: end.code)
    trial.line(ended[1], "is in use by process")
    return trial.same(ended[0])


def clock(trial: Trial) -> str:
    """The clock is set back by a day while it works; it is killed, and its files are of tomorrow when it is started again."""
    back = trial.draw.random() * trial.reference.work

    def turn() -> None:
        real, at = time.time, time.process_time() + back
        time.time = lambda: real() - (TURN_BACK if time.process_time() > at else 0)

    running = trial.recipe.start(trial.command, turn)
    if running.wait_for((0.5 + trial.draw.random() / 2) * trial.reference.work):
        running.signal(signal.SIGKILL)
    running.wait()
    trial.at = f"after {back:.1f} s: {trial.where()}"
    for path in trial.directory.rglob("*"):
        os.utime(path, (time.time() + TURN_BACK,) * 2)
    return trial.same(trial.recipe.run(trial.command, turn))


def other_data(trial: Trial) -> str:
    """Killed, and a dialogue is another one when it is started again: refused, until the old one is back."""
    data = trial.directory.with_suffix(".data") / trial.recipe.data.name
    data.parent.mkdir()
    shutil.copy(trial.recipe.data, data)
    command = trial.recipe.command(trial.directory, data=data)
    stage = trial.draw.choice(STAGES)
    trial.recipe.run(command, Writes(trial.directory, 1, f"{stage}/.tmp-step-000002"))
    trial.at = trial.where()
    rows = data.read_text(encoding="utf-8").splitlines()
    row = trial.draw.randrange(len(rows))
    how, other = trial.draw.choice((("removed", []), ("changed", [rows[row].replace(" I ", " we ")])))
    data.write_text("\n".join([*rows[:row], *other, *rows[row + 1 :]]) + "\n", encoding="utf-8")
    trial.at += f", row {row} {how}"
    trial.line(trial.recipe.run(command), str(data))
    shutil.copy(trial.recipe.data, data)
    return trial.same(trial.recipe.run(command))


def two_processes(trial: Trial) -> str:
    """Two processes work, and one of them is killed."""
    command = trial.recipe.command(trial.directory, STAGES)
    running = trial.recipe.start(command, run=together)
    rank, steps = trial.draw.randrange(2), trial.draw.randrange(1, 6)
    children = Path(f"/proc/{running.process}/task/{running.process}/children")
    while len(list(trial.directory.glob("checkpoints/*/step-*"))) < steps:
        if not running.wait_for(0):
            raise Wrong(f"it was over before one was killed: {running.wait()}")
        time.sleep(0.01)
    os.kill(int(children.read_text().split()[rank]), signal.SIGKILL)
    trial.at = f"process {rank}: {trial.where()}"
    trial.line(running.wait(), f"process {rank} of the run ended with signal SIGKILL")
    trial.whole()
    return trial.same(trial.recipe.start(command, run=together).wait())


def together(arguments: list[str]) -> int:
    """The command in two processes, as a program starts them; what the first prints is on stderr."""
    os.dup2(2, 1)
    try:
        launch.train(read_config(arguments[1:])[0], processes=2)
    except SelfsameError as error:
        os.write(2, f"selfsame: {error}\n".encode())
        return 2
    return 0
