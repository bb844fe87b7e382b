"""Gates for models that look at images."""
