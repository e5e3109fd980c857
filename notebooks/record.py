"""What a notebook ought to show, from the records and the checkpoints of its run, and whether it does.

`execute.py` keeps it in `record.json` beside the notebooks. Nothing of it is taken from what a notebook shows: numbers are
those of `eval/*.json`, `metrics.jsonl` and `cost.json`; replies are sampled again from the checkpoint they are said to be of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import selfsame
from selfsame.report.cells import Row
from selfsame.report.tables import read_evaluations, rows_of, selfplay_rows, summary_lines
from selfsame.run.files import dotted, read_json, read_jsonl
from selfsame.run.records import Dialogues, EvaluationRecord, read_record
from selfsame.serve.chatbot import load_chatbot

Record = dict[str, Any]
Table = list[list[str]]
_PERSONA = ("I have two dogs.", "I drive a night bus.")
_SAID = ("Hi! What do you do for a living?", "Do you have any pets?")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}


# --- what it ought to show ----------------------------------------------------------------------------------------------


def make_record(notebook: str, runs: Path) -> Record:
    """For a notebook that was just executed. `runs`: the folder of the run and of those beside it."""
    run = selfsame.RunDirectory.open(runs / "notebook")
    record: Record = {"lines": _lines(notebook, run)}
    if notebook.startswith("1"):
        record |= _of_data(run)
    evaluations = read_evaluations(run)
    if evaluations:
        record |= {
            "results": _numbers(rows_of(evaluations)),
            "selfplay": _numbers(selfplay_rows(evaluations)),
            "notes": summary_lines(run.path),
            "dialogues": _dialogues(run, evaluations),
        }
    rows = read_jsonl(run.metrics_path)[0] if run.metrics_path.exists() else []
    record["steps"] = {row["stage"]: [row["step"], row["loss"]] for row in rows if "loss" in row}
    if notebook.startswith("4"):
        rows = read_jsonl(run.samples_path)[0]
        record["samples"] = [[f"{row['stage']} · step {row['step']}", row["reply"]] for row in rows if "prompt" in row]
    if notebook.startswith("6"):
        record["costs"] = {path.name: read_json(path / "cost.json") for path in sorted(runs.glob("notebook*"))}
    return record


def _of_data(run: selfsame.RunDirectory) -> Record:
    config = selfsame.load_config(run.config_path)
    loader = selfsame.DatasetLoader(config.data)
    data, (parts, _) = loader.load(), loader.read_parts()
    pairs = selfsame.PreferenceGenerator(data.train, config.pairs, config.seed).generate_pairs(60)
    found = selfsame.audit([dialogue for part in parts.values() for dialogue in part]).findings
    machine = dotted(read_json(run.path / "environment.json"))
    return {
        "machine": {
            name: str(value) for name, value in machine.items() if re.match(r"python|versions|git.commit", name)
        },
        "audit": {name: str(finding.count) for name, finding in found.items()},
        "pairs": {pair.reason: [pair.chosen, pair.rejected] for pair in reversed(pairs)},
    }


def _lines(notebook: str, run: selfsame.RunDirectory) -> dict[str, str]:
    """What is printed, and what it is."""
    if notebook[0] in "145":
        config = selfsame.load_config(run.config_path)
        return {"the data": selfsame.DatasetLoader(config.data).load().summary()}
    system = {"2": "base", "3": "sft", "6": "ppo"}[notebook[0]]
    bot = load_chatbot(str(run.path), system)
    prompts = [e.prompt(1) for e in selfsame.DatasetLoader(bot.config.data).load().validation[:4]]
    engine, sampling = selfsame.RolloutEngine(bot.roles), bot.config.sampling
    if system == "ppo":
        talk = selfsame.Conversation(selfsame.Policy(bot.roles, bot.role, sampling), _PERSONA)
        return {"the chat with PPO": "\n".join(talk.say(text) for text in _SAID)}
    asked = sampling if system == "base" else type(sampling)()  # as the cells do
    replies = engine.reply(bot.role, prompts, asked)
    if system == "base":
        without = engine.reply(None, [prompt.with_persona(()) for prompt in prompts], sampling)
        return {
            "the base's replies": "\n  ".join(["with:", *replies]),
            "the base's replies without a persona": "\n  ".join(["without:", *without]),
        }
    if replies == engine.reply(None, prompts, asked):
        raise SystemExit("SFT answers as the base does: it learned nothing, or its checkpoint was not loaded")
    lines = [f"{prompt.history[-1]}\n    {reply}" for prompt, reply in zip(prompts, replies, strict=True)]
    return {"SFT's replies": "\n".join(lines)}


def _numbers(rows: Sequence[Row]) -> dict[str, dict[str, list[float | None]]]:
    """Row -> metric -> value and interval, by the names that stand in a table."""
    return {
        row.name if row.kind == "system" else f"({row.name})": {
            metric.replace("_", " "): [cell.value, cell.low, cell.high] for metric, cell in row.cells.items()
        }
        for row in rows
    }


def _dialogues(run: selfsame.RunDirectory, evaluations: Mapping[str, EvaluationRecord]) -> dict[str, dict[str, str]]:
    """Prompt -> system -> its reply by its evaluation, for the prompts that come first in the report."""
    found: dict[str, dict[str, str]] = {}
    for chosen in read_record(run.path / "dialogues.json", Dialogues).root[:4]:
        prompt = (chosen.persona, chosen.history)
        said = {"what the person said": chosen.gold}
        for system, evaluation in evaluations.items():
            said[system] = next(r.reply for r in evaluation.replies if (r.persona, r.history) == prompt)
        found[f"{' '.join(prompt[0])} — {prompt[1][-1] or '(opens the dialogue)'}"] = said
    return found


# --- whether it does ----------------------------------------------------------------------------------------------------


def differences(notebook: Mapping[str, Any], record: Record) -> list[str]:
    """A line for everything that an executed notebook shows otherwise than its record, or does not show."""
    found, cells = [], [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    printed = "".join(_text(o["text"]) for cell in cells for o in cell["outputs"] if o["output_type"] == "stream")
    found += [f"{what}: not {text!r}" for what, text in record["lines"].items() if text not in printed]
    for cell in cells:
        source, data = _text(cell["source"]), [output.get("data", {}) for output in cell["outputs"]]
        pages = [_Page(_text(d["text/html"])) for d in data if "text/html" in d]
        tables = [table for page in pages for table in page.tables]
        for call, check in _CHECKS.items():
            if call in source:
                found += [f"{call}: {line}" for line in check(tables, record)] if tables else [f"{call}: no table"]
        if "show.results(run)" in source and [item for page in pages for item in page.items] != record["notes"]:
            found.append("show.results(run): the lines below the table are others")
        for bar in (_text(d.get("text/plain", "")) for d in data):
            found += _bar_differences(bar, record["steps"])
    return found


def _text(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else "".join(value)


class _Page(HTMLParser):
    """The tables of a page, as lines of cells, and the items of its lists."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: list[Table] = []
        self.items: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")
        elif tag == "li":
            self.items.append("")

    def handle_data(self, data: str) -> None:
        if self.items:
            self.items[-1] += data
        elif self.tables:
            self.tables[-1][-1][-1] += data


def _near(shown: str, value: float | None) -> bool:
    """Rounded to as many decimals as are shown."""
    if value is None:
        return shown == "–"
    return shown != "–" and abs(float(shown) - value) <= 0.5000001 * 10.0 ** -len(shown.partition(".")[2])


def _table_differences(tables: Sequence[Table], wanted: Mapping[str, Any]) -> Iterator[str]:
    """A row of the record may stand in a line or in a column."""
    shown: dict[tuple[str, str], str] = {}
    for head, *lines in tables:
        for line in lines:
            for name, cell in zip(head[1:], line[1:], strict=True):
                shown[(line[0], name) if head[0] == "system" else (name, line[0])] = cell
    for system, metrics in wanted.items():
        for metric, values in metrics.items():
            cell = shown.pop((system, metric), "nothing")
            parts = re.findall(r"–|-?\d+(?:\.\d+)?", cell)
            if len(parts) not in (1, 3) or not all(map(_near, parts, values)):
                yield f"{metric} of {system} is {values}, shown is {cell}"
    yield from (
        f"{metric} of {system} is not known, shown is {cell}" for (system, metric), cell in shown.items() if cell != "–"
    )


def _dialogue_differences(tables: Sequence[Table], record: Record) -> Iterator[str]:
    shown = {head[1]: {line[0]: line[1].partition("at odds with ")[0] for line in lines} for head, *lines in tables}
    for prompt, said in record["dialogues"].items():
        for who, reply in said.items():
            if (cell := shown.get(prompt, {}).get(who)) != reply:
                yield f"to {prompt[-60:]!r} {who} said {reply!r}, shown is {cell!r}"


def _sample_differences(tables: Sequence[Table], record: Record) -> Iterator[str]:
    for table in tables:
        for when, reply, *_ in table[1:]:
            if [when, reply] not in record["samples"]:
                yield f"{when}: nobody said {reply!r}"


def _list_differences(name: str, columns: slice) -> Any:
    """Of tables whose first column is a name of the record."""

    def check(tables: Sequence[Table], record: Record) -> Iterator[str]:
        shown = {line[0]: line[columns] for line in tables[0][1:]}
        for key, value in record[name].items():
            if shown.get(key.replace("_", " "), shown.get(key)) != (value if isinstance(value, list) else [value]):
                yield f"{key} is {value}, shown is {shown.get(key.replace('_', ' '), shown.get(key))}"

    return check


def _cost_differences(tables: Sequence[Table], record: Record) -> Iterator[str]:
    for head, *lines in tables:
        for name, *cells in lines:
            for run, cell in zip(head[1:], cells, strict=True):
                cost = record["costs"][run]
                named = {"all of them": "total_seconds", "peak memory": "peak_memory_bytes", "disk": "storage_bytes",
                         "peak memory of a GPU": "peak_gpu_memory_bytes", "cost in dollars": "total_cost"}  # fmt: skip
                value = cost.get(named[name]) if name in named else cost["seconds"].get(name)
                parts = [(float(n), {**_SECONDS, **_BYTES}[unit]) for n, unit in re.findall(r"([\d.]+) (\w+)", cell)]
                unit = parts[-1][1] if parts else 0.0
                step = unit if unit in (60.0, 3600.0) or len(parts) > 1 else unit / 10
                total = sum(n * unit for n, unit in parts)
                if (value is None) != (cell == "–") or (value is not None and abs(total - value) > 0.51 * step):
                    yield f"{name} of {run} is {value}, shown is {cell}"


def _bar_differences(bar: str, steps: Mapping[str, Any]) -> Iterator[str]:
    """`sft: 30/30 (100%), 4.1 s each, took 2:02, loss 3.454`, of the stages that have a loss on their bar."""
    told = re.match(r"(\w+): (\d+)/\d+ .*took", bar)
    if told and told[1] in steps:
        step, loss = steps[told[1]]
        shown = re.search(r"loss (-?[\d.]+)", bar)
        if int(told[2]) != step or (shown and not _near(shown[1], loss)):
            yield f"the last step of {told[1]} is {step} with a loss of {loss}, shown is {bar!r}"


_CHECKS = {
    "show.environment()": _list_differences("machine", slice(1, 2)),
    "show.audit(": _list_differences("audit", slice(1, 2)),
    "show.pairs(": _list_differences("pairs", slice(3, 5)),
    "show.results(run)": lambda tables, record: _table_differences(tables, record["results"]),
    "show.results(run, selfplay=True)": lambda tables, record: _table_differences(tables, record["selfplay"]),
    "show.dialogues(": _dialogue_differences,
    "show.samples(": _sample_differences,
    "show.cost(": _cost_differences,
}
"""What a cell calls -> what tells how its tables differ from the record."""
