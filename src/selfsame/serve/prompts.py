"""Prompts of the people that a run was trained on: what is said of replies to them may train a reward model."""

from __future__ import annotations

from selfsame.data.loader import DatasetLoader
from selfsame.serve.chatbot import Chatbot
from selfsame.types import Prompt


def training_prompts(bot: Chatbot) -> list[Prompt]:
    """One prompt from somewhere in each side of the training dialogues, no two alike.

    Args:
        bot: of a run.

    Raises:
        SelfsameError: the dialogues of the run cannot be read.
    """
    sides = [side for side in DatasetLoader(bot.config.data).load().train if side.persona and side.replies]
    prompts = [side.prompt(number % len(side.replies)) for number, side in enumerate(sides)]
    return list(dict.fromkeys(prompt for prompt in prompts if prompt.history[-1]))
