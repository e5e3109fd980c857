"""Messages of a request -> who the bot is, and the turns so far."""

from __future__ import annotations

import re
from collections.abc import Sequence

from selfsame.data.persona_fields import system_traits
from selfsame.serve.requests import Message, Refused

_NOTE = re.compile(r"\s*\[[^\]\n]*\]\s*")
"""What programs write between the messages, such as `[Start a new Chat]`."""


def read_dialogue(messages: Sequence[Message]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(traits, history as a `Prompt` has it) of messages.

    The system and developer messages, wherever they stand, describe the bot: a trait a sentence, "You are ..." in the first
    person. Messages of one side in a row are one turn, a line each. An empty message of the assistant at the end, which asks it
    to begin, is left out.

    Raises:
        Refused: there is an image, a tool, or no turn that is to be answered.
    """
    described, turns = [], [""]
    for number, message in enumerate(messages):
        text = _text_of(message, number)
        if message.role in ("system", "developer"):
            described += [] if _NOTE.fullmatch(text) else [text]
            continue
        own = message.role == "assistant"
        if own == (len(turns) % 2 == 0):
            turns[-1] = f"{turns[-1]}\n{text}".strip()
        elif not (own and number == len(messages) - 1 and not text):
            turns.append(text)
    if len(turns) % 2 == 0:
        raise Refused(
            "the last message is the assistant's: end with a message of the user, whom the bot answers", "messages"
        )
    traits = tuple(trait for text in described if text.strip() for trait in system_traits(text).traits)
    return traits, tuple(turns)


def _text_of(message: Message, number: int) -> str:
    where, extra = f"messages.{number}", message.model_extra or {}
    if message.role in ("tool", "function") or extra.get("tool_calls") or extra.get("function_call"):
        raise Refused(f"{where} is about a tool, and these models call none: leave such messages out", where)
    content = message.content
    if content is None:
        if message.role == "assistant":
            return ""
        raise Refused(f"{where} has no content: give it as a text", f"{where}.content")
    if isinstance(content, str):
        return content.strip()
    for part in content:
        if part.type != "text" or part.text is None:
            raise Refused(
                f"{where} has content of the type {part.type!r:.40}: these models read text alone", f"{where}.content"
            )
    return "\n".join(part.text for part in content if part.text).strip()
