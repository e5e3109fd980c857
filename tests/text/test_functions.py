"""Functions of the user: how they are loaded, named and weighed."""

from __future__ import annotations

import pytest

from selfsame.errors import ConfigError
from selfsame.text.functions import digests, load_function, load_functions, weighted_sum
from selfsame.types import Prompt

PROMPTS = [Prompt(("I sing.",), ("Hi.",))] * 2


def write(folder, body, name="mine.py"):
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(body)
    return file


def test_a_file_with_a_dataclass_is_loaded(tmp_path):
    body = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n\n"
        "@dataclass\nclass Scale:\n    by: float = 2.0\n\n\n"
        "def f(prompts, replies, gold):\n    return [Scale().by * len(reply) for reply in replies]\n"
    )
    function = load_function(f"{write(tmp_path, body)}:f")
    assert function(PROMPTS, ["a", "bc"], ["", ""]) == [2.0, 4.0] and function.label == "mine.py:f"


def test_two_functions_of_one_label_are_refused(tmp_path):
    body = "def f(prompts, replies, gold):\n    return [1.0 for _ in replies]\n"
    files = [write(tmp_path / folder, body) for folder in ("one", "two")]
    with pytest.raises(ConfigError, match=r"two functions mine\.py:f"):
        load_functions([f"{file}:f" for file in files])
    assert len(load_functions([f"{files[0]}:f"])) == 1


def test_the_best_is_chosen_by_the_weighted_reward_and_functions(tmp_path):
    file = write(
        tmp_path, "def f(prompts, replies, gold):\n    return [float('nan') if r == 'x' else 3.0 for r in replies]\n"
    )
    total = weighted_sum({f"{file}:f": 2.0}, 0.5)
    assert total is not None and total(PROMPTS, ["x", "y"], [10.0, -2.0]) == [5.0, 5.0]
    assert weighted_sum({}, 0.5) is None


def test_a_digest_follows_the_file(tmp_path):
    name = f"{write(tmp_path, 'def f(): ...')}:f"
    before = digests([name])
    write(tmp_path, "def f(): pass")
    assert before != digests([name]) and list(before) == [name] and digests([]) == {}
