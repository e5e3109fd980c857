"""The command `export`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from selfsame.cli.parsing import add_base, add_system, make_parser
from selfsame.errors import ConfigError


def run(arguments: Sequence[str]) -> None:
    """Write a bot in a form that other programs read.

    Raises:
        SelfsameError: a model, format, persona or folder that cannot be used.
    """
    options = options_parser().parse_args(arguments)
    if options.name and not options.persona:
        raise ConfigError("--name is the name of a --persona: give both, or a --card")
    from dataclasses import replace

    from selfsame.cards.card import read_character

    card = read_character(Path(options.card) if options.card else options.persona) if _has_persona(options) else None
    if card is not None and options.persona:
        card = replace(card, name=options.name or "")
    if options.to == "card" and card is not None and not card.name:
        raise ConfigError("a card has a name: give --name with --persona")
    from selfsame.export.bot import Wanted, check, export

    wanted = Wanted(
        options.model,
        options.to,
        Path(options.out),
        card,
        options.system,
        options.base,
        options.dtype,
        options.overwrite,
        options.push,
    )
    check(wanted)
    print("\n".join(export(wanted)))


def _has_persona(options: argparse.Namespace) -> bool:
    return bool(options.card or options.persona)


def options_parser() -> argparse.ArgumentParser:
    """Make the parser of the command."""
    parser = make_parser("export", "Write a bot in a form that other programs read, with a model card.")
    parser.add_argument(
        "model",
        metavar="RUN_OR_MODEL",
        help="run directory, selfsame-135m (the run in the package), adapter folder, model folder, GGUF file or hub id",
    )
    parser.add_argument(
        "--to",
        required=True,
        metavar="FORMAT",
        help="adapter (PEFT), merged (safetensors), gguf, ollama (GGUF and Modelfile), card (PNG or JSON)",
    )
    parser.add_argument("out", metavar="OUT", help="the folder to make; for a card its .png or .json file")
    parser.add_argument(
        "--dtype",
        metavar="NAME",
        help="merged: float32, float16 or bfloat16 (default: as the base is stored); gguf, ollama: f16 (default), q8_0 or f32",
    )
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--persona", nargs="+", metavar="TEXT", help="ollama, card: traits, a sentence each")
    who.add_argument("--card", metavar="FILE", help="ollama, card: character card (default: the run's own)")
    parser.add_argument("--name", help="card: the name of a --persona")
    add_base(parser)
    add_system(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export in OUT")
    parser.add_argument("--push", metavar="OWNER/NAME", help="also upload it to the hub, as a private repository")
    return parser
