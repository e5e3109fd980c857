"""The finished items of a long measurement, one a line, from which the same command resumes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from selfsame.errors import RunError
from selfsame.run.files import append_jsonl, plain, read_jsonl


def partial_path(out: str | Path) -> Path:
    """Where the items lie until the result is in `out`."""
    return Path(f"{out}.partial.jsonl")


class Partial:
    """Items of a measurement, beside the file that its result will be in.

    out: where the result will be written; None: nothing is kept.
    made_by: all that the items depend on (file, model, settings).

    Raises RunError where `OUT.partial.jsonl` was made by another measurement.
    """

    def __init__(self, out: str | Path | None, made_by: Mapping[str, Any]) -> None:
        self.path = None if out is None else partial_path(out)
        self.items: list[dict[str, Any]] = []
        known = read_jsonl(self.path)[0] if self.path is not None else []
        made_by = plain(made_by)
        if known and known[0] != {"made_by": made_by}:
            before = known[0].get("made_by")
            before = before if isinstance(before, dict) else {}
            changed = [f"{k}: {before.get(k)!r}, now {made_by.get(k)!r}" for k in {**before, **made_by}
                       if before.get(k) != made_by.get(k)]  # fmt: skip
            raise RunError(
                f"{self.path} holds what another measurement finished ({'; '.join(changed) or 'it does not say which'}):"
                " give that command again to resume it, delete the file, or choose another --json"
            )
        self.items += known[1:]
        if self.path is not None and not known:
            append_jsonl(self.path, {"made_by": made_by})

    def add(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Keeps finished items."""
        for item in items:
            self.items.append(dict(item))
            if self.path is not None:
                append_jsonl(self.path, item)
