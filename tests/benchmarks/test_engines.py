"""Records of one shape become rounds of one table."""

from __future__ import annotations

import pytest
from benchmarks.compare import merged, table

CASE = "PPO, 4 replies to a prompt"


def record(commit, ours, theirs, **options):
    made = {"peak_memory": 2**30, "dtype": "bfloat16"}
    rows = [
        {"case": CASE, "engine": engine, "round": 0, "seconds": [seconds], **made}
        for engine, seconds in (("ours", ours), ("default", theirs))
    ]
    return {
        "shape": "10m", "threads": 1, "measurements": rows, "options": {"steps": 2} | options, "gemm": {"bfloat16": 1e11},
        "work": {CASE: 32}, "flops": {CASE: 1e11}, "environment": {"git": {"commit": commit}},
    }  # fmt: skip


def test_rounds_of_several_records():
    one, other = record("a" * 40, 2.0, 20.0), record("b" * 40, 3.0, 18.0)
    text = table(merged([one, other])[0])
    assert "rounds: 2 (commits aaaaaaa, bbbbbbb)" in text
    assert "8.0 [6.0, 10.0]" in text  # the median of the ratios of each round, never a ratio across rounds
    assert len(one["measurements"]) == 2  # what was read stays as it was
    assert "| 10.0 |" in table(merged([one])[0])


def test_the_share_of_the_peak_is_that_of_the_work_which_a_record_counted():
    early, late = record("a", 2.0, 20.0), record("b", 2.0, 20.0) | {"flops": {CASE: 5e10}}
    assert ["| 38% |" in table(merged(records)[0]) for records in ([early, late], [late, early])] == [True, True]


def test_records_that_cannot_be_one_table():
    with pytest.raises(SystemExit, match="different options"):
        merged([record("a", 1, 1), record("b", 1, 1, steps=3)])
    assert len(merged([record("a", 1, 1), record("b", 1, 1) | {"shape": "124m"}])) == 2


def test_number_formats_are_tables_of_their_own():
    both = merged([record("a", 1, 1), record("b", 1, 1, float32=True)])
    assert ["float32 on both sides" in table(one) for one in both] == [False, True]
