"""The whole answer to `will this run fit`: the plan and, if it does not, what to change."""

from __future__ import annotations

from typing import Any

from selfsame.config import Config
from selfsame.plan.advise import advise
from selfsame.plan.estimate import make_probe, plan
from selfsame.plan.hardware import detect, hardware
from selfsame.plan.table import advice_text, plan_text


def plan_lines(config: Config, gpu: str | None, count: int, hours: float | None) -> tuple[str, dict[str, Any]]:
    """Return the plan, and what to change if it does not fit, as text and as a record."""
    device = hardware(gpu or detect(), count)
    probe = make_probe(config, device)
    made = plan(config, device, hours, probe=probe)
    advice = None if made.fits else advise(config, device, hours, probe)
    more = {} if advice is None else {"changes": advice.changes, "then": advice.plan.to_dict()}
    return "\n\n".join([plan_text(made), *([] if advice is None else [advice_text(advice)])]), made.to_dict() | more
