"""Models with random weights in the shapes that are measured; the tokenizer is the bundled base's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen2Config

from selfsame.model.base import load_tokenizer
from selfsame.model.settings import BUNDLED

_TINY: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
_10M: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 8, "num_attention_heads": 4}
_35M: dict[str, Any] = {
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 10,
    "num_attention_heads": 8,
}
_124M: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}
_QWEN_HALF: dict[str, Any] = {
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
}
_QWEN_ONE_AND_A_HALF: dict[str, Any] = {
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
}
_QWEN_THREE: dict[str, Any] = {
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
}
_QWEN_SEVEN: dict[str, Any] = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
}
SHAPES: dict[str, Any] = {
    "tiny": LlamaConfig(vocab_size=6144, max_position_embeddings=1024, **_TINY),
    "10m": LlamaConfig(vocab_size=6144, max_position_embeddings=1024, **_10M),
    "35m": LlamaConfig(vocab_size=6144, max_position_embeddings=1024, **_35M),
    "124m": LlamaConfig(vocab_size=50304, max_position_embeddings=1024, tie_word_embeddings=True, **_124M),
    "gpt2-medium": GPT2Config(vocab_size=50257, n_embd=1024, n_layer=24, n_head=16, n_positions=1024),
    "qwen2.5-0.5b": Qwen2Config(
        vocab_size=151936, max_position_embeddings=1024, tie_word_embeddings=True, **_QWEN_HALF
    ),
    "qwen2.5-1.5b": Qwen2Config(
        vocab_size=151936, max_position_embeddings=1024, tie_word_embeddings=True, **_QWEN_ONE_AND_A_HALF
    ),
    "qwen2.5-3b": Qwen2Config(vocab_size=151936, max_position_embeddings=4096, tie_word_embeddings=True, **_QWEN_THREE),
    "qwen2.5-7b": Qwen2Config(
        vocab_size=152064, max_position_embeddings=4096, tie_word_embeddings=False, **_QWEN_SEVEN
    ),
}
"""Name -> configuration. Real models of these shapes take as long as random ones."""


def make_model(shape: str, folder: Path) -> Path:
    """Writes a random model of the shape and its tokenizer to `folder`, unless they are there."""
    if not (folder / "config.json").exists():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(SHAPES[shape])
        model.to(torch.bfloat16).save_pretrained(folder)
        load_tokenizer(BUNDLED).save_pretrained(folder)
    return folder
