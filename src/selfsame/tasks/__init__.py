"""Other people's benchmarks, a file each."""
