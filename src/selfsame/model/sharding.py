"""A frozen base that is split over the processes, by PyTorch's FSDP2.

Each process keeps a part of every block, and a block is whole only while it computes. The processes gather it together, so they
have to pass through the model equally often. Their shares of a batch and their replies are not equally long, and some work only
the first does. A process therefore tells the others before each pass. One that waits for them (`parallel.meet`) passes along
with a single token until nobody has a pass left.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from selfsame.model import parallel
from selfsame.model.prefix_batch import backbone
from selfsame.model.trunk import blocks_of

_NONE, _LEARN, _READ = 0, 1, 2
"""What a process is about to do: wait, pass forward and backward, pass forward only. The largest goes first."""


def load_sharded(load: Callable[[], Any], device: torch.device) -> Any:
    """The frozen causal language model that `load` gives on the CPU, its blocks split over the processes, on `device`.
    Embeddings, last norm and vocabulary head stay whole. Adapters that are made later are no part of it.

    A machine holds one whole base at a time: its processes load one after another. A device holds its own parts, what stays
    whole, and one block besides.

    Raises:
        ConfigError: see `load`, or the model has no blocks that could be found.
    """
    mesh = init_device_mesh(device.type, (parallel.world(),))
    with parallel.turns():
        model = load()
        for block in blocks_of(model)[1]:
            fully_shard(block, mesh=mesh)
        model.to(device)
    body, lockstep = backbone(model), _Lockstep(model)
    # The root has no parameters of its own: it lets the blocks share their streams.
    fully_shard(body, mesh=mesh, ignored_params=set(body.parameters()))
    # FSDP2 warns of adding in place to what GPT-2 gives, which nothing does.
    warnings.filterwarnings("ignore", rf"FSDP2-wrapped module \({type(body).__name__}\)")
    body.register_forward_pre_hook(lockstep.before_pass, prepend=True)
    parallel.before_meeting(lockstep.pass_along)
    return model


def is_sharded(model: Any) -> bool:
    return isinstance(backbone(model), FSDPModule)


class _Lockstep:
    """Keeps the processes at the same pass through `model`."""

    def __init__(self, model: Any) -> None:
        self.model, self._along = model, False

    def before_pass(self, *_: Any) -> None:
        """Until it is this pass's turn, takes part in those of others. One that is learned from comes after all others, since
        nothing may come between it and its way back."""
        if self._along:
            return
        mine = _LEARN if torch.is_grad_enabled() else _READ
        while (kind := _largest(mine)) != mine:
            self._pass(kind)

    def pass_along(self) -> None:
        """Takes part in the passes of others until none has one."""
        while kind := _largest(_NONE):
            self._pass(kind)

    def _pass(self, kind: int) -> None:
        """A pass of one token. No gradient comes of it: autograd is asked for them and they are thrown away."""
        self._along = True
        try:
            with torch.set_grad_enabled(kind == _LEARN):
                id_11 = torch.zeros(1, 1, dtype=torch.long, device=self.model.device)
                state_11H = backbone(self.model)(input_ids=id_11, use_cache=False).last_hidden_state
                if kind == _LEARN:
                    learning = [p for p in self.model.parameters() if p.requires_grad]
                    torch.autograd.grad(state_11H.sum(), learning, allow_unused=True)
        finally:
            self._along = False


def _largest(kind: int) -> int:
    """The largest number that any process gives."""
    kind_1 = torch.tensor([kind])
    dist.all_reduce(kind_1, dist.ReduceOp.MAX)
    return int(kind_1)
