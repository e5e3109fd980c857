"""Saves the model as it is released: bfloat16 safetensors, loadable by plain `AutoModelForCausalLM` and `AutoTokenizer`."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from selfsame.data.prompt_format import MARKERS
from selfsame.run.files import write_json


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
    save_tokenizer(tokenizer, folder)


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Writes the tokenizer with the names that transformers 4 knows too, and without where it was loaded from."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for name in ("backend", "is_local", "local_files_only", "extra_special_tokens"):
        config.pop(name, None)
    config |= {"tokenizer_class": "PreTrainedTokenizerFast", "additional_special_tokens": list(MARKERS[:3])}
    write_json(path, config)
