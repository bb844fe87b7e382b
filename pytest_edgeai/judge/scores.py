"""Scores of items: a variant's accuracy against the reference's on the same items, or against a number."""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.judge.finding import Finding, outcome_of
from pytest_edgeai.judge.rules import Rules
from pytest_edgeai.records import Outcome
from pytest_edgeai.stats import order, proportions, real_valued


def accuracy_ratio(
    variant: NDArray[np.float64], reference: NDArray[np.float64], operator: str, limit: float, rules: Rules
) -> Finding:
    """Mean score of the variant over the reference's, on the same items.

    Right/wrong scores: the exact unconditional test (Berger & Sidik 2003) on the score statistic of the ratio of paired proportions (Nam
    & Blackwelder 2002), whose normal approximation passes too much when gains are rare, as they are after quantization; the bounds shown
    are the approximation's. Real-valued scores: paired bootstrap.
    """
    items = len(variant)
    spent = f"{items} items"
    if reference.mean() <= 0:
        note = "the reference has no item right: a ratio to it means nothing"
        return Finding(Outcome.ERROR, None, spent=spent, notes=[note])
    # What reddens a gate has the smaller error rate.
    above, below = (
        (rules.accuracy_pass, rules.accuracy_fail) if operator == ">=" else (rules.accuracy_fail, rules.accuracy_pass)
    )
    compare = _paired_proportions if is_binary(variant) and is_binary(reference) else _paired_means
    low, high, side, method, notes = compare(variant, reference, limit, above, below)
    outcome = Outcome.INCONCLUSIVE if side is None else Outcome.PASS if side == operator else Outcome.FAIL
    needed = order.needed_n(limit, 1 - above) if limit < 1 else 0
    if outcome is Outcome.INCONCLUSIVE and operator == ">=" and items < needed:
        notes.append(f"{items} items can't prove it even without one error; it needs at least {needed}")
    estimate, confidence = float(variant.mean() / reference.mean()), 1 - max(above, below)
    return Finding(outcome, estimate, low, high, confidence, method, spent, 0.0, items, notes)


_Compared = tuple[float, float, str | None, str, list[str]]

"""Bounds, the side of the limit that is proven (">=", "<=" or none), method, notes."""


def _paired_proportions(
    variant: NDArray[np.float64], reference: NDArray[np.float64], limit: float, above: float, below: float
) -> _Compared:
    right, was_right = variant > 0.5, reference > 0.5
    pairs = ((right, was_right), (right, ~was_right), (~right, was_right), (~right, ~was_right))
    both, better, worse, neither = (int(np.sum(now & before)) for now, before in pairs)
    low = proportions.ratio_bounds(both, better, worse, neither, 1 - above)[0]
    high = proportions.ratio_bounds(both, better, worse, neither, 1 - below)[1]
    not_above, not_below = proportions.exact_p_values(both, better, worse, neither, limit)
    side = ">=" if not_above <= above else "<=" if not_below <= below else None
    notes = [f"{worse} items got worse, {better} got better"]
    z = proportions.non_inferiority_z(both, better, worse, neither, limit)
    if side is None and z:
        level = NormalDist().inv_cdf(1 - (above if z > 0 else below))
        wanted = math.ceil(len(variant) * (level / z) ** 2)
        if wanted > len(variant):
            notes.append(f"about {wanted} items like these would decide it")
    return low, high, side, "paired non-inferiority, exact (Nam-Blackwelder score)", notes


def _paired_means(
    variant: NDArray[np.float64], reference: NDArray[np.float64], limit: float, above: float, below: float
) -> _Compared:
    rng = np.random.default_rng(0)
    low = real_valued.paired_ratio_bounds(variant, reference, 1 - above, rng)[0]
    high = real_valued.paired_ratio_bounds(variant, reference, 1 - below, rng)[1]
    # Resampling few items can't see a collapse that strikes a rare one.
    enough = limit >= 1 or len(variant) >= order.needed_n(limit, 1 - above)
    side = ">=" if low >= limit and enough else "<=" if high < limit else None
    return low, high, side, "paired bootstrap", []


def proportion(scores: NDArray[np.float64], operator: str, limit: float, rules: Rules) -> Finding:
    """Mean score against a number: exact binomial bounds (Clopper & Pearson 1934) for right/wrong scores."""
    spent = f"{len(scores)} items"
    if not is_binary(scores):
        note = "a real-valued score is compared with the reference's: write `>= 0.95 * variant.reference.accuracy`"
        return Finding(Outcome.UNSUPPORTED, float(scores.mean()), spent=spent, notes=[note])
    above, below = (
        (rules.accuracy_pass, rules.accuracy_fail) if operator == ">=" else (rules.accuracy_fail, rules.accuracy_pass)
    )
    right = int(scores.sum())
    low = proportions.binomial_bounds(right, len(scores), 1 - above)[0]
    high = proportions.binomial_bounds(right, len(scores), 1 - below)[1]
    estimate = float(scores.mean())
    return Finding(
        outcome_of(low, high, operator, limit),
        estimate,
        low,
        high,
        1 - max(above, below),
        "Clopper-Pearson",
        spent,
        0.0,
        len(scores),
    )


def is_binary(scores: NDArray[np.float64]) -> bool:
    return bool(np.isin(scores, (0.0, 1.0)).all())
