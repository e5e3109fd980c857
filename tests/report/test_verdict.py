"""The end of a run: a verdict from its records, and replies nobody selected."""

from __future__ import annotations

import pytest

from evaluated import evaluated_run, evaluation, reply
from selfsame.comparing.pairs import compare_systems
from selfsame.metrics.statistics import Bootstrap
from selfsame.report.tables import read_evaluations
from selfsame.report.verdict import SamePrompt, replies_text, run_verdict, unselected, verdict
from selfsame.run.directory import RunDirectory
from selfsame.run.files import read_json, write_json


def talk(hits):
    return [reply(k, 0.0, f"Reply {k}.") | {"scores": {"in_character": hit}} for k, hit in enumerate(hits)]


def measured(hits, perplexity, margin):
    cell = {"value": perplexity, "low": perplexity - margin, "high": perplexity + margin, "count": 8, "missing": 0}
    made = evaluation(hits, talk=talk(hits))
    share = made["metrics"]["consistency"]
    made["metrics"] = {"in_character": share, "consistency": share, "perplexity": cell}
    return made


@pytest.fixture
def run(tmp_path):
    systems = {
        "base": measured([0.0] * 40, 34.0, 1.0),
        "sft": measured([1.0, 0.0, 1.0, 1.0] * 10, 30.0, 1.0),
        "ppo": measured([1.0, 1.0, 0.0, 1.0] * 10, 30.5, 1.0),
    }
    folder = evaluated_run(tmp_path / "run", systems)
    records = read_evaluations(RunDirectory(folder))
    write_json(folder / "comparisons.json", compare_systems(records, Bootstrap(200)))
    return folder


def test_a_gain_and_a_tie_and_what_they_cost(run):
    text = verdict(run)
    difference = next(r for r in read_json(run / "comparisons.json") if r["metric"] == "in_character")
    low, high = (f"{100 * difference[end]:.0f}" for end in ("low", "high"))
    first, second = text.split(". P")
    assert first.startswith(
        f"SFT is more often in character than the base model (75% of replies against 0%, +75 points [{low}, {high}]); "
    )
    assert "PPO and SFT tie in how often they are in character (75% of replies against 75%, +0 points [" in first
    assert second == (
        "erplexity on human replies, where lower is better, went from 34.0 [33.0, 35.0] (the base model) to"
        " 30.0 [29.0, 31.0] (SFT), clearly lower; from 30.0 [29.0, 31.0] (SFT) to 30.5 [29.5, 31.5] (PPO), no clear"
        " difference."
    )


def changed(run, metric="in_character", **values):
    records = read_json(run / "comparisons.json")
    for record in records:
        if (record["system"], record["metric"]) == ("sft", metric):
            record.update(values)
    write_json(run / "comparisons.json", records)


def test_a_loss_a_doubt_and_what_is_unknown(run):
    changed(run, verdict="lower", value=-0.2, low=-0.3, high=-0.1)
    assert verdict(run).startswith("SFT is less often in character than the base model (")
    assert "-20 points [-30, -10])" in verdict(run)
    changed(run, verdict="tie", p_corrected=0.17)
    assert "SFT and the base model tie in how often" in verdict(run)
    assert "-20 points [-30, -10], but p 0.17 after Holm's correction)" in verdict(run)
    changed(run, low=-0.3, high=0.1)
    assert "but p" not in verdict(run)
    changed(run, verdict="unknown", value=None)
    assert "Whether SFT is more often in character than the base model could not be measured; " in verdict(run)


def test_dearer_perplexity_is_said(run):
    path = RunDirectory(run).eval_path("ppo")
    record = read_json(path)
    record["metrics"]["perplexity"] = {"value": 40.0, "low": 39.0, "high": 41.0}
    write_json(path, record)
    assert "to 40.0 [39.0, 41.0] (PPO), clearly higher." in verdict(run)


def test_earlier_records_are_judged_by_what_they_measured(run):
    records = [r for r in read_json(run / "comparisons.json") if r["metric"] == "consistency"]
    write_json(run / "comparisons.json", records)
    assert verdict(run).startswith("SFT is more often consistent than the base model (75% of replies against 0%, ")
    assert "PPO and SFT tie in how often they are consistent (" in verdict(run)


def test_one_system_alone_is_compared_with_nothing(tmp_path):
    folder = evaluated_run(tmp_path / "run", {"sft": measured([1.0, 0.0] * 4, 30.0, 1.0)})
    write_json(folder / "comparisons.json", [])
    assert verdict(folder) == (
        "Only SFT was evaluated, so there is nothing to compare it with. SFT is in character in 50% [40%, 60%] of its replies."
    )
    nothing = evaluated_run(tmp_path / "other", {})
    assert verdict(nothing) == "Nothing was evaluated, so there is no verdict."
    assert run_verdict(nothing) == verdict(nothing)


def test_replies_are_spread_evenly_and_not_selected(run):
    evaluations = read_evaluations(RunDirectory(run))
    prompts = unselected(evaluations, 4)
    assert [found.replies["ppo"] for found in prompts] == ["Reply 0.", "Reply 10.", "Reply 20.", "Reply 30."]
    assert [*prompts[0].replies] == ["base", "sft", "ppo"] and prompts[1].history == ["Any pets, 10?"]
    for row in evaluations["sft"].talk:  # what was scored makes no difference
        row.scores = {"in_character": None}
    assert unselected(evaluations, 4) == prompts
    evaluations["sft"].talk = evaluations["sft"].talk[:2]  # prompts that all of them answered
    assert [found.history for found in unselected(evaluations)] == [["Any pets, 0?"], ["Any pets, 1?"]]
    assert unselected({}) == []


def test_the_end_of_a_run_fits_a_terminal(run):
    text = run_verdict(run)
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("  persona  I have two dogs.") == 3 and text.count("  base     Reply ") == 3
    assert "spread evenly over the test and not selected" in text
    long = [SamePrompt(["I sing."], [""], "", {"base": "word " * 60, "sft": " "})]
    block = replies_text(long, 60)
    assert max(map(len, block.splitlines())) <= 60 and "partner  (the bot opens the dialogue)" in block
    assert block.endswith("  sft      (nothing)")
    hostile = [SamePrompt(["I sing."], [""], "", {"base": "Hi.\x1b[2J\r\n\x07Bye."})]
    assert replies_text(hostile).endswith("  base     Hi. [2J Bye.")
