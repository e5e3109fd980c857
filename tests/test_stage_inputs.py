"""What stages are given: a reward model that can be trusted, functions that can be loaded, evaluations that are up to date."""

from __future__ import annotations

import pytest

from selfsame.config import get_default_config, load_config
from selfsame.data.loader import Dataset
from selfsame.errors import ConfigError, DataError, RunError
from selfsame.run.directory import RunDirectory
from selfsame.run.files import write_json
from selfsame.stage_inputs import (
    accuracy_table,
    check_functions,
    distrusted_kinds,
    functions_behind,
    held_out_people,
    is_evaluated,
    possible_stages,
)
from selfsame.types import Example


def run_with(tmp_path, pairs, **metrics):
    run = RunDirectory.create(tmp_path / "run", {"seed": 0})
    named = {name.replace("__", "/"): value for name, value in metrics.items()}
    write_json(run.path / "reward.json", {"pairs": pairs, "metrics": named})
    return run


def test_kinds_below_chance_are_named_and_not_paid(tmp_path, capsys):
    run = run_with(
        tmp_path, 100, accuracy=0.7, accuracy__bland=1.0, accuracy__contradicted=0.34, accuracy__recited=None
    )
    assert distrusted_kinds(run) == ("contradicted",)
    assert "not paid out for contradicted" in capsys.readouterr().err


def test_a_reward_model_that_is_surely_below_chance_stops_ppo(tmp_path):
    with pytest.raises(RunError, match="would climb a broken reward"):
        distrusted_kinds(run_with(tmp_path, 200, accuracy=0.4))


def test_a_few_pairs_stop_nothing(tmp_path):
    assert distrusted_kinds(run_with(tmp_path, 12, accuracy=0.4)) == ()


def test_nothing_measured_is_nothing_said(tmp_path):
    assert distrusted_kinds(RunDirectory.create(tmp_path / "run", {"seed": 0})) == ()


def test_the_table_has_a_line_for_each_kind_and_marks_what_is_below_chance():
    lines = accuracy_table({"accuracy": 0.76, "accuracy/bland": 1.0, "accuracy/contradicted": 0.34}).split("\n")
    assert [line.split()[0] for line in lines[1:]] == ["all", "bland", "contradicted"]
    assert [line.endswith("below chance") for line in lines[1:]] == [False, False, True]


def test_a_function_that_is_not_there_is_named_before_anything_is_trained():
    for values in ({"evaluation": {"functions": ["no.py:f"]}}, {"training": {"ppo": {"rewards": {"no.py:f": 1}}}}):
        with pytest.raises(ConfigError, match=r"there is no file no\.py"):
            check_functions(load_config(values=values))


def test_an_evaluation_is_up_to_date_for_its_weights_and_functions(tmp_path):
    file, run = tmp_path / "mine.py", RunDirectory.create(tmp_path / "run", {"seed": 0})
    file.write_text("def f(prompts, replies, gold):\n    return [1.0 for _ in replies]\n")
    checkpoint, config = tmp_path / "step-000003", load_config(values={"evaluation": {"functions": [f"{file}:f"]}})
    record = {"items": 3, "metrics": {}, "checkpoint": checkpoint.name}
    settings = {"functions": functions_behind(config, "sft")}

    def state(**changes):
        write_json(run.eval_path("sft"), record | {"settings": settings} | changes)
        return is_evaluated(config, run, "sft", checkpoint)

    assert not is_evaluated(config, run, "sft", checkpoint)
    assert state()
    assert not state(checkpoint="step-000002") and not state(items=0) and not state(metrics=None)
    assert not state(settings={}) and is_evaluated(get_default_config(), run, "sft", checkpoint)
    assert state()
    file.write_text(file.read_text().replace("1.0", "2.0"))
    assert not is_evaluated(config, run, "sft", checkpoint)


def test_without_anything_held_out_a_run_ends_before_the_evaluation(capsys):
    config, data = (
        load_config(values={"run": {"stages": ["sft", "evaluate"]}}),
        Dataset([], [], notes=["9 are too few"]),
    )
    assert held_out_people(config, data) == []
    assert possible_stages(config, data, []) == ["sft"]
    assert "ends without an evaluation" in capsys.readouterr().err
    with pytest.raises(DataError, match="nothing is held out to evaluate on; 9 are too few"):
        possible_stages(load_config(values={"run": {"stages": ["evaluate"]}}), data, [])


def test_an_empty_half_is_told_with_a_remedy_that_works():
    sides = [Example("0/2", ("I bake.",), (), ("Hi", "Ho"), ((),))]
    configs = {split: load_config(values={"evaluation": {"split": split}}) for split in ("dev", "test", "all")}
    told = []
    for split in ("dev", "test"):
        try:
            assert held_out_people(configs[split], Dataset([], sides)) == sides
        except DataError as error:
            told.append(str(error))
    assert len(told) == 1 and "--evaluation.split all" in told[0]
    assert held_out_people(configs["all"], Dataset([], sides)) == sides
