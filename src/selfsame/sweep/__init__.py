"""A grid of settings: a run each, what they share computed once, and one table that says which is best."""
