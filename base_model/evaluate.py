"""The numbers of the model card that no run of Selfsame gives: floors, speed, and where the training went.

Bits per byte, grounding and the samples come from the records of an ordinary run on Synthetic-Persona-Chat (`selfsame run
--run.stages sft evaluate`), which evaluates the base model before and after SFT.
"""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from base_model.corpus import read_corpus
from selfsame.data.loader import DatasetLoader
from selfsame.data.pairs import PreferenceGenerator
from selfsame.data.processor import DataProcessor
from selfsame.data.settings import DataSettings, PairSettings
from selfsame.model.load import load_roles
from selfsame.model.roles import Roles
from selfsame.model.settings import ModelSettings
from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.sampler import reply_noise
from selfsame.rollout.settings import SamplingSettings
from selfsame.run.files import read_json, read_jsonl, write_json
from selfsame.types import Example

_FIRST_REPLY = """
import sys, time
began = time.perf_counter()
from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.settings import SamplingSettings
from selfsame.serve.chatbot import load_chatbot
from selfsame.types import Prompt
bot = load_chatbot(sys.argv[1])
RolloutEngine(bot.roles).reply(None, [Prompt(("I have two dogs.",), ("Hi! Do you have any pets?",))], SamplingSettings())
print(time.perf_counter() - began)
"""


def evaluate(model: str, work: Path, data: Path, run: Path, records: Path) -> None:
    """Writes `corpus.json`, `training.json`, `evaluation.json` and `samples.json` to `records`.

    Args:
        model: the exported model.
        work: where it was trained.
        data: a folder with the dialogues that the run was evaluated on.
        run: the run directory with `eval/base.json` and `eval/sft.json`.
        records: a folder of the repository.
    """
    validation = DatasetLoader(DataSettings(path=str(data))).load().validation
    roles = load_roles(ModelSettings(base=model))
    systems = {name: read_json(run / "eval" / f"{name}.json") for name in ("base", "sft")}
    write_json(records / "corpus.json", read_json(work / "corpus.json"))
    write_json(records / "training.json", training_curve(work))
    write_json(
        records / "evaluation.json",
        {
            "parameters": sum(p.numel() for p in roles.base.parameters()),
            "floors": floors(roles.processor, (t for e in _own_corpus(work) for t in e.replies), validation),
            "speed": speed(model, roles, validation),
            "systems": {
                n: {k: r[k] for k in ("metrics", "references", "settings", "items")} for n, r in systems.items()
            },
        },
    )
    write_json(records / "samples.json", samples(roles))


def samples(roles: Roles, count: int = 20) -> list[dict[str, Any]]:
    """Replies to the first prompts of the package's own dialogues that call for the persona, none chosen."""
    dialogues = DatasetLoader(DataSettings(path="demo")).load()
    items = PreferenceGenerator([*dialogues.train, *dialogues.validation], PairSettings(), 0).create_test_sets(count, 1)
    prompts = [item.prompt for item in items.consistency]
    replies = RolloutEngine(roles).reply(None, prompts, SamplingSettings())
    return [
        {"persona": list(p.persona), "history": list(p.history), "reply": reply}
        for p, reply in zip(prompts, replies, strict=True)
    ]


def training_curve(work: Path) -> list[dict[str, Any]]:
    """At each checkpoint: step, tokens and hours so far, mean loss of the last 50 steps (nats a weighted token), and what
    `watch` measured."""
    steps, _ = read_jsonl(work / "metrics.jsonl")
    watched, _ = read_jsonl(work / "watch.jsonl")
    rows = []
    for entry in watched:
        past = [s for s in steps if s["step"] <= entry["step"]]
        rows.append(
            {
                "tokens": sum(s["tokens"] for s in past),
                "hours": sum(s["seconds"] for s in past) / 3600,
                "loss": statistics.fmean(s["loss"] for s in past[-50:]),
                **entry,
            }
        )
    return rows


def floors(processor: DataProcessor, training: Iterable[str], examples: Sequence[Example]) -> dict[str, float]:
    """Bits per byte of the own turns by methods that learn nothing of language: tokens by their frequency in the training
    corpus (add-one smoothed, end tokens included), and zlib (as in gzip) on all turns as one text."""
    replies = [reply for e in examples for reply in e.replies]
    size = sum(len(reply.encode()) for reply in replies)
    counts = Counter(token for text in training for token in processor.encode_reply(text))
    total = sum(counts.values()) + len(processor.tokenizer)
    bits = sum(-math.log2((counts[t] + 1) / total) for reply in replies for t in processor.encode_reply(reply))
    text = "\n".join(replies).encode()
    return {"unigram": bits / size, "zlib": 8 * len(zlib.compress(text, 9)) / size}


def speed(model: str, roles: Roles, examples: Sequence[Example], repeats: int = 5) -> dict[str, float]:
    """Seconds to import, load and reply once in a fresh process; and for 32 replies of exactly 32 tokens on one thread
    (median)."""
    fresh = [float(subprocess.check_output([sys.executable, "-c", _FIRST_REPLY, model])) for _ in range(repeats)]
    prompts = [roles.processor.encode_prompt(e.prompt(1), 32) for e in examples if len(e.replies) > 1][:32]
    numbers_NR = reply_noise(0, 0, range(32), 32)
    engine, before = RolloutEngine(roles), torch.get_num_threads()
    engine.processor.end_id, end = -1, engine.processor.end_id  # no reply ends early
    torch.set_num_threads(1)
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        replies = engine.sample(None, prompts, numbers_NR, 1.0, 1.0)
        times.append(time.perf_counter() - began)
    torch.set_num_threads(before)
    engine.processor.end_id = end
    assert all(len(reply.ids) == 32 for (reply,) in replies)
    return {
        "first_reply_first": fresh[0],
        "first_reply": statistics.median(fresh),
        "replies_32": statistics.median(times[1:]),
    }


def _own_corpus(work: Path) -> list[Example]:
    """Both sides of the training dialogues with personas."""
    dialogues = [d for part in read_corpus(work / "corpus.jsonl").values() for d in part if d.personas[0]]
    return [d.seen_by(speaker) for d in dialogues for speaker in (1, 2)]
