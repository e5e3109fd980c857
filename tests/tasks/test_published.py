"""Published numbers: every entry complete, and printed beside ours with a mark where they may not be compared."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path

import pytest

import selfsame.tasks.published as module
from selfsame.tasks.published import EVIDENCE, Published, aligned, beside, published

ENTRIES = json.loads(Path(module.__file__).with_name("published.json").read_text())
UNITS = {"percent", "share", "perplexity", "correlation", "sum", "rating 1-4", "rating 1-5"}


def test_every_entry_is_complete():
    names = {f.name for f in fields(Published)}
    assert len(ENTRIES) > 100
    for entry in ENTRIES:
        assert set(entry) == names, entry
        texts = names - {"value", "comparable", "persona_version"}
        assert all(isinstance(entry[name], str) and entry[name].strip() for name in texts), entry
        assert entry["persona_version"] is None or entry["persona_version"].startswith("self")
        assert type(entry["value"]) in (int, float) and math.isfinite(entry["value"])
        assert entry["evidence"] in EVIDENCE and type(entry["comparable"]) is bool and entry["unit"] in UNITS
        assert "github.com/" in entry["source"] or "arXiv" in entry["source"] or "." in entry["source"]


def test_no_number_stands_twice_and_none_is_out_of_range():
    keys = [(e["system"], e["benchmark"], e["split"], e["persona_version"], e["metric"]) for e in ENTRIES]
    assert len(set(keys)) == len(keys)
    for p in published():
        if p.unit in ("percent", "share"):
            assert 0 <= p.shown <= 100, p
        if p.metric == "perplexity_word":
            assert not p.comparable  # of another vocabulary


def test_the_rows_beside_ours():
    metrics = {"hits_at_1": "Hits@1", "f1": "F1"}
    rows, why = beside("ConvAI2", "validation", metrics, "ours", {"hits_at_1": 12.34, "f1": math.nan})
    assert rows[:2] == [["system", "personas", "Hits@1", "F1"], ["ours", "", "12.3", "–"]]
    by_name = {(row[0], row[1]): row[2:] for row in rows}
    assert by_name["Hugging Face (TransferTransfo)", "self"] == ["82.1", "19.1"]
    assert by_name["Poly-encoder, pre-trained on Reddit", "self, original"] == ["89.4", "–"]
    revised = by_name["P2 Bot, released checkpoint", "self, revised"][0]
    assert revised.startswith("68.8 *") and f"{revised.split()[1]} not comparable: of revised personas" in "\n".join(
        why
    )
    assert all(line.startswith(f"*{k} not comparable: ") for k, line in enumerate(why, start=1))
    assert not any("hidden test" in line for line in why)
    table = aligned(rows).splitlines()
    assert len(table) == len(rows) and table[1].startswith("ours ")


def test_a_split_that_nobody_published():
    assert beside("ConvAI2", "none", {"f1": "F1"}, "ours", {"f1": 1.0}) == (
        [["system", "personas", "F1"], ["ours", "", "1.0"]],
        [],
    )


@pytest.mark.parametrize(("unit", "shown"), [("share", 50.0), ("percent", 0.5), ("perplexity", 0.5)])
def test_shares_are_shown_in_percent(unit, shown):
    assert Published("s", "b", "v", None, "m", "d", unit, 0.5, "x", "R", True, "y").shown == shown
