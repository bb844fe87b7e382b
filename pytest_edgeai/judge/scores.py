"""Scores of items: a variant's accuracy against the reference's on the same items, or against a number.

Claims are about items like those that were scored, unseen ones included. Where items belong together (frames of one video), groups are what was drawn,
and errors are those of groups.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.judge.finding import Finding, extremes, outcome_of
from pytest_edgeai.judge.rules import Rules
from pytest_edgeai.records import Outcome
from pytest_edgeai.stats import order, proportions, real_valued
from pytest_edgeai.units import show

Scores = NDArray[np.float64]
"""One an item."""
Groups = NDArray[np.int64]
"""The number of the group that each item belongs to."""

BOOTSTRAP_SHARE = 0.7
"""A bootstrap is held to this share of the error rate: with a hundred units and scores that rarely collapse it errs that much more often than it
says (simulated: up to 7.0 % at a nominal 5 %)."""
MORE_GROUPS = 1.5
"""Times as many groups as items are asked for: a group's share is worth more than an item's, and no two groups lose alike."""
LEAST_UNITS = 30
"""A bootstrap of fewer units proves nothing."""
CORPUS_RESAMPLES = 1000
VALUES = 400_000_000
"""Resampled units that a bootstrap may draw in all."""


def too_few(
    units: int, operator: str, limit: float, rules: Rules, *, grouped: bool = False, at_most: float = math.inf
) -> Finding | None:
    """INCONCLUSIVE where so few items can't prove the claim even without one error, else ``None``. Known before anything is scored.

    ``units``: items, or groups of them. ``at_most``: the most that can come out: 1 for an accuracy, and for agreement with a reference,
    which agrees with itself.
    """
    what, note = "groups" if grouped else "items", ""
    if operator == ">=" and limit >= at_most:
        note = f"no number of {what} proves {show(limit, 'proportion')}: ask for less, or claim it of exactly this dataset (--edge-population)"
    elif operator == ">=" and limit < 1 and units < (needed := _needed(limit, rules.accuracy_pass, grouped=grouped)):
        note = f"{units} {what} can't prove it even without one error; it needs at least {needed}"
    elif (
        operator == "<="
        and at_most == 1
        and units < (needed := _needed(1 - limit, rules.accuracy_pass, grouped=grouped))
    ):
        note = f"{units} {what} can't prove it even if all are wrong; it needs at least {needed}"
    return Finding(Outcome.INCONCLUSIVE, None, samples=units, notes=[note]) if note else None


def accuracy_ratio(
    variant: Scores,
    reference: Scores,
    operator: str,
    limit: float,
    rules: Rules,
    *,
    chance: float | None = None,
    groups: Groups | None = None,
) -> Finding:
    """Mean score of the variant over the reference's, on the same items.

    Right/wrong scores: the exact unconditional test (Berger & Sidik 2003) on the score statistic of the ratio of paired proportions (Nam
    & Blackwelder 2002), whose normal approximation passes too much when gains are rare, as they are after quantization; the bounds shown
    are the approximation's. Real-valued scores, and groups: paired bootstrap.

    ``chance``: what a constant answer scores; a reference that may be no better is an ERROR.
    """
    items = len(variant)
    spent = _spent(items, groups)
    if reference.mean() <= 0:
        note = "the reference has no item right: a ratio to it means nothing"
        return Finding(Outcome.ERROR, None, spent=spent, samples=items, notes=[note])
    if (guessed := by_chance(reference, chance, groups, rules)) is not None:
        return guessed
    above, below = error_rates(operator, rules)
    right_or_wrong = is_binary(variant) and is_binary(reference)
    if right_or_wrong and groups is None:
        low, high, side, method, notes = _paired_proportions(variant, reference, limit, above, below)
    else:
        of_units = (variant, reference) if groups is None else (totals(variant, groups), totals(reference, groups))
        low, high = ratio_bounds(*of_units, above, below)
        estimate = float(variant.mean() / reference.mean())
        side, method, notes = _decided(low, high, estimate, limit, (above, below), groups, items)
    if right_or_wrong:
        notes.insert(0, flips(variant, reference))
    return _found(
        float(variant.mean() / reference.mean()), low, high, side, operator, above, below, method, spent, items, notes
    )


Corpus = Callable[[NDArray[np.int64]], float]
"""The score of some items together, by their places; a place may come up several times."""


def corpus_ratio(
    variant: Corpus,
    reference: Corpus,
    items: int,
    operator: str,
    limit: float,
    rules: Rules,
    *,
    groups: Groups | None = None,
) -> Finding:
    """A score of all items together (F1, word error rate) over the reference's, by a paired bootstrap over items or groups."""
    spent = _spent(items, groups)
    everything = np.arange(items)
    mine, others = variant(everything), reference(everything)
    if others <= 0:
        note = f"the reference scores {others:g}: a ratio to it means nothing"
        return Finding(Outcome.ERROR, None, spent=spent, samples=items, notes=[note])
    units = items if groups is None else _members(groups)
    above, below = error_rates(operator, rules)
    low, high = -math.inf, math.inf
    if (units if isinstance(units, int) else len(units)) >= LEAST_UNITS:
        low, high = real_valued.corpus_ratio_bounds(
            variant,
            reference,
            units,
            (1 - BOOTSTRAP_SHARE * above, 1 - BOOTSTRAP_SHARE * below),
            np.random.default_rng(0),
            CORPUS_RESAMPLES,
        )
    side, method, notes = _decided(low, high, mine / others, limit, (above, below), groups, items)
    return _found(mine / others, low, high, side, operator, above, below, method, spent, items, notes)


def proportion(scores: Scores, operator: str, limit: float, rules: Rules, *, groups: Groups | None = None) -> Finding:
    """Mean score against a number, for right/wrong scores: exact binomial bounds (Clopper & Pearson 1934), or a bootstrap over groups."""
    items = len(scores)
    estimate = float(scores.mean())
    spent = _spent(items, groups)
    if not is_binary(scores):
        return needs_reference(estimate, spent)
    above, below = error_rates(operator, rules)
    low, high = _mean_bounds(scores, groups, above, below)
    if groups is None:
        outcome, method = outcome_of(low, high, operator, limit), "Clopper-Pearson"
        notes = [more_items(low, high, estimate, limit, items)] if outcome is Outcome.INCONCLUSIVE else []
        return Finding(outcome, estimate, low, high, 1 - max(above, below), method, spent, 0.0, items, notes)
    side, method, notes = _decided(low, high, estimate, limit, (above, below), groups, items, most=1.0)
    return _found(estimate, low, high, side, operator, above, below, method, spent, items, notes)


def by_chance(reference: Scores, chance: float | None, groups: Groups | None, rules: Rules) -> Finding | None:
    """ERROR where the reference may be no better than a constant answer, which scores ``chance``; else ``None``."""
    if chance is None or _mean_bounds(reference, groups, rules.accuracy_pass, rules.accuracy_pass)[0] > chance:
        return None
    shown = [show(share, "proportion") for share in (float(reference.mean()), chance)]
    notes = [
        f"the reference is right on {shown[0]} of the items, a constant answer on {shown[1]}: it may be no better than chance",
        "a ratio to a chance model means nothing: give more items, others, or a score that a constant answer doesn't win",
    ]
    return Finding(Outcome.ERROR, None, spent=_spent(len(reference), groups), samples=len(reference), notes=notes)


def needs_reference(estimate: float, spent: str) -> Finding:
    """A real-valued score against a number: a mean of 0.8 can be one thing or another."""
    note = "a real-valued score is compared with the reference's: write `>= 0.95 * variant.reference.accuracy`"
    return Finding(Outcome.UNSUPPORTED, estimate, spent=spent, notes=[note])


def exactly(
    variant: Sequence[float], reference: Sequence[float] | None, operator: str, limit: float, items: int
) -> Finding:
    """A claim on exactly these items, by arithmetic: one score of all of them a run, of runs which must agree on the side of the limit."""
    if reference and min(reference) <= 0:
        return extremes(variant, operator, limit, reference, samples="runs")
    shares = [one / other for one in variant for other in reference or (1.0,)]
    # What is equal but for rounding is equal.
    shares = [limit if math.isclose(share, limit, rel_tol=1e-12) else share for share in shares]
    found = extremes(shares, operator, limit, samples="runs")
    confidence, method = 1.0 if found.low == found.high else None, "arithmetic on exactly these items"
    spent = f"exactly this dataset: {items} items, {len(variant)} runs"
    return dataclasses.replace(found, confidence=confidence, method=method, spent=spent, samples=items)


def is_binary(scores: Scores) -> bool:
    """Whether they are all 0 or 1."""
    return bool(np.isin(scores, (0.0, 1.0)).all())


def error_rates(operator: str, rules: Rules) -> tuple[float, float]:
    """Of finding the truth above the limit, and below it; what reddens a gate has the smaller one, and only a share of it."""
    fail = rules.accuracy_fail * rules.share
    return (rules.accuracy_pass, fail) if operator == ">=" else (fail, rules.accuracy_pass)


def _found(
    estimate: float,
    low: float,
    high: float,
    side: str | None,
    operator: str,
    above: float,
    below: float,
    method: str,
    spent: str,
    items: int,
    notes: list[str],
) -> Finding:
    outcome = Outcome.INCONCLUSIVE if side is None else Outcome.PASS if side == operator else Outcome.FAIL
    return Finding(outcome, estimate, low, high, 1 - max(above, below), method, spent, 0.0, items, notes)


def _paired_proportions(
    variant: Scores, reference: Scores, limit: float, above: float, below: float
) -> tuple[float, float, str | None, str, list[str]]:
    """Bounds, the side of the limit that is proven (">=", "<=" or none), method, notes."""
    right, was_right = variant > 0.5, reference > 0.5
    pairs = ((right, was_right), (right, ~was_right), (~right, was_right), (~right, ~was_right))
    both, better, worse, neither = (int(np.sum(now & before)) for now, before in pairs)
    low = proportions.ratio_bounds(both, better, worse, neither, 1 - above)[0]
    high = proportions.ratio_bounds(both, better, worse, neither, 1 - below)[1]
    not_above, not_below = proportions.exact_p_values(both, better, worse, neither, limit)
    side = ">=" if not_above <= above else "<=" if not_below <= below else None
    notes = []
    # The approximation's bounds may not claim more than is proven, nor less.
    low = max(low, limit) if side == ">=" else min(low, limit)
    high = min(high, limit) if side == "<=" else max(high, limit)
    if side is None:
        z = proportions.non_inferiority_z(both, better, worse, neither, limit)
        times = NormalDist().inv_cdf(1 - (above if z > 0 else below)) / abs(z) if z else math.inf
        if z > 0 and limit < 1:
            # Nothing is proven by fewer right answers than without one flip, where the exact test asks for more than the score.
            times = max(times, math.sqrt(order.needed_n(limit, 1 - above) / max(both, 1)))
        notes.append(_wanted(len(variant), times))
    return low, high, side, "paired non-inferiority, exact (Nam-Blackwelder score)", notes


def flips(variant: Scores, reference: Scores) -> str:
    """Of right/wrong scores, evidence that no gate is about: equal accuracies may hide many changed answers."""
    better, worse = int(np.sum(variant > reference)), int(np.sum(variant < reference))
    p, share = proportions.mcnemar_p(better, worse), show((better + worse) / len(variant), "proportion")
    return f"{worse} items got worse, {better} got better: {share} flipped (McNemar p = {p:.2g})"


def ratio_bounds(variant: Scores, reference: Scores, above: float, below: float) -> tuple[float, float]:
    """Of the ratio of two means over units: the wider of the bootstrap's and of Student's, which few resamples of a rare error rate can't reach."""
    low, high = -math.inf, math.inf
    if len(variant) < LEAST_UNITS:
        return low, high
    rng = np.random.default_rng(0)
    for side, alpha in enumerate((BOOTSTRAP_SHARE * above, BOOTSTRAP_SHARE * below)):
        resamples = max(2000, min(math.ceil(20 / alpha), VALUES // len(variant)))
        bounds = real_valued.paired_ratio_bounds(variant, reference, 1 - alpha, rng, resamples)
        plain = real_valued.student_ratio_bounds(variant, reference, 1 - alpha)
        if side == 0:
            low = min(bounds[0], plain[0])
        else:
            high = max(bounds[1], plain[1])
    return low, high


def _mean_bounds(scores: Scores, groups: Groups | None, above: float, below: float) -> tuple[float, float]:
    """Of the mean of right/wrong scores."""
    if groups is not None:
        low, high = ratio_bounds(totals(scores, groups), totals(np.ones(len(scores)), groups), above, below)
        return max(low, 0.0), min(high, 1.0)
    right = int(scores.sum())
    return (
        proportions.binomial_bounds(right, len(scores), 1 - above)[0],
        proportions.binomial_bounds(right, len(scores), 1 - below)[1],
    )


def _decided(
    low: float,
    high: float,
    estimate: float,
    limit: float,
    errors: tuple[float, float],
    groups: Groups | None,
    items: int,
    most: float = math.inf,
) -> tuple[str | None, str, list[str]]:
    """The side of the limit that a bootstrap proves (">=", "<=" or none), method, notes.

    ``errors``: of finding the truth above the limit, and below it. ``most``: the most that the mean can be.
    """
    above = estimate >= limit
    if above:
        # What must not stay unseen: a collapse of the rest of the items.
        rare, error = (limit if limit < 1 else limit / estimate), errors[0]
    else:
        rare, error = (1 - limit if most == 1 else estimate / limit), errors[1]
    needed = max(_needed(rare, error, grouped=groups is not None), LEAST_UNITS)
    method, units, what = "paired bootstrap", items, "items"
    if groups is not None:
        sizes = totals(np.ones(items), groups)
        # Kish (1965): so many equal groups would be worth as much.
        units = int(sizes.sum() ** 2 / np.sum(sizes**2))
        method, what = f"paired bootstrap over {len(sizes)} groups", "groups (counted as if equally large)"
    side = None if units < needed else ">=" if low >= limit else "<=" if high < limit else None
    if side is not None:
        return side, method, []
    if above and needed == math.inf:
        return (
            side,
            method,
            [
                f"no number of {what.split()[0]} proves it: ask for less, or claim it of exactly this dataset (--edge-population)"
            ],
        )
    least = needed if above else LEAST_UNITS
    if units < least:
        return side, method, [f"{units} {what} can't prove it even without one error; it needs at least {least}"]
    return side, method, [more_items(low, high, estimate, limit, items)]


def _needed(rare: float, alpha: float, *, grouped: bool) -> float:
    """Units of which one at least shows what strikes more than a share ``1 - rare`` of them; as many as prove a claim without one error."""
    if rare >= 1:
        return math.inf
    needed = order.needed_n(rare, 1 - alpha) if rare > 0 else 0
    return math.ceil(MORE_GROUPS * needed) if grouped else needed


def more_items(low: float, high: float, estimate: float, limit: float, items: int, what: str = "items") -> str:
    """How many of them would decide it: bounds narrow with the root of their number."""
    width, distance = (estimate - low, estimate - limit) if estimate > limit else (high - estimate, limit - estimate)
    return _wanted(items, width / distance if distance > 0 else math.inf, what)


def _wanted(items: int, times: float, what: str = "items") -> str:
    """How many of them would decide it, when what there is would have to be so many times as precise."""
    more = items * times**2
    if more > 1000 * items:
        return "what was measured is all but the limit: move it"
    return f"about {max(math.ceil(more), items + 1)} {what} like these would decide it"


def _spent(items: int, groups: Groups | None) -> str:
    return f"{items} items" + ("" if groups is None else f" in {len(np.unique(groups))} groups")


def totals(scores: Scores, groups: Groups) -> Scores:
    """Sum of each group's scores: the ratio of two such sums' means is that of the items' means."""
    return np.bincount(np.unique(groups, return_inverse=True)[1], weights=scores).astype(np.float64)


def _members(groups: Groups) -> list[NDArray[np.int64]]:
    """The places of each group's items."""
    places = np.argsort(groups, kind="stable")
    return np.split(places, np.flatnonzero(np.diff(groups[places])) + 1)
