"""Talking to a bot in the terminal. What people type is text, whatever it looks like: `[PERSONA] ...` stays a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from selfsame.errors import ConfigError
from selfsame.model.roles import Roles
from selfsame.model.settings import BUNDLED
from selfsame.rollout.engine import RolloutEngine
from selfsame.rollout.settings import SamplingSettings
from selfsame.serve.chatbot import Chatbot
from selfsame.types import Persona, Prompt

LONGEST = 128
"""Tokens that a reply of a larger model may have in a chat, or half of what the persona leaves, if that is less."""
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]*]*(?=\s|$)|[。！？]+[」』”’]*")
_LIST_NUMBER = re.compile(r"\s*\d+[.)]+")


def chat_sampling(
    bot: Chatbot, persona: Persona, temperature: float | None = None, max_new_tokens: int | None = None
) -> SamplingSettings:
    """How a bot's replies are sampled in a chat: as its run says, where that trained the bundled base. Any other model has more
    to say than that one and gets `LONGEST` tokens.

    Args:
        bot: who speaks.
        persona: as whom.
        temperature: another one.
        max_new_tokens: another limit.

    Raises:
        ConfigError: the limit leaves no room for the dialogue.
    """
    sampling, processor = bot.config.sampling, bot.roles.processor
    limit, context = sampling.max_new_tokens, processor.max_length
    if not (bot.of_run and bot.config.model.base == BUNDLED):
        room = context - len(processor.header_ids(Prompt(persona)))
        limit = max(limit, min(LONGEST, room // 2))
    if max_new_tokens is not None:
        limit = max_new_tokens
        if not 1 <= limit <= context // 2:
            raise ConfigError(f"--max-new-tokens is {limit}: give 1 to {context // 2}, half of the model's context")
    chosen = {"max_new_tokens": limit} | ({} if temperature is None else {"temperature": temperature})
    return sampling.model_copy(update=chosen)


def cut_short(text: str) -> str:
    """What is shown of a reply that came to its limit: its full sentences, or all of it and an ellipsis, if it has none."""
    for end in reversed([found.end() for found in _SENTENCE_END.finditer(text)]):
        line = text[:end].rpartition("\n")[2]
        if not _LIST_NUMBER.fullmatch(line):
            return text[:end]
    return f"{text.rstrip()}…"


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
        """The bot's reply to what the user says; one that came to the limit of its length is cut after a sentence."""
        prompt = Prompt(self.persona, (*self.turns, text))
        seed = self.seed + len(self.turns)
        (reply,) = self.engine.replies(self.role, [prompt], self.sampling, seed, best_of=self.best_of)
        said = self.engine.processor.decode_reply(reply.ids)
        said = said if reply.ended else cut_short(said)
        self.turns += [text.strip(), said]
        return said


def chat(conversation: Conversation, lines: Iterable[str], show: Callable[[str], None]) -> None:
    """Answers line after line until `/quit` or the end of the input; empty lines are passed over."""
    if conversation.turns:
        show(conversation.turns[-1])
    for line in lines:
        if line.strip() == "/quit":
            return
        if line.strip():
            show(conversation.say(line))
