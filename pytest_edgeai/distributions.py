"""Distributions: what is installed of those that bring the same package, one for each kind of hardware."""

import importlib.metadata


def one_of(*names: str) -> str:
    """The first one that is installed; the first one of all where none is."""
    return next((name for name in names if any(importlib.metadata.distributions(name=name))), names[0])
