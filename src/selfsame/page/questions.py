"""What is labelled: two replies to one prompt, in an order drawn for each person, and who has answered what."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

from selfsame.cards.card import Card
from selfsame.errors import ConfigError, SelfsameError
from selfsame.labels.label import Choice, Label
from selfsame.labels.store import LabelStore
from selfsame.labels.votes import Agreement, agreement
from selfsame.page.speaking import Speaking
from selfsame.run.directory import RunDirectory
from selfsame.run.records import EvaluationRecord, read_record
from selfsame.serve.prompts import training_prompts
from selfsame.types import Prompt

Pair = tuple[str, str]
Purpose = Literal["train", "compare"]
"""What labels are for. `train`: prompts of people that a run was trained on; the replies are sampled now. `compare`: prompts of
held-out people, with the replies that the evaluations recorded; training leaves such labels out."""
LONGEST_NAME = 60
_MOST_SAMPLED = 4096


@dataclass(frozen=True)
class Question:
    """Two replies to a prompt, in the order in which one person sees them.

    Attributes:
        prompt: what they answer.
        by: the systems that gave them.
        replies: the two.
    """

    prompt: Prompt
    by: Pair
    replies: tuple[str, str]

    def answered(self, labeller: str, choice: Choice, corrected: str = "") -> Label:
        """The label that says so.

        Raises:
            ConfigError: a text is too long.
        """
        try:
            return Label(labeller, self.prompt, self.replies, choice, self.by, corrected.strip())
        except ValueError as error:
            raise ConfigError(f"this label {error}") from error


@dataclass(frozen=True)
class Progress:
    """How far a labeller is: questions answered and left, and how far all agree."""

    done: int
    left: int
    agreement: Agreement


@dataclass
class Booth:
    """Where people label.

    Args:
        path: of the file of labels; it is made with the first one.
        speaking: asks the systems.
    """

    path: Path
    speaking: Speaking
    _store: LabelStore | None = field(default=None, init=False)

    @property
    def systems(self) -> list[str]:
        """The systems whose replies can be compared."""
        return self.speaking.names

    def pairs(self) -> list[Pair]:
        """Any two of them."""
        return [(one, other) for k, one in enumerate(self.systems) for other in self.systems[k + 1 :]]

    def labels(self) -> list[Label]:
        """All labels so far.

        Raises:
            SelfsameError: the file cannot be read.
        """
        return self._opened().labels() if self.path.exists() else []

    def keep(self, label: Label) -> None:
        """Write a label; it is on the disk when this returns.

        Raises:
            SelfsameError: it could not be written.
        """
        self._opened().add(label)

    def take_back(self, labeller: str) -> Question:
        """Remove this person's last label and ask its question again.

        Raises:
            ConfigError: there is none.
            SelfsameError: the file cannot be used.
        """
        own = [label for label in self.labels() if label.labeller == labeller]
        if not own:
            raise ConfigError("there is no label of yours to take back")
        self._opened().remove(own[-1])
        return Question(own[-1].prompt, own[-1].by, own[-1].replies)

    def next(self, labeller: str, pair: Pair | None = None, purpose: Purpose = "compare") -> Question | None:
        """The first question that this person has not answered; None: all are.

        Args:
            labeller: who.
            pair: the systems; None: any two, drawn for each prompt.
            purpose: what the label is for.

        Raises:
            Refused: a system could not be asked.
            SelfsameError: the file, or the dialogues of the run, cannot be read.
        """
        own = [label for label in self.labels() if label.labeller == labeller]
        answered, asked = {label.question() for label in own}, {(label.prompt, frozenset(label.by)) for label in own}
        for prompt, by in self._planned(pair, purpose):
            if (prompt, frozenset(by)) in asked:
                continue
            question = self.ask(labeller, prompt, by)
            if question is not None and (prompt, frozenset(question.replies)) not in answered:
                return question
        return None

    def ask(self, labeller: str, prompt: Prompt, by: Pair) -> Question | None:
        """The question of what two systems reply; None where that is the same, word for word.

        Raises:
            Refused: a system could not be asked.
        """
        replies = [self._recorded.get(name, {}).get(prompt) for name in by]
        if None in replies:
            sampled = self._sampled(prompt, frozenset(by))
            replies = [sampled[name] for name in by]
        first, second = ((text or "").strip() for text in replies)
        if first == second:
            return None
        question = Question(prompt, by, (first, second))
        if random.Random(f"{labeller}/{_seed(prompt, *sorted(by))}").random() < 0.5:
            question = Question(prompt, (by[1], by[0]), (second, first))
        return question

    @cached_property
    def _sampled(self) -> Callable[[Prompt, frozenset[str]], dict[str, str]]:
        """What systems reply now. It is kept: a pair with equal replies comes up at every question that is drawn."""
        return lru_cache(maxsize=_MOST_SAMPLED)(self._sample)

    def _sample(self, prompt: Prompt, by: frozenset[str]) -> dict[str, str]:
        names, who = sorted(by), Card("", prompt.persona)
        askings = [self.speaking.asking(name, who, prompt.history) for name in names]
        return dict(zip(names, self.speaking.whole(askings, _seed(prompt, *names)), strict=True))

    def progress(self, labeller: str, pair: Pair | None = None, purpose: Purpose = "compare") -> Progress:
        """How far this person is. Questions whose replies are the same are counted until they come up.

        Raises:
            SelfsameError: the file cannot be read.
        """
        labels = self.labels()
        own = {(label.prompt, frozenset(label.by)) for label in labels if label.labeller == labeller}
        left = sum((prompt, frozenset(by)) not in own for prompt, by in self._planned(pair, purpose))
        return Progress(sum(label.labeller == labeller for label in labels), left, agreement(labels))

    def _planned(self, pair: Pair | None, purpose: Purpose) -> Iterator[tuple[Prompt, Pair]]:
        """Prompts in one order for everybody, so that people share questions."""
        pairs = [pair] if pair else self.pairs()
        if pairs:
            for prompt in self._of_training if purpose == "train" else self._held_out:
                yield prompt, pairs[_seed(prompt) % len(pairs)]

    @cached_property
    def _held_out(self) -> list[Prompt]:
        found = dict.fromkeys(prompt for replies in self._recorded.values() for prompt in replies)
        return sorted(found, key=_seed)

    @cached_property
    def _of_training(self) -> list[Prompt]:
        bots = [voice.bot for voice in self.speaking.hub.voices.values() if voice.bot.directory]
        return sorted(training_prompts(bots[0]), key=_seed) if bots else []

    @cached_property
    def _recorded(self) -> Mapping[str, Mapping[Prompt, str]]:
        """What the evaluations of the runs recorded: system -> prompt -> reply."""
        found: dict[str, dict[Prompt, str]] = {}
        for directory in {v.bot.directory.path: v.bot.directory for v in self.speaking.hub.voices.values()
                          if v.bot.directory}.values():  # fmt: skip
            for file in sorted((directory.path / "eval").glob("*.json")):
                found[f"{directory.path.resolve().name}:{file.stem}"] = _replies(directory, file)
        return found

    def _opened(self) -> LabelStore:
        if self._store is None or not self.path.exists():
            self._store = LabelStore(self.path)
        return self._store


def labeller_of(name: str) -> str:
    """The name that somebody chose, as it stands in labels.

    Raises:
        ConfigError: it is empty or too long.
    """
    name = " ".join(name.split())
    if not name or len(name) > LONGEST_NAME:
        raise ConfigError(f"give your name, 1 to {LONGEST_NAME} letters: labels are kept under it")
    return name


def _replies(directory: RunDirectory, file: Path) -> dict[Prompt, str]:
    """Of one evaluation; of a damaged one none, which the report names."""
    try:
        record = read_record(file, EvaluationRecord)
    except SelfsameError:
        return {}
    return {Prompt(tuple(r.persona), tuple(r.history)): r.reply for r in (*record.replies, *record.talk)
            if len(r.history) % 2}  # fmt: skip


def _seed(prompt: Prompt, *names: str) -> int:
    """A number that stands for a prompt and systems, the same in every process."""
    text = json.dumps([prompt.persona, prompt.history, names], ensure_ascii=True)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big")


def shared_by(pair: Sequence[str | None]) -> Pair | None:
    """The two systems that are chosen; None where they are to be drawn.

    Raises:
        ConfigError: one alone is chosen, or one twice.
    """
    first, second = pair
    if not first and not second:
        return None
    if not first or not second or first == second:
        raise ConfigError("choose two systems, or leave both empty to have them drawn")
    return first, second
