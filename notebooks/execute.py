"""Executes the notebooks in order, each in a kernel of its own, all in one folder: `python notebooks/execute.py` writes their
outputs into them; `--folder FOLDER` leaves them as they are and works there, as a test does."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
PATHS = tuple(sorted(HERE.glob("[1-9]_*.ipynb")))


def execute(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs; `folder` is where its kernel works. Raises CellExecutionError where a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=None, kernel_name="python3", record_timing=False,
                            resources={"metadata": {"path": str(folder)}})  # fmt: skip
    client.execute()
    for cell in notebook.cells:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags"}
    notebook.metadata.pop("widgets", None)  # the state of the chat would be out of date
    return notebook


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to work, and to write the executed notebooks to")
    options = parser.parse_args(arguments)
    for path in PATHS:
        print(path.name, flush=True)
        notebook = execute(path, options.folder or HERE)
        nbformat.write(notebook, (options.folder or HERE) / path.name)


if __name__ == "__main__":
    main()
