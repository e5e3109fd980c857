"""Answers in the shapes of the OpenAI API."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Any

from selfsame.serve.hub import Hub, Voice
from selfsame.serve.requests import Refused
from selfsame.serve.scheduler import Finished

DONE = b"data: [DONE]\n\n"


class Shape:
    """Makes the answers to one request.

    Args:
        model: the name that was asked for.
        is_chat: whether messages are answered, or a text is continued.
        prompt_tokens: of the prompt.
    """

    def __init__(self, model: str, is_chat: bool, prompt_tokens: int) -> None:
        self.model, self.is_chat, self.prompt_tokens = model, is_chat, prompt_tokens
        self._id = f"{'chatcmpl' if is_chat else 'cmpl'}-{secrets.token_hex(12)}"
        self._created = int(time.time())

    def whole(self, replies: Iterable[Finished], sampled: int, reused: int) -> dict[str, Any]:
        """The whole answer."""
        choices = []
        for reply in sorted(replies, key=lambda reply: reply.index):
            said: dict[str, Any] = {"text": reply.text}
            if self.is_chat:
                said = {"message": {"role": "assistant", "content": reply.text, "refusal": None}}
            choices.append({"index": reply.index, **said, "logprobs": None, "finish_reason": reply.reason})
        kind = "chat.completion" if self.is_chat else "text_completion"
        return self._object(kind, choices) | {"usage": self._usage(sampled, reused)}

    def begin(self, index: int) -> bytes:
        """The chunk that opens a reply; a text has none."""
        return self._chunk([self._delta(index, {"role": "assistant", "content": ""}, None)]) if self.is_chat else b""

    def piece(self, index: int, text: str) -> bytes:
        """A chunk with more text."""
        return self._chunk([self._delta(index, {"content": text}, None)])

    def end(self, index: int, reason: str) -> bytes:
        """The chunk that ends a reply."""
        return self._chunk([self._delta(index, {}, reason)])

    def usage(self, sampled: int, reused: int) -> bytes:
        """The chunk with the number of tokens."""
        return self._chunk([], usage=self._usage(sampled, reused))

    def _delta(self, index: int, delta: dict[str, Any], reason: str | None) -> dict[str, Any]:
        said = {"delta": delta} if self.is_chat else {"text": delta.get("content", "")}
        return {"index": index, **said, "logprobs": None, "finish_reason": reason}

    def _chunk(self, choices: Sequence[Any], **more: Any) -> bytes:
        return event(self._object("chat.completion.chunk" if self.is_chat else "text_completion", choices) | more)

    def _object(self, kind: str, choices: Sequence[Any]) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self.model, "choices": choices}

    def _usage(self, sampled: int, reused: int) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": sampled,
            "total_tokens": self.prompt_tokens + sampled,
            "prompt_tokens_details": {"cached_tokens": reused},
        }


def event(body: dict[str, Any]) -> bytes:
    """A server-sent event. Letters outside ASCII are escaped, half a surrogate pair too."""
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def failed_event(refused: Refused) -> bytes:
    """The event that ends a stream which broke."""
    return event(refused.body)


def model_object(hub: Hub, voice: Voice) -> dict[str, Any]:
    """A model in the list of models, with how it opens a chat."""
    context = voice.bot.roles.processor.max_length
    made = {
        "id": voice.name,
        "object": "model",
        "created": hub.created,
        "owned_by": "selfsame",
        "context_length": context,
    }
    if voice.card is not None:
        made |= {"character": voice.card.name, "first_message": voice.first_message}
    return made
