"""
Proportions of right answers: one model alone, and a variant V paired with its baseline B on the same items.

A paired comparison is a table of four counts: n11 items that both answer right, n10 that only V does, n01
that only B does, n00 that neither does. The ratio is that of the marginal proportions,
(n11 + n10) / (n11 + n01).

Sources:
    J.-M. Nam and W. C. Blackwelder, "Analysis of the ratio of marginal probabilities in a matched-pair
    setting", Statistics in Medicine 21 (2002): the score test, with nuisance parameters by constrained
    maximum likelihood.

    C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of the
    binomial", Biometrika 26 (1934).

    Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12 (1947), in its exact binomial form.

    R. L. Berger and K. Sidik, "Exact unconditional tests for a 2 x 2 matched-pairs design", Statistical
    Methods in Medical Research 12 (2003): p-values maximised over the nuisance parameter.

    R. L. Berger and D. D. Boos, "P values maximized over a confidence set for the nuisance parameter", JASA 89
    (1994).
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from pytest_edgeai.stats.arguments import confidence_level

__all__ = [
    "binomial_bounds",
    "exact_p_values",
    "mcnemar_p",
    "non_inferiority_z",
    "ratio_bounds",
]

NUISANCE_POINTS = 40
"""Values of the nuisance parameter over which `exact_p_values` maximises."""
BEYOND = 1e-6
"""Probability that the nuisance parameter lies outside the interval in which it is looked for; added to the p-value."""


def non_inferiority_z(n11: int, n10: int, n01: int, n00: int, rho: float) -> float:
    """
    Score statistic of the ratio of paired proportions against *rho*; large values say that V / B > rho.

    ::

        z = (V - rho B) / sqrt(rho (m10 + m01))

    V and B are the items that each answers right, m10 and m01 the discordant counts expected under V = rho B,
    by constrained maximum likelihood. Items that neither answers right do not matter. Without any discordant
    pair it is sqrt(n11 (1 - rho) / rho) for rho <= 1 and -sqrt(n11 (rho - 1)) above: zero flips are no proof
    when items are few.

    It is a normal approximation. With few items that only V answers right its error rates exceed the nominal
    ones: up to 7 % instead of 5 % for wrongly finding V / B > 0.95, about 2 % instead of 1 % for wrongly
    finding V / B < 0.95. `exact_p_values` holds them.

    Raises:
        ValueError: A negative count, a baseline that answers nothing right (no ratio exists), or a rho that
            is not positive and finite.

    Source: Nam & Blackwelder (2002).
    """
    _check_table(n11, n10, n01, n00)
    _check_rho(rho)
    return float(_score(n11, n10, n01, rho))


def exact_p_values(n11: int, n10: int, n01: int, n00: int, rho: float) -> tuple[float, float]:
    """
    Exact p-values of "V / B is at most *rho*" and of "V / B is at least *rho*".

    A small one refutes its sentence: the first speaks for a pass, the second for a failure. Tables are
    ordered by the score statistic, and the probability of one as extreme as the observed is maximised over
    the nuisance parameter (P(only V is right), on a grid over its 1 - 1e-6 confidence interval) along V / B = rho.
    So the error rate holds at every sample size, at the price of some power with few items: for rho = 0.95 at
    95 % a variant without flips passes from 59 items on, where the score statistic alone says 52.

    Raises:
        ValueError: As `non_inferiority_z`.

    Source: Berger & Sidik (2003) for the method, Berger & Boos (1994) for the interval; Nam & Blackwelder (2002)
    for the statistic.
    """
    _check_table(n11, n10, n01, n00)
    _check_rho(rho)
    return _upper_tail(n11, n10, n01, rho), _upper_tail(n11, n01, n10, 1 / rho)


def ratio_bounds(n11: int, n10: int, n01: int, n00: int, confidence: float) -> tuple[float, float]:
    """
    Lower and upper bound of the ratio V / B, the values of rho that the score test does not reject.

    Args:
        n11: Items that both answer right.
        n10: Items that only the variant answers right.
        n01: Items that only the baseline answers right.
        n00: Items that neither answers right.
        confidence: One-sided, of EACH bound: 0.95 makes a two-sided 90 % interval. The lower bound reaches
            rho exactly when `non_inferiority_z` reaches the normal quantile of the confidence.

    Raises:
        ValueError: A negative count, a baseline that answers nothing right, or a confidence out of range.

    Source: Nam & Blackwelder (2002).
    """
    _check_table(n11, n10, n01, n00)
    quantile = NormalDist().inv_cdf(confidence_level(confidence))
    estimate = (n11 + n10) / (n11 + n01)

    def boundary(limit: float) -> float:
        """Where the statistic, which falls as rho grows, falls below *limit*."""
        from scipy.optimize import brentq

        def above(rho: float) -> float:
            return float(_score(n11, n10, n01, rho)) - limit

        low = high = max(estimate, 1 / (n11 + n01))
        while low > 0 and above(low) < 0:
            low /= 2
        while above(high) >= 0:
            high *= 2
        return float(brentq(above, low, high, xtol=1e-15, rtol=1e-13)) if low > 0 else 0.0

    lower = boundary(quantile) if estimate > 0 else 0.0
    return min(lower, estimate), max(boundary(-quantile), estimate)


def binomial_bounds(successes: int, n: int, confidence: float) -> tuple[float, float]:
    """
    Exact lower and upper bound of a proportion.

    Args:
        successes: Between 0 and n.
        n: Number of trials, at least 1.
        confidence: One-sided, of EACH bound: 0.95 makes a two-sided 90 % interval.

    Raises:
        ValueError: A count or the confidence is out of range.

    Source: Clopper & Pearson (1934).
    """
    from scipy.special import betaincinv

    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"successes must lie between 0 and n, and n be at least 1: {successes} of {n}")
    confidence_level(confidence)
    lower = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, 1 - confidence))
    upper = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, confidence))
    return lower, upper


def mcnemar_p(n10: int, n01: int) -> float:
    """
    Exact two-sided p-value of the hypothesis that flips go either way equally often.

    Args:
        n10: Items that only the variant answers right.
        n01: Items that only the baseline answers right.

    Returns:
        min(1, 2 P(Binomial(n10 + n01, 1/2) <= min(n10, n01))); 1 without any flip.

    Raises:
        ValueError: A count is negative.

    Source: McNemar (1947), exact form.
    """
    from scipy.special import bdtr

    if n10 < 0 or n01 < 0:
        raise ValueError(f"n10 and n01 are counts, not {n10} and {n01}")
    if n10 + n01 == 0:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(n10, n01), n10 + n01, 0.5)))


def _check_table(n11: int, n10: int, n01: int, n00: int) -> None:
    if min(n11, n10, n01, n00) < 0:
        raise ValueError(f"a table of counts can't hold negative ones: {(n11, n10, n01, n00)}")
    if n11 + n01 == 0:
        raise ValueError("the baseline answers no item right, so there is no ratio to it")


def _check_rho(rho: float) -> None:
    if not 0 < rho < math.inf:
        raise ValueError(f"rho must be positive and finite, not {rho}")


def _score(n11: npt.ArrayLike, n10: npt.ArrayLike, n01: npt.ArrayLike, rho: float) -> npt.NDArray[np.float64]:
    """
    The statistic for counts of any common shape.

    The two constrained estimates are the roots of one quadratic, written so that no difference of like
    numbers occurs: `near` is the conjugate of `far`.
    """
    both, gains, losses = (np.asarray(count, dtype=np.float64) for count in (n11, n10, n01))
    slope = both + gains - rho**2 * (both + losses)
    product = 4 * rho**2 * gains * losses
    far = np.abs(slope) + np.sqrt(slope**2 + product)
    near = np.divide(product, far, out=np.zeros_like(far), where=far > 0)
    m10 = (2 * rho**2 * gains + np.where(slope >= 0, near, far)) / (2 * rho * (rho + 1))
    m01 = (2 * losses + np.where(slope >= 0, far, near)) / (2 * (rho + 1))
    distance = both + gains - rho * (both + losses)
    deviation = np.sqrt(rho * (m10 + m01))
    # No discordant pair and rho = 1: nothing is expected to differ, and nothing does.
    return np.divide(distance, deviation, out=np.zeros_like(deviation), where=deviation > 0)


def _upper_tail(n11: int, n10: int, n01: int, rho: float) -> float:
    """
    Largest probability, along V = rho B, of a table whose statistic is at least the observed one.

    Given the m items that at least one model answers right, the table is trinomial. For each number of gains
    the extreme tables are those with at most so many losses, so that a binomial distribution function each
    suffices.
    """
    from scipy.special import bdtr, gammaln, xlog1py, xlogy

    m = n11 + n10 + n01
    observed = float(_score(n11, n10, n01, rho))
    ends = np.clip(binomial_bounds(n10, m, 1 - BEYOND / 2), max(0.0, 1 - 1 / rho), rho / (1 + rho))
    # Evenly in the square root, on which the number of gains has everywhere the same deviation.
    gain = np.linspace(math.sqrt(ends[0]), math.sqrt(ends[1]), NUISANCE_POINTS)[:, np.newaxis] ** 2
    loss = np.maximum(0.0, 1 - rho + rho * gain)

    reach = 8 * np.sqrt(m * ends * (1 - ends)) + 20
    gains = np.arange(max(0, math.floor(m * ends[0] - reach[0])), min(m, math.ceil(m * ends[1] + reach[1])) + 1)
    fewest, most = np.full(len(gains), -1), m - gains
    while (fewest < most).any():
        middle = (fewest + most + 1) // 2
        losses = np.maximum(middle, 0)
        extreme = (_score(m - gains - losses, gains, losses, rho) >= observed - 1e-9) & (middle >= 0)
        fewest, most = np.where(extreme, middle, fewest), np.where(extreme, most, middle - 1)
    some = fewest >= 0
    gains, losses = gains[some], fewest[some]

    ways = gammaln(m + 1) - gammaln(gains + 1) - gammaln(m - gains + 1)
    chance = np.exp(ways + xlogy(gains, gain) + xlog1py(m - gains, -gain))
    near = chance > 1e-12  # the distribution function is what costs time
    allowed, left = np.broadcast_to(losses, near.shape)[near], np.broadcast_to(m - gains, near.shape)[near]
    chance[near] *= bdtr(allowed, left, np.broadcast_to(np.minimum(1.0, loss / (1 - gain)), near.shape)[near])
    return min(1.0, float(np.sum(chance, axis=1, where=near).max()) + BEYOND)
