"""`python -m base_model.bundle RUN OUT`: a run reduced to what speaks and how good it was, to be part of the package.

Of each finished stage of training the last checkpoint, roles in float16, without the optimiser; settings, curves, the reward
model's accuracy and the results, without the replies behind them.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file

from selfsame.model.named import NAMED
from selfsame.run.checkpoint import CheckpointManager, finished
from selfsame.run.directory import RunDirectory
from selfsame.run.files import read_json, write_json, write_text

CARD = """# {name}

A persona chatbot: LoRA adapters (rank {rank}, the last {layers} blocks, float16) for `{base}`, which is {weights} of
{origin} ({licence}). `selfsame chat --model {name} --persona 'I have two dogs.'` talks with it; `--system sft` and
`--system base` with what it was before.

Trained on {data} by the settings in `config.yaml`: {stages}.
Synthetic-Persona-Chat is by Jandaghi et al. 2023 (arXiv:2312.10007), CC BY 4.0; its dialogues are model-written. `eval/` has
what was measured on held-out people of it (docs/metrics.md says what that means).

Limits: 135 million parameters. It knows little of the world, makes things up where the persona is silent, speaks English
only, and was not made safe for anybody. Adapters fit the pinned Q4_1 weights, not the hub's full ones.
"""
STAGES = {"sft": "sft", "reward": "reward", "ppo": "policy"}
"""The stages that are taken, and the role of each."""
KEPT = ("adapter_model.safetensors", "adapter_config.json", "head.safetensors")
DATA = "google/Synthetic-Persona-Chat"


def bundle(run: RunDirectory, out: Path, data: str) -> None:
    """Writes the reduced run. `data`: where its dialogues can be had, in place of a path on some machine."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    config: dict[str, Any] = dict(run.config())
    config["data"] = dict(config["data"]) | {"path": data}
    config["run"] = dict(config["run"]) | {"directory": None, "start_from": None}
    write_text(out / "config.yaml", yaml.safe_dump(config, sort_keys=False))
    for stage, role in STAGES.items():
        if checkpoint := finished(run, stage):
            _save(checkpoint, CheckpointManager(out / "checkpoints" / stage), role, config["model"]["base"])
    model, training = config["model"], config["training"]
    named = NAMED.get(model["base"])
    stages = f"SFT {training['sft']['max_steps']} steps, then a reward model, then PPO {training['ppo']['steps']} steps"
    text = CARD.format(
        name=out.name, rank=model["lora"]["rank"], layers=model["lora"]["layers"], base=model["base"], data=data, stages=stages,
        weights=named.weights if named else "the model", origin=named.origin if named else model["base"],
        licence=named.licence if named else "see there",
    )  # fmt: skip
    write_text(out / "README.md", text)
    for name in ("environment.json", "reward.json", "cost.json"):
        if (run.path / name).exists():
            shutil.copy(run.path / name, out / name)
    for path in sorted((run.path / "eval").glob("*.json")):
        record = read_json(path)
        write_json(out / "eval" / path.name, record | {"replies": [], "talk": [], "items": record.get("items")})


def _save(checkpoint: Path, manager: CheckpointManager, role: str, base: str) -> None:
    def write(folder: Path) -> None:
        shutil.copytree(checkpoint / role, folder / role)
        reduce_role(folder / role, base)

    step = int(checkpoint.name.rpartition("-")[2])
    manager.save(step, {}, {"done": True}, [write])


def reduce_role(folder: Path, base: str) -> None:
    """Leaves of a saved role what the package keeps: the adapter in half precision, its head as it is, since its scale matters,
    and the name of its base, which has the tokenizer."""
    for path in folder.iterdir():
        if path.name not in KEPT:
            path.unlink()
    adapter, config = folder / KEPT[0], folder / KEPT[1]
    save_file({name: tensor.to(torch.float16) for name, tensor in load_file(adapter).items()}, adapter)
    saved = json.loads(config.read_text(encoding="utf-8"))
    write_text(config, json.dumps(saved | {"base_model_name_or_path": base}, indent=2, sort_keys=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", default=DATA)
    options = parser.parse_args()
    bundle(RunDirectory.open(options.run), options.out, options.data)
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(f"{options.out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
