"""Executes the notebooks in order, each in a kernel of its own, all in one folder: `python notebooks/execute.py` writes their
outputs into them, and beside them `record.json`, what they ought to show by the records of their run; `--folder FOLDER` leaves
them as they are and works there, as a test does, with the settings of `--values FILE` (JSON) instead of the notebooks' own."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from record import differences, make_record

HERE = Path(__file__).resolve().parent
PATHS = tuple(sorted(HERE.glob("[1-9]_*.ipynb")))


def execute(path: Path, folder: Path, values: Mapping[str, Any] | None = None) -> nbformat.NotebookNode:
    """The notebook with its outputs; `folder` is where its kernel works, `values` come after its cell of parameters. Raises
    CellExecutionError where a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    parameters = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    source = parameters.source
    if values:
        parameters.source += f"\nconfig = selfsame.merge_configs(config, {dict(values)!r})"
    client = NotebookClient(notebook, timeout=None, kernel_name="python3", record_timing=False,
                            resources={"metadata": {"path": str(folder)}})  # fmt: skip
    client.execute()
    parameters.source = source
    for cell in notebook.cells:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags"}
    notebook.metadata.pop("widgets", None)  # the state of the chat would be out of date
    return notebook


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to work, and to write the executed notebooks to")
    parser.add_argument("--values", type=Path, help="settings that are merged over those of the notebooks")
    options = parser.parse_args(arguments)
    folder = options.folder or HERE
    values = json.loads(options.values.read_text(encoding="utf-8")) if options.values else None
    records, found = {}, []
    for path in PATHS:
        print(path.name, flush=True)
        notebook = execute(path, folder, values)
        nbformat.write(notebook, folder / path.name)
        records[path.stem] = make_record(path.stem, folder / "runs")
        found += [f"{path.name}: {line}" for line in differences(notebook, records[path.stem])]
    (folder / "record.json").write_text(json.dumps(records, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if found:
        sys.exit("\n".join(["The notebooks do not show what their run recorded:", *found]))


if __name__ == "__main__":
    main()
