"""
Percentiles: estimates from order statistics, distribution-free bounds, and the sample sizes that bounds need.

The bounds are exact for independent samples of any distribution, since the number of samples below a
percentile is binomial. Successive latencies are often not independent: `thin` them first.

Sources:
    W. J. Conover, "Practical Nonparametric Statistics", section 3.2; H. A. David and H. N. Nagaraja, "Order
    Statistics", section 7.1: bounds of quantiles from order statistics.

    G. E. P. Box, G. M. Jenkins and G. C. Reinsel, "Time Series Analysis", section 2.1: autocorrelation.
"""

from __future__ import annotations

import bisect
import math

import numpy as np
import numpy.typing as npt

from pytest_edgeai.stats.arguments import confidence_level, fraction, sample

__all__ = ["lag1", "lower_bound", "needed_n", "percentile", "thin", "upper_bound"]

LEAST_THINNED = 30
"""`thin` keeps at least so many samples."""


def percentile(values: npt.ArrayLike, p: float) -> float:
    """
    Estimate the percentile of order *p* by linear interpolation between order statistics (numpy's default).

    It is the number that people expect to see, and decides nothing: of 20 samples it puts p99 below the
    largest. Of samples too few for an `upper_bound` it may even lie below the `lower_bound`.

    Args:
        values: Shape (n,).
        p: A fraction: 0.99 is the 99th percentile.

    Raises:
        ValueError: No values, a value that is not finite, or a fraction out of range.
    """
    return float(np.quantile(sample(values, "values"), fraction(p)))


def upper_bound(values: npt.ArrayLike, p: float, confidence: float) -> float | None:
    """
    One-sided upper confidence bound of the percentile of order *p*.

    It is x_(n-k) with the largest k for which P(Binomial(n, 1-p) <= k) <= 1 - confidence.

    Args:
        values: Shape (n,), independent samples in any order.
        p: A fraction: 0.99 is the 99th percentile.
        confidence: One-sided.

    Returns:
        The bound in the unit of the values, or None when they are fewer than `needed_n(p, confidence)`.

    Raises:
        ValueError: No values, a value that is not finite, or a fraction or confidence out of range.
    """
    array = sample(values, "values")
    beyond = _ranks_beyond(array.size, 1 - fraction(p), confidence)
    if beyond == 0:
        return None
    rank = array.size - beyond
    return float(np.partition(array, rank)[rank])


def lower_bound(values: npt.ArrayLike, p: float, confidence: float) -> float | None:
    """
    One-sided lower confidence bound of the percentile of order *p*.

    It is x_(j) with the largest j for which P(Binomial(n, p) <= j - 1) <= 1 - confidence.

    Args:
        values: Shape (n,), independent samples in any order.
        p: A fraction: 0.99 is the 99th percentile.
        confidence: One-sided.

    Returns:
        The bound in the unit of the values, or None when they are fewer than `needed_n(1 - p, confidence)`.

    Raises:
        ValueError: No values, a value that is not finite, or a fraction or confidence out of range.
    """
    array = sample(values, "values")
    beyond = _ranks_beyond(array.size, fraction(p), confidence)
    if beyond == 0:
        return None
    rank = beyond - 1
    return float(np.partition(array, rank)[rank])


def needed_n(p: float, confidence: float, exceedances: int = 0) -> int:
    """
    Smallest number of samples that bounds the percentile of order *p* from above.

    Args:
        p: A fraction: 0.99 is the 99th percentile.
        confidence: One-sided.
        exceedances: How many samples may lie above the bound. With none the bound is the largest sample, and
            n = ceil(ln(1 - confidence) / ln p).

    Raises:
        ValueError: A negative number of exceedances, or a fraction or confidence out of range.
    """
    from scipy.special import bdtr

    alpha = 1 - confidence_level(confidence)
    above = 1 - fraction(p)
    if exceedances < 0:
        raise ValueError(f"exceedances is a count, not {exceedances}")

    def enough(n: int) -> bool:
        return bool(bdtr(exceedances, n, above) <= alpha)

    most = exceedances + 1
    while not enough(most):
        most *= 2
    return 1 + bisect.bisect_left(range(1, most), True, key=lambda n: n > exceedances and enough(n))


def lag1(values: npt.ArrayLike) -> float:
    """
    Autocorrelation at lag 1: the products of neighbours over the squares, about the mean of the whole series.

    Args:
        values: Shape (n,), in order of time.

    Returns:
        A number between -1 and 1; 0 for a series that never changes.

    Raises:
        ValueError: Fewer than two values, or a value that is not finite.
    """
    array = sample(values, "values", least=2)
    if np.ptp(array) == 0:
        return 0.0
    centred = (array - array.mean()) / np.abs(array).max()
    return float(np.dot(centred[:-1], centred[1:]) / np.dot(centred, centred))


def thin(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """
    Keep every k-th value, with the smallest k that leaves no visible autocorrelation.

    Autocorrelation is visible while |`lag1`| of the kept series exceeds 2/sqrt(its length), the usual 95 %
    limits of white noise (so one independent series in twenty is thinned for nothing, which costs samples and
    no validity). At least `LEAST_THINNED` values are kept: when no k within that limit will do, the series
    comes back thinned as far as the limit allows, still correlated, and `lag1` shows it.

    Args:
        values: Shape (n,), in order of time.

    Returns:
        Shape (ceil(n / k),).

    Raises:
        ValueError: No values, or a value that is not finite.
    """
    array = sample(values, "values")
    if array.size <= LEAST_THINNED:
        return array
    largest = (array.size - 1) // (LEAST_THINNED - 1)
    for step in range(1, largest + 1):
        kept = array[::step]
        if abs(lag1(kept)) <= 2 / math.sqrt(kept.size):
            return kept
    return array[::largest]


def _ranks_beyond(n: int, tail: float, confidence: float) -> int:
    """How many ranks j = 0, 1, ... have P(Binomial(n, tail) <= j) <= 1 - confidence."""
    from scipy.special import bdtr

    alpha = 1 - confidence_level(confidence)
    return bisect.bisect_left(range(n), True, key=lambda j: bool(bdtr(j, n, tail) > alpha))
