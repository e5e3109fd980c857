"""Speed and memory, measured: `python -m benchmarks.ours --help`, and README.md here."""
