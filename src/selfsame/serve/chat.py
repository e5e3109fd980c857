"""Talking to a bot in the terminal. What people type is text, whatever it looks like: `[PERSONA] ...` stays a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from selfsame.model.roles import Roles
from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.settings import SamplingSettings
from selfsame.types import Persona, Prompt


class Conversation:
    """One conversation with a bot that has a persona.

    Args:
        roles: the model.
        role: whose adapter speaks; None: the base.
        persona: the bot's traits.
        sampling: how replies are sampled.
        seed: of sampling; turn k uses seed + k.
        opening: what the bot says first, if it opens.
        best_of: of so many replies the one with the highest reward is said (the `reward` role).
    """

    def __init__(
        self,
        roles: Roles,
        role: str | None,
        persona: Persona,
        sampling: SamplingSettings,
        seed: int = 0,
        opening: str = "",
        best_of: int = 1,
    ) -> None:
        self.engine, self.role, self.sampling, self.seed = RolloutEngine(roles), role, sampling, seed
        self.persona, self.best_of = persona, best_of
        self.turns: list[str] = ["", opening.strip()] if opening.strip() else []
        roles.processor.encode_prompt(
            Prompt(persona), sampling.max_new_tokens
        )  # a persona that is too long is told now

    def say(self, text: str) -> str:
        """The bot's reply to what the user says."""
        prompt = Prompt(self.persona, (*self.turns, text))
        seed = self.seed + len(self.turns)
        (reply,) = self.engine.reply(self.role, [prompt], self.sampling, seed, best_of=self.best_of)
        self.turns += [text.strip(), reply]
        return reply


def chat(conversation: Conversation, lines: Iterable[str], show: Callable[[str], None]) -> None:
    """Answers line after line until `/quit` or the end of the input; empty lines are passed over."""
    if conversation.turns:
        show(conversation.turns[-1])
    for line in lines:
        if line.strip() == "/quit":
            return
        if line.strip():
            show(conversation.say(line))
