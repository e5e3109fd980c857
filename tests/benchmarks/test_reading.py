"""Blind sheets and what two readers make of them."""

from __future__ import annotations

import json
import math

import pytest

from benchmarks import reading
from selfsame.run.directory import RunDirectory
from selfsame.run.files import read_json, write_json


def row(k, reply, score):
    history = ["Hi!", "Hello.", f"Question {k}?"]
    return {
        "dialogue": f"d{k}", "persona": ["I sing."], "history": history, "gold": f"gold {k}", "reply": reply,
        "scores": {"in_character": score},
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    run = RunDirectory.create(tmp_path / "run", {"seed": 0})
    write_json(run.eval_path("base"), {"talk": [row(k, f"base {k}", 0.0) for k in range(8)]})
    write_json(run.eval_path("ppo"), {"talk": [row(k, f"ppo {k}", 1.0 if k else None) for k in range(8)]})
    reading.main(["sheet", str(run.path), "--out", str(tmp_path / "out"), "--count", "6"])
    return tmp_path / "out"


def test_the_sheet_is_blind_and_the_key_has_no_text_of_the_data(folder):
    rows = [json.loads(line) for line in (folder / "sheet.jsonl").read_text().splitlines()]
    key = read_json(folder / "key.json")
    assert len(rows) == len(key) == 18 and [r["id"] for r in rows] == list(range(18))
    assert all(set(r) == {"id", "persona", "history", "reply"} for r in rows)
    systems = [key[str(r["id"])]["system"] for r in rows]
    assert sorted(systems) == ["base"] * 6 + ["people"] * 6 + ["ppo"] * 6 and systems != sorted(systems)
    for r in rows:
        kind = {"people": "gold"}.get(key[str(r["id"])]["system"], key[str(r["id"])]["system"])
        assert r["reply"].startswith(kind)
    text = (folder / "key.json").read_text()
    assert "gold" not in text and "I sing" not in text and "Question" not in text


def test_two_readers_are_compared_with_each_other_and_with_the_scores(folder, capsys):
    key = read_json(folder / "key.json")
    good = {name: entry["system"] != "base" for name, entry in key.items()}
    odd = next(name for name, entry in key.items() if entry["system"] == "base")
    for name, flips in (("one", ()), ("two", (odd,))):
        lines = [{"id": int(k), "acceptable": v != (k in flips), "in_character": v} for k, v in good.items()]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    arguments = [
        "agree",
        str(folder),
        str(folder / "one.jsonl"),
        str(folder / "two.jsonl"),
        "--json",
        str(folder / "r.json"),
    ]
    reading.main(arguments)
    found = read_json(folder / "r.json")
    assert found["systems"]["ppo"]["acceptable"]["value"] == 1.0
    assert found["systems"]["base"]["acceptable"]["value"] == pytest.approx(0.5 / 6)
    assert found["kappa"]["in_character"] == 1.0 and 0.8 < found["kappa"]["acceptable"] < 1.0
    assert found["kappa"]["scores and readers, in character"] == 1.0
    assert found["counted_in_character"]["acceptable"]["value"] == 1.0
    assert "counted in character" in capsys.readouterr().out
    page = folder / "page.md"
    page.write_text("<!-- results:reading -->\n<!-- /results:reading -->\n")
    reading.main([*arguments, "--readme", str(page), "--brief", "ppo", "base"])
    rows = page.read_text().splitlines()
    assert rows[1] == "| speaker | ppo | base |" and rows[3].startswith("| acceptable replies | 1.00 [")
    assert "0.08 [" in rows[3] and f"18 replies, kappa {found['kappa']['acceptable']:.2f}" in rows[5]
    with pytest.raises(SystemExit, match=r"--brief toy: .* choose base, people, ppo"):
        reading.main([*arguments, "--readme", str(page), "--brief", "toy"])


def test_kappa_is_cohens():
    assert reading.kappa([True, True, False, False], [True, False, False, False]) == pytest.approx(0.5)
    assert math.isnan(reading.kappa([True, True], [True, True]))


def test_one_reader_has_no_kappa_with_another(tmp_path, capsys):
    write_json(tmp_path / "key.json", {"0": {"system": "sft", "dialogue": "a", "scores": {"in_character": 1.0}}})
    (tmp_path / "first.jsonl").write_text('{"id": 0, "acceptable": true, "in_character": false}\n')
    reading.main(["agree", str(tmp_path), str(tmp_path / "first.jsonl"), "--json", str(tmp_path / "out.json")])
    result = read_json(tmp_path / "out.json")
    assert set(result["kappa"]) == {"scores and readers, in character"}
    assert result["systems"]["sft"]["acceptable"]["value"] == 1.0 and "kappa, acceptable" not in capsys.readouterr().out
    assert reading.brief(result, ["sft"]).splitlines()[-1].startswith("One reader, 1 replies, in brackets")
    with pytest.raises(SystemExit):
        reading.main(["agree", str(tmp_path), *["first.jsonl"] * 3])
