"""From a character card to a run of that character: its dialogues, its settings, and the card that the run keeps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from selfsame.cards.card import TRAINING_USES, Card, read_card
from selfsame.cards.write import write_card
from selfsame.config import Config, merge_configs
from selfsame.data.character import character_data
from selfsame.data.fitting import fit_persona, left_out_line
from selfsame.data.loader import DatasetLoader, convert
from selfsame.data.processor import DataProcessor
from selfsame.data.settings import DataSettings
from selfsame.errors import DataError
from selfsame.model.base import load_tokenizer, locate_model
from selfsame.pipeline import run
from selfsame.run.directory import RunDirectory
from selfsame.run.files import writing
from selfsame.run.logger import say
from selfsame.systems import TRAINED
from selfsame.types import Dialogue

ENOUGH_DIALOGUES = 10
"""Dialogues of the character in chats from which on the bot learns to speak as it does."""
_DATA, _CARD = ".character", ".card.json"
"""The dialogues, and the card until the run ends, in the run directory. A run may begin in a folder of hidden files."""


@dataclass(frozen=True)
class Character:
    """A card, its file, and where its run goes."""

    card: Card
    path: Path
    directory: Path


def open_character(path: str | Path, directory: str | Path | None = None) -> Character:
    """The character of a card. Its run goes to `directory`, by default `runs/character-<name>`.

    Raises:
        DataError: the card cannot be used.
    """
    card = read_card(path)
    name = "-".join(re.findall(r"\w+", card.name.lower())) or "card"
    return Character(card, Path(path), Path(directory or f"runs/character-{name}"))


def train_character(character: Character, chats: Sequence[str | Path], config: Config) -> RunDirectory:
    """Evaluate one character, and train it where a stage of `config` does; the same call resumes. The run keeps the card:
    `selfsame chat --model RUN` knows who speaks.

    Args:
        character: from `open_character`.
        chats: files with dialogues of the character, in any form that `selfsame run --data.path` reads.
        config: settings; the data and the directory are set here.

    Raises:
        SelfsameError: the chats, the card or a setting cannot be used.
    """
    card, directory = character.card, character.directory
    if note := card.not_used(TRAINING_USES):
        say(note)
    if name := card.user_name():
        say(f"the card names whom it talks to: that person is called {name}")
    base = locate_model(config.model.base)
    processor = DataProcessor(load_tokenizer(base, config.model.revision), config.model.max_length)
    persona, left = fit_persona(processor, card.persona)
    if left:
        say(f"{left_out_line(processor, left)}; raise model.max_length to use them")
    if not persona:
        raise DataError(f"no trait of {card.name!r:.60} fits into model.max_length {config.model.max_length}: raise it")
    own = [dialogue for path in chats for dialogue in _chats(path, character, config.data)]
    made = character_data(card, persona, own, DatasetLoader().read_parts()[0]["train"])
    for note in made.notes:
        say(note)
    if not {*TRAINED} & {*config.run.stages}:
        if len(own) >= ENOUGH_DIALOGUES and config.training.sft.start_from:
            # What a card cannot say, how the character speaks, is in the chats. Measured by reading 12
            # replies: beside 283 made dialogues, 25 of its own taught nothing; alone they taught its words and facts.
            made = made.by_its_own()
            config = merge_configs(config, {"run": {"stages": ["sft", "evaluate"], "start_from": None}})
        else:
            say(
                f"nothing is trained: the bot of the package keeps personas already. It learns how the character speaks from"
                f" {ENOUGH_DIALOGUES} dialogues of chats or more; --run.stages ppo evaluate trains it by reward"
            )
    folder = directory / _DATA
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    convert(made.train, folder / "train.jsonl")
    convert(made.validation, folder / "valid.jsonl")
    write_card(card, directory / _CARD)  # a card that cannot be kept is reported before anything is trained
    done = run(
        merge_configs(config, {"data": {"path": str(folder)}, "run": {"directory": str(directory)}}), "character"
    )
    write_card(card, done.card_path)
    (directory / _CARD).unlink(missing_ok=True)
    return done


def _chats(path: str | Path, character: Character, settings: DataSettings) -> Iterator[Dialogue]:
    """The dialogues of a file, with the character as speaker 2."""
    known = {"path": str(path), "card": str(character.path)}
    for source in DatasetLoader(settings.model_copy(update=known)).sources():
        for note in source.notes:
            say(note)
        if source.rejected:
            say(f"{path}: {len(source.rejected)} rows are left out; the first: {source.rejected[0]}")
        for dialogue in source.dialogues:
            swapped = bool(dialogue.personas[0]) and not dialogue.personas[1]
            turns = tuple(replace(turn, speaker=3 - turn.speaker) for turn in dialogue.turns)
            yield replace(dialogue, personas=((), ()), turns=turns) if swapped else dialogue
