"""Runs of an earlier version, which knew fewer settings: those have their defaults, and any other value is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from selfsame.cli import main

COMMAND = """run --run.stages sft --model.dtype float32 --model.max-length 160 --model.lora.rank 4 --data.limit 20
    --data.max-turns 6 --data.validation-share 0.5 --training.sft.max-steps 2 --training.sft.batch-size 4
    --evaluation.judge rules"""


def test_a_run_of_an_earlier_version_goes_on_and_is_started_from(tmp_path: Path, tiny_models: Any, capsys) -> None:
    command = [*COMMAND.split(), "--model.base", str(tiny_models())]
    earlier = tmp_path / "earlier"
    arguments = [*command, "--run.directory", str(earlier)]
    assert main(arguments) == 0
    path = earlier / "config.yaml"
    config = yaml.safe_load(path.read_text())
    del config["training"]["sft"]["weight_decay"], config["sampling"]["retries"]
    path.write_text(yaml.safe_dump(config))
    start = [*command, "--run.start-from", str(earlier), "--run.directory"]
    capsys.readouterr()
    machine = earlier / "environment.json"
    known = machine.read_text()
    machine.write_text(known.replace('"dtype"', '"unknown"'))
    assert main([*start, str(tmp_path / "same")]) == 0
    told = capsys.readouterr().err
    assert f"from {earlier}: sft\n" in told and "computed in" not in told
    machine.write_text(known)
    assert main([*start, str(tmp_path / "also")]) == 0
    assert "computed in" not in capsys.readouterr().err
    machine.write_text(known.replace('"float32"', '"bfloat16"'))
    assert main([*start, str(tmp_path / "again")]) == 0
    assert f"{earlier} was computed in bfloat16, at least in part" in capsys.readouterr().err
    assert main([*command, "--run.start-from", str(tmp_path / "again"), "--run.directory", str(tmp_path / "c")]) == 0
    assert f"{tmp_path / 'again'} was computed in bfloat16, at least in part" in capsys.readouterr().err
    assert main([*start, str(tmp_path / "other"), "--training.sft.weight-decay", "0.5"]) == 2
    assert "has nothing that this run could start from" in capsys.readouterr().err
    assert main([*arguments, "--sampling.retries", "3"]) == 2
    assert "sampling.retries: stored 0, now 3" in capsys.readouterr().err
    assert main(arguments) == 0
    assert yaml.safe_load(path.read_text())["sampling"]["retries"] == 0
