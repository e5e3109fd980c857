"""The options that name a model, and the bot that they ask for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from selfsame.cli.parsing import add_system, check_temperature
from selfsame.errors import ConfigError

if TYPE_CHECKING:
    from selfsame.rollout.settings import SamplingSettings
    from selfsame.serve.chatbot import Chatbot


def add_model(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the options `--model`, `--run` and `--system`."""
    parser.add_argument("--model", metavar="BASE", help=f"{what} (default: the bundled base)")
    parser.add_argument("--run", metavar="RUN", help="a run directory instead of --model")
    add_system(parser, "the best finished")


def asked_model(options: argparse.Namespace) -> str:
    """Return the run or model that the options name, by default the bundled base.

    Raises:
        ConfigError: they name both.
    """
    from selfsame.model.settings import BUNDLED

    if options.run and options.model:
        raise ConfigError("give --run or --model, not both")
    return options.run or options.model or BUNDLED


def load_asked(options: argparse.Namespace) -> Chatbot:
    """Load the run or model that the options name.

    Raises:
        SelfsameError: they name both, or one that cannot be loaded.
    """
    from selfsame.serve.chatbot import load_chatbot

    return load_chatbot(asked_model(options), options.system)


def asked_sampling(options: argparse.Namespace, bot: Chatbot) -> SamplingSettings:
    """Return how the bot samples, with the temperature of the options.

    Raises:
        ConfigError: it is no temperature.
    """
    if options.temperature is None:
        return bot.config.sampling
    check_temperature(options.temperature)
    return bot.config.sampling.model_copy(update={"temperature": options.temperature})
