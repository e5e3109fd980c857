"""`--help` of the commands that train: few settings in groups, `--help-all` all of them, in plain text."""

from __future__ import annotations

import re

import pytest

from selfsame.cli import main
from selfsame.cli.option_help import setting_texts
from selfsame.cli.train import TRAINING
from selfsame.config import flag_of, setting_names
from selfsame.systems import TRAINED

FLAGS = {flag_of(name) for name in setting_names()}


def shown(capsys, *arguments):
    assert main([*arguments]) == 0
    text = capsys.readouterr().out
    return text, re.findall(r"^  (--\S+)", text, re.MULTILINE)


@pytest.mark.parametrize("command", TRAINING)
def test_help_shows_what_people_change(command, capsys):
    text, options = shown(capsys, command, "--help")
    settings = [option for option in options if "." in option or option == "--seed"]
    assert 20 <= len(settings) <= 30 and {*settings} <= FLAGS and len({*settings}) == len(settings)
    assert {"--preset", "--config", "--full"} <= {*options}
    groups = re.findall(r"^(\w+):$", text, re.MULTILINE)
    assert groups == ["data", "model", "training", *([] if command in TRAINED else ["evaluation"]), "run"]
    if command in TRAINED:
        assert all(option.startswith(f"--training.{command}.") for option in settings if "training" in option)
    assert not re.search("[╭│╰]", text) and max(map(len, text.splitlines())) <= 100
    assert f"usage: selfsame {command} " in text and f"selfsame {command} --help-all" in text
    assert "run the same command again to resume" in " ".join(text.lower().split())


@pytest.mark.parametrize("command", ["run", "demo", "dpo"])
def test_help_all_shows_every_setting_once(command, capsys):
    _, options = shown(capsys, command, "--help-all")
    assert sorted(option for option in options if option in FLAGS) == sorted(FLAGS)


def test_every_setting_has_a_text_of_whole_sentences():
    texts = setting_texts()
    assert texts.keys() == {*setting_names()}
    assert [name for name, text in texts.items() if not re.fullmatch(r"[A-Z`\d].*[.)]", text)] == []
    clumsy = re.compile(r"\b(so many|so much|is told|are told|an own|own turns?|goes on|gone on)\b", re.IGNORECASE)
    assert {name: text for name, text in texts.items() if clumsy.search(text)} == {}
    assert texts["seed"] == "Random seed."


def test_defaults_are_those_of_the_command_at_hand(capsys):
    def default(name, *arguments):
        text = " ".join(shown(capsys, *arguments)[0].split())
        return re.search(rf"{flag_of(name)} .*?\(default: (.*?)\)", text)[1]

    assert default("training.ppo.steps", "run", "-h") == "60"
    assert default("training.ppo.steps", "run", "--preset", "cpu", "--help") == "30"
    assert default("training.ppo.steps", "run", "--preset", "cpu", "--training.ppo.steps", "7", "--help") == "7"
    assert default("run.stages", "demo", "--help") == "sft evaluate"  # toy: there is no other base in the tests
    assert default("run.stages", "run", "--help") == "sft reward ppo evaluate"
    assert default("model.four_bit", "run", "--help-all") == "false"
    assert default("run.trackers", "run", "--help") == "none"


def test_what_a_setting_takes(capsys):
    text, _ = shown(capsys, "run", "--help-all")
    for line in (
        "--model.device {auto,cpu,cuda}",
        "--seed INT",
        "--data.limit INT",
        "--model.four-bit {true,false}",
        "--training.ppo.kl-target NUMBER",
        "--run.stages {data,sft,reward,ppo,dpo,evaluate} ...",
        "--model.lora.targets TEXT ...",
        "--run.directory TEXT",
    ):
        assert f"\n  {line}\n" in text


def test_help_with_a_wrong_setting_says_so(capsys):
    assert main(["run", "--no.such", "1", "--help"]) == 2
    assert "unknown option '--no.such'" in capsys.readouterr().err
