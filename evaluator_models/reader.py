"""Trains the reader: an adapter on a real base that learned dialogues without any persona (`metrics/reader.py`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from base_model.bundle import reduce_role

from evaluator_models.corpus import SPC
from evaluator_models.evaluate import write_record
from evaluator_models.settings import Recipe
from selfsame.data.loader import DatasetLoader
from selfsame.data.settings import DataSettings
from selfsame.metrics.quality import QualityEvaluator
from selfsame.model.load import load_roles
from selfsame.model.roles import Roles
from selfsame.model.settings import ModelSettings
from selfsame.run.checkpoint import CheckpointManager
from selfsame.run.directory import RunDirectory
from selfsame.run.environment import describe_environment
from selfsame.run.logger import RunLogger
from selfsame.training.keeper import Record
from selfsame.training.sft import SFTTrainer
from selfsame.types import Example

HELD_OUT = 100
"""Sides of unseen people's dialogues that it is measured on."""
RECORD = "reader.json"


def train(recipe: Recipe, work: Path, data: Path) -> None:
    """Trains, going on from the newest checkpoint."""
    record = Record(CheckpointManager(work / "reader"), RunLogger(RunDirectory(work)), save_every=10)
    people, held_out = _dialogues(data)
    SFTTrainer(
        _roles(recipe),
        train=people,
        validation=held_out[:16],
        settings=recipe.reader,
        seed=recipe.reader_seed,
        record=record,
    ).train()


def export(recipe: Recipe, work: Path, data: Path, folder: Path) -> dict[str, Any]:
    """Writes the reader of the last checkpoint to `folder`: the adapter in half precision, and `reader.json` with the bits per
    byte of what unseen people said, of the base and of the reader."""
    roles = _roles(recipe)
    roles.load("reader", CheckpointManager(work / "reader").load().path / "sft")
    roles.save("reader", folder)
    reduce_role(folder, recipe.reader_base)
    evaluator, (_, held_out) = QualityEvaluator(), _dialogues(data)
    bits = {
        name: evaluator.compute_perplexity(roles, role, held_out)["bits_per_byte"].to_dict()
        for name, role in (("base", None), ("reader", "reader"))
    }
    record = {
        "base": recipe.reader_base,
        "recipe": recipe.model_dump(mode="json", include={"reader", "reader_lora", "reader_seed"}),
        "held_out": bits,
        "environment": describe_environment(),
    }
    write_record(folder / RECORD, record)
    return record


def _roles(recipe: Recipe) -> Roles:
    return load_roles(ModelSettings(base=recipe.reader_base, lora=recipe.reader_lora), recipe.reader_seed)


def _dialogues(data: Path) -> tuple[list[Example], list[Example]]:
    """Sides to train on and to measure on, without their personas."""
    dataset = DatasetLoader(DataSettings(path=str(data / SPC))).load()
    bare = [
        [replace(side, persona=(), partner_persona=()) for side in part] for part in (dataset.train, dataset.validation)
    ]
    return bare[0], bare[1][:HELD_OUT]
