"""Saves the model as it is released: bfloat16 safetensors, loadable by plain `AutoModelForCausalLM` and `AutoTokenizer`."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Writes a bfloat16 copy of the model, the tokenizer and how to generate to `folder`."""
    released = copy.deepcopy(model).cpu().to(torch.bfloat16)
    released.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=True,
        temperature=0.7,
        top_p=0.95,
        max_new_tokens=48,
    )
    released.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
