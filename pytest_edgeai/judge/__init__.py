"""Judging: what an assertion sees (quantities), how a comparison is decided (comparisons)."""
