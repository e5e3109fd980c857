"""Roles as named PEFT adapters on one frozen base: `sft`, `policy`, `reward` and `value`.

The last two have a scalar head. The KL reference is the frozen `sft` role; with "adapters off" the base itself speaks.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from selfsame.data.processor import DataProcessor
from selfsame.errors import ConfigError, RunError
from selfsame.model.base import absolute, locate_model
from selfsame.model.fused import fuse_lora
from selfsame.model.peft import (
    LoraConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
    without_bitsandbytes,
)
from selfsame.model.roles import HEAD_FILE, HEADED_ROLES, Roles
from selfsame.model.settings import LoraSettings
from selfsame.model.sharding import is_sharded
from selfsame.model.trunk import blocks_of, trunk_of

_HEAD_ROWS = "base_model.model.{}.token_adapter.trainable_tokens_delta"
"""PEFT's name for the rows of a layer that are stored for new tokens."""


class LoraRoles(Roles):
    """The adapters of all roles on one base.

    Args:
        base: frozen causal language model.
        processor: renders for it.
        settings: rank, scale, targets of the adapters.
        new_tokens: ids of tokens whose embeddings the base never learned; every role trains its own.
        seed: of the adapters' start.
    """

    def __init__(
        self,
        base: Any,
        processor: DataProcessor,
        settings: LoraSettings,
        new_tokens: tuple[int, ...] = (),
        seed: int = 0,
    ) -> None:
        super().__init__(base.config, processor, new_tokens, seed)
        # Measured on 9 M parameters against full copies: 3.2 GB instead of 4.6 GB, roles of 9 MB instead of 149 MB.
        self.settings, self.base = settings, base
        self.peft: PeftModel | None = None
        self._active: str | None = None
        self._targets: Any = "all-linear" if settings.targets is None else list(settings.targets)
        if settings.layers is not None:
            # Measured in the upper half: a PPO step is nearly twice as fast, SFT's loss is 1.323, in all blocks 1.308.
            self._targets = _upper_layers(base, settings.layers, settings.targets)
            # Every role trains the embeddings of new markers: its lower blocks then see states of its own. A trunk leaves a
            # pass halfway, and blocks that are split over processes are gathered by whole passes.
            self.trunk = None if new_tokens or is_sharded(base) else trunk_of(base, settings.layers)

    @property
    def device(self) -> torch.device:
        return self.base.device

    @property
    def dtype(self) -> torch.dtype:
        return self.base.dtype

    @property
    def learns_concurrently(self) -> bool:
        # Elsewhere it would cost memory for nothing; what is dropped depends on the order of passes.
        return self.device.type == "cpu" and not self.settings.dropout and not is_sharded(self.base)

    @property
    def weighted(self) -> tuple[str, ...]:
        return tuple(self.peft.peft_config) if self.peft is not None else ()

    def _add_weights(self, role: str, like: str | None) -> None:
        try:
            self._add_adapter(role, self._adapter_config())
        except ValueError as error:
            names = sorted({n.rpartition(".")[2] for n, m in self.base.named_modules() if isinstance(m, nn.Linear)})
            raise ConfigError(
                f"model.lora.targets {self.settings.targets} name no layer of this model: choose among {', '.join(names)}"
            ) from error
        if like is not None:
            self._load_weights(role, self._weights(like))

    def adopt(self, role: str, config: Any, tensors: Mapping[str, Tensor]) -> list[str]:
        """Makes a role of an adapter with a PEFT configuration of its own, as other tools save them; returns the names of
        tensors that have no place on this base.

        Raises:
            ValueError: the configuration names no layer of the base.
            RuntimeError: a tensor has another shape than its place.
            KeyError: one is missing.
        """
        self.remove(role)
        self._add_adapter(role, config)
        assert self.peft is not None
        found = set_peft_model_state_dict(self.peft, dict(tensors), adapter_name=role)
        own, missing = dict(self.peft.named_parameters(remove_duplicate=False)), set(found.missing_keys)
        set_ones = {id(parameter) for name, parameter in own.items() if name not in missing}  # tied rows have two names
        unset = [n for n in missing if n.endswith((f".{role}", f".{role}.weight")) and id(own.get(n)) not in set_ones]
        if unset:
            raise KeyError(min(unset))
        return list(found.unexpected_keys)

    def _add_adapter(self, role: str, config: Any) -> None:
        with warnings.catch_warnings(), torch.random.fork_rng(), without_bitsandbytes():
            # PEFT draws A from the global generator: a run killed before its first checkpoint ended with other weights.
            torch.manual_seed(self.seed)
            warnings.simplefilter("ignore")  # GPT-2's layers are stored transposed; PEFT sees to it, and says so
            if self.peft is None:
                self.peft = get_peft_model(self.base, config, adapter_name=role)  # pyright: ignore
            else:
                self.peft.add_adapter(role, config)
        assert self.peft is not None
        for name, layer in self.peft.named_modules():
            # New dropout is in training mode, which made a reference pass before the first update noisy.
            if "lora_dropout" in name:
                layer.eval()
        fuse_lora(self.peft)
        self._active = None

    def _remove_weights(self, role: str) -> None:
        assert self.peft is not None
        if len(self.weighted) == 1:
            self.base, self.peft = self.peft.unload(), None
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that another adapter becomes the active one
                self.peft.delete_adapter(role)
        self._active = None

    @contextmanager
    def use(self, role: str | None) -> Iterator[Any]:
        """The causal language model with this role's adapter in force (None: the base alone)."""
        if role is None:
            if self.peft is None:
                yield self.base
            else:
                with self.peft.disable_adapter():
                    yield self.peft.get_base_model()
            return
        self._require_weights(role)
        assert self.peft is not None
        # `set_adapter` leaves gradients as they are: policy and value are differentiated one after the other.
        if self._active != role:
            self.peft.set_adapter(role)
            self._active = role
        yield self.peft.get_base_model()

    @contextmanager
    def training(self, role: str) -> Iterator[Any]:
        """As `use`, with the adapters' dropout switched on. The frozen base never drops anything: its own dropout would
        make the policy that is trained another one than the policy that sampled."""
        with self.use(role) as model:
            layers = [m for n, m in model.named_modules() if "lora_dropout" in n] if self.settings.dropout else []
            for layer in layers:
                layer.train()
            try:
                yield model
            finally:
                for layer in layers:
                    layer.eval()

    def _trainable(self, role: str) -> dict[str, nn.Parameter]:
        assert self.peft is not None
        self.peft.set_adapter(role)
        self._active = role
        ours = re.compile(rf"(?:lora_|trainable_tokens).*\.{re.escape(role)}(?:\.|$)")  # not a layer of the same name
        return {n: p for n, p in self.peft.named_parameters() if ours.search(n)}

    def _save_weights(self, role: str, folder: Path) -> None:
        """In PEFT's own format, complete: `AutoPeftModelForCausalLM.from_pretrained(folder)` finds the base at the revision it
        was loaded at, the tokenizer, and every row of the vocabulary that the base lacks."""
        assert self.peft is not None
        config: Any = copy.deepcopy(self.peft.peft_config[role])
        config.inference_mode = True
        if not isinstance(config.target_modules, str):
            config.target_modules = sorted(config.target_modules or ())  # a set: the file would differ in every process
        config.base_model_name_or_path = locate_model(absolute(self.base.config._name_or_path))
        config.revision = getattr(self.base.config, "_commit_hash", None)
        tensors = {n: t for n, t in self.state(role).items() if not n.startswith("head.")}
        if self._has_head_rows:
            names = {"input": self.base.get_input_embeddings(), "output": self.base.get_output_embeddings()}
            names = {kind: _name_of(self.base, layer) for kind, layer in names.items()}
            config.trainable_token_indices = {name: list(self.new_tokens) for name in names.values()}
            rows = self.base.get_output_embeddings().weight[list(self.new_tokens)]
            tensors[_HEAD_ROWS.format(names["output"])] = rows.detach().float().cpu()
        config.save_pretrained(str(folder))
        save_file(tensors, folder / "adapter_model.safetensors")
        self.processor.tokenizer.save_pretrained(folder)

    @property
    def _has_head_rows(self) -> bool:
        """Whether the vocabulary head has rows of its own for new tokens. They are frozen, as `grow_embeddings` makes them; a
        reader of the role would draw them at random."""
        return bool(self.new_tokens) and not self.base.config.tie_word_embeddings

    def _load_role(self, role: str, folder: Path) -> None:
        alone = role == "value" and (folder / HEAD_FILE).exists() and not (folder / "adapter_config.json").exists()
        try:
            tensors = {} if alone else load_file(folder / "adapter_model.safetensors")
            if role in HEADED_ROLES:
                tensors |= {f"head.{n}": t for n, t in load_file(folder / HEAD_FILE).items()}
        except Exception as error:  # safetensors raises its own error class for a damaged file
            raise RunError(f"the saved role in {folder} is incomplete or damaged: {error}") from error
        if self._has_head_rows:
            tensors.pop(_HEAD_ROWS.format(_name_of(self.base, self.base.get_output_embeddings())), None)
        self.remove(role)
        (self.add_head if alone else self.add)(role)
        self.load_state(role, tensors)

    def _adapter_config(self) -> LoraConfig:
        s = self.settings
        tokens = list(self.new_tokens) or None
        return LoraConfig(
            r=s.rank,
            lora_alpha=s.alpha,
            lora_dropout=s.dropout,
            target_modules=self._targets,
            task_type="CAUSAL_LM",
            trainable_token_indices=tokens,
        )  # pyright: ignore

    def _weights(self, role: str) -> dict[str, Tensor]:
        self._require_weights(role)
        return get_peft_model_state_dict(self.peft, adapter_name=role, save_embedding_layers=False)

    def _load_weights(self, role: str, tensors: Mapping[str, Tensor]) -> None:
        set_peft_model_state_dict(self.peft, dict(tensors), adapter_name=role)


def _upper_layers(base: Any, count: int, targets: tuple[str, ...] | None) -> list[str]:
    """Full names of the linear layers (`targets`: with these names) in the last `count` blocks."""
    prefix, blocks = blocks_of(base)
    if count > len(blocks):
        raise ConfigError(f"model.lora.layers is {count}, but the model has {len(blocks)} blocks: choose fewer")
    upper = tuple(f"{prefix}.{k}." for k in range(len(blocks) - count, len(blocks)))
    linear = [n for n, m in base.named_modules() if n.startswith(upper) and isinstance(m, (nn.Linear, Conv1D))]
    return [n for n in linear if targets is None or n.rpartition(".")[2] in targets]


def _name_of(base: Any, layer: Any) -> str:
    return next(name for name, module in base.named_modules() if module is layer)
