"""Properties of texts without a model: words, contradictions, rule violations."""
