"""The table of stages and systems: it is whole, and everything derived from it says what the stages themselves do."""

from __future__ import annotations

from typing import get_args

from selfsame.systems import (
    BEST_OF_N,
    LATEST,
    PAIRS,
    SINGLE,
    STAGES,
    STEPS,
    SYSTEMS,
    TRAINED,
    Stage,
    SystemName,
    position,
)


def test_the_names_that_settings_accept_are_those_of_the_tables():
    assert get_args(Stage) == tuple(STAGES)
    assert {*get_args(SystemName)} == {*SYSTEMS}
    assert {*SINGLE, *BEST_OF_N} == {*SYSTEMS}
    assert {*LATEST} == {*SINGLE}


def test_every_name_that_a_row_refers_to_is_a_row():
    for name, stage in STAGES.items():
        assert {*stage.needs} <= {*TRAINED}, name
        done = list(STAGES)[: list(STAGES).index(name)]
        assert {*stage.needs} <= {*done}, "a stage needs only stages that come before it"
    for name, system in SYSTEMS.items():
        assert system.stage is None or STAGES[system.stage].speaks, name
        assert {*system.compared_with} <= {*SYSTEMS} - {name}, name


def test_a_system_is_its_stage_and_all_stages_before_it():
    assert [SYSTEMS[name].stages for name in ("base", "sft", "dpo")] == [(), ("sft",), ("sft", "dpo")]
    assert SYSTEMS["ppo"].stages == SYSTEMS["ppo_best_of_n"].stages == ("sft", "reward", "ppo")
    assert SYSTEMS["sft_best_of_n"].stages == ("sft", "reward")
    assert SYSTEMS["ppo_best_of_n"].roles == {"policy", "reward"}
    assert (SYSTEMS["base"].role, SYSTEMS["base"].roles) == (None, set())
    assert (SYSTEMS["dpo"].role, SYSTEMS["sft_best_of_n"].role) == ("policy", "sft")


def test_comparisons_go_from_a_system_to_one_that_it_builds_on():
    assert {*STEPS} <= {*PAIRS}
    assert dict(STEPS) == {"sft": "base", "ppo": "sft", "dpo": "sft"}
    for name, other in PAIRS:
        assert {*SYSTEMS[other].stages} <= {*SYSTEMS[name].stages}, (name, other)


def test_unknown_systems_come_after_the_known_ones_by_name():
    assert sorted(["zebra", "dpo", "ant", "base", "ppo"], key=position) == ["base", "ppo", "dpo", "ant", "zebra"]
