"""The plan of a run before it starts: memory and time of each stage, and what to change."""
