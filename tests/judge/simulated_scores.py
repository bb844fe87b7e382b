"""Simulated scores: how often the verdict on a variant whose accuracy is exactly at the limit is wrong."""

import functools
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.judge.rules import RIGOR, Rules
from pytest_edgeai.judge.scores import accuracy_ratio
from pytest_edgeai.records import Outcome
from pytest_edgeai.stats.proportions import non_inferiority_z

Scores = NDArray[np.float64]
QUICK = RIGOR["quick"]
DRAWS = 2
"""Numbers of items that at least one model has right, drawn for a scenario; each with its share of the runs."""


def scores(both: int, better: int, worse: int, neither: int = 0) -> tuple[Scores, Scores]:
    """Of the variant and of the reference: items that both answer right, that only the variant does, only the reference, none."""
    variant = np.repeat([1.0, 1.0, 0.0, 0.0], [both, better, worse, neither])
    reference = np.repeat([1.0, 0.0, 1.0, 0.0], [both, better, worse, neither])
    return variant, reference


def false_verdicts(
    items: int,
    accuracy: float,
    gains: float,
    operator: str = ">=",
    limit: float = 0.95,
    runs: int = 10_000,
    rules: Rules = QUICK,
    truth: float | None = None,
) -> tuple[float, float]:
    """Shares of PASS and of FAIL among the verdicts on variants whose accuracy is ``truth`` (default: ``limit``) times the reference's.

    ``accuracy``: the reference's; ``gains``: the share of items that only the variant has right.
    """
    rng = np.random.default_rng(0)
    losses = accuracy * (1 - (limit if truth is None else truth)) + gains
    any_right = accuracy + gains
    outcomes = {Outcome.PASS: 0, Outcome.FAIL: 0}
    above, below = (Outcome.PASS, Outcome.FAIL) if operator == ">=" else (Outcome.FAIL, Outcome.PASS)
    for m in rng.binomial(items, any_right, size=DRAWS).tolist():
        chances = [(accuracy - losses) / any_right, gains / any_right, losses / any_right]
        drawn = rng.multinomial(m, chances, size=runs // DRAWS)
        for won in np.unique(drawn[:, 1]).tolist():
            lost = drawn[drawn[:, 1] == won, 2]
            least, most = _proven(m, won, operator, limit, rules)
            outcomes[above] += int(np.sum(lost <= least))
            outcomes[below] += int(np.sum(lost >= most))
    return outcomes[Outcome.PASS] / runs, outcomes[Outcome.FAIL] / runs


@functools.cache
def _proven(m: int, won: int, operator: str, limit: float, rules: Rules) -> tuple[int, int]:
    """Of ``m`` items, ``won`` of which only the variant has right: so few losses prove ">=", and so many prove "<="; the verdicts themselves say so."""
    above, below = (Outcome.PASS, Outcome.FAIL) if operator == ">=" else (Outcome.FAIL, Outcome.PASS)

    def comes_to(lost: int) -> Outcome:
        return accuracy_ratio(*scores(m - won - lost, won, lost), operator, limit, rules).outcome

    def at(z: float) -> int:
        """Where the score statistic, which falls as losses grow, falls below ``z``: a first guess."""
        low, high = 0, m - won - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (
                (middle + 1, high) if non_inferiority_z(m - won - middle, won, middle, 0, limit) >= z else (low, middle)
            )
        return low

    error = 0.05 if operator == ">=" else 0.01
    least = at(NormalDist().inv_cdf(1 - error))
    while least <= m - won and comes_to(least) is above:
        least += 1
    while least >= 0 and comes_to(least) is not above:
        least -= 1
    most = at(NormalDist().inv_cdf(0.06 - error))
    while most >= 0 and comes_to(most) is below:
        most -= 1
    while most <= m - won and comes_to(most) is not below:
        most += 1
    return least, most


def clustered(
    groups: int, icc: float, rng: np.random.Generator, accuracy: float = 0.9, truth: float = 0.95, largest: int = 40
) -> tuple[Scores, Scores, NDArray[np.int64]]:
    """Scores of a variant that keeps ``truth`` of what the reference has right, and the group of each item.

    The share that is lost differs between groups (beta distributed), so that two losses of a group have the correlation ``icc``. Groups have
    5 to ``largest`` items.
    """
    sizes = rng.integers(5, largest + 1, groups)
    spread = (1 - icc) / icc
    lost = rng.beta((1 - truth) * spread, truth * spread, groups)
    group = np.repeat(np.arange(groups), sizes)
    reference = rng.random(len(group)) < accuracy
    variant = reference & (rng.random(len(group)) >= lost[group])
    return variant.astype(float), reference.astype(float), group
