"""Agreement of the numbers with people."""
