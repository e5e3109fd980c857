"""Two and four processes give the update that one gives on the same global batch, with a whole base and with a split one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import JOBS
from safetensors.torch import load_file

from commands import tiny_run
from selfsame.cli import main
from selfsame.run.checkpoint import finished
from selfsame.run.directory import RunDirectory
from selfsame.run.files import read_jsonl

HERE = Path(__file__).resolve().parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_models: Any) -> Path:
    """What `processes.py` saved of all jobs."""
    tests, folder = HERE.parent, tmp_path_factory.mktemp("trained")
    paths = ":".join(map(str, (tests, tests / "model", HERE, os.environ.get("PYTHONPATH", ""))))
    command = [sys.executable, str(HERE / "processes.py"), str(tiny_models()), str(folder)]
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def made(folder: Path, name: str, rank: int = 0) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Trained tensors, and what else a process says of a job. Of a reward head that is normalised, a constant on all scores is
    left out, which no comparison teaches."""
    tensors = load_file(folder / f"{name}.{rank}.safetensors")
    if "rew" in name and "ppo" not in name:
        start, gain, bias = (tensors.pop(f"reward/head.{n}") for n in ("linear.bias", "gain", "bias"))
        tensors |= {"normal": torch.cat([start + bias / gain, 1 / gain[None]])}
    return tensors, json.loads((folder / f"{name}.{rank}.json").read_text())


@pytest.mark.parametrize("name", [f"{job}-{count}" for count in (2, 4) for job in JOBS[count] if "half" not in job])
def test_processes_give_the_update_and_the_replies_of_one(trained, name):
    kind, stage, count = name.partition("-")[0], name.partition("-")[2].rpartition("-")[0], int(name[-1])
    one, about = made(trained, f"plain-{stage}-1")
    first = made(trained, name)[0]
    for rank in range(count):
        tensors, told = made(trained, name, rank)
        assert all(torch.equal(first[n], t) for n, t in tensors.items())
        assert told["replies"] == about["replies"]
        assert told["bytes"] * (1 if kind == "plain" else count) == about["bytes"]
    for n, tensor in one.items():
        torch.testing.assert_close(first[n], tensor, atol=1e-5, rtol=1e-5, msg=lambda m, n=n: f"{n}: {m}")
    ours, theirs = (read_jsonl(trained / run / "metrics.jsonl")[0] for run in (name, f"plain-{stage}-1"))
    assert len(ours) == len(theirs) == 4
    for row, other in zip(ours, theirs, strict=True):
        for metric in ("loss", "accuracy", "reward", "kl", "grad_norm", "reply_length", "policy_loss", "value_loss"):
            if metric in row:
                assert row[metric] == pytest.approx(other[metric], rel=1e-3, abs=1e-3), metric


def test_one_process_resumes_what_two_began_on_a_split_base(trained):
    rest, _ = made(trained, "rest-ppo-1")
    for name, tensor in made(trained, "plain-ppo-1")[0].items():
        torch.testing.assert_close(rest[name], tensor, atol=1e-5, rtol=1e-5)


def test_a_process_that_is_killed_ends_the_others_and_a_restart_resumes(tiny_models, tmp_path):
    def arguments(name: str) -> list[str]:
        more = "--training.sft.max-steps 6 --run.save-every 2 --run.stages sft"
        return [*tiny_run("sft", tiny_models(), tmp_path / name)[1:], *more.split()]

    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "1"]
    torchrun += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    environment = {**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"}
    command = [*torchrun, str(HERE / "killed.py"), "run", *arguments("killed"), "--model.shard", "true"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    told = [line for line in done.stderr.splitlines() if line.startswith("selfsame: ")]
    assert told == [
        "selfsame: another process of the run has ended; what was saved is intact, and the same command resumes it"
    ]
    assert "Traceback" not in done.stderr
    assert main(["run", *arguments("whole")]) == 0
    killed, whole = (load_role(tmp_path / name) for name in ("killed", "whole"))
    for name, tensor in whole.items():
        torch.testing.assert_close(killed[name], tensor, atol=1e-5, rtol=1e-5)


def load_role(folder: Path) -> dict[str, torch.Tensor]:
    checkpoint = finished(RunDirectory(folder), "sft")
    assert checkpoint is not None
    return load_file(checkpoint / "sft" / "adapter_model.safetensors")
