"""The table of where time goes: its parts are functions that exist, and nested calls are summed as the profiler gives them."""

from __future__ import annotations

import ast
import cProfile
import pstats
from pathlib import Path

from benchmarks.spent import PARTS, parts_of, table

from selfsame.report import page

SOURCE = Path(page.__file__).resolve().parent.parent


def functions(file):
    """Names of all functions in the files of that name."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in SOURCE.rglob(file)]
    return {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_each_part_is_a_function_of_the_package():
    assert [part for part, (file, name) in PARTS.items() if name not in functions(file)] == []


def test_seconds_of_a_profile(tmp_path):
    profile = cProfile.Profile()
    profile.runcall(lambda: [page.write_report, sorted(range(1000))])
    profile.dump_stats(tmp_path / "profile")
    assert parts_of(pstats.Stats(str(tmp_path / "profile")).stats) == {}
    where = str(SOURCE / "pipeline.py")
    stats = {(where, 1, "_ppo"): (1, 1, 0.5, 7.0, {}), ("/else/pipeline.py", 1, "_ppo"): (1, 1, 0.5, 9.0, {})}
    assert parts_of(stats) == {"PPO": 7.0}


def test_columns_stand_beside_each_other():
    columns = {"demo": {"total": 12.4, "parts": {"PPO": 7.0}}, "cpu": {"total": 20.0, "parts": {"report": 1.6}}}
    assert table({"columns": columns}).splitlines() == [
        "| seconds | demo | cpu |",
        "| --- | ---: | ---: |",
        "| PPO | 7 | – |",
        "| report | – | 2 |",
        "| **all**, with start and loading | 12 | 20 |",
    ]
