"""The roles of a model: named weights, some with a head, each used, trained, saved and loaded alone.

They are adapters on one base (`lora.py`) or full copies of it (`full.py`).
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from selfsame.data.processor import DataProcessor
from selfsame.errors import RunError
from selfsame.model.heads import LabelHead, ScalarHead
from selfsame.model.trunk import Trunk

HEADED_ROLES: dict[str, type[ScalarHead] | type[LabelHead]] = {
    "reward": ScalarHead,
    "value": ScalarHead,
    "judge": LabelHead,
}
"""The roles that have a head, and its kind."""
HEAD_FILE = "head.safetensors"


class Roles(ABC):
    """The roles of a model.

    Args:
        config: of the base model, as transformers has it.
        processor: renders for it.
        new_tokens: ids of tokens whose embeddings the base never learned.
        seed: of what a new role starts with, where that is random.
    """

    settings: Any
    base: Any
    """The base model, without any role."""
    trunk: Trunk | None = None
    """What all roles have in common below the first adapter, if anything."""

    def __init__(self, config: Any, processor: DataProcessor, new_tokens: tuple[int, ...], seed: int) -> None:
        self.config, self.processor, self.new_tokens, self.seed = config, processor, new_tokens, seed
        self.heads = nn.ModuleDict()

    # --- what the two kinds do each in their way --------------------------------------------------------------------

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where it computes."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """What its matrix products are computed in; what is trained is stored in float32."""

    @property
    def learns_concurrently(self) -> bool:
        """Whether several parts of a minibatch may be learned from at once, each with a gradient of its own."""
        return False

    @property
    @abstractmethod
    def weighted(self) -> tuple[str, ...]:
        """The roles that are more than a head."""

    @abstractmethod
    def use(self, role: str | None) -> AbstractContextManager[Any]:
        """The causal language model with this role's weights in force (None: the base alone)."""

    @abstractmethod
    def _add_weights(self, role: str, like: str | None) -> None: ...
    @abstractmethod
    def _remove_weights(self, role: str) -> None: ...
    @abstractmethod
    def _trainable(self, role: str) -> dict[str, nn.Parameter]: ...
    @abstractmethod
    def _weights(self, role: str) -> dict[str, Tensor]: ...
    @abstractmethod
    def _load_weights(self, role: str, tensors: Mapping[str, Tensor]) -> None: ...
    @abstractmethod
    def _save_weights(self, role: str, folder: Path) -> None: ...
    @abstractmethod
    def _load_role(self, role: str, folder: Path) -> None: ...

    # --- what they have in common -----------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """The roles that exist; those that are a head alone come last."""
        weighted = self.weighted
        return (*weighted, *(role for role in self.heads if role not in weighted))

    def add(self, role: str, like: str | None = None) -> None:
        """Makes a role. It starts as a copy of role `like` (its head too), or as the base itself. A role of that name that
        exists already is replaced."""
        self.remove(role)
        self._add_weights(role, like)
        if role in HEADED_ROLES:
            self.add_head(role, like)

    def add_head(self, role: str, like: str | None = None) -> None:
        """Gives a role its head, or makes a role that is a head alone (it reads another role's hidden states). The head is a
        copy of that of `like`, if it has one, or gives zero."""
        known = like is not None and like in self.heads
        head = copy.deepcopy(self.heads[like]) if known else HEADED_ROLES[role](self.config.hidden_size)  # pyright: ignore
        self.heads[role] = head.to(self.device)

    def remove(self, role: str) -> None:
        """Deletes a role, if it is there."""
        if role in self.heads:
            del self.heads[role]
        if role in self.weighted:
            self._remove_weights(role)

    def training(self, role: str) -> AbstractContextManager[Any]:
        """As `use`, for a pass that is trained on."""
        return self.use(role)

    def parameters(self, role: str) -> dict[str, nn.Parameter]:
        """The role's parameters by name, its head's too, made trainable."""
        self._require(role)
        found = self._trainable(role) if role in self.weighted else {}
        if role in self.heads:
            found |= {f"head.{n}": p for n, p in self.heads[role].named_parameters()}
        # PEFT's `set_adapter` switches `requires_grad` of all other adapters off.
        for parameter in found.values():
            parameter.requires_grad_(True)
        return found

    def state(self, role: str) -> dict[str, Tensor]:
        """A copy of the role's tensors on the CPU, its head's under `head.`."""
        return {n: t.detach().to("cpu", copy=True).contiguous() for n, t in self._tensors(role).items()}

    def load_state(self, role: str, tensors: Mapping[str, Tensor]) -> None:
        """Puts tensors from `state` into an existing role.

        Raises:
            RunError: they are of another model or other adapter settings.
        """
        self._check_shapes(role, self._tensors(role), tensors)
        if role in self.weighted:
            self._load_weights(role, {n: t for n, t in tensors.items() if not n.startswith("head.")})
        if role in self.heads:
            self.heads[role].load_state_dict(
                {n.removeprefix("head."): t for n, t in tensors.items() if n.startswith("head.")}
            )

    def load(self, role: str, folder: str | Path) -> None:
        """Makes a role from what `save` wrote.

        Raises:
            RunError: the folder is incomplete or of another model.
        """
        self._load_role(role, Path(folder))

    def save(self, role: str, folder: str | Path) -> None:
        """Writes the role in the format of the library that its weights are of, its head beside it."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if role in self.weighted:
            self._save_weights(role, folder)
        if role in self.heads:
            save_file(self.heads[role].state_dict(), folder / HEAD_FILE)

    def _tensors(self, role: str) -> dict[str, Tensor]:
        """The role's own tensors, not copies."""
        self._require(role)
        tensors = self._weights(role) if role in self.weighted else {}
        if role in self.heads:
            tensors |= {f"head.{n}": t for n, t in self.heads[role].state_dict().items()}
        return tensors

    def _check_shapes(self, role: str, own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
        names = sorted(own.keys() | tensors.keys())
        wrong = [n for n in names if n not in own or n not in tensors or own[n].shape != tensors[n].shape]
        if wrong:
            raise RunError(
                f"the saved role {role!r} is from another model or other adapter settings ({len(wrong)} tensors do not fit,"
                f" the first is {wrong[0]}): use the base model and model.lora settings it was trained with"
            )

    def _require(self, role: str) -> None:
        if role not in self.names:
            raise RunError(
                f"there is no role {role!r} on this model (there are: {', '.join(self.names) or 'none'}):"
                " train that stage first"
            )

    def _require_weights(self, role: str) -> None:
        self._require(role)
        if role not in self.weighted:
            raise RunError(f"the role {role!r} is a head alone: it reads the hidden states of another role")
