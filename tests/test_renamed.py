"""Old names: a setting is refused with the new one, a run of an earlier version is read under today's names."""

from __future__ import annotations

import json

import pytest
import yaml

from selfsame.config import Config, load_config, parse_values
from selfsame.errors import ConfigError
from selfsame.renamed import DELETED, SETTINGS, modern_config, modern_record
from selfsame.run.directory import RunDirectory
from selfsame.run.files import read_json, read_jsonl

OLD = {
    "evaluation": {"people": "report", "watch_size": 24, "best_of": 16},
    "training": {
        "reward": {"missed_share": 0.25, "missed_samples": 4, "unasked_share": 0.5},
        "ppo": {
            "called_share": 0.5,
            "critic": "reward",
            "group_baseline": True,
            "group_scale": "prompt",
            "turns": 1,
            "talk_share": 1.0,
            "entropy_coef": 0.0,
            "sft_coef": 0.0,
            "sft_batch_size": 2,
            "missing_end_penalty": 2.0,
            "missed_penalty": 3.0,
            "unasked_penalty": 2.0,
            "contradiction_penalty": 1.0,
            "recitation_penalty": 4.0,
            "self_repetition_penalty": 5.0,
            "retelling_penalty": 6.0,
            "malformed_penalty": 7.0,
            "unanswering_penalty": 8.0,
        },
    },
    "run": {"systems": ["sft", "best_of", "ppo_best_of"]},
}


def test_the_configuration_of_an_earlier_run_is_read(tmp_path):
    """Whole, as it is saved: with all sections."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": {}, "model": {}, **OLD}))
    config = load_config(tmp_path / "config.yaml")
    evaluation, reward, ppo = config.evaluation, config.training.reward, config.training.ppo
    assert (evaluation.split, ppo.eval_size, ppo.grounded_share) == ("test", 24, 0.5)
    assert (reward.comparison_share, reward.comparison_samples, reward.off_topic_share) == (0.25, 4, 0.5)
    assert (ppo.advantage_estimator, ppo.value_model) == ("gae_rloo", "reward_states")
    assert ppo.rewards.model_dump() == {
        "reward_model": 1, "ungrounded": -3, "off_topic_grounding": -2, "contradiction": -1, "copying_unprompted": -4,
        "repetition": -5, "nothing_new": -6, "malformed": -7, "no_answer": -8, "missing_eos": -2,
    }  # fmt: skip
    assert config.run.systems == ("sft", "sft_best_of_n", "ppo_best_of_n")
    assert RunDirectory(tmp_path).config()["training"]["ppo"]["eval_size"] == 24
    grpo = modern_config({"training": {"ppo": {"critic": "none", "group_baseline": True}}})
    assert grpo == {"training": {"ppo": {"advantage_estimator": "grpo"}}}


def test_what_is_saved_today_is_not_changed():
    saved = Config().model_dump(mode="json")
    assert modern_config(saved) == saved


@pytest.mark.parametrize("name", [*SETTINGS, *DELETED])
def test_an_old_setting_is_refused_with_what_replaces_it(name):
    said = "it was removed" if name in DELETED else "renamed to"
    with pytest.raises(ConfigError, match=f"unknown option '--{name}' - {said}"):
        parse_values([f"--{name}", "1"])
    section, *path, key = name.split(".")
    nested = {key: 1}
    for part in reversed(path):
        nested = {part: nested}
    with pytest.raises(ConfigError, match=f"unknown setting {name} - {said}"):
        load_config(values={section: nested})


def test_records_of_an_earlier_run_are_read_under_todays_names(tmp_path):
    (tmp_path / "eval").mkdir()
    record = {
        "system": "best_of",
        "metrics": {"expression": {"value": 0.5}, "telling": {"value": 0.2}, "in_character_called": {"value": 0.1}},
        "references": {"recitation": {"recitation": {"value": 1.0}, "expression": {"value": 1.0}}},
        "settings": {"best_of": 16, "evaluation": {"best_of": 16}},
        "replies": [{"called": [0], "reply": "recitation", "scores": {"recitation": 1.0}}],
    }
    (tmp_path / "eval" / "best_of.json").write_text(json.dumps(record))
    run = RunDirectory(tmp_path)
    assert read_json(run.eval_path("sft_best_of_n")) == {
        "system": "sft_best_of_n",
        "metrics": {
            "grounding": {"value": 0.5},
            "grounding_anywhere": {"value": 0.2},
            "in_character_grounded": {"value": 0.1},
        },
        "references": {"persona_recited": {"copying_unprompted": {"value": 1.0}, "grounding": {"value": 1.0}}},
        "settings": {"best_of": 16, "evaluation": {"best_of": 16}},
        "replies": [{"gold_traits": [0], "reply": "recitation", "scores": {"copying_unprompted": 1.0}}],
    }
    (tmp_path / "metrics.jsonl").write_text(
        '{"stage": "ppo", "watch_telling": 0.5, "missed": 0.1, "recitation": 0.2}\n'
    )
    (row,), _ = read_jsonl(run.metrics_path)
    assert row == {"stage": "ppo", "eval_grounding_anywhere": 0.5, "ungrounded": 0.1, "copying_unprompted": 0.2}
    compared = [{"metric": "recitation", "system": "ppo_best_of", "than": "best_of"}]
    assert modern_record(compared) == [
        {"metric": "copying_unprompted", "system": "ppo_best_of_n", "than": "sft_best_of_n"}
    ]
