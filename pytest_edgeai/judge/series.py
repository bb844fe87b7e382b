"""Series of one variant alone: percentiles, throughput and steadiness against a number, by bounds that are looked at a few times."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.errors import UnsupportedError
from pytest_edgeai.judge.finding import Finding, outcome_of
from pytest_edgeai.judge.rules import Rules
from pytest_edgeai.protocols import SeriesSampler
from pytest_edgeai.records import Outcome
from pytest_edgeai.stats import order, spread
from pytest_edgeai.units import show

LOOKS = 3

"""A series is looked at this often, its length doubled each time; each look has its share of the error rate (Bonferroni)."""

MIN_SERIES = 300

"""Calls before a series is looked at."""


def percentile(sampler: SeriesSampler, p: float, operator: str, limit: float, rules: Rules, unit: str = "s") -> Finding:
    """A percentile of solo calls, by exact order-statistic bounds on calls that are far enough apart to be independent."""
    confidence = 1 - rules.alpha / LOOKS

    def bounds(values: NDArray[np.float64]) -> tuple[float | None, float | None]:
        apart = order.thin(values)
        return order.lower_bound(apart, p, confidence), order.upper_bound(apart, p, confidence)

    first = max(MIN_SERIES, order.needed_n(p, confidence, exceedances=2))
    method = f"order statistics of p{100 * p:g}"
    return _series(sampler, bounds, lambda v: order.percentile(v, p), operator, limit, rules, first, method, unit)


def throughput(sampler: SeriesSampler, operator: str, limit: float, rules: Rules) -> Finding:
    """The median block's items a second, by exact order-statistic bounds on blocks that are far enough apart to be independent."""
    confidence = 1 - rules.alpha / LOOKS

    def bounds(rates: NDArray[np.float64]) -> tuple[float | None, float | None]:
        apart = order.thin(rates)
        return order.lower_bound(apart, 0.5, confidence), order.upper_bound(apart, 0.5, confidence)

    def middle(rates: NDArray[np.float64]) -> float:
        return float(np.median(rates))

    first = order.needed_n(0.5, confidence, exceedances=5)
    method = "order statistics of blocks"
    return _series(
        sampler, bounds, middle, operator, limit, rules, first, method, "items/s", "blocks", more_is_faster=True
    )


def jitter(sampler: SeriesSampler, operator: str, limit: float, rules: Rules) -> Finding:
    """The relative median absolute deviation of solo calls (robust against a few slow ones), bounded by a moving-block bootstrap."""
    rng = np.random.default_rng(0)
    confidence = 1 - rules.alpha / LOOKS

    def bounds(values: NDArray[np.float64]) -> tuple[float | None, float | None]:
        if values.min() <= 0:
            raise UnsupportedError("it is 0 or less in some calls, and a spread relative to that means nothing.")
        return spread.rmad_bounds(values, confidence, rng) if len(values) >= MIN_SERIES else (None, None)

    return _series(
        sampler, bounds, spread.rmad, operator, limit, rules, MIN_SERIES, "rMAD, moving-block bootstrap", "proportion"
    )


def _series(
    sampler: SeriesSampler,
    bounds: Callable[[NDArray[np.float64]], tuple[float | None, float | None]],
    estimate: Callable[[NDArray[np.float64]], float],
    operator: str,
    limit: float,
    rules: Rules,
    first: int,
    method: str,
    unit: str,
    samples: str = "calls",
    *,
    more_is_faster: bool = False,
) -> Finding:
    values = np.empty(0)
    outcome, low, high = Outcome.INCONCLUSIVE, -math.inf, math.inf
    for look in range(LOOKS):
        values = _more(sampler, values, first * 2**look, rules.budget)
        found = bounds(values)
        low, high = (-math.inf if found[0] is None else found[0]), (math.inf if found[1] is None else found[1])
        outcome = outcome_of(low, high, operator, limit)
        if outcome is not Outcome.INCONCLUSIVE or sampler.seconds() * 2 > rules.budget:
            break
    notes = []
    unsteady = _unsteady(sampler.canary(), rules)
    # A busy neighbour makes calls slower and less steady, never faster: only what speaks against the variant is doubtful.
    against = Outcome.FAIL if (operator in ("<=", "<")) != more_is_faster else Outcome.PASS
    # A median suffers by a factor at most; a tail or a spread by any.
    far = more_is_faster and not low / rules.contended <= limit <= high * rules.contended
    if outcome is against and unsteady and not far:
        outcome = Outcome.INCONCLUSIVE
        notes.append(f"the machine itself was not steady: {unsteady}; run it again on a quieter one")
    elif outcome is Outcome.INCONCLUSIVE:
        notes.append(_undecided(len(values), samples, first, sampler.seconds(), show(limit, unit)))
    return Finding(
        outcome,
        estimate(values),
        low,
        high,
        1 - rules.alpha,  # over all looks together
        method,
        f"{len(values)} {samples}, {sampler.seconds():.2g} s",
        sampler.seconds(),
        len(values),
        notes,
    )


def _more(sampler: SeriesSampler, values: NDArray[np.float64], wanted: int, budget: float) -> NDArray[np.float64]:
    """``values`` and further ones: ``wanted`` together, or as many as the budget allows."""
    while len(values) < wanted and (sampler.seconds() < budget or len(values) == 0):
        spent = max(sampler.seconds(), 1e-9)
        fitting = int((budget - spent) * len(values) / spent)
        values = np.concatenate([values, sampler.more(min(max(fitting, 1), wanted - len(values)))])
    return values


def _undecided(taken: int, samples: str, first: int, seconds: float, limit: str) -> str:
    """Why a series proved nothing, and what would."""
    if taken < first:
        budget = math.ceil(seconds * first / taken)
        return f"only {taken} {samples} fit into the budget, and it takes {first}: --edge-budget={budget}"
    if taken < first * 2 ** (LOOKS - 1):
        return f"the limit {limit} lies within the bounds; a larger --edge-budget narrows them"
    return f"the limit {limit} lies within the bounds of {taken} {samples}, the most that are made: the truth is too near to it"


def _unsteady(canary: NDArray[np.float64], rules: Rules) -> str | None:
    """What was wrong with a constant piece of work, if anything."""
    if len(canary) == 0:
        return None
    wide = spread.rmad(canary)
    tail = float(np.quantile(canary, 0.99) / np.median(canary))
    if wide > rules.canary_spread:
        return f"a constant piece of work varied by {show(wide, 'proportion')} (rMAD)"
    if tail > rules.canary_tail:
        return f"a constant piece of work took {tail:.1f} times its median in one of a hundred runs"
    return None
