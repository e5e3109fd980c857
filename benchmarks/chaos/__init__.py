"""Runs that are disturbed and started again: what becomes of them. See `python -m benchmarks.chaos --help`."""
