"""Selfsame: train chatbots that stay in character."""
