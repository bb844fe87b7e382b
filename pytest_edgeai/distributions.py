"""Distributions: what is installed of those that bring the same package, one for each kind of hardware."""

import importlib.metadata
from collections.abc import Iterable


def one_of(*names: str) -> tuple[str, ...]:
    """The one that is installed; the first one where none is. Where several are, all: which of them is run is not known."""
    return tuple(installed(names)) or names[:1]


def installed(names: Iterable[str]) -> list[str]:
    """Those of them that are."""
    return [name for name in names if any(importlib.metadata.distributions(name=name))]
