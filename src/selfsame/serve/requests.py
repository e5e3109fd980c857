"""What clients of the OpenAI API may ask: a wrong type or number is refused, a field that changes nothing is listed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

LARGEST_LIMIT = 1_000_000
"""Tokens that may be asked for; what a model cannot give is cut to what it can."""
LONGEST_TEXT = 100_000
"""Characters of a message."""
MOST_MESSAGES = 2048
MOST_REPLIES = 16
_MOST_NAMED = 20
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")

Text = Annotated[str, StringConstraints(max_length=LONGEST_TEXT)]
Stop = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Count = Annotated[int, Field(ge=1, le=MOST_REPLIES)]
Limit = Annotated[int, Field(ge=1, le=LARGEST_LIMIT)]

_UNFIT: Mapping[str, Sequence[Any]] = {
    "tools": ([],),
    "functions": ([],),
    "response_format": ({"type": "text"},),
    "modalities": (["text"], []),
    "audio": (),
    "logprobs": (False, 0),
    "top_logprobs": (0,),
    "echo": (False,),
    "suffix": ("",),
}
"""Fields that ask for another kind of answer, and the values that do not."""


class Refused(Exception):
    """A request that is not answered.

    Args:
        message: what is wrong, and what to do.
        param: the field.
        status: of HTTP.
        kind, code: as OpenAI names the error.
        headers: of the answer.
    """

    def __init__(
        self,
        message: str,
        param: str | None = None,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.param, self.status, self.kind, self.code = message, param, status, kind, code
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """As OpenAI sends it."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class StreamOptions(_Strict):
    """How a reply is streamed."""

    include_usage: bool | None = None


class Part(_Strict):
    """A part of a message."""

    type: str
    text: Text | None = None


class Message(_Strict):
    """A message of a chat."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Text | Annotated[list[Part], Field(max_length=64)] | None = None


class Asked(_Strict):
    """What both kinds of request have in common."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_tokens: Limit | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Count | None = None
    best_of: Count | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: dict[str, float] | None = None
    user: str | None = None

    @property
    def limit(self) -> int | None:
        """Tokens that a reply may have."""
        return self.max_tokens

    @property
    def stops(self) -> tuple[str, ...]:
        """The strings that end a reply."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def usage_streamed(self) -> bool:
        """Whether a stream ends with the number of tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def ignored(self) -> tuple[str, ...]:
        """The fields that are given and change nothing.

        Raises:
            Refused: one asks for what this server does not give.
        """
        others = {name: value for name, value in (self.model_extra or {}).items() if value is not None}
        for name, harmless in _UNFIT.items():
            if name in others and not any(type(others[name]) is type(one) and others[name] == one for one in harmless):
                raise Refused(f"{name} is not supported: leave it out", name, code="unsupported_parameter")
        idle = [name for name in ("frequency_penalty", "presence_penalty", "logit_bias") if getattr(self, name)]
        return (*idle, *[name for name in others if _NAME.fullmatch(name)])[:_MOST_NAMED]


class ChatRequest(Asked):
    """A request for the next turn of a chat."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MOST_MESSAGES)]
    max_completion_tokens: Limit | None = None
    card: dict[str, Any] | None = None
    """A character card, in any dialect: who the bot is."""

    @property
    def limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


class CompletionRequest(Asked):
    """A request for a text to be continued."""

    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=1)]

    @property
    def text(self) -> str:
        """The text."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]
