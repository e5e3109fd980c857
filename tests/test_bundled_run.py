"""A run reduced to what speaks: it talks as the whole one did, and other runs start from it whatever their data."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch
from base_model.bundle import bundle

from selfsame.cli import main
from selfsame.run import directory, inherit
from selfsame.run.checkpoint import finished
from selfsame.run.directory import BUNDLED_RUNS, RunDirectory, locate_run
from selfsame.run.files import read_json
from selfsame.serve import chatbot
from selfsame.serve.chatbot import load_chatbot

SMALL = shlex.split("""--model.dtype float32 --model.max-length 160 --model.lora.rank 4 --data.limit 30 --data.max-turns 6
    --training.sft.max-steps 2 --training.sft.batch-size 4 --training.reward.max-steps 2 --training.reward.batch-size 4
    --training.reward.normalise-samples 4 --pairs.count 24 --pairs.validation-count 12 --training.ppo.steps 1
    --training.ppo.prompts-per-step 2 --training.ppo.max-new-tokens 8 --sampling.max-new-tokens 8""")


def test_a_reduced_run_talks_as_the_whole_and_is_a_start_for_other_data(tmp_path, monkeypatch, capsys):
    whole, small = tmp_path / "whole", tmp_path / "selfsame-small"
    assert main(["run", *SMALL, "--run.directory", str(whole), "--run.stages", "sft", "reward", "ppo"]) == 0
    bundle(RunDirectory.open(whole), small, "an/origin")
    assert (
        str(tmp_path) not in (small / "config.yaml").read_text() and "an/origin" in (small / "config.yaml").read_text()
    )
    one, other = (load_chatbot(str(path), "sft", reward=True) for path in (whole, small))
    for role in ("sft", "reward"):
        ours, theirs = one.roles.state(role), other.roles.state(role)
        assert ours.keys() == theirs.keys()
        for name, tensor in ours.items():
            torch.testing.assert_close(theirs[name], tensor, rtol=1e-3, atol=1e-6)  # float16 has eleven bits
    assert not list(small.rglob("optimiser*")) and not (small / "data.json").exists()
    assert list(whole.rglob("tokenizer.json")) and not list(small.rglob("tokenizer*"))  # the base has it
    bases = [read_json(path)["base_model_name_or_path"] for path in small.rglob("adapter_config.json")]
    assert bases == ["selfsame-9m"] * 3

    def located(name):
        return Path(name) if "/" in str(name) else tmp_path / str(name)

    for module in (directory, inherit, chatbot):
        monkeypatch.setattr(module, "BUNDLED_RUNS", ("selfsame-small",))
        monkeypatch.setattr(module, "locate_run", located)
    start = ["run", *SMALL, "--run.start-from", "selfsame-small", "--data.limit", "20", "--training.sft.max-steps", "9"]
    mine = tmp_path / "mine"
    assert main([*start, "--run.directory", str(mine), "--run.stages", "ppo"]) == 0
    assert "from selfsame-small: sft, reward" in capsys.readouterr().err
    assert finished(RunDirectory.open(mine), "ppo")
    assert read_json(mine / "inherited.json")["source"] == "selfsame-small"
    wide = ["--model.lora.rank", "8", "--run.directory", str(tmp_path / "wide"), "--run.stages", "ppo"]
    assert main([*start, *wide]) == 2
    assert "model.lora.rank: there 4, here 8" in capsys.readouterr().err
    start[start.index("selfsame-small")] = "selfsame-small:ppo"
    further = tmp_path / "further"
    assert main([*start, "--run.directory", str(further), "--run.stages", "ppo"]) == 0
    assert "from selfsame-small:ppo: sft, reward (sft is its PPO policy)" in capsys.readouterr().err
    begun, shipped = (
        load_chatbot(str(further), "sft").roles.state("sft"),
        load_chatbot(str(small), "ppo").roles.state("policy"),
    )
    assert begun.keys() == shipped.keys()
    assert all(torch.equal(begun[name], tensor) for name, tensor in shipped.items())
    start[start.index("selfsame-small:ppo")] = "selfsame-small:dpo"
    assert main([*start, "--run.directory", str(tmp_path / "odd"), "--run.stages", "ppo"]) == 2
    assert "choose selfsame-small (its SFT and reward model) or selfsame-small:ppo" in capsys.readouterr().err


def test_the_run_in_the_package_is_whole_and_small(real_base):
    for name in BUNDLED_RUNS:
        run = RunDirectory.open(locate_run(name))
        assert run.config()["model"]["base"] == real_base
        assert all(finished(run, stage) for stage in ("sft", "reward", "ppo"))  # reads and checks every hash
        assert sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file()) < 12_000_000
        assert not run.config()["data"]["path"].startswith("/")


def test_the_toy_is_the_demo_where_the_base_is_missing(capsys, monkeypatch):
    seen = []
    monkeypatch.setattr("selfsame.config.read_config", lambda arguments: seen.append(arguments))
    with pytest.raises(TypeError):
        main(["demo", "--seed", "1"])
    assert seen == [["--preset", "toy", "--seed", "1"]]
    assert "selfsame base smollm2-135m" in capsys.readouterr().err


def test_the_demo_stands_on_the_real_base(real_base, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr("selfsame.config.read_config", lambda arguments: seen.append(arguments))
    with pytest.raises(TypeError):
        main(["demo"])
    assert seen == [["--preset", "demo"]] and capsys.readouterr().out == ""
