"""The base of a run: found from any folder, after a move by its record or by name, and never another without a word."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from conftest import make_model
from selfsame.errors import ConfigError
from selfsame.model.base import locate_model
from selfsame.model.named import NAMED
from selfsame.model.run_base import base_record, found_base, mark_of, model_of_run, settle_base
from selfsame.model.settings import BUNDLED, ModelSettings
from selfsame.run.directory import RunDirectory
from selfsame.run.files import write_json


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A folder with a base, which is the current one."""
    root = tmp_path / "project"
    make_model(root / "models" / "tiny", "gpt2")
    monkeypatch.chdir(root)
    return root


def start(run: RunDirectory, base: str) -> ModelSettings:
    """Records a run on this base as `pipeline.run` does; returns the settings that were recorded."""
    settings, _ = settle_base(ModelSettings(base=base), run)
    run.path.mkdir(parents=True)
    run.config_path.write_text(yaml.safe_dump({"model": settings.model_dump(mode="json")}))
    write_json(run.environment_path, {"base": base_record(settings.base, run)})
    return settings


def test_a_relative_base_is_found_from_any_folder(project, tmp_path, monkeypatch):
    run = RunDirectory(project / "runs" / "a")
    settings = start(run, "models/tiny")
    assert settings.base == str(project / "models" / "tiny")
    monkeypatch.chdir(tmp_path)
    assert model_of_run(run, settings).base == settings.base


def test_a_project_that_was_moved_as_a_whole_finds_its_base(project, tmp_path, monkeypatch, capsys):
    settings = start(RunDirectory(project / "runs" / "a"), "models/tiny")
    monkeypatch.chdir(tmp_path)
    project.rename(tmp_path / "elsewhere")
    run = RunDirectory(tmp_path / "elsewhere" / "runs" / "a")
    assert model_of_run(run, settings).base == str(tmp_path / "elsewhere" / "models" / "tiny")
    assert capsys.readouterr().err == ""


def test_a_base_that_is_gone_is_named_with_what_helps(project, tmp_path, capsys):
    run = RunDirectory(project / "runs" / "a")
    settings = start(run, "models/tiny")
    moved = (project / "models" / "tiny").rename(tmp_path / "moved")
    with pytest.raises(
        ConfigError, match=r"was the folder .*models/tiny, which is not there: name its new place by --model"
    ):
        model_of_run(run, settings)
    with pytest.raises(ConfigError, match=r"--model\.base: there is no folder \./none in"):
        model_of_run(run, settings, "./none")
    assert model_of_run(run, settings, str(moved)).base == str(moved)
    assert model_of_run(run, settings.model_copy(update={"base": str(moved)})).base == str(moved)  # in config.yaml
    assert capsys.readouterr().err == ""


def test_other_weights_are_used_with_a_word(project, capsys):
    run = RunDirectory(project / "runs" / "a")
    settings = start(run, "models/tiny")
    shutil.copytree(project / "models" / "tiny", project / "other")
    path = project / "other" / "model.safetensors"
    tensors = load_file(path)
    save_file({name: t + torch.ones(()) for name, t in tensors.items()}, path, {"format": "pt"})
    assert mark_of("other") != mark_of("models/tiny") == mark_of(str(project / "models" / "tiny"))
    assert model_of_run(run, settings, "other").base == str(project / "other")
    assert "has other weights than the one that" in capsys.readouterr().err


def test_a_run_resumes_with_its_moved_base_and_refuses_another(project):
    run = RunDirectory(project / "runs" / "a")
    start(run, "models/tiny")
    assert settle_base(ModelSettings(base="models/tiny"), run)[1] == ()
    shutil.copytree(project / "models" / "tiny", project / "copy")
    assert settle_base(ModelSettings(base="copy"), run) == (ModelSettings(base=str(project / "copy")), ("model.base",))
    make_model(project / "other", "llama")
    assert settle_base(ModelSettings(base="other"), run)[1] == ()
    (project / "models" / "tiny").rename(project / "gone")  # the same command, whose folder is gone: named in full
    assert settle_base(ModelSettings(base="models/tiny"), run)[0].base == str(project / "models" / "tiny")


def test_runs_of_earlier_versions_recorded_what_was_typed(project, tmp_path, monkeypatch):
    run = RunDirectory(project / "runs" / "a")
    run.path.mkdir(parents=True)
    run.config_path.write_text(yaml.safe_dump({"model": {"base": "models/tiny"}}))
    assert settle_base(ModelSettings(base="models/tiny"), run)[1] == ("model.base",)
    monkeypatch.chdir(tmp_path)
    assert model_of_run(run, ModelSettings(base="models/tiny")).base == str(project / "models" / "tiny")
    hub = ModelSettings(base="someone/model")
    assert model_of_run(run, hub) == hub


def test_the_package_and_the_cache_are_known_by_name_wherever_they_lie(tmp_path, monkeypatch):
    name = next(iter(NAMED))
    monkeypatch.setenv("SELFSAME_CACHE", str(tmp_path))
    (tmp_path / name).mkdir()
    assert found_base(locate_model(BUNDLED), tmp_path) == BUNDLED
    assert found_base("/other/site-packages/selfsame/model/bundled", tmp_path) == BUNDLED
    assert found_base(str(tmp_path / name), tmp_path) == name == found_base(f"/other/cache/{name}", tmp_path)
    assert json.loads(json.dumps(base_record(BUNDLED, RunDirectory(tmp_path))))["from_run"] is None
