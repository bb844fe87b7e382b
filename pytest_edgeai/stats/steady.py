"""
Steadiness: whether a series still gets faster or slower, as it does while it warms up.

Sources:
    H. B. Mann, "Nonparametric tests against trend", Econometrica 13 (1945); M. G. Kendall, "Rank Correlation
    Methods", chapter 4: the variance with ties.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from pytest_edgeai.stats.arguments import error_rate, sample

__all__ = ["LEAST_VALUES", "mann_kendall_p", "trend"]

LEAST_VALUES = 8
"""With fewer `trend` sees none: the normal approximation of Mann's statistic begins to hold there."""

ALPHA = 0.01
SHIFT = 0.02


def trend(values: npt.ArrayLike, alpha: float = ALPHA, shift: float = SHIFT) -> float:
    """
    By how much the second half of a series lies above the first, if the series trends; else 0.

    It trends when Mann's test says so at *alpha* and the medians of the halves differ by more than *shift*: a
    trend that can be seen but is small disturbs nobody, and a large difference without one is noise.
    Neighbours that are alike make Mann's test see trends that are none, so give it medians of blocks, or
    a thinned series. It takes n^2 steps.

    Args:
        values: Shape (n,), in order of time.
        alpha: Two-sided error rate for independent values.
        shift: A fraction: 0.02 is 2 % of the series' median.

    Returns:
        A fraction: 0.05 means that the second half's median is 5 % above the first's; 0.0 when steady, when
        there are fewer than `LEAST_VALUES` values, or when their median is 0.

    Raises:
        ValueError: A value that is not finite, or an alpha out of range.
    """
    array = sample(values, "values", least=0)
    middle = abs(float(np.median(array))) if array.size else 0.0
    if array.size < LEAST_VALUES or middle == 0:
        return 0.0
    half = array.size // 2
    moved = float(np.median(array[-half:]) - np.median(array[:half])) / middle
    return moved if abs(moved) > shift and mann_kendall_p(array) < error_rate(alpha) else 0.0


def mann_kendall_p(values: npt.ArrayLike) -> float:
    """
    Two-sided p-value of "the values are independent of their order", by Mann's statistic and its normal approximation.

    Args:
        values: Shape (n,), in order of time.

    Raises:
        ValueError: Fewer than two values, or a value that is not finite.
    """
    array = sample(values, "values", least=2)
    n = array.size
    score = sum(int(np.sign(array[place + 1 :] - array[place]).sum()) for place in range(n - 1))
    ties = np.unique(array, return_counts=True)[1].astype(float)
    variance = (n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    if variance <= 0 or score == 0:
        return 1.0
    # One step less, for a statistic that is a whole number.
    return 2 * NormalDist().cdf(-(abs(score) - 1) / math.sqrt(variance))
