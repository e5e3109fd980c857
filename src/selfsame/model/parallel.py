"""Several processes (`torchrun`) that share a global batch.

Each does a share of it and gradients are summed; everything else is computed by all alike. One process is a group of one.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from selfsame.errors import RunError

_BEFORE_MEETING: list[Callable[[], None]] = []


def start() -> None:
    """Joins the process group that `torchrun` describes in the environment (gloo on CPUs, nccl on GPUs)."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        dist.init_process_group("cpu:gloo,cuda:nccl")
    else:
        dist.init_process_group("gloo")
    if os.environ.get("OMP_NUM_THREADS") == "1":  # what torchrun sets where the user did not; share the cores instead
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def stop() -> None:
    """Leaves the process group."""
    _BEFORE_MEETING.clear()
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def gpus() -> int:
    """GPUs of this machine."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def is_main() -> bool:
    """Whether this process writes files and prints."""
    return rank() == 0


def before_meeting(action: Callable[[], None]) -> None:
    """What a process does before it waits for the others, from now on."""
    _BEFORE_MEETING[:] = [action]


def in_lockstep() -> bool:
    """Whether all processes have to do the same number of passes, so that none may leave alone."""
    return bool(_BEFORE_MEETING)


def meet() -> None:
    """Called where all processes come together, before they exchange anything."""
    for action in _BEFORE_MEETING:
        action()


def barrier() -> None:
    if world() > 1:
        meet()
        dist.barrier()


@contextmanager
def turns() -> Iterator[None]:
    """The processes of a machine do the block one after another."""
    mine = int(os.environ.get("LOCAL_RANK", "0"))
    for turn in range(world()):
        if turn == mine:
            yield
        barrier()


@contextmanager
def lost_is_told() -> Iterator[None]:
    """Turns what PyTorch raises where another process is gone into one line. SIGTERM is ignored from then on.

    Raises:
        RunError: it is gone.
    """
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, dist.DistError) or "gloo" in str(error)
        if world() > 1 and lost and not isinstance(error, RunError):
            # `torchrun` sends it to all as soon as one is gone, which ended them before they had said anything.
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            raise RunError(
                "another process of the run has ended; what was saved is intact, and the same command resumes it"
            ) from error
        raise


def share(items: Sequence[Any]) -> list[Any]:
    """This process's part of a global batch: every world-th item."""
    return list(items[rank() :: world()])


def gather(part: Sequence[Any]) -> list[Any]:
    """The global batch of which `part` is this process's share, in its order, on every process."""
    if world() == 1:
        return list(part)
    meet()
    parts: list[Any] = [None] * world()
    dist.all_gather_object(parts, list(part))
    return [parts[i % world()][i // world()] for i in range(sum(map(len, parts)))]


def sum_tensors(tensors: Iterable[Tensor]) -> None:
    """Adds up each tensor over the processes, in place, in one message."""
    tensors = list(tensors)
    if world() == 1 or not tensors:
        return
    meet()
    flat = torch.cat([t.reshape(-1) for t in tensors])
    dist.all_reduce(flat)
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def sum_numbers(numbers: dict[str, float]) -> dict[str, float]:
    """Adds up each number over the processes."""
    if world() == 1:
        return numbers
    meet()
    parts: list[Any] = [None] * world()
    dist.all_gather_object(parts, numbers)
    keys = list(dict.fromkeys(k for part in parts for k in part))
    return {k: sum(part.get(k, 0.0) for part in parts) for k in keys}
