"""Trains the judge and writes what the package holds of it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from base_model.bundle import reduce_role

from evaluator_models.evaluate import at_threshold, choose_threshold, errors, held_out, write_record
from evaluator_models.settings import Recipe
from evaluator_models.trainer import JudgeTrainer
from selfsame.data.loader import DatasetLoader
from selfsame.metrics.judge import RECORD, AdapterJudge
from selfsame.model.load import load_roles
from selfsame.model.settings import ModelSettings
from selfsame.ratings.rows import read_pairs
from selfsame.run.checkpoint import CheckpointManager
from selfsame.run.directory import RunDirectory
from selfsame.run.environment import describe_environment
from selfsame.run.logger import RunLogger
from selfsame.text.contradictions import RuleJudge
from selfsame.training.keeper import Record

WATCHED = 600
"""Pairs that are looked at while training, of the kinds that are trained on: sentences of theirs are trained on in
other pairs, so their accuracy is no result."""


def train(recipe: Recipe, work: Path, data: Path) -> None:
    """Trains on `train.jsonl` (`data` is in it already), going on from the newest checkpoint."""
    del data
    pairs, _ = read_pairs(work / "train.jsonl")
    watched = pairs[:WATCHED]  # shuffled when they were made
    roles = load_roles(ModelSettings(base=recipe.base, lora=recipe.lora), recipe.seed)
    record = Record(
        CheckpointManager(work / "judge"),
        RunLogger(RunDirectory(work)),
        save_every=recipe.save_every,
        samples_every=200,
    )
    trainer = JudgeTrainer(
        roles, pairs=pairs[WATCHED:], validation=watched, settings=recipe.training, seed=recipe.seed, record=record
    )
    trainer.train()


def export(recipe: Recipe, work: Path, data: Path, folder: Path) -> dict[str, Any]:
    """Writes the judge of the last checkpoint to `folder`: the adapter in half precision, its head, and `judge.json`. All it
    needs of `data` is in `work`."""
    del data
    checkpoint = CheckpointManager(work / "judge").load()
    roles = load_roles(ModelSettings(base=recipe.base, lora=recipe.lora), recipe.seed)
    roles.load("judge", checkpoint.path / "judge")
    roles.save("judge", folder)
    reduce_role(folder, recipe.base)
    record: dict[str, Any] = {
        "base": recipe.base,
        "lora": recipe.lora.model_dump(exclude_defaults=True),
        "threshold": 0.5,
    }
    write_record(folder / RECORD, record)
    judge, rules = AdapterJudge(str(folder)), RuleJudge()
    examples = DatasetLoader().load().train  # the bundled dialogues: the judge has never seen them
    judge.threshold = choose_threshold(judge, examples)
    record |= {
        "threshold": judge.threshold,
        "contradicted_at_threshold": at_threshold(judge, work),
        "recipe": recipe.model_dump(mode="json", include={"seed", "training", "lora", "held_out_share", "plain_share"}),
        "training_rows": _counts(work),
        "held_out": held_out(judge, work),
        "rules": held_out(rules, work),
        "found": errors(judge, work),
        "environment": describe_environment(),
    }
    write_record(folder / RECORD, record)
    return record


def _counts(work: Path) -> dict[str, int]:
    lines = (work / "train.jsonl").read_text(encoding="utf-8").splitlines()
    return dict(Counter(json.loads(line)["kind"] for line in lines))
