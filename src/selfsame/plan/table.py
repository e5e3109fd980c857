"""A plan in words."""

from __future__ import annotations

from selfsame.plan.advise import Advice
from selfsame.plan.estimate import Plan

COLUMNS = ("weights", "adapters", "activations", "logits", "cache", "runtime", "total")


def plan_text(plan: Plan) -> str:
    """A line for each stage, the verdict, and what the numbers rest on."""
    rows: list[tuple[str, ...]] = [("stage", *COLUMNS, "steps", "time")]
    for stage in plan.stages:
        sizes = [size(getattr(stage, name)) for name in COLUMNS]
        rows.append((stage.stage, *sizes, str(stage.steps), duration(stage.seconds)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    head = (
        f"{plan.model}: {plan.parameters / 1e6:,.1f}M parameters, {plan.trainable / 1e6:.2f}M in an adapter, {plan.dtype};"
        f" {plan.count} x {plan.hardware} of {size(plan.memory)}, a whole model on each"
    )
    return "\n".join([head, "", *lines, "", verdict(plan), *(f"- {note}" for note in plan.notes)])


def verdict(plan: Plan) -> str:
    """Whether it fits, in a sentence."""
    if plan.too_large:
        names = ", ".join(f"{stage.stage} ({size(stage.total)})" for stage in plan.too_large)
        return f"does not fit into {size(plan.memory)}: {names}"
    if not plan.in_time:
        return f"fits into memory, but takes {duration(plan.seconds)}, more than {plan.hours:g} h"
    most = max((stage.total for stage in plan.stages), default=0)
    return f"fits: at most {size(most)} of {size(plan.memory)}, {duration(plan.seconds)} in all"


def advice_text(advice: Advice) -> str:
    """What to change."""
    if not advice.plan.fits:
        needed = max(stage.total for stage in advice.plan.stages)
        why = f"the smallest found takes {size(needed)}" if advice.plan.too_large else "the hours are too few"
        return f"no change of settings makes it fit ({why}): take a smaller model, a larger device or more time"
    lines = [f"  {name}: {old} -> {new}" for name, (old, new) in advice.changes.items()]
    return "\n".join(["it fits with:", *lines, f"  {advice.arguments()}", f"then: {verdict(advice.plan)}"])


def size(count: float) -> str:
    """Bytes, readable."""
    return f"{count / 2**30:.1f} GiB" if count >= 0.95 * 2**30 else f"{count / 2**20:.0f} MiB"


def duration(seconds: float) -> str:
    """Seconds, readable."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
