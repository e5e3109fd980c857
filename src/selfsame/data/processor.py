"""The one place where people's words become tokens, and tokens words again.

A prompt is persona, then turns, with control pieces between them:

    [PERSONA] trait | trait [DIALOGUE] their turn [RESPONSE] my turn [SEP] their turn [RESPONSE]

`PromptFormat` names the four pieces; a model with its own chat template has other pieces and the same structure. Text
from people never becomes a control token: it is encoded apart from the pieces, with special tokens split, and a literal
control string in it is escaped (`[SEP]` -> `[\\SEP]`, `[\\SEP]` -> `[\\\\SEP]`), which `parse_prompt` undoes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from selfsame.data.chat_template import marker_template
from selfsame.data.prompt_format import MARKER_FORMAT, find_format
from selfsame.errors import DataError
from selfsame.text.keywords import STOP_WORDS
from selfsame.text.language import ENGLISH, UNSPACED, stop_words
from selfsame.types import Example, Persona, Prompt, clean_persona


@dataclass(frozen=True)
class EncodedDialogue:
    """One side of a dialogue as tokens. `spans`: [start, end) of each own turn with its end token; `persona`: [start, end)
    of the traits."""

    ids: list[int]
    spans: list[tuple[int, int]]
    persona: tuple[int, int]


class DataProcessor:
    """Renders prompts to text and tokens and parses them back, in the tokenizer's own format.

    A tokenizer that knows the markers uses them; else one with a fitting chat template uses that; else the markers are
    added to it (the model's embeddings must then grow: `model/base.py` does). `note` is a line on what one might not expect
    of that, or empty. `begin` stands before the head, `lead` before every text.

    Args:
        tokenizer: a Hugging Face tokenizer.
        max_length: tokens that a prompt with its reply may have.
    """

    def __init__(self, tokenizer: Any, max_length: int = 1024) -> None:
        self.tokenizer, self.max_length = tokenizer, max_length
        self.format, self.note = find_format(tokenizer)
        self.lead = " " if self.format.space and not self._adds_space() else ""
        self._pieces = {
            p: self._piece_ids(p) for p in (self.format.head, self.format.opening, self.format.answer, self.format.next)
        }
        self.begin: str = tokenizer.bos_token if self._begin_ids() else ""
        self.head_ids = self._begin_ids() + self._pieces[self.format.head]
        self.end_id: int = tokenizer.convert_tokens_to_ids(self.format.end)
        self.pad_id: int = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self.end_id
        self.remember(200_000)
        if self.format is MARKER_FORMAT and self.note:
            self.bring_template()

    # --- text -------------------------------------------------------------------------------------------------------

    def render(self, prompt: Prompt) -> str:
        """The prompt as text, as in the module's docstring (or in the model's chat template)."""
        form = self.format
        parts = [form.head, self.persona_text(prompt.persona), form.opening, self._escaped(prompt.history[0])]
        for k in range(1, len(prompt.history), 2):
            parts += [form.answer, self._escaped(prompt.history[k]), form.next, self._escaped(prompt.history[k + 1])]
        return form.space.join(part for part in (*parts, form.answer) if part)

    def parse_prompt(self, text: str) -> Prompt:
        """The exact inverse of `render`. Also reads the plain form `[PERSONA] p [DIALOGUE] t1 [SEP] t2 [RESPONSE]`, in
        which `[SEP]` stands between all turns and the last one is the partner's.

        Raises:
            DataError: the text does not have the form of a prompt, or holds nothing but control pieces.
        """
        form, text = self.format, text.strip()
        head, answer = form.head.strip(), form.answer.strip()
        opening = form.opening.strip() or form.opening  # a blank line, where the persona begins the first user turn
        if not text.startswith(head) or opening not in text or not text.endswith(answer):
            raise DataError(
                f"not a prompt: expected {head} traits {form.opening} turns {form.answer}, got {text[:60]!r}"
            )
        persona, _, rest = text[len(head) :].partition(opening)
        body = rest[: -len(answer)]
        if form is MARKER_FORMAT and answer not in body:
            turns = body.split(form.next)
            turns = turns if len(turns) % 2 else ["", *turns]
        else:
            turns = re.split(f"{re.escape(answer)}|{re.escape(form.next.strip())}", body)
        traits = [self._restored(t) for t in self._split_traits(persona)]
        history = tuple(self._restored(t) for t in turns)
        if len(history) % 2 == 0:
            raise DataError(f"not a prompt: a partner's turn is missing after the last {form.next}: {text[:60]!r}")
        if not clean_persona(traits) and not any(history):
            raise DataError("the prompt is nothing but control markers: give a persona or something said")
        return Prompt(tuple(traits), history)

    def persona_text(self, persona: Persona) -> str:
        """The traits as they stand in a prompt, between head and opening."""
        if self.format is MARKER_FORMAT:
            return self.format.joiner.join(self._escaped(re.sub(r"\\*\|", lambda m: "\\" + m[0], t)) for t in persona)
        return self.format.joiner.join(map(self._escaped, persona))

    def _split_traits(self, persona: str) -> list[str]:
        if self.format is MARKER_FORMAT:
            parts = re.split(r"(?<!\\)\|", persona)
            return [re.sub(r"\\+\|", lambda m: m[0][1:], part) for part in parts]
        return persona.split(self.format.joiner)

    def _escaped(self, text: str) -> str:
        return self.format.escape(text.strip())

    def _restored(self, text: str) -> str:
        return self.format.unescape(text.strip())

    # --- tokens -----------------------------------------------------------------------------------------------------

    def encode_prompt(self, prompt: Prompt, reserve: int = 0) -> list[int]:
        """Token ids of the prompt. The oldest exchanges are left out until it fits into `max_length - reserve`; a last
        turn that is too long by itself loses its beginning; the persona always stays whole.

        Raises:
            DataError: the persona alone does not fit.
        """
        form, budget = self.format, self.max_length - reserve
        ids = self.header_ids(prompt)
        answer = self._pieces[form.answer]
        room = budget - len(ids) - len(answer)
        if room < 1:
            raise DataError(
                f"the persona has {len(ids)} tokens and leaves no room for a dialogue in {budget} (model.max_length"
                f" {self.max_length} less {reserve} for the reply): shorten it or raise model.max_length"
            )
        blocks = [list(self._text_ids(prompt.history[-1]))[-room:]]
        room -= len(blocks[0])
        for k in range(len(prompt.history) - 3, -1, -2):
            block = [
                *self._text_ids(prompt.history[k]),
                *answer,
                *self._text_ids(prompt.history[k + 1]),
                *self._pieces[form.next],
            ]
            if len(block) > room:
                break
            blocks.append(block)
            room -= len(block)
        return ids + [i for block in reversed(blocks) for i in block] + answer

    def encode_plain(self, text: str, reserve: int = 0) -> list[int]:
        """Token ids of a text that the model is to continue, in which nobody speaks: the begin-of-text token (else the end
        token) and the text, which loses its beginning where it does not fit into `max_length - reserve`."""
        begin = self.tokenizer.bos_token_id
        head = [self.end_id if begin is None else begin]
        return head + list(self._text_ids(text))[-(self.max_length - reserve - 1) :]

    def fits(self, prompt: Prompt, reserve: int = 0) -> bool:
        """Whether the persona leaves room for the last turn and a reply of `reserve` tokens."""
        try:
            self.encode_prompt(prompt, reserve)
        except DataError:
            return False
        return True

    def fits_example(self, example: Example) -> bool:
        """Whether the persona leaves half of the context, and some reply fits."""
        try:
            return self.fits(Prompt(example.persona), self.max_length // 2) and bool(self.encode_example(example))
        except DataError:
            return False

    def header_ids(self, prompt: Prompt) -> list[int]:
        """Token ids up to and with the piece that opens the dialogue."""
        return [
            *self.head_ids,
            *self._text_ids(self.persona_text(prompt.persona), escaped=True),
            *self._pieces[self.format.opening],
        ]

    def encode_reply(self, text: str, limit: int | None = None) -> list[int]:
        """Token ids of a reply with the end token.

        Raises:
            DataError: it has more than `limit` tokens.
        """
        ids = [*self._text_ids(text), self.end_id]
        if limit is not None and len(ids) > limit:
            raise DataError(f"the reply {text[:40]!r}... has {len(ids)} tokens, more than the {limit} that fit")
        return ids

    def decode_reply(self, ids: Sequence[int]) -> str:
        """The text of a sampled reply, up to its end token."""
        ids = list(ids)
        kept = ids[: ids.index(self.end_id)] if self.end_id in ids else ids
        text = self.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return self._restored(text)

    def encode_example(self, example: Example) -> list[EncodedDialogue]:
        """The whole dialogue as one row of tokens; as several, each with the persona in front, where it is too long.
        Exchanges that do not fit into a row of their own are left out.

        Raises:
            DataError: the persona alone does not fit.
        """
        form, header = self.format, self.header_ids(Prompt(example.persona))
        if len(header) >= self.max_length:
            raise DataError(
                f"the persona of dialogue {example.id} has {len(header)} tokens, more than model.max_length"
                f" {self.max_length}: shorten it or raise model.max_length"
            )
        rows: list[EncodedDialogue] = []
        ids, spans = list(header), []
        persona = len(self.head_ids), len(header) - len(self._pieces[form.opening])
        after_end = self._pieces[form.next][1:]
        for k in range(0, len(example.turns), 2):
            partner = [*self._text_ids(example.turns[k]), *self._pieces[form.answer]]
            reply = self.encode_reply(example.turns[k + 1])
            size = len(after_end) * bool(spans) + len(partner) + len(reply)
            if len(header) + size > self.max_length:
                continue
            if len(ids) + size > self.max_length:
                rows.append(EncodedDialogue(ids, spans, persona))
                ids, spans = list(header), []
            ids += (after_end if spans else []) + partner
            spans.append((len(ids), len(ids) + len(reply)))
            ids += reply
        return [*rows, EncodedDialogue(ids, spans, persona)] if spans else rows

    def remember(self, texts: int) -> None:
        """Remembers the tokens of the last texts, at most `texts` of them."""
        self._encode_text = lru_cache(maxsize=texts)(self._encode_text_uncached)

    @lru_cache(maxsize=4)  # noqa: B019 (a process has one processor or two)
    def content_ids(self, language: str = ENGLISH) -> frozenset[int]:
        """Tokens that are, or could be a part of, a content word of the language: three letters or more, or one character of
        a script without spaces."""
        stop = STOP_WORDS if language == ENGLISH else stop_words(language)
        shortest = 1 if language in UNSPACED else 3
        texts = {i: self.tokenizer.decode([i]).strip() for i in range(len(self.tokenizer))}
        return frozenset(i for i, t in texts.items() if t.isalpha() and len(t) >= shortest and t.lower() not in stop)

    def _text_ids(self, text: str, escaped: bool = False) -> tuple[int, ...]:
        text = text if escaped else self._escaped(text)
        return self._encode_text(self.lead + text) if text else ()

    def _encode_text_uncached(self, text: str) -> tuple[int, ...]:
        whole = text.encode("utf-8", "replace").decode()  # no tokenizer takes half a surrogate pair: it becomes "?"
        return tuple(self.tokenizer(whole, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def _piece_ids(self, piece: str) -> list[int]:
        if self.format is MARKER_FORMAT or not self._adds_space():
            return self._plain_ids(piece)
        # Such a tokenizer brings the space in front of a text itself, and puts one where a text has a line break.
        before = "a" if piece[:1].isspace() else ""
        return self._plain_ids(before + piece.rstrip(" "))[len(self._plain_ids(before)) :]

    def _plain_ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _begin_ids(self) -> list[int]:
        """The begin-of-text token, where the tokenizer puts one before every text (a chat template brings its own)."""
        begin = self.tokenizer("")["input_ids"][:1] if self.format is MARKER_FORMAT else []
        return list(begin) if begin and begin[0] == self.tokenizer.bos_token_id else []

    def bring_template(self) -> None:
        """Gives the tokenizer a chat template of the markers: it goes out with every role."""
        spaced = tuple(self._piece_ids(f"{self.format.answer} a")[1:]) == self._text_ids("a")
        self.tokenizer.chat_template = marker_template(self.begin, " " if spaced else "")

    def _adds_space(self) -> bool:
        """Whether the tokenizer puts a word boundary in front of a text by itself, as SentencePiece ones do."""
        plain = self._plain_ids("a")
        return bool(plain) and self.tokenizer.convert_ids_to_tokens(plain[0]).startswith("\u2581")
