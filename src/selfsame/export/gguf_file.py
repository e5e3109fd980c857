"""Merged weights as one GGUF file, for models like Llama, Qwen and GPT-2."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind

from selfsame.data.processor import DataProcessor
from selfsame.export.vocabulary import Unknown, Vocabulary, add_vocabulary, read_vocabulary

ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "gpt2": gguf.MODEL_ARCH.GPT2,
}
"""Families of transformers that are written here."""
KINDS = {
    "f16": (Kind.F16, gguf.LlamaFileType.MOSTLY_F16),
    "q8_0": (Kind.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    "f32": (Kind.F32, gguf.LlamaFileType.ALL_F32),
}
"""Number formats of the matrices; vectors stay in float32."""


@dataclass(frozen=True)
class About:
    """What a GGUF file says of itself: its name, the licence of the base, and its number format, one of `KINDS`."""

    name: str
    licence: str
    kind: str


def check_writable_as_gguf(config: Any, tokenizer: Any) -> Vocabulary:
    """The vocabulary, of a model that can be written.

    Raises:
        Unknown: the family, something in its configuration, or the tokenizer is none that is written here.
    """
    if config.model_type not in ARCHITECTURES:
        raise Unknown(f"the family {config.model_type} is not among {', '.join(ARCHITECTURES)}")
    if config.model_type == "gpt2":
        odd = {
            "activation_function": config.activation_function not in ("gelu_new", "gelu_pytorch_tanh"),
            "scale_attn_by_inverse_layer_idx": config.scale_attn_by_inverse_layer_idx,
            "scale_attn_weights": not config.scale_attn_weights,
        }
    else:
        known = ("default", "llama3") if config.model_type == "llama" else ("default",)
        odd = {
            "hidden_act": config.hidden_act != "silu",
            "rope_parameters": config.rope_parameters.get("rope_type", "default") not in known,
            "use_sliding_window": getattr(config, "use_sliding_window", False),
        }
    if wrong := [name for name, is_odd in odd.items() if is_odd]:
        raise Unknown(f"its {wrong[0]} is {getattr(config, wrong[0])}")
    return read_vocabulary(tokenizer, config.vocab_size)


def write_gguf(model: Any, processor: DataProcessor, path: Path, about: About) -> None:
    """Writes a model in float32 as a GGUF file.

    Args:
        model: of transformers, without adapters.
        processor: whose prompts the file's chat template writes.
        path: of the file.
        about: what the file says of itself.

    Raises:
        Unknown: it cannot be written; see `check_writable_as_gguf`.
    """
    config = model.config
    vocabulary = check_writable_as_gguf(config, processor.tokenizer)
    kind, file_type = KINDS[about.kind]
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[ARCHITECTURES[config.model_type]])
    writer.add_name(about.name)
    writer.add_license(about.licence)
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_shape(writer, config)
    add_vocabulary(writer, vocabulary, processor)
    tensors = list(_named_tensors(model))
    for name, tensor in tensors:
        own = _kind_of(name, tensor, kind)
        shape = tuple(tensor.shape)
        stored = gguf.quant_shape_to_byte_shape(shape, own) if own == Kind.Q8_0 else shape
        dtype = {Kind.F32: np.float32, Kind.F16: np.float16, Kind.Q8_0: np.uint8}[own]
        size = math.prod(stored) * np.dtype(dtype).itemsize
        writer.add_tensor_info(name, stored, np.dtype(dtype), size, raw_dtype=own)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for name, tensor in tensors:  # one at a time: the file is not in memory
            values = tensor.detach().float().cpu().contiguous().numpy()
            writer.write_tensor_data(gguf.quants.quantize(values, _kind_of(name, tensor, kind)))
    finally:
        writer.close()


def _add_shape(writer: gguf.GGUFWriter, config: Any) -> None:
    if config.model_type == "gpt2":
        writer.add_context_length(config.n_positions)
        writer.add_embedding_length(config.n_embd)
        writer.add_feed_forward_length(config.n_inner or 4 * config.n_embd)
        writer.add_block_count(config.n_layer)
        writer.add_head_count(config.n_head)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(_head_size(config))
    writer.add_key_length(_head_size(config))
    writer.add_value_length(_head_size(config))
    writer.add_vocab_size(config.vocab_size)


def _head_size(config: Any) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _kind_of(name: str, tensor: torch.Tensor, kind: Kind) -> Kind:
    if tensor.ndim < 2 or name.startswith("position_embd"):
        return Kind.F32
    return kind if kind != Kind.Q8_0 or tensor.shape[-1] % 32 == 0 else Kind.F16


def _named_tensors(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors under llama.cpp's names and in its order of numbers."""
    config = model.config
    layers = config.num_hidden_layers
    names = gguf.get_tensor_name_map(ARCHITECTURES[config.model_type], layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        found = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise Unknown(f"its tensor {name} has no name in llama.cpp")
        if config.model_type == "gpt2" and name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
            tensor = tensor.T
        if config.model_type == "llama":
            for part, heads in (("q_proj", config.num_attention_heads), ("k_proj", config.num_key_value_heads)):
                if f".{part}." in name:
                    tensor = _interleaved(tensor, heads)
        yield found, tensor
    if config.model_type == "llama" and config.rope_parameters.get("rope_type") == "llama3":
        yield "rope_freqs.weight", _rope_factors(config)


def _interleaved(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """The rows of each head in the order of rotations of neighbours: transformers rotates the halves of a head."""
    return (
        tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)
    )


def _rope_factors(config: Any) -> torch.Tensor:
    """(head size / 2,): what Llama 3.1 divides each frequency of the rotations by (transformers' `llama3` rope)."""
    rope, size = config.rope_parameters, _head_size(config)
    low, high, old = rope["low_freq_factor"], rope["high_freq_factor"], rope["original_max_position_embeddings"]
    waves = 2 * math.pi * rope["rope_theta"] ** (torch.arange(0, size, 2, dtype=torch.float32) / size)
    smooth = ((old / waves - low) / (high - low)).clamp(0, 1)
    return 1 / ((1 - smooth) / rope["factor"] + smooth)
