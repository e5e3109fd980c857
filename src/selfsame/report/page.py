"""`report.html`: one file that needs no network, made from the records of a run directory and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from pydantic import RootModel

from selfsame.errors import RunError
from selfsame.report.cells import Row
from selfsame.report.dialogues import OwnTalk, dialogue, own_talk
from selfsame.report.formats import dollars, duration, number, size
from selfsame.report.grids import FEWEST, Table, definitions_in, difference_table, enough, result_tables
from selfsame.report.headline import headline
from selfsame.report.metrics import Metric, curve_of, metric_of
from selfsame.report.plots import Plot, result_plots, reward_plots, training_plots
from selfsame.report.samples import conversations
from selfsame.report.sources import judge_line, reader_line, reward_line, test_note
from selfsame.report.tables import interval_level, read_evaluations, rows_of, selfplay_title, talks_of
from selfsame.report.top import chat_command, top_of_run
from selfsame.run.comparisons import Comparisons
from selfsame.run.directory import RunDirectory
from selfsame.run.files import dotted, read_jsonl, write_text
from selfsame.run.metrics import savings_between
from selfsame.run.records import CostRecord, DataRecord, Dialogues, EvaluationRecord, Model, RewardRecord, read_record
from selfsame.systems import TRAINED


def write_report(run_dir: str | Path, than: str | Path | None = None) -> Path:
    """Write `report.html` into the run directory and return its path.

    What is not there yet (a run that was interrupted, a stage not asked for) is said so in the page. `than`: another run, of
    the same stages, against which the page says what was saved.
    Raises RunError where `run_dir` is not a run or cannot be written to, or `than` is no run or of other stages.
    """
    run = RunDirectory.open(run_dir)
    content = _content(run)
    if than is not None:
        mine, theirs = (read_record(each.cost_path, CostRecord) for each in (run, RunDirectory.open(than)))
        if mine.seconds.keys() != theirs.seconds.keys():
            raise RunError(f"{than} did other stages than {run_dir}: what they cost does not compare")
        saved = savings_between(mine.model_dump(), theirs.model_dump())
        content["cost"] = mine
        content["savings"] = {f"{name} against {Path(than).name}": value for name, value in saved.items()}
    write_text(run.report_path, render("page.html.j2", content))
    return run.report_path


def render(template: str, content: Mapping[str, Any]) -> str:
    """A page from one of the templates of this folder; every text in `content` is escaped."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)
    environment.filters |= {write.__name__: write for write in (duration, size, dollars, number)}
    return environment.get_template(template).render(**content)


class _Listed(RootModel[dict[str, Any]]):
    """A file whose values are listed, whatever they are."""


def _content(run: RunDirectory) -> dict[str, Any]:
    problems: list[str] = []
    config = run.config()
    records, damaged = read_jsonl(run.metrics_path)
    samples, damaged_samples = read_jsonl(run.samples_path)
    evaluations = read_evaluations(run, problems)
    compared = _read(run.path / "comparisons.json", Comparisons, problems)
    differing = compared.root if compared else []
    environment = _read(run.environment_path, _Listed, problems)
    cost, data = _read(run.cost_path, CostRecord, problems), _read(run.data_path, DataRecord, problems)
    reward = _read(run.path / "reward.json", RewardRecord, problems)
    side_by_side = _read(run.path / "dialogues.json", Dialogues, problems)
    for name, count in ((run.metrics_path.name, damaged), (run.samples_path.name, damaged_samples)):
        problems += [f"{name}: {count} damaged lines were left out"] if count else []
    rows, talking = rows_of(evaluations), rows_of(talks_of(evaluations))
    curves = _by_stage([*training_plots(records), *reward_plots(records, reward)])
    results = results_of(evaluations)
    tables = [
        *results.tables,
        *results.selfplay_tables,
        differences := difference_table(differing, results.kept),
    ]
    changed = headline(results.rows, differing, results.talking)
    shown = [tile["metric"] for tile in changed]
    shown += [plot.term for stage in curves for plot in (*stage.main, *stage.others)]
    return {
        "name": run.path.resolve().name,
        "stages": _stages(run, config, records, rows),
        "evaluated": bool(evaluations),
        "top": top_of_run(evaluations, differing, results.rows, cost),
        "chat": chat_command(run.path),
        "headline": changed,
        "differences": differences,
        "test_note": test_note(differing),
        "definitions": definitions_in(tables, shown),
        **vars(results),
        "result_plots": safe_plots(result_plots(results.rows)),
        "level": interval_level(evaluations),
        "fewest": FEWEST,
        "selfplay_samples": selfplay_samples(evaluations),
        "sources": _source_lines(evaluations, reward),
        "curves": curves,
        "conversations": conversations(samples),
        "dialogues": [dialogue(found) for found in side_by_side.root] if side_by_side else [],
        "cost": cost,
        "data": data,
        "counts": data.model_dump(exclude={"summary"}, exclude_unset=True) if data else {},
        "settings": _evaluation_settings(evaluations),
        "missing": [*problems, *missing_values(rows), *missing_values(talking, "self-play "), *skipped_steps(records)],
        "config": dotted(config),
        "environment": dotted(environment.root if environment else {}),
    }


@dataclass(frozen=True)
class ShownResults:
    """What was measured, as the templates take it.

    Attributes:
        kept: systems whose evaluation rests on enough dialogues.
        rows: of these.
        talking: of what they said to themselves.
        tables: the systems with what people said; the other references.
        few: a line for each system that is left out.
        selfplay_tables: the same two of `talking`.
        selfplay_title: what stands above these.
        selfplay_few: a line for each system that is left out there.
    """

    kept: list[str]
    rows: list[Row]
    talking: list[Row]
    tables: tuple[Table | None, Table | None]
    few: list[str]
    selfplay_tables: tuple[Table | None, Table | None]
    selfplay_title: str
    selfplay_few: list[str]


def results_of(evaluations: Mapping[str, EvaluationRecord], runs: Mapping[str, int] | None = None) -> ShownResults:
    """Set out what was measured, of the systems whose evaluation rests on enough dialogues.

    `runs`: how many runs an evaluation pools, where it pools some.
    """
    kept, few = enough(evaluations, runs)
    kept_talks, few_talks = enough(talks_of(evaluations), runs)
    rows, talking = rows_of(kept), rows_of(kept_talks)
    return ShownResults(
        kept=[*kept],
        rows=rows,
        talking=talking,
        tables=result_tables(rows),
        few=few,
        selfplay_tables=result_tables(talking, selfplay=True),
        selfplay_title=selfplay_title(talking),
        selfplay_few=few_talks,
    )


def _source_lines(evaluations: Mapping[str, EvaluationRecord], reward: RewardRecord | None) -> list[str]:
    """What the numbers rest on: the reward model, the judge, the reader."""
    judges = [judge_line(record.judge, percent=True) for record in evaluations.values() if record.judge]
    readers = [reader_line(record.reader) for record in evaluations.values() if record.reader]
    return [*([reward_line(reward, percent=True)] if reward else []), *dict.fromkeys([*judges, *readers])]


def missing_values(rows: Sequence[Row], of: str = "") -> list[str]:
    """What could not be scored, one line per system and metric. `of`: what the metrics are of, in front of their names."""
    lines = []
    for row in rows:
        for name, cell in row.cells.items():
            if cell.value is None:
                lines.append(f"{row.name}, {of}{name}: no value")
            elif cell.missing:
                total = "" if cell.count is None else f" of {cell.count + cell.missing}"
                lines.append(
                    f"{row.name}, {of}{name}: {cell.missing}{total} could not be scored and are left out of the value"
                )
    return lines


def skipped_steps(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Numbers that were not finite, and steps that were skipped for it.

    `skipped` is 0 or 1 in each record, `skipped_steps` counts up; either may be used.
    """
    bad: Counter[tuple[str, str]] = Counter()
    skipped: dict[str, float] = {}
    for record in records:
        stage = str(record.get("stage", ""))
        bad.update((stage, str(name)) for name in record.get("not_finite") or ())
        total = skipped.get(stage, 0) + float(record.get("skipped") or 0)
        skipped[stage] = max(total, float(record.get("skipped_steps") or 0))
    lines = [f"{stage}: {count:.0f} steps skipped" for stage, count in skipped.items() if count]
    return lines + [f"{stage}, {name}: not finite in {count} records" for (stage, name), count in bad.items()]


def selfplay_samples(evaluations: Mapping[str, EvaluationRecord]) -> list[OwnTalk]:
    """One whole dialogue of each system with itself, of the same two people."""
    return [own_talk(name, sample) for name, talk in talks_of(evaluations).items() for sample in talk.samples[:1]]


def _evaluation_settings(evaluations: Mapping[str, EvaluationRecord]) -> dict[str, dict[str, Any]]:
    """Heading -> settings; one heading for systems that were evaluated alike."""
    found = {name: dotted(record.settings) for name, record in evaluations.items()}
    alike: list[tuple[list[str], dict[str, Any]]] = []
    for name, settings in found.items():
        same = next((names for names, known in alike if known == settings), None)
        if same is not None:
            same.append(name)
        elif settings:
            alike.append(([name], settings))
    return {", ".join(names): settings for names, settings in alike}


def _read(path: Path, model: type[Model], problems: list[str]) -> Model | None:
    """What the file holds; None where there is none, or something else, which joins the `problems`."""
    if not path.exists():
        return None
    try:
        return read_record(path, model)
    except RunError as error:
        problems.append(str(error))
        return None


def _stages(
    run: RunDirectory, config: Mapping[str, Any], records: Sequence[Mapping[str, Any]], rows: Sequence[Row]
) -> list[dict[str, Any]]:
    """What was asked for or done, and how far each got."""
    asked = dotted(config).get("run.stages") or ()
    last: dict[str, int] = {}
    for record in records:
        if isinstance(step := record.get("step"), int):
            stage = str(record.get("stage"))
            last[stage] = max(step, last.get(stage, step))
    names = [stage for stage in TRAINED if stage in asked or stage in last] + sorted(set(last) - set(TRAINED))
    states = [{"name": name, "there": name in last, "note": _how_far(run, name, last.get(name))} for name in names]
    systems = [row.name for row in rows if row.kind == "system"]
    return [*states, {"name": "evaluate", "there": bool(systems), "note": ", ".join(systems) or "not there yet"}]


def _how_far(run: RunDirectory, stage: str, last_step: int | None) -> str:
    if last_step is None:
        return "not there yet"
    saved = any(run.checkpoints(stage).glob("step-*"))
    return f"up to step {last_step}" + ("" if saved else ", no checkpoint")


def _stage_order(stage: str) -> int:
    return TRAINED.index(stage) if stage in TRAINED else len(TRAINED)


@dataclass(frozen=True)
class ShownPlot:
    """A plot as the pages take it, with what its title means."""

    term: Metric
    svg: Markup
    main: bool


@dataclass(frozen=True)
class Curves:
    """Those of a stage: what everyone looks at first, and the others."""

    stage: str
    main: list[ShownPlot]
    others: list[ShownPlot]


def _by_stage(plots: Sequence[Plot]) -> list[Curves]:
    stages = dict.fromkeys(plot.stage for plot in plots)
    of = {stage: safe_plots([plot for plot in plots if plot.stage == stage]) for stage in stages}
    return [
        Curves(stage, [plot for plot in of[stage] if plot.main], [plot for plot in of[stage] if not plot.main])
        for stage in sorted(stages, key=_stage_order)
    ]


def safe_plots(plots: Sequence[Plot]) -> list[ShownPlot]:
    """Plots as the pages take them."""
    # matplotlib escapes the text it draws, so its SVG may stand in the page as it is; nothing else is marked safe.
    return [ShownPlot(_term(plot), Markup(plot.svg), plot.main) for plot in plots]


def _term(plot: Plot) -> Metric:
    known = metric_of(plot.metric) if plot.metric else curve_of(plot.title)
    return replace(known, label=plot.title)
