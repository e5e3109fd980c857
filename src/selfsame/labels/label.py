"""A label: what one person said of two replies to one prompt.

As a row, of the file of labels and of JSONL:

    {"labeller": "ann", "persona": ["I have two dogs."], "context": ["Any pets?"], "replies": ["Two dogs!", "No, none."],
     "by": ["demo:ppo", "demo:sft"], "choice": "first", "corrected": "Yes, two dogs."}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from selfsame.types import Prompt

Choice = Literal["first", "second", "tie", "both bad"]
CHOICES: tuple[str, ...] = get_args(Choice)
LONGEST = 10_000
"""Characters that a text of a label may have."""


@dataclass(frozen=True)
class Label:
    """What one person said.

    Attributes:
        labeller: who; a name that this person chose.
        prompt: what the replies answer.
        replies: the two, in the order of `by`; which of them was shown first is drawn anew for each person.
        choice: the better one, or that both are as good, or that both are bad.
        by: the systems that gave them, such as `demo:ppo`; empty where they are unknown.
        corrected: a better reply that the labeller wrote, or empty.
    """

    labeller: str
    prompt: Prompt
    replies: tuple[str, str]
    choice: Choice
    by: tuple[str, str] = ("", "")
    corrected: str = ""

    def __post_init__(self) -> None:
        texts = (self.labeller, self.corrected, *self.replies, *self.prompt.persona, *self.prompt.history)
        if any(len(text) > LONGEST for text in texts):
            raise ValueError(f"a text has more than {LONGEST} characters")
        if not self.labeller.strip():
            raise ValueError("has no labeller")
        if self.choice not in CHOICES:
            raise ValueError(f"choice is {self.choice!r:.40}: it is one of {', '.join(CHOICES)}")
        if self.replies[0].strip() == self.replies[1].strip():
            raise ValueError("its two replies are the same")

    def row(self) -> dict[str, Any]:
        """The label as a row."""
        said = {"persona": list(self.prompt.persona), "context": list(self.prompt.history)}
        kept = {"replies": list(self.replies), "by": list(self.by), "choice": self.choice, "corrected": self.corrected}
        return {"labeller": self.labeller, **said, **kept}

    def sign(self) -> int:
        """1 where the first reply is the better one, -1 where the second is, else 0."""
        return {"first": 1, "second": -1}.get(self.choice, 0)

    def question(self) -> tuple[Prompt, frozenset[str]]:
        """What was asked, whichever reply comes first."""
        return self.prompt, frozenset(self.replies)

    def turned(self) -> Label:
        """The same label with the replies the other way round."""
        choice: dict[str, Choice] = {"first": "second", "second": "first"}
        replies, by = (self.replies[1], self.replies[0]), (self.by[1], self.by[0])
        return Label(self.labeller, self.prompt, replies, choice.get(self.choice, self.choice), by, self.corrected)


def is_label(row: Mapping[str, Any]) -> bool:
    """Whether a row is a label."""
    return "choice" in row and "replies" in row


def label_of(row: Mapping[str, Any]) -> Label:
    """The label in a row.

    Raises:
        ValueError: it is none; the message says what is wrong.
    """
    persona, context, replies = (_texts(row, name) for name in ("persona", "context", "replies"))
    by = _texts(row, "by") or ["", ""]
    if len(replies) != 2 or len(by) != 2:
        raise ValueError(f"has {len(replies)} replies by {len(by)} systems: a label is about two")
    labeller, corrected = row.get("labeller") or "", row.get("corrected") or ""
    if not isinstance(labeller, str) or not isinstance(corrected, str):
        raise ValueError("labeller and corrected are texts")
    prompt = Prompt(tuple(persona), tuple(context))
    pair, systems = (replies[0].strip(), replies[1].strip()), (by[0], by[1])
    return Label(labeller.strip(), prompt, pair, row.get("choice"), systems, corrected.strip())  # pyright: ignore


def _texts(row: Mapping[str, Any], name: str) -> list[str]:
    value = row.get(name)
    value = [] if value is None else value
    if not isinstance(value, (list, tuple)) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{name} is a list of texts, got {value!r:.60}")
    return list(value)
