"""A tokenizer as llama.cpp reads it: tokens with their kinds, merges, and the pre-tokenizer that cuts texts as it does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gguf

from selfsame.data.chat_template import template_of
from selfsame.data.processor import DataProcessor
from selfsame.export.template import plain_jinja

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_SPLITS = {(LLAMA3, True): "llama-bpe", (LLAMA3, False): "smaug-bpe", (QWEN2, False): "qwen2"}
"""(regular expression, whether whole words need no merges) -> llama.cpp's name of it (`src/llama-vocab.cpp`)."""


class Unknown(Exception):
    """A tokenizer that llama.cpp would have to be told about in another way; the text says why."""


@dataclass(frozen=True)
class Vocabulary:
    """`tokens`, their `types`, `merges` and the name `pre` of the pre-tokenizer."""

    tokens: list[str]
    types: list[int]
    merges: list[str]
    pre: str


def read_vocabulary(tokenizer: Any, size: int) -> Vocabulary:
    """The vocabulary of a tokenizer, filled up to the `size` rows that the model has.

    Raises:
        Unknown: it is no byte-level BPE, or cuts texts in a way that has no name in llama.cpp.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise Unknown("its tokenizer is not one of the library `tokenizers`")
    whole = json.loads(backend.to_str())
    model = whole["model"]
    if model.get("type") != "BPE" or model.get("byte_fallback"):
        raise Unknown(
            f"its tokenizer is {model.get('type')}{' with byte fallback' if model.get('byte_fallback') else ''}"
        )
    pre = pre_tokenizer(whole)
    texts = {index: text for text, index in model["vocab"].items()}
    types = dict.fromkeys(texts, gguf.TokenType.NORMAL)
    for added in whole["added_tokens"]:
        texts[added["id"]] = added["content"]
        types[added["id"]] = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return Vocabulary(
        [texts.get(index, f"[PAD{index}]") for index in range(size)],
        [int(types.get(index, gguf.TokenType.UNUSED)) for index in range(size)],
        merges,
        pre,
    )


def pre_tokenizer(whole: Mapping[str, Any]) -> str:
    """llama.cpp's name of the pre-tokenizer in a `tokenizer.json`.

    Raises:
        Unknown: it has none.
    """
    normalizer, cutter = whole.get("normalizer"), whole.get("pre_tokenizer") or {}
    if normalizer is not None and normalizer.get("type") != "NFC":
        raise Unknown(f"its tokenizer changes texts first ({normalizer.get('type')})")
    steps = cutter.get("pretokenizers", [cutter])
    *before, last = steps
    if last.get("type") != "ByteLevel" or last.get("add_prefix_space"):
        raise Unknown("its tokenizer is not byte-level")
    kinds = [step.get("type") for step in before]
    direct = bool(whole["model"].get("ignore_merges"))
    if not before and last.get("use_regex", True) and not direct:
        return "gpt-2"
    if kinds == ["Digits"] and before[0].get("individual_digits") and last.get("use_regex", True) and not direct:
        return "smollm"
    if kinds == ["Split"] and not last.get("use_regex", True):
        cut = before[0]
        plain = cut.get("behavior") == "Isolated" and not cut.get("invert")
        name = _SPLITS.get((cut.get("pattern", {}).get("Regex"), direct))
        if plain and name:
            return name
    raise Unknown("its tokenizer cuts texts in a way that has no name here")


def add_vocabulary(writer: gguf.GGUFWriter, vocabulary: Vocabulary, processor: DataProcessor) -> None:
    """Writes the vocabulary, what ends a reply, and the chat template. Nothing is put before a prompt: the template brings its
    own beginning, and twice would be once too often."""
    tokenizer = processor.tokenizer
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(processor.end_id)
    writer.add_pad_token_id(processor.pad_id)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(plain_jinja(template_of(tokenizer) or ""))
