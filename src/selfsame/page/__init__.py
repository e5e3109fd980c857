"""The page of `selfsame serve`: chat, label, runs, characters."""
