"""The preset for Kaggle's two T4, as far as it can be tried without them: float16 base, float32 adapters, loss scaling,
gradient accumulation and two processes, on a CPU and a tiny model. What only a GPU can show is in `test_cuda.py`."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file

from selfsame import finished, load_config, train
from selfsame.run.files import read_json, read_jsonl

STAGES = ("sft", "reward", "ppo")


@pytest.mark.slow
def test_the_preset_trains_in_float16_in_two_processes(tiny_models, tmp_path):
    small = {"batch_size": 4, "token_budget": 256, "max_steps": 3}
    few = {"steps": 3, "prompts_per_step": 4, "max_new_tokens": 8, "token_budget": 256}
    values = {
        "model": {"base": str(tiny_models("gpt2")), "max_length": 256, "lora": {"rank": 4}},
        "data": {"path": "demo", "limit": 20, "max_turns": 6},
        "pairs": {"count": 16, "validation_count": 10},
        "training": {"sft": small, "reward": small | {"normalise_samples": 8, "comparison_samples": 2}, "ppo": few},
        "evaluation": {"model": "selfsame-9m"},
        "run": {"directory": str(tmp_path / "run"), "stages": STAGES, "save_every": 2, "keep": 1},
    }
    config = load_config(preset="kaggle-2xt4", values=values)
    assert config.model.dtype == "float16"
    run = train(config, processes=2)
    rows = read_jsonl(run.metrics_path)[0]
    assert [(row["stage"], row["step"]) for row in rows] == [(stage, k) for stage in STAGES for k in (1, 2, 3)]
    assert all(math.isfinite(value) for row in rows for value in row.values() if isinstance(value, float))
    assert all(row["skipped_steps"] < 3 for row in rows if row["stage"] != "ppo")
    assert rows[-1]["skipped_steps"] < 12  # of three rollouts, four passes over each
    made = {}
    for stage, roles in (("sft", ["sft"]), ("reward", ["reward"]), ("ppo", ["policy", "value"])):
        folder = finished(run, stage)
        assert folder is not None and len(list(folder.parent.glob("step-*"))) == 1  # `keep`: what disk it takes
        scaler = read_json(folder / "state.json")["optimiser"]["scaler"]
        assert 1 <= scaler["scale"] <= 2.0**14  # halved where a gradient overflowed
        for role in roles:
            tensors = load_file(folder / role / "adapter_model.safetensors")
            assert all(t.dtype == torch.float32 and t.isfinite().all() for t in tensors.values())
            made[role] = torch.cat([t.flatten() for name, t in sorted(tensors.items()) if "lora_B" in name])
    assert made["sft"].any() and made["reward"].any()  # adapters begin with zeros
    assert not torch.equal(made["policy"], made["sft"]) and not torch.equal(made["value"], made["reward"])
