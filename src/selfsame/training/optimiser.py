"""AdamW with a learning-rate schedule, gradient clipping and loss scaling, over the parameters of some roles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from selfsame.errors import RunError
from selfsame.model import parallel
from selfsame.model.roles import Roles
from selfsame.training.settings import OptimiserSettings


class Optimiser:
    """AdamW over the parameters of some roles: learning-rate schedule, gradient clipping, loss scaling for float16, sums
    over processes. A gradient that is not finite is never applied."""

    def __init__(self, roles: Roles, trained: Sequence[str], settings: OptimiserSettings, steps: int) -> None:
        self.roles, self.trained, self.settings, self.steps = roles, tuple(trained), settings, steps
        self.skipped = self.skipped_in_a_row = 0
        self.attach()
        self.scaler = torch.amp.GradScaler(roles.device.type, init_scale=2.0**14, enabled=roles.dtype == torch.float16)
        self.scaler.scale(torch.zeros((), device=roles.device))  # makes what passes that run at once would make twice

    def attach(self) -> None:
        """(Re)makes the optimiser for the roles' present parameters."""
        self.parameters: dict[str, nn.Parameter] = {
            f"{role}/{name}": p for role in self.trained for name, p in sorted(self.roles.parameters(role).items())
        }
        s = self.settings
        self.adam = torch.optim.AdamW(
            self.parameters.values(), lr=s.learning_rate, eps=s.adam_epsilon, weight_decay=s.weight_decay
        )

    def detach(self) -> None:
        """Lets go of the parameters, so that those of roles which are replaced take no memory beside the new ones."""
        for held in (self.parameters, self.adam.param_groups, self.adam.state):
            held.clear()

    def backward(self, loss: Tensor) -> None:
        """Adds the gradient of a part of the loss."""
        self.scaler.scale(loss).backward()

    def gradient(self, loss: Tensor) -> list[Tensor | None]:
        """The gradient of a part of the loss, for `add`; None for parameters that it does not depend on. Of several parts at
        once, `backward` would add them up in the order in which they end."""
        learning = {
            name: p for name, p in self.parameters.items() if p.requires_grad
        }  # not those of roles out of force
        found = torch.autograd.grad(self.scaler.scale(loss), [*learning.values()], allow_unused=True)
        own = dict(zip(learning, found, strict=True))
        return [own.get(name) for name in self.parameters]

    def add(self, gradient: Sequence[Tensor | None]) -> None:
        """Adds the gradient of a part of the loss to those of the others."""
        for p, own in zip(self.parameters.values(), gradient, strict=True):
            if own is not None:
                p.grad = own if p.grad is None else p.grad.add_(own)

    def step(self, step: int) -> dict[str, float]:
        """Applies the summed gradient with the learning rate of this step; returns its norm, the rate, the skips so far.

        Raises:
            RunError: the gradient was not finite for the last time that is allowed.
        """
        parameters = list(self.parameters.values())
        for p in parameters:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        # One message is enough: adapters are a few megabytes, too little to overlap with the backward pass.
        parallel.sum_tensors(p.grad for p in parameters if p.grad is not None)
        self.scaler.unscale_(self.adam)
        norm = math.hypot(*(self._clip(role) for role in self.trained))
        rate = self.settings.learning_rate * schedule(self.settings, step, self.steps)
        for group in self.adam.param_groups:
            group["lr"] = rate
        if math.isfinite(norm):
            self.scaler.step(self.adam)
            self.skipped_in_a_row = 0
        else:
            self._skip()
        self.scaler.update()
        self.adam.zero_grad(set_to_none=True)
        numbers = {"learning_rate": rate, "skipped_steps": float(self.skipped)}
        return numbers | ({"grad_norm": norm} if math.isfinite(norm) else {})

    def _clip(self, role: str) -> float:
        """Norm of a role's gradient, which is scaled down to the largest allowed: each role by itself, so that a large
        policy gradient does not make the value's small."""
        # Measured with a joint clip and a value coefficient of .1: the explained variance never passed .19.
        own = [p for name, p in self.parameters.items() if name.startswith(f"{role}/")]
        return float(nn.utils.clip_grad_norm_(own, self.settings.max_grad_norm))

    def _skip(self) -> None:
        self.skipped += 1
        self.skipped_in_a_row += 1
        # float16 looks for a workable loss scale by skipping: it may halve it 14 times before anything is wrong.
        allowed = self.settings.max_skipped + (14 if self.scaler.is_enabled() else 0)
        if self.skipped_in_a_row >= allowed:
            raise RunError(
                f"the gradient was not finite {self.skipped_in_a_row} steps in a row; the weights are as before."
                " Lower the learning rate, or use model.dtype float32 or bfloat16; the last checkpoint is intact"
            )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """(tensors, JSON) from which `load_state` goes on. The tensors are the optimiser's own where it is on the CPU: they
        are to be written before the next step."""
        tensors = {
            f"{name}/{key}": value.detach().cpu()
            for name, p in self.parameters.items()
            for key, value in self.adam.state.get(p, {}).items()
        }
        return tensors, {
            "scaler": self.scaler.state_dict(),
            "skipped": self.skipped,
            "skipped_in_a_row": self.skipped_in_a_row,
        }

    def load_state(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        for name, p in self.parameters.items():
            keys = ("step", "exp_avg", "exp_avg_sq")
            found = {k: tensors[f"{name}/{k}"] for k in keys if f"{name}/{k}" in tensors}
            if found:
                self.adam.state[p] = {
                    k: t.clone() if k == "step" else t.to(p.device, copy=True) for k, t in found.items()
                }
        self.scaler.load_state_dict(state["scaler"])
        self.skipped, self.skipped_in_a_row = state["skipped"], state["skipped_in_a_row"]


def schedule(settings: OptimiserSettings, step: int, steps: int) -> float:
    """Factor on the peak learning rate at `step` of `steps`: a linear rise, then constant, linear or cosine fall to 0."""
    warmup = math.ceil(settings.warmup * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, steps - warmup)
    return {"constant": 1.0, "linear": 1 - progress, "cosine": 0.5 * (1 + math.cos(math.pi * progress))}[
        settings.schedule
    ]
