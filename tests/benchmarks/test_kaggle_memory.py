"""The stand-in for two T4, on a tiny model: a record where the memory is enough, an error and no record where it is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import kaggle

ROOT = Path(__file__).resolve().parents[2]


def measure(*options: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the limit holds for the process that sets it and all that it starts."""
    command = [sys.executable, "-m", "benchmarks.kaggle", "--shape", "tiny", *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_a_limit_is_kept_or_the_run_fails(tmp_path):
    record, guide = tmp_path / "enough.json", tmp_path / "guide.md"
    done = measure("--json", str(record))
    assert done.returncode == 0, done.stderr
    made = json.loads(record.read_text())
    assert [row["stage"] for row in made["steps"]] == ["sft", "reward", "ppo"] and made["dtype"] == "float16"
    assert 0.2 < made["peak_gib_of_the_first_process"] < made["limit_gib"] == 15
    too_little = measure("--gib", "0.3", "--json", str(tmp_path / "too-little.json"))
    assert too_little.returncode != 0 and "MemoryError" in too_little.stderr
    assert not (tmp_path / "too-little.json").exists()
    guide.write_text("<!-- results:kaggle -->\n<!-- /results:kaggle -->\n")
    kaggle.main(["--json", str(record), "--readme", str(guide)])
    assert "| tiny | 2 | 15 GiB |" in guide.read_text()
