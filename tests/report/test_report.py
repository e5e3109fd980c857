"""The report of whole, partial and damaged run directories that are made here."""

from __future__ import annotations

import json
import math
import random
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markupsafe import escape

from selfsame.errors import ConfigError, RunError
from selfsame.report.page import skipped_steps, write_report
from selfsame.report.plots import read_series, training_plots
from selfsame.report.samples import conversations
from selfsame.report.tables import Cell, markdown_results, markdown_table, results_table, text_table, update_readme
from selfsame.run.directory import RunDirectory
from selfsame.run.files import append_jsonl, write_json

CONFIG = {"run": {"stages": ["sft", "reward", "ppo", "evaluate"]}, "training": {"ppo": {"kl_coef": 0.05}}, "seed": 0}
REFERENCES = {
    "gold": {"consistency": {"value": 0.71, "low": 0.68, "high": 0.74, "count": 200, "missing": 0}},
    "random_persona": {"consistency": {"value": 0.22, "low": 0.195, "high": 0.245, "count": 200, "missing": 0}},
}
HOSTILE = "<script>alert('x')</script> & \"quotes\" https://example.org \u2028 \ud800"


def evaluation(system: str, consistency: float, missing: int = 0) -> dict:
    interval = {"low": consistency - 0.042, "high": consistency + 0.042, "count": 200 - missing, "missing": missing}
    distinct = {"value": 0.8312, "low": 0.81, "high": 0.85, "count": 200, "missing": 0}
    return {
        "system": system,
        "items": 200,
        "metrics": {"consistency": {"value": consistency, **interval}, "distinct_2": distinct},
        "references": REFERENCES,
        "settings": {"temperature": 0.7, "seed": 1},
    }


def make_sft(folder: Path) -> RunDirectory:
    """A run that was interrupted after SFT."""
    run = RunDirectory.create(folder, CONFIG)
    noise = random.Random(0)
    for step in range(120):
        loss = math.nan if step == 7 else 4.0 * math.exp(-step / 40) + 1.8 + noise.gauss(0, 0.08)
        record = {"stage": "sft", "step": step, "time": 1e9 + step, "loss": loss, "learning_rate": 1e-4}
        append_jsonl(run.metrics_path, record | ({"not_finite": ["loss"]} if step == 7 else {}))
    run.checkpoints("sft").joinpath("step-000120").mkdir(parents=True)
    return run


def make_full(folder: Path) -> RunDirectory:
    run, noise = make_sft(folder), random.Random(1)
    for step in range(60):
        accuracy = {"accuracy": min(0.93, 0.5 + step / 100), "validation_accuracy": min(0.88, 0.5 + step / 110)}
        append_jsonl(
            run.metrics_path, {"stage": "reward", "step": step, "time": 1e9, "loss": 0.7 - step / 200, **accuracy}
        )
        ppo = {
            "reward": step / 40 + noise.gauss(0, 0.2),
            "kl": 0.01 * step,
            "kl_coef": 0.05,
            "entropy": 2.4 - step / 90,
        }
        ppo |= {
            "clip_fraction": 0.1,
            "explained_variance": 0.6,
            "reply_length": 14 + noise.random(),
            "skipped": step == 3,
        }
        append_jsonl(run.metrics_path, {"stage": "ppo", "step": step, "time": 1e9, **ppo})
    persona, history = ["I have two dogs.", "I teach chemistry."], ["Hi, what do you do?"]
    for stage, steps in (("sft", (0, 60, 119)), ("ppo", (0, 30, 59))):
        for step in steps:
            row = {"persona": persona, "history": history, "reply": f"Reply of {stage} at {step}.", "reward": step / 50}
            append_jsonl(run.samples_path, {"stage": stage, "step": step, "prompt": "one", **row})
    row = {"persona": [HOSTILE], "history": ["Hello!", "Hi.", HOSTILE], "reply": HOSTILE, "reward": None}
    append_jsonl(run.samples_path, {"stage": "ppo", "step": 59, "prompt": "two", **row})
    for system, value, missing in (("ppo", 0.612, 0), ("base", 0.31, 3), ("sft", 0.525, 0)):
        write_json(run.eval_path(system), evaluation(system, value, missing))
    bill = {"seconds": {"sft": 300.0, "ppo": 4000.5}, "total_seconds": 4300.5, "gpus": 0, "gpu_hourly_rate": 0.35}
    bill |= {"gpu_cost": None, "storage_bytes": 12_300_000, "storage_cost_per_gb": 0.1, "storage_cost": 0.00123}
    bill |= {
        "total_cost": None,
        "peak_memory_bytes": 2_100_000_000,
        "peak_gpu_memory_bytes": None,
        "notes": ["On a CPU."],
    }
    write_json(run.cost_path, bill)
    write_json(run.data_path, {"summary": "120 dialogues, 240 personas.", "rejected": 3})
    run.write_environment("float32")
    return run


class Reader(HTMLParser):
    """Text, tags and outgoing addresses of a page; complains about tags that are not closed."""

    VOID = frozenset({"meta", "br", "link", "img", "input", "path", "use", "rect", "line", "wbr"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [
            value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data", "action")
        ]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return make_full(tmp_path_factory.mktemp("runs") / "demo-1a2b")


@pytest.fixture(scope="module")
def page(full: RunDirectory) -> str:
    return write_report(full.path).read_text(encoding="utf-8")


def section(page: str, name: str) -> str:
    found = re.search(rf'<section id="{name}">(.*?)</section>', page, re.DOTALL)
    assert found
    return found.group(1)


def test_table_orders_systems_then_references_and_shows_intervals(full: RunDirectory) -> None:
    rows = results_table(full.path)
    assert [row.name for row in rows] == ["base", "sft", "ppo", "gold", "random persona"]
    assert [row.kind for row in rows] == ["system"] * 3 + ["reference"] * 2
    assert rows[0].cells["consistency"].missing == 3
    text = text_table(rows)
    assert "0.612 [0.570, 0.654]" in text and "0.831 [0.810, 0.850]" in text
    first, second = text.split("\n\n")
    assert first.startswith("system  ") and "(gold)" in first and "0.831" not in first
    assert second.startswith("metric") and "base" in second.splitlines()[0] and "gold" not in second


def test_text_table_is_cut_into_blocks_that_fit(full: RunDirectory) -> None:
    text = text_table(results_table(full.path), width=45)
    assert max(map(len, text.splitlines())) <= 45
    assert text.count("distinct 2") == 3  # every block names the rows: a system each fits


def test_references_that_differ_between_systems_are_kept_apart(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", CONFIG)
    for system, value in (("sft", 0.1), ("ppo", 0.2)):
        references = {"gold": {"consistency": 0.71}, "no_persona": {"consistency": value}}
        write_json(run.eval_path(system), evaluation(system, value) | {"references": references})
    names = {row.name: row.cells["consistency"].value for row in results_table(run.path) if row.kind == "reference"}
    assert names == {"gold": 0.71, "no persona (sft)": 0.1, "no persona (ppo)": 0.2}


def test_nan_is_unknown_not_zero(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", CONFIG)
    run.eval_path("sft").parent.mkdir()
    metrics = {"engagement": {"value": math.nan, "low": math.nan, "high": math.nan, "count": 0, "missing": 200}}
    run.eval_path("sft").write_text(json.dumps({"system": "sft", "items": 200, "metrics": metrics}))
    (row,) = results_table(run.path)
    assert row.cells["engagement"].value is None
    assert Cell(None).show(1) == "–"
    assert "sft, engagement: no value" in section(write_report(run.path).read_text(), "missing")


def test_markdown_is_a_table_that_names_cannot_break(full: RunDirectory) -> None:
    text = markdown_results(full.path)
    tables = [[line for line in part.splitlines() if line.startswith("|")] for part in text.split("\n\n")[:2]]
    assert [len(lines) for lines in tables] == [7, 3] and all(
        len({line.count("|") for line in lines}) == 1 for lines in tables
    )
    assert "*gold*" in text and "base 200" in text
    rows = results_table(full.path)
    rows[0].cells["a|b"] = Cell(1.0)
    assert "a\\|b" in markdown_table(rows)


def test_readme_is_changed_between_its_markers_only(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("# Top\n<!-- results:cpu -->\nold\n<!-- /results:cpu -->\nbottom <!-- results:gpu -->\n")
    assert update_readme(readme, "cpu", "new \\1 text") is True
    assert readme.read_text() == (
        "# Top\n<!-- results:cpu -->\nnew \\1 text\n<!-- /results:cpu -->\nbottom <!-- results:gpu -->\n"
    )
    assert update_readme(readme, "cpu", "new \\1 text") is False
    for marker in ("gpu", "none"):  # one without an end, one that is not there
        with pytest.raises(ConfigError, match=f"results:{marker}"):
            update_readme(readme, marker, "x")
    with pytest.raises(ConfigError, match="cannot be read"):
        update_readme(tmp_path / "missing.md", "cpu", "x")


def test_full_report_has_every_part(page: str) -> None:
    reader = Reader(page)
    assert reader.open == []
    text = " ".join(" ".join(reader.text).split())
    assert "not there yet" not in text.lower()
    for part in ("61%", "[57, 65]", "83%", "[81, 85]", "Reply of ppo at 59.", "reward 1.18", "1 h 11 min", "12.3 MB",
                 "On a CPU.", "120 dialogues", "training.ppo.kl_coef", "torch", "up to step 119"):  # fmt: skip
        assert part in text, part
    for title in ("Loss", "Ranking accuracy", "Reward model's score", "KL to the SFT model", "KL coefficient", "Entropy",
                  "Clip fraction", "Explained variance", "Reply length"):  # fmt: skip
        assert re.search(rf">{re.escape(escape(title))}(</a>)?</figcaption><svg", page), title
    missing = section(page, "missing")
    for line in (
        "base, consistency: 3 of 200 could not be scored",
        "sft, loss: not finite in 1 records",
        "ppo: 1 steps",
    ):
        assert line in missing, line


def test_unknown_cost_is_not_zero(page: str) -> None:
    assert re.search(r"<div>–<span>cost</span>", page)
    assert "$0.00<" not in section(page, "cost")


def test_text_of_people_is_escaped(page: str) -> None:
    reader = Reader(page)
    assert "script" not in reader.tags
    assert "<script>alert('x')</script>" in "".join(reader.text)
    page.encode("utf-8")  # the lone surrogate did not get into the file


def test_page_reaches_for_nothing_outside(page: str) -> None:
    without_dialogue = page.replace("https://example.org", "")
    assert "http:" not in without_dialogue and "https:" not in without_dialogue
    assert Reader(page).addresses and all(address.startswith("#") for address in Reader(page).addresses)
    assert "@import" not in page and not re.search(r"url\((?!#)", page)


def test_curves_take_the_text_colour_and_have_labelled_axes(page: str) -> None:
    training = section(page, "training")
    assert "currentColor" in training and "#010203" not in training
    for label in (">loss<", "nats per token", "share of pairs", ">step<"):
        assert label in training
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_report_of_a_run_interrupted_after_sft(tmp_path: Path) -> None:
    page = write_report(make_sft(tmp_path / "run").path).read_text()
    assert 'id="samples"' not in page
    for name in ("results", "cost", "data", "setup"):
        assert "Not there yet" in section(page, name), name
    assert "<svg" in section(page, "training")
    pills = re.findall(r'<span class="pill([^"]*)"><b>(\w+)</b> ([^<]+)</span>', page)
    there = [("sft", " there", "up to step 119")]
    later = [(name, "", "not there yet") for name in ("reward", "ppo", "evaluate")]
    assert [(name, kind, note) for kind, name, note in pills] == there + later


def test_report_of_a_run_that_has_only_its_config(tmp_path: Path) -> None:
    page = write_report(RunDirectory.create(tmp_path / "run", {}).path).read_text()
    assert page.count("Not there yet") == 5


def test_damaged_files_are_listed_and_do_not_stop_the_report(tmp_path: Path) -> None:
    run = make_full(tmp_path / "run")
    run.eval_path("sft").write_text('{"system": "sft", "met')
    run.cost_path.write_text("")
    with run.metrics_path.open("a") as file:
        file.write('{"stage": "ppo", "st')
    with pytest.raises(RunError, match=r"sft\.json is damaged"):
        results_table(run.path)
    page = write_report(run.path).read_text()
    missing = section(page, "missing")
    for line in ("sft.json is damaged", "cost.json is damaged", "metrics.jsonl: 1 damaged lines"):
        assert line in missing, line
    assert ">61%" in section(page, "results")


@pytest.mark.parametrize("call", [write_report, results_table, markdown_results])
def test_a_folder_that_is_no_run_is_one_clear_line(call, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is not a run directory") as caught:
        call(tmp_path)
    assert "\n" not in str(caught.value)


def test_series_keep_gaps_and_leave_out_what_is_no_number() -> None:
    records = [
        {"stage": "sft", "step": 0, "time": 1.0, "loss": 2.0, "note": "text"},
        {"stage": "sft", "step": 1, "time": 2.0, "loss": None, "not_finite": ["loss"], "skipped": 1},
        {"stage": "sft", "loss": 9.0},
    ]
    series = read_series(records)
    assert list(series["sft"]) == ["loss"]
    steps, values = series["sft"]["loss"]
    assert steps == [0, 1] and values[0] == 2.0 and math.isnan(values[1])
    assert training_plots([records[1]]) == []  # a curve without a single number is no figure


def test_long_curves_are_thinned() -> None:
    records = [{"stage": "sft", "step": step, "loss": math.sin(step)} for step in range(50_000)]
    (plot,) = training_plots(records)
    assert len(plot.svg) < 60_000


def test_skipped_steps_are_added_up_either_way() -> None:
    records = [{"stage": "sft", "skipped": 1}, {"stage": "sft", "skipped": 1}, {"stage": "ppo", "skipped_steps": 2}]
    records += [{"stage": "ppo", "skipped_steps": 5}]
    assert skipped_steps(records) == ["sft: 2 steps skipped", "ppo: 5 steps skipped"]


def test_replies_are_spread_over_the_training() -> None:
    same = {"prompt": "p", "persona": ["a"], "history": ["x", "y", "z"]}
    rows = [{"stage": stage, "step": step, "reply": f"{stage} {step}", **same}
            for stage in ("ppo", "sft") for step in range(50)]  # fmt: skip
    (talk,) = conversations(rows)
    texts = [reply.text for reply in talk.replies]
    assert len(texts) == 10 and [texts[i] for i in (0, 4, 5, 9)] == ["sft 0", "sft 49", "ppo 0", "ppo 49"]
    assert [turn.who for turn in talk.turns] == ["partner", "bot", "partner"]


def test_reports_need_no_torch(full: RunDirectory) -> None:
    code = f"import sys; from selfsame.report.page import write_report; write_report({str(full.path)!r}); " \
           "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
