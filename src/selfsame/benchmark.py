"""The command `benchmark`: other people's benchmarks on a model, from their own files. Models are loaded when one is needed."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfsame.arguments import check_writable, make_parser, natural
from selfsame.errors import ConfigError, DataError, RunError

DESCRIPTION = "Other people's benchmarks, read from their own files, on any model or run."
DESCRIPTIONS = {
    "convai2": "ConvAI2's protocol on its ParlAI text (N their turn<TAB>own reply<TAB><TAB>candidate|...): Hits@1 among the"
    " given candidates, F1 of sampled replies, perplexity per word and bits per byte of the gold replies, beside published"
    " results. With --json the same command goes on where it was stopped.",
    "persona-min-edit": "PersonaMinEdit's JSON: how often a person's minimal edit, which makes a reply fit a persona, is"
    " likelier than the reply as it was.",
    "personagym": "PersonaGym's questions (JSON): how many answers draw on the person asked, beside a random other person. A"
    " probe without human labels; no PersonaScore.",
    "compare": "Two results of `benchmark convai2 --json`, example by example: differences with intervals over dialogues,"
    " and McNemar's test of the hits.",
}
METRICS = {"hits_at_1": "Hits@1", "f1": "F1", "perplexity_word": "perplexity per word"}


def run(arguments: Sequence[str]) -> None:
    """Does what the command's help says.

    Raises:
        SelfsameError: a file, model or option that cannot be used.
    """
    options = options_parser().parse_args(arguments)
    check_writable(options.json)
    for name in ("limit", "questions"):
        if getattr(options, name, None) == 0:
            raise ConfigError(f"--{name} is 0: give at least 1")
    from selfsame.run.directory import write_json
    from selfsame.run.partial import partial_path

    result, text = _COMMANDS[options.benchmark](options)
    if options.json:  # first: whoever reads the table may close the pipe
        write_json(Path(options.json), result)
        if options.benchmark == "convai2":
            partial_path(options.json).unlink(missing_ok=True)
    print(text)


def options_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = make_parser("benchmark", DESCRIPTION)
    names = parser.add_subparsers(dest="benchmark", required=True, metavar="{" + ",".join(DESCRIPTIONS) + "}")
    made = {}
    for name, description in DESCRIPTIONS.items():
        made[name] = names.add_parser(name, description=description, help=description.split(":")[0], allow_abbrev=False)
        made[name].add_argument("--json", metavar="OUT", help="also write the result to this file")
    for name in ("convai2", "persona-min-edit", "personagym"):
        made[name].add_argument("file", metavar="FILE", help="the benchmark's file, also as .xz or .gz")
        made[name].add_argument("--model", metavar="BASE", help="any model (default: the bundled base)")
        made[name].add_argument("--run", metavar="RUN", help="a run directory instead of --model")
        made[name].add_argument(
            "--system", help="which system of a run: ppo, dpo, sft or base (default: the best finished)"
        )
    for name in ("convai2", "personagym"):
        made[name].add_argument("--temperature", type=float, help="of sampling; 0 is greedy")
        made[name].add_argument("--seed", type=natural, default=0, help="of sampling")
    convai2 = made["convai2"]
    convai2.add_argument("--replies", type=natural, default=500, metavar="N", help="examples, drawn at random, that a reply"
                         " is sampled to, for F1 (default: 500; 0: no F1)")  # fmt: skip
    convai2.add_argument("--limit", type=natural, metavar="N", help="the first N dialogues only")
    convai2.add_argument("--detokenize", action="store_true", help="read the text as people write it (capitals, no spaces"
                         " before punctuation) instead of as published")  # fmt: skip
    made["persona-min-edit"].add_argument("--reward", action="store_true", help="also by the reward model of --run")
    made["personagym"].add_argument(
        "--task", default="Persona Consistency", help="which questions (default: %(default)s)"
    )
    made["personagym"].add_argument("--questions", type=natural, metavar="N", help="per person (default: all)")
    for name in ("one", "other"):
        made["compare"].add_argument(
            name, metavar=f"{name.upper()}.json", help="a result of `benchmark convai2 --json`"
        )
    return parser


def _load(options: argparse.Namespace) -> Any:
    from selfsame.model.settings import BUNDLED
    from selfsame.serve.chatbot import load_chatbot

    if options.run and options.model:
        raise ConfigError("give --run or --model, not both")
    return load_chatbot(options.run or options.model or BUNDLED, options.system)


def _sampling(options: argparse.Namespace, bot: Any) -> Any:
    """The settings of the run or of the defaults, with the temperature asked for."""
    if options.temperature is None:
        return bot.config.sampling
    if not 0 <= options.temperature <= 10:
        raise ConfigError(f"--temperature is {options.temperature}: give a number from 0 to 10")
    return bot.config.sampling.model_copy(update={"temperature": options.temperature})


# --- ConvAI2 ------------------------------------------------------------------------------------------------------------


def _convai2(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from selfsame.eval.convai2 import COLUMNS, DEFINITIONS, ConvAI2Protocol, pack, summary, weights_digest
    from selfsame.eval.external import read_convai2
    from selfsame.eval.statistics import Bootstrap
    from selfsame.measure import told
    from selfsame.run.partial import Partial

    file = read_convai2(options.file, options.limit, options.detokenize)
    rejected = told(file.rejected)
    bot = _load(options)
    decoding = _sampling(options, bot).model_dump(exclude={"batch_size"}) | {"seed": options.seed}
    made_by = {
        "md5": file.md5, "limit": options.limit, "detokenized": options.detokenize, "model": bot.name,
        "weights": weights_digest(bot.roles, bot.role), "max_length": bot.roles.processor.max_length,
        "replies": options.replies, "decoding": decoding,
    }  # fmt: skip
    kept = Partial(options.json, made_by)
    began, before = time.monotonic(), len(kept.items)
    protocol = ConvAI2Protocol(bot.roles, bot.role, _sampling(options, bot), options.seed)
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
    """Our numbers with what they depend on, beside published ones."""
    from selfsame.eval.convai2 import number
    from selfsame.eval.published import EVIDENCE, aligned, beside

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
    lines += [f"source, evidence ({evidence}) and why each is comparable or not: eval/published.json"]
    return "\n".join(lines)


def _shown(found: dict[str, Any]) -> str:
    from selfsame.eval.statistics import Estimate

    return str(Estimate(**found))


def _compare(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from selfsame.eval.compare import compare_benchmarks, comparison_text
    from selfsame.eval.statistics import Bootstrap

    one, other = _result(options.one), _result(options.other)
    if one["md5"] != other["md5"]:
        raise DataError(f"{options.one} and {options.other} are of different files: there is nothing to compare")
    try:
        found = compare_benchmarks(one, other, Bootstrap())
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{options.one}, {options.other}: a row of examples is damaged ({error!s:.80})") from error
    if not found:
        raise DataError(f"{options.one} and {options.other} have no example in common")
    text = f"{one['model']} ({options.one}) less {other['model']} ({options.other}):\n{comparison_text(found)}"
    return {"one": one["model"], "other": other["model"], "differences": found}, text


def _result(path: str) -> dict[str, Any]:
    from selfsame.eval.external import read_json_file

    result = read_json_file(path)
    known = isinstance(result, dict) and result.get("benchmark") == "convai2" and {"md5", "model"} <= result.keys()
    if (
        not known
        or not isinstance(result.get("examples"), dict)
        or not isinstance(result["examples"].get("rows"), list)
    ):
        raise DataError(f"{path}: is no result of `selfsame benchmark convai2 --json`")
    return result


# --- probes -------------------------------------------------------------------------------------------------------------


def _persona_min_edit(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from selfsame.eval.external import read_minimal_edits
    from selfsame.eval.probes import edits_text, prefer_edits
    from selfsame.eval.statistics import Bootstrap
    from selfsame.measure import told

    if options.reward and not options.run:
        raise ConfigError("--reward needs --run RUN, a run with a reward model")
    rows, rejected = read_minimal_edits(options.file)
    bot = _load(options)
    reward = _reward_model(options.run, bot) if options.reward else None
    result = {"benchmark": "persona-min-edit", "model": bot.name, "file": Path(options.file).name}
    result |= prefer_edits(bot.roles, bot.role, rows, Bootstrap(), reward) | {"rejected": told(rejected)}
    return result, f"{bot.name}: {edits_text(result)}"


def _reward_model(run_directory: str, bot: Any) -> Any:
    from selfsame.model.reward_model import RewardModel
    from selfsame.run.checkpoint import finished
    from selfsame.run.directory import RunDirectory

    checkpoint = finished(RunDirectory.open(run_directory), "reward")
    if checkpoint is None:
        raise RunError(
            f"{run_directory} has no finished reward model: run the stage reward first, or leave out --reward"
        )
    bot.roles.load("reward", checkpoint / "reward")
    return RewardModel(bot.roles)


def _personagym(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from selfsame.eval.external import read_personagym
    from selfsame.eval.probes import NO_SCORE, ask_probes, probes_text
    from selfsame.eval.statistics import Bootstrap

    probes = read_personagym(options.file, options.task, options.questions)
    bot = _load(options)
    result = {"benchmark": "personagym", "model": bot.name, "file": Path(options.file).name, "task": probes[0].task}
    result |= ask_probes(bot.roles, bot.role, probes, _sampling(options, bot), options.seed, Bootstrap())
    return result | {"note": NO_SCORE}, f"{bot.name}, {probes[0].task}: {probes_text(result)}"


_COMMANDS = {
    "convai2": _convai2,
    "persona-min-edit": _persona_min_edit,
    "personagym": _personagym,
    "compare": _compare,
}
