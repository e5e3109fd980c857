"""A tiny random Llama as a GGUF file, made here: no download."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

WORDS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *map(chr, range(33, 127)), "Ġ", "Ċ", "Ġa"]


def write_gguf(path: Path, template: str | None = None, family: str = "llama") -> dict[str, np.ndarray]:
    """A tiny Llama in a GGUF file, or what says that it is of another family; returns its weights."""
    writer, rng = gguf.GGUFWriter(path, family), np.random.default_rng(0)
    hidden, inner, layers = 32, 64, 2
    writer.add_context_length(128)
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(8)
    writer.add_vocab_size(len(WORDS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(WORDS)
    writer.add_token_types([3] * 3 + [1] * (len(WORDS) - 3))
    writer.add_token_merges(["Ġ a"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    if template is not None:
        writer.add_chat_template(template)
    shapes = {"token_embd": (len(WORDS), hidden), "output_norm": (hidden,)}
    for k in range(layers):
        shapes |= {
            f"blk.{k}.attn_q": (hidden, hidden),
            f"blk.{k}.attn_k": (16, hidden),
            f"blk.{k}.attn_v": (16, hidden),
        }
        shapes |= {f"blk.{k}.attn_output": (hidden, hidden), f"blk.{k}.ffn_gate": (inner, hidden)}
        shapes |= {f"blk.{k}.ffn_up": (inner, hidden), f"blk.{k}.ffn_down": (hidden, inner)}
        shapes |= {f"blk.{k}.attn_norm": (hidden,), f"blk.{k}.ffn_norm": (hidden,)}
    made = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    for name, values in made.items():
        writer.add_tensor(f"{name}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return made
