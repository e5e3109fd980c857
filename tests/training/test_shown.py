"""The held-out prompts that are answered again and again: what is recorded of them, and what people are shown."""

from __future__ import annotations

import re
from html import unescape

import pytest
import torch
from stages import examples, ppo_trainer
from test_loop import make, record, states

from selfsame import DatasetLoader, PreferenceGenerator, show
from selfsame.config import get_default_config
from selfsame.report.page import write_report
from selfsame.report.samples import conversations
from selfsame.run.files import append_jsonl, read_jsonl
from selfsame.training.shown import prompt_id, shown_prompts
from selfsame.types import Prompt

SHOWN = [examples()[0].prompt(1), examples()[1].prompt(0), Prompt(("I paint.", "I have <b>two</b> cats."), ("Hi!",))]


def train(stage, folder, model, shown=SHOWN, **settings):
    made = make(stage, model, record(folder, stage), **settings)
    made.shown = shown
    made.train()
    return made


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_models):
    """SFT, the reward model and PPO, of four and five steps."""
    folder = tmp_path_factory.mktemp("shown") / "run"
    train("sft", folder, tiny_models())
    train("reward", folder, tiny_models(), [])
    train("ppo", folder, tiny_models(), steps=5)
    return folder


def test_they_are_answered_at_the_first_step_the_last_and_some_between(run):
    rows = read_jsonl(run / "samples.jsonl")[0]
    for stage, steps in (("sft", [1, 2, 4]), ("ppo", [1, 2, 4, 5])):
        own = [row for row in rows if row["stage"] == stage]
        assert [row["step"] for row in own] == [step for step in steps for _ in SHOWN]
        assert [row["prompt"] for row in own] == [prompt_id(prompt) for prompt in SHOWN] * len(steps)
        assert [(row["persona"], row["history"]) for row in own[:3]] == [
            (list(p.persona), list(p.history)) for p in SHOWN
        ]
        assert all(isinstance(row["reply"], str) for row in own)
        assert all(isinstance(row["reward"], float) == (stage == "ppo") for row in own)
    assert len({prompt_id(prompt) for prompt in SHOWN}) == 3


@pytest.mark.parametrize("stage", ["sft", "ppo", "dpo"])
def test_to_show_them_changes_nothing_of_the_training(tiny_models, tmp_path, stage):
    settings = {} if stage == "ppo" else {"epochs": 4}
    plain = train(stage, tmp_path / "plain", tiny_models(), [], **settings)
    shown = train(stage, tmp_path / "shown", tiny_models(), **settings)
    assert all(torch.equal(tensor, states(shown)[name]) for name, tensor in states(plain).items())
    values = [
        [{k: v for k, v in row.items() if k != "time"} for row in read_jsonl(tmp_path / name / "metrics.jsonl")[0]]
        for name in ("plain", "shown")
    ]
    assert values[0] == values[1]
    assert not (tmp_path / "plain" / "samples.jsonl").exists() and (tmp_path / "shown" / "samples.jsonl").exists()


def test_replies_are_those_of_the_role_at_that_step(tiny_models, tmp_path):
    made = train("sft", tmp_path, tiny_models())
    last = [row["reply"] for row in read_jsonl(tmp_path / "samples.jsonl")[0] if row["step"] == made.steps]
    assert last == [row["reply"] for row in made.samples()]
    policy = ppo_trainer(tiny_models())
    policy.shown = SHOWN
    assert policy.samples() == policy.samples()
    rewards = policy.reward_model.score(SHOWN, [[row["reply"]] for row in policy.samples()])
    assert [[row["reward"]] for row in policy.samples()] == rewards


def test_the_report_shows_what_was_recorded_and_nothing_else(run):
    """Each row of the section is a row of samples.jsonl: of that stage and step, and to the prompt it stands below."""
    recorded, told = read_jsonl(run / "samples.jsonl")[0], {"sft", "ppo", "dpo"}
    assert any(row["stage"] == "reward" and row["reply"] for row in recorded)
    talks = conversations(recorded)
    assert [(talk.persona, talk.turns[-1].text) for talk in talks] == [(p.persona, p.history[-1]) for p in SHOWN]
    page = write_report(run).read_text()
    section = page[page.index('<section id="samples">') :]
    section = section[: section.index("</section>")]
    blocks = section.split('<div class="traits">')[1:]
    assert len(blocks) == len(SHOWN)
    for prompt, block in zip(SHOWN, blocks, strict=True):
        traits = [unescape(text) for text in re.findall(r'<span class="trait">(.*?)</span>', block)]
        turns = [unescape(text) for text in re.findall(r'<div class="turn \w+">(.*?)</div>', block, re.S)]
        assert (tuple(traits), tuple(turns)) == (prompt.persona, prompt.history)
        rows = re.findall(r'<span class="soft">(\w+) · step (\d+)</span><span class="text">(.*?)</span>', block, re.S)
        assert {stage for stage, _, _ in rows} == {"sft", "ppo"}
        for stage, step, reply in rows:
            known = [
                r for r in recorded if (r["stage"], r["step"], r.get("prompt")) == (stage, int(step), prompt_id(prompt))
            ]
            assert [row["reply"] for row in known] == [unescape(reply)] and stage in told
        order = [(stage, int(step)) for stage, step, _ in rows]
        assert order == [("sft", 1), ("sft", 2), ("sft", 4), ("ppo", 1), ("ppo", 2), ("ppo", 4), ("ppo", 5)]
    assert [len(grid) for grid in show.samples(run).grids] == [8, 8, 8]


def test_rows_of_earlier_versions_are_left_out(tiny_models, tmp_path):
    record(tmp_path, "sft")
    append_jsonl(
        tmp_path / "samples.jsonl", {"stage": "ppo", "step": 1, "persona": ["a"], "history": ["b"], "reply": "c"}
    )
    assert 'id="samples"' not in write_report(tmp_path).read_text()
    assert "nothing recorded" in repr(show.samples(tmp_path))


def test_the_prompts_are_of_held_out_people_and_the_same_each_time():
    config = get_default_config()
    data = DatasetLoader(config.data).load()
    prompts = shown_prompts(PreferenceGenerator(data.validation, config.pairs, 7), 4)
    assert len(set(prompts)) == 4 and {p.persona for p in prompts} <= {e.persona for e in data.validation}
    assert prompts == shown_prompts(PreferenceGenerator(data.validation, config.pairs, 7), 4)
    assert shown_prompts(PreferenceGenerator([], config.pairs, 7), 4) == []
    assert shown_prompts(PreferenceGenerator(data.validation, config.pairs, 7), 0) == []
