"""What the size of the base decides: the table, and that the recipes differ in nothing but size."""

from __future__ import annotations

from pathlib import Path

import pytest
from base_model.settings import ModelShape, load_recipe

from benchmarks import sizes, tilt
from commands import tiny_run
from selfsame.cli import main
from selfsame.model.base import get_model_info
from selfsame.model.roles import load_roles
from selfsame.model.settings import ModelSettings
from selfsame.run.directory import RunDirectory, read_json

ROOT = Path(__file__).resolve().parents[2]


def record(name: str, parameters: int, shares: list[float]) -> dict:
    rows = [
        {"p": p, "telling": p / 2, "tokens": 10, "drawn": False, "dialogue": str(i)} for i, p in enumerate(shares * 10)
    ]
    metrics = {name: {"value": 0.5, "low": 0.4, "high": 0.6} for name in sizes.METRICS}
    return {
        "base": name,
        "parameters": parameters,
        "called": rows,
        "talk": rows,
        "samples": 16,
        "temperature": 0.7,
        "evaluations": {"base": metrics | {"bits_per_byte": {"value": 0.7, "low": 0.65, "high": 0.75}}, "sft": metrics},
    }


def test_what_is_nearer_to_the_goal_has_to_pay_less():
    near, far = record("near", 9_200_000, [0.5, 0.75, 1.0]), record("far", 1_600_000, [0.0, 0.25, 0.5])
    (near_kl, near_factor), (far_kl, far_factor) = (sizes.moved(r, sizes.GOAL) for r in (near, far))
    chance = tilt.chance([row["p"] for row in near["called"]], 16)
    change, kl = tilt.least_kl(chance, sizes.GOAL)
    assert near_kl.value == kl and near_factor.value == tilt.in_talk(near["talk"], 16, change)[1]
    assert near_kl.value < near_kl.high < far_kl.low < far_kl.value
    assert 1 < near_factor.value < near_factor.high < far_factor.low
    for row in near["talk"]:
        row["dialogue"] = "0"  # of one dialogue nothing can be said
    assert sizes.moved(near, sizes.GOAL)[0].low is None
    near = record("near", 9_200_000, [0.5, 0.75, 1.0])
    lines = sizes.table({"sizes": [near, far]}).splitlines()
    assert lines[2].startswith("| far | 1.6 M | 0.700 [0.650, 0.750] | 0.500 [0.400, 0.600] |")
    assert lines[3].startswith("| near | 9.2 M |") and f"| {near_kl.show(2)} | {near_factor.show(3)} |" in lines[3]
    assert "from 30 and 30 prompts, 16 samples of SFT to each at temperature 0.7" in lines[-1]


def test_a_run_without_evaluations_is_refused(tmp_path):
    run = RunDirectory.create(tmp_path / "run", {"seed": 0})
    with pytest.raises(SystemExit, match="has no evaluation of base and sft"):
        sizes.main(["run", str(run.path), "--json", str(tmp_path / "out.json")])


def test_the_smaller_recipe_differs_in_size_alone():
    recipe, small = (load_recipe(ROOT / "base_model" / name) for name in ("recipe.yaml", "recipe-2m.yaml"))
    assert small.shape != ModelShape() and small.model_copy(update={"shape": recipe.shape}) == recipe
    shape = small.shape
    block = 4 * shape.hidden**2 + 3 * shape.hidden * shape.intermediate + 2 * shape.hidden
    assert shape.vocabulary * shape.hidden + shape.layers * block + shape.hidden == 1_590_400


def test_from_a_run_to_the_table(tiny_models, tmp_path, monkeypatch):
    """The number of parameters is the base's, without the adapter on it."""
    monkeypatch.chdir(tmp_path)
    arguments = [*tiny_run("run", tiny_models(), tmp_path / "run"), "--run.stages", "sft", "evaluate"]
    assert main([*arguments, "--data.limit", "80"]) == 0
    sizes.main(["run", "run", "--prompts", "4", "--samples", "2", "--json", "sizes.json"])
    (measured,) = read_json(tmp_path / "sizes.json")["sizes"]
    plain = load_roles(ModelSettings(base=str(tiny_models()), max_length=256)).base
    assert measured["base"] == tiny_models().name
    assert measured["parameters"] == get_model_info(plain).parameters
    assert len(measured["called"]) == 4 and measured["samples"] == 2
    (tmp_path / "page.md").write_text("<!-- results:sizes -->\n<!-- /results:sizes -->\n")
    sizes.main(["table", "sizes.json", "--readme", "page.md"])
    assert f"| {tiny_models().name} | 0.0 M |" in (tmp_path / "page.md").read_text()
