"""The notebooks: they define nothing, are committed with their outputs, and run from scratch, in order."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import execute
import pytest
from record import differences

from forked import QUICK
from selfsame.run.directory import RunDirectory
from selfsame.run.files import read_json

ROOT = Path(__file__).resolve().parent.parent
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [
    "1_setup_and_eda",
    "2_baseline_testing",
    "3_sft_training",
    "4_reward_and_ppo",
    "5_evaluation",
    "6_analysis_demo",
]


def code_cells(path: Path) -> list[dict]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def outputs_of(path: Path) -> list[dict]:
    return [output for cell in code_cells(path) for output in cell["outputs"]]


def test_there_are_six_with_one_cell_of_parameters():
    assert [path.stem for path in PATHS] == NAMES
    parameters = {
        source(cell) for path in PATHS for cell in code_cells(path) if "parameters" in cell["metadata"].get("tags", [])
    }
    assert len(parameters) == 1
    assert all("parameters" in code_cells(path)[0]["metadata"]["tags"] for path in PATHS)


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_they_import_selfsame_and_define_nothing(path):
    tree = ast.parse("\n".join(map(source, code_cells(path))))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    assert [node for node in ast.walk(tree) if isinstance(node, kinds)] == []
    imported = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert [ast.unparse(node) for node in imported] == ["import selfsame", "from selfsame import show"]


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_they_are_committed_executed(path):
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for output in outputs_of(path)}
    assert "error" not in kinds and len(outputs_of(path)) >= 3
    said = path.read_text(encoding="utf-8")
    assert str(ROOT) not in said and "/tmp/" not in said and "\\u001b[" not in said  # no paths, no terminal's colours
    assert path.stat().st_size < 800_000


RECORD = ROOT / "notebooks" / "record.json"


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_they_show_what_their_run_recorded(path):
    assert RECORD.exists(), "they were executed before there was a record: make notebooks"
    record = json.loads(RECORD.read_text(encoding="utf-8"))[path.stem]
    assert differences(json.loads(path.read_text(encoding="utf-8")), record) == []


def small(model: Path) -> dict:
    """Settings with which all six take a minute or two, most of it imports."""
    few = {"max_steps": 2, "batch_size": 4}
    return {
        "model": {"base": str(model), "max_length": 256},
        "pairs": {"count": 20, "validation_count": 10},
        "sampling": {"max_new_tokens": 8},
        "training": {
            "sft": few | {"learning_rate": 0.02},  # so that it answers otherwise than the base
            "reward": few | {"normalise_samples": 4, "comparison_samples": 2},
            "ppo": {"steps": 4, "prompts_per_step": 2, "samples_per_prompt": 2, "max_new_tokens": 8, "eval_size": 8},
        },
        "evaluation": {
            "consistency_size": 44,
            "engagement_size": 8,
            "perplexity_size": 4,
            "selfplay_size": 2,
            "selfplay_turns": 4,
            "resamples": 100,
            "judge": "rules",
            "model": "selfsame-9m",
        },
    }


@pytest.mark.slow
def test_they_run_from_scratch_and_show_what_their_run_recorded(tiny_models, tmp_path, monkeypatch):
    pytest.importorskip("nbclient")
    pytest.importorskip("wandb")
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "quick.py").write_text(QUICK)
    values = tmp_path / "values.json"
    values.write_text(json.dumps(small(tiny_models())))
    execute.main(["--folder", str(tmp_path), "--values", str(values)])  # exits where one shows something else
    made = sorted(tmp_path.glob("*.ipynb"))
    assert [path.stem for path in made] == NAMES
    for path in made:
        assert list(map(source, code_cells(path))) == list(map(source, code_cells(ROOT / "notebooks" / path.name)))
        assert not any(output["output_type"] == "error" for output in outputs_of(path))
        kinds = {kind for output in outputs_of(path) for kind in output.get("data", {})}
        assert "text/html" in kinds
        lines = [line for output in outputs_of(path) if output["output_type"] == "stream" for line in output["text"]]
        assert len(lines) < 60, path  # a progress bar is one line that changes
    assert len(list((tmp_path / "runs" / "notebook" / "wandb").glob("offline-run-*"))) >= 5  # of the first five
    assert list((tmp_path / "runs" / "notebook-adapters" / "wandb").glob("offline-run-*"))  # of the sixth
    run = RunDirectory.open(tmp_path / "runs" / "notebook")
    assert run.report_path.exists() and all(run.eval_path(system).exists() for system in ("base", "sft", "ppo"))
    assert read_json(run.eval_path("ppo"))["items"] > 40
    assert "savings" not in read_json(run.cost_path)  # they are of two runs, and shown

    # What it is for: replies of the base that are shown as those of SFT, and numbers of another run.
    records = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    third, record = read_json(tmp_path / "3_sft_training.ipynb"), records["3_sft_training"]
    assert differences(third, record) == []
    theirs = records["2_baseline_testing"]["lines"]["the base's replies"].split("\n  ")[1:]
    cells = {name: cell for cell in third["cells"] for name in ("generate_samples", "show.results", "show.dialogues")
             if cell["cell_type"] == "code" and name in source(cell)}  # fmt: skip
    cells["generate_samples"]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "\n    ".join(theirs)}]
    assert [line.partition(":")[0] for line in differences(third, record)] == ["SFT's replies"]
    for name, old, new in (("show.dialogues", ">base<", ">sft<"), ("show.results", ">sft<", ">ppo<")):
        (page,) = (output["data"] for output in cells[name]["outputs"] if "text/html" in output.get("data", {}))
        html = "".join(page["text/html"])
        assert old in html
        page["text/html"] = html.replace(new, ">other<").replace(old, new)
        assert any(line.startswith(name) for line in differences(third, record)), name
