"""What can be said of texts without a model: words, contradictions, rule violations."""
