"""The command `chat`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from selfsame.cli.parsing import add_base, add_system, check_temperature, make_parser, natural
from selfsame.errors import ConfigError


def run(arguments: Sequence[str]) -> None:
    """Talk to a bot on the terminal.

    Raises:
        SelfsameError: a model, persona or option that cannot be used.
    """
    options = options_parser().parse_args(arguments)
    from selfsame.cards.card import read_character

    persona = read_character(_who(options))  # a mistake in it is reported before anything is loaded
    if options.best_of < 1:
        raise ConfigError("--best-of is 0: give 1 or more")
    if options.max_new_tokens == 0:
        raise ConfigError("--max-new-tokens is 0: give 1 or more")
    check_temperature(options.temperature)
    print(f"loading {options.model} ...", file=sys.stderr, flush=True)  # to import torch alone takes seconds
    from selfsame.serve.chatbot import load_chatbot
    from selfsame.serve.terminal import Screen, chat, typed_lines

    bot = load_chatbot(options.model, options.system, options.best_of > 1, options.base)
    conversation = bot.chat(
        (persona if persona.name else persona.persona) if options.card or options.persona else None,
        options.seed,
        options.best_of,
        temperature=options.temperature,
        max_new_tokens=options.max_new_tokens,
    )
    for note in conversation.notes:
        print(f"({note})", flush=True)
    if bot.roles.processor.note:
        print(f"{bot.roles.processor.note}", file=sys.stderr, flush=True)
    print(f"{bot.name}: {' | '.join(conversation.persona)}  (/help lists the commands, /quit ends)", flush=True)
    chat(conversation, typed_lines(), Screen())


def _who(options: argparse.Namespace) -> Path | list[str]:
    """The persona or card of the options, or the card of the run."""
    if options.card or options.persona:
        return Path(options.card) if options.card else options.persona
    own = Path(options.model) / "card.json"
    if not own.is_file():
        raise ConfigError(f"{options.model} was not made for one character: give --persona 'I ...' or --card FILE")
    return own


def options_parser() -> argparse.ArgumentParser:
    """Make the parser of the command."""
    parser = make_parser(
        "chat", "Talk to a bot. Blank lines are ignored; /help lists the commands, /quit or Ctrl-D ends the chat."
    )
    parser.add_argument(
        "--model",
        required=True,
        metavar="RUN_OR_MODEL",
        help="run directory, selfsame-135m (the run in the package), adapter folder, model folder, GGUF file or hub id",
    )
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--persona", nargs="+", metavar="TEXT", help="traits, a sentence each")
    who.add_argument("--card", metavar="FILE", help="character card (PNG, JSON, CHARX, YAML)")
    add_base(parser)
    add_system(parser)
    parser.add_argument("--temperature", type=float, help="sampling temperature; 0 always takes the likeliest token")
    parser.add_argument(
        "--best-of",
        type=natural,
        default=1,
        metavar="N",
        help="sample N replies and answer with the one the reward model scores highest (runs only)",
    )
    parser.add_argument(
        "--max-new-tokens",
        type=natural,
        metavar="N",
        help="longest reply in tokens (default: the run's for the bundled base, 128 for any other)",
    )
    parser.add_argument("--seed", type=natural, default=0, help="random seed")
    return parser
