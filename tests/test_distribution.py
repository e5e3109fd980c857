"""The package as pip sees it: its name (that of the import belongs to another project there), its extras, its entry points."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

from selfsame.run.environment import describe_environment

ROOT = Path(__file__).parents[1]
STRANGERS = re.compile(r"(?<![\w/.-])selfsame\\*\[|pip install[^\n`]*['\" ]selfsame(?=['\"\s`]|$)", re.MULTILINE)


def test_the_distribution_is_not_the_strangers():
    found = importlib.metadata.metadata("selfsame-chat")
    assert found["Name"] == "selfsame-chat"
    assert describe_environment()["versions"]["selfsame"] == importlib.metadata.version("selfsame-chat")


def test_no_page_or_message_says_to_install_the_strangers():
    parts = ("src", "docs", "notebooks", "benchmarks", "base_model", "evaluator_models", "tests")
    paths = [path for part in parts for path in (ROOT / part).rglob("*") if "/.venv" not in str(path)]
    ours = {ROOT / "README.md", ROOT / "CONTRIBUTING.md", *paths} - {Path(__file__)}
    pages = [path for path in ours if path.suffix in (".py", ".md", ".ipynb", ".yaml", ".j2", ".css", ".sh")]
    assert len(pages) > 200
    assert [str(path) for path in pages if STRANGERS.search(path.read_text(encoding="utf-8"))] == []
    for said in ("pip install 'selfsame[hub]'", "(needs `selfsame[quant]`)", "pip install -q selfsame"):
        assert STRANGERS.search(said), said
    for said in (
        "pip install 'selfsame-chat[hub]'",
        "pip install '.[hub]'",
        'install -q "/kaggle/input/selfsame[hub]"',
    ):
        assert not STRANGERS.search(said), said


def test_extras_are_of_code_that_is_there():
    extras = importlib.metadata.metadata("selfsame-chat").get_all("Provides-Extra")
    assert sorted(extras or []) == ["dev", "hub", "languages", "notebooks", "quant", "track", "web"]


def test_python_m_selfsame_is_the_command():
    done = subprocess.run([sys.executable, "-m", "selfsame", "--version"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, importlib.metadata.version("selfsame-chat")), done.stderr
    wrong = subprocess.run([sys.executable, "-m", "selfsame", "nothing"], capture_output=True, text=True, timeout=120)
    assert wrong.returncode == 2 and wrong.stderr.startswith("selfsame: unknown command 'nothing'")


def test_type_checkers_read_the_types_of_the_package():
    """PEP 561: without the marker they take every name for Any."""
    import selfsame

    assert (Path(selfsame.__file__).parent / "py.typed").is_file()
