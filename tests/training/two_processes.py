"""Trains a stage in each process of a `torchrun` group and saves what came out: `two_processes.py STAGE MODEL OUT`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from test_loop import make, record, states

from selfsame.model import parallel

if __name__ == "__main__":
    stage, model, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    parallel.start()
    torch.set_num_threads(1)
    if parallel.is_main():
        made = record(out / "run", stage)
    parallel.barrier()
    made = made if parallel.is_main() else record(out / "other", stage)
    trainer = make(stage, model, made)
    trainer.roles.settings = trainer.roles.settings.model_copy(update={"dropout": 0.0})  # its masks depend on the batch
    trainer.train()
    save_file(states(trainer), out / f"{stage}-{parallel.world()}-{parallel.rank()}.safetensors")
    parallel.stop()
