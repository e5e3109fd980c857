"""The command `data`: show, convert or audit dialogues; write pairs and samples for other trainers."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfsame.cli.output import first_lines
from selfsame.cli.parsing import make_parser, natural
from selfsame.errors import ConfigError, RunError
from selfsame.run.writable import check_writable

OUT_NEEDED = ("convert", "pairs", "samples")


def run(arguments: Sequence[str]) -> None:
    """Show, convert or audit dialogues; write preference pairs or samples for other trainers.

    Raises:
        SelfsameError: a file or option that cannot be used.
    """
    options = options_parser().parse_args(arguments)
    if options.action in OUT_NEEDED:
        if not options.out:
            raise ConfigError(f"data {options.action} needs --out FILE")
        check_writable(options.out)
    if options.action == "samples":
        _write_samples(options.run, options.out)
        return
    if not options.path:
        raise ConfigError(f"data {options.action} needs --data.path FILE")
    source, target = Path(options.path), Path(options.out or "")
    if options.out and source.exists() and target.exists() and source.samefile(target):
        raise ConfigError(f"--out {options.out} is the file to convert: give another one")
    _of_dialogues(options)


def options_parser() -> argparse.ArgumentParser:
    """Make the parser of the command."""
    parser = make_parser(
        "data",
        "Look at dialogues (show), list what is wrong with them (audit), or write files: dialogues as Selfsame's JSONL"
        " (convert), and, in TRL's conversational form, preference pairs made from them (pairs) or the evaluated replies of a"
        " run (samples).",
    )
    parser.add_argument("action", choices=("show", "convert", "audit", "pairs", "samples"))
    parser.add_argument("--data.path", dest="path", default="", metavar="FILE", help="file, folder, hub id or `demo`")
    parser.add_argument("--data.format", dest="format", default="auto", choices=("auto", "jsonl", "csv", "personachat"))
    parser.add_argument("--data.bot", dest="bot", default="", metavar="NAME", help="whose turns are the bot's")
    parser.add_argument(
        "--data.persona", dest="persona", nargs="+", default=[], metavar="TRAIT", help="the bot's, if the file has none"
    )
    parser.add_argument("--data.card", dest="card", default="", metavar="CARD", help="the same, from a character card")
    parser.add_argument(
        "--data.fields",
        dest="fields",
        nargs="+",
        default=[],
        metavar="USE=FIELD",
        help="turns, speaker, text, persona, bot",
    )
    parser.add_argument("--out", metavar="FILE", help="file to write; convert: rejected rows go to FILE.rejects.jsonl")
    parser.add_argument("--count", type=natural, help="show: number of dialogues (2); pairs: number of pairs (600)")
    parser.add_argument("--run", metavar="RUN", help="samples: run directory")
    return parser


def _of_dialogues(options: argparse.Namespace) -> None:
    from selfsame.config import load_config
    from selfsame.data.audit import audit
    from selfsame.data.loader import DatasetLoader, convert, write_rejects

    names = ("path", "format", "bot", "persona", "card", "fields")
    config = load_config(values={"data": {name: getattr(options, name) for name in names}})
    loader = DatasetLoader(config.data)
    if options.action == "pairs":
        _write_pairs(loader.load(), config, options)
        return
    parts, rejected = loader.read_parts()
    dialogues = [dialogue for part in parts.values() for dialogue in part]
    if options.action == "audit":
        print("\n".join([audit(dialogues).table(), *first_lines([str(row) for row in rejected])]))
    elif options.action == "convert":
        convert(dialogues, options.out)
        if rejected:
            write_rejects(rejected, f"{options.out}.rejects.jsonl")
        print(f"{len(dialogues)} dialogues written to {options.out}, {len(rejected)} rows rejected")
    else:
        print(loader.load().summary())
        for dialogue in dialogues[: 2 if options.count is None else options.count]:
            print(f"\n{dialogue.id}")
            for number, persona in enumerate(dialogue.personas, 1):
                print(f"  user {number}: {' | '.join(persona)}")
            for turn in dialogue.turns:
                print(f"    {turn.speaker}: {turn.text}")


def _write_pairs(data: Any, config: Any, options: argparse.Namespace) -> None:
    """The pairs that a run on these dialogues trains its reward model on, but for samples of its own model."""
    from selfsame.data.pairs import PreferenceGenerator
    from selfsame.data.preferences import write_preferences

    pairs = PreferenceGenerator(data.train, config.pairs, config.seed).generate_pairs(options.count)
    write_preferences(pairs, options.out)
    reasons = ", ".join(f"{reason} {count}" for reason, count in Counter(pair.reason for pair in pairs).items())
    print(f"{len(pairs)} pairs written to {options.out}" + (f": {reasons}" if reasons else ""))


def _write_samples(run: str | None, out: str) -> None:
    """The replies of every evaluated system of a run, with their scores."""
    from selfsame.data.loader import write_lines
    from selfsame.data.preferences import prompt_messages
    from selfsame.run.directory import RunDirectory
    from selfsame.run.records import EvaluationRecord, read_record
    from selfsame.systems import SYSTEMS
    from selfsame.types import Prompt

    if not run:
        raise ConfigError("data samples needs --run RUN")
    paths = {system: RunDirectory.open(run).eval_path(system) for system in SYSTEMS}
    records = {system: read_record(path, EvaluationRecord) for system, path in paths.items() if path.exists()}
    if not records:
        raise RunError(f"{run} holds no evaluated system: `selfsame evaluate --run.directory {run}` first")
    rows = [
        {
            "prompt": prompt_messages(Prompt(tuple(reply.persona), tuple(reply.history))),
            "completion": [{"role": "assistant", "content": reply.reply}],
            "persona": reply.persona,
            "system": name,
            "scores": reply.scores,
        }
        for name, record in records.items()
        for reply in [*record.replies, *record.talk]
    ]
    write_lines(rows, out)
    print(f"{len(rows)} replies of {', '.join(records)} written to {out}")
