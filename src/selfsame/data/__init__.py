"""Rows -> dialogues -> prompts, examples and preference pairs."""
