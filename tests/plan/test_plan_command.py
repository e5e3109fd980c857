"""`selfsame plan`: prints, writes, and says what was wrong in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from commands import Command


@pytest.fixture
def selfsame(capsys: pytest.CaptureFixture[str], tiny_models: Any) -> Command:
    return Command(capsys, tiny_models())


def test_the_command_prints_and_writes_a_plan(selfsame, tmp_path):
    out = tmp_path / "plan.json"
    options = ("--model.base", selfsame.model, "--model.max-length", 256, "--data.limit", 20, "--json", out)
    answer = selfsame("plan", "--gpu", "t4", "--gpus", 2, "--hours", 0.001, *options)
    assert answer.code == 0, answer.err
    for part in (
        "2 x t4",
        "activations",
        "not measured on a GPU",
        "cpu-10m.json",
        "it fits with:",
        "--training.ppo.steps",
    ):
        assert part in answer.out
    written = json.loads(out.read_text())
    assert not written["fits"]
    assert written["then"]["fits"]
    assert written["changes"]["training.ppo.steps"][0] == 60
    cpu = selfsame("plan", "--gpu", "cpu", "--run.stages", "sft", *options[:6])
    assert "measured now" in cpu.out
    assert "\nfits: " in cpu.out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ("--gpu v100", "invalid choice: 'v100'"),
        ("--gpus 0", "--gpus (0) must be at least 1"),
        ("--gpus two", "'two' is not a number"),
        ("--hours -1", "--hours (-1.0) above 0"),
        ("--hours nan", "--hours (nan) above 0"),
        ("--gpu t4 --training.ppo.stepz 3", "unknown option '--training.ppo.stepz'"),
        ("--gpu t4 --model.base /no/such/model", "there is no folder '/no/such/model'"),
        ("--gpu t4 --data.path /no/such.jsonl", "/no/such.jsonl"),
        ("--gpu t4 --model.max-length 2000", "model.max_length is 2000"),
        ("--gpu t4 --json /no/folder/out.json", "the folder /no/folder does not exist"),
    ],
)
def test_bad_input_is_one_line(selfsame, arguments, part):
    answer = selfsame("plan", *arguments.split())
    assert answer.code == 2
    assert part in answer.told


def test_help_imports_no_torch():
    code = (
        "import sys\nfrom selfsame.cli import main\n"
        "try:\n    main(['plan', '--help'])\nexcept SystemExit:\n    print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "False", done.stderr
    assert "--hours" in done.stdout
