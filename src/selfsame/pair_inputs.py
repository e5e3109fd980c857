"""Preference pairs of a run: the user's own, and those made from its dialogues."""

from __future__ import annotations

from collections.abc import Sequence

from selfsame.config import Config
from selfsame.data.pairs import PreferenceGenerator
from selfsame.data.preferences import read_preferences, split_pairs
from selfsame.data.processor import DataProcessor
from selfsame.errors import DataError
from selfsame.model import parallel
from selfsame.run.logger import say
from selfsame.types import Example, PreferencePair


def make_pairs(
    config: Config,
    generator: PreferenceGenerator,
    held_out: PreferenceGenerator,
    validation: Sequence[Example],
    processor: DataProcessor,
) -> tuple[list[PreferencePair], list[PreferencePair]]:
    """Pairs to train on and pairs to measure on: the user's own, and those made from the dialogues. `validation`: all
    held-out sides, evaluated on or not: no pair of these people is trained on.

    Raises:
        DataError: there is no pair to train on; the message says why, and what helps.
    """
    pairs = config.pairs
    train, measured = _given_pairs(config, validation, processor) if pairs.path else ([], [])
    if pairs.generated:
        train += generator.generate_pairs(pairs.count)
        measured += held_out.generate_pairs(pairs.validation_count)
    if not train:
        raise DataError(_why_no_pair(config, generator))
    return train, measured


def _given_pairs(
    config: Config, validation: Sequence[Example], processor: DataProcessor
) -> tuple[list[PreferencePair], list[PreferencePair]]:
    """The user's own pairs that fit into the context: to train on, and to measure on."""
    found = read_preferences(config.pairs.path, config.data)
    say(f"pairs: {found.summary(config.pairs.path)}", parallel.is_main())
    room = processor.max_length // 2
    kept = [
        pair
        for pair in found.pairs
        if processor.fits(pair.prompt, room)
        and max(len(processor.encode_reply(text)) for text in (pair.chosen, pair.rejected)) <= room
    ]
    if len(kept) < len(found.pairs):
        say(
            f"pairs: left out, a persona or reply longer than half of model.max_length ({processor.max_length}):"
            f" {len(found.pairs) - len(kept)} pairs",
            parallel.is_main(),
        )
    if not kept:
        raise DataError(
            f"{config.pairs.path}: every pair has a persona or reply longer than half of model.max_length"
            f" ({processor.max_length} tokens): raise model.max_length or shorten them"
        )
    return split_pairs(kept, [side.persona for side in validation], config.data.validation_share)


def _why_no_pair(config: Config, generator: PreferenceGenerator) -> str:
    """Why there is no preference pair to train on, and what helps."""
    if not config.pairs.generated:
        return (
            "there is no preference pair to train on: all of your own are of held-out people; give pairs of others"
            " (on the page of selfsame serve: labels to train on), or set pairs.generated to true"
            if config.pairs.path
            else "there is no preference pair to train on: pairs.generated is false, so give your own by pairs.path"
        )
    without = "train without (--run.stages sft), or give your own pairs (--pairs.path FILE)"
    called = sum(bool(item.gold_traits) for item in generator.extract_items())
    if not called:
        return (
            f"no preference pair can be made of {config.data.path}: in none of its replies does a person use the words of"
            f" the own persona. Write traits in words that the replies use, or {without}"
        )
    return (
        f"no preference pair can be made of {config.data.path}: {called} replies use the persona, none of them with 3 to 60"
        f" words after a turn of the partner; add dialogues, or {without}"
    )
