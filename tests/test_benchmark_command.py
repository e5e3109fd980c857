"""`selfsame benchmark` on files, good and bad, with a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import selfsame.tasks.convai2 as protocol
from commands import Command, make, tiny_run
from selfsame.cli import main
from selfsame.tasks.convai2 import unpack

TEXTS = ["i have two dogs .", "yes .", "i drive a night bus .", "hello !", "no ."]
CONVAI2 = "".join(
    f"1 your persona: i have {k} dogs .\n"
    + "".join(f"{n} hi {n} {k} ?\t{TEXTS[(n + k) % 5]}\t\t{'|'.join(TEXTS)}\n" for n in (2, 3))
    for k in range(6)
)
EDITS = json.dumps([
    {"context": ["any pets ?"], "original_response": "no .", "intervening_persona": ["i have a dog ."],
     "references": ["a dog .", "yes , a dog ."]}
] * 3)  # fmt: skip
QUESTIONS = json.dumps({f"A {job}.": {"Persona Consistency": ["Why?", "Who?"]} for job in ("nurse", "chemist", "cook")})


@pytest.fixture
def selfsame(capsys: pytest.CaptureFixture[str], tiny_models: Any) -> Command:
    return Command(capsys, tiny_models())


@pytest.fixture(scope="module")
def run_with_reward(tmp_path_factory: pytest.TempPathFactory, tiny_models: Any) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "reward"
    assert main([*tiny_run("run", tiny_models(), directory), "--run.stages", "sft", "reward"]) == 0
    return directory


def convai2(selfsame, folder, *more):
    return selfsame("benchmark", "convai2", make(folder, "v.txt", CONVAI2), "--model", selfsame.model, *more)


def test_convai2(selfsame, tmp_path):
    out = tmp_path / "out.json"
    done = convai2(selfsame, tmp_path, "--replies", 4, "--json", out)
    assert done.code == 0
    for part in ("12 examples of 6 dialogues", "Hits@1 of 5 candidates, by mean", "by summed", "temperature 0.7",
                 "bits per byte", "not the official file", "TransferTransfo", "not comparable"):  # fmt: skip
        assert part in done.out, part
    result = json.loads(out.read_text())
    rows = unpack(result["examples"]["rows"])
    hits = [row["hits_at_1"] for row in rows]
    assert result["metrics"]["hits_at_1"]["value"] == pytest.approx(sum(hits) / 12) and len(hits) == 12
    assert result["metrics"]["f1"]["count"] == 4 == len(result["replies_sampled"])
    assert result["rejected"] == [] and result["official"] is None and result["decoding"]["seed"] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["v.txt", "out.json"] or len(list(tmp_path.iterdir())) == 2


def test_convai2_greedy_some_dialogues_without_replies(selfsame, tmp_path):
    done = convai2(selfsame, tmp_path, "--limit", 2, "--replies", 0)
    assert done.code == 0 and "4 examples of 2 dialogues" in done.out and "F1 of" not in done.out
    done = convai2(selfsame, tmp_path, "--limit", 1, "--temperature", 0, "--detokenize")
    assert done.code == 0 and "temperature 0, " in done.out


def test_convai2_goes_on_where_it_was_stopped(selfsame, tmp_path, monkeypatch):
    whole, out = tmp_path / "whole.json", tmp_path / "out.json"
    monkeypatch.setattr(protocol, "CHUNK", 4)
    assert convai2(selfsame, tmp_path, "--replies", 3, "--json", whole).code == 0
    score, calls = protocol.ConvAI2Protocol.score, []

    def stop(self, examples):
        calls.append(len(examples))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return score(self, examples)

    monkeypatch.setattr(protocol.ConvAI2Protocol, "score", stop)
    stopped = convai2(selfsame, tmp_path, "--replies", 3, "--json", out)
    assert stopped.code == 130 and "run the same command again to resume" in stopped.told and not out.exists()
    assert "another measurement" in convai2(selfsame, tmp_path, "--replies", 2, "--json", out).told
    assert convai2(selfsame, tmp_path, "--replies", 3, "--json", out).code == 0
    assert calls == [4, 4, 4, 4]
    first, second = (json.loads(path.read_text()) for path in (whole, out))
    assert first.pop("seconds") is not None and second.pop("seconds") is None and first == second
    assert not list(tmp_path.glob("*.partial.jsonl"))


def test_lines_that_cannot_be_used_are_told(selfsame, tmp_path):
    file = make(tmp_path, "v.txt", CONVAI2 + "what is this\n")
    done = selfsame("benchmark", "convai2", file, "--model", selfsame.model, "--replies", 0)
    assert done.code == 0 and f"{file}:19: does not begin with a number" in done.err


def test_compare(selfsame, tmp_path):
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    assert convai2(selfsame, tmp_path, "--replies", 2, "--json", one).code == 0
    assert convai2(selfsame, tmp_path, "--replies", 0, "--limit", 3, "--json", other).code == 0
    done = selfsame("benchmark", "compare", one, other, "--json", tmp_path / "c.json")
    assert done.code == 0 and "hits_at_1: +0.000" in done.out and done.out.count(": tie") == 3
    assert {d["count"] for d in json.loads((tmp_path / "c.json").read_text())["differences"]} == {6}
    bad = make(tmp_path, "bad.json", "{}")
    assert "is no result of `selfsame benchmark convai2 --json`" in selfsame("benchmark", "compare", one, bad).told
    assert "no such file" in selfsame("benchmark", "compare", one, tmp_path / "none").told
    result = json.loads(one.read_text())
    result["examples"]["rows"][0] = "1 2 x"
    damaged = make(tmp_path, "damaged.json", json.dumps(result))
    assert "is damaged" in selfsame("benchmark", "compare", one, damaged).told
    strange = make(tmp_path, "strange.json", json.dumps(result | {"md5": "0"}))
    assert "come from different files" in selfsame("benchmark", "compare", one, strange).told


def test_persona_min_edit(selfsame, tmp_path, run_with_reward):
    file, out = make(tmp_path, "e.json", EDITS), tmp_path / "out.json"
    done = selfsame("benchmark", "persona-min-edit", file, "--model", selfsame.model, "--json", out)
    assert done.code == 0 and "3 rows, 6 edits by people" in done.out and "reward" not in done.out
    done = selfsame("benchmark", "persona-min-edit", file, "--run", run_with_reward, "--reward", "--json", out)
    assert done.code == 0 and "reward of the reward model" in done.out
    assert set(json.loads(out.read_text())["preferred"]) == {
        "likelihood", "likelihood_without_persona", "reward", "longer"
    }  # fmt: skip
    assert "--reward needs --run" in selfsame("benchmark", "persona-min-edit", file, "--reward").told


def test_reward_of_a_run_without_one(selfsame, tmp_path):
    file = make(tmp_path, "e.json", EDITS)
    selfsame.tiny("sft", tmp_path / "run")
    told = selfsame("benchmark", "persona-min-edit", file, "--run", tmp_path / "run", "--reward").told
    assert "has no finished reward model" in told


def test_personagym(selfsame, tmp_path):
    file, out = make(tmp_path, "q.json", QUESTIONS), tmp_path / "out.json"
    arguments = ("benchmark", "personagym", file, "--model", selfsame.model, "--json", out)
    done = selfsame(*arguments, "--questions", 1)
    assert done.code == 0 and "3 questions to 3 people" in done.out and "no PersonaScore" in done.out
    result = json.loads(out.read_text())
    assert {"own", "recited", "other", "without_persona"} <= set(result["drawn"]) and "no PersonaScore" in result[
        "note"
    ]
    assert selfsame(*arguments).code == 0 and json.loads(out.read_text())["questions"] == 6
    assert "has no task 'Cooking'" in selfsame(*arguments, "--task", "Cooking").told
    assert "--questions is 0" in selfsame(*arguments, "--questions", 0).told


@pytest.mark.parametrize("name", ["convai2", "persona-min-edit", "personagym"])
def test_files_and_options_that_cannot_be_used(selfsame, tmp_path, name):
    def told(*arguments):
        answer = selfsame("benchmark", name, *arguments)
        assert answer.code == 2 and answer.out == ""
        return answer.told

    assert "no such file" in told(tmp_path / "none")
    assert "is empty" in told(make(tmp_path, "empty", ""))
    assert f"{tmp_path / 'bad'}: " in told(make(tmp_path, "bad", "nonsense\n"))
    good = make(tmp_path, "good", {"convai2": CONVAI2, "persona-min-edit": EDITS, "personagym": QUESTIONS}[name])
    assert "not both" in told(good, "--model", "a", "--run", "b")
    assert "is not a run" in told(good, "--model", selfsame.model, "--system", "sft")
    assert "does not exist" in told(good, "--json", tmp_path / "no" / "out.json")
    assert "required: FILE" in told()
    if name != "persona-min-edit":
        assert "--temperature is -1.0" in told(good, "--model", selfsame.model, "--temperature", -1)
    with pytest.raises(SystemExit, match="0"):
        selfsame("benchmark", name, "--help")


def test_other_words(selfsame, tmp_path):
    assert "required: {convai2," in selfsame("benchmark").told
    assert "invalid choice: 'convai3'" in selfsame("benchmark", "convai3").told
    assert "--limit is 0: give at least 1" in convai2(selfsame, tmp_path, "--limit", 0).told
    assert "'-1' is not a number from 0" in convai2(selfsame, tmp_path, "--replies", -1).told
    no_candidates = make(tmp_path, "n.txt", "1 your persona: i sing .\n2 hi\thello\n")
    assert "no example with candidates" in selfsame("benchmark", "convai2", no_candidates).told
