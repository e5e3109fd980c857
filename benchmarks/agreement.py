"""Agreement of our scores with people, on published ratings: every score beside floors, ceiling and published values.

    python -m benchmarks.agreement run --data FOLDER --json benchmarks/results/agreement.json
    python -m benchmarks.agreement table benchmarks/results/agreement.json --readme docs/agreement.md --marker agreement
    python -m benchmarks.agreement fit --data FOLDER --out src/selfsame/ratings/fitted.json

`benchmarks/rated.py` says which files the folder holds. A fitted score is only ever reported for dialogues that it was not
fitted on: in ten folds over dialogues of all sets, and on each set after a fit on the others. `fit` writes the weights in
the package, from all rows; `selfsame agreement` says of a file how many of its rows they have seen.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from evaluator_models.ridge import FeatureTable, cross_validated, fit, leave_one_set_out, normal_scores, within_sets

from benchmarks.rated import read_sets
from selfsame.metrics import engagement, hits, persona, quality
from selfsame.metrics.statistics import Bootstrap, show_estimate
from selfsame.model.load import load_roles
from selfsame.model.settings import ModelSettings
from selfsame.ratings import followups, likelihood, ranker, scorers
from selfsame.ratings.agreement import agreement
from selfsame.ratings.fit import OVERALL, QUALITY, Fitted, features_of, model_hash, row_hash
from selfsame.ratings.followups import BASE, FollowUps
from selfsame.ratings.likelihood import Likelihood
from selfsame.ratings.ranker import Ranker, load_ranker
from selfsame.ratings.rows import RatedReply
from selfsame.ratings.scorers import FEATURES, FLOORS, Scorer, our_scores
from selfsame.report.tables import update_readme
from selfsame.run.environment import describe_environment
from selfsame.run.files import read_json, write_json
from selfsame.text.keywords import words

PUBLISHED = Path(__file__).resolve().parent / "published_agreement.json"
FITTED_TO = ("overall", "coherent")
"""The rating that scores are fitted to: the first of these that a set has."""
ORIGINS = {"ConTurE": "DSTC9"}
"""ConTurE rates 119 of the dialogues of DSTC9 again."""
RATINGS = (*FITTED_TO, "consistent", "engaging", "interesting", "likeable", "persona picked")
PREDICTED = {
    "this set's other dialogues": within_sets,
    "held-out dialogues": cross_validated,
    "other sets": partial(leave_one_set_out, origins=ORIGINS),
}
"""Which dialogues a fit saw, none of them among those that it is reported for."""
JUDGED = ("consistency", "not contradicted")
"""Our scores that a judge of contradictions has a say in."""
NOTE = (
    "Spearman's rho with 95 % bootstrap intervals over dialogues. **Bold**: higher than the strongest floor of the line (that"
    " one of length, total length, question mark, context overlap and distinctness with the largest rho), the other way round"
    " where marked ↓, after Holm's correction; all else is a tie. One person: a single annotator against the mean of the"
    " others, where the set has several. *Fitted quality* and *overall* are always predicted for dialogues that they were not"
    " fitted on: by fits on this set's other dialogues, on the others of all sets, or on the other sets alone. *No complaint*"
    " is fitted to nothing: how unlikely smollm2-135m finds complaints of the partner."
    " Published: in brackets the evidence mark of `benchmarks/published_agreement.json`."
)
Scores = dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class Known:
    """Scores computed before, by the id of the row."""

    name: str
    by_id: Mapping[str, float]

    def score(self, rows: Sequence[RatedReply]) -> list[float]:
        return [self.by_id.get(row.id, float("nan")) for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agreement", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="compute everything")
    run.add_argument("--json", type=Path, required=True)
    run.add_argument("--resamples", type=int, default=1000)
    weights = commands.add_parser("fit", help="write the weights in the package")
    weights.add_argument("--out", type=Path, required=True)
    for command in (run, weights):
        command.add_argument("--data", type=Path, required=True, help="folder with the rated sets")
        command.add_argument("--cache", type=Path, help="file that keeps the scores of the rows between calls")
    table = commands.add_parser("table", help="print a record as Markdown")
    table.add_argument("json", type=Path)
    for command in (run, table):
        command.add_argument("--readme", type=Path)
        command.add_argument("--marker", default="agreement")
    options = parser.parse_args()
    if options.command == "fit":
        sets, scores = _scored(options.data, options.cache, judged=False)
        write_json(options.out, {"scores": [f.to_dict() for f in _fitted(sets, scores)]})
        return
    if options.command == "run":
        write_json(options.json, _record(options))
    text = markdown(read_json(options.json), read_json(PUBLISHED))
    print(text)
    if options.readme:
        update_readme(options.readme, options.marker, text)


def _record(options: argparse.Namespace) -> dict[str, Any]:
    read = read_sets(options.data)
    if not read:
        raise SystemExit(f"{options.data} holds none of the rated sets; see benchmarks/rated.py")
    sets, scores = _scored(options.data, options.cache)
    for level in ("reply", "dialogue"):
        for kind in (QUALITY, OVERALL):
            _add_held_out(kind, level, sets, scores)
    bootstrap = Bootstrap(options.resamples)
    kinds = {scorer.name: kind for kind, group in (("floor", FLOORS), ("feature", FEATURES)) for scorer in group}
    found = {}
    for name, rows in sets.items():
        ids = [row.id for row in rows]
        known = [Known(scorer, dict(zip(ids, values, strict=True))) for scorer, values in scores[name].items()]
        by_kind = {kind: [k for k in known if kinds.get(k.name) == kind] for kind in ("floor", "feature", None)}
        floors, features = by_kind["floor"], by_kind["feature"]
        found[name] = agreement(rows, by_kind[None], bootstrap, floors, RATINGS, features)
        found[name] |= {"left_out": dict(read[name][1])}
    return {
        "sets": found,
        "resamples": options.resamples,
        "model": model_hash(),
        "environment": describe_environment(),
    }


def _scored(data: Path, cache: Path | None, judged: bool = True) -> tuple[dict[str, list[RatedReply]], Scores]:
    """(rows, scores by name) of each set. `judged`: with what the judge says, which no fit is made of and which is not kept in
    the cache."""
    sets = {name: rows for name, (rows, _) in read_sets(data).items()}
    ours = our_scores()
    told = [scorer for scorer in ours if scorer.name in JUDGED]
    scores = _kept(sets, cache, [scorer for scorer in ours if scorer.name not in JUDGED])
    for name, rows in sets.items() if judged else ():
        scores[name] |= {scorer.name: scorer.score(rows) for scorer in told}
        print(f"{name}: judged", flush=True)
    return sets, scores


def _kept(sets: Mapping[str, Sequence[RatedReply]], cache: Path | None, ours: Sequence[Scorer]) -> Scores:
    """All scores that need no judge, from the cache where it holds them."""
    key = _key(sets)
    if cache and cache.exists() and (kept := read_json(cache))["key"] == key:
        plain = kept["scores"]
        return {s: {n: [np.nan if v is None else v for v in vs] for n, vs in c.items()} for s, c in plain.items()}
    likelihood = Likelihood(load_roles(ModelSettings(max_length=512)))
    followups = FollowUps(load_roles(ModelSettings(base=BASE, max_length=512)))
    scorers = [*FLOORS, *ours, *FEATURES, *likelihood.scorers(), *load_ranker().scorers()]
    scorers += [*followups.scorers(), followups.no_complaint()]
    scores: Scores = {}
    for name, rows in sets.items():
        began = time.monotonic()
        scores[name] = {scorer.name: scorer.score(rows) for scorer in scorers}
        print(f"{name}: {len(rows)} rows scored in {time.monotonic() - began:.0f} s", flush=True)
    if cache:
        write_json(cache, {"key": key, "scores": scores})
    return scores


def _key(sets: Mapping[str, Sequence[RatedReply]]) -> str:
    """Of everything that the scores depend on."""
    modules = (engagement, hits, persona, quality, followups, likelihood, ranker, scorers)
    code = b"".join(Path(str(module.__file__)).read_bytes() for module in modules)
    rows = "".join(row_hash(row) for rows in sets.values() for row in rows)
    return hashlib.sha256(code + rows.encode() + model_hash().encode()).hexdigest()


def feature_table(
    kind: str, level: str, sets: Mapping[str, Sequence[RatedReply]], scores: Scores
) -> tuple[FeatureTable, list[tuple[str, RatedReply, str]]]:
    """The rows of a level with a rating of quality: as a table to fit on, and (set, row, rating) of each."""
    more = FollowUps(None) if kind == OVERALL else None  # type: ignore[arg-type]
    names = tuple(s.name for s in features_of(Likelihood(None), Ranker(None), more))  # type: ignore[arg-type]
    found: list[tuple[str, RatedReply, str]] = []
    features, targets = [], []
    for name, rows in sets.items():
        mine = [k for k, row in enumerate(rows) if (row.reply is None) == (level == "dialogue")]
        rating = next((r for r in FITTED_TO if any(rows[k].ratings.get(r) for k in mine)), None)
        mine = [k for k in mine if rating and rows[k].ratings.get(rating)]
        if rating and mine:
            found += [(name, rows[k], rating) for k in mine]
            features.append(np.array([[scores[name][f][k] for f in names] for k in mine]))
            targets.append(normal_scores([rows[k].rating(rating) for k in mine]))
    groups = tuple(_group(name, row) for name, row, _ in found)
    table = FeatureTable(names, np.concatenate(features), np.concatenate(targets), groups, tuple(n for n, *_ in found))
    return table, found


def _group(name: str, row: RatedReply) -> str:
    """Of whole dialogues their beginning, which tells the same dialogue in two sets."""
    return (
        f"{name}/{row.dialogue}" if row.reply is not None else " / ".join(" ".join(words(t)) for t in row.context[:4])
    )


def _add_held_out(kind: str, level: str, sets: Mapping[str, Sequence[RatedReply]], scores: Scores) -> None:
    """Adds what a fitted score says of rows that it has not seen."""
    table, found = feature_table(kind, level, sets, scores)
    places = {(name, row.id): k for name, rows in sets.items() for k, row in enumerate(rows)}
    for seen, predict in PREDICTED.items():
        label = f"{kind}, {seen}"
        for (name, row, _), value in zip(found, predict(table).tolist(), strict=True):
            empty = [float("nan")] * len(sets[name])
            scores[name].setdefault(label, empty)[places[name, row.id]] = value


def _fitted(sets: Mapping[str, Sequence[RatedReply]], scores: Scores) -> list[Fitted]:
    made = []
    for kind, level in product((QUALITY, OVERALL), ("reply", "dialogue")):
        table, found = feature_table(kind, level, sets, scores)
        origin = [
            {
                "name": name,
                "rating": next(rating for n, _, rating in found if n == name),
                "rows": sum(n == name for n, *_ in found),
                "dialogues": len({row.dialogue for n, row, _ in found if n == name}),
            }
            for name in dict.fromkeys(table.sets)
        ]
        hashes = tuple(sorted({row_hash(row) for _, row, _ in found}))
        made.append(Fitted(kind, level, table.names, fit(table), model_hash(), tuple(origin), hashes))
    return made


# --- as Markdown --------------------------------------------------------------------------------------------------------

COLUMNS = (
    "engagement",
    "no complaint",
    f"{QUALITY}, this set's other dialogues",
    *(f"{OVERALL}, {seen}" for seen in PREDICTED),
)
PERSONA = (
    *JUDGED,
    "keywords",
    "grounding",
    "persona evidence",
    "engagement",
    "ranker",
    "likelihood, persona adds",
)


def markdown(record: Mapping[str, Any], published: Sequence[Mapping[str, Any]]) -> str:
    """Quality on every set, and what people could tell of the persona."""
    head = ["set", "rating", "rows", "strongest floor", *COLUMNS, "one person", "published"]
    lines = [_line(head), _line(["---", "---", *["---:"] * (len(head) - 3), "---"])]
    tables = [(name, table) for name, content in record["sets"].items() for table in content["tables"]]
    lines += [_line(_quality(name, table, published)) for name, table in tables if table["rating"] != "persona picked"]
    return "\n\n".join(
        ["\n".join(lines), _count(record), *(_persona(name, t) for name, t in tables if "persona" in t["rating"]), NOTE]
    )


def _quality(name: str, table: Mapping[str, Any], published: Sequence[Mapping[str, Any]]) -> list[str]:
    scores = {row["name"]: row for row in table["scores"]}
    floors = [row for row in table["scores"] if row["kind"] == "floor" and row["spearman"]["value"] is not None]
    best = max(floors, key=lambda row: abs(row["spearman"]["value"]))
    where = {"set": name, "level": table["level"], "rating": table["rating"]}
    theirs = [p for p in published if {key: p[key] for key in where} == where and p["spearman"] is not None]
    said = ", ".join(f"{p['who']} {p['spearman']:.2f} [{p['evidence']}]" for p in theirs)
    return [
        f"{name} ({table['level']})",
        table["rating"],
        str(table["rows"]),
        f"{show_estimate(best['spearman'])} {best['name']}",
        *(_cell(scores.get(column)) for column in COLUMNS),
        show_estimate(table["ceiling"]["spearman"]),
        said,
    ]


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None or row["spearman"]["value"] is None:
        return "–"
    verdict = row.get("beside_floor", {}).get("verdict")
    text = show_estimate(row["spearman"])
    return f"**{text}**" if verdict == "higher" else f"{text} ↓" if verdict == "lower" else text


def _persona(name: str, table: Mapping[str, Any]) -> str:
    """Area under the curve for "a person could pick the bot's persona"."""
    picked = [row for row in table["scores"] if row["kind"] == "floor" or row["name"] in PERSONA]
    lines = [
        _line(["score", "area under the curve", "Spearman", "beside the floor"]),
        _line(["---", "---:", "---:", "---"]),
    ]
    for row in picked:
        label = f"*{row['name']}*" if row["kind"] == "floor" else row["name"]
        verdict = row.get("beside_floor", {}).get("verdict", "")
        lines.append(_line([label, show_estimate(row["auc"]), show_estimate(row["spearman"]), verdict]))
    head = f"{name}: could the person tell the bot's persona from another? {table['rows']} chats; floors in italics."
    return f"{head}\n\n" + "\n".join(lines)


def _count(record: Mapping[str, Any]) -> str:
    """On how many lines each cross-validated score is above the strongest floor."""
    tables = [t for content in record["sets"].values() for t in content["tables"] if t["rating"] != "persona picked"]
    seen = next(iter(PREDICTED))
    counts = []
    for kind in (OVERALL, QUALITY):
        rows = [row for t in tables for row in t["scores"] if row["name"] == f"{kind}, {seen}"]
        higher = sum(row.get("beside_floor", {}).get("verdict") == "higher" for row in rows)
        counts.append(f"*{kind}* on {higher} of {len(tables)} lines")
    return f"Above the strongest floor, after correction, by fits on {seen}: {', '.join(counts)}."


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
