"""`selfsame agreement`, `judge`, `score` and `rank` on files, good and bad."""

from __future__ import annotations

import json
import re

import pytest

from commands import Command, make


@pytest.fixture
def selfsame(capsys, tiny_models):
    return Command(capsys, tiny_models())


def lines(rows):
    return "\n".join(map(json.dumps, rows)) + "\n"


RATED = [
    {"id": f"a{k}", "dialogue": f"d{k // 2}", "persona": ["I have two dogs."], "context": ["Any pets?"],
     "reply": reply, "ratings": {"overall": [k % 5, 3], "uses_persona": [k % 2]}}
    for k, reply in enumerate(["", "?!", "😀", "Я.", "word " * 10_000, "Yes, two dogs.", "No.", "What about you?"] * 2)
]  # fmt: skip


def test_agreement(selfsame, tmp_path):
    file, out = make(tmp_path, "r.jsonl", lines(RATED) + "{\n"), tmp_path / "out.json"
    done = selfsame("agreement", file, "--model", selfsame.model, "--json", out)
    assert done.code == 0 and "ceiling: one person" in done.out and "floor: length" in done.out
    assert f"{file}:17: is not JSON" in done.err
    result = json.loads(out.read_text())
    assert [(t["rating"], t["rows"]) for t in result["tables"]] == [("overall", 16), ("uses_persona", 16)]
    assert result["rejected"] and result["fitted_on"] == {}  # fitted with another model's likelihoods
    assert all(
        row["spearman"]["count"] + row["spearman"]["missing"] == 16 for t in result["tables"] for row in t["scores"]
    )


@pytest.mark.slow
def test_agreement_with_the_bundled_base(selfsame, tmp_path):
    done = selfsame("agreement", make(tmp_path, "r.jsonl", lines(RATED)), "--json", tmp_path / "out.json")
    assert done.code == 0 and "fitted quality of a reply" in done.out and "quality of a dialogue" not in done.out
    assert json.loads((tmp_path / "out.json").read_text())["fitted_on"] == {"fitted quality of a reply": 0}


def test_judge(selfsame, tmp_path):
    rows = [{"premise": "I have two dogs.", "hypothesis": "I have three dogs.", "label": "contradiction"},
            {"premise": "", "hypothesis": "😀", "label": "neutral"}]  # fmt: skip
    done = selfsame("judge", make(tmp_path, "p.jsonl", lines(rows)), "--json", tmp_path / "out.json")
    assert done.code == 0 and "2 pairs, 1 about which it says nothing" in done.out
    assert json.loads((tmp_path / "out.json").read_text())["balanced_accuracy"]["value"] == 1.0
    assert "cannot load the judge" in selfsame("judge", tmp_path / "p.jsonl", "--judge", tmp_path / "none").told


GIVEN = [
    {
        "persona": ["I have two dogs."],
        "context": [f"Any pets, {k}?"],
        "reply": reply,
        "gold": "Two dogs.",
        "system": system,
    }
    for system, replies in (("plain", ["No."] * 12), ("new", ["My dogs!"] * 10 + ["", "word " * 10_000]))
    for k, reply in enumerate(replies)
]


def test_score(selfsame, tmp_path):
    file, out = make(tmp_path, "s.jsonl", lines(GIVEN) + '{"reply": 3}\n'), tmp_path / "out.json"
    done = selfsame("score", file, "--judge", "rules", "--json", out)
    assert done.code == 0 and f"{file}:25: reply is not text but 3" in done.err
    for told in ("new: 12 replies, 1 without a word, 12 dialogues or prompts", "(gold)", "(persona recited)",
                 "(random persona", "Contradictions are judged by rules", "Holm"):  # fmt: skip
        assert told in done.out, told
    assert re.search(r"new - plain, grounding, same prompts: \+0\.833 \[.*\], p 0\.0\d\d, higher", done.out)
    result = json.loads(out.read_text())
    assert list(result["systems"]) == ["plain", "new"] and len(result["replies"]) == 24
    assert result["systems"]["new"]["metrics"]["contradiction"]["missing"] == 1 == len(result["rejected"])
    assert result["replies"][-1]["line"] == 24 and result["replies"][-2]["scores"]["engagement"] is None
    assert "cannot load the judge" in selfsame("score", file, "--judge", tmp_path / "none").told


def test_score_of_systems_without_a_prompt_in_common(selfsame, tmp_path):
    rows = [{"context": [str(k)], "reply": "Hi.", "system": str(k)} for k in range(2)]
    done = selfsame("score", make(tmp_path, "s.jsonl", lines(rows)), "--judge", "rules")
    assert done.code == 0 and "1 and 0 answer no prompt in common." in done.out


def test_rank(selfsame, tmp_path):
    row = {"persona": [], "context": ["Hi"], "candidates": [{"text": t, "group": t} for t in ("Yes.", "No.", "")]}
    file = make(tmp_path, "c.jsonl", lines([row] * 2))
    done = selfsame("rank", file, "--model", selfsame.model, "--json", tmp_path / "out.json")
    assert done.code == 0 and "2 rows, 0 of them not ranked" in done.out
    groups = json.loads((tmp_path / "out.json").read_text())["groups"]
    assert sum(g["first"]["value"] for g in groups.values()) == pytest.approx(1)
    assert "not both" in selfsame("rank", file, "--model", "a", "--run", "b").told
    assert "is not a run" in selfsame("rank", file, "--model", selfsame.model, "--system", "sft").told


def test_rank_of_replies_that_entail_the_persona_are_neutral_or_contradict_it(selfsame, tmp_path):
    """As the offline evaluation with DNLI ranks them: several candidates of each kind, by their lowest loss."""
    groups = {
        "entail": ["two dogs .", "i walk my dogs ."],
        "neutral": ["yes .", "i see ."],
        "contradict": ["no pets ."],
    }
    candidates = [{"text": text, "group": group} for group, texts in groups.items() for text in texts]
    rows = [{"persona": ["i have two dogs ."], "context": [f"any pets {k} ?"], "candidates": candidates[k:] + candidates[:k]}
            for k in range(5)]  # fmt: skip
    done = selfsame("rank", make(tmp_path, "d.jsonl", lines(rows)), "--model", selfsame.model, "--json", tmp_path / "o")
    assert done.code == 0 and all(f"\n{group}: " in done.out for group in groups)
    found = json.loads((tmp_path / "o").read_text())["groups"]
    assert {g: found[g]["chance"] for g in groups} == pytest.approx({"entail": 0.4, "neutral": 0.4, "contradict": 0.2})
    assert sum(found[g]["first"]["value"] for g in groups) == pytest.approx(1)


@pytest.mark.parametrize("command", ["agreement", "judge", "score", "rank"])
def test_files_that_cannot_be_used(selfsame, tmp_path, command):
    assert "no such file" in selfsame(command, tmp_path / "none").told
    assert "no row can be used" in selfsame(command, make(tmp_path, "a.jsonl", "[1]\n")).told
    assert "is empty" in selfsame(command, make(tmp_path, "b.jsonl", "")).told
    assert "does not exist" in selfsame(command, tmp_path / "a.jsonl", "--json", tmp_path / "no" / "out.json").told
    assert "required: FILE" in selfsame(command).told
    with pytest.raises(SystemExit, match="0"):
        selfsame(command, "--help")
