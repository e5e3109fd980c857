"""Runs of PPO with other settings, side by side."""

from __future__ import annotations

import json

import pytest
import yaml

from benchmarks import search
from selfsame.errors import RunError


def made(folder, steps, **settings):
    folder.mkdir()
    config = {"run": {"directory": str(folder)}, "training": {"ppo": {"steps": 40, "critic": "none", **settings}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    watch = {f"watch_{name}": 0.5 for name in search.WATCH}
    rows = [{"stage": "sft", "step": 1, "time": 0.0}]
    for step in range(1, steps + 1):
        row = {"stage": "ppo", "step": step, "time": 3.0 * step, "kl": step / 10, "missed": 0.25, "reward": None}
        rows.append(row | (watch | {"watch_consistency": step / 100} if step % 20 == 0 else {}))
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


def test_looks_are_told_by_what_differs(tmp_path, capsys):
    runs = [made(tmp_path / "a", 40, kl_coef=0.2), made(tmp_path / "b", 25, kl_coef=0.2, lam=0.9),
            made(tmp_path / "c", 20, kl_coef=0.4, lam=0.9)]  # fmt: skip
    file = tmp_path / "search.json"
    search.main(["collect", *map(str, runs), "--json", str(file)])
    content = json.loads(file.read_text())
    assert content["runs"]["b"]["settings"] == {"training.ppo.kl_coef": 0.2, "training.ppo.lam": 0.9}
    assert content["runs"]["a"]["seconds_per_step"] == 3 and content["runs"]["b"]["steps"] == 25
    look = content["runs"]["a"]["looks"][1]
    assert look["step"] == 40 and look["kl"] == pytest.approx(3.55) and look["watch_consistency"] == 0.4
    assert look["reward"] is None and look["missed"] == 0.25
    readme = tmp_path / "log.md"
    readme.write_text("<!-- results:search -->\n<!-- /results:search -->\n")
    search.main(["table", str(file), "--readme", str(readme)])
    said = capsys.readouterr().out
    assert "Unless said otherwise: kl coef 0.2, lam 0.9." in said and said.strip() in readme.read_text()
    assert [line.split("|")[1].strip() for line in said.splitlines()[4:]] == ["lam 0.95", "as said", "kl coef 0.4"]
    search.main(["table", str(file), "--at", "20"])
    assert capsys.readouterr().out.count("| 20 |") == 4  # of c the number of steps too


def test_one_run_differs_from_nothing(tmp_path, capsys):
    file = tmp_path / "search.json"
    search.main(["collect", str(made(tmp_path / "a", 20, kl_coef=0.2)), "--json", str(file)])
    search.main(["table", str(file)])
    assert capsys.readouterr().out.startswith("| otherwise | steps |")


def test_a_setting_of_another_stage_is_told_with_the_stage():
    said = search._said({"training.ppo.kl_coef": 1, "training.reward.epochs": 2, "model.lora.rank": 3, "seed": 4})
    assert said == "kl coef 1, reward epochs 2, rank 3, seed 4"


def test_a_run_without_ppo(tmp_path):
    with pytest.raises(RunError, match="no step of PPO"):
        search.collect([made(tmp_path / "a", 0)])
