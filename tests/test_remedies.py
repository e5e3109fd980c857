"""Messages that know the cause: each remedy that is named works."""

import json
import re
from typing import Any

import pytest

from commands import Command, make
from selfsame.config import load_config
from selfsame.data.loader import DatasetLoader, half, persona_key
from selfsame.data.pairs import PreferenceGenerator
from selfsame.data.processor import DataProcessor
from selfsame.data.settings import DataSettings
from selfsame.model.base import load_tokenizer
from selfsame.pair_inputs import make_pairs


@pytest.fixture
def selfsame(capsys: pytest.CaptureFixture[str], tiny_models: Any) -> Command:
    return Command(capsys, tiny_models())


def test_the_context_that_is_named_holds_what_was_too_long(selfsame, tmp_path):
    row = {"user1_persona": [], "user2_persona": ["I like words. " * 15], "turns": [[1, "Hm?"], [2, "Words."]]}
    path = make(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for _ in range(8)))
    options = ("--data.path", path, "--data.clean", "false", "--model.max-length")
    answer = selfsame.tiny("sft", tmp_path / "run", *options, "96")
    (named,) = re.findall(r"--model.max-length (\d+)", answer.told)
    assert answer.code == 2 and selfsame.tiny("sft", tmp_path / "run", *options, named).code == 0


def test_no_pair_of_a_held_out_person_is_trained_on(tiny_models, tmp_path):
    """Whichever half of the held-out people is evaluated on."""
    data = DatasetLoader(DataSettings(validation_share=0.4)).load()
    rows = [
        {"persona": side.persona, "prompt": f"{k}, or?", "chosen": f"{k}!", "rejected": "No."}
        for k, side in enumerate([*data.train[:20], *data.validation])
    ]
    own = make(tmp_path, "own.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    config = load_config(values={"pairs": {"path": str(own), "generated": False}, "evaluation": {"split": "dev"}})
    makers = [PreferenceGenerator(part, config.pairs) for part in (data.train, half(data.validation, "dev"))]
    processor = DataProcessor(load_tokenizer(str(tiny_models())), 256)
    train, measured = make_pairs(config, *makers, data.validation, processor)
    held = {persona_key(side.persona) for side in data.validation}
    assert train and held.isdisjoint(persona_key(pair.prompt.persona) for pair in train)
    assert len(measured) > len(held) / 2


def test_other_pairs_are_noticed_on_resume(selfsame, tmp_path):
    rows = [json.dumps({"prompt": f"{k}, or?", "chosen": f"{k}!", "rejected": "No."}) + "\n" for k in range(8)]
    own, options = make(tmp_path, "own.jsonl", "".join(rows)), ("--run.stages", "sft", "reward", "--pairs.path")
    assert selfsame.tiny("run", tmp_path / "run", *options, own).code == 0
    started = selfsame.tiny("run", tmp_path / "run2", *options, make(tmp_path, "b.jsonl", rows[0] * 2 + "".join(rows[1:])),
                            "--run.start-from", tmp_path / "run")  # fmt: skip
    assert started.code == 0, started.told
    make(tmp_path, "own.jsonl", "".join(rows[:6]))
    assert "holds a run on other pairs than" in selfsame.tiny("run", tmp_path / "run", *options, own).told
    make(tmp_path, "own.jsonl", "".join(rows))  # "put the old ones back"
    assert selfsame.tiny("run", tmp_path / "run", *options, own).code == 0


def test_why_there_is_no_pair_and_what_helps(selfsame, tmp_path):
    row = {
        "persona": ["I like words."],
        "turns": [{"speaker": "user", "text": "Hm?"}, {"speaker": "bot", "text": "Yes."}],
    }
    path = make(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for _ in range(8)))
    options = ("--data.path", path, "--data.clean", "false")
    answer = selfsame.tiny("reward", tmp_path / "run", *options)
    assert answer.code == 2 and "in none of its replies does a person use the words of the own persona" in answer.told
    own = make(tmp_path, "own.jsonl", "".join(
        json.dumps({"prompt": f"{k}, or?", "chosen": f"{k}!", "rejected": "No."}) + "\n" for k in range(8)
    ))  # fmt: skip
    assert selfsame.tiny("sft", tmp_path / "run", *options).code == 0  # "train without"
    answer = selfsame.tiny("run", tmp_path / "own", *options, "--run.stages", "sft", "reward", "--pairs.path", own)
    assert answer.code == 0 and "8 preference pairs, 8 of them without a persona" in answer.err + answer.out
    answer = selfsame.tiny("reward", tmp_path / "run2", *options, "--pairs.generated", "false")
    assert answer.code == 2 and "give your own by pairs.path" in answer.told
