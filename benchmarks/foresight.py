"""What `selfsame plan` says: beside what was measured, and of shapes on hardware that is not here."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.shapes import SHAPES
from benchmarks.workload import LORA, Amount
from selfsame.config import Config, load_config, merge_configs
from selfsame.data.processor import EncodedDialogue
from selfsame.plan.advise import advise
from selfsame.plan.estimate import StagePlan, make_probe, plan, sampling_plan
from selfsame.plan.hardware import Hardware, hardware
from selfsame.plan.table import duration, size
from selfsame.plan.workload import Workload

PLANNED = (
    *(
        (shape, "kaggle-2xt4", "t4", 2)
        for shape in ("124m", "gpt2-medium", "qwen2.5-0.5b", "qwen2.5-1.5b", "qwen2.5-3b")
    ),
    *(("qwen2.5-7b", "cluster", gpu, 8) for gpu in ("a100", "h100")),
)
"""(shape, preset, GPU, how many)."""


def plan_table() -> str:
    """Markdown: each shape with the preset for the hardware, and what has to change."""
    lines = ["| model | hardware | preset | largest stage | time | changes |", "|---|---|---|---:|---:|---|"]
    with tempfile.TemporaryDirectory() as folder:
        for shape, preset, gpu, count in PLANNED:
            base = _configuration_of(shape, Path(folder))
            config = load_config(preset=preset, values={"model": {"base": str(base)}})
            lines.append(_line(shape, preset, config, hardware(gpu, count)))
    note = "Estimates: nothing of this was run on a GPU. Every process holds the whole model; lengths are assumed."
    return "\n".join([*lines, "", note])


def _line(shape: str, preset: str, config: Config, device: Hardware) -> str:
    probe = make_probe(config, device)
    made = plan(config, device, probe=probe)
    advice = None if made.fits else advise(config, device, probe=probe)
    changes = "none" if advice is None else f"`{advice.arguments()}`" if advice.plan.fits else "cannot fit"
    shown = made if advice is None else advice.plan
    largest = max(shown.stages, key=lambda stage: stage.total)
    memory = f"{largest.stage}, {size(largest.total)} of {size(shown.memory)}"
    cells = [shape, f"{device.count} x {device.name}", preset, memory, duration(shown.seconds), changes]
    return "| " + " | ".join(cells) + " |"


def _configuration_of(shape: str, folder: Path) -> Path:
    """A folder with the shape's configuration, without weights."""
    SHAPES[shape].save_pretrained(folder / shape)
    return folder / shape


def check_table(record: dict[str, Any]) -> str:
    """Markdown: predicted against measured time of a step and memory, for each measurement with one process."""
    lines = [
        "| measurement | seconds a step | predicted | ratio | memory | predicted | ratio |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for key, made in record["measurements"].items():
            if "seconds" not in made:
                lines.append(f"| {key} | failed: {made['failed'][:60]} | | | | | |")
            elif made["processes"] == 1:
                seconds, memory = predicted(made, record, Path(folder))
                real = statistics.median(made["seconds"])
                times = [f"{real:.3f}", f"{seconds:.3f}", f"{seconds / real:.2f}"]
                sizes = [size(made["peak_memory"]), size(memory), f"{memory / made['peak_memory']:.2f}"]
                lines.append("| " + " | ".join([key, *times, *sizes]) + " |")
    return "\n".join(
        [
            *lines,
            "",
            "Ratio: predicted over measured, with the speed of products and operations measured before the steps. The shares"
            " of it which the plan counts on were measured on the shape 10m: its rows are a calibration, the others a test.",
        ]
    )


def predicted(made: dict[str, Any], record: dict[str, Any], folder: Path) -> tuple[float, float]:
    """(seconds a step, bytes) that are planned for a measurement."""
    config = _as_configuration(made, folder)
    device = Hardware("cpu", 1e15, record["gemm"], record["bandwidth"], launch=record["operation"])
    probe = make_probe(config, device, _as_workload(made))
    if made["stage"] == "generate":
        amount = Amount(**made["amount"])
        stage: StagePlan = sampling_plan(config, probe, amount.prompts, amount.samples, amount.new_tokens)
    else:
        stage = plan(config, device, probe=probe).stages[0]
    return stage.seconds / stage.steps, stage.total


def _as_configuration(made: dict[str, Any], folder: Path) -> Config:
    """The benchmark's settings (`benchmarks/workload.py`) as a configuration."""
    amount = Amount(**made["amount"])
    ppo = {name: getattr(amount, name) for name in ("steps", "epochs", "token_budget")}
    ppo |= {
        "prompts_per_step": amount.prompts,
        "samples_per_prompt": amount.samples,
        "max_new_tokens": amount.new_tokens,
    }
    model = {
        "base": str(_configuration_of(made["shape"], folder)),
        "dtype": made["dtype"],
        "max_length": 512,
        "lora": LORA,
    }
    sft = {"batch_size": amount.batch, "max_steps": amount.steps, "token_budget": amount.token_budget}
    stages = [made["stage"] if made["stage"] != "generate" else "sft"]
    return merge_configs(Config(), {"model": model, "training": {"sft": sft, "ppo": ppo}, "run": {"stages": stages}})


def _as_workload(made: dict[str, Any]) -> Workload:
    """The lengths of a step; nothing is held out, so that no evaluation is counted."""
    rows = [EncodedDialogue([0] * length, [tuple(span) for span in spans], (0, 1)) for length, spans in made["rows"]]
    prompts = [[0] * length for length in sorted(made["prompts"])]
    rows.sort(key=lambda row: len(row.ids))
    return Workload(tuple(rows), tuple(prompts), (([0], [0], [0]),), 10**6, 0, "the measurement's own lengths")
