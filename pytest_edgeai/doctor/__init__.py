"""Doctor: what this machine is, which frameworks really run on it, and what mends what does not."""
