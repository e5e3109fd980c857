"""The loop: a run that was stopped goes on as if nothing had happened; nothing that is not finite reaches the weights."""

from __future__ import annotations

import itertools
import math
import os
import signal
import threading
from dataclasses import replace

import pytest
import torch
from stages import LORA, VARIANTS, examples, pairs, ppo_trainer
from test_roles import load, scramble

from selfsame.errors import DataError, RunError
from selfsame.run.checkpoint import CheckpointManager
from selfsame.run.directory import RunDirectory
from selfsame.run.files import read_jsonl
from selfsame.run.logger import RunLogger
from selfsame.training.dpo import DPOTrainer
from selfsame.training.keeper import Record
from selfsame.training.loop import batch_indices, fit, step_count
from selfsame.training.optimiser import Optimiser, schedule
from selfsame.training.reward import RewardTrainer
from selfsame.training.settings import DPOSettings, OptimiserSettings, RewardSettings, SFTSettings
from selfsame.training.sft import SFTTrainer
from selfsame.types import Prompt


def record(folder, stage, save_every=2):
    directory = RunDirectory.create(folder, {"seed": 0})
    return Record(CheckpointManager(directory.checkpoints(stage)), RunLogger(directory), save_every, 2)


def make(stage, folder, record=None, **settings):
    if stage.startswith("ppo"):
        chosen = VARIANTS[stage.split("-")[1] if "-" in stage else "adapter"]
        settings.pop("dropout", None)  # they have none
        lora = LORA.model_copy(update={"layers": 1 if stage.endswith("trunk") else None})
        return ppo_trainer(folder, record, lora=lora, **({"steps": 4} | chosen | settings))
    taught = settings.pop("pairs", pairs())
    roles = load(folder, lora=LORA.model_copy(update={"dropout": settings.pop("dropout", 0.1)}))
    if stage == "sft":
        return SFTTrainer(
            roles,
            train=examples(),
            validation=examples()[:1],
            settings=SFTSettings(**({"epochs": 8, "batch_size": 6} | settings)),
            record=record,
        )
    roles.add("sft")
    scramble(roles, "sft")
    if stage == "reward":
        return RewardTrainer(
            roles,
            pairs=taught,
            validation=taught[:2],
            settings=RewardSettings(**({"epochs": 4, "batch_size": 3} | settings)),
            record=record,
        )
    return DPOTrainer(
        roles,
        pairs=taught,
        validation=taught[:2],
        settings=DPOSettings(**({"epochs": 4, "batch_size": 3} | settings)),
        record=record,
    )


def states(trainer):
    return {f"{role}/{n}": t for role in trainer.trained for n, t in trainer.roles.state(role).items()}


class Killed(Exception):
    """Stands for kill -9: nothing after it runs."""


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("stage", ["sft", "reward", "ppo", "ppo-reward", "ppo-policy", "ppo-none", "dpo"])
def test_a_stopped_run_goes_on_bit_for_bit(tiny_models, tmp_path, stage, at):
    whole = make(stage, tiny_models(), record(tmp_path / "whole", stage))
    whole.train()
    assert whole.steps == 4
    stopped = make(stage, tiny_models(), record(tmp_path / "stopped", stage))
    collect = stopped.collect

    def die(step):
        if step == at:
            raise Killed
        return collect(step)

    stopped.collect = die
    with pytest.raises(Killed):
        stopped.train()
    resumed = make(stage, tiny_models(), record(tmp_path / "stopped", stage))
    resumed.train()
    for name, tensor in states(whole).items():
        assert torch.equal(tensor, states(resumed)[name]), name
    logs = [
        [(r["step"], r["stage"]) for r in read_jsonl(tmp_path / run / "metrics.jsonl")[0]]
        for run in ("whole", "stopped")
    ]
    assert logs[0] == logs[1] == [(step, whole.name) for step in (1, 2, 3, 4)]


def test_a_finished_stage_is_loaded_not_trained(tiny_models, tmp_path):
    first = make("sft", tiny_models(), record(tmp_path, "sft"))
    first.train()
    again = make("sft", tiny_models(), record(tmp_path, "sft"))
    again.collect = None  # would fail when touched
    again.train()
    assert all(torch.equal(t, states(again)[n]) for n, t in states(first).items())


@pytest.mark.parametrize("stage", ["sft", "reward", "dpo"])
def test_training_learns(tiny_models, stage):
    """Of a pair the reply alone tells which is better, so that the tiny model learns it from any start and on any processor."""
    easy = [replace(pair, rejected="No.") for pair in pairs()]
    no_samples = {"sampled_share": 0.0, "comparison_share": 0.0} if stage == "reward" else {}
    trainer = make(stage, tiny_models(), epochs=30, learning_rate=0.003, pairs=easy, **no_samples)
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    if stage == "reward":
        assert after["validation_accuracy"] == 1.0
    elif stage == "sft":
        assert after["validation_loss"] < before["validation_loss"] - 1
    else:  # it begins at a loss of log 2 and a margin of 0
        assert after["validation_loss"] < before["validation_loss"] - 0.3 and after["validation_margin"] > 1


def test_words_of_the_persona_can_weigh_more(tiny_models):
    """Against the log-probabilities one by one; 1 is the plain mean."""
    trainer = make("sft", tiny_models(), persona_weight=3.0)
    batch = trainer.collect(0)
    content = trainer.roles.processor.content_ids()
    total = weight = named = 0.0
    with torch.no_grad(), trainer.roles.use("sft") as model:
        for row in batch:
            logprobs = model(torch.tensor([row.ids])).logits[0].log_softmax(-1)
            persona = content.intersection(row.ids[slice(*row.persona)])
            for start, end in row.spans:
                for k in range(start, end):
                    w = 3.0 if row.ids[k] in persona else 1.0
                    total, weight, named = total - w * logprobs[k - 1, row.ids[k]].item(), weight + w, named + (w > 1)
    assert named > 0
    (parts,) = trainer.minibatches(batch, 0)
    assert sum(trainer.loss(part)[1]["loss"] for part in parts) == pytest.approx(total / weight, rel=1e-4)


def test_sft_loss_is_the_mean_over_reply_tokens(tiny_models):
    trainer = make("sft", tiny_models())
    batch = trainer.collect(0)
    total = sum(trainer.loss(part)[1]["loss"] for part in next(trainer.minibatches(batch, 0)))
    nll = []
    with torch.no_grad(), trainer.roles.use("sft") as model:
        for row in batch:
            logprobs = model(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0].log_softmax(-1)
            nll += [-float(logprobs[t - 1, row.ids[t]]) for start, end in row.spans for t in range(start, end)]
    assert total == pytest.approx(sum(nll) / len(nll), rel=1e-4)
    trainer.settings = trainer.settings.model_copy(update={"token_budget": 64})
    parts = next(trainer.minibatches(batch, 0))
    assert len(parts) > 1 and sum(trainer.loss(p)[1]["loss"] for p in parts) == pytest.approx(total, rel=1e-4)


def test_a_gradient_that_is_not_finite_is_skipped_and_counted(tiny_models):
    trainer = make("sft", tiny_models(), max_skipped=2)
    loss, calls = trainer.loss, []

    def sometimes(part):
        calls.append(part)
        value, numbers = loss(part)
        return (value * math.nan if len(calls) == 2 else value), numbers

    trainer.loss = sometimes
    optimiser = Optimiser(trainer.roles, trainer.trained, trainer.settings, 4)
    seen = []
    for step in range(3):
        (part,) = next(trainer.minibatches(trainer.collect(step), step))
        before = states(trainer)
        optimiser.backward(trainer.loss(part)[0])
        seen.append(optimiser.step(step))
        moved = any(not torch.equal(t, states(trainer)[n]) for n, t in before.items())
        assert moved == (step != 1) and all(torch.isfinite(t).all() for t in states(trainer).values())
    assert [s["skipped_steps"] for s in seen] == [0, 1, 1] and "grad_norm" not in seen[1]


def test_a_run_that_is_never_finite_stops_with_one_line(tiny_models):
    trainer = make("sft", tiny_models(), max_skipped=2)
    loss, before = trainer.loss, states(trainer)
    trainer.loss = lambda part: (loss(part)[0] * math.inf, {})
    with pytest.raises(RunError, match="not finite 2 steps in a row"):
        trainer.train()
    assert all(torch.equal(t, states(trainer)[n]) for n, t in before.items())


def test_loss_scaling_gives_the_same_update(tiny_models):
    """float16's loss scale must cancel out; too large a scale is found by skipping, not by wrong weights."""
    results = []
    for scaled in (False, True):
        trainer = make("sft", tiny_models())
        optimiser = Optimiser(trainer.roles, trainer.trained, trainer.settings, 4)
        if scaled:
            optimiser.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**14)
        torch.manual_seed(0)
        (part,) = next(trainer.minibatches(trainer.collect(0), 0))
        optimiser.backward(trainer.loss(part)[0])
        results.append((optimiser.step(0)["grad_norm"], states(trainer)))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-4)
    for name, tensor in results[0][1].items():
        torch.testing.assert_close(tensor, results[1][1][name], atol=1e-5, rtol=1e-3)


def test_half_precision_base_trains_with_float32_adapters(tiny_models):
    from selfsame.model.load import load_roles
    from selfsame.model.settings import ModelSettings

    roles = load_roles(ModelSettings(base=str(tiny_models()), dtype="float16", max_length=128, lora=LORA))
    trainer = SFTTrainer(roles, train=examples(), settings=SFTSettings(epochs=2, batch_size=3, learning_rate=0.01))
    before = states(trainer)
    trainer.train()
    assert roles.base.dtype == torch.float16 and all(t.dtype == torch.float32 for t in states(trainer).values())
    assert any(not torch.equal(t, states(trainer)[n]) for n, t in before.items())
    optimiser = Optimiser(roles, ("sft",), trainer.settings, 4)
    assert optimiser.scaler.is_enabled()


def test_ctrl_c_saves_and_the_next_run_goes_on(tiny_models, tmp_path):
    trainer = make("sft", tiny_models(), record(tmp_path, "sft", save_every=100))
    collect = trainer.collect

    def press(step):
        if step == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return collect(step)

    trainer.collect = press
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert CheckpointManager(tmp_path / "checkpoints" / "sft").latest().name == "step-000002"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed = make("sft", tiny_models(), record(tmp_path, "sft"))
    resumed.train()
    whole = make("sft", tiny_models())
    fit(whole)
    assert all(torch.equal(t, states(resumed)[n]) for n, t in states(whole).items())


def test_a_checkpoint_of_another_model_is_refused(tiny_models, tmp_path):
    make("sft", tiny_models("llama"), record(tmp_path, "sft")).train()
    with pytest.raises(RunError, match="another model or other adapter settings"):
        make("sft", tiny_models("gpt2"), record(tmp_path, "sft")).train()


def test_the_reward_is_normalised_at_the_end(tiny_models):
    trainer = make("reward", tiny_models())
    assert float(trainer.roles.heads["reward"].gain) == 1
    trainer.train()
    assert float(trainer.roles.heads["reward"].gain) != 1


def test_ranking_accuracy_counts_reasons_and_ties(tiny_models):
    trainer = make("reward", tiny_models())
    trainer.score_pairs = lambda pairs: [(1.0, 0.0), (0.0, 1.0), (2.0, 2.0)]
    assert trainer.evaluate_ranking_accuracy(pairs()) == {"accuracy": 0.5, "accuracy/persona_swapped": 0.5}


def test_nothing_to_train_on_is_one_line(tiny_models):
    roles = load(tiny_models(), lora=LORA)
    for trainer, what in ((SFTTrainer, "train"), (RewardTrainer, "pairs"), (DPOTrainer, "pairs")):
        with pytest.raises(DataError, match="there is no"):
            trainer(roles, **{what: []})


def test_generated_samples_are_texts(tiny_models):
    trainer = make("sft", tiny_models())
    assert len(trainer.generate_samples([Prompt(("I sing.",), ("Hi",))] * 2)) == 2


def test_every_item_comes_once_an_epoch_in_an_order_of_its_own():
    seen = [i for step in range(5) for i in batch_indices(10, 4, step, 7)]
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10)) and seen[:10] != seen[10:]
    assert batch_indices(10, 4, 3, 7) == seen[12:16] != batch_indices(10, 4, 3, 8)
    assert step_count(10, 4, 2, None) == 5 and step_count(10, 4, 2, 3) == 3


def test_learning_rate_rises_and_falls():
    settings = OptimiserSettings(warmup=0.1, schedule="linear")
    factors = [schedule(settings, step, 100) for step in range(100)]
    assert factors[0] == pytest.approx(1 / 11) and max(factors) == factors[10] == 1 and 0 < factors[-1] < 0.02
    assert all(a < b for a, b in itertools.pairwise(factors[:11])) and all(
        a > b for a, b in itertools.pairwise(factors[10:])
    )
    assert schedule(OptimiserSettings(warmup=0, schedule="cosine"), 50, 100) == pytest.approx(0.5)
    assert schedule(OptimiserSettings(warmup=0, schedule="constant"), 99, 100) == 1


@pytest.mark.parametrize(
    "stage", ["sft", "reward", "dpo", "ppo-adapter", "ppo-reward", "ppo-policy", "ppo-none", "ppo-reward-trunk"]
)
def test_parts_learned_side_by_side_give_the_same_weights_to_the_last_bit(tiny_models, monkeypatch, stage):
    """On one thread, on two, and where one part's gradient adds to that of the others before the next is computed."""
    monkeypatch.setattr("selfsame.model.concurrent.CPU_TOKENS", 64)
    monkeypatch.setattr("selfsame.model.prefix_batch.CPU_TOKENS", 64)
    before, found, learning = torch.get_num_threads(), [], []
    gradient = Optimiser.gradient

    def watched(optimiser, loss):
        learning.append(threading.current_thread().name)
        return gradient(optimiser, loss)

    monkeypatch.setattr(Optimiser, "gradient", watched)
    try:
        for threads, apart in ((1, True), (2, True), (2, False)):
            torch.set_num_threads(threads)
            trainer = make(stage, tiny_models(), dropout=0.0, token_budget=128)
            if not apart:
                monkeypatch.setattr(type(trainer.roles), "learns_concurrently", False)
            trainer.train()
            found.append({role: trainer.roles.state(role) for role in trainer.trained})
    finally:
        torch.set_num_threads(before)
    assert {name.startswith("selfsame-pass") for name in learning} == {True, False}  # the pool did learn
    first = found[0]
    for other in found[1:]:
        for role, tensors in first.items():
            assert all(torch.equal(tensor, other[role][name]) for name, tensor in tensors.items())
