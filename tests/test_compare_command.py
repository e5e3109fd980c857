"""`selfsame compare` on runs with made-up records: what is in the table, the pairs, the cost and the files."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from commands import Command, snapshot
from evaluated import evaluated_run, evaluation
from selfsame.comparing.runs import compare
from selfsame.errors import RunError
from selfsame.metrics.statistics import holm
from selfsame.run.directory import RunDirectory
from selfsame.run.files import dotted, write_json
from selfsame.run.settings import FREE, is_free

LOW, HIGH = [0.0] * 30 + [1.0] * 10, [0.0] * 10 + [1.0] * 30


@pytest.fixture
def selfsame(capsys, tmp_path):
    return Command(capsys, tmp_path)


@pytest.fixture
def runs(tmp_path):
    evaluated_run(tmp_path / "one", {"base": evaluation(LOW), "sft": evaluation(LOW), "ppo": evaluation(HIGH)})
    evaluated_run(tmp_path / "two", {"sft": evaluation(LOW[::-1]), "dpo": evaluation(HIGH)}, seed=1)
    return tmp_path


def test_a_table_pairs_and_cost(selfsame, runs):
    before = snapshot(runs)
    done = selfsame("compare", f"{runs}/one:sft", f"{runs}/one", f"{runs}/two")
    assert done.code == 0 and done.err == ""
    text = " ".join(done.out.split())
    for part in (
        "one:sft 0.250 [0.150, 0.350]",
        "two:dpo 0.750 [0.650, 0.850]",
        "(gold) 0.900 [0.800, 1.000] 0.000",
        "one:ppo - one:sft, consistency, same prompts: +0.500",
        "p < 0.001, higher.",
        "two:dpo against one:sft, consistency prompt by prompt: wins 20, ties 20, losses 0.",
        "corrected for all 4 tests here (Holm)",
        "one:ppo: Reward model: ranks 0.750 of 40 held-out pairs correctly (bland 0.80).",
        "Contradictions are judged by rules",
        "one:ppo 1 min 00 s 1 min 40 s 3 min 20 s 6 min 00 s 2.1 GB",
        "one:sft 1 min 00 s 1 min 00 s 2.1 GB",
        "two:dpo 1 min 00 s 30.0 s 1 min 30 s 2.1 GB",
    ):
        assert part in text, part
    assert "two:dpo: Reward model" not in text and text.count("(gold)") == 1
    assert "one:sft - " not in text and "not compared" not in text
    assert snapshot(runs) == before


def test_p_values_are_corrected_for_all_pairs_together(runs):
    found = compare([f"{runs}/one:sft", f"{runs}/one", f"{runs}/two"]).comparisons
    assert [(r.system, r.metric) for r in found] == [
        (name, metric) for name in ("one:ppo", "two:dpo") for metric in ("consistency", "contradiction")
    ]
    p = [r.p for r in found if r.p is not None]
    assert [r.p_corrected for r in found] == pytest.approx(holm(p))
    assert found[0].p_corrected == pytest.approx(4 * p[0]) and p[0] < 1e-5


def test_an_unknown_time_is_not_zero(runs):
    (runs / "two/cost.json").write_text('{"seconds": {"dpo": 30.0}}')
    costs = {name: s.cost for name, s in compare([f"{runs}/one:base", f"{runs}/two"]).systems.items()}
    assert costs["two:dpo"].total_seconds is None and costs["two:dpo"].seconds == {"sft": None, "dpo": 30.0}
    assert costs["one:base"].total_seconds == 0 and costs["one:base"].seconds == {}


def test_other_number_formats_are_told(runs):
    """Where they are known: a run of an earlier version did not record its own."""
    said = [
        [],
        ["The runs were computed in different number formats (bfloat16, float32): a seed is another draw in each."],
    ]
    write_json(runs / "one/environment.json", {"dtype": "bfloat16"})
    write_json(runs / "two/environment.json", {"cpu": None})
    assert [n for n in compare([f"{runs}/one", f"{runs}/two"]).notes if "format" in n or "machine" in n] == said[0]
    write_json(runs / "two/environment.json", {"dtype": "bfloat16"})
    write_json(runs / "two/inherited.json", {"environment": {"dtype": "float32"}})
    assert [n for n in compare([f"{runs}/one", f"{runs}/two"]).notes if "format" in n or "machine" in n] == said[1]


def test_only_shared_prompts_are_paired(selfsame, runs):
    fewer = evaluation(LOW)
    evaluated_run(runs / "part", {"sft": fewer | {"replies": fewer["replies"][20:]}})
    found = compare([f"{runs}/one:ppo", f"{runs}/part"])
    assert found.paired[0].prompts == 20 and found.paired[0].most == 40
    assert found.comparisons[0].value == -0.5 and found.comparisons[0].count == 20
    done = selfsame("compare", f"{runs}/one:ppo", f"{runs}/part")
    assert "part:sft - one:ppo, consistency, 20 shared prompts of 40: -0.500" in done.out


def test_without_a_shared_prompt_the_table_still_comes(selfsame, runs):
    others = evaluation(HIGH)
    for row in others["replies"]:
        row["history"] = ["Something else?"]
    evaluated_run(runs / "far", {"sft": others})
    done = selfsame("compare", f"{runs}/one:sft", f"{runs}/far", "--html", runs / "page.html")
    assert done.code == 0 and "far:sft and one:sft have no prompt in common: no paired differences" in done.out
    assert "far:sft 0.750 [0.650, 0.850]" in " ".join(done.out.split()) and "McNemar" not in done.out
    assert "There is no prompt that all of these systems answered." in (runs / "page.html").read_text()


def test_seeds_of_a_recipe_are_one_row(selfsame, runs):
    for seed, hits in ((0, [1.0] * 20 + [0.0] * 20), (1, [1.0] * 24 + [0.0] * 16)):
        evaluated_run(runs / f"seed-{seed}", {"ppo": evaluation(hits)}, seed=seed)
    group = f"mine={runs}/seed-0,{runs}/seed-1"
    done = selfsame("compare", f"{runs}/one:base", "--group", group)
    text = " ".join(done.out.split())
    assert "mine (2 seeds) 0.550 (0.500 to 0.600)" in text
    assert "(gold) 0.900 [0.800, 1.000]" in text and "no persona (mine" not in text  # the same for all
    assert "mine (2 seeds) - one:base, consistency, same prompts, any two seeds +0.250 to +0.350: +0.300 [" in text
    assert "with groups Student's" in text and "differ in more" not in text and "same seed" not in text
    cost = compare([f"{runs}/one:base"], [group]).systems["mine (2 seeds)"].cost
    assert cost.total_seconds == 360.0


def test_runs_of_a_group_that_are_no_seeds_are_told(runs):
    evaluated_run(runs / "other", {"ppo": evaluation(HIGH)}, training={"ppo": {"kl_coef": 0.5}})
    notes = compare([f"{runs}/two"], [f"x={runs}/one,{runs}/other"]).notes
    assert "The runs of x (2 seeds) differ in more than their seed: training.ppo.kl_coef." in notes
    assert any(note.startswith("The runs of x (2 seeds) have the same seed") for note in notes)


def test_references_that_differ_only_in_their_interval_are_one_row(runs):
    gold = {"gold": {"consistency": {"value": 0.9, "low": 0.75, "high": 0.95, "count": 8, "missing": 0}}}
    evaluated_run(runs / "again", {"ppo": evaluation(HIGH, references=gold)})
    systems = compare([f"{runs}/one", f"{runs}/again"]).systems
    golds = [system.evaluation.references["gold"]["consistency"] for system in systems.values()]
    assert golds[0] == golds[1] and golds[0].low == 0.8


def test_what_was_measured_differently_is_told_and_not_compared(selfsame, runs):
    settings = {"sampling": {"temperature": 1.0}, "evaluation": {"confidence": 0.95}, "seed": 0}
    evaluated_run(runs / "other", {"sft": evaluation(HIGH, judge={"name": "another"}, settings=settings)})
    done = selfsame("compare", f"{runs}/one:sft", f"{runs}/other")
    assert "consistency, contradiction: not compared, scored by different judges" in done.out
    assert "Evaluated differently, sampling.temperature: one:sft 0.7, other:sft 1.0." in done.out
    assert "prompt by prompt" not in done.out


def test_files(selfsame, runs):
    readme = runs / "README.md"
    readme.write_text("<!-- results:compare -->\n<!-- /results:compare -->\n")
    done = selfsame("compare", f"{runs}/one:sft", f"{runs}/one", "--json", runs / "out.json", "--html",
                    runs / "page.html", "--readme", readme)  # fmt: skip
    assert done.code == 0 and done.out.endswith(f"page: {runs}/page.html\n")
    found = json.loads((runs / "out.json").read_text())
    assert list(found["systems"]) == ["one:sft", "one:ppo"] and found["comparisons"][0]["verdict"] == "higher"
    assert "| one:ppo | 0.750 [0.650, 0.850] |" in readme.read_text()
    assert "- one:ppo - one:sft, consistency, same prompts: +0.500" in readme.read_text()
    assert "| one:sft | 1 min 00 s |  |  | 1 min 00 s | 2.1 GB |" in readme.read_text()


def test_a_short_table_of_some_metrics(selfsame, runs):
    readme = runs / "README.md"
    readme.write_text("<!-- results:compare -->\n<!-- /results:compare -->\n")
    arguments = ["compare", f"{runs}/one:sft", f"{runs}/one", "--metrics", "consistency", "perplexity"]
    done = selfsame(*arguments, "--readme", readme)
    assert done.code == 0 and "Reward model" not in done.out and "(gold)" in done.out
    _, header, _, sft, ppo, gold, _, brackets, _, judge, _ = readme.read_text().splitlines()
    assert header == "| system | consistency | perplexity | training time |"
    assert sft.startswith("| one:sft | 0.250 [0.150, 0.350] | ") and sft.endswith(" | 1 min 00 s |")
    assert ppo.startswith("| one:ppo | 0.750 [0.650, 0.850], higher | ") and ppo.endswith(" | 6 min 00 s |")
    assert gold == "| *gold* | 0.900 [0.800, 1.000] | – |  |"
    assert brackets.startswith("In brackets: 95% confidence interval;") and "not tested" in brackets
    assert judge.startswith("- Contradictions are judged by rules")


def test_a_short_table_says_what_does_not_compare(selfsame, runs):
    evaluated_run(runs / "other", {"sft": evaluation(HIGH, judge={"name": "another", "balanced_accuracy": {}})})
    done = selfsame("compare", f"{runs}/one:sft", f"{runs}/other:sft", "--metrics", "consistency")
    assert done.code == 0 and "not compared" in done.out and "judged by another" in done.out
    assert " higher" not in done.out.partition("In brackets")[0]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--metrics", "consistency", "one", "two"], "before other options"),
        (["one", "two", "--metrics", "joy"], "nothing is called joy; measured were consistency"),
        (["one"], "nothing to compare"),
        (["one", "one:ppo"], "named twice"),
        (["one", "nowhere"], "is not a run directory"),
        (["one", "two:ppo"], "no evaluation of 'ppo'"),
        (["one", "two", "--html", "nowhere/page.html"], "does not exist"),
        (["one", "two", "--readme", "one/config.yaml"], "results:compare"),
        (["one", "two", "--jason", "x"], "unrecognized"),
    ],
)
def test_a_users_error_is_one_line(selfsame, runs, monkeypatch, arguments, told):
    monkeypatch.chdir(runs)
    done = selfsame("compare", *arguments)
    assert done.code == 2 and told in done.told and done.out == ""


def test_nothing_is_imported_that_computes_replies(runs):
    code = "import sys; from selfsame.cli import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    arguments = ["compare", f"{runs}/one", f"{runs}/two", "--html", f"{runs}/page.html"]
    assert subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, timeout=120).returncode == 0


def test_what_may_differ_on_resuming_is_no_difference(tmp_path):
    """One list of settings that change no result."""
    budgets = {stage: {"token_budget": 2048} for stage in ("sft", "reward", "ppo", "dpo")}
    other = {"model": {"device": "cuda"}, "sampling": {"batch_size": 8}, "run": {"keep": 1}, "training": budgets}
    changed = other | {"training": budgets | {"ppo": {"token_budget": 64, "kl_coef": 0.05}}}
    evaluated_run(tmp_path / "one", {"sft": evaluation(LOW)})
    evaluated_run(tmp_path / "two", {"sft": evaluation(HIGH)}, **changed)
    comparison = compare([f"{tmp_path}/one", f"{tmp_path}/two"])
    assert comparison.settings == {} and not any("differ" in note for note in comparison.notes)
    keys = dotted(changed)
    assert [key for key in keys if not is_free(key)] == ["training.ppo.kl_coef"]
    RunDirectory.create(tmp_path / "one", {"seed": 0} | changed, FREE)
    with pytest.raises(RunError, match=r"training\.ppo\.token_budgets"):
        more = {"token_budgets": 1, "kl_coef": 0.05}
        RunDirectory.create(tmp_path / "one", {"seed": 0} | changed | {"training": budgets | {"ppo": more}}, FREE)
