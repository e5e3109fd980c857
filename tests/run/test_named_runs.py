"""Systems as they are named on a command line, and records of runs that are whole, old or damaged."""

from __future__ import annotations

import json

import pytest

from evaluated import evaluated_run, evaluation
from selfsame.errors import ConfigError, RunError
from selfsame.run.named_runs import read_recipes

HITS = [1.0, 0.0]


@pytest.fixture
def runs(tmp_path):
    for name, systems in (("a", "base sft ppo"), ("b", "sft dpo"), ("more/a", "base")):
        evaluated_run(tmp_path / name, {system: evaluation(HITS) for system in systems.split()})
    return tmp_path


def test_the_latest_stage_counts_where_none_is_named(runs):
    found = read_recipes([f"{runs}/a", f"{runs}/b", f"{runs}/a:base"], [])
    assert list(found) == ["a:ppo", "b:dpo", "a:base"]
    assert [systems[0].system for systems in found.values()] == ["ppo", "dpo", "base"]


def test_runs_of_one_name_are_told_apart_by_their_folders(runs):
    assert list(read_recipes([f"{runs}/a:base", f"{runs}/more/a"], [])) == [f"{runs.name}/a:base", "more/a:base"]


def test_a_folder_may_have_a_colon_in_its_name(runs):
    evaluated_run(runs / "a:ppo", {"sft": evaluation(HITS)})
    assert list(read_recipes([f"{runs}/a:ppo", f"{runs}/b"], [])) == ["a:ppo:sft", "b:dpo"]


def test_groups_stand_last_under_their_names(runs):
    found = read_recipes([f"{runs}/a:ppo"], [f"base={runs}/a:base, {runs}/more/a"])
    assert list(found) == [f"{runs.name}/a:ppo", "base (2 seeds)"]
    assert [system.name for system in found["base (2 seeds)"]] == [f"{runs.name}/a:base", "more/a:base"]


@pytest.mark.parametrize(
    ("given", "groups", "told"),
    [
        (["a"], [], "nothing to compare"),
        ([], [], "nothing to compare"),
        (["a", "a:ppo"], [], "a:ppo is named twice"),
        (["a", "b"], ["x={}/a:sft,{}/b:sft", "y={}/a:base,{}/a:sft"], "named twice|mixes"),
        (["a"], ["x={}/a:sft"], "two or more runs"),
        (["a"], ["={}/a:sft,{}/b:sft"], "give a name"),
        (["a"], ["x={}/a:sft,{}/b:dpo"], "mixes a:sft, b:dpo"),
        (["a", "c"], [], "is not a run directory"),
        (["a", "b:ppo"], [], "no evaluation of 'ppo': there is dpo, sft"),
        (["a", "b:"], [], "no evaluation of ''"),
    ],
)
def test_what_cannot_be_compared_is_told_in_one_line(runs, given, groups, told):
    with pytest.raises((ConfigError, RunError), match=told) as caught:
        read_recipes([f"{runs}/{name}" for name in given], [group.format(runs, runs) for group in groups])
    assert "\n" not in str(caught.value)


def test_two_groups_of_one_name(runs):
    evaluated_run(runs / "c", {"sft": evaluation(HITS), "base": evaluation(HITS)})
    groups = [f"x={runs}/a:sft,{runs}/b:sft", f"x={runs}/a:base,{runs}/c:base"]
    with pytest.raises(ConfigError, match="two groups x"):
        read_recipes([], groups)


def test_a_run_without_evaluation(runs):
    evaluated_run(runs / "fresh", {})
    with pytest.raises(RunError, match="fresh has not been evaluated"):
        read_recipes([f"{runs}/a", f"{runs}/fresh"], [])


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("eval/ppo.json", '{"system": "pp', "damaged"),
        ("eval/ppo.json", "[]", "damaged"),
        ("eval/ppo.json", '{"metrics": 3}', "damaged .metrics"),
        ("eval/ppo.json", '{"metrics": {}, "replies": [{"reply": "Hi."}]}', r"damaged .replies\.0\.dialogue"),
        ("cost.json", '{"seconds": {"sft": "soon"}}', r"damaged .seconds\.sft"),
        ("reward.json", "{}", "damaged .pairs"),
        ("config.yaml", "- 1", "not a mapping"),
    ],
)
def test_a_damaged_record_is_told_in_one_line(runs, file, content, told):
    (runs / "a" / file).write_text(content)
    with pytest.raises(RunError, match=told) as caught:
        read_recipes([f"{runs}/a", f"{runs}/b"], [])
    assert file.rpartition("/")[2] in str(caught.value) and "\n" not in str(caught.value)


def test_records_of_earlier_versions_hold_less(runs):
    old = {"system": "ppo", "metrics": {"consistency": 0.5, "engagement": None}}
    (runs / "a/eval/ppo.json").write_text(json.dumps(old))
    for name in ("cost.json", "reward.json"):
        (runs / "a" / name).unlink()
    (system,) = read_recipes([f"{runs}/a", f"{runs}/b"], [])["a:ppo"]
    assert system.evaluation.metrics["consistency"].value == 0.5
    assert system.evaluation.metrics["engagement"].value is None
    assert system.evaluation.replies == [] and system.evaluation.judge is None
    assert system.cost.seconds == {} and system.reward is None
