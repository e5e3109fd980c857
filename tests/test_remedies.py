"""Messages that know the cause: each remedy that is named works."""

import json
import re
from typing import Any

import pytest

from commands import Command, make


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
