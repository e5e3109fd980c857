"""While it evaluates: a stage that is killed or interrupted there goes on with the evaluation, and ends the same."""

from __future__ import annotations

import os
import signal

import pytest
import torch
from stages import examples
from test_loop import Killed, make, record, states

from selfsame.rollout import engine
from selfsame.run import logger
from selfsame.run.checkpoint import CheckpointManager, finished
from selfsame.run.directory import RunDirectory
from selfsame.run.files import read_jsonl
from selfsame.training import loop, sft
from selfsame.training.sft import evenly

STAGES = ["sft", "reward", "ppo", "dpo"]


def trainer(stage, folder, record=None, **settings):
    """A stage of four steps that evaluates after the second and the last."""
    made = make(stage, folder, record, **({"eval_every": 2} | settings))
    if stage == "ppo":
        made.eval_every = 2
        made.evaluate_policy = lambda roles: {
            "watch": float(sum(t.double().sum() for t in roles.state("policy").values()))
        }
    return made


def lines(folder):
    """Metrics and samples as they were written, but for the time."""
    files = (folder / "metrics.jsonl", folder / "samples.jsonl")
    return [[{k: v for k, v in row.items() if k != "time"} for row in read_jsonl(file)[0]] for file in files]


def ends_like(folder, whole, resumed):
    """Whether a run that was resumed has the weights, lines and last checkpoint of one that was not interrupted."""
    assert all(torch.equal(tensor, states(resumed)[name]) for name, tensor in states(whole).items())
    assert lines(folder / "stopped") == lines(folder / "whole") and lines(folder / "whole")[0]
    paths = [finished(RunDirectory.open(folder / name), whole.name) for name in ("whole", "stopped")]
    assert [path.name for path in paths] == ["step-000004"] * 2
    assert (paths[0] / "complete.json").read_bytes() == (paths[1] / "complete.json").read_bytes()  # has all hashes


def saved(folder, stage):
    return CheckpointManager(folder / "checkpoints" / stage).load()


@pytest.mark.parametrize("at", ["middle", "last", "finish"])
@pytest.mark.parametrize("stage", STAGES)
def test_killed_while_it_evaluates_it_goes_on_from_there(tiny_models, tmp_path, stage, at):
    whole = trainer(stage, tiny_models(), record(tmp_path / "whole", stage))
    whole.train()
    stopped, asked = trainer(stage, tiny_models(), record(tmp_path / "stopped", stage)), []
    name = "finish" if at == "finish" else "evaluate"
    do = getattr(stopped, name)

    def die():
        asked.append(at)
        if at != "last" or len(asked) == 2:
            raise Killed
        return do()

    setattr(stopped, name, die)
    with pytest.raises(Killed):
        stopped.train()
    checkpoint = saved(tmp_path / "stopped", stage)
    assert (checkpoint.step, checkpoint.state["done"]) == (2 if at == "middle" else 4, False)
    assert len(lines(tmp_path / "stopped")[0]) == checkpoint.step - 1  # its line is still to come
    resumed = trainer(stage, tiny_models(), record(tmp_path / "stopped", stage))
    if at != "middle":
        resumed.collect = None  # would fail when touched
    resumed.train()
    ends_like(tmp_path, whole, resumed)


def test_killed_before_the_stage_is_done_no_line_comes_twice(tiny_models, tmp_path):
    whole = trainer("sft", tiny_models(), record(tmp_path / "whole", "sft"))
    whole.shown = [examples()[0].prompt(0)]
    whole.train()
    stopped = trainer("sft", tiny_models(), record(tmp_path / "stopped", "sft"))
    stopped.shown, save = whole.shown, stopped.record.checkpoints.save

    def die(step, tensors, state, writers):
        if state["done"]:
            raise Killed
        return save(step, tensors, state, writers)

    stopped.record.checkpoints.save = die
    with pytest.raises(Killed):
        stopped.train()
    assert lines(tmp_path / "stopped") == lines(tmp_path / "whole")  # all is written but that the stage is done
    resumed = trainer("sft", tiny_models(), record(tmp_path / "stopped", "sft"))
    resumed.shown = whole.shown
    resumed.train()
    ends_like(tmp_path, whole, resumed)


@pytest.mark.parametrize("at", [2, 4])
def test_ctrl_c_while_it_evaluates_stops_at_once(tiny_models, tmp_path, monkeypatch, at):
    """Between two passes, though nothing was due to be saved; what goes on evaluates first."""
    whole = trainer("sft", tiny_models(), record(tmp_path / "whole", "sft", 100), token_budget=64)
    whole.validation = examples()
    whole.train()
    stopped = trainer("sft", tiny_models(), record(tmp_path / "stopped", "sft", 100), token_budget=64)
    stopped.validation = examples()
    passes, score, evaluate = [], sft.reply_logprobs, stopped.evaluate

    def press(*arguments):
        if passes and len(passes) == at // 2 and passes[-1] == 0:  # in the first pass of this evaluation
            os.kill(os.getpid(), signal.SIGINT)
        if passes:
            passes[-1] += 1
        return score(*arguments)

    def begin():
        passes.append(0)
        try:
            return evaluate()
        finally:
            seen.append(passes[-1])

    seen = []
    monkeypatch.setattr(sft, "reply_logprobs", press)
    stopped.evaluate = begin
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    assert seen == {2: [1], 4: [3, 1]}[at]  # three rows are three passes
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.undo()
    checkpoint = saved(tmp_path / "stopped", "sft")
    assert (checkpoint.step, checkpoint.state["done"]) == (at, False)
    resumed = trainer("sft", tiny_models(), record(tmp_path / "stopped", "sft", 100), token_budget=64)
    resumed.validation = examples()
    resumed.train()
    ends_like(tmp_path, whole, resumed)


@pytest.mark.parametrize("stage", ["ppo", "reward"])
def test_ctrl_c_while_replies_are_sampled_stops_at_the_next_token(tiny_models, tmp_path, monkeypatch, stage):
    """PPO: in the rollout of the third step, before which nothing was due to be saved. Reward: of those it is normalised on."""
    whole = trainer(stage, tiny_models(), record(tmp_path / "whole", stage, 100))
    whole.train()
    stopped = trainer(stage, tiny_models(), record(tmp_path / "stopped", stage, 100))
    where = "collect" if stage == "ppo" else "finish"
    begin, choose, tokens, calls = getattr(stopped, where), engine.sample_token, [], []

    def press(*arguments, **more):
        if calls and calls[-1] in (2, "now"):
            tokens.append(1)
            if len(tokens) == 2:
                os.kill(os.getpid(), signal.SIGINT)
        return choose(*arguments, **more)

    monkeypatch.setattr(engine, "sample_token", press)
    setattr(stopped, where, lambda step="now": calls.append(step) or (begin(step) if stage == "ppo" else begin()))
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    assert len(tokens) == 2
    monkeypatch.undo()
    checkpoint = saved(tmp_path / "stopped", stage)
    assert (checkpoint.step, checkpoint.state["done"]) == (2 if stage == "ppo" else 4, False)
    resumed = trainer(stage, tiny_models(), record(tmp_path / "stopped", stage, 100))
    resumed.train()
    ends_like(tmp_path, whole, resumed)


def test_ctrl_c_in_an_update_ends_the_step(tiny_models, tmp_path):
    """And nothing inside of it, though replies are sampled and rows read there too."""
    stopped = trainer("dpo", tiny_models(), record(tmp_path, "dpo", 100))
    minibatches = stopped.minibatches

    def press(batch, step):
        os.kill(os.getpid(), signal.SIGINT)
        return minibatches(batch, step)

    stopped.minibatches = press
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    assert (saved(tmp_path, "dpo").step, "waiting" in saved(tmp_path, "dpo").state) == (1, False)
    assert [row["step"] for row in lines(tmp_path)[0]] == [1]


def test_ctrl_c_while_samples_for_pairs_are_drawn(tiny_models, monkeypatch):
    choose, tokens = engine.sample_token, []

    def press(*arguments, **more):
        tokens.append(1)
        os.kill(os.getpid(), signal.SIGINT)
        return choose(*arguments, **more)

    monkeypatch.setattr(engine, "sample_token", press)
    with pytest.raises(KeyboardInterrupt):
        make("reward", tiny_models())
    assert len(tokens) == 1


@pytest.mark.parametrize(
    ("stage", "what"),
    [
        ("sft", "sft: held-out rows: 1/3 (33%)"),
        ("reward", "reward: held-out pairs: 1/"),
        ("dpo", "dpo: held-out pairs, twice: 1/"),
    ],
)
def test_an_evaluation_shows_how_far_it_is(tiny_models, monkeypatch, capsys, stage, what):
    made = trainer(stage, tiny_models(), token_budget=64)
    if stage == "sft":
        made.validation = examples()
    monkeypatch.setattr(logger, "_LINE_EVERY", 0.0)
    made.evaluate()
    assert what in capsys.readouterr().err


def test_the_validation_loss_is_of_some_dialogues_drawn_evenly(tiny_models):
    assert evenly(range(10), 4) == [0, 2, 5, 7] and evenly(range(3), 64) == [0, 1, 2] and evenly([], 64) == []
    first, second, _ = examples()
    made = trainer("sft", tiny_models(), validation_size=2)
    made.validation = [first, first, second, second]
    chosen = made.evaluate()
    made.validation, made.settings = [first, second], made.settings.model_copy(update={"validation_size": 64})
    assert made.evaluate() == chosen
    made.validation = [first, first]
    assert made.evaluate() != chosen


def test_a_stage_without_a_record_can_be_interrupted(tiny_models):
    made = trainer("sft", tiny_models())
    made.evaluate = lambda: os.kill(os.getpid(), signal.SIGINT) or {}
    with pytest.raises(KeyboardInterrupt):
        loop.fit(made)
