"""Run directories with made-up evaluations, for what reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfsame.run.directory import RunDirectory
from selfsame.run.files import write_json
from selfsame.run.records import EvaluationRecord, ReplyRecord

JUDGE = {"name": "rules", "threshold": 0.5, "balanced_accuracy": {"persona": 0.75}}
SECONDS = {"data": 1.0, "sft": 60.0, "reward": 100.0, "ppo": 200.0, "dpo": 30.0, "evaluate": 999.0}


def estimate(value: float | None, count: int = 8) -> dict[str, Any]:
    known = value is not None
    return {"value": value, "low": value - 0.1 if known else None, "high": value + 0.1 if known else None,
            "count": count, "missing": 0}  # fmt: skip


def reply(number: int, consistency: float | None, text: str = "I have two dogs.", **more: Any) -> dict[str, Any]:
    """The reply to prompt `number`; two prompts are of one dialogue."""
    known = {
        "dialogue": f"d{number // 2}",
        "persona": ["I have two dogs."],
        "history": [f"Any pets, {number}?"],
        "gold": "Two dogs!",
        "reply": text,
        "scores": {"consistency": consistency, "contradiction": 0.0},
    }
    return known | more


def evaluation(hits: Sequence[float | None], **more: Any) -> dict[str, Any]:
    known = [hit for hit in hits if hit is not None]
    share = sum(known) / len(known) if known else None
    return {
        "items": len(hits),
        "metrics": {"consistency": estimate(share), "contradiction": estimate(0.0), "perplexity": estimate(20.0)},
        "references": {
            "gold": {"consistency": estimate(0.9), "contradiction": estimate(0.0)},
            "no_persona": {"consistency": estimate(0.1), "contradiction": estimate(0.0)},
        },
        "settings": {"sampling": {"temperature": 0.7}, "evaluation": {"confidence": 0.95}, "seed": 0},
        "judge": JUDGE,
        "replies": [reply(number, hit) for number, hit in enumerate(hits)],
    } | more


def recorded(hits: Sequence[float | None], **more: Any) -> EvaluationRecord:
    """The same as a run reads it."""
    return EvaluationRecord.model_validate(evaluation(hits, **more))


def recorded_reply(number: int, consistency: float | None, text: str = "I have two dogs.", **more: Any) -> ReplyRecord:
    """A reply as a run reads it."""
    return ReplyRecord.model_validate(reply(number, consistency, text, **more))


def evaluated_run(folder: Path, systems: Mapping[str, Mapping[str, Any]], **config: Any) -> Path:
    """A run directory whose systems have these evaluations."""
    run = RunDirectory.create(folder, {"seed": 0, "training": {"ppo": {"kl_coef": 0.05}}} | config)
    for name, content in systems.items():
        write_json(run.eval_path(name), {"system": name} | dict(content))
    write_json(run.cost_path, {"seconds": SECONDS, "peak_memory_bytes": 2_100_000_000, "peak_gpu_memory_bytes": None})
    write_json(run.path / "reward.json", {"pairs": 40, "metrics": {"accuracy": 0.75, "accuracy/bland": 0.8}})
    return run.path
