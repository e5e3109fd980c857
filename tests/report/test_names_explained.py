"""Every metric of the pages: what its name means, where docs/metrics.md says more, and how its numbers are written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from test_report import Reader, section

import selfsame
from evaluated import estimate, evaluated_run, evaluation
from selfsame.comparing.runs import compare
from selfsame.report.comparison import write_comparison
from selfsame.report.formats import difference, shown
from selfsame.report.metrics import DEFINED, SECTIONS, Metric, curve_of, metric_of, reference_of
from selfsame.report.page import write_report
from selfsame.report.plots import training_plots
from selfsame.report.tables import Cell
from selfsame.run.files import append_jsonl, write_json

DOCS = Path(__file__).resolve().parents[2] / "docs"
REPORT = Path(selfsame.__file__).parent / "report"
MEASURED = json.loads((REPORT.parent / "model/bundled/selfsame-135m/eval/ppo.json").read_text())["metrics"]
PLAYED = ("coverage", "contradiction", "drift", "mistaken_identity", "repetition", "same_fact_again", "same_fact_contradicted",
          "same_fact_in_both", "same_fact_in_one", "same_fact_in_none")  # fmt: skip
SHARE, OTHER = Metric("s", share=True), Metric("o")


def full(system):
    """An evaluation with every metric that a real one has."""
    talk = {"items": 12, "metrics": {name: estimate(0.25) for name in PLAYED}, "references": {}, "samples": []}
    made = evaluation([1.0, 0.0] * 20, selfplay=talk)
    made["metrics"] = {name: estimate(0.5) for name in MEASURED}
    made["references"] |= {"other_reply": {"f1": estimate(0.5)}, "random_persona": {"grounding": estimate(0.0)}}
    return made | {"system": system}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("named")
    runs = [
        evaluated_run(folder / name, {"base": full("base"), "sft": full("sft")}, seed=k) for k, name in enumerate("ab")
    ]
    record = {
        "system": "sft",
        "than": "base",
        "verdict": "higher",
        "value": 0.25,
        "low": 0.125,
        "high": 0.375,
        "count": 40,
    }
    write_json(runs[0] / "comparisons.json", [record | {"metric": name} for name in ("in_character", "consistency")])
    for step in range(3):
        append_jsonl(
            runs[0] / "metrics.jsonl", {"stage": "sft", "step": step, "loss": 1.0 + step, "learning_rate": 0.1}
        )
    write_comparison(folder / "compare.html", compare([str(run) for run in runs]))
    return [write_report(runs[0]).read_text(), (folder / "compare.html").read_text()]


def terms(page):
    return re.findall(r'<a class="term" href="#([^"]+)" title="([^"]+)">([^<]+)</a>', page)


def test_every_metric_that_is_shown_explains_itself(pages):
    for page in pages:
        names = re.findall(
            r'<tr><th scope="row">(.*?)</th>', "".join(section(page, n) for n in ("results", "selfplay"))
        )
        names += re.findall(r"<figcaption>(.*?)</figcaption>", page) if page is pages[0] else []
        names += re.findall(r'<div class="tile (?:better|worse|tie)"><span>(.*?)</span>', page)
        assert len(names) > len(MEASURED) + len(PLAYED)
        assert [name for name in names if not re.fullmatch(r'<a class="term" .*title=".+</a>', name)] == []
        wanted = {name.replace("_", " ") for name in (*MEASURED, *PLAYED)}
        assert wanted <= {label for _, _, label in terms(page)}


def test_an_explanation_leads_to_a_definition_in_the_page(pages):
    for page in pages:
        listed = dict(re.findall(r'<dt id="([^"]+)">[^<]+</dt><dd>(.*?)</dd>', page))
        assert {target for target, *_ in terms(page)} == set(listed)
        for target, title, _ in terms(page):
            assert title.startswith(listed[target]) and "docs/metrics.md#" in title
        assert len(re.findall(r"<dt id=", page)) == len(listed)  # none twice
        assert Reader(page).open == []


def test_every_definition_has_its_place_in_the_docs():
    parts = re.split(r"^## (.*)$", (DOCS / "metrics.md").read_text(), flags=re.MULTILINE)
    text = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-"): " ".join(body.lower().split())
        for title, body in zip(parts[1::2], parts[2::2], strict=True)
    }
    assert set(SECTIONS) <= set(text)
    lost = [metric.where for metric in DEFINED if metric.name.lower() not in text[metric.section]]
    assert lost == [] and len(DEFINED) > 60


def test_definitions_are_one_line():
    assert [metric for metric in DEFINED if len(metric.definition) > 110 or not metric.definition.endswith(".")] == []
    assert len({metric.id for metric in DEFINED}) == len(DEFINED)


def test_names_that_nobody_defined_stand_as_they_are():
    assert metric_of("my_metric") == Metric("my metric", section="Others") and curve_of("Mine").definition == ""
    assert metric_of("contradiction") != metric_of("contradiction", selfplay=True)
    assert reference_of("no persona (sft)").label == "no persona (sft)" and reference_of("no persona (sft)").definition
    assert curve_of("Eval distinct 2").definition == curve_of("Held-out people").definition


def test_shares_are_percentages_and_nothing_else_is(pages):
    for page in pages:
        lines = re.findall(
            r'<tr><th scope="row"><a class="term"[^>]*>([^<]+)</a></th>(.*?)</tr>', section(page, "results")
        )
        values: dict[str, set[str]] = {}
        for name, cells in lines:  # of two tables
            values.setdefault(name, set()).update(re.findall(r"<td>([^<]+?) ?<", cells))
        assert values["consistency"] >= {"50%"} and values["perplexity"] == {"0.500"}
        for name, metric in ((name, metric_of(name.replace(" ", "_"))) for name in values):
            assert all(value.endswith("%") == metric.share for value in values[name] if value), name
        assert sum(metric_of(name).share for name in MEASURED) == 17
    assert "+25 points" in section(pages[0], "headline") and "+0.250" not in pages[0]


def test_numbers_as_pages_write_them():
    assert shown(Cell(0.614, 0.57, 0.655, 200), SHARE, 3) == ("61%", "[57, 66]")
    assert shown(Cell(0.6144, 0.57, 0.655, 2000), SHARE, 3) == ("61.4%", "[57.0, 65.5]")
    assert shown(Cell(-0.001, -0.004, 0.0), SHARE, 3) == ("0%", "[0, 0]")
    assert shown(Cell(0.5, 0.4, 0.6, seeds=2), SHARE, 3) == ("50%", "(40 to 60)")
    assert shown(Cell(3.456, 3.0, 4.0), OTHER, 1) == ("3.5", "[3.0, 4.0]")
    assert shown(Cell(None), SHARE, 1) == difference(Cell(None), SHARE) == ("–", "")
    assert difference(Cell(0.24, 0.08, 0.4), SHARE) == ("+24 points", "[8, 40]")
    assert difference(Cell(-0.24), SHARE) == ("-24 points", "") and difference(Cell(0.5), OTHER) == ("+0.500", "")


def test_wide_tables_scroll_in_their_own_box(pages):
    style = (REPORT / "style.css").read_text()
    assert re.search(r"\.scroll \{ overflow-x: auto; background: .*var\(--shade\)", style)
    for page in pages:
        boxes = re.findall(
            r'<div class="scroll" tabindex="0" role="region" aria-label="[^"]+"><table class="results">', page
        )
        assert len(boxes) == page.count('<table class="results">') > 1
        assert style.strip() in page  # one style for both


def test_long_names_of_systems_may_break(tmp_path):
    run = evaluated_run(tmp_path / "run", {"one": full("sft_best_of_n")})
    write_json(run / "eval/two.json", full("<b>_o"))
    page = write_report(run).read_text()
    assert "<th>sft_<wbr>best_<wbr>of_<wbr>n</th>" in page and "<th>&lt;b&gt;_<wbr>o</th>" in page
    assert "<wbr>" not in "".join(re.findall(r'="[^"]*"', page))


def test_a_legend_lies_over_no_line():
    names = (
        "eval_in_character",
        "eval_consistency",
        "eval_contradiction",
        "eval_copying_unprompted",
        "eval_grounding_anywhere",
    )
    records = [{"stage": "ppo", "step": k, **dict.fromkeys(names, k / 9)} for k in range(9)]
    records += [{"stage": "sft", "step": k, "loss": k, "validation_loss": 9 - k} for k in range(9)]
    many, two = training_plots(records)
    assert many.height > two.height  # the lines of the legend come on top
    for plot in (many, two):
        figure = Figure(figsize=(3.7, plot.height), layout="constrained")
        axes = figure.add_subplot()
        plot.draw(axes)
        figure.draw_without_rendering()
        legend = axes.get_legend()
        assert legend and len(legend.get_texts()) == (5 if plot is many else 2)
        box, within = legend.get_window_extent(), axes.get_window_extent()
        assert box.y0 >= within.y1 and box.y1 <= figure.bbox.y1 and box.x1 <= figure.bbox.x1
        assert within.height > 60  # what is left for the lines


def test_lines_have_a_colour_for_dark_and_for_light(pages):
    style = (REPORT / "style.css").read_text()
    used = set(re.findall(r"var\((--plot-\d), #[0-9a-f]{6}\)", "".join(pages)))
    assert "--plot-1" in used
    for number in range(1, 9):
        assert len(re.findall(rf"--plot-{number}: #[0-9a-f]{{6}};", style)) == 2
    drawn = "".join(re.findall(r"<svg.*?</svg>", "".join(pages), flags=re.DOTALL))
    colours = set(re.findall(r"(?<!, )#[0-9a-f]{6}\b", drawn))
    assert colours <= {"#ffffff", "#000000"}
