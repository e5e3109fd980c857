"""W&B, TensorBoard and trackio, by accelerate's trackers: how each is started, and what it gets besides curves."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_WANDB_TIMEOUT = 30  # seconds; W&B itself would wait for a missing network for 90
_COLUMNS = ("stage", "step", "persona", "history", "reply", "reward")


def make_tracker(name: str, folder: Path) -> Any:
    """The tracker of accelerate, set so that its files lie in the run directory, `folder`, and it never asks for a login."""
    from accelerate import PartialState, tracking

    if not PartialState._shared_state:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise RuntimeError("several processes and no Accelerator yet; make it before the RunLogger")
        PartialState()
    if name == "tensorboard":
        return tracking.TensorBoardTracker("tensorboard", str(folder))
    if name == "trackio":
        os.environ.setdefault("TRACKIO_DIR", str(folder.resolve() / "trackio"))
        return tracking.TrackioTracker("selfsame", name=folder.name)
    if name == "wandb":
        mode = os.environ.get("WANDB_MODE", "online") if os.environ.get("WANDB_API_KEY") else "offline"
        quietly = {"silent": True, "console": "off", "init_timeout": _WANDB_TIMEOUT}
        return tracking.WandBTracker("selfsame", name=folder.name, dir=str(folder), mode=mode, settings=quietly)
    raise ValueError(f"no tracker of that name; known are wandb, tensorboard, trackio (got {name!r})")


def send_rest(
    name: str,
    tracker: Any,
    results: Mapping[str, float],
    samples: Sequence[Mapping[str, Any]],
    pictures: Mapping[str, bytes],
) -> None:
    """What belongs beside curves: results as numbers, samples as a table (TensorBoard: as text), pictures as pictures (trackio:
    none)."""
    if results:
        tracker.log(dict(results))
    table = [[_text(row.get(column)) for column in _COLUMNS] for row in samples]
    if name == "wandb":
        tracker.log_table("samples", list(_COLUMNS), table)
        tracker.log_images({f"plots/{title}": [_image(png)] for title, png in pictures.items()})
    elif name == "tensorboard":
        import numpy as np

        rows = [_COLUMNS, ["---"] * len(_COLUMNS), *([_cell(value) for value in row] for row in table)]
        lines = [f"| {' | '.join(row)} |" for row in rows]
        tracker.writer.add_text("samples", "\n".join(lines))
        images = {f"plots/{title}": np.asarray(_image(png))[None] for title, png in pictures.items()}
        tracker.log_images(images, step=0, dataformats="NHWC")
    elif name == "trackio":
        import pandas
        import trackio

        tracker.log({"samples": trackio.Table(dataframe=pandas.DataFrame(table, columns=list(_COLUMNS)))})


def _text(value: Any) -> Any:
    return " / ".join(map(str, value)) if isinstance(value, list) else value


def _cell(value: Any) -> str:
    """A cell of a Markdown table."""
    return " ".join(str(value).replace("|", "\\|").split())


def _image(png: bytes) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(png)).convert("RGB")
