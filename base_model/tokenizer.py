"""The bundled base's tokenizer: byte-level BPE with the four markers as special tokens and a chat template."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from selfsame.data.chat_template import MARKER_TEMPLATE
from selfsame.data.prompt_format import MARKERS

PAD = "<|pad|>"


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
    fast.chat_template = MARKER_TEMPLATE
    return fast
