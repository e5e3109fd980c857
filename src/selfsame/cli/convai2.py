"""`selfsame benchmark convai2`, and `benchmark compare`, which reads two of its results."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from selfsame.cli.model_options import asked_sampling, load_asked
from selfsame.cli.output import report_rejected
from selfsame.errors import DataError

METRICS = {"hits_at_1": "Hits@1", "f1": "F1", "perplexity_word": "perplexity per word"}


def measure(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Run the protocol of ConvAI2; return the result and its text.

    Raises:
        SelfsameError: a file, model or option that cannot be used.
    """
    from selfsame.metrics.statistics import Bootstrap
    from selfsame.run.partial import Partial
    from selfsame.tasks.convai2 import COLUMNS, DEFINITIONS, ConvAI2Protocol, pack, summary, weights_digest
    from selfsame.tasks.external import read_convai2

    file = read_convai2(options.file, options.limit, options.detokenize)
    rejected = report_rejected(file.rejected)
    bot = load_asked(options)
    sampling = asked_sampling(options, bot)
    decoding = sampling.model_dump(exclude={"batch_size"}) | {"seed": options.seed}
    made_by = {
        "md5": file.md5, "limit": options.limit, "detokenized": options.detokenize, "model": bot.name,
        "weights": weights_digest(bot.roles, bot.role), "max_length": bot.roles.processor.max_length,
        "replies": options.replies, "decoding": decoding,
    }  # fmt: skip
    kept = Partial(options.json, made_by)
    began, before = time.monotonic(), len(kept.items)
    protocol = ConvAI2Protocol(bot.roles, bot.role, sampling, options.seed)
    items = protocol.run(file.examples, options.replies, kept)
    replied = [(e, item) for e, item in zip(file.examples, items, strict=True) if "reply" in item]
    result = {
        "benchmark": "convai2", "file": Path(options.file).name, "official": file.official, **made_by,
        "count": len(items), "dialogues": len({e.dialogue for e in file.examples}),
        "candidates": sorted({len(e.distractors) + 1 for e in file.examples}),
        "seconds": round(time.monotonic() - began, 1) if not before else None,
        "metrics": {name: estimate.to_dict() for name, estimate in summary(items, Bootstrap()).items()},
        "definitions": DEFINITIONS, "rejected": rejected,
        "replies_sampled": [{"line": e.line, "gold": e.gold, "reply": item["reply"]} for e, item in replied],
        "examples": {"columns": " ".join(COLUMNS), "rows": pack(items)},
    }  # fmt: skip
    return result, convai2_text(result)


def convai2_text(result: dict[str, Any]) -> str:
    """List our numbers with what they depend on, then published ones."""
    from selfsame.tasks.convai2 import number
    from selfsame.tasks.published import EVIDENCE, aligned, beside

    metrics, candidates = result["metrics"], result["candidates"]
    of = str(candidates[-1]) if len(candidates) == 1 else f"{candidates[0]} to {candidates[-1]}"
    d = result["decoding"]
    notes = {
        "hits_at_1": f"Hits@1 of {of} candidates, by mean log-probability per token",
        "hits_at_1_sum": f"Hits@1 of {of} candidates, by summed log-probability",
        "f1": f"F1 of sampled replies (temperature {d['temperature']:g}, top-p {d['top_p']:g}, at most {d['max_new_tokens']}"
        f" tokens{f', {retries} retries' if (retries := d.get('retries')) else ''}, seed {d['seed']})",
        "perplexity_word": "perplexity per word of the gold replies",
        "perplexity_word_end": "the same with end tokens counted",
        "bits_per_byte": "bits per byte of the gold replies",
    }
    lines = [f"{result['model']} on {result['file']}: {result['count']} examples of {result['dialogues']} dialogues"]
    lines += [f"  {notes[name]}: {_shown(found)}" for name, found in metrics.items()]
    lines += [f"perplexity per word is {result['definitions']['perplexity_word']}", ""]
    own = {name: number((metrics.get(name) or {}).get("value")) for name in METRICS}
    own = {name: value * (1 if name == "perplexity_word" else 100) for name, value in own.items()}
    rows, why = beside("ConvAI2", "validation", METRICS, f"{result['model']} (measured here)", own)
    same = (
        "the official validation file" if result["official"] else "not the official file, whole: no row is comparable"
    )
    same = "read in another form than published: no row is comparable" if result["detokenized"] else same
    lines += [f"published on ConvAI2's validation part (shares in percent); {result['file']} is {same}"]
    lines += [aligned(rows), *why]
    evidence = ", ".join(f"{letter} {how}" for letter, how in EVIDENCE.items())
    lines += [
        "without a mark: the same protocol, by systems trained on ConvAI2's training part unless they say otherwise"
    ]
    lines += [f"source, evidence ({evidence}) and why each is comparable or not: tasks/published.json"]
    return "\n".join(lines)


def _shown(found: dict[str, Any]) -> str:
    from selfsame.metrics.statistics import Estimate

    return str(Estimate(**found))


def compare(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Compare two results example by example; return the differences and their text.

    Raises:
        DataError: a file is no such result, or the two hold no example in common.
    """
    from selfsame.metrics.statistics import Bootstrap
    from selfsame.tasks.compare_convai2 import compare_benchmarks, comparison_text

    one, other = _result(options.one), _result(options.other)
    if one["md5"] != other["md5"]:
        raise DataError(f"{options.one} and {options.other} come from different files: there is nothing to compare")
    try:
        found = compare_benchmarks(one, other, Bootstrap())
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{options.one}, {options.other}: a row of examples is damaged ({error!s:.80})") from error
    if not found:
        raise DataError(f"{options.one} and {options.other} have no example in common")
    text = f"{one['model']} ({options.one}) less {other['model']} ({options.other}):\n{comparison_text(found)}"
    return {"one": one["model"], "other": other["model"], "differences": found}, text


def _result(path: str) -> dict[str, Any]:
    from selfsame.tasks.external import read_json_file

    result = read_json_file(path)
    known = isinstance(result, dict) and result.get("benchmark") == "convai2" and {"md5", "model"} <= result.keys()
    if (
        not known
        or not isinstance(result.get("examples"), dict)
        or not isinstance(result["examples"].get("rows"), list)
    ):
        raise DataError(f"{path}: is no result of `selfsame benchmark convai2 --json`")
    return result
