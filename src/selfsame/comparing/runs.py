"""Systems of any runs compared with each other, from the records of the runs alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfsame.errors import ConfigError
from selfsame.labels.label import Label
from selfsame.run.compared import Compared, Preferred, SharedPrompts, SystemCost, SystemRecord, Wins
from selfsame.run.comparisons import ComparisonRecord
from selfsame.run.directory import RunDirectory
from selfsame.run.files import dotted, read_json
from selfsame.run.named_runs import Recipes, System, read_recipes
from selfsame.run.records import EstimateRecord, EvaluationRecord, Metrics, SelfplayRecord
from selfsame.run.settings import is_free
from selfsame.systems import SYSTEMS

_SAME_FOR_ALL = ("gold", "persona_recited", "other_reply")  # references that no system takes part in
_OTHERWISE = ("seed", "best_of", "evaluation.best_of", "training.ppo.eval_size")
"""Settings that are said elsewhere, or change no row."""


def compare(
    runs: Sequence[str],
    groups: Sequence[str] = (),
    judges: Sequence[str] = (),
    metrics: Sequence[str] = (),
    labels: Sequence[Label] = (),
) -> Compared:
    """Collect what is recorded of these systems, with paired differences from the first one.

    Args:
        runs: `RUN` or `RUN:SYSTEM` each.
        groups: `NAME=RUN[:SYSTEM],...` each.
        judges: runs or models that say which replies are preferred (see `comparing/preference.py`).
        metrics: names that have to be among what was measured.
        labels: what people said of their replies.

    Returns:
        evaluations of a group hold means with the lowest and highest run and `seeds`, how many those are.

    Raises:
        SelfsameError: what cannot be read, fewer than two systems, one named twice, a metric that no system has.
    """
    from selfsame.comparing.side_by_side import side_by_side

    recipes = read_recipes(runs, groups)
    systems = {system.name: system for members in recipes.values() for system in members}
    evaluations = {name: system.evaluation for name, system in systems.items()}
    _check_metrics(metrics, [evaluation.metrics for evaluation in evaluations.values()])
    _share_references([*evaluations.values()])
    paired, differences = _differences(recipes)
    by_people, label_notes = _people(labels, recipes)
    return Compared(
        systems={name: _system_record(members) for name, members in recipes.items()},
        paired=paired,
        comparisons=differences,
        preference=[_wins(record) for record in differences if record.metric == "consistency"],
        preferred=[*by_people, *(record for judge in judges for record in _preferred(judge, recipes))],
        reward={name: s.reward for name, s in systems.items() if s.reward and "reward" in _stages(s)},
        settings=_differing({name: system.config for name, system in systems.items()}),
        dialogues=side_by_side({name: evaluation.replies for name, evaluation in evaluations.items()}),
        selfplay={name: e.selfplay.samples[:1] for name, e in evaluations.items() if e.selfplay},
        notes=[*_pair_notes(paired), *_notes(recipes, systems), *_judge_notes(judges, systems), *label_notes],
    )


def _system_record(members: Sequence[System]) -> SystemRecord:
    return SystemRecord(
        runs=[f"{system.path}:{system.system}" for system in members],
        evaluation=_pooled([system.evaluation for system in members]),
        cost=_mean_cost(members),
    )


def _wins(record: ComparisonRecord) -> Wins:
    counts = {"wins": record.wins, "ties": record.ties, "losses": record.losses, "missing": record.missing}
    return Wins(system=record.system, than=record.than, **counts)


def _stages(system: System) -> Sequence[str]:
    """The stages of training behind a system; none where its name is unknown."""
    known = SYSTEMS.get(system.system)
    return known.stages if known else ()


def _check_metrics(names: Sequence[str], measured: Sequence[Metrics]) -> None:
    known = list(dict.fromkeys(name for metrics in measured for name in metrics))
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"--metrics: nothing is called {', '.join(unknown)}; measured were {', '.join(known)}")


# --- one row each -------------------------------------------------------------------------------------------------------


def _share_references(evaluations: Sequence[EvaluationRecord]) -> None:
    """Give a reference that has the same value everywhere one interval: another seed draws another one."""
    known: dict[Any, EstimateRecord] = {}
    talks = [evaluation.selfplay for evaluation in evaluations if evaluation.selfplay]
    for kind, records in enumerate((evaluations, talks)):
        for record in records:
            for row in set(_SAME_FOR_ALL) & set(record.references):
                for name, e in record.references[row].items():
                    key = (kind, row, name, e.value, e.count, e.missing)
                    record.references[row][name] = known.setdefault(key, e)


def _pooled(evaluations: Sequence[EvaluationRecord]) -> EvaluationRecord:
    """Evaluations of several seeds as one, with means; without replies and dialogues."""
    talks = [evaluation.selfplay for evaluation in evaluations if evaluation.selfplay]
    return EvaluationRecord(
        items=sum(evaluation.items or 0 for evaluation in evaluations),
        metrics=_means([evaluation.metrics for evaluation in evaluations], references=False),
        references=_mean_references(evaluations),
        settings=evaluations[0].settings,
        judge=evaluations[0].judge,
        selfplay=_pooled_talks(talks) if len(talks) == len(evaluations) else None,
    )


def _pooled_talks(talks: Sequence[SelfplayRecord]) -> SelfplayRecord:
    return SelfplayRecord(
        items=sum(talk.items or 0 for talk in talks),
        metrics=_means([talk.metrics for talk in talks], references=False),
        references=_mean_references(talks),
    )


def _mean_references(records: Sequence[EvaluationRecord] | Sequence[SelfplayRecord]) -> dict[str, Metrics]:
    """The references that all runs have."""
    rows = [name for name in records[0].references if all(name in record.references for record in records)]
    return {name: _means([record.references[name] for record in records]) for name in rows}


def _means(runs: Sequence[Metrics], references: bool = True) -> Metrics:
    """The metrics that all runs have; references that are the same everywhere keep their interval."""
    found: Metrics = {}
    for name in [name for name in runs[0] if all(name in metrics for metrics in runs)]:
        estimates = [metrics[name] for metrics in runs]
        values = [estimate.value for estimate in estimates if estimate.value is not None]
        if len(runs) == 1 or (references and all(estimate == estimates[0] for estimate in estimates)):
            found[name] = estimates[0]
        elif len(values) < len(runs):
            found[name] = EstimateRecord(value=None, seeds=len(runs))
        else:
            found[name] = EstimateRecord(
                value=sum(values) / len(values),
                low=min(values),
                high=max(values),
                count=sum(estimate.count or 0 for estimate in estimates),
                missing=sum(estimate.missing for estimate in estimates),
                seeds=len(runs),
            )
    return found


def _mean_cost(systems: Sequence[System]) -> SystemCost:
    """Seconds of the stages that the system needs, means over the runs, None where one is not known; peak memory in bytes
    of the whole run, the highest of them."""
    stages = _stages(systems[0]) if systems[0].system in SYSTEMS else None
    costs = [system.cost for system in systems]
    seconds = {stage: _mean([cost.seconds.get(stage) for cost in costs]) for stage in stages or ()}
    known = [value for value in seconds.values() if value is not None]
    return SystemCost(
        seconds=seconds,
        total_seconds=sum(known) if stages is not None and len(known) == len(seconds) else None,
        peak_memory_bytes=_highest([cost.peak_memory_bytes for cost in costs]),
        peak_gpu_memory_bytes=_highest([cost.peak_gpu_memory_bytes for cost in costs]),
    )


def _highest(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value), default=None)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


# --- in pairs -----------------------------------------------------------------------------------------------------------


def _differences(recipes: Recipes) -> tuple[list[SharedPrompts], list[ComparisonRecord]]:
    """Each recipe against the first; p-values are corrected as in `with_verdicts`."""
    from selfsame.comparing.pairs import with_verdicts
    from selfsame.comparing.seeds import compare_recipes
    from selfsame.metrics.statistics import Bootstrap

    (than, first), *others = recipes.items()
    paired, found = [], []
    for name, systems in others:
        ours, theirs = ([s.evaluation for s in own] for own in (systems, first))
        talk, replies = (compare_recipes(ours, theirs, Bootstrap(), part) for part in ("talk", "replies"))
        left_out = {**talk.left_out, **replies.left_out}
        shared = SharedPrompts(prompts=replies.prompts, most=replies.most, left_out=left_out)
        paired.append(shared.between(name, than))
        for part in (talk, replies):  # the headline first
            alike = part.prompts == part.most
            on = "same prompts" if alike else f"{part.prompts} shared prompts of {part.most}"
            found += [r.between(name, than).model_copy(update={"on": on + _of_seeds(r)}) for r in part.found]
    return paired, with_verdicts(found, Bootstrap())


def _people(labels: Sequence[Label], recipes: Recipes) -> tuple[list[Preferred], list[str]]:
    """What people prefer, where they labelled anything, and which labels do not count."""
    from selfsame.comparing.labelled import people_prefer
    from selfsame.metrics.statistics import Bootstrap

    return people_prefer(labels, recipes, Bootstrap()) if labels else ([], [])


def _preferred(name: str, recipes: Recipes) -> Iterable[Preferred]:
    """What a judge prefers: each recipe against the first."""
    from selfsame.comparing.preference import load_preference_judge, prefer
    from selfsame.metrics.statistics import Bootstrap

    judge = load_preference_judge(name)
    (than, first), *others = [(name, [s.evaluation.replies for s in systems]) for name, systems in recipes.items()]
    for system, replies in others:
        yield prefer(judge, replies, first, Bootstrap()).between(system, than)


def _of_seeds(record: ComparisonRecord) -> str:
    span = record.lowest is not None and record.highest is not None
    return f", any two seeds {record.lowest:+.3f} to {record.highest:+.3f}" if span else ""


# --- what to know when reading it ---------------------------------------------------------------------------------------


def _pair_notes(paired: Sequence[SharedPrompts]) -> Iterable[str]:
    """Where pairs could not be compared."""
    for pair in paired:
        both = f"{pair.system} and {pair.than}"
        if not pair.prompts:
            yield f"{both} have no prompt in common: no paired differences, and the rows of the table are of other prompts."
        for why in dict.fromkeys(pair.left_out.values()):
            names = ", ".join(name for name, reason in pair.left_out.items() if reason == why)
            yield f"{both}, {names}: not compared, {why}; the rows of the table do not compare there either."


def _notes(recipes: Recipes, systems: Mapping[str, System]) -> Iterable[str]:
    """What else is not the same."""
    for name, members in recipes.items():
        if len(members) > 1:
            differing = _differing({str(index): system.config for index, system in enumerate(members)})
            if others := [key for key in differing if key != "seed"]:
                yield f"The runs of {name} differ in more than their seed: {', '.join(others)}."
            if "seed" not in differing:
                yield f"The runs of {name} have the same seed: their spread is not that of seeds."
    for key, values in _differing({name: system.evaluation.settings for name, system in systems.items()}).items():
        if key not in _OTHERWISE and None not in values.values():
            yield f"Evaluated differently, {key}: {', '.join(f'{name} {value}' for name, value in values.items())}."
    machines = [system.machine for system in systems.values()]
    if any(machine is None or machine != machines[0] for machine in machines):
        yield "The runs were made on different machines: their times do not compare."
    if len(dtypes := sorted(frozenset().union(*(system.dtypes for system in systems.values())))) > 1:
        yield f"The runs were computed in different number formats ({', '.join(dtypes)}): a seed is another draw in each."


def _judge_notes(judges: Sequence[str], systems: Mapping[str, System]) -> Iterable[str]:
    for judge in judges:
        weights = _reward_weights(Path(judge))
        rewarded = [name for name, s in systems.items() if "reward" in _stages(s)]
        if weights and (own := [name for name in rewarded if _reward_weights(systems[name].path) == weights]):
            yield f"{', '.join(own)} learned to please the reward model of {judge}: that it is preferred by it says little."


def _reward_weights(path: Path) -> dict[str, Any]:
    """Hashes of the reward model of a run; empty without one."""
    from selfsame.run.checkpoint import MARKER, finished

    checkpoint = finished(RunDirectory(path), "reward")
    files = read_json(checkpoint / MARKER)["files"] if checkpoint else {}
    return {name: entry["sha256"] for name, entry in files.items() if name.startswith("reward/")}


def _differing(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Dotted key -> name -> value, for what is not the same everywhere and may change a result; None where it is not set."""
    flat = {name: dotted(config) for name, config in configs.items()}
    keys = dict.fromkeys(key for values in flat.values() for key in values)
    found = {key: {name: values.get(key) for name, values in flat.items()} for key in keys}
    return {
        key: values for key, values in found.items()
        if not is_free(key) and any(value != next(iter(values.values())) for value in values.values())
    }  # fmt: skip
