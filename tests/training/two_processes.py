"""Trains stages in each process of a `torchrun` group and saves what came out: `two_processes.py MODEL OUT STAGE ...`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from test_loop import make, record, states

from selfsame.model import parallel

if __name__ == "__main__":
    model, out, stages = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    parallel.start()
    torch.set_num_threads(1)
    for stage in stages:
        if parallel.is_main():
            made = record(out / stage, stage)
        parallel.barrier()
        made = made if parallel.is_main() else record(out / f"other-{stage}", stage)
        trainer = make(stage, model, made)
        dropped = {"dropout": 0.0}  # its masks depend on the batch
        trainer.roles.settings = trainer.roles.settings.model_copy(update=dropped)
        trainer.train()
        save_file(states(trainer), out / f"{stage}-{parallel.world()}-{parallel.rank()}.safetensors")
    parallel.stop()
