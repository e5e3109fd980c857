"""Prompts -> sampled replies."""
