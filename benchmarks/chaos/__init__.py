"""Runs that are disturbed and started again: what becomes of them. See `python -m benchmarks.chaos --help`."""

import os

# Before PyTorch starts: runs are forks, and a fork of a process with several OpenMP threads hangs in its first product.
os.environ["OMP_NUM_THREADS"] = "1"
