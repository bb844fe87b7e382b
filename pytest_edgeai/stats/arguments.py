"""The arguments of a statistic: samples and levels, checked so that nonsense can't turn into a verdict."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["confidence_level", "error_rate", "fraction", "sample"]


def sample(values: npt.ArrayLike, name: str, least: int = 1) -> npt.NDArray[np.float64]:
    """
    Return *values* as a one-dimensional array of finite floats.

    Raises:
        ValueError: More than one dimension, fewer than *least* numbers, or one that is NaN or infinite (a NaN
            compares as False with every limit, and would silently count for neither side).
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, not of shape {array.shape}")
    if array.size < least:
        raise ValueError(f"{name} must hold at least {least} numbers, not {array.size}")
    if not np.isfinite(array).all():
        first = int(np.flatnonzero(~np.isfinite(array))[0])
        raise ValueError(f"{name} must be finite, but number {first} is {array[first]}")
    return array


def confidence_level(confidence: float) -> float:
    """
    Return *confidence*, a probability of at least 0.5 and less than 1.

    Raises:
        ValueError: Outside that range; 95 is not 0.95, and below 0.5 a lower bound lies above the estimate.
    """
    if not 0.5 <= confidence < 1:
        raise ValueError(f"confidence must be at least 0.5 and less than 1, not {confidence}")
    return confidence


def error_rate(alpha: float) -> float:
    """
    Return *alpha*, a probability strictly between 0 and 1.

    Raises:
        ValueError: Outside that range.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, not {alpha}")
    return alpha


def fraction(p: float) -> float:
    """
    Return *p*, the order of a percentile as a fraction strictly between 0 and 1.

    Raises:
        ValueError: Outside that range; the 99th percentile is 0.99, not 99.
    """
    if not 0 < p < 1:
        raise ValueError(f"p must lie between 0 and 1 (the 99th percentile is 0.99), not {p}")
    return p
