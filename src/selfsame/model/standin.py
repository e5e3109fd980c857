"""The stand-in base: a tiny Llama that a run pre-trains on its own training dialogues where no base model is given."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from selfsame.data.processor import MARKERS, DataProcessor
from selfsame.model.base import choose_dtype
from selfsame.model.settings import StandInSettings
from selfsame.run.directory import writing
from selfsame.run.logger import Progress
from selfsame.types import Example


def make_stand_in(
    folder: Path, examples: Sequence[Example], settings: StandInSettings, max_length: int, seed: int, show: bool = True
) -> Path:
    """Pre-trains the stand-in on all tokens of the dialogues and saves it to `folder` with its tokenizer; returns `folder`.
    If it is there already, does nothing. The same dialogues, settings and seed give the same weights."""
    if (folder / "config.json").exists():
        return folder
    tokenizer = train_tokenizer(examples, settings.vocabulary)
    processor = DataProcessor(tokenizer, max_length)
    model = _pretrain(
        _make_model(settings, len(tokenizer), max_length, seed), processor, examples, settings, seed, show
    )
    temporary = folder.with_name(folder.name + ".partial")
    shutil.rmtree(temporary, ignore_errors=True)
    with writing(folder):
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        os.replace(temporary, folder)
    return folder


def train_tokenizer(examples: Sequence[Example], vocabulary: int) -> Any:
    """A byte-level BPE tokenizer of the dialogues' texts, with the markers as special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|end|>", *MARKERS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((" " + text for e in examples for text in (*e.persona, *e.turns)), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>", additional_special_tokens=list(MARKERS)
    )


def _make_model(settings: StandInSettings, vocabulary: int, max_length: int, seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=settings.hidden,
        intermediate_size=3 * settings.hidden,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        max_position_embeddings=max(1024, max_length),
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config)


def _pretrain(
    model: Any, processor: DataProcessor, examples: Sequence[Example], settings: StandInSettings, seed: int, show: bool
) -> Any:
    """AdamW with warm-up and cosine on the likelihood of every token but the padding."""
    rows = [row.ids for e in examples for row in processor.encode_example(e)]
    adam = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.1)
    warmup = max(1, settings.steps // 20)
    fast = choose_dtype("auto", torch.device("cpu")) == torch.bfloat16
    with Progress(settings.steps, "stand-in base", enabled=show) as progress:
        for step in range(settings.steps):
            rise, fall = (step + 1) / warmup, 0.5 * (1 + math.cos(math.pi * step / settings.steps))
            adam.param_groups[0]["lr"] = settings.learning_rate * min(rise, fall)
            chosen = np.random.default_rng([seed, step]).choice(
                len(rows), min(settings.batch_size, len(rows)), replace=False
            )
            with torch.autocast("cpu", torch.bfloat16, enabled=fast):
                loss = _language_model_loss(model, [rows[i] for i in chosen], processor.pad_id)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            adam.step()
            adam.zero_grad()
            progress.advance(1, f"loss {loss.item():.2f}")
    return model.eval()


def _language_model_loss(model: Any, rows: Sequence[Sequence[int]], pad_id: int) -> torch.Tensor:
    width = max(map(len, rows))
    ids_BT = torch.tensor([list(r) + [pad_id] * (width - len(r)) for r in rows])
    keep_BT = torch.arange(width) < torch.tensor([len(r) for r in rows])[:, None]
    return model(input_ids=ids_BT, labels=ids_BT.masked_fill(~keep_BT, -100), use_cache=False).loss
