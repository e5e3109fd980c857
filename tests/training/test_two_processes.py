"""`torchrun` with two processes gives the update that one process gives on the same global batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

HERE = Path(__file__).resolve().parent
STAGES = ("sft", "ppo", "ppo-reward")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_models: Any) -> Path:
    """All stages by one process and by two: `one` and `two`."""
    tests, folder = HERE.parent, tmp_path_factory.mktemp("trained")
    environment = {**os.environ, "PYTHONPATH": f"{tests}:{tests / 'model'}:{HERE}", "OMP_NUM_THREADS": "1"}
    for name, processes in (("one", 1), ("two", 2)):
        (folder / name).mkdir()
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
        command = [*command, "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
        result = subprocess.run(
            [*command, str(HERE / "two_processes.py"), str(tiny_models()), str(folder / name), *STAGES],
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert result.returncode == 0, result.stderr[-3000:]
    return folder


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_give_the_update_of_one(trained, stage):
    one = load_file(trained / "one" / f"{stage}-1-0.safetensors")
    first, second = (load_file(trained / "two" / f"{stage}-2-{rank}.safetensors") for rank in (0, 1))
    for name, tensor in one.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], tensor, atol=2e-4, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")
    logs = [
        [json.loads(line) for line in (trained / run / stage / "metrics.jsonl").read_text().splitlines()]
        for run in ("one", "two")
    ]
    assert len(logs[0]) == len(logs[1]) == 4
    for ours, theirs in zip(*logs, strict=True):
        for name in ("loss", "reward", "kl", "grad_norm", "reply_length", "policy_loss", "value_loss"):
            if name in ours:
                assert ours[name] == pytest.approx(theirs[name], rel=1e-3, abs=1e-3), name
