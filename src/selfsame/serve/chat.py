"""A conversation with a bot. What people type is text, whatever it looks like: `[PERSONA] ...` stays a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from selfsame.cards.card import Lore
from selfsame.data.processor import DataProcessor
from selfsame.errors import ConfigError
from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.policy import Policy
from selfsame.run.files import write_text
from selfsame.run.writable import check_writable
from selfsame.types import Persona, Prompt

_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]*]*(?=\s|$)|[。！？]+[」』”’]*")
_LIST_NUMBER = re.compile(r"\s*\d+[.)]+")
LORE_TURNS = 4
"""Last turns in which the keys of lore are looked for."""
MOST_LORE = 64
"""Traits of lore that are tried for a turn: a lorebook may have tens of thousands with the same key."""
Show = Callable[[str], None]
"""Is given the text of a reply so far, while it is sampled."""


def cut_short(text: str) -> str:
    """What is shown of a reply that came to its limit: its full sentences, or all of it and an ellipsis, if it has none."""
    for end in reversed([found.end() for found in _SENTENCE_END.finditer(text)]):
        line = text[:end].rpartition("\n")[2]
        if not _LIST_NUMBER.fullmatch(line):
            return text[:end]
    return f"{text.rstrip()}…"


def persona_after(
    processor: DataProcessor, persona: Persona, lore: Sequence[Lore], turns: Sequence[str], reserve: int
) -> Persona:
    """The persona with the lore that the last turns mention, as much of it as leaves an eighth of the context besides a reply
    of `reserve` tokens."""
    said, room = "\n".join(turns[-LORE_TURNS:]), processor.max_length // 8 + reserve
    mentioned = (trait for entry in lore if entry.is_about(said) for trait in entry.traits)
    for trait in islice(dict.fromkeys(mentioned), MOST_LORE):
        longer = (*persona, trait)
        persona = longer if trait not in persona and processor.fits(Prompt(longer), room) else persona
    return persona


class Conversation:
    """A conversation with a bot that has a persona. `turns` holds what was said, the user first.

    Args:
        policy: who speaks, and how; turn k uses its seed + k.
        persona: the bot's traits.
        opening: what the bot says first, if it opens.
        systems: the systems that `switch` knows; each entry loads one and returns its role.
        system: the name of the system that speaks, if it has one.
        lore: traits that join the persona while their keys are mentioned.
        notes: what is to be known of this persona, a line each.
    """

    def __init__(
        self,
        policy: Policy,
        persona: Persona,
        opening: str = "",
        systems: Mapping[str, Callable[[], str | None]] | None = None,
        system: str | None = None,
        lore: Sequence[Lore] = (),
        notes: Sequence[str] = (),
    ) -> None:
        self.policy, self.systems, self.system = policy, dict(systems or {}), system
        self.notes = tuple(notes)
        self._saved: set[Path] = set()
        self.become(persona, opening, lore)

    def become(self, persona: Persona, opening: str = "", lore: Sequence[Lore] = ()) -> None:
        """Start a new conversation with another persona.

        Raises:
            DataError: the persona is too long for the model; the conversation stays as it was.
        """
        self.policy.roles.processor.encode_prompt(Prompt(persona), self.policy.sampling.max_new_tokens)
        self.persona, self.lore, self._attempt = persona, tuple(lore), 0
        self.turns: list[str] = ["", opening.strip()] if opening.strip() else []

    def say(self, text: str, show: Show | None = None) -> str:
        """Say something and return the bot's reply. A reply that reaches the length limit is cut after a sentence.

        Args:
            text: what the user says.
            show: called with the reply so far after each sampled token (not with `best_of`); the reply is the same.
        """
        reply = self._reply(self.turns, text, 0, show)
        self.turns += [text.strip(), reply]
        self._attempt = 0
        return reply

    def retry(self, show: Show | None = None) -> str:
        """Replace the bot's last reply with a new sample and return it.

        Raises:
            ConfigError: nothing was said yet, or the temperature is 0, which always gives the same reply.
        """
        self._check_said("retry")
        if self.policy.sampling.temperature == 0:
            raise ConfigError("at temperature 0 the reply is always the same: choose a higher one to retry")
        reply = self._reply(self.turns[:-2], self.turns[-2], self._attempt + 1, show)
        self.turns[-1] = reply
        self._attempt += 1
        return reply

    def undo(self) -> str:
        """Remove the last exchange and return what the user had said.

        Raises:
            ConfigError: nothing was said yet.
        """
        self._check_said("undo")
        *self.turns, said, _ = self.turns
        self._attempt = 0
        return said

    def switch(self, system: str) -> None:
        """Let another system of the same run speak from now on. The conversation so far stays.

        Raises:
            ConfigError: there is no such system.
        """
        if not self.systems:
            raise ConfigError("this model is not a run: there are no systems to choose from")
        if system not in self.systems:
            raise ConfigError(f"unknown system {system!r}: choose {', '.join(self.systems)}")
        self.policy = replace(self.policy, role=self.systems[system]())
        self.system, self._attempt = system, 0

    def persona_after(self, turns: Sequence[str]) -> Persona:
        """The persona with the lore that the last turns mention; see `persona_after`."""
        policy = self.policy
        return persona_after(policy.roles.processor, self.persona, self.lore, turns, policy.sampling.max_new_tokens)

    def transcript(self) -> str:
        """The persona and all turns as text, a line each."""
        lines = [f"persona> {trait}" for trait in self.persona]
        said = [f"{'bot' if k % 2 else 'you'}> {turn}" for k, turn in enumerate(self.turns) if turn]
        return "\n".join([*lines, *said]) + "\n"

    def save(self, path: str | Path) -> None:
        """Write the transcript to a file.

        Raises:
            ConfigError: the file cannot be written, or it exists and is not from this conversation.
        """
        path = Path(path).expanduser()
        check_writable(str(path))
        if path.exists() and path.resolve() not in self._saved:
            raise ConfigError(f"{path} exists: choose another name")
        write_text(path, self.transcript())
        self._saved.add(path.resolve())

    def _check_said(self, what: str) -> None:
        if not any(self.turns[::2]):
            raise ConfigError(f"there is nothing to {what}: say something first")

    def _reply(self, turns: list[str], said: str, attempt: int, show: Show | None) -> str:
        """What the bot answers after these turns. The attempt is the step of the random numbers, so that each differs."""
        policy, decode = self.policy, self.policy.roles.processor.decode_reply
        # a letter of several tokens is shown when it is whole
        watch = None if show is None else lambda ids: show(decode(ids).rstrip("\ufffd"))
        (reply,) = RolloutEngine(policy.roles, policy.sampling.batch_size, policy.worth, watch).replies(
            policy.role,
            [Prompt(self.persona_after([*turns, said]), (*turns, said))],
            policy.sampling,
            policy.seed + len(turns),
            attempt,
            best_of=policy.best_of,
        )
        text = decode(reply.ids)
        return text if reply.ended else cut_short(text)
