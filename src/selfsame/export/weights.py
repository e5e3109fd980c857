"""Adapter folders and merged weights, which give the probabilities of the bot inside or are not written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, GenerationConfig

from selfsame.errors import ConfigError, RunError
from selfsame.export.template import messages_of
from selfsame.model.base import explained, locate_model
from selfsame.model.full import FullRoles
from selfsame.model.lora import LoraRoles
from selfsame.rollout.settings import SamplingSettings
from selfsame.serve.chatbot import Chatbot
from selfsame.types import Prompt

EXACT = 1e-4
"""Nats that a log-probability of the merged weights in float32 may be off."""
_SAID = (
    Prompt(("I have two dogs.", "I teach chemistry."), ("Hi! Do you have any pets?", "Yes, two dogs!", "What else?")),
    Prompt(("I drive a night bus in Leeds.",), ("What do you do for a living?", "I drive a bus at night.", "Wow.")),
    Prompt(("My mother is a nurse.", "I love the sea."), ("Tell me about your family.",)),
)
"""Dialogues whose tokens are compared."""


@dataclass(frozen=True)
class Merged:
    """Weights that need no adapter. `model`: in float32; `dtype`: they are stored in; `off`: nats that a log-probability is off
    at most, in float32 and in `dtype`."""

    model: Any
    dtype: torch.dtype
    off: tuple[float, float]


def write_adapter(bot: Chatbot, folder: Path) -> None:
    """Writes the role as PEFT reads it, with the tokenizer.

    Raises:
        ConfigError: the bot has no adapter.
    """
    if bot.role is None:
        raise ConfigError(f"{bot.name} is a model without an adapter: choose --to merged, gguf or ollama")
    if isinstance(bot.roles, FullRoles):
        raise ConfigError(f"{bot.name} was trained as a whole and has no adapter: choose --to merged, gguf or ollama")
    bot.roles.save(bot.role, folder)
    older_tokenizer(folder)


def merge(bot: Chatbot, dtype: str | None) -> Merged:
    """Merges the bot's adapter into its base, for good. The bot must have been loaded in float32.

    Args:
        bot: the roles of it are used up.
        dtype: what the weights are to be stored in; None: as those of the base are.

    Raises:
        RunError: the merged weights give other probabilities than the bot.
    """
    roles, ids = bot.roles, [bot.roles.processor.encode_prompt(prompt) for prompt in _SAID]
    with roles.use(bot.role) as model:
        expected = _logprobs(model, ids)
    if bot.role is not None and isinstance(roles, LoraRoles):
        assert roles.peft is not None
        roles.peft.set_adapter(bot.role)
        model = roles.peft.merge_and_unload(safe_merge=True, adapter_names=[bot.role])
        model.tie_weights()
    exact = _off(model, ids, expected)
    if not exact <= EXACT:
        raise RunError(
            f"the merged weights of {bot.name} give other log-probabilities than the adapter (off by {exact:.2g}, at most"
            f" {EXACT:g} is allowed): choose --to adapter"
        )
    stored = getattr(torch, dtype) if dtype else _dtype_of_base(bot)
    return Merged(model, stored, (exact, exact if stored == torch.float32 else _off_in(model, stored, ids, expected)))


@torch.no_grad()
def dequantised(base: Any) -> dict[str, torch.Tensor]:
    """The numbers that the 4-bit layers of a base stand for, by name."""
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn.modules import Linear4bit

    weights: dict[str, Any] = {n: layer.weight for n, layer in base.named_modules() if isinstance(layer, Linear4bit)}
    return {
        name.removesuffix(".base_layer"): dequantize_4bit(weight.data, weight.quant_state).float().cpu()
        for name, weight in weights.items()
    }


@torch.no_grad()
def fill(base: Any, weights: Mapping[str, torch.Tensor]) -> None:
    """Gives the layers of a base these weights."""
    for name, layer in base.named_modules():
        if (
            name.removesuffix(".base_layer") in weights
            and hasattr(layer, "in_features")
            and not hasattr(layer, "base_layer")
        ):
            layer.weight.copy_(weights[name.removesuffix(".base_layer")])


def write_merged(merged: Merged, bot: Chatbot, sampling: SamplingSettings, folder: Path) -> None:
    """Writes merged weights as transformers reads them, with the tokenizer and how replies are sampled."""
    model, processor = merged.model, bot.roles.processor
    model.config.use_cache = True
    known = model.generation_config.eos_token_id
    ends = [processor.end_id, *(known if isinstance(known, list) else [] if known is None else [known])]
    greedy = sampling.temperature == 0
    chosen = {} if greedy else {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    # None of the base's: a penalty changes replies, and a temperature is refused where sampling is greedy.
    model.generation_config = GenerationConfig(
        do_sample=not greedy,
        max_new_tokens=sampling.max_new_tokens,
        eos_token_id=list(dict.fromkeys(ends)),
        bos_token_id=model.generation_config.bos_token_id,
        pad_token_id=processor.pad_id,
        **chosen,
    )
    model.to(merged.dtype).save_pretrained(folder)
    processor.tokenizer.save_pretrained(folder)
    older_tokenizer(folder)


def older_tokenizer(folder: Path) -> None:
    """Makes a tokenizer that transformers 5 saved readable for transformers 4 and vLLM: they know neither its class nor the new
    name of further special tokens, and older ones look for the template in the same file."""
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for name in ("backend", "is_local", "local_files_only"):
        config.pop(name, None)
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(config.get("extra_special_tokens"), list):
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    template = folder / "chat_template.jinja"
    if template.is_file():
        config["chat_template"] = template.read_text(encoding="utf-8")
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def example_messages() -> list[dict[str, str]]:
    """A chat to show how to ask the bot."""
    return messages_of(Prompt(("I have two dogs.", "I drive a night bus."), ("Do you have any pets?",)))


def _dtype_of_base(bot: Chatbot) -> torch.dtype:
    settings = bot.config.model
    with explained(settings.base):
        config: Any = AutoConfig.from_pretrained(locate_model(settings.base), revision=settings.revision)
    return config.dtype or torch.float32


@torch.no_grad()
def _logprobs(model: Any, ids: list[list[int]]) -> torch.Tensor:
    """(M,) of every token but the first of each row."""
    found = []
    for row in ids:
        tokens = torch.tensor([row], device=model.device)
        logits = model(input_ids=tokens).logits[0, :-1].float()
        found.append(logits.log_softmax(-1).gather(-1, tokens[0, 1:, None])[:, 0])
    return torch.cat(found).cpu()


def _off(model: Any, ids: list[list[int]], expected: torch.Tensor) -> float:
    return float((_logprobs(model, ids) - expected).abs().max())


def _off_in(model: Any, dtype: torch.dtype, ids: list[list[int]], expected: torch.Tensor) -> float:
    """What the rounding of the weights alone does; they are put back. Buffers, such as rope's frequencies, are not stored."""
    kept = {name: parameter.data for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype).float()
    off = _off(model, ids, expected)
    for name, parameter in model.named_parameters():
        parameter.data = kept[name]
    return off
