"""Full fine-tuning: each role is a copy of the whole model with all its parameters.

The copies are stored in float32 and computed under autocast. They take the memory that adapters save, for comparison.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from selfsame.data.processor import DataProcessor
from selfsame.errors import RunError
from selfsame.model.attention import use_matmul
from selfsame.model.roles import HEAD_FILE, HEADED_ROLES, Roles
from selfsame.model.settings import ModelSettings


class FullRoles(Roles):
    """A model for each role. No model is in memory that no role is: a role that starts from the base takes it over, and the
    base is loaded again when it is asked for, until the next role is made.

    Args:
        load_base: gives the base model in float32, frozen, on its device.
        processor: renders for it.
        settings: of the model.
        new_tokens: ids of tokens whose embeddings the base never learned.
        seed: unused, nothing about a copy is random.
        dtype: of the matrix products; float32: no autocast.
    """

    def __init__(
        self,
        load_base: Callable[[], Any],
        processor: DataProcessor,
        settings: ModelSettings,
        new_tokens: tuple[int, ...] = (),
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.models: dict[str, Any] = {}
        self.settings, self._dtype, self._load_base = settings, dtype, load_base
        self._base: Any = load_base()
        super().__init__(self._base.config, processor, new_tokens, seed)
        self._device = self._base.device
        self._shapes = {n: torch.empty(t.shape, device="meta") for n, t in _tensors_of(self._base).items()}
        use_matmul(self._base, dtype)

    @property
    def base(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The base model, without any role."""
        if self._base is None:
            self._base = self._load_base()
            use_matmul(self._base, self._dtype)
        return self._base

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def dtype(self) -> torch.dtype:
        return self._dtype

    @property
    def weighted(self) -> tuple[str, ...]:
        return tuple(self.models)

    @contextmanager
    def use(self, role: str | None) -> Iterator[Any]:
        """The role's model (None: the base), inside autocast."""
        if role is not None:
            self._require_weights(role)
        model = self.base if role is None else self.models[role]
        mixed = self._dtype != torch.float32
        with torch.autocast(self._device.type, self._dtype) if mixed else nullcontext():
            yield model

    def _load_role(self, role: str, folder: Path) -> None:
        """The role of that name is let go first: no moment holds both."""
        alone = role == "value" and (folder / HEAD_FILE).exists() and not (folder / "config.json").exists()
        self.remove(role)
        self._base = None
        try:
            head = load_file(folder / HEAD_FILE) if role in HEADED_ROLES else {}
            model = None if alone else self._read(folder)
        except Exception as error:  # transformers and safetensors raise many kinds
            raise RunError(f"the saved role in {folder} is incomplete or damaged: {error}".split("\n")[0]) from error
        if model is not None:
            self._check_shapes(role, self._shapes, _tensors_of(model))
            self.models[role] = model
        if head:
            self.add_head(role)
            self.heads[role].load_state_dict(head)

    def _read(self, folder: Path) -> Any:
        if not (folder / "config.json").is_file():
            raise FileNotFoundError("there is no config.json")
        options: dict[str, Any] = {"dtype": torch.float32, "output_loading_info": True}
        loaded: Any = AutoModelForCausalLM.from_pretrained(folder, **options)
        model, told = loaded
        if told["missing_keys"]:
            raise ValueError(f"{len(told['missing_keys'])} tensors are missing")
        model.config.use_cache = False
        model.requires_grad_(False).eval().to(self._device)
        use_matmul(model, self._dtype)
        return model

    def _add_weights(self, role: str, like: str | None) -> None:
        if like is not None:
            self._require_weights(like)
        model = self.base if like is None else copy.deepcopy(self.models[like])
        self.models[role], self._base = model.requires_grad_(False), None

    def _remove_weights(self, role: str) -> None:
        del self.models[role]

    def _trainable(self, role: str) -> dict[str, nn.Parameter]:
        """All of the model; where a head reads the hidden states, without the vocabulary head, which then is not used."""
        model = self.models[role]
        unused = {id(p) for p in model.get_output_embeddings().parameters()} if role in self.heads else set()
        unused -= {id(p) for p in model.get_input_embeddings().parameters()}  # tied
        return {n: p for n, p in model.named_parameters() if id(p) not in unused}

    def _weights(self, role: str) -> dict[str, Tensor]:
        self._require_weights(role)
        return _tensors_of(self.models[role])

    @torch.no_grad()
    def _load_weights(self, role: str, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in self._weights(role).items():
            tensor.copy_(tensors[name])

    def _save_weights(self, role: str, folder: Path) -> None:
        """In the format of transformers, the tokenizer too: the folder is a model like any other."""
        self.models[role].save_pretrained(folder)
        self.processor.tokenizer.save_pretrained(folder)


def _tensors_of(model: Any) -> dict[str, Tensor]:
    """The tensors of a model by name, each once: tied embeddings have two names."""
    found: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict().items():
        found.setdefault(tensor.data_ptr(), (name, tensor))
    return dict(found.values())
