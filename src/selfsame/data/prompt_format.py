"""The control pieces between persona and turns: our own markers, or those of a chat template."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

MARKERS = ("[PERSONA]", "[DIALOGUE]", "[RESPONSE]", "[SEP]")
CHAT_INTRODUCTION = "You are the person described here. Stay in character.\n"


@dataclass(frozen=True)
class PromptFormat:
    """The control pieces of a prompt: `head` persona `opening` turn `answer` reply `next` turn `answer` ...

    `end` is the one token that ends a reply, with which `next` begins. `controls` are the strings that must not occur
    in people's text; `joiner` stands between traits; `space` between a piece and the text beside it.
    """

    head: str
    opening: str
    answer: str
    next: str
    end: str
    controls: tuple[str, ...]
    joiner: str
    space: str

    def escape(self, text: str) -> str:
        """`text` with a backslash after the first character of every control string, however many it has already."""
        return _control_pattern(self.controls, r"\\*").sub(lambda m: m[0][0] + "\\" + m[0][1:], text)

    def unescape(self, text: str) -> str:
        """The inverse of `escape`."""
        return _control_pattern(self.controls, r"\\+").sub(lambda m: m[0][0] + m[0][2:], text)


MARKER_FORMAT = PromptFormat(*MARKERS, MARKERS[3], MARKERS, " | ", " ")


@lru_cache(maxsize=64)
def _control_pattern(controls: tuple[str, ...], between: str) -> re.Pattern[str]:
    ordered = sorted(controls, key=len, reverse=True)
    return re.compile("|".join(re.escape(c[0]) + between + re.escape(c[1:]) for c in ordered))


def chat_format(tokenizer: Any) -> PromptFormat | None:
    """The pieces of the tokenizer's chat template with the persona in the system message, or None where it cannot
    serve: no template, no system message, or a prompt that is not a prefix of the next one."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    persona, texts = "\u241fpersona\u241f", [f"\u241f{k}\u241f" for k in range(1, 6)]
    roles = ["user", "assistant", "user", "assistant", "user"]
    messages = [{"role": "system", "content": CHAT_INTRODUCTION + persona}]
    messages += [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
    try:
        rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        pieces = re.split("|".join(map(re.escape, [persona, *texts])), rendered)
    except Exception:  # a template is code of the model's authors and raises what it likes (no system role, ...)
        return None
    if len(pieces) != 7:
        return None
    head, opening, answer, following, answer_again, following_again, last = pieces
    if not (answer == answer_again == last and following == following_again):
        return None
    specials = [s for s in tokenizer.all_special_tokens if len(s) > 1]
    ends = [s for s in specials if following.startswith(s)]
    controls = {*specials, *_structural_strings((head, opening, answer, following), specials)}
    if not ends or not all(any(c in piece for c in controls) for piece in (opening, answer, following)):
        return None
    return PromptFormat(head, opening, answer, following, max(ends, key=len), tuple(sorted(controls)), "\n", "")


def _structural_strings(pieces: Sequence[str], specials: Sequence[str]) -> set[str]:
    """Parts of a template that are not special tokens but look like control text, such as `<<SYS>>` or `### User:`."""
    splitter = re.compile("|".join(map(re.escape, specials)) or r"(?!)")
    chunks = {chunk.strip() for piece in pieces for part in splitter.split(piece) for chunk in part.split("\n")}
    return {c for c in chunks if re.search(r"[^\w\s]", c) and c not in CHAT_INTRODUCTION and len(c) > 1}


def has_markers(tokenizer: Any) -> bool:
    """Whether the four markers are single tokens of this tokenizer."""
    vocabulary = tokenizer.get_vocab()
    return all(marker in vocabulary for marker in MARKERS)


def add_markers(tokenizer: Any) -> int:
    """Adds the markers that the tokenizer lacks as special tokens; returns how many were added."""
    missing = [m for m in MARKERS if m not in tokenizer.get_vocab()]
    return (
        tokenizer.add_special_tokens({"additional_special_tokens": [*tokenizer_extra_specials(tokenizer), *missing]})
        if missing
        else 0
    )


def tokenizer_extra_specials(tokenizer: Any) -> list[str]:
    """Special tokens of the tokenizer beside bos, eos, pad and the like."""
    kinds = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")
    named = {tokenizer.special_tokens_map.get(kind) for kind in kinds}
    return [s for s in tokenizer.all_special_tokens if s not in named]
