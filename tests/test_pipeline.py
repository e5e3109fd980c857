"""A whole run: killed at any moment and started again it ends with the same adapters, bit for bit."""

from __future__ import annotations

import contextlib
import importlib.resources
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from forked import QUICK, Forked
from selfsame.cli import main
from selfsame.config import load_config
from selfsame.data.loader import DatasetLoader, half, persona_key
from selfsame.errors import ConfigError
from selfsame.rollout.policy import Policy
from selfsame.run.checkpoint import finished
from selfsame.run.directory import RunDirectory
from selfsame.run.files import read_json, read_jsonl, write_json
from selfsame.serve.chat import Conversation
from selfsame.serve.chatbot import load_chatbot
from selfsame.stage_inputs import policy_evaluation
from selfsame.text.violations import VIOLATIONS
from selfsame.training import loop
from selfsame.types import Prompt, clean_persona
from tiny_run import STAGES, adapters, run_arguments

Arguments = Callable[[Path], list[str]]


@pytest.fixture(scope="module")
def arguments(tiny_models: Any) -> Arguments:
    """A run on the bundled dialogues and a tiny base, of a second or two a stage."""
    base = tiny_models()
    return lambda directory: run_arguments(base, directory)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, arguments: Arguments) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "whole"
    assert main(arguments(directory)) == 0
    return directory


@pytest.mark.slow
def test_killed_again_and_again_it_ends_the_same(whole, tmp_path, arguments):
    directory, draw, ends = tmp_path / "killed", random.Random(0), []
    moments = sorted(draw.sample(range(1, 8 + 6 + 6 + 6 + 6), 6))  # so many steps and evaluations are done

    def done() -> int:
        rows = read_jsonl(directory / "metrics.jsonl")[0] if (directory / "metrics.jsonl").exists() else ()
        return len(rows) + len(list(directory.glob("eval/*.json")))

    with Forked(tmp_path / "errors", QUICK) as forked:
        for moment in moments:
            process, began = forked.start(arguments(directory)), time.monotonic()
            while done() < moment:
                assert Path(f"/proc/{process}").exists() and time.monotonic() - began < 300, forked.errors.read_text()
                time.sleep(0.01)
            time.sleep(draw.uniform(0, 0.5))
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            ends.append(forked.wait())
        forked.start(arguments(directory))
        assert forked.wait() == 0, forked.errors.read_text()[-2000:]
    assert ends.count(-signal.SIGKILL) >= 3
    expected, found = adapters(whole), adapters(directory)
    assert len(expected) > 100 and expected.keys() == found.keys()
    assert [name for name, value in expected.items() if found[name] != value] == []
    steps = [[(r["stage"], r["step"]) for r in read_jsonl(d / "metrics.jsonl")[0]] for d in (whole, directory)]
    assert steps[0] == steps[1] and len(steps[0]) == 8 + 6 + 6 + 6


def test_a_run_holds_what_the_design_says(whole):
    for name in ("config.yaml", "environment.json", "metrics.jsonl", "samples.jsonl", "cost.json", "report.html"):
        assert (whole / name).stat().st_size > 0, name
    systems = ("base", "dpo", "ppo", "ppo_best_of_n", "sft", "sft_best_of_n")
    assert sorted(p.name for p in (whole / "eval").glob("*.json")) == [f"{name}.json" for name in systems]
    for name in systems:
        record = json.loads((whole / "eval" / f"{name}.json").read_text())
        assert set(record["references"]) == {"gold", "no_persona", "persona_recited", "random_persona", "other_reply"}
        assert record["metrics"]["consistency"]["count"] == record["items"] == 8
        assert record["selfplay"]["items"] == len(record["selfplay"]["samples"]) == 3
    logged = [r for r in read_jsonl(whole / "metrics.jsonl")[0] if r["stage"] == "ppo"]
    wanted = "kl kl_coef reward advantage clip_fraction explained_variance reply_length skipped_steps entropy"
    assert all(name in row for row in logged for name in wanted.split())
    assert all(
        0 <= row[violation] <= 1 for row in logged for violation in VIOLATIONS if violation != "off_topic_grounding"
    )  # all prompts call
    assert [row["step"] for row in logged if "eval_consistency" in row] == [2, 4, 6]
    assert {r["stage"] for r in read_jsonl(whole / "samples.jsonl")[0]} == set(STAGES)
    seconds = json.loads((whole / "cost.json").read_text())["seconds"]
    assert all(seconds[name] > 0 for name in ("data", "base", *STAGES, "evaluate"))
    assert list(whole.rglob("*.pt")) == list(whole.rglob("*.bin")) == list(whole.rglob("*.pkl")) == []


def test_the_half_that_is_reported_is_not_the_half_of_the_evaluation_in_training(whole):
    config = load_config(whole / "config.yaml")
    held_out = DatasetLoader(config.data).load().validation
    reported = {
        persona_key(clean_persona(row["persona"]))
        for row in json.loads((whole / "eval/sft.json").read_text())["replies"]
    }
    halves = [{persona_key(e.persona) for e in half(held_out, which)} for which in ("dev", "test")]
    assert reported <= halves[1] and not halves[0] & halves[1] and halves[0]
    watch = policy_evaluation(config, held_out)
    assert watch is not None and {persona_key(item.prompt.persona) for item in watch.items} <= halves[0]


def test_runs_with_other_seeds_meet_the_same_prompts(whole, tmp_path, arguments):
    command = " ".join(arguments(tmp_path / "other")).replace("sft reward ppo dpo evaluate", "evaluate").split()
    assert main([*command, "--seed", "7"]) == 0
    rows = [json.loads((d / "eval/base.json").read_text())["replies"] for d in (whole, tmp_path / "other")]
    prompts = [[(row["dialogue"], row["persona"], row["history"]) for row in side] for side in rows]
    assert prompts[0] == prompts[1] and prompts[0]
    assert [row["reply"] for row in rows[0]] != [row["reply"] for row in rows[1]]


def test_the_same_command_again_changes_no_weights_and_no_numbers(whole, arguments):
    before = adapters(whole)
    stamp = {p: p.stat().st_mtime_ns for p in whole.rglob("*.safetensors")}
    assert main(arguments(whole)) == 0
    assert adapters(whole) == before and {p: p.stat().st_mtime_ns for p in whole.rglob("*.safetensors")} == stamp


def test_every_system_of_a_run_can_speak(whole):
    roles = {system: load_chatbot(str(whole), system).role for system in ("base", "sft", "ppo", "dpo")}
    assert roles == {"base": None, "sft": "sft", "ppo": "policy", "dpo": "policy"}
    best = load_chatbot(str(whole))
    assert best.name.endswith("(ppo)")
    with pytest.raises(ConfigError, match="unknown system"):
        load_chatbot(str(whole), "grpo")
    conversation = Conversation(
        Policy(best.roles, best.role, best.config.sampling), clean_persona(["I have two dogs."])
    )
    replies = [conversation.say("Hi!"), conversation.say("Any pets?")]
    assert conversation.turns == ["Hi!", replies[0], "Any pets?", replies[1]]


def test_an_adapter_folder_is_a_model_too(whole):
    checkpoint = finished(RunDirectory.open(whole), "ppo")
    assert checkpoint is not None
    bot = load_chatbot(str(checkpoint / "policy"))
    same = load_chatbot(str(whole), "ppo")
    ours, theirs = bot.roles.state("policy"), same.roles.state("policy")
    assert theirs.keys() <= ours.keys() and all((ours[n] == theirs[n]).all() for n in theirs)


def test_the_best_of_the_policy_s_replies_is_evaluated(whole):
    bot, record = load_chatbot(str(whole), reward=True), json.loads((whole / "eval/ppo_best_of_n.json").read_text())
    prompts = [Prompt(tuple(row["persona"]), tuple(row["history"])) for row in record["replies"]]
    speak = Policy(bot.roles, "policy", bot.config.sampling, bot.config.seed, best_of=2).generate
    assert speak(prompts) == [row["reply"] for row in record["replies"]]
    assert record["checkpoint"] == json.loads((whole / "eval/ppo.json").read_text())["checkpoint"]
    with pytest.raises(ConfigError, match="is not a run: there is no reward model"):
        load_chatbot("selfsame-9m", reward=True)


def test_only_the_named_systems_are_evaluated(whole, tmp_path, capsys, arguments):
    command = [*arguments(tmp_path / "some"), *f"--run.start-from {whole} --run.stages evaluate --run.systems".split()]
    assert main([*command, "sft_best_of_n", "ppo"]) == main([*command, "ppo", "--run.stages", "evaluate", "ppo"]) == 2
    assert capsys.readouterr().err.count("run.systems: ppo needs the stage ppo, which is neither finished in") == 2
    shutil.rmtree(tmp_path / "some/eval")  # those that the run started from had
    begun = read_json(tmp_path / "some/environment.json")
    write_json(tmp_path / "some/environment.json", begun | {"dtype": "bfloat16"})
    assert main([*command, "sft_best_of_n", "sft"]) == 0
    assert begun["dtype"] == "float32" and "began in bfloat16 and continues in float32" in capsys.readouterr().err
    made = {path.name: read_json(path) for path in (tmp_path / "some/eval").glob("*.json")}
    assert made.keys() == {"sft_best_of_n.json", "sft.json"} and made["sft.json"]["settings"]["best_of"] == 1
    assert made["sft_best_of_n.json"]["replies"] == read_json(whole / "eval/sft_best_of_n.json")["replies"]


def test_ppo_and_dpo_start_from_sft_and_differ(whole):
    run = RunDirectory.open(whole)
    weights = [
        load_file(finished(run, s) / r / "adapter_model.safetensors")
        for s, r in (("sft", "sft"), ("ppo", "policy"), ("dpo", "policy"))
    ]  # type: ignore[operator]
    name = next(n for n in weights[0] if n.endswith("lora_A.weight"))
    assert all(w.keys() == weights[0].keys() for w in weights)
    distances = [float((w[name] - weights[0][name]).abs().max()) for w in weights[1:]]
    assert all(0 < d < 0.1 for d in distances) and distances[0] != distances[1]


def test_damaged_weights_and_records_are_noticed_wherever_they_are_used(whole, tmp_path, capsys, arguments):
    directory = tmp_path / "damaged"
    shutil.copytree(whole, directory)
    record = directory / "reward.json"
    record.write_text(record.read_text().replace('"pairs": 12', '"pairs": 13'))
    assert main(arguments(directory)) == 2  # though all is finished
    assert "reward.json is damaged (its hash differs from the one stored)" in capsys.readouterr().err
    file = sorted(directory.glob("checkpoints/sft/step-*/sft/adapter_model.safetensors"))[-1]
    content = bytearray(file.read_bytes())
    content[-100:] = bytes(100)
    file.write_bytes(content)
    shutil.rmtree(directory / "checkpoints" / "reward")
    chat = ["chat", "--model", str(directory), "--system", "sft", "--persona", "I sing."]
    for command in (arguments(directory), chat):
        assert main(command) == 2
        assert "adapter_model.safetensors" in capsys.readouterr().err


def test_preferred_by_a_reward_model(whole, tmp_path):
    found = tmp_path / "found.json"
    command = ["compare", f"{whole}:sft", f"{whole}:ppo", f"{whole}:base", "--prefer", str(whole), "--json", str(found)]
    assert main(command) == 0
    content = read_json(found)
    assert [record["system"].split(":")[1] for record in content["preferred"]] == ["ppo", "base"]
    for record in content["preferred"]:
        assert record["wins"] + record["ties"] + record["losses"] == record["prompts"] == 8 and not record["swayed"]
    (note,) = [note for note in content["notes"] if "learned to please" in note]
    assert note.startswith("whole:ppo learned")


def test_a_run_does_not_go_on_with_other_dialogues(whole, tmp_path, capsys, arguments):
    data, directory = tmp_path / "own.jsonl", tmp_path / "run"
    rows = Path(str(importlib.resources.files("selfsame") / "data/demo/dialogues.jsonl")).read_text().splitlines()
    command = ["--data.path", str(data), "--run.stages", "sft"]
    data.write_text("\n".join(rows[:40]))
    assert main([*arguments(directory), *command]) == 0
    data.write_text("\n".join(rows[40:80]))
    assert main([*arguments(directory), *command]) == 2
    assert "holds a run on other dialogues" in capsys.readouterr().err


def test_a_run_starts_from_another_one(whole, tmp_path, capsys, arguments):
    """A variant of PPO shares all that comes before it: weights, curves, costs and evaluations."""
    copy = shutil.copytree(whole, tmp_path / "source")
    marked = read_json(copy / "eval" / "sft.json") | {"mark": "of the source"}
    write_json(copy / "eval" / "sft.json", marked)
    directory, start = tmp_path / "variant", ["--run.start-from", str(copy), "--training.ppo.learning-rate", "0.01"]
    directory.mkdir()  # so that it stays
    assert main([*arguments(directory), *start, "--run.start-from", "nowhere"]) == 2
    interrupted = directory / ".inherited" / "eval"  # a copy that was killed
    interrupted.mkdir(parents=True)
    (directory / "eval").mkdir()
    assert main([*arguments(directory), *start, "--run.stages", "ppo", "evaluate"]) == 0
    run, source = RunDirectory.open(directory), RunDirectory.open(copy)
    assert read_json(run.eval_path("sft")) == marked and not interrupted.exists()
    assert read_json(directory / "inherited.json")["stages"] == ["sft", "reward"]
    for stage, role in (("sft", "sft"), ("reward", "reward"), ("ppo", "policy")):
        one, other = (load_file(finished(r, stage) / role / "adapter_model.safetensors") for r in (run, source))
        assert all(torch.equal(one[name], other[name]) for name in other) == (stage != "ppo")
    for name in ("reward", "eval/base", "eval/sft", "eval/sft_best_of_n"):
        assert (directory / f"{name}.json").read_bytes() == (copy / f"{name}.json").read_bytes()
    assert read_json(run.eval_path("ppo"))["replies"] != read_json(source.eval_path("ppo"))["replies"]
    rows = [[r for r in read_jsonl(r.metrics_path)[0] if r["stage"] in ("sft", "reward")] for r in (run, source)]
    assert rows[0] == rows[1] and len(rows[0]) == 8 + 6
    seconds = [read_json(r.cost_path)["seconds"] for r in (run, source)]
    assert all(seconds[0][stage] == seconds[1][stage] for stage in ("sft", "reward"))
    assert "from " in (said := capsys.readouterr().err) and ": sft, reward" in said

    # Stages that would come out otherwise are trained if they may be, and else the run stops.
    other = ["--training.reward.learning-rate", "0.001"]
    assert main([*arguments(tmp_path / "stops"), *start, *other, "--run.stages", "ppo"]) == 2
    assert "training.reward.learning_rate: there 0.0005, here 0.001" in capsys.readouterr().err
    assert main([*arguments(tmp_path / "trains"), *start, *other, "--run.stages", "reward"]) == 0
    assert finished(RunDirectory.open(tmp_path / "trains"), "reward") is not None
    assert ": sft\n" in capsys.readouterr().err
    assert main([*arguments(tmp_path / "nothing"), *start, "--seed", "1"]) == 2
    assert "has nothing that this run could start from" in capsys.readouterr().err
    again = [*arguments(whole), "--run.start-from", str(copy), "--run.stages", "sft"]
    assert main(again) == 0 and "has stages of its own" in capsys.readouterr().err


def test_what_a_run_does_not_take_over(whole, tmp_path, capsys, arguments):
    """Evaluations with other settings; a stage that is not finished; anything made by other rules."""
    copy = shutil.copytree(whole, tmp_path / "source")
    for name in ("sft", "base"):
        write_json(copy / "eval" / f"{name}.json", read_json(copy / "eval" / f"{name}.json") | {"mark": 1})
    start = ["--run.start-from", str(copy), "--run.stages", "evaluate"]
    directory = tmp_path / "other"
    assert main([*arguments(directory), *start, "--sampling.temperature", "0.9"]) == 0
    assert "mark" not in read_json(directory / "eval" / "sft.json")
    shutil.rmtree(copy / "checkpoints" / "reward")
    assert main([*arguments(tmp_path / "half"), *start[:2], "--run.stages", "ppo"]) == 2
    assert "has not finished the stage reward" in capsys.readouterr().err
    assert not (tmp_path / "half" / "checkpoints").exists()  # so it may be tried again
    write_json(copy / "environment.json", read_json(copy / "environment.json") | {"rules": 1})
    assert main([*arguments(tmp_path / "rules"), *start]) == 2
    assert "mean something else" in capsys.readouterr().err


def test_full_tuning_stopped_again_and_again_it_ends_the_same(tmp_path, monkeypatch, arguments):
    """A whole run with a model for each role: through all stages, evaluated, spoken with."""
    command, update, steps = arguments(tmp_path / "whole"), loop.update, []
    rank = command.index("--model.lora.rank")
    command[rank : rank + 2] = ["--model.tuning", "full"]
    command += [f"--training.{name}=3" for name in ("sft.max-steps", "reward.max-steps", "ppo.steps", "dpo.max-steps")]
    assert main(command) == 0
    command[command.index("--run.directory") + 1] = str(tmp_path / "stopped")

    def stopping(*given):
        steps.append(given[0].name)
        if len(steps) % 3 == 0:  # a checkpoint is due every two steps: some steps are lost, and done again
            raise KeyboardInterrupt
        return update(*given)

    monkeypatch.setattr(loop, "update", stopping)
    codes = [main(command)]
    while codes[-1] == 130 and len(codes) < 20:
        codes.append(main(command))
    assert codes.count(130) > 3 and codes[-1] == 0
    expected, found = adapters(tmp_path / "whole"), adapters(tmp_path / "stopped")
    assert expected.keys() == found.keys() and [name for name, value in expected.items() if found[name] != value] == []
    bot = load_chatbot(str(tmp_path / "whole"))
    assert Conversation(Policy(bot.roles, bot.role, bot.config.sampling), clean_persona(["I have two dogs."])).say(
        "Hi!"
    )
    checkpoint = finished(RunDirectory.open(tmp_path / "whole"), "ppo") or Path()
    same = load_chatbot(str(checkpoint / "policy"))  # a model like any other
    ours, theirs = bot.roles.state("policy"), same.roles.base.state_dict()
    assert all(torch.equal(ours[name], theirs[name].float()) for name in ours if same.roles.dtype == torch.float32)
    assert main(["chat", "--model", str(checkpoint / "value"), "--persona", "I sing."]) == 2
