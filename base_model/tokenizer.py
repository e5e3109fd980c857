"""The bundled base's tokenizer: byte-level BPE with the four markers as special tokens and a chat template."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from selfsame.data.prompt_format import MARKERS

PAD = "<|pad|>"
CHAT_TEMPLATE = """\
{%- set persona, opening, answer, end = '[PERSONA]', '[DIALOGUE]', '[RESPONSE]', '[SEP]' -%}
{%- set talk = messages[1:] if messages and messages[0].role == 'system' else messages -%}
{{- persona -}}
{%- if talk | length < messages | length and messages[0].content.strip() -%}
{{- ' ' + messages[0].content.strip().split('\\n') | map('trim') | select | join(' | ') -}}
{%- endif -%}
{{- opening -}}
{%- if talk and talk[0].role == 'assistant' -%}{{- answer -}}{%- endif -%}
{%- for message in talk -%}
{%- if not loop.first and message.role == loop.previtem.role -%}
{{- raise_exception('user and assistant must take turns') -}}
{%- elif message.role == 'user' -%}
{{- ' ' + message.content.strip() + answer -}}
{%- elif message.role == 'assistant' -%}
{{- ' ' + message.content.strip() + end -}}
{%- else -%}
{{- raise_exception('a conversation has one system message, the first, then user and assistant in turns') -}}
{%- endif -%}
{%- endfor -%}
{%- if not talk and add_generation_prompt -%}{{- answer -}}{%- endif -%}
"""
"""A system message is the persona, one trait a line: the prompt format of `selfsame.data.processor`, token for token
(but for markers and `|` in people's text, which the processor escapes)."""


def train_tokenizer(texts: Iterable[str], vocabulary: int, context: int) -> Any:
    """A tokenizer of `vocabulary` tokens, learnt from texts with a space in front, as `DataProcessor` encodes them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[AddedToken(token, special=True) for token in (PAD, *MARKERS)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((" " + text for text in texts), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=MARKERS[3],
        pad_token=PAD,
        additional_special_tokens=list(MARKERS[:3]),
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast
