"""Comparisons: how a claim about a quantity is proven, refuted, or left open. Samplers and clocks are given, so all of it runs simulated.

Every function takes a claim "quantity >= limit" or "quantity <= limit" and returns a Finding. Whatever is not proven is INCONCLUSIVE.
"""

import math
import operator as operators
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.errors import UnsupportedError
from pytest_edgeai.judge.rules import Rules
from pytest_edgeai.protocols import SeriesSampler, TurnSampler
from pytest_edgeai.records import Outcome
from pytest_edgeai.stats import order, proportions, real_valued, sequential, spread
from pytest_edgeai.units import show

LOOKS = 3
"""A series is looked at this often, its length doubled each time; each look has its share of the error rate (Bonferroni)."""
RESTLESS = 0.1
"""Share of rounds with other programs on the cores above which the rounds are not believed. One half would not do: at a noise of 8 %, a
neighbour in 30 % of the rounds fails nine of ten variants that are exactly at the limit."""
RESTLESS_ROUNDS = 30
"""Undecided rounds with other programs on the cores before the cores are waited for."""
MIN_SERIES = 300
"""Calls before a series is looked at."""
_TEST: dict[str, Callable[[float, float], bool]] = {
    ">=": operators.ge,
    "<=": operators.le,
    ">": operators.gt,
    "<": operators.lt,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a comparison came to, before it is put into words. Fields as in :class:`pytest_edgeai.records.Verdict`."""

    outcome: Outcome
    estimate: float | None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    method: str = ""
    spent: str = ""
    seconds: float = 0.0
    samples: int = 0
    notes: list[str] = field(default_factory=list)


def exact(value: float, operator: str, limit: float) -> Finding:
    """A quantity that is known exactly."""
    outcome = Outcome.PASS if _TEST[operator](value, limit) else Outcome.FAIL
    return Finding(outcome, value, value, value, 1.0, "exact")


def speedup(sampler: TurnSampler, operator: str, limit: float, rules: Rules) -> Finding:
    """The ratio of two latencies, measured in turns.

    A sign test as an e-process (Robbins' beta mixture; Howard & Ramdas, arXiv 1906.09712), valid however often it is looked at: rounds
    of all pairs are pooled, and each side of the limit is tested ``rules.guard`` away from it, because processes differ by that much
    through nothing but the layout of their memory. A limit within the guard of the truth stays INCONCLUSIVE.

    Other programs on the cores change a speed-up itself (see :mod:`pytest_edgeai.measure.quiet`), unless both sides do nearly the same.
    So when they ran in many rounds, only what is far from the limit is believed; else rounds are taken anew, each when the cores are free.
    """
    at = math.log(limit) if limit > 0 else -math.inf
    alike = abs(at) < math.log(rules.alike)
    # Rounds may be taken anew below, so the error rate is shared between the two draws.
    alpha = rules.alpha if alike else rules.alpha / 2
    crossed = -math.log(alpha)
    near, far = _Sides(at, rules.guard), _Sides(at, math.log(rules.contended))
    differences: list[float] = []
    of_pairs: list[list[float]] = [[] for _ in range(sampler.pairs)]
    disturbed_ones: list[float] = []
    disturbed, patient, gave_up = 0, False, False
    direction: str | None = None
    while direction is None and not gave_up and (sampler.seconds() < rules.budget or not differences):
        for pair in range(sampler.pairs):
            if patient and not sampler.wait():
                gave_up = True
                break
            difference = sampler.round(pair)
            differences.append(difference)
            of_pairs[pair].append(difference)
            near.add(difference)
            far.add(difference)
            disturbed += not sampler.free
        direction = _agreed(near.proven(crossed), of_pairs, at)
        if not alike and disturbed > RESTLESS * len(differences) and (direction or len(differences) >= RESTLESS_ROUNDS):
            direction = _agreed(far.proven(crossed), of_pairs, at)
            if direction is None and not patient:
                patient, disturbed = True, 0
                near, far = _Sides(at, rules.guard), _Sides(at, math.log(rules.contended))
                disturbed_ones, differences = differences, []
                of_pairs = [[] for _ in range(sampler.pairs)]
    # Where not one round could be taken with the cores free, the estimate is the disturbed one.
    seen = np.array(differences or disturbed_ones)
    confidence = 1 - rules.alpha
    low, high = sequential.sign_bounds(seen, 1 - 2 * alpha)
    # The rounds bound the speed-up of these processes; others of the same code differ from them by up to the guard.
    low, high = low - rules.guard, high + rules.guard
    outcome = Outcome.INCONCLUSIVE if direction is None else Outcome.PASS if direction == operator else Outcome.FAIL
    notes = []
    restless = not alike and disturbed > RESTLESS * len(differences)
    if direction is None and (gave_up or (restless and near.proven(crossed))):
        notes.append(
            "other programs kept running on the cores, which changes a speed-up; run it again on a quieter machine"
        )
    elif direction is None and near.proven(crossed):
        notes.append("the pairs of processes lie on both sides of the limit: one of them is odd; run it again")
    elif direction is None:
        distance = float(np.median(seen)) - at
        outside = abs(distance) > rules.guard
        guarded = at + math.copysign(rules.guard, distance)
        more = sequential.rounds_to_decide(seen, guarded, alpha) if outside else None
        margin = 100 * math.expm1(rules.guard)
        notes.append(
            f"not decided within {sampler.seconds():.3g} s of sampling: the truth may lie within {margin:.1f} % of the limit"
            if more is None or more <= len(seen)
            else f"not decided within {sampler.seconds():.3g} s of sampling; about {more} rounds would decide it (--edge-budget), or a quieter machine"
        )
    return Finding(
        outcome,
        math.exp(float(np.median(seen))),
        math.exp(low),
        math.exp(high),
        confidence,
        "sign e-process in turns",
        f"{sampler.pairs} process pairs, {len(seen)} rounds, {sampler.seconds():.2g} s",
        sampler.seconds(),
        len(seen),
        notes,
    )


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


def extremes(
    variant: Sequence[float],
    operator: str,
    limit: float,
    baseline: Sequence[float] | None = None,
    seconds: float = 0.0,
    samples: str = "processes",
) -> Finding:
    """One number a process (or a block): proven when all are on the same side of the limit; against a baseline, all pairs of them."""
    over = baseline or [1.0]
    if min(over) <= 0:
        return Finding(
            Outcome.ERROR, None, notes=[f"the baseline's is 0 in one of its {samples}: a ratio to it means nothing"]
        )
    low, high = min(variant) / max(over), max(variant) / min(over)
    holds = _TEST[operator]
    sides = {holds(low, limit), holds(high, limit)}
    outcome = Outcome.INCONCLUSIVE if len(sides) > 1 else Outcome.PASS if sides == {True} else Outcome.FAIL
    notes = [] if outcome is not Outcome.INCONCLUSIVE else [f"{samples} lie on both sides of the limit"]
    spent = f"{len(variant)} {samples}" + (" of each" if baseline else "")
    estimate = float(np.median(variant) / np.median(over))
    return Finding(outcome, estimate, low, high, None, f"extremes of {samples}", spent, seconds, len(variant), notes)


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
    compare = _paired_proportions if _binary(variant) and _binary(reference) else _paired_means
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
    if not _binary(scores):
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
        _outcome(low, high, operator, limit),
        estimate,
        low,
        high,
        1 - max(above, below),
        "Clopper-Pearson",
        spent,
        0.0,
        len(scores),
    )


def _agreed(direction: str | None, of_pairs: Sequence[Sequence[float]], at: float) -> str | None:
    """The direction, if the median of every pair of processes lies there too: one odd process (a neighbour's core, a bad layout of
    memory) must not decide for all."""
    if direction is None or not all(of_pairs):
        return None
    medians = [float(np.median(differences)) for differences in of_pairs]
    agree = all(median > at for median in medians) if direction == ">=" else all(median < at for median in medians)
    return direction if agree else None


class _Sides:
    """Evidence for both sides of a limit, each ``guard`` away from it."""

    def __init__(self, at: float, guard: float) -> None:
        self._above, self._below = _Sign(at + guard), _Sign(at - guard)

    def add(self, difference: float) -> None:
        self._above.add(difference)
        self._below.add(difference)

    def proven(self, crossed: float) -> str | None:
        """The side whose log e-value reaches ``crossed``."""
        if self._above.log_e_above() >= crossed:
            return ">="
        return "<=" if self._below.log_e_below() >= crossed else None


class _Sign:
    """Counts for one threshold; ties count for neither side."""

    def __init__(self, threshold: float) -> None:
        self._threshold, self._above, self._below = threshold, 0, 0

    def add(self, difference: float) -> None:
        self._above += difference > self._threshold
        self._below += difference < self._threshold

    def log_e_above(self) -> float:
        return sequential.log_e_value(self._above, self._below)

    def log_e_below(self) -> float:
        return sequential.log_e_value(self._below, self._above)


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
        outcome = _outcome(low, high, operator, limit)
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


def _outcome(low: float, high: float, operator: str, limit: float) -> Outcome:
    """PASS when the whole interval is where the claim wants it, FAIL when none of it is."""
    low_holds, high_holds = _TEST[operator](low, limit), _TEST[operator](high, limit)
    if low_holds and high_holds:
        return Outcome.PASS
    return Outcome.INCONCLUSIVE if low_holds or high_holds else Outcome.FAIL


def _binary(scores: NDArray[np.float64]) -> bool:
    return bool(np.isin(scores, (0.0, 1.0)).all())
