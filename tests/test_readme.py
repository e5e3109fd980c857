"""Every command and every setting that the README and docs/results.md name exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from evaluated import evaluated_run, evaluation
from selfsame import compare
from selfsame.benchmark import DESCRIPTIONS, options_parser
from selfsame.config import preset_names, read_config, setting_names

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "results.md")
TEXT = PAGES[0].read_text()
BLOCKS = [b for page in PAGES for b in re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)]
COMMANDS = [line for language, block in BLOCKS if not language for line in block.splitlines() if line]
TRAINING = [
    c for c in COMMANDS if re.search(r"(?:^|/|-m )(?:selfsame|selfsame\.cli) (?:run|sft|reward|ppo|dpo|demo)\b", c)
]


def test_the_readme_shows_commands():
    assert (
        len(TRAINING) >= 4
        and sum(c.startswith("selfsame benchmark") for c in COMMANDS) > 3
        and any(c.startswith("make demo") for c in COMMANDS)
        and any("chat" in c for c in COMMANDS)
        and len(COMPARING) > 1
    )


@pytest.mark.parametrize("command", TRAINING)
def test_training_commands_are_valid(command):
    words = shlex.split(command, comments=True)
    start = next(i for i, word in enumerate(words) if re.fullmatch(r"(?:.*/)?selfsame(?:\.cli)?", word))
    config, _ = read_config(words[start + 2 :])
    assert config.run.stages


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("selfsame benchmark")])
def test_benchmark_commands_are_valid(command):
    assert options_parser().parse_args(shlex.split(command)[2:]).benchmark in DESCRIPTIONS


COMPARING = [c for c in COMMANDS if c.startswith("selfsame compare")]


@pytest.mark.parametrize("command", COMPARING)
def test_comparing_commands_work(command, tmp_path, monkeypatch):
    """On runs with the records that these commands need."""
    words = shlex.split(command)[2:]
    options = compare.options_parser().parse_args(words)
    named = [*options.runs, *(run for group in options.group for run in group.partition("=")[2].split(","))]
    for seed, run in enumerate(sorted({name.partition(":")[0] for name in named})):
        evaluated_run(tmp_path / run, {system: evaluation([1.0, 0.0]) for system in ("base", "sft", "ppo")}, seed=seed)
    monkeypatch.chdir(tmp_path)
    compare.run(words)
    assert (tmp_path / (options.html or options.json)).stat().st_size > 1000


def test_named_settings_and_presets_exist():
    known = {name.replace("_", "-") for name in setting_names()} | set(setting_names())
    for flag in re.findall(r"--([a-z_]+\.[a-z._-]+)", "".join(page.read_text() for page in PAGES)):
        assert flag in known or flag == "a.b.c", flag
    listed = re.search(r"presets/\*\.yaml`: ([^)]*)\)", TEXT)
    assert listed and sorted(re.findall(r"`([\w-]+)`", listed[1])) == preset_names()


def test_results_come_from_a_record_by_a_command():
    for path in PAGES:
        text = path.read_text()
        names = re.findall(r"<!-- results:(\w+) -->", text)
        assert names
        for name in names:
            command = rf"--readme {re.escape(str(path.relative_to(ROOT)))} --marker {name}\b"
            assert f"<!-- /results:{name} -->" in text and re.search(command, text), name
