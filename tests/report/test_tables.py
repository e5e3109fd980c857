"""Self-play and paired comparisons in tables, README and page."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_report import CONFIG, Reader, evaluation, section

from selfsame.report.page import write_report
from selfsame.report.tables import comparison_lines, markdown_results, run_results, text_results
from selfsame.run.comparisons import PRIMARY, ComparisonRecord
from selfsame.run.directory import RunDirectory
from selfsame.run.files import write_json
from selfsame.run.records import EvaluationRecord


def cell(value, count=24, missing=0):
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "count": count, "missing": missing}


def selfplay(coverage):
    return {
        "items": 24,
        "turns": 10,
        "metrics": {"coverage": cell(coverage), "drift": cell(-0.025), "same_fact_again": cell(0.375, 20, 4)},
        "references": {
            "gold": {"coverage": cell(0.875), "drift": cell(0.0)},
            "random_persona": {"coverage": cell(coverage / 8), "drift": cell(0.0)},
        },
        "samples": [
            {"persona": ["I sing."], "partner_persona": ["I <u>knit</u>."], "turns": ["Hi.", "La la.", "Purl.", ""]}
        ],
    }


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory.create(tmp_path / "run", CONFIG)
    for system, value in (("sft", 0.5), ("ppo", 0.625)):
        write_json(run.eval_path(system), evaluation(system, 0.5) | {"selfplay": selfplay(value)})
    return run


def test_selfplay_has_a_table_of_its_own(run):
    text = run_results(run.path)
    replies, talking = text.split("Self-play, the system on both sides of a dialogue; dialogues: sft 24, ppo 24.")
    assert "coverage" not in replies and "consistency" not in talking
    assert "0.625 [0.525, 0.725]" in talking and "-0.025 [-0.125, 0.075]" in talking
    names = [line.split("  ")[0] for line in talking.splitlines() if "[" in line]
    assert names == ["sft", "ppo", "(gold)", "(random persona (sft))", "(random persona (ppo))", "same fact again"]
    assert max(map(len, talking.splitlines())) <= 110


def test_without_selfplay_there_is_none():
    assert "elf-play" not in text_results({"sft": EvaluationRecord.model_validate(evaluation("sft", 0.5))})
    assert "elf-play" not in text_results({})


def test_selfplay_in_a_readme(run):
    text = markdown_results(run.path)
    assert "| ppo | 0.625 [0.525, 0.725] |" in text and "| *gold* | 0.875" in text
    assert text.index("consistency") < text.index("Self-play,") < text.index("In brackets")


def test_selfplay_in_the_page(run):
    page = write_report(run.path).read_text()
    reader = Reader(page)
    assert reader.open == [] and page.startswith("<!doctype html>") and "u" not in reader.tags
    results = section(page, "selfplay")
    assert "Through a whole conversation" in results and ">62%" in results and ">38%" in results
    assert results.count("La la.") == 2 and "I &lt;u&gt;knit&lt;/u&gt;." in results
    assert '<div class="turn bot">La la.</div>' in results and '<div class="turn partner">Purl.</div>' in results
    assert "sft, self-play same_fact_again: 4 of 24 could not be scored" in section(page, "missing")


def test_comparisons_say_how_they_were_tested():
    known = ComparisonRecord(
        system="ppo", than="sft", metric="consistency", value=0.05, low=0.01, high=0.09, count=9, verdict="higher"
    )
    tested = known.model_copy(update={"p": 0.01, "p_corrected": 0.03})
    free = known.model_copy(update={"metric": "word_f1"})
    sure = tested.model_copy(update={"p_corrected": 2e-5})
    *lines, note = comparison_lines([tested, free, sure])
    assert lines == [
        "ppo - sft, consistency, same prompts: +0.050 [0.010, 0.090], p 0.030, higher.",
        "ppo - sft, word f1, same prompts: +0.050 [0.010, 0.090], higher.",
        "ppo - sft, consistency, same prompts: +0.050 [0.010, 0.090], p < 0.001, higher.",
    ]
    assert "McNemar" in note and "all 2 tests" in note and "Holm" in note
    primary = tested.model_copy(update={"metric": PRIMARY, "tests": 2})
    *_, note = comparison_lines([primary, tested.model_copy(update={"tests": 22})])
    assert "corrected (Holm) in two families: 2 of in character, 22 of all other scores." in note
    old = comparison_lines([known.model_copy(update={"verdict": "tie"})])  # of an older version
    assert old == ["ppo - sft, consistency, same prompts: +0.050 [0.010, 0.090], tie."]
