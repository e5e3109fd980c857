"""What a run will take, told before it starts: memory and time of each stage on given hardware, and what to change."""
