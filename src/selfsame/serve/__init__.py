"""Talking to a bot."""
