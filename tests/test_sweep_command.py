"""`selfsame sweep`: which runs, what they share, how it resumes and fails, and its table."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time

import pytest

from commands import Command, snapshot, tiny_run
from evaluated import evaluated_run, evaluation
from selfsame.cli import main
from selfsame.config import load_config
from selfsame.sweep import processes, sweep
from selfsame.sweep.processes import Task, work
from selfsame.sweep.sweep import make_sweep

KL = "training.ppo.kl_coef=0.05,0.2"
LOW, HIGH = [0.0] * 30 + [1.0] * 10, [0.0] * 10 + [1.0] * 30


@pytest.fixture
def selfsame(capsys, tmp_path):
    return Command(capsys, tmp_path)


def made(folder, *grid, by=None, **values):
    config = load_config(values={"run": {"directory": str(folder)} | values.pop("run", {})} | values)
    return make_sweep(config, grid, by, 1)


# --- which runs


def test_runs_are_called_by_what_differs(tmp_path):
    found = made(tmp_path / "s", "training.ppo.kl-coef=0.05,2e-1", "seed=0,1").variants
    assert [v.name for v in found] == [f"kl_coef={kl}_seed={seed}" for kl in (0.05, 0.2) for seed in (0, 1)]
    assert [(v.config.training.ppo.kl_coef, v.config.seed) for v in found] == [(0.05, 0), (0.05, 1), (0.2, 0), (0.2, 1)]
    assert {v.config.evaluation.split for v in found} == {"dev"} and found[3].recipe() == "kl_coef 0.2"
    rates = made(tmp_path / "s", "training.sft.learning_rate=0.1,0.2", "training.ppo.learning_rate=0.1")
    assert rates.variants[0].name == "training.sft.learning_rate=0.1_training.ppo.learning_rate=0.1"
    assert made(tmp_path / "s", KL, evaluation={"split": "all"}).chosen_on == "all"
    best_of = {"run": {"stages": ["sft", "reward", "evaluate"]}, "evaluation": {"best_of": 4}}
    assert len(made(tmp_path / "s", "training.ppo.rewards.repetition=-1,-2", **best_of).variants) == 2
    assert made(tmp_path / "s", KL, evaluation={"split": "test"}).chosen_on == "dev"


def jobs(found):
    return [line.partition(": ")[2] for line in found.lines()[1:]]


@pytest.mark.parametrize(
    ("grid", "run", "expected"),
    [
        ((KL,), {}, ["sft reward evaluate", "sft reward ppo evaluate", "sft reward ppo evaluate, from kl_coef=0.05"]),
        (("seed=0,1",), {}, ["sft reward ppo evaluate"] * 2),
        (("training.reward.max_steps=1,2",), {}, ["sft evaluate", "sft reward ppo evaluate",
                                               "sft reward ppo evaluate, from max_steps=1"]),
        ((KL,), {"start_from": "selfsame-135m", "stages": ("ppo", "evaluate")},
         ["evaluate", "ppo evaluate", "ppo evaluate, from kl_coef=0.05"]),
        ((KL,), {"stages": ("sft", "reward", "ppo")}, ["sft reward", "sft reward ppo",
                                                       "sft reward ppo, from kl_coef=0.05"]),
        ((KL,), {"stages": ("ppo",)}, ["ppo", "ppo"]),
    ],
)  # fmt: skip
def test_what_runs_share_is_trained_by_the_first(tmp_path, grid, run, expected):
    assert jobs(made(tmp_path / "s", *grid, run=run)) == expected


def test_two_levels_of_sharing(tmp_path):
    found = jobs(made(tmp_path / "s", "training.reward.max_steps=1,2", KL))
    first, second = "max_steps=1_kl_coef=0.05", "max_steps=2_kl_coef=0.05"
    assert found[:3] == ["sft evaluate", "sft reward evaluate", f"sft reward evaluate, from {first}"]
    assert [line.partition(", from ")[2] for line in found[3:]] == ["", first, first, second]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "sweep needs --grid"),
        (["--grid", "training.ppo.kl_coef"], "give a setting and its values"),
        (["--grid", "training.ppo.kl_coeff=1,2"], "did you mean --training.ppo.kl-coef?"),
        (["--grid", "training.ppo.kl_coef=0.1,much"], "training.ppo.kl_coef: Input should be a valid number"),
        (["--grid", "run.keep=1,2"], "run.keep changes no bot"),
        (["--grid", "evaluation.split=dev,test"], "evaluation.split changes no bot"),
        (["--grid", KL, KL], "gives training.ppo.kl_coef twice"),
        (["--grid", "training.ppo.kl_coef=0.1,0.10"], "makes the run kl_coef=0.1 twice"),
        (["--grid", "seed=1"], "makes 1 run, 2 to 100 are allowed"),
        (["--grid", f"seed={','.join(map(str, range(101)))}"], "makes 101 runs, 2 to 100 are allowed"),
        (["--grid", KL, "--by", "nicety"], "--by nicety: nothing is called so"),
        (["--grid", KL, "--by", "copying"], "neither more nor less of it is better"),
        (["--grid", KL, "--processes", "0"], "--processes is 0"),
        (["--grid", KL, "--preset", "toy"], "the runs have no stage ppo (run.stages: sft evaluate)"),
        (["--grid", KL, "--training.ppo.step", "3"], "unknown option '--training.ppo.step'"),
    ],
)
def test_what_cannot_be_swept(selfsame, tmp_path, arguments, told):
    answer = selfsame("sweep", *arguments, "--run.directory", tmp_path / "s")
    assert answer.code == 2 and told in answer.told
    assert snapshot(tmp_path) == {}


def test_a_folder_of_something_else(selfsame, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    assert "holds no sweep" in selfsame("sweep", "--grid", KL, "--run.directory", tmp_path / "mine").told
    made(tmp_path / "s", KL).folder.make()
    again = ["sweep", "--run.directory", tmp_path / "s", "--dry-run", "--grid"]
    assert "holds a sweep of training.ppo.kl_coef" in selfsame(*again, "seed=0,1").told
    other = selfsame(*again, KL, "--training.ppo.steps", 9).told
    assert "other settings (training.ppo.steps: stored 60, now 9)" in other
    assert (
        selfsame(*again, "training.ppo.kl_coef=0.05,0.2,0.4", "--run.keep", 1).code == 0
    )  # more values; a free setting


# --- processes


def test_tasks_end_by_themselves_and_say_why(tmp_path):
    ended = []
    tasks = [
        Task("good", "good", ("--version",), tmp_path / "good.log"),
        Task("bad", "bad", ("run", "--preset", "none"), tmp_path / "bad.log"),
        Task("last", "last", ("--version",), tmp_path / "last.log"),
    ]
    work(tasks, 2, lambda task, code, why: ended.append((task.name, code, why)))
    assert {(name, code) for name, code, _ in ended} == {("good", 0), ("bad", 2), ("last", 0)}
    assert next(why for name, _, why in ended if name == "bad").startswith("unknown preset 'none'")
    assert (tmp_path / "good.log").read_text()[0].isdigit()


@pytest.fixture
def program(monkeypatch):
    """Every task runs this program in place of its command."""
    start = processes.start_process

    def use(code):
        monkeypatch.setattr(processes, "start_process", lambda _, *more: start([sys.executable, "-c", code], *more))

    return use


def test_who_is_late_keeps_the_rest_from_starting(tmp_path, program):
    ended = []
    program("raise SystemExit(75)")
    tasks = [Task(name, name, (), tmp_path / name) for name in "ab"]
    work(tasks, 1, lambda task, code, _: ended.append((task.name, code)))
    assert ended == [("a", 75)]


def test_ctrl_c_stops_all_processes(tmp_path, program):
    wait = "import time\nprint('begun', flush=True)\ntry:\n    time.sleep(300)\nexcept KeyboardInterrupt:\n    print('saved')"
    program(wait)
    tasks = [Task(name, name, (), tmp_path / name) for name in "ab"]

    def press():
        until = time.monotonic() + 120
        while time.monotonic() < until and not all(t.log.exists() and t.log.read_text() for t in tasks):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        work(tasks, 2, lambda *_: None)
    assert [task.log.read_text() for task in tasks] == ["begun\nsaved\n"] * 2


# --- the whole, in this process


def here(done, fails=()):
    """In place of `work`: commands run in this process, and those of some runs fail."""

    def run(tasks, count, ended):
        for task in tasks:
            done.append(task.key)
            code = 2 if task.name in fails else main(list(task.arguments))
            ended(task, code, "out of luck" if code else "")

    return run


def test_a_sweep_shares_resumes_and_reports(selfsame, tmp_path, tiny_models, monkeypatch):
    done: list[str] = []
    monkeypatch.setattr(sweep, "work", here(done))
    folder = tmp_path / "s"
    command = [
        *tiny_run("sweep", tiny_models(), folder), *["--data.validation-share", "0.5", "--run.stages", "sft", "evaluate"],
        *["--evaluation.selfplay-size", "0", "--by", "perplexity", "--grid", "sampling.temperature=0.5,1.5"],
    ]  # fmt: skip
    answer = selfsame(*command)
    assert answer.code == 0, answer.err
    first, second = "temperature=0.5", "temperature=1.5"
    assert done == [f"{first}: sft evaluate", f"{second}: sft evaluate", f"{first}: other half"]
    assert json.loads((folder / second / "inherited.json").read_text())["source"] == str(folder / first)
    record = json.loads((folder / "results.json").read_text())
    one, other = (s["evaluation"]["metrics"]["perplexity"]["value"] for s in record["systems"].values())
    assert one == other and record["by"] == "perplexity" and record["best"] == f"{first}:sft"  # the same SFT
    assert record["reported"][first]["perplexity"]["value"] != pytest.approx(one)  # other people
    assert f"Best by perplexity: {first}:sft, of 2." in answer.out and "on the other half" in answer.out
    assert f"| {first}:sft |" in (folder / "results.md").read_text()
    before = snapshot(folder)
    assert selfsame(*command).code == 0 and len(done) == 3  # nothing is done twice
    assert snapshot(folder) == before


def finished_sweep(folder, hits, fails=()):
    """A sweep of the KL coefficient and two seeds with made-up records."""
    found = made(folder, KL, "seed=0,1")
    found.folder.make()
    for variant in found.variants:
        if variant.name not in fails:
            kl, seed = variant.config.training.ppo.kl_coef, variant.config.seed
            evaluated_run(folder / variant.name, {"ppo": evaluation(hits[kl])}, seed=seed)
    return found


def test_seeds_are_one_row_and_the_best_stands_first(tmp_path, monkeypatch):
    def evaluate(tasks, _, ended):
        for task in tasks:
            if task.arguments[0] == "evaluate":
                (tmp_path / "s/other_half" / f"{task.name}.json").write_text(json.dumps(evaluation(LOW)))
            ended(task, 0, "")

    monkeypatch.setattr(sweep, "work", evaluate)
    found = finished_sweep(tmp_path / "s", {0.05: LOW, 0.2: HIGH})
    found.run()
    text = " ".join(found.results().split())
    assert "Best by consistency: kl_coef 0.2 (2 seeds), of 2." in text
    assert "kl_coef 0.2 (2 seeds) 0.750 (0.750 to 0.750)" in text and "0.250 (0.250 to 0.250), lower" in text
    assert "kl_coef 0.05 (2 seeds) - kl_coef 0.2 (2 seeds), consistency" in text and ": -0.500" in text
    assert "kl_coef=0.2_seed=1 0.250" in text and "kl_coef=0.05_seed=1 " not in text


def test_a_run_that_fails_leaves_the_others(selfsame, tmp_path, monkeypatch):
    done: list[str] = []

    def some(tasks, _, ended):
        for task in tasks:
            done.append(task.key)
            ended(task, 2 if task.name == "seed=0_kl_coef=0.05" else 0, "out of luck")

    monkeypatch.setattr(sweep, "work", some)
    answer = selfsame(
        "sweep", "--grid", "seed=0,1", KL, "--run.directory", tmp_path / "s", "--run.stages", "sft", "ppo"
    )
    assert (
        answer.code == 2 and "2 of 4 runs failed" in answer.told and "The same command tries them again" in answer.told
    )
    assert "seed=0_kl_coef=0.05: out of luck" in answer.err.replace("\n", " ")
    assert "not started, since it starts from seed=0_kl_coef=0.05, which failed" in answer.err.replace("\n", " ")
    assert done == [f"seed={seed}_kl_coef=0.05: sft" for seed in (0, 1)] + [
        f"seed=1_kl_coef={kl}: sft ppo" for kl in (0.05, 0.2)
    ]
