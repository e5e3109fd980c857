"""Trains the judge and writes what the package holds of it."""

from __future__ import annotations

import json
import shutil
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
from selfsame.model.settings import BUNDLED, ModelSettings
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


def export(recipe: Recipe, work: Path, folder: Path, weights: Path | None = None) -> dict[str, Any]:
    """Writes the judge to `folder`: the adapter in half precision, its head, and `judge.json` with what it scores on the
    held-out rows in `work`, and what the judge in the package and the rules score on the same rows.

    Args:
        recipe: it was made with.
        work: where pairs and checkpoints are.
        folder: gets the judge.
        weights: a judge that was written before; None: that of the last checkpoint.
    """
    if weights is None:
        roles = load_roles(ModelSettings(base=recipe.base, lora=recipe.lora), recipe.seed)
        roles.load("judge", CheckpointManager(work / "judge").load().path / "judge")
        roles.save("judge", folder)
        reduce_role(folder, recipe.base)
    elif weights.resolve() != folder.resolve():
        shutil.copytree(weights, folder, dirs_exist_ok=True)
    record: dict[str, Any] = {
        "base": recipe.base,
        "lora": recipe.lora.model_dump(exclude_defaults=True),
        "threshold": 0.5,
    }
    write_record(folder / RECORD, record)
    judge, rules = AdapterJudge(str(folder)), RuleJudge()
    record["held_out"] = held_out(judge, work)
    if recipe.base != BUNDLED:  # each was made on other pairs: they are compared on the same rows
        record["bundled"] = held_out(AdapterJudge(), work)
    write_record(folder / RECORD, record)  # the threshold takes as long again
    examples = DatasetLoader().load().train  # the bundled dialogues: the judge has never seen them
    judge.threshold = choose_threshold(judge, examples, recipe.threshold_replies)
    record |= {
        "threshold": judge.threshold,
        "contradicted_at_threshold": at_threshold(judge, work),
        "recipe": recipe.model_dump(mode="json", include={"seed", "training", "lora", "held_out_share", "plain_share"}),
        "training_rows": _counts(work),
        "rules": held_out(rules, work),
        "found": errors(judge, work),
        "environment": describe_environment(),
    }
    write_record(folder / RECORD, record)
    return record


def _counts(work: Path) -> dict[str, int]:
    lines = (work / "train.jsonl").read_text(encoding="utf-8").splitlines()
    return dict(Counter(json.loads(line)["kind"] for line in lines))
