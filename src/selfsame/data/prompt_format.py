"""The control pieces between persona and turns: our own markers, or those of a chat template."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from selfsame.data.chat_template import DAY, PERSONA_IN_FIRST_TURN, fix_day, template_of

MARKERS = ("[PERSONA]", "[DIALOGUE]", "[RESPONSE]", "[SEP]")
CHAT_INTRODUCTION = "You are the person described here. Stay in character.\n"
_BLANK_LINE = "\n\n"


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


class UnfitTemplate(Exception):
    """A chat template that cannot render what a role learns from; the text says why."""


def find_format(tokenizer: Any) -> tuple[PromptFormat, str]:
    """The format that the tokenizer knows, and a line on what one might not expect of it (empty where there is nothing). The
    tokenizer is made to render it: its chat template gets one date for every day and, if it has no system message, puts that
    into the first user turn; where no template can serve, the markers are added."""
    dated = fix_day(tokenizer)
    if has_markers(tokenizer):
        return MARKER_FORMAT, ""
    template = template_of(tokenizer)
    if template is None:
        add_markers(tokenizer)
        return MARKER_FORMAT, "the base has no chat template: four marker tokens are added and learned"
    day = f"the date in the base's chat template is {DAY:%d %b %Y} on every day" if dated else ""
    try:
        return chat_format(tokenizer, template), day
    except UnfitTemplate as error:
        reason = str(error)
    try:
        form = chat_format(tokenizer, PERSONA_IN_FIRST_TURN + template)
    except UnfitTemplate as error:
        add_markers(tokenizer)
        return MARKER_FORMAT, (
            f"the base's chat template is not used, because {error}: four marker tokens are added and learned"
        )
    tokenizer.chat_template = PERSONA_IN_FIRST_TURN + template
    return (
        form,
        f"the persona begins the first user turn of the base's chat template, because {reason}{day and '; '}{day}",
    )


def chat_format(tokenizer: Any, template: str) -> PromptFormat:
    """The pieces of a chat template with the persona in the system message.

    Raises:
        UnfitTemplate: no system message, no token that ends a reply, or a prompt that is not the beginning of the next one.
    """
    head, opening, answer, following = _pieces_of(tokenizer, template)
    specials = [s for s in tokenizer.all_special_tokens if len(s) > 1]
    # Tools that add tokens leave those that the tokenizer had in its vocabulary, but may drop them from its special ones.
    added = (token.content for token in tokenizer.added_tokens_decoder.values())
    ends = [s for s in (*specials, *added) if following.startswith(s)]
    if not ends:
        raise UnfitTemplate("it ends no reply with a special token")
    controls = {*specials, *ends, *_structural_strings((head, opening, answer, following), specials)}
    parted = {"persona": _BLANK_LINE in opening or any(c in opening for c in controls)}  # a trait has one line
    parted |= {"a user's turn": any(c in answer for c in controls)}
    if unmarked := [what for what, is_marked in parted.items() if not is_marked]:
        raise UnfitTemplate(f"it marks no end of {unmarked[0]}")
    return PromptFormat(head, opening, answer, following, max(ends, key=len), tuple(sorted(controls)), "\n", "")


def _pieces_of(tokenizer: Any, template: str) -> tuple[str, str, str, str]:
    """What a template writes before the persona, between persona and first turn, before a reply, and after it."""
    persona, texts = "\u241fpersona\u241f", [f"\u241f{k}\u241f" for k in range(1, 6)]
    messages = [{"role": "system", "content": CHAT_INTRODUCTION + persona}]
    messages += [{"role": ("user", "assistant")[k % 2], "content": text} for k, text in enumerate(texts)]
    try:
        rendered = tokenizer.apply_chat_template(
            messages, chat_template=template, tokenize=False, add_generation_prompt=True
        )
    except Exception as error:  # a template is code of the model's authors and raises what it likes
        raise UnfitTemplate(f"it says {' '.join(str(error).split())[:100]!r}") from error
    parts = re.split(f"({'|'.join(map(re.escape, [persona, *texts]))})", rendered)
    if sorted(parts[1::2]) != sorted([persona, *texts]):
        left_out = [what for what in (persona, *texts) if parts.count(what) != 1]
        what = "the system message" if persona in left_out else "a turn"
        raise UnfitTemplate(f"it leaves out or repeats {what}")
    if parts[1::2] != [persona, *texts]:
        raise UnfitTemplate("it writes the system message after a turn")
    head, opening, answer, following, answer_again, following_again, last = parts[::2]
    # " hello" after "[/INST]", " </s>" after it: such a space is the reply's, and a prompt ends without it.
    if not (answer.rstrip(" ") == answer_again.rstrip(" ") == last.rstrip(" ") and following == following_again):
        raise UnfitTemplate("its prompts are not the beginnings of later ones")
    return head, opening, last, following.lstrip(" ")


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
