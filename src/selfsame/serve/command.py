"""The command `chat`. What is heavy is imported once the options are known to be right."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from selfsame.arguments import make_parser, natural
from selfsame.errors import ConfigError, DataError
from selfsame.types import Persona, clean_persona


def run(arguments: Sequence[str]) -> None:
    """Does what the command's help says.

    Raises:
        SelfsameError: a model, persona or option that cannot be used.
    """
    parser = make_parser("chat", "Talk to a bot. Empty lines are passed over; /quit or Ctrl-D ends.")
    parser.add_argument(
        "--model", required=True, metavar="RUN_OR_MODEL", help="run directory, adapter folder, model folder or hub id"
    )
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--persona", nargs="+", metavar="TEXT", help="traits, a sentence each")
    who.add_argument("--card", metavar="FILE", help="character card (JSON, V1 to V3)")
    parser.add_argument(
        "--system", help="which system of a run: ppo, dpo, sft or base (default: the best finished one)"
    )
    parser.add_argument("--temperature", type=float, help="of sampling; 0 is greedy")
    parser.add_argument(
        "--best-of", type=natural, default=1, help="of so many replies say the reward model's best (runs)"
    )
    parser.add_argument(
        "--max-new-tokens",
        type=natural,
        help="longest reply in tokens (default: the run's for the bundled base, 128 for any other)",
    )
    parser.add_argument("--seed", type=natural, default=0, help="of sampling")
    options = parser.parse_args(arguments)
    persona, opening = _who(options)
    if options.best_of < 1:
        raise ConfigError("--best-of is 0: give 1 or more")
    if options.max_new_tokens == 0:
        raise ConfigError("--max-new-tokens is 0: give 1 or more")
    if options.temperature is not None and not 0 <= options.temperature <= 10:
        raise ConfigError(f"--temperature is {options.temperature}: give a number from 0 to 10")
    from selfsame.serve.chat import Conversation, chat, chat_sampling
    from selfsame.serve.chatbot import load_chatbot

    bot = load_chatbot(options.model, options.system, reward=options.best_of > 1)
    sampling = chat_sampling(bot, persona, options.temperature, options.max_new_tokens)
    conversation = Conversation(bot.roles, bot.role, persona, sampling, options.seed, opening, options.best_of)
    print(f"{bot.name}: {' | '.join(persona)}  (/quit ends)")
    chat(conversation, _lines(), lambda reply: print(f"bot> {reply}", flush=True))


def _who(options: argparse.Namespace) -> tuple[Persona, str]:
    """(persona, what the bot says first)."""
    if options.card:
        from selfsame.serve.cards import read_card

        card = read_card(Path(options.card))
        return card.persona, card.first_message
    persona = clean_persona(options.persona)
    if not persona:
        raise DataError("the persona is empty: give at least one trait, such as --persona 'I have two dogs.'")
    return persona, ""


def _lines() -> Iterator[str]:
    """Lines that the user types (or a pipe brings)."""
    while True:
        try:
            yield input("you> " if sys.stdin.isatty() else "")
        except EOFError:
            return
