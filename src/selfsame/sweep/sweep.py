"""A sweep from its first run to its table."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selfsame.config import Config, config_hash, merge_configs, save_config
from selfsame.errors import TimeUp
from selfsame.run.files import write_json, write_text
from selfsame.run.logger import say
from selfsame.run.records import EvaluationRecord, read_record
from selfsame.sweep.folder import SweepFolder
from selfsame.sweep.grid import Variant, make_variants, read_grid, short_names
from selfsame.sweep.processes import Task, work
from selfsame.sweep.results import (
    check_metric,
    compare_recipes,
    rank,
    recipes_of,
    results_record,
    results_text,
)
from selfsame.sweep.waves import Job, make_waves


@dataclass
class Sweep:
    """The runs of a grid in one folder.

    Attributes:
        folder: of the sweep.
        variants: the runs.
        by: the metric that chooses; None: the headline.
        processes: how many runs train at a time.
        chosen_on: the part of the held-out people that the runs are evaluated on.
        failed: name of a run -> why.
    """

    folder: SweepFolder
    variants: Sequence[Variant]
    by: str | None
    processes: int
    chosen_on: str
    failed: dict[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """What would be done: every job with its stages."""
        counted = f"{len(self.variants)} runs in {self.folder.path}, chosen on {self.chosen_on} of the held-out people"
        lines, listed = [counted], set[str]()
        for number, wave in enumerate(make_waves(self.folder.path, self.variants), 1):
            for job in wave:
                if job.key in listed:
                    continue  # all of its stages are shared
                listed.add(job.key)
                source = f", from {job.source}" if job.source else ""
                done = ", finished already" if job.key in self.folder.finished else ""
                lines.append(f"{number}  {job.variant.name}: {' '.join(job.stages)}{source}{done}")
        return lines

    def run(self) -> None:
        """Train and evaluate what is not finished yet.

        Raises:
            TimeUp: after `run.max_hours` of the whole sweep.
            KeyboardInterrupt: Ctrl-C, when all runs have saved.
        """
        self.folder.make()
        with self.folder.run(".").lock(), tempfile.TemporaryDirectory() as configs:
            for wave in make_waves(self.folder.path, self.variants):
                tasks = []
                for number, job in enumerate(wave):
                    if job.key in self.folder.finished or job.variant.name in self.failed:
                        continue
                    if job.source in self.failed:
                        self._fail(job.variant.name, f"not started, since it starts from {job.source}, which failed")
                        continue
                    file = Path(configs) / f"{number}.yaml"
                    save_config(job.config(self.folder.path), file)
                    tasks.append(self._task(job, ("run", "--config", str(file))))
                self._work(tasks)

    def results(self) -> str:
        """Compare the runs, evaluate the best ones on the other half, write the table and return it.

        Raises:
            SelfsameError: a record cannot be read, or the metric was not measured.
        """
        finished = [job.variant.name for job in make_waves(self.folder.path, self.variants)[-1]
                    if job.key in self.folder.finished]  # fmt: skip
        recipes = recipes_of(self.variants, finished)
        if len(recipes) < 2:
            return "There is no table yet: fewer than two settings have all their runs finished and evaluated."
        by, order = rank(self.folder.path, recipes, self.by)
        compared = compare_recipes(self.folder.path, recipes, order)
        reported = {} if self.chosen_on == "all" else self._report(recipes[order[0]])
        write_json(self.folder.path / "results.json", results_record(compared, by, reported))
        write_text(self.folder.path / "results.md", results_text(compared, by, reported, markdown=True) + "\n")
        return f"{results_text(compared, by, reported)}\n\ntable: {self.folder.path / 'results.md'}"

    def _report(self, best: Sequence[Variant]) -> dict[str, EvaluationRecord]:
        """Evaluate the runs of the best recipe on the other half, once."""
        keys = {variant.name: f"{variant.name}: other half" for variant in best}
        tasks = []
        for name, key in keys.items():
            file = self.folder.other_half(name)
            if key not in self.folder.finished or not file.is_file():
                run = ("evaluate", str(self.folder.path / name), "--evaluation.split", "test", "--json", str(file))
                tasks.append(Task(name, key, run, self.folder.log(name)))
        self._work(tasks)
        files = {name: self.folder.other_half(name) for name in keys if keys[name] in self.folder.finished}
        return {name: read_record(file, EvaluationRecord) for name, file in files.items()}

    def _task(self, job: Job, arguments: tuple[str, ...]) -> Task:
        name = job.variant.name
        return Task(name, job.key, arguments, self.folder.log(name))

    def _fail(self, name: str, why: str) -> None:
        self.failed[name] = why
        say(f"failed {name}: {why}")

    def _work(self, tasks: Sequence[Task]) -> None:
        late = []

        def ended(task: Task, code: int, why: str) -> None:
            if code == 0:
                self.folder.finish(task.key)
                say(f"finished {task.key}")
            elif code == TimeUp.exit_code:
                late.append(why)
            else:
                self._fail(task.name, f"{why} (log: {task.log})")

        if tasks:
            say(f"{len(tasks)} to do, {min(self.processes, len(tasks))} at a time: {', '.join(t.key for t in tasks)}")
        work(tasks, self.processes, ended)
        if late:
            raise TimeUp(late[0].partition("; run the same command")[0])


def make_sweep(config: Config, grid: Sequence[str], by: str | None, processes: int, name: str = "run") -> Sweep:
    """Read a sweep and check all of it, before anything is written.

    Args:
        config: what all runs share; `run.directory` is the folder of the sweep.
        grid: `NAME=VALUE,VALUE` each.
        by: metric that chooses the best; None: the headline.
        processes: how many runs train at a time.
        name: begins the name of the folder where none is given.

    Raises:
        SelfsameError: a setting, value, metric or folder that cannot be used.
    """
    check_metric(by, bool(config.evaluation.functions))
    differences = read_grid(grid)
    everybody = config.evaluation.split == "all" and "split" in config.evaluation.model_fields_set
    chosen_on = "all" if everybody else "dev"
    config = merge_configs(config, {"evaluation": {"split": chosen_on}})
    variants = make_variants(config, differences)
    swept = "-".join(short_names([*differences]).values())
    path = Path(config.run.directory or f"runs/{name}-sweep-{swept}-{config_hash(config)}")
    return Sweep(SweepFolder(path, config, [*differences]), variants, by, processes, chosen_on)
