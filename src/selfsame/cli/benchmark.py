"""The command `benchmark`: other people's benchmarks on a model, from their own files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfsame.cli import convai2
from selfsame.cli.model_options import add_model, asked_sampling, load_asked
from selfsame.cli.output import report_rejected, write_result
from selfsame.cli.parsing import add_json, make_parser, natural
from selfsame.errors import ConfigError, RunError
from selfsame.run.writable import check_writable

DESCRIPTION = "Other people's benchmarks, read from their own files, on any model or run."
DESCRIPTIONS = {
    "convai2": "ConvAI2's protocol on its ParlAI text (N their turn<TAB>own reply<TAB><TAB>candidate|...): Hits@1 among the"
    " given candidates, F1 of sampled replies, perplexity per word and bits per byte of the gold replies, next to"
    " published results. With --json the same command resumes where it stopped.",
    "persona-min-edit": "PersonaMinEdit's JSON: how often a person's minimal edit, which makes a reply fit a persona, is"
    " likelier than the reply as it was.",
    "personagym": "PersonaGym's questions (JSON): how many answers use a trait of the person asked, next to a random other"
    " person. A probe without human labels; no PersonaScore.",
    "compare": "Two results of `benchmark convai2 --json`, example by example: differences with intervals over dialogues,"
    " and McNemar's test of the hits.",
}


def run(arguments: Sequence[str]) -> None:
    """Run a benchmark on a model and print its numbers.

    Raises:
        SelfsameError: a file, model or option that cannot be used.
    """
    options = options_parser().parse_args(arguments)
    check_writable(options.json)
    for name in ("limit", "questions"):
        if getattr(options, name, None) == 0:
            raise ConfigError(f"--{name} is 0: give at least 1")
    result, text = _COMMANDS[options.benchmark](options)
    write_result(options.json, result)
    if options.json and options.benchmark == "convai2":
        from selfsame.run.partial import partial_path

        partial_path(options.json).unlink(missing_ok=True)
    print(text)


def options_parser() -> argparse.ArgumentParser:
    """Make the parser of the command."""
    parser = make_parser("benchmark", DESCRIPTION)
    names = parser.add_subparsers(dest="benchmark", required=True, metavar="{" + ",".join(DESCRIPTIONS) + "}")
    made = {}
    for name, description in DESCRIPTIONS.items():
        made[name] = names.add_parser(name, description=description, help=description.split(":")[0], allow_abbrev=False)
        add_json(made[name])
    for name in ("convai2", "persona-min-edit", "personagym"):
        made[name].add_argument("file", metavar="FILE", help="the benchmark's file, also as .xz or .gz")
        add_model(made[name], "any model")
    for name in ("convai2", "personagym"):
        made[name].add_argument(
            "--temperature", type=float, help="sampling temperature; 0 always takes the likeliest token"
        )
        made[name].add_argument("--seed", type=natural, default=0, help="random seed of sampling")
    _add_convai2(made["convai2"])
    made["persona-min-edit"].add_argument(
        "--reward", action="store_true", help="also rank with the reward model of --run"
    )
    made["personagym"].add_argument(
        "--task", default="Persona Consistency", help="task whose questions are asked (default: %(default)s)"
    )
    made["personagym"].add_argument(
        "--questions", type=natural, metavar="N", help="questions per person (default: all)"
    )
    for name in ("one", "other"):
        made["compare"].add_argument(
            name, metavar=f"{name.upper()}.json", help="a result of `benchmark convai2 --json`"
        )
    return parser


def _add_convai2(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--replies", type=natural, default=500, metavar="N", help="number of examples, drawn at random, with"
                        " a sampled reply for F1 (default: 500; 0: no F1)")  # fmt: skip
    parser.add_argument("--limit", type=natural, metavar="N", help="read only the first N dialogues")
    parser.add_argument("--detokenize", action="store_true", help="read the text as people write it (capitals, no spaces"
                        " before punctuation) instead of as published")  # fmt: skip


def _persona_min_edit(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from selfsame.metrics.statistics import Bootstrap
    from selfsame.tasks.external import read_minimal_edits
    from selfsame.tasks.probes import edits_text, prefer_edits

    if options.reward and not options.run:
        raise ConfigError("--reward needs --run RUN, a run with a reward model")
    rows, rejected = read_minimal_edits(options.file)
    bot = load_asked(options)
    reward = _reward_model(options.run, bot) if options.reward else None
    result = {"benchmark": "persona-min-edit", "model": bot.name, "file": Path(options.file).name}
    result |= prefer_edits(bot.roles, bot.role, rows, Bootstrap(), reward) | {"rejected": report_rejected(rejected)}
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
    from selfsame.metrics.statistics import Bootstrap
    from selfsame.tasks.external import read_personagym
    from selfsame.tasks.probes import NO_SCORE, ask_probes, probes_text

    probes = read_personagym(options.file, options.task, options.questions)
    bot = load_asked(options)
    result = {"benchmark": "personagym", "model": bot.name, "file": Path(options.file).name, "task": probes[0].task}
    result |= ask_probes(bot.roles, bot.role, probes, asked_sampling(options, bot), options.seed, Bootstrap())
    return result | {"note": NO_SCORE}, f"{bot.name}, {probes[0].task}: {probes_text(result)}"


_COMMANDS = {
    "convai2": convai2.measure,
    "persona-min-edit": _persona_min_edit,
    "personagym": _personagym,
    "compare": convai2.compare,
}
