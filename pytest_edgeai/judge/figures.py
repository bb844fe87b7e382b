"""Figures: samples summed up with their uncertainty, for reports and ``.estimate``. Nothing is decided by them."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.judge.finding import Finding
from pytest_edgeai.judge.scores import is_binary, totals
from pytest_edgeai.records import Figure
from pytest_edgeai.stats import order, proportions, real_valued, sequential, spread

CONFIDENCE = 0.95
"""Of the intervals, both sides together."""


def exact(value: float, unit: str, method: str = "exact") -> Figure:
    """What is known without sampling."""
    return Figure(estimate=value, low=value, high=value, unit=unit, confidence=1, n=1, method=method)


def of_range(values: Sequence[float], unit: str, what: str) -> Figure:
    """One number for each of ``what`` ("processes", "blocks"): the median and the range that was seen."""
    method = f"range of {len(values)} {what}"
    return _figure(float(np.median(values)), min(values), max(values), unit, 1, len(values), method)


def of_percentile(calls: NDArray[np.float64], p: float, unit: str) -> Figure:
    """Order-statistic bounds of calls alone."""
    one_sided = (1 + CONFIDENCE) / 2
    low, high = order.lower_bound(calls, p, one_sided), order.upper_bound(calls, p, one_sided)
    return _figure(
        order.percentile(calls, p), low, high, unit, CONFIDENCE, len(calls), "order statistics of calls alone"
    )


def of_rates(rates: NDArray[np.float64], unit: str = "items/s", samples: str = "blocks") -> Figure:
    """The median block's items a second, with order-statistic bounds."""
    one_sided = (1 + CONFIDENCE) / 2
    low, high = order.lower_bound(rates, 0.5, one_sided), order.upper_bound(rates, 0.5, one_sided)
    method = f"order statistics of {samples}"
    return _figure(float(np.median(rates)), low, high, unit, CONFIDENCE, len(rates), method)


def of_jitter(calls: NDArray[np.float64]) -> Figure:
    """Relative spread of calls alone; screening has too few of them for an interval."""
    return _figure(spread.rmad(calls), None, None, "proportion", 0, len(calls), "rMAD of calls alone")


def of_turns(differences: NDArray[np.float64]) -> Figure:
    """Speed-up from ln(baseline / variant), one number a round."""
    low, high = sequential.sign_bounds(differences, CONFIDENCE)
    middle = math.exp(float(np.median(differences)))
    return _figure(middle, math.exp(low), math.exp(high), "x", CONFIDENCE, len(differences), "rounds in turns")


def of_scores(scores: NDArray[np.float64], groups: NDArray[np.int64] | None = None) -> Figure:
    """Mean score: exact binomial bounds for right/wrong scores, normal ones else; of groups where items belong together."""
    estimate = float(scores.mean())
    if groups is not None:
        sums, sizes = totals(scores, groups), totals(np.ones(len(scores)), groups)
        low, high = (
            real_valued.student_ratio_bounds(sums, sizes, (1 + CONFIDENCE) / 2) if len(sizes) > 1 else (None, None)
        )
        low, high = low and max(0.0, low), high and min(1.0, high)
        method = f"{len(sizes)} groups, delta method"
        return _figure(estimate, low, high, "proportion", CONFIDENCE, len(scores), method)
    if is_binary(scores):
        low, high = proportions.binomial_bounds(int(scores.sum()), len(scores), (1 + CONFIDENCE) / 2)
        return _figure(estimate, low, high, "proportion", CONFIDENCE, len(scores), "Clopper-Pearson")
    half = 1.96 * float(scores.std(ddof=1)) / math.sqrt(len(scores)) if len(scores) > 1 else math.inf
    return _figure(
        estimate, estimate - half, estimate + half, "proportion", CONFIDENCE, len(scores), "normal approximation"
    )


def of_sums(
    value: float,
    sums: NDArray[np.float64],
    counts: NDArray[np.float64],
    unit: str,
    shown: Callable[[float], float] | None = None,
) -> Figure:
    """A ratio of sums over documents, or what ``shown`` makes of it; bounds by Student's t with the delta method."""
    method, documents = f"{len(sums)} documents, delta method", len(sums)
    if documents < 2 or not sums.any():
        return _figure(value, None, None, unit, 0, documents, method)
    ends = real_valued.student_ratio_bounds(sums, counts, (1 + CONFIDENCE) / 2)
    low, high = (shown(end) if shown else end for end in ends)
    return _figure(value, low, high, unit, CONFIDENCE, documents, method)


def of_corpus(score: float, items: int) -> Figure:
    """A score of all items together, which has no interval of its own."""
    return _figure(score, None, None, "proportion", 0, items, "all items together")


def of_finding(finding: Finding, unit: str) -> Figure | None:
    """What a comparison measured, where its estimate is of the quantity itself."""
    if finding.estimate is None:
        return None
    both = 2 * finding.confidence - 1 if finding.confidence is not None else 1.0
    return _figure(finding.estimate, finding.low, finding.high, unit, both, finding.samples, finding.method)


def _figure(
    estimate: float, low: float | None, high: float | None, unit: str, confidence: float, n: int, method: str
) -> Figure:
    """The estimate alone (confidence 0) where there are too few samples for an interval."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        low, high, confidence = estimate, estimate, 0.0
    return Figure(estimate=estimate, low=low, high=high, unit=unit, confidence=confidence, n=n, method=method)
