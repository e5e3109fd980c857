"""Adapters as any tool saves them: PEFT reads their patterns, ranks and saved embeddings, on a base with their tokenizer.

An adapter is refused for the true reason: another kind than LoRA, a base with other layers, tokens without embeddings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import AutoConfig

from selfsame.data.prompt_format import MARKERS
from selfsame.errors import ConfigError
from selfsame.model.base import explained, load_tokenizer, locate_model
from selfsame.model.load import load_roles
from selfsame.model.lora import LoraRoles
from selfsame.model.peft import PeftConfig, load_peft_weights
from selfsame.model.roles import Roles
from selfsame.model.settings import ModelSettings
from selfsame.types import Prompt

_MERGE = "merge it into its base with the tool that made it, and give the merged model"
_UNUSABLE = {"layer_replication": "repeats layers", "alora_invocation_tokens": "begins at a token of the prompt"}
"""What a LoRA configuration may ask for that replies with a shared prompt cannot have."""


def read_adapter_config(folder: Path) -> Any:
    """The PEFT configuration in a folder.

    Raises:
        ConfigError: it is damaged, or not of a LoRA adapter for text.
    """
    try:
        config: Any = PeftConfig.from_pretrained(str(folder))
    except Exception as error:  # PEFT raises many kinds
        first = str(error).strip().split("\n")[0][:160]
        raise ConfigError(f"{folder}/adapter_config.json cannot be read ({first}): copy the adapter again") from error
    kind = getattr(config.peft_type, "value", config.peft_type)
    if kind != "LORA":
        raise ConfigError(f"{folder} is an adapter of the kind {kind}, and Selfsame reads LoRA: {_MERGE}")
    if config.task_type not in (None, "CAUSAL_LM"):
        raise ConfigError(f"{folder} is an adapter for {config.task_type}, not for text: give one for CAUSAL_LM")
    for name, what in _UNUSABLE.items():
        if getattr(config, name, None):
            raise ConfigError(f"{folder} is an adapter that {what} ({name} is set): {_MERGE}")
    return config


def load_adapter(folder: Path, settings: ModelSettings, role: str) -> Roles:
    """The base of the settings with an adapter as `role`, the tokenizer and chat template in its folder, if there are any.

    Raises:
        ConfigError: it is no adapter of this base, or lacks something.
    """
    config, own = read_adapter_config(folder), (folder / "tokenizer_config.json").is_file()
    try:
        tensors = load_peft_weights(str(folder), device="cpu")
    except Exception as error:  # PEFT, safetensors and pickle raise many kinds
        raise ConfigError(f"{folder} holds no readable adapter_model.safetensors: copy the adapter again") from error
    tokenizer = load_tokenizer(str(folder)) if own else None
    roles: Any = load_roles(settings, tokenizer=tokenizer)
    assert isinstance(roles, LoraRoles)
    rows = _saved_rows(roles.base, tensors)
    _check_tokens(folder, roles, settings, rows, config)
    if rows is not None and rows != roles.base.get_input_embeddings().weight.shape[0]:
        # Tools make the vocabulary as large as the tokenizer, or a multiple of 32 or 64.
        roles.base.resize_token_embeddings(rows, mean_resizing=False)
        roles.base.requires_grad_(False)
    where = f"{folder} does not fit the base {settings.base}"
    try:
        left = roles.adopt(role, config, tensors)
    except KeyError as error:
        raise ConfigError(f"{where}: it holds no weights for {str(error.args[0])[:120]}") from error
    except (ValueError, RuntimeError, IndexError) as error:
        reason = str(error).strip().split("\n")
        raise ConfigError(f"{where}: {reason[-1].strip()[:200]}; name its own base by --model.base") from error
    if left := [name for name in left if ".modules_to_save.weight" not in name]:  # said twice, where tokens were added
        raise ConfigError(
            f"{where}: {len(left)} of its tensors have no place there, the first is {left[0]}; name its own base by"
            " --model.base"
        )
    return roles


def _saved_rows(base: Any, tensors: dict[str, Tensor]) -> int | None:
    """Tokens that the vocabulary had where the adapter was saved, where it holds a matrix with a row, or column, for each."""
    layers = base.get_input_embeddings(), base.get_output_embeddings()
    names = tuple(name for name, module in base.named_modules() if any(module is layer for layer in layers))
    for key, tensor in tensors.items():
        inside = key.removeprefix("base_model.model.")
        if not inside.startswith(tuple(f"{name}." for name in names)) or "token_adapter" in inside:
            continue
        if inside.endswith("lora_embedding_A"):
            return tensor.shape[1]
        if inside.endswith("lora_B.weight") or (inside.endswith(".weight") and "lora_" not in inside):
            return tensor.shape[0]
    return None


def _check_tokens(folder: Path, roles: Roles, settings: ModelSettings, rows: int | None, config: Any) -> None:
    """Raises `ConfigError` where prompts need tokens that neither base nor adapter has an embedding for."""
    processor = roles.processor
    with explained(settings.base):
        base = AutoConfig.from_pretrained(locate_model(settings.base), revision=settings.revision)
    known = rows or base.get_text_config().vocab_size
    trained = getattr(config, "trainable_token_indices", None) or ()
    trained = {i for some in (trained.values() if isinstance(trained, dict) else [trained]) for i in some}
    used = {*processor.encode_prompt(Prompt(("a",), ("a", "a", "a"))), processor.end_id}
    words = processor.tokenizer.convert_ids_to_tokens(sorted(i for i in used if i >= known and i not in trained))
    own = (folder / "tokenizer_config.json").is_file()
    if lacking := [word for word in words if own or word not in MARKERS]:
        raise ConfigError(
            f"the tokenizer of {folder} has {len(processor.tokenizer)} tokens, but the base {settings.base}"
            f" {'and the saved embeddings have' if rows else 'has'} {known}, and the adapter holds no embedding for"
            f" {', '.join(map(repr, lacking[:3]))}: train it with modules_to_save [embed_tokens, lm_head]"
        )
