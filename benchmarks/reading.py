"""Replies read blind, beside the scores: do the numbers say what a reader says?

`python -m benchmarks.reading sheet RUN --out FOLDER` draws prompts of a run's evaluation and writes, in random order and
without a name, what each system and the person replied: `sheet.jsonl` for the readers, `key.json` for later. Each reader
writes a JSONL of `{"id", "acceptable", "in_character"}` by the rule in `benchmarks/readings/RULE.md`.
`python -m benchmarks.reading agree FOLDER FIRST [SECOND] --json OUT` compares the readers with each other and with the scores;
`--readme FILE --marker NAME` puts the table into a page, and `--brief base sft ppo people` makes that one row of these.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfsame.metrics.statistics import Bootstrap
from selfsame.report.tables import update_readme
from selfsame.run.directory import RunDirectory
from selfsame.run.files import read_json, read_jsonl, write_json, write_text

QUESTIONS = ("acceptable", "in_character")
PEOPLE = "people"


def sheet(run: Path, out: Path, count: int, seed: int) -> None:
    """Writes the blind sheet and its key. The key holds ids, systems, scores and what models said: no text of the data."""
    records = {path.stem: read_json(path) for path in sorted((RunDirectory.open(run).path / "eval").glob("*.json"))}
    talks = {name: record["talk"] for name, record in records.items() if record.get("talk")}
    first = next(iter(talks.values()))
    chosen = sorted(random.Random(seed).sample(range(len(first)), min(count, len(first))))
    rows = [(name, k, talk[k]["reply"], talk[k]["scores"]) for name, talk in talks.items() for k in chosen]
    rows += [(PEOPLE, k, first[k]["gold"], {}) for k in chosen]
    random.Random(seed + 1).shuffle(rows)
    shown, key = [], {}
    for number, (name, k, reply, scores) in enumerate(rows):
        where = first[k]
        shown.append({"id": number, "persona": where["persona"], "history": where["history"][-5:], "reply": reply})
        said = {} if name == PEOPLE else {"reply": reply}
        key[str(number)] = {
            "system": name,
            "dialogue": where["dialogue"],
            "turn": len(where["history"]),
            "scores": scores,
            **said,
        }
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "sheet.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in shown))
    write_json(out / "key.json", key)


def kappa(one: Sequence[bool], other: Sequence[bool]) -> float:
    """Cohen's kappa of two readers (Cohen 1960); NaN where chance alone would agree always."""
    n = len(one)
    seen = sum(a == b for a, b in zip(one, other, strict=True)) / n
    a, b = sum(one) / n, sum(other) / n
    chance = a * b + (1 - a) * (1 - b)
    return (seen - chance) / (1 - chance) if chance < 1 else float("nan")


def agree(key: Mapping[str, Any], readers: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """By system the share that is acceptable and in character (the mean of the readers), kappa of the readers, and how often a
    reply that the scores count as in character is acceptable to the readers."""
    ids = [name for name in key if all(name in reader for reader in readers)]
    if not ids:
        raise SystemExit("the readers' files hold no id of the sheet")
    bootstrap, result = Bootstrap(), {"replies": len(ids), "systems": {}, "kappa": {}}

    def mean(name: str, question: str) -> float:
        return sum(bool(reader[name][question]) for reader in readers) / len(readers)

    for question in QUESTIONS if len(readers) == 2 else ():
        one, other = ([bool(reader[name][question]) for name in ids] for reader in readers)
        result["kappa"][question] = kappa(one, other)
    for system in sorted({key[name]["system"] for name in ids}):
        own = [name for name in ids if key[name]["system"] == system]
        groups = [key[name]["dialogue"] for name in own]
        result["systems"][system] = {
            question: bootstrap.share([mean(name, question) for name in own], groups).to_dict()
            for question in QUESTIONS
        }
        scored = [key[name]["scores"].get("in_character") for name in own]
        result["systems"][system]["score_in_character"] = bootstrap.share(
            [float("nan") if value is None else value for value in scored], groups
        ).to_dict()
    counted = [name for name in ids if key[name]["scores"].get("in_character") == 1]
    result["counted_in_character"] = {
        question: bootstrap.share([mean(n, question) for n in counted], [key[n]["dialogue"] for n in counted]).to_dict()
        for question in QUESTIONS
    }
    known = [name for name in ids if key[name]["scores"].get("in_character") is not None]
    read = [mean(name, "in_character") >= 0.5 for name in known]
    result["kappa"]["scores and readers, in character"] = kappa(
        [key[n]["scores"]["in_character"] == 1 for n in known], read
    )
    return result


def table(result: Mapping[str, Any]) -> str:
    """Plain text."""
    lines = [f"{'system':<10} {'acceptable':>22} {'in character':>22} {'the score says':>22}"]
    for system, row in result["systems"].items():
        cells = [_cell(row[name]) for name in (*QUESTIONS, "score_in_character")]
        lines.append(f"{system:<10} " + " ".join(f"{cell:>22}" for cell in cells))
    lines += ["", *(f"kappa, {name.replace('_', ' ')}: {value:.2f}" for name, value in result["kappa"].items())]
    counted = result["counted_in_character"]["acceptable"]
    return "\n".join(
        [*lines, f"of {counted['count']} replies counted in character, acceptable to a reader: {_cell(counted)}"]
    )


def markdown(result: Mapping[str, Any]) -> str:
    """The same for a README, people last."""
    systems = sorted(result["systems"].items(), key=lambda item: (item[0] == PEOPLE, item[1]["in_character"]["value"]))
    lines = ["| speaker | acceptable | in character | the score says in character |", "| --- | ---: | ---: | ---: |"]
    for system, row in systems:
        lines.append(
            f"| {system} | " + " | ".join(_cell(row[name]) for name in (*QUESTIONS, "score_in_character")) + " |"
        )
    kappas = ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in result["kappa"].items())
    counted = result["counted_in_character"]["acceptable"]
    note = f"{result['replies']} replies; kappa: {kappas}. Of {counted['count']} replies that the score counts as in character,"
    return "\n".join(
        [*lines, "", f"{note} {_cell(counted)} are acceptable to a reader; 95 % intervals over dialogues."]
    )


def brief(result: Mapping[str, Any], speakers: Sequence[str]) -> str:
    """One row for a front page: the share of acceptable replies of these speakers, in this order.

    Raises:
        SystemExit: nobody read a reply of one of them.
    """
    if unknown := [name for name in speakers if name not in result["systems"]]:
        raise SystemExit(
            f"--brief {' '.join(unknown)}: nobody read such replies; choose {', '.join(result['systems'])}"
        )
    shares = [_cell(result["systems"][name]["acceptable"]) for name in speakers]
    kappa_of_two = result["kappa"].get("acceptable")
    readers = "One reader" if kappa_of_two is None else "Two readers"
    agreed = "" if kappa_of_two is None else f"kappa {kappa_of_two:.2f}; "
    note = f"{readers}, {result['replies']} replies, {agreed}in brackets: 95 % intervals"
    return "\n".join(
        [
            f"| speaker | {' | '.join(speakers)} |",
            f"| --- |{' ---: |' * len(speakers)}",
            f"| acceptable replies | {' | '.join(shares)} |",
            "",
            f"{note} over dialogues.",
        ]
    )


def _cell(estimate: Mapping[str, Any]) -> str:
    value, low, high = (estimate[name] for name in ("value", "low", "high"))
    return "-" if not estimate["count"] else f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _read(path: Path) -> dict[str, dict[str, Any]]:
    return {str(row["id"]): row for row in read_jsonl(path)[0]}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("sheet")
    one.add_argument("run", type=Path)
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--count", type=int, default=50, help="prompts")
    one.add_argument("--seed", type=int, default=0)
    two = commands.add_parser("agree")
    two.add_argument("folder", type=Path, help="with key.json")
    two.add_argument("readers", type=Path, nargs="+", help="one reader's answers, or two readers'")
    two.add_argument("--json", type=Path)
    two.add_argument("--readme", type=Path, help="put the table between the markers of this file")
    two.add_argument("--marker", default="reading")
    two.add_argument("--brief", nargs="+", metavar="SPEAKER", help="put one row there: acceptable replies of these")
    options = parser.parse_args(arguments)
    if options.command == "agree" and len(options.readers) > 2:
        parser.error("give one reader's answers, or two readers'")
    if options.command == "sheet":
        sheet(options.run, options.out, options.count, options.seed)
        return
    result = agree(read_json(options.folder / "key.json"), [_read(path) for path in options.readers])
    if options.json:
        write_json(options.json, result)
    if options.readme:
        text = brief(result, options.brief) if options.brief else markdown(result)
        update_readme(options.readme, options.marker, text)
    print(table(result))


if __name__ == "__main__":
    main()
