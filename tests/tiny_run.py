"""A run of a second or two a stage, and what it made, for the tests that kill and repeat it."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file

from selfsame.run.checkpoint import finished
from selfsame.run.directory import RunDirectory

STAGES = ("sft", "reward", "ppo", "dpo")


def run_arguments(base: object, directory: Path) -> list[str]:
    """A run on the bundled dialogues and a tiny base."""
    return f"""run --run.directory {directory} --model.base {base}
        --run.stages sft reward ppo dpo evaluate --run.save-every 2 --run.samples-every 2
        --model.dtype float32 --model.max-length 256 --model.lora.rank 4 --data.limit 30 --data.max-turns 6
        --training.sft.max-steps 8 --training.sft.batch-size 4 --training.reward.max-steps 6 --training.reward.batch-size 4
        --training.reward.normalise-samples 8 --training.ppo.steps 6 --training.ppo.prompts-per-step 3
        --training.ppo.max-new-tokens 8 --training.dpo.max-steps 6 --training.dpo.batch-size 4
        --pairs.count 24 --pairs.validation-count 12 --sampling.max-new-tokens 8
        --evaluation.consistency-size 8 --evaluation.engagement-size 8 --evaluation.perplexity-size 4
        --evaluation.resamples 100 --evaluation.selfplay-size 3 --evaluation.selfplay-turns 4
        --evaluation.judge rules --evaluation.model selfsame-9m --evaluation.split test --evaluation.best-of 2
        --training.ppo.eval-size 4
        --data.validation-share 0.5 --training.reward.comparison-samples 2 --training.ppo.eval-every 2
        --training.ppo.rewards.ungrounded -1 --training.ppo.rewards.malformed -1 --training.sft.persona-weight 2""".split()


def adapters(directory: Path) -> dict[str, object]:
    """Every tensor of every final role, and every evaluation."""
    found: dict[str, object] = {}
    for stage in STAGES:
        checkpoint = finished(RunDirectory.open(directory), stage)
        assert checkpoint is not None, stage
        for file in sorted(checkpoint.glob("*/*.safetensors")):
            for name, tensor in load_file(file).items():
                found[f"{stage}/{file.relative_to(checkpoint)}/{name}"] = tensor.numpy().tobytes()
    for file in sorted((directory / "eval").glob("*.json")):
        found[file.name] = json.loads(file.read_text())
    return found
