"""A bot leaves: as an adapter, as merged weights, as GGUF, as a folder for Ollama, or its persona as a character card."""
