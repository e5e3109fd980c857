"""Loading of the base model of the settings, without roles: for adapters on it, or full copies."""

from __future__ import annotations

from functools import partial
from typing import Any

from selfsame.data.processor import DataProcessor
from selfsame.data.prompt_format import MARKERS
from selfsame.errors import ConfigError
from selfsame.model.base import (
    choose_device,
    choose_dtype,
    context_length,
    grow_embeddings,
    load_base_model,
    load_tokenizer,
)
from selfsame.model.full import FullRoles
from selfsame.model.lora import LoraRoles
from selfsame.model.prefix_batch import check_exactness
from selfsame.model.roles import Roles
from selfsame.model.settings import ModelSettings


def load_roles(settings: ModelSettings, seed: int = 0, tokenizer: Any = None) -> Roles:
    """The base model of the settings, its processor, and no roles yet.

    Args:
        settings: of the model.
        seed: of the adapters' start.
        tokenizer: another than the base's own.

    Raises:
        ConfigError: the model cannot be used (see `load_base_model`), or computes shared prompts wrongly.
    """
    tokenizer = tokenizer or load_tokenizer(settings.base, settings.revision)
    known = set(tokenizer.get_vocab())
    processor = DataProcessor(tokenizer, settings.max_length)
    new_tokens = tuple(
        tokenizer.convert_tokens_to_ids(m) for m in MARKERS if m in tokenizer.get_vocab() and m not in known
    )
    if settings.tuning == "full":
        dtype = choose_dtype(settings.dtype, choose_device(settings.device))
        load_base = partial(load_base_model, settings.model_copy(update={"dtype": "float32"}), tokenizer)
        roles: Roles = FullRoles(load_base, processor, settings, new_tokens, seed, dtype)
        check_fits(settings, roles.config)
    else:
        base = load_base_model(settings, tokenizer)
        check_fits(settings, base.config)
        roles = LoraRoles(base, processor, settings.lora, new_tokens, seed)
    check_exactness(roles.base)
    return roles


def check_fits(settings: ModelSettings, config: Any) -> None:
    """Raises `ConfigError` where the settings ask for more than a model of this configuration has."""
    context = context_length(config)
    if context is not None and settings.max_length > context:
        raise ConfigError(
            f"model.max_length is {settings.max_length}, but {settings.base} reads at most {context} tokens:"
            f" set it to {context} or less"
        )
    if settings.tuning == "lora" and settings.lora.rank > config.hidden_size:
        raise ConfigError(
            f"model.lora.rank is {settings.lora.rank}, more than the model's hidden size {config.hidden_size}"
        )


def as_roles(model: Any, tokenizer: Any = None) -> Roles:
    """`model` itself if it is a `Roles`, else roles on this Hugging Face model with default adapters."""
    if isinstance(model, Roles):
        return model
    if tokenizer is None:
        raise ConfigError("a Hugging Face model needs its tokenizer too")
    known, settings = set(tokenizer.get_vocab()), ModelSettings()
    length = min(settings.max_length, context_length(model.config) or settings.max_length)
    processor = DataProcessor(tokenizer, length)
    grow_embeddings(model, tokenizer)
    model.requires_grad_(False).eval()
    check_exactness(model)
    return LoraRoles(
        model,
        processor,
        settings.lora,
        tuple(tokenizer.convert_tokens_to_ids(m) for m in MARKERS if m in tokenizer.get_vocab() and m not in known),
    )
