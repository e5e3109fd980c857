"""The judge's trainer: it learns, counts labels alike, and refuses what it does not know."""

from __future__ import annotations

import pytest
import torch
from test_roles import load

from selfsame.errors import DataError
from selfsame.model.settings import LoraSettings
from selfsame.run.checkpoint import CheckpointManager
from selfsame.run.directory import RunDirectory
from selfsame.run.logger import RunLogger
from selfsame.training.judge import JudgeTrainer
from selfsame.training.keeper import Record
from selfsame.training.settings import JudgeSettings
from selfsame.types import LABELS, LabelledPair

THINGS = ("dogs", "cats", "nurse", "sea", "bus", "school", "mother", "walks")
SAID = [
    LabelledPair(f"I like {thing}.", hypothesis, label, thing)
    for thing in THINGS
    for label, hypothesis in zip(
        LABELS, (f"I never like {thing}.", "How are you today?", f"I like {thing}, thanks."), strict=True
    )
]


def trainer(folder, tmp_path=None, pairs=SAID, steps=60):
    roles = load(folder, lora=LoraSettings(rank=8))
    settings = JudgeSettings(batch_size=12, max_steps=steps, epochs=100, learning_rate=5e-3, eval_every=20)
    record = None
    if tmp_path:
        tmp_path.mkdir(exist_ok=True)
        record = Record(CheckpointManager(tmp_path / "c"), RunLogger(RunDirectory(tmp_path)), save_every=5)
    return JudgeTrainer(roles, pairs=pairs, validation=SAID, settings=settings, record=record)


def test_it_learns(tiny_models):
    made = trainer(tiny_models("llama"))
    before = made.evaluate()
    made.train()
    after = made.evaluate()
    assert before["validation_balanced_accuracy"] == pytest.approx(1 / 3)  # a new head is undecided: one label for all
    assert after["validation_balanced_accuracy"] > 0.9
    assert {n for n in after if "recall" in n} == {f"validation_recall/{label}" for label in LABELS}
    assert [row["label"] for row in made.samples()] == list(LABELS)


def test_labels_count_alike(tiny_models):
    """Twice the neutral pairs: each weighs half, so that the loss of the whole is the mean over labels."""
    pairs = [p for p in SAID for _ in range(2 if p.label == "neutral" else 1)]
    made = trainer(tiny_models("llama"), pairs=pairs)
    assert made.weight_of == pytest.approx({"contradiction": 4 / 3, "neutral": 2 / 3, "entailment": 4 / 3})
    with torch.no_grad():
        for parameter in made.roles.heads["judge"].parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))

    def loss(chosen):
        batch = [(made.model.encode((p.premise, p.hypothesis)), p.label) for p in chosen]
        parts = [part for minibatch in made.minibatches(batch, 0) for part in minibatch]
        return sum(float(made.loss(part)[0]) for part in parts)

    by_label = [loss([p for p in pairs if p.label == label]) / made.weight_of[label] for label in LABELS]
    assert loss(pairs) == pytest.approx(sum(by_label) / 3, rel=1e-5)


def test_a_stopped_training_goes_on_as_if_nothing_had_happened(tiny_models, tmp_path, monkeypatch):
    whole = trainer(tiny_models("llama"), tmp_path / "whole", steps=12)
    whole.train()
    stopped = trainer(tiny_models("llama"), tmp_path / "stopped", steps=12)
    collect = stopped.collect
    monkeypatch.setattr(stopped, "collect", lambda step: collect(step) if step < 8 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        stopped.train()
    again = trainer(tiny_models("llama"), tmp_path / "stopped", steps=12)
    again.train()
    one, other = whole.roles.state("judge"), again.roles.state("judge")
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("pairs", [[], [LabelledPair("a", "b", "maybe")]])
def test_nothing_to_learn_from(tiny_models, pairs):
    with pytest.raises(DataError, match="contradiction, neutral, entailment"):
        trainer(tiny_models("llama"), pairs=pairs)
