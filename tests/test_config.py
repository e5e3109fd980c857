"""Presets, files and the command line make one configuration, or one message with everything that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from selfsame.config import (
    Config,
    config_hash,
    get_default_config,
    load_config,
    merge_configs,
    parse_values,
    preset_names,
    read_config,
    read_preset,
    save_config,
    setting_fields,
    setting_names,
)
from selfsame.errors import ConfigError


def dotted(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# --- presets and files


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_loads_and_holds_only_differences(name):
    config, defaults = load_config(preset=name), dotted(get_default_config().model_dump())
    differences = dotted(read_preset(name))
    assert differences
    loaded = dotted(config.model_dump())
    assert [key for key in differences if loaded[key] == defaults[key]] == []
    assert {key: loaded[key] for key in loaded if key not in differences} == {
        key: defaults[key] for key in defaults if key not in differences
    }


def test_the_presets_are_there():
    assert {"cpu", "demo", "kaggle-2xt4", "single-gpu", "cluster"} <= set(preset_names())


def test_later_sources_win(tmp_path):
    first = write(tmp_path / "a.yaml", "training: {ppo: {kl_coef: 0.1, steps: 7}}\nseed: 1\n")
    second = write(tmp_path / "b.yaml", "training: {ppo: {kl_coef: 0.2}}\n")
    config, preset = read_config(["--preset", "demo", "--config", str(first), str(second), "--seed=5"])
    assert (config.training.ppo.kl_coef, config.training.ppo.steps, config.seed) == (0.2, 7, 5)
    assert preset == "demo"
    assert config.training.ppo.prompts_per_step == load_config(preset="demo").training.ppo.prompts_per_step
    assert load_config(str(first), values={"seed": 9}).seed == 9


def test_an_empty_file_changes_nothing(tmp_path):
    assert load_config(write(tmp_path / "a.yaml", "# nothing\n")) == get_default_config()


def test_save_and_load_give_the_same_again(tmp_path):
    config = merge_configs(
        get_default_config(),
        {"training": {"sft": {"learning_rate": 1e-5, "max_steps": 3}}, "run": {"stages": ["sft"], "directory": "x"}},
        {"training": {"sft": {"max_steps": None}}, "model": {"lora": {"targets": ["q_proj", "v_proj"]}}},
    )
    assert config.training.sft.learning_rate == 1e-5
    assert config.training.sft.max_steps is None
    assert config.model.lora.targets == ("q_proj", "v_proj")
    assert config.training.reward == get_default_config().training.reward
    save_config(config, tmp_path / "all.yaml")
    assert load_config(tmp_path / "all.yaml") == config
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.yaml"]


def test_a_configuration_that_cannot_be_saved_leaves_the_old_one(tmp_path, monkeypatch):
    path = write(tmp_path / "all.yaml", "seed: 3\n")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(ConfigError, match="No space left"):
        save_config(get_default_config(), path)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("all.yaml", "seed: 3\n")]
    with pytest.raises(ConfigError, match="cannot write"):
        save_config(get_default_config(), tmp_path / "none" / "all.yaml")


def test_numbers_that_pyyaml_reads_as_text(tmp_path):
    """YAML 1.1 wants `1.0e-5`; whoever writes `1e-5` means the same."""
    text = "training: {sft: {learning_rate: 1e-5, adam_epsilon: 1e-8}}"
    assert yaml.safe_load(text)["training"]["sft"]["learning_rate"] == "1e-5"
    assert load_config(write(tmp_path / "a.yaml", text)).training.sft.learning_rate == 1e-5


def test_the_hash_is_of_what_matters():
    base = get_default_config()
    assert config_hash(base) == config_hash(merge_configs(base, {"run": {"directory": "elsewhere", "keep": 1}}))
    assert config_hash(base) != config_hash(merge_configs(base, {"seed": 1}))


# --- everything that is wrong, at once


def test_every_problem_of_every_source_at_once(tmp_path):
    one = write(
        tmp_path / "one.yaml",
        "trainning: {ppo: {kl_coef: 1}}\nseed: -1\ntraining: {ppo: {kl_coeff: 1, steps: x}, sft: 3}\n"
        "run: {stages: sft, keep: yes}\n",
    )
    two = write(tmp_path / "two.yaml", "model: {lora: {rank: 0, alpha: .nan}}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(one, two, tmp_path / "three.yaml", preset="kagle", values={"data": {"limit": "many"}})
    told = str(caught.value)
    assert "\n" not in told
    for part in (
        "unknown preset 'kagle': choose character, cluster, cpu",
        f"{one}: unknown setting trainning - did you mean training?",
        f"{one}: seed: Input should be greater than or equal to 0 (got '-1')",
        f"{one}: unknown setting training.ppo.kl_coeff - did you mean training.ppo.kl_coef?",
        f"{one}: training.ppo.steps: Input should be a valid integer",
        "(got 'x')",
        f"{one}: training.sft: Input should be settings",
        f"{one}: run.stages: Input should be a list (got 'sft')",
        f"{one}: run.keep: Input should not be true or false (got 'True')",
        f"{two}: model.lora.rank: Input should be greater than or equal to 1 (got '0')",
        f"{two}: model.lora.alpha: Input should be a finite number (got 'nan')",
        f"cannot read the configuration file {tmp_path / 'three.yaml'}: No such file",
        "command line: data.limit: Input should be a valid integer",
    ):
        assert part in told, part
    assert told.count("; ") == 11  # and nothing twice


def test_every_problem_of_the_command_line_at_once():
    with pytest.raises(ConfigError) as caught:
        parse_values(
            ["--training.pop.kl-coef", "1", "--seed", "--run.stages", "sft", "sfft", "--data.limit=x", "stray"]
        )
    told = str(caught.value)
    assert "unknown option '--training.pop.kl-coef' - did you mean --training.ppo.kl-coef?" in told
    assert "--seed needs a value" in told
    assert "run.stages.1: Input should be 'data', 'sft', 'reward', 'ppo', 'dpo' or 'evaluate' (got 'sfft')" in told
    assert "data.limit: Input should be a valid integer" in told


def test_what_only_follows_is_not_told():
    with pytest.raises(ConfigError) as caught:
        load_config(values={"run": {"stages": ["sfft"]}})
    assert "at least 1 item" not in str(caught.value)
    with pytest.raises(ConfigError, match="at least 1 item"):
        load_config(values={"run": {"stages": []}})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.ppo.kl_coef", "inf"),
        ("training.ppo.kl_coef", "nan"),
        ("training.ppo.kl_coef", "-1"),
        ("training.ppo.steps", "9" * 30),
        ("training.ppo.steps", "9" * 5000),
        ("training.ppo.steps", "1.5"),
        ("training.ppo.steps", ""),
        ("training.ppo.clip", "1"),
        ("seed", str(2**31)),
        ("data.path", ""),
        ("data.path", "a\0b"),
        ("data.clean", "perhaps"),
        ("model.device", "tpu"),
    ],
)
def test_values_out_of_range(key, value):
    with pytest.raises(ConfigError, match=f"command line: {key}: .* \\(got '"):
        load_config(values=parse_values([f"--{key}={value}"]))


def test_values_that_do_not_fit_together(tmp_path):
    """Told at the start, though each by itself is fine; a file is not blamed for what another one mends."""
    for key in ("sampling.max_new_tokens", "training.ppo.max_new_tokens"):
        with pytest.raises(ConfigError, match=f"{key} is 600, but .* model.max_length 512 tokens"):
            load_config(values=parse_values([f"--{key}=600"]))
    with pytest.raises(ConfigError, match=r"run\.systems names the best of several replies: evaluation\.best_of is 0"):
        load_config(values=parse_values(["--run.systems", "ppo_best_of_n"]))
    file = write(tmp_path / "a.yaml", "sampling: {max_new_tokens: 600}")
    assert load_config(file, values={"model": {"max_length": 1024}}).sampling.max_new_tokens == 600
    with pytest.raises(ConfigError, match=r"merge: .* model\.max_length"):
        merge_configs(get_default_config(), {"model": {"max_length": 32}})


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1,\n b: }", "? [a, b]\n: 4\n", "just words"])
def test_files_that_are_no_settings(tmp_path, text):
    with pytest.raises(ConfigError, match=r"a\.yaml") as caught:
        load_config(write(tmp_path / "a.yaml", text))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "a.yaml").write_bytes(bytes(range(256)))
    with pytest.raises(ConfigError, match="is not YAML"):
        load_config(tmp_path / "a.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load_config(tmp_path)


def test_merge_refuses_what_is_wrong():
    with pytest.raises(ConfigError, match=r"merge: unknown setting training\.ppo\.kl - did you mean"):
        merge_configs(get_default_config(), {"training": {"ppo": {"kl": 1}}})


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(ValueError, match="frozen"):
        get_default_config().seed = 1  # type: ignore[misc]


# --- the command line


def as_text(value: Any) -> list[str]:
    if isinstance(value, (list, tuple)):
        return [str(item) for item in value]
    return ["none" if value is None else str(value)]


@pytest.mark.parametrize("name", setting_names())
def test_every_setting_can_be_given_on_the_command_line(name):
    """With its default: as `--a.b-c VALUE`, as `--a.b-c=VALUE` and with underscores."""
    value = dotted(get_default_config().model_dump())[name]
    flag = "--" + name.replace("_", "-")
    for given in ([flag, *as_text(value)], [f"{flag}={' '.join(as_text(value))}"], [f"--{name}", *as_text(value)]):
        if len(as_text(value)) != 1 and len(given) == 1:
            continue  # a list of several values needs the form with spaces
        values = parse_values(given)
        assert list(dotted(values)) == [name]
        assert load_config(values=values) == get_default_config()


def test_every_setting_is_named_in_the_help(capsys):
    from selfsame.cli import main

    assert main(["run", "--help-all"]) == 0
    out = capsys.readouterr().out
    assert [name for name in setting_names() if "--" + name.replace("_", "-") not in out] == []
    assert all(name in out for name in preset_names())


def test_there_is_a_setting_of_every_kind():
    """Else the test above proves little."""
    assert len(setting_fields()) > 80
    assert {"seed", "model.lora.targets", "run.stages", "training.dpo.beta"} <= set(setting_fields())
    assert set(setting_names()) == set(dotted(Config().model_dump()))


def test_values_with_equals_signs_dashes_and_spaces():
    values = parse_values(
        ["--data.path=a=b c", "--run.directory", "-x=1", "--model.lora.targets", "q", "v", "--seed=3"]
    )
    assert values == {
        "data": {"path": "a=b c"},
        "run": {"directory": "-x=1"},
        "model": {"lora": {"targets": ["q", "v"]}},
        "seed": "3",
    }
    assert parse_values(["--run.trackers"]) == parse_values(["--run.trackers="]) == {"run": {"trackers": []}}
    assert parse_values(["--model.lora.targets", "None"]) == {"model": {"lora": {"targets": None}}}
    assert parse_values(["--data.path=--odd"]) == {"data": {"path": "--odd"}}
    assert parse_values(["--seed", "1", "--seed", "2"]) == {"seed": "2"}
