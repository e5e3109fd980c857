"""The guides and the reference in `docs/`: what they name exists, and they are up to date."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from selfsame.config import preset_names, read_config, setting_names

DOCS = Path(__file__).resolve().parents[1] / "docs"
GUIDES = sorted((DOCS / "guides").glob("*.md"))
FLAGS = {"--" + name.replace("_", "-") for name in setting_names()}
OTHERS = {"--wheel", "--preset", "--config", "--gpu", "--gpus", "--hours", "--judge", "--group"}
OTHERS |= {"--model", "--card", "--persona", "--max-new-tokens"}  # of chat
OTHERS |= {"--picture", "--version"}  # of card
OTHERS |= {"--grid", "--by", "--processes", "--dry-run"}  # of sweep
OTHERS |= {"--labels", "--to"}  # of compare and export
OTHERS |= {"--out", "--json", "--readme", "--marker"}  # of data convert, and of what fills a table
OTHERS |= {
    "--characters",
    "--host",
    "--labels",
    "--no-page",
    "--open",
    "--runs",
    "--max-body",
    "--max-chats",
    "--max-seconds",
    "--max-tokens",
    "--max-waiting",
}  # of serve
OTHERS |= {"--enable-lora", "--max-lora-rank", "--max-loras"}  # of vllm serve
OTHERS |= {"--to", "--dtype", "--overwrite", "--push", "--name"}  # of export
OF_TORCHRUN = {"--nproc-per-node", "--nnodes", "--node-rank", "--master-addr", "--max-restarts"}


def test_there_is_a_guide_for_each_kind_of_user():
    assert [path.stem for path in GUIDES] == [
        "cluster", "export", "kaggle", "own-base", "own-data", "own-personas", "page", "serve", "sweep",
    ]  # fmt: skip


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_what_guides_name_exists(path):
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9.-]*[a-z0-9]", text))
    assert named - FLAGS - OTHERS - OF_TORCHRUN == set()
    assert set(re.findall(r"--preset ([\w-]+)", text)) <= set(preset_names())
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (path.parent / link).exists(), link
    for name in re.findall(r"`((?:tests|notebooks|presets|docs)/[\w./-]+)`", text):
        assert (DOCS.parent / name).exists(), name


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_training_commands_of_guides_are_valid(path):
    for command in re.findall(r"(?:selfsame|selfsame\.cli) run (--[^`\n;]+)", path.read_text(encoding="utf-8")):
        assert read_config(shlex.split(command.replace(" ...", "")))[0].run.stages


def test_the_reference_is_up_to_date():
    spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    assert reference.reference() == (DOCS / "api.md").read_text(encoding="utf-8"), "run python docs/reference.py"
