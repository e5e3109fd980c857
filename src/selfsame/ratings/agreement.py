"""Agreement of our scores with people: correlations with human ratings.

They stand next to what any score has to beat (the floors) and what a person reaches (the ceiling).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from selfsame.errors import DataError
from selfsame.metrics.statistics import Bootstrap, Estimate, holm, is_unknown, show_estimate
from selfsame.ratings.rows import RatedReply
from selfsame.ratings.scorers import FLOORS, Scorer

SURE = 0.05
NOTE = (
    "Intervals: bootstrap over dialogues. Ceiling: one annotator against the mean of the others. Beside the floor:"
    " difference in Spearman's rho to the strongest floor of the rating, in the direction in which that floor correlates,"
    " on the same rows; p-values corrected for the number of scores (Holm); what is inside the noise is a tie."
)


def agreement(
    rows: Sequence[RatedReply],
    scorers: Sequence[Scorer],
    bootstrap: Bootstrap,
    floors: Sequence[Scorer] = FLOORS,
    ratings: Sequence[str] | None = None,
    features: Sequence[Scorer] = (),
) -> dict[str, Any]:
    """Every score and floor against every rating, replies and whole dialogues apart.

    Args:
        rows: what people rated.
        scorers: what is checked.
        bootstrap: how intervals are made.
        floors: what the scores have to beat.
        ratings: names of ratings; default: all that occur.
        features: shown as well, but not held against the floors: more of them need not be better.

    Returns:
        `{rows, dialogues, tables: [{level, rating, rows, annotators, ceiling, scores: [{name, kind, pearson, spearman, auc,
        beside_floor}]}]}`; estimates as `{value, low, high, count, missing}`; `auc` where the rating is 0 or 1.

    Raises:
        DataError: no row has a rating.
    """
    tables = []
    for level in ("reply", "dialogue"):
        part = [row for row in rows if (row.reply is None) == (level == "dialogue")]
        kinds = (("floor", floors), ("score", scorers), ("feature", features))
        scored = [(s.name, kind, s.score(part)) for kind, group in kinds for s in group]
        names = dict.fromkeys(name for row in part for name, given in row.ratings.items() if given)
        for name in names if ratings is None else [n for n in names if n in ratings]:
            tables.append({"level": level, **rating_table(part, name, scored, bootstrap)})
    if not tables:
        wanted = f" of {', '.join(ratings)}" if ratings is not None else ""
        raise DataError(f'no row has a rating{wanted}: give "ratings": {{"overall": [4, 5, 3]}}')
    return {"rows": len(rows), "dialogues": len({row.dialogue for row in rows}), "tables": tables}


def rating_table(
    rows: Sequence[RatedReply], rating: str, scored: Sequence[tuple[str, str, Sequence[float]]], bootstrap: Bootstrap
) -> dict[str, Any]:
    """One rating against scores `(name, kind, a number for each row)`. Rows without that rating do not count, not even
    as missing."""
    rated = [k for k, row in enumerate(rows) if row.ratings.get(rating)]
    targets, groups = [rows[k].rating(rating) for k in rated], [rows[k].dialogue for k in rated]
    chosen = [(name, kind, [scores[k] for k in rated]) for name, kind, scores in scored]
    binary = set(targets) <= {0.0, 1.0}
    kinds = ("pearson", "spearman", *(("auc",) if binary else ()))
    found = [
        {"name": name, "kind": kind}
        | {k: bootstrap.correlation(scores, targets, groups, k).to_dict() for k in kinds}
        | ({"note": why} if (why := _nothing_to_say(scores, targets)) else {})
        for name, kind, scores in chosen
    ]
    _beside_floors(found, [scores for *_, scores in chosen], targets, groups, bootstrap)
    annotators = [len(rows[k].ratings[rating]) for k in rated]
    return {
        "rating": rating,
        "rows": len(rated),
        "dialogues": len(set(groups)),
        "annotators": sum(annotators) / len(annotators),
        "ceiling": human_ceiling([rows[k] for k in rated], rating, bootstrap),
        "scores": found,
    }


def human_ceiling(rows: Sequence[RatedReply], rating: str, bootstrap: Bootstrap) -> dict[str, Any]:
    """How one annotator correlates with the mean of the others, over all annotators of all rows; NaN with one annotator.
    A count is a number of annotations."""
    one: list[float] = []
    others: list[float] = []
    groups: list[str] = []
    alone = 0
    for row in rows:
        given = row.ratings.get(rating, ())
        alone += len(given) == 1
        for value in given if len(given) > 1 else ():
            one.append(value)
            others.append((math.fsum(given) - value) / (len(given) - 1))
            groups.append(row.dialogue)
    found = {kind: bootstrap.correlation(one, others, groups, kind) for kind in ("pearson", "spearman")}
    return {kind: replace(e, missing=e.missing + alone).to_dict() for kind, e in found.items()}


def _beside_floors(
    found: Sequence[dict[str, Any]],
    scores: Sequence[Sequence[float]],
    targets: Sequence[float],
    groups: Sequence[str],
    bootstrap: Bootstrap,
) -> None:
    """Adds to each score how it stands beside the strongest floor."""
    floors = [k for k, row in enumerate(found) if row["kind"] == "floor" and not math.isnan(_rho(row))]
    ours = [k for k, row in enumerate(found) if row["kind"] == "score"]
    if not floors:
        return
    best = max(floors, key=lambda k: abs(_rho(found[k])))
    floor = [math.copysign(1, _rho(found[best])) * value for value in scores[best]]
    compared = [bootstrap.correlation_difference(scores[k], floor, targets, groups, "spearman") for k in ours]
    corrected = holm([p for _, p in compared])
    for k, (difference, p), sure in zip(ours, compared, corrected, strict=True):
        name = found[best]["name"]
        found[k]["beside_floor"] = {"floor": name, "p": p, "p_holm": sure, **difference.to_dict()} | {
            "verdict": _verdict(difference, sure)
        }


def _verdict(difference: Estimate, p: float) -> str:
    if math.isnan(p):
        return "unknown"
    return "tie" if p >= SURE else "higher" if difference.value > 0 else "lower"


def _nothing_to_say(scores: Sequence[float], targets: Sequence[float]) -> str:
    """Why there is no correlation; empty where there is one."""
    known = [(s, t) for s, t in zip(scores, targets, strict=True) if math.isfinite(s)]
    if len(known) < 3:
        return "under three scored rows"
    return next((f"constant {w}" for w, v in zip(("score", "rating"), zip(*known, strict=True), strict=True)
                 if len(set(v)) == 1), "")  # fmt: skip


def _rho(row: Mapping[str, Any]) -> float:
    return row["spearman"]["value"]


# --- as text ------------------------------------------------------------------------------------------------------------


def text_tables(result: Mapping[str, Any]) -> str:
    """All tables of `agreement` as plain text."""
    head = f"{result['rows']} rated rows of {result['dialogues']} dialogues"
    return "\n\n".join([head, *map(_text_table, result["tables"]), NOTE])


def _text_table(table: Mapping[str, Any]) -> str:
    title = f"{table['rating']} ({table['level']}): {table['rows']} rows, {table['annotators']:.1f} annotators"
    lines = table_lines(table)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        [title, *("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)]
    )


def table_lines(table: Mapping[str, Any]) -> list[list[str]]:
    """Header and a line for the ceiling, each floor and each score."""
    binary = any("auc" in row for row in table["scores"])
    header = ["score", "Pearson", "Spearman", *(["AUC"] if binary else []), "n", "missing", "beside the floor"]
    ceiling = {"name": "ceiling: one person", **table["ceiling"]}
    lines = [header]
    for row in (ceiling, *table["scores"]):
        name = f"{row['kind']}: {row['name']}" if row.get("kind") in ("floor", "feature") else row["name"]
        auc = [show_estimate(row.get("auc"))] if binary else []
        rho = row["spearman"]
        counts = [str(rho["count"]), str(rho["missing"])]
        lines.append(
            [name, show_estimate(row["pearson"]), show_estimate(rho), *auc, *counts, row.get("note") or _beside(row)]
        )
    return lines


def _beside(row: Mapping[str, Any]) -> str:
    beside = row.get("beside_floor")
    if beside is None or is_unknown(beside["value"]):
        return ""
    return f"{beside['verdict']} ({beside['value']:+.2f} to {beside['floor']})"
