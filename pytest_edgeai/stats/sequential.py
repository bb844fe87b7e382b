"""
The sign e-process: evidence about a median that may be looked at after every round.

Each round is a win, a loss or a tie against a limit. Under the null hypothesis P(win) <= 1/2 the process
below is a test supermartingale, so by Ville's inequality the chance that it EVER reaches 1/alpha is at most
alpha, whatever rule decides when to look and when to stop.

Sources:
    H. Robbins, "Statistical methods related to the law of the iterated logarithm", Annals of Mathematical
    Statistics 41 (1970): the method of mixtures.

    S. R. Howard and A. Ramdas, "Sequential estimation of quantiles with applications to A/B testing and
    best-arm identification", Bernoulli 28 (2022), arXiv 1906.09712: the beta-binomial mixture, and its
    inversion into confidence sequences of quantiles.
"""

from __future__ import annotations

import bisect
import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_edgeai.stats.arguments import confidence_level, error_rate, sample

__all__ = ["SignEvidence", "log_e_value", "lower_sign_bound", "rounds_to_decide", "sign_bounds", "sign_evidence"]

FORESIGHT_ROUNDS = 1_000_000
"""How far ahead `rounds_to_decide` looks before it calls a comparison undecidable."""


@dataclass(frozen=True, slots=True)
class SignEvidence:
    """How many rounds fell on each side of a limit."""

    above: int
    """Rounds whose difference exceeds the limit."""

    below: int
    """Rounds whose difference is less than the limit."""

    ties: int
    """Rounds whose difference equals the limit, which say nothing. All ties: the clock is too coarse."""


@functools.lru_cache(maxsize=1 << 18)
def log_e_value(wins: int, losses: int) -> float:
    """
    Natural logarithm of the one-sided sign e-process, the evidence against P(win) <= 1/2.

    With k wins in n = wins + losses rounds it is the likelihood ratio against 1/2, averaged over a uniform
    prior on [1/2, 1]::

        E+(k, n) = 2^(n+1) B(k+1, n-k+1) (1 - I_0.5(k+1, n-k+1)) = sum_{i<=k} C(n+1, i) / ((n+1) C(n, k))

    The sum is taken from its largest term downwards on the side with fewer rounds, where the terms fall from
    the start; the other side follows from E+(k, n) + E+(n-k, n) = 2^(n+1) B(k+1, n-k+1). Nothing underflows,
    and for up to a million rounds the error is below 1e-7. Evidence against P(win) >= 1/2 is
    `log_e_value(losses, wins)`.

    Raises:
        ValueError: A count is negative.

    Source: Howard & Ramdas (2022); Robbins (1970).
    """
    if wins < 0 or losses < 0:
        raise ValueError(f"wins and losses are counts, not {wins} and {losses}")
    rounds = wins + losses
    if rounds == 0:
        return 0.0
    fewer = min(wins, losses)
    term = total = 1.0
    for i in range(fewer, 0, -1):
        term *= i / (rounds + 2 - i)
        total += term
        if term < 1e-17 * total:
            break
    minority = math.log(total) - math.log(rounds + 1 - fewer)
    if wins <= losses:
        return minority
    both = (rounds + 1) * math.log(2) + math.lgamma(wins + 1) + math.lgamma(losses + 1) - math.lgamma(rounds + 2)
    return both + math.log1p(-math.exp(minority - both))


def sign_evidence(differences: npt.ArrayLike, limit: float) -> SignEvidence:
    """
    Count the rounds above, below and at *limit*.

    Args:
        differences: Shape (rounds,), one number a round, such as the log ratio of two times.
        limit: In the unit of the differences.

    Raises:
        ValueError: The differences are not one-dimensional, or a difference or the limit is not finite.
    """
    array = sample(differences, "differences", least=0)
    if not math.isfinite(limit):
        raise ValueError(f"limit must be finite, not {limit}")
    above = int(np.count_nonzero(array > limit))
    below = int(np.count_nonzero(array < limit))
    return SignEvidence(above, below, array.size - above - below)


def lower_sign_bound(differences: npt.ArrayLike, alpha: float) -> float:
    """
    Lower bound for the median of the differences that holds at every look at once.

    It is the smallest limit that the sign e-process does not reject at *alpha*: the order statistic x_(j+1), where
    j is the largest number of losses that would still reject. A tie counts against rejecting, which keeps the
    bound valid for discrete differences. The upper bound is ``-lower_sign_bound(-differences, alpha)``.

    Args:
        differences: Shape (rounds,).
        alpha: Chance that the median ever lies below the bound.

    Returns:
        The bound in the unit of the differences; -inf when the rounds are too few to exclude any value.

    Raises:
        ValueError: The differences are not one-dimensional or not finite, or alpha is out of range.

    Source: Howard & Ramdas (2022).
    """
    array = sample(differences, "differences", least=0)
    needed = -math.log(error_rate(alpha))
    rounds = array.size

    def short_of_rejecting(losses: int) -> bool:
        return log_e_value(rounds - losses, losses) < needed

    rejecting = bisect.bisect_left(range(rounds // 2 + 1), True, key=short_of_rejecting)
    return float(np.partition(array, rejecting - 1)[rejecting - 1]) if rejecting else -math.inf


def sign_bounds(differences: npt.ArrayLike, confidence: float) -> tuple[float, float]:
    """
    Interval for the median of the differences that holds at every look at once, half of the error on each side.

    Args:
        differences: Shape (rounds,).
        confidence: Two-sided.

    Returns:
        The lower and the upper end, in the unit of the differences; see `lower_sign_bound`.

    Raises:
        ValueError: The differences are not one-dimensional or not finite, or the confidence is out of range.
    """
    array = sample(differences, "differences", least=0)
    alpha = (1 - confidence_level(confidence)) / 2
    return lower_sign_bound(array, alpha), -lower_sign_bound(-array, alpha)


def rounds_to_decide(differences: npt.ArrayLike, limit: float, alpha: float) -> int | None:
    """
    Estimate the total number of rounds at which the median is proven to lie on one side of *limit*.

    It supposes that the share of wins among the rounds so far goes on, and so do ties. It is a forecast to
    show to people or to plan a budget with, and no part of a decision: after few rounds the share is itself
    uncertain.

    Args:
        differences: Shape (rounds,).
        limit: In the unit of the differences.
        alpha: Error rate of the side that is leading; it is decided when the e-process reaches 1/alpha.

    Returns:
        The estimate, counted from the first round, ties included; the number of rounds so far when they
        decide already; None when the share is so near to 1/2 that `FORESIGHT_ROUNDS` rounds would not do.

    Raises:
        ValueError: The differences are not one-dimensional or not finite, or alpha is out of range.
    """
    evidence = sign_evidence(differences, limit)
    needed = -math.log(error_rate(alpha))
    leading, trailing = max(evidence.above, evidence.below), min(evidence.above, evidence.below)
    so_far = leading + trailing + evidence.ties
    if log_e_value(leading, trailing) >= needed:
        return so_far
    if leading == trailing:
        return None

    def decided(rounds: int) -> bool:
        growth = rounds / so_far
        return log_e_value(round(leading * growth), round(trailing * growth)) >= needed

    if so_far >= FORESIGHT_ROUNDS or not decided(FORESIGHT_ROUNDS):
        return None
    return so_far + bisect.bisect_left(range(so_far, FORESIGHT_ROUNDS), True, key=decided)
