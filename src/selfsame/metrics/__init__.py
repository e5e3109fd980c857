"""One reply or dialogue in, numbers out."""
