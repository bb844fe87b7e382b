"""
The spread of a positive quantity relative to its median, robust against outliers, and its bounds.

Sources:
    F. R. Hampel, "The influence curve and its role in robust estimation", JASA 69 (1974): the median absolute
    deviation, times 1.4826 so that it estimates the standard deviation of a normal distribution.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pytest_edgeai.stats import order
from pytest_edgeai.stats.arguments import sample

__all__ = ["rmad", "rmad_bounds"]

NORMAL_CONSISTENCY = 1.4826


def rmad(values: npt.ArrayLike) -> float:
    """
    Relative median absolute deviation: 1.4826 MAD / median, the robust counterpart of sd / mean.

    Args:
        values: Shape (n,), all positive, such as latencies.

    Returns:
        A fraction: 0.2 means 20 %.

    Raises:
        ValueError: No values, or one that is not finite or not positive.
    """
    array = _positive(values)
    middle = np.median(array)
    return float(NORMAL_CONSISTENCY * np.median(np.abs(array - middle)) / middle)


def rmad_bounds(
    values: npt.ArrayLike, low_confidence: float, high_confidence: float
) -> tuple[float | None, float | None]:
    """
    Lower and upper confidence bound of `rmad`, for values that may be autocorrelated.

    Order-statistic bounds of the absolute deviations' median, about the estimated median and about both ends
    of that one's own interval: in a skewed distribution the deviations change with the point that they are
    taken about. In simulations of skewed, heavy-tailed and two-peaked values with neighbours' correlations of
    0 to 0.7 the bounds miss at most as often as stated, and at 0.9 for all but two peaks; percentiles
    of a moving-block bootstrap missed up to four times as often.

    Args:
        values: Shape (n,), all positive, in order of time.
        low_confidence: One-sided, of the lower bound.
        high_confidence: One-sided, of the upper bound.

    Returns:
        Both bounds as fractions; None for both when so few values give none.

    Raises:
        ValueError: No values, one that is not finite or not positive, or a confidence out of range.
    """
    array = _positive(values)
    found = []
    for centre in (float(np.median(array)), *order.series_bounds(array, 0.5, low_confidence, high_confidence)):
        if centre is None:
            return None, None
        low, high = order.series_bounds(np.abs(array - centre), 0.5, low_confidence, high_confidence)
        if low is None or high is None:
            return None, None
        found.append((max(0.0, low) / centre, high / centre))
    lows, highs = zip(*found, strict=True)
    return NORMAL_CONSISTENCY * min(lows), NORMAL_CONSISTENCY * max(highs)


def _positive(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    array = sample(values, "values")
    if array.min() <= 0:
        raise ValueError(f"values must be positive, but the smallest is {array.min()}")
    return array
