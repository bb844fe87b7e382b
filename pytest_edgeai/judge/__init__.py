"""Judging: what an assertion sees (quantities), how a claim is decided (ratios, series, scores)."""
