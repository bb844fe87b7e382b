"""
Real-valued scores, such as a cosine similarity: bounds of the ratio of two paired means over items. And scores of
all items together, such as an F1: bounds of the ratio of two of them.

An item may as well be a group of items that belong together, with the sum of their scores.

Sources:
    B. Efron, "Better bootstrap confidence intervals", JASA 82 (1987): the BCa interval.

    W. G. Cochran, "Sampling Techniques", 3rd edition (1977), chapter 6: the variance of a ratio of means.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pytest_edgeai.stats import student
from pytest_edgeai.stats.arguments import confidence_level, sample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["corpus_ratio_bounds", "paired_ratio_bounds", "student_ratio_bounds"]

VALUES_AT_ONCE = 2_000_000
"""Resampled items held in memory at a time."""
JACKKNIFE_PARTS = 50
"""Parts of the units, each of which is left out once to see how the score leans on it."""


def paired_ratio_bounds(
    variant: npt.ArrayLike,
    reference: npt.ArrayLike,
    confidence: float,
    rng: np.random.Generator,
    resamples: int = 2000,
) -> tuple[float, float]:
    """
    Lower and upper bound of mean(variant) / mean(reference), by the BCa bootstrap over items.

    Items are resampled with both of their scores. The acceleration is that of the ratio's influence function.

    A bootstrap knows only what it has seen. A rare collapse of single items stays unseen in few: at a true
    ratio of 0.95, made by 5 % of items that fall to 0, the 95 % lower bound exceeds 0.95 in 21 % of samples
    of 30 items, and in 5 to 7 % from 59 items on. So ask for `order.needed_n(limit, confidence)` items before
    trusting a bound against a limit.

    Args:
        variant: Shape (items,), the variant's score of each item.
        reference: Shape (items,), the reference's score of the same items in the same order.
        confidence: One-sided, of EACH bound.
        rng: Source of the resamples.
        resamples: At least 100.

    Returns:
        Both bounds, which enclose the observed ratio; (-inf, inf) when some resample has a reference mean of
        zero or less, for then the data don't bound the ratio.

    Raises:
        ValueError: Lengths that differ, fewer than two items, a score that is not finite, an observed
            reference mean of zero or less, too few resamples, or a confidence out of range.

    Source: Efron (1987).
    """
    numerator, denominator, centre = _paired(variant, reference)
    items = numerator.size
    if resamples < 100:
        raise ValueError(f"resamples must be at least 100, not {resamples}")
    confidence_level(confidence)
    estimate = float(numerator.mean()) / centre
    influence = numerator - estimate * denominator
    squares = float(np.sum(influence**2))
    if squares == 0:
        return estimate, estimate

    batches = []
    todo = resamples
    while todo > 0:
        batch = min(todo, max(1, VALUES_AT_ONCE // items))
        drawn = rng.integers(0, items, size=(batch, items))
        below = denominator[drawn].mean(axis=1)
        if below.min() <= 0:
            return -np.inf, np.inf
        batches.append(numerator[drawn].mean(axis=1) / below)
        todo -= batch
    replicates = np.concatenate(batches)
    if np.ptp(replicates) == 0:
        return estimate, estimate

    acceleration = float(np.sum(influence**3)) / (6 * squares**1.5)
    return (
        _bca(replicates, estimate, acceleration, 1 - confidence),
        _bca(replicates, estimate, acceleration, confidence),
    )


def student_ratio_bounds(variant: npt.ArrayLike, reference: npt.ArrayLike, confidence: float) -> tuple[float, float]:
    """
    Lower and upper bound of mean(variant) / mean(reference), by the delta method with Student's t.

    Unlike a bootstrap's, they can be had at any confidence; but they know no skewness. Arguments and errors as for
    `paired_ratio_bounds`.

    Source: Cochran (1977).
    """
    numerator, denominator, centre = _paired(variant, reference)
    estimate = float(numerator.mean()) / centre
    influence = (numerator - estimate * denominator) / centre  # its mean is 0
    alpha = 1 - confidence_level(confidence)
    return estimate + student.lower_bound(influence, alpha), estimate - student.lower_bound(-influence, alpha)


def corpus_ratio_bounds(
    variant: Callable[[npt.NDArray[np.int64]], float],
    reference: Callable[[npt.NDArray[np.int64]], float],
    units: int | Sequence[npt.NDArray[np.int64]],
    confidences: tuple[float, float],
    rng: np.random.Generator,
    resamples: int = 1000,
) -> tuple[float, float]:
    """
    Lower and upper bound of the ratio of two scores of all items together, by the paired BCa bootstrap over units.

    A bound is the wider of the bootstrap's and of Student's with the bootstrap's deviation, which can be had at a
    confidence that so few resamples don't reach. The acceleration is the jackknife's, which leaves out one of 50 parts
    of the units at a time.

    Args:
        variant: The variant's score of the items at some places, of which each may come up several times.
        reference: The reference's score of the same.
        units: The places of each group's items; or how many items there are, each a unit.
        confidences: One-sided, of the lower and of the upper bound.
        rng: Source of the resamples.
        resamples: At least 100; each computes both scores once.

    Returns:
        Both bounds, which enclose the observed ratio; (-inf, inf) when the reference scores zero or less in some
        resample.

    Raises:
        ValueError: Fewer than two units, too few resamples, a confidence out of range, or an observed reference score of
            zero or less. And whatever the scores raise.

    Source: Efron (1987).
    """
    from scipy.special import stdtrit

    count = units if isinstance(units, int) else len(units)
    if count < 2 or resamples < 100:
        raise ValueError(f"it takes 2 units and 100 resamples, not {count} and {resamples}")
    for confidence in confidences:
        confidence_level(confidence)

    def ratio(chosen: npt.NDArray[np.int64]) -> float:
        places = chosen if isinstance(units, int) else np.concatenate([units[unit] for unit in chosen])
        below = reference(places)
        return variant(places) / below if below > 0 else np.inf

    everything = np.arange(count)
    estimate = ratio(everything)
    if not np.isfinite(estimate):
        raise ValueError("the reference scores zero or less, so a ratio to it says nothing")
    replicates = np.array([ratio(rng.integers(0, count, count)) for _ in range(resamples)])
    parts = np.array_split(rng.permutation(everything), min(JACKKNIFE_PARTS, count))
    without = np.array([ratio(np.setdiff1d(everything, part)) for part in parts])
    if not (np.isfinite(replicates).all() and np.isfinite(without).all()):
        return -np.inf, np.inf
    if np.ptp(replicates) == 0:
        return estimate, estimate
    lean = without.mean() - without
    squares = float(np.sum(lean**2))
    acceleration = float(np.sum(lean**3)) / (6 * squares**1.5) if squares > 0 else 0.0
    reach = [float(stdtrit(count - 1, confidence) * replicates.std()) for confidence in confidences]
    return (
        min(_bca(replicates, estimate, acceleration, 1 - confidences[0]), estimate - reach[0]),
        max(_bca(replicates, estimate, acceleration, confidences[1]), estimate + reach[1]),
    )


def _paired(
    variant: npt.ArrayLike, reference: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float]:
    """Both scores, and the reference's mean, which is positive."""
    numerator = sample(variant, "variant", least=2)
    denominator = sample(reference, "reference", least=2)
    if denominator.size != numerator.size:
        raise ValueError(f"scores must be paired, but variant has {numerator.size} and reference {denominator.size}")
    centre = float(denominator.mean())
    if centre <= 0:
        raise ValueError(f"the reference scores have a mean of {centre}, so a ratio to it says nothing")
    return numerator, denominator, centre


def _bca(replicates: npt.NDArray[np.float64], estimate: float, acceleration: float, level: float) -> float:
    """The quantile of the resampled ratios that bounds the true one at *level*, on the estimate's proper side."""
    normal = NormalDist()
    # Ties count half; few items make many, and rounding must not break them.
    distances = (replicates - estimate) / replicates.std()
    share = float(np.mean(distances < -1e-9) + np.mean(np.abs(distances) <= 1e-9) / 2)
    bias = normal.inv_cdf(min(max(share, 0.5 / replicates.size), 1 - 0.5 / replicates.size))
    shifted = bias + normal.inv_cdf(level)
    stretch = 1 - acceleration * shifted
    adjusted = normal.cdf(bias + shifted / stretch) if stretch > 0 else float(shifted > 0)
    bound = float(np.quantile(replicates, adjusted, method="weibull"))
    return min(bound, estimate) if level < 0.5 else max(bound, estimate)
