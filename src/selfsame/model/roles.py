"""One frozen base, several roles: `sft`, `policy`, `reward` and `value` are named PEFT adapters on it, the last two with a
scalar head. The KL reference is the frozen `sft` role, never "adapters off" - that is the base itself.
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
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from selfsame.data.processor import MARKERS, DataProcessor
from selfsame.errors import ConfigError, RunError
from selfsame.model.base import context_length, grow_embeddings, load_base_model, load_tokenizer
from selfsame.model.branches import check_exactness
from selfsame.model.fused import fuse_lora
from selfsame.model.heads import ScalarHead
from selfsame.model.settings import LoraSettings, ModelSettings

HEADED_ROLES = ("reward", "value")
HEAD_FILE = "head.safetensors"


class Roles:
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
        self.processor, self.settings, self.new_tokens, self.seed = processor, settings, new_tokens, seed
        self.heads = nn.ModuleDict()
        self.base = base
        self.peft: PeftModel | None = None
        self._active: str | None = None
        self._targets: Any = "all-linear" if settings.targets is None else list(settings.targets)
        if settings.layers is not None:
            self._targets = _upper_layers(base, settings.layers, settings.targets)

    @property
    def names(self) -> tuple[str, ...]:
        """The roles that exist; those that are a head alone come last."""
        adapters = self._adapters
        return (*adapters, *(role for role in self.heads if role not in adapters))

    @property
    def _adapters(self) -> tuple[str, ...]:
        return tuple(self.peft.peft_config) if self.peft is not None else ()

    def add(self, role: str, like: str | None = None) -> None:
        """Makes a role. It starts as a copy of role `like` (its head too), or as the base itself (LoRA's B is zero).
        A role of that name that exists already is replaced."""
        self.remove(role)
        self._add_adapter(role)
        if role in HEADED_ROLES:
            self.add_head(role, like)
        if like is not None:
            self._load_adapter(role, self._adapter_state(like))
        self._active = None

    def add_head(self, role: str, like: str | None = None) -> None:
        """Gives a role its head, or makes a role that is a head alone (it reads another role's hidden states). The head is a
        copy of that of `like`, if it has one, or gives zero."""
        known = like is not None and like in self.heads
        head = copy.deepcopy(self.heads[like]) if known else ScalarHead(self.base.config.hidden_size)  # pyright: ignore
        self.heads[role] = head.to(self.base.device)

    def _add_adapter(self, role: str) -> None:
        config = self._adapter_config()
        with warnings.catch_warnings(), torch.random.fork_rng():
            torch.manual_seed(self.seed)
            warnings.simplefilter("ignore")  # GPT-2's layers are stored transposed; PEFT sees to it, and says so
            try:
                if self.peft is None:
                    self.peft = get_peft_model(self.base, config, adapter_name=role)  # pyright: ignore
                else:
                    self.peft.add_adapter(role, config)
            except ValueError as error:
                names = sorted({n.rpartition(".")[2] for n, m in self.base.named_modules() if isinstance(m, nn.Linear)})
                raise ConfigError(
                    f"model.lora.targets {self.settings.targets} name no layer of this model: choose among {', '.join(names)}"
                ) from error
        for name, layer in self.peft.named_modules():
            if "lora_dropout" in name:
                layer.eval()
        fuse_lora(self.peft)

    def remove(self, role: str) -> None:
        """Deletes a role, if it is there."""
        if role in self.heads:
            del self.heads[role]
        if self.peft is None or role not in self._adapters:
            return
        if len(self._adapters) == 1:
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
        self._require(role)
        if self.peft is None or role not in self._adapters:
            raise RunError(f"the role {role!r} is a head alone: it reads the hidden states of another role")
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

    def parameters(self, role: str) -> dict[str, nn.Parameter]:
        """The role's parameters by name, its head's too, made trainable."""
        self._require(role)
        if role not in self._adapters:
            return {f"head.{n}": p for n, p in self.heads[role].named_parameters()}
        assert self.peft is not None
        self.peft.set_adapter(role)
        self._active = role
        ours = re.compile(rf"(?:lora_|trainable_tokens).*\.{re.escape(role)}(?:\.|$)")  # not a layer of the same name
        found: dict[str, nn.Parameter] = {n: p for n, p in self.peft.named_parameters() if ours.search(n)}
        if role in self.heads:
            found |= {f"head.{n}": p for n, p in self.heads[role].named_parameters()}
        for parameter in found.values():
            parameter.requires_grad_(True)
        return found

    def state(self, role: str) -> dict[str, Tensor]:
        """A copy of the role's tensors on the CPU, its head's under `head.`."""
        tensors = self._adapter_state(role)
        if role in self.heads:
            tensors |= {f"head.{n}": t for n, t in self.heads[role].state_dict().items()}
        return {n: t.detach().to("cpu", copy=True).contiguous() for n, t in tensors.items()}

    def load_state(self, role: str, tensors: Mapping[str, Tensor]) -> None:
        """Puts tensors from `state` into an existing role.

        Raises:
            RunError: they are of another model or other adapter settings.
        """
        own = self.state(role)
        wrong = sorted(
            n
            for n in own.keys() | tensors.keys()
            if n not in own or n not in tensors or own[n].shape != tensors[n].shape
        )
        if wrong:
            raise RunError(
                f"the saved role {role!r} is from another model or other adapter settings ({len(wrong)} tensors do not fit,"
                f" the first is {wrong[0]}): use the base model and model.lora settings it was trained with"
            )
        if role in self._adapters:
            self._load_adapter(role, {n: t for n, t in tensors.items() if not n.startswith("head.")})
        if role in self.heads:
            self.heads[role].load_state_dict(
                {n.removeprefix("head."): t for n, t in tensors.items() if n.startswith("head.")}
            )

    def save(self, role: str, folder: Path) -> None:
        """Writes the role in PEFT's own format (adapter_config.json, adapter_model.safetensors), its head beside it."""
        folder.mkdir(parents=True, exist_ok=True)
        if role in self._adapters:
            self._save_adapter(role, folder)
        if role in self.heads:
            save_file(self.heads[role].state_dict(), folder / HEAD_FILE)

    def _save_adapter(self, role: str, folder: Path) -> None:
        assert self.peft is not None
        config: Any = copy.deepcopy(self.peft.peft_config[role])
        config.inference_mode = True
        config.target_modules = sorted(config.target_modules or ())  # a set: the file would differ in every process
        config.base_model_name_or_path = self.base.config._name_or_path
        config.save_pretrained(str(folder))
        tensors = {n: t for n, t in self.state(role).items() if not n.startswith("head.")}
        save_file(tensors, folder / "adapter_model.safetensors")

    def load(self, role: str, folder: Path) -> None:
        """Makes a role from what `save` wrote.

        Raises:
            RunError: the folder is incomplete or of another model.
        """
        alone = role == "value" and (folder / HEAD_FILE).exists() and not (folder / "adapter_config.json").exists()
        try:
            tensors = {} if alone else load_file(folder / "adapter_model.safetensors")
            if role in HEADED_ROLES:
                tensors |= {f"head.{n}": t for n, t in load_file(folder / HEAD_FILE).items()}
        except Exception as error:  # safetensors raises its own error class for a damaged file
            raise RunError(f"the saved role in {folder} is incomplete or damaged: {error}") from error
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

    def _adapter_state(self, role: str) -> dict[str, Tensor]:
        self._require(role)
        if role not in self._adapters:
            return {}
        return get_peft_model_state_dict(self.peft, adapter_name=role, save_embedding_layers=False)

    def _load_adapter(self, role: str, tensors: Mapping[str, Tensor]) -> None:
        set_peft_model_state_dict(self.peft, dict(tensors), adapter_name=role)

    def _require(self, role: str) -> None:
        if role not in self.names:
            raise RunError(
                f"there is no role {role!r} on this model (there are: {', '.join(self.names) or 'none'}):"
                " train that stage first"
            )


def _upper_layers(base: Any, count: int, targets: tuple[str, ...] | None) -> list[str]:
    """Full names of the linear layers (`targets`: with these names) in the last `count` blocks."""
    total = base.config.num_hidden_layers
    blocks = (n for n, m in base.named_modules() if isinstance(m, nn.ModuleList) and len(m) == total)
    if count > total or (prefix := next(blocks, None)) is None:
        raise ConfigError(f"model.lora.layers is {count}, but the model has {total} blocks: choose fewer")
    upper = tuple(f"{prefix}.{k}." for k in range(total - count, total))
    linear = [n for n, m in base.named_modules() if n.startswith(upper) and isinstance(m, (nn.Linear, Conv1D))]
    return [n for n in linear if targets is None or n.rpartition(".")[2] in targets]


def load_roles(settings: ModelSettings, seed: int = 0) -> Roles:
    """The base model of the settings, its processor, and no roles yet. `seed`: of the adapters' start.

    Raises:
        ConfigError: the model cannot be used (see `load_base_model`), or computes shared prompts wrongly.
    """
    tokenizer = load_tokenizer(settings.base, settings.revision)
    known = set(tokenizer.get_vocab())
    processor = DataProcessor(tokenizer, settings.max_length)
    base = load_base_model(settings, tokenizer)
    check_fits(settings, base.config)
    check_exactness(base)
    new_tokens = tuple(
        tokenizer.convert_tokens_to_ids(m) for m in MARKERS if m in tokenizer.get_vocab() and m not in known
    )
    return Roles(base, processor, settings.lora, new_tokens, seed)


def check_fits(settings: ModelSettings, config: Any) -> None:
    """Raises `ConfigError` where the settings ask for more than a model of this configuration has."""
    context = context_length(config)
    if context is not None and settings.max_length > context:
        raise ConfigError(
            f"model.max_length is {settings.max_length}, but {settings.base} reads at most {context} tokens:"
            f" set it to {context} or less"
        )
    if settings.lora.rank > config.hidden_size:
        raise ConfigError(
            f"model.lora.rank is {settings.lora.rank}, more than the model's hidden size {config.hidden_size}"
        )


def as_roles(model: Any, tokenizer: Any = None) -> Roles:
    """`model` itself if it is a `Roles`, else roles on this Hugging Face model with default adapters."""
    if isinstance(model, Roles):
        return model
    if tokenizer is None:
        raise ConfigError("a Hugging Face model needs its tokenizer beside it")
    known, settings = set(tokenizer.get_vocab()), ModelSettings()
    length = min(settings.max_length, context_length(model.config) or settings.max_length)
    processor = DataProcessor(tokenizer, length)
    grow_embeddings(model, tokenizer)
    model.requires_grad_(False).eval()
    check_exactness(model)
    return Roles(
        model,
        processor,
        settings.lora,
        tuple(tokenizer.convert_tokens_to_ids(m) for m in MARKERS if m in tokenizer.get_vocab() and m not in known),
    )
