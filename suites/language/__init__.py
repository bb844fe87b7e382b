"""Gates for language models."""
