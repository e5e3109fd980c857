"""The work that every engine gets: a model with random weights and, step by step, the token ids it trains on.

`build` writes it to a folder. Selfsame's own trainers choose the batches; the peers read the same ids from `work.json`, so
they see the same tokens in the same order, in as many optimiser steps.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.shapes import SHAPES, make_model
from selfsame.data.loader import DatasetLoader
from selfsame.data.pairs import PreferenceGenerator
from selfsame.data.settings import DataSettings, PairSettings
from selfsame.model.load import load_roles
from selfsame.model.roles import Roles
from selfsame.model.settings import LoraSettings, ModelSettings
from selfsame.run.files import write_json
from selfsame.training.loop import batch_indices
from selfsame.training.ppo import PPOTrainer
from selfsame.training.reward import RewardTrainer
from selfsame.training.settings import PPOSettings, RewardSettings, SFTSettings
from selfsame.training.sft import SFTTrainer

LORA = {"rank": 8, "alpha": 16}


@dataclass(frozen=True)
class Amount:
    """How much work. `batch`: dialogues or pairs a step; `prompts` with `samples` replies of exactly `new_tokens` tokens a
    step of PPO, `epochs` passes over them with one optimiser step each; `steps` of each stage, the first not timed."""

    steps: int = 3
    batch: int = 8
    prompts: int = 8
    samples: int = 4
    new_tokens: int = 32
    epochs: int = 4
    token_budget: int = 4096


def build(shape: str, data: str, amount: Amount, folder: Path) -> Path:
    """Writes `model/` and `work.json` to the folder. `data`: as `data.path` in Selfsame's configuration."""
    model = make_model(shape, folder / "model")
    roles = roles_of(model, "float32")
    steps = range(amount.steps)
    sft, reward = stage("sft", roles, data, amount), stage("reward", roles, data, amount)
    rows = [batch_as_json("sft", sft.collect(step)) for step in steps]
    pairs = [batch_as_json("reward", reward.collect(step)) for step in steps]
    ppo = stage("ppo", roles, data, amount)
    chosen = [batch_indices(len(ppo.prompts), amount.prompts, step, 0) for step in steps]
    prompts = [[roles.processor.encode_prompt(ppo.prompts[i], amount.new_tokens) for i in some] for some in chosen]
    write_json(
        folder / "work.json",
        {
            "shape": shape,
            "data": data,
            "parameters": sum(p.numel() for p in roles.base.parameters()),
            "amount": asdict(amount),
            "lora": LORA,
            "targets": targets(shape),
            "layers": SHAPES[shape].num_hidden_layers,
            "sft": rows,
            "reward": pairs,
            "prompts": prompts,
        },
    )
    return folder


def batch_as_json(name: str, batch: Any) -> list[Any]:
    """A batch of SFT (ids, spans of own turns) or of the reward model (prompt, chosen, rejected)."""
    if name == "sft":
        return [{"ids": list(row.ids), "spans": [list(span) for span in row.spans]} for row in batch]
    return [[list(prompt), *map(list, replies)] for prompt, replies, _ in batch]


def targets(shape: str) -> list[str]:
    """The linear layers that get an adapter: all of the blocks."""
    if SHAPES[shape].model_type == "gpt2":
        return ["c_attn", "c_proj", "c_fc"]
    return ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def roles_of(model: Path, dtype: Any, **lora: Any) -> Roles:
    """The model with adapters as all engines have them."""
    settings = LoraSettings(**LORA, **lora)
    return load_roles(ModelSettings(base=str(model), dtype=dtype, max_length=512, lora=settings))


def stage(name: str, roles: Roles, data: str, amount: Amount, **changes: Any) -> Any:
    """A trainer of Selfsame. In PPO no reply ends early: the same work in every step and for every engine."""
    dialogues = DatasetLoader(DataSettings(path=data, limit=200)).load()
    pairs = PreferenceGenerator(dialogues.train, PairSettings(), 0)
    common: dict[str, Any] = {"token_budget": amount.token_budget, "learning_rate": 1e-4}
    supervised = {**common, "batch_size": amount.batch, "max_steps": amount.steps, "epochs": 1000}
    if name == "sft":
        return SFTTrainer(roles, train=dialogues.train, settings=SFTSettings(**supervised, **changes))
    roles.add("sft")
    if name == "reward":
        settings = RewardSettings(sampled_share=0, comparison_share=0, **supervised, **changes)
        return RewardTrainer(roles, pairs=pairs.generate_pairs(64), settings=settings)
    roles.add("reward")
    settings = PPOSettings(
        steps=amount.steps,
        prompts_per_step=amount.prompts,
        samples_per_prompt=amount.samples,
        max_new_tokens=amount.new_tokens,
        epochs=amount.epochs,
        **common,
        **changes,
    )
    trainer = PPOTrainer(roles, prompts=pairs.extract_prompts(256), settings=settings)
    roles.processor.end_id = -1
    return trainer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workload", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="10m")
    parser.add_argument("--data", default="demo", help="as data.path in Selfsame's configuration")
    for field in fields(Amount):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=int, default=field.default)
    options = parser.parse_args()
    amount = Amount(**{field.name: getattr(options, field.name) for field in fields(Amount)})
    build(options.shape, options.data, amount, options.folder)


if __name__ == "__main__":
    main()
