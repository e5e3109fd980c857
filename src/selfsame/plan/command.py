"""`selfsame plan`: from arguments to a printed plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selfsame.config import Config
from selfsame.plan.advise import advise
from selfsame.plan.estimate import make_probe, plan
from selfsame.plan.hardware import detect, hardware
from selfsame.plan.table import advice_text, plan_text
from selfsame.run.directory import write_json


def show(config: Config, gpu: str | None, count: int, hours: float | None, out: str | None) -> None:
    """Plans the run and prints it; if it does not fit, what to change. `out`: a JSON file for the same."""
    text, record = plan_lines(config, gpu, count, hours)
    if out:
        write_json(Path(out), record)
    print(text)


def plan_lines(config: Config, gpu: str | None, count: int, hours: float | None) -> tuple[str, dict[str, Any]]:
    """The plan, and what to change if it does not fit, as text and as a record."""
    device = hardware(gpu or detect(), count)
    probe = make_probe(config, device)
    made = plan(config, device, hours, probe=probe)
    advice = None if made.fits else advise(config, device, hours, probe)
    more = {} if advice is None else {"changes": advice.changes, "then": advice.plan.to_dict()}
    return "\n\n".join([plan_text(made), *([] if advice is None else [advice_text(advice)])]), made.to_dict() | more
