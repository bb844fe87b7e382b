"""
Student's t: bounds of a mean from a few independent, roughly normal values, such as one median a process pair.

Source:
    Student, "The probable error of a mean", Biometrika 6 (1908).
"""

from __future__ import annotations

import bisect
import math

import numpy as np
import numpy.typing as npt

from pytest_edgeai.stats.arguments import error_rate, sample

__all__ = ["lower_bound", "values_to_decide"]

FORESIGHT_VALUES = 1000
"""How far ahead `values_to_decide` looks."""


def lower_bound(values: npt.ArrayLike, alpha: float) -> float:
    """
    One-sided lower confidence bound of the mean: mean - t s / sqrt(n) with n - 1 degrees of freedom.

    The upper bound is ``-lower_bound(-values, alpha)``. With symmetric tails heavier than normal it errs on the safe side.

    Args:
        values: Shape (n,), independent.
        alpha: Chance that the mean lies below the bound.

    Raises:
        ValueError: Fewer than two values, one that is not finite, or alpha out of range.
    """
    array = sample(values, "values", least=2)
    spread = float(np.std(array, ddof=1)) / math.sqrt(array.size)
    return float(array.mean()) - _quantile(array.size - 1, error_rate(alpha)) * spread


def values_to_decide(values: npt.ArrayLike, limit: float, alpha: float) -> int | None:
    """
    Estimate the number of values at which the mean is proven to lie on its side of *limit*; None when it is above 1000.

    It supposes that mean and spread stay as they are; a forecast to show to people, no part of a decision.

    Raises:
        ValueError: Fewer than two values, one that is not finite, or alpha out of range.
    """
    array = sample(values, "values", least=2)
    distance, spread = abs(float(array.mean()) - limit), float(array.std(ddof=1))
    error_rate(alpha)

    def decides(n: int) -> bool:
        return _quantile(n - 1, alpha) * spread / math.sqrt(n) < distance

    counts = range(array.size, FORESIGHT_VALUES + 1)
    place = bisect.bisect_left(counts, True, key=decides)
    return counts[place] if place < len(counts) else None


def _quantile(degrees: int, alpha: float) -> float:
    from scipy.special import stdtrit

    return -float(stdtrit(degrees, alpha))
