"""Limits: the target's own, changed by what the user states."""

import re
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from pytest_edgeai.errors import UsageError, unknown
from pytest_edgeai.records import Limits
from pytest_edgeai.units import ms, s

_SIZES: Final = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def changed(limits: Limits, text: str) -> Limits:
    """``limits`` with those of ``text`` in their place: ``package=20MB memory=256MB power=5W accuracy=0.99``. Raises UsageError."""
    fields: dict[str, float] = {}
    # A unit may stand apart from its number.
    for entry in re.sub(r"(?<=[0-9.]) +(?=[a-zA-Z]+(?![\w=]))", "", text).replace(",", " ").split():
        name, _, value = entry.partition("=")
        if name not in _KNOWN:
            raise UsageError(
                f"The limit '{entry}': {unknown('limit', name, _KNOWN)} Write NAME=VALUE, as in package=20MB."
            )
        field, read, what = _KNOWN[name]
        number = read(value)
        if number is None:
            raise UsageError(f"The limit '{entry}' must be {what}.")
        fields[field] = number
    return msgspec.structs.replace(limits, **fields)


def _bytes(text: str) -> int | None:
    """With a unit: a bare number would be taken for megabytes by some, and for a share by others."""
    found = re.fullmatch(r"([0-9.]+)([a-z]+)", text.lower())
    number = _factor(found[1]) if found else None
    size = _SIZES.get(found[2]) if found else None
    return None if number is None or size is None else round(number * size)


def _seconds(text: str) -> float | None:
    """With a unit."""
    found = re.fullmatch(r"([0-9.]+)(ms|s)", text.lower())
    number = _factor(found[1]) if found else None
    return None if found is None or number is None else number * {"ms": ms, "s": s}[found[2]]


def _watts(text: str) -> float | None:
    return _factor(text.removesuffix("W").removesuffix("w"))


def _share(text: str) -> float | None:
    number = _factor(text)
    return number if number is not None and number <= 1 else None


def _factor(text: str) -> float | None:
    """Greater than 0, and finite."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 < number < float("inf") else None


_KNOWN: Final[Mapping[str, tuple[str, Callable[[str], float | None], str]]] = {
    "accuracy": ("accuracy_kept", _share, "a share of the reference's accuracy, as in accuracy=0.99"),
    "speedup": ("speedup", _factor, "a factor, as in speedup=1.5"),
    "footprint": ("footprint", _factor, "a share of the baseline's own footprint, as in footprint=0.6"),
    "perplexity": ("perplexity", _factor, "a ratio to the reference's perplexity, as in perplexity=1.02"),
    "kl_divergence": ("kl_divergence", _factor, "in nats a token, as in kl_divergence=0.05"),
    "ttft": ("ttft", _seconds, "a time with its unit, as in ttft=200ms"),
    "package": ("package", _bytes, "a size with its unit, as in package=20MB"),
    "memory": ("memory_bytes", _bytes, "a size with its unit, as in memory=256MB"),
    "power": ("power_watts", _watts, "in watts, as in power=5W"),
}
"""Name -> the field of Limits, how its value is read, and what it is."""
