"""Systems of any runs compared with each other, from the records of the runs alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfsame.errors import ConfigError
from selfsame.run.directory import RunDirectory, dotted, read_json
from selfsame.run.named_runs import Recipes, System, read_recipes
from selfsame.run.settings import is_free
from selfsame.systems import SYSTEMS

_SAME_FOR_ALL = ("gold", "persona_recited", "other_reply")  # references that no system takes part in
_OTHERWISE = ("seed", "best_of", "evaluation.best_of", "training.ppo.eval_size")
"""Settings that are said elsewhere, or change no row."""


def compare(
    runs: Sequence[str], groups: Sequence[str] = (), judges: Sequence[str] = (), metrics: Sequence[str] = ()
) -> dict[str, Any]:
    """Collect what is recorded of these systems, with paired differences from the first one.

    Args:
        runs: `RUN` or `RUN:SYSTEM` each.
        groups: `NAME=RUN[:SYSTEM],...` each.
        judges: runs or models that say which replies are preferred (see `eval/preference.py`).
        metrics: names that have to be among what was measured.

    Returns:
        `{systems: {name: {runs, evaluation, cost}}, paired, comparisons, preference, preferred, reward, settings, notes,
        dialogues, selfplay}`; evaluations of a group hold means with the lowest and highest run and `seeds`, how many those
        are.

    Raises:
        SelfsameError: what cannot be read, fewer than two systems, one named twice, a metric that no system has.
    """
    from selfsame.eval.sidebyside import side_by_side

    recipes = read_recipes(runs, groups)
    systems = {system.name: system for members in recipes.values() for system in members}
    _check_metrics(metrics, [system.evaluation["metrics"] for system in systems.values()])
    _share_references([system.evaluation for system in systems.values()])
    comparison = {
        "systems": {
            name: {
                "runs": [f"{system.path}:{system.system}" for system in members],
                "evaluation": _pooled([system.evaluation for system in members]),
                "cost": _mean_cost(members),
            }
            for name, members in recipes.items()
        },
        **_differences(recipes),
        "preferred": [record for judge in judges for record in _preferred(judge, recipes)],
        "reward": {name: s.reward for name, s in systems.items() if s.reward and "reward" in _stages(s)},
        "settings": _differing({name: system.config for name, system in systems.items()}),
        "dialogues": side_by_side({name: system.evaluation["replies"] for name, system in systems.items()}),
        "selfplay": {name: s.evaluation["selfplay"]["samples"][:1] for name, s in systems.items()
                     if s.evaluation["selfplay"]},
    }  # fmt: skip
    notes = [*_pair_notes(comparison), *_notes(recipes, systems), *_judge_notes(judges, systems)]
    return comparison | {"notes": notes}


def _stages(system: System) -> Sequence[str]:
    """The stages of training behind a system; none where its name is unknown."""
    known = SYSTEMS.get(system.system)
    return known.stages if known else ()


def _check_metrics(names: Sequence[str], measured: Sequence[Mapping[str, Any]]) -> None:
    known = list(dict.fromkeys(name for metrics in measured for name in metrics))
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"--metrics: nothing is called {', '.join(unknown)}; measured were {', '.join(known)}")


# --- one row each -------------------------------------------------------------------------------------------------------


def _share_references(evaluations: Sequence[dict[str, Any]]) -> None:
    """A reference that has the same value everywhere gets one interval: those drawn with another seed would be told apart."""
    known: dict[Any, dict[str, Any]] = {}
    talks = [content["selfplay"] for content in evaluations if content["selfplay"]]
    for kind, contents in enumerate((evaluations, talks)):
        for content in contents:
            for row in set(_SAME_FOR_ALL) & set(content["references"]):
                for name, e in content["references"][row].items():
                    key = (kind, row, name, e["value"], e["count"], e["missing"])
                    content["references"][row][name] = known.setdefault(key, e)


def _pooled(evaluations: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Evaluations of several seeds as one, with means; without replies and dialogues."""
    first = evaluations[0]
    content = {name: first[name] for name in ("settings", "judge") if first.get(name) is not None}
    content |= {"items": sum(e["items"] or 0 for e in evaluations)}
    content |= {"metrics": _means([e["metrics"] for e in evaluations], references=False)}
    rows = [name for name in first["references"] if all(name in e["references"] for e in evaluations)]
    content["references"] = {name: _means([e["references"][name] for e in evaluations]) for name in rows}
    if all(e.get("selfplay") for e in evaluations):
        content["selfplay"] = _pooled([e["selfplay"] for e in evaluations])
    return content


def _means(runs: Sequence[dict[str, dict[str, Any]]], references: bool = True) -> dict[str, dict[str, Any]]:
    """The metrics that all runs have; references that are the same everywhere keep their interval."""
    found = {}
    for name in [name for name in runs[0] if all(name in metrics for metrics in runs)]:
        estimates = [metrics[name] for metrics in runs]
        values = [e["value"] for e in estimates if e["value"] is not None]
        if len(runs) == 1 or (references and all(e == estimates[0] for e in estimates)):
            found[name] = estimates[0]
        elif len(values) < len(runs):
            found[name] = {"value": None, "seeds": len(runs)}
        else:
            found[name] = {"value": sum(values) / len(values), "low": min(values), "high": max(values)}
            counts = {key: sum(e[key] or 0 for e in estimates) for key in ("count", "missing")}
            found[name] |= counts | {"seeds": len(runs)}
    return found


def _mean_cost(systems: Sequence[System]) -> dict[str, Any]:
    """Seconds of the stages that the system needs, means over the runs, None where one is not known; peak memory in bytes
    of the whole run, the highest of them."""
    stages = _stages(systems[0]) if systems[0].system in SYSTEMS else None
    seconds = {stage: _mean([s.cost["seconds"].get(stage) for s in systems]) for stage in stages or ()}
    known = [value for value in seconds.values() if value is not None]
    peaks = {
        name: [s.cost[name] for s in systems if s.cost[name]] for name in ("peak_memory_bytes", "peak_gpu_memory_bytes")
    }
    total = sum(known) if stages is not None and len(known) == len(seconds) else None
    return {"seconds": seconds, "total_seconds": total} | {
        name: max(found, default=None) for name, found in peaks.items()
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


# --- in pairs -----------------------------------------------------------------------------------------------------------


def _differences(recipes: Recipes) -> dict[str, Any]:
    """Each recipe against the first; p-values are corrected for all of these differences together."""
    from selfsame.eval.compare import with_verdicts
    from selfsame.eval.seeds import compare_recipes
    from selfsame.metrics.statistics import Bootstrap

    (than, first), *others = recipes.items()
    paired, found = [], []
    for name, systems in others:
        result = compare_recipes([s.evaluation for s in systems], [s.evaluation for s in first], Bootstrap())
        alike = result["prompts"] == result["most"]
        on = "same prompts" if alike else f"{result['prompts']} shared prompts of {result['most']}"
        whose = {"system": name, "than": than}
        paired.append(whose | {key: result[key] for key in ("prompts", "most", "left_out")})
        found += [whose | {"on": on + _of_seeds(record)} | record for record in result["differences"]]
    counts = ("system", "than", "wins", "ties", "losses", "missing")
    preference = [{key: r[key] for key in counts} for r in found if r["metric"] == "consistency"]
    return {"paired": paired, "comparisons": with_verdicts(found, Bootstrap()), "preference": preference}


def _preferred(name: str, recipes: Recipes) -> Iterable[dict[str, Any]]:
    """What a judge prefers: each recipe against the first."""
    from selfsame.eval.preference import load_preference_judge, prefer
    from selfsame.metrics.statistics import Bootstrap

    judge = load_preference_judge(name)
    (than, first), *others = [(name, [s.evaluation["replies"] for s in systems]) for name, systems in recipes.items()]
    for system, replies in others:
        yield {"system": system, "than": than} | prefer(judge, replies, first, Bootstrap())


def _of_seeds(record: Mapping[str, Any]) -> str:
    return f", any two seeds {record['lowest']:+.3f} to {record['highest']:+.3f}" if "lowest" in record else ""


# --- what to know when reading it ---------------------------------------------------------------------------------------


def _pair_notes(comparison: Mapping[str, Any]) -> Iterable[str]:
    """Where pairs could not be compared."""
    for pair in comparison["paired"]:
        both = f"{pair['system']} and {pair['than']}"
        if not pair["prompts"]:
            yield f"{both} have no prompt in common: no paired differences, and the rows of the table are of other prompts."
        for why in dict.fromkeys(pair["left_out"].values()):
            names = ", ".join(name for name, reason in pair["left_out"].items() if reason == why)
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
    for key, values in _differing({name: system.evaluation["settings"] for name, system in systems.items()}).items():
        if key not in _OTHERWISE and None not in values.values():
            yield f"Evaluated differently, {key}: {', '.join(f'{name} {value}' for name, value in values.items())}."
    machines = [system.machine for system in systems.values()]
    if any(machine != machines[0] or machine.get("several") for machine in machines):
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
