"""Series of one variant alone: percentiles, throughput and steadiness against a number, by bounds that are looked at a few times."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.errors import UnsupportedError
from pytest_edgeai.judge.finding import TEST, Finding, outcome_of
from pytest_edgeai.judge.rules import Rules
from pytest_edgeai.protocols import SeriesSampler
from pytest_edgeai.records import Outcome
from pytest_edgeai.stats import order, spread, steady
from pytest_edgeai.units import show

MIN_SERIES = 300
"""Calls before a series is looked at."""
LOOKS = 4
"""A series is looked at so often at most, its length doubled each time."""
PILOT = 30
"""Samples that show how long one takes, and so whether the budget can hold enough of them."""
TREND_BLOCKS = 20
"""Of a series, whose medians show whether it trends."""
OF_TIME = ("s", "items/s", "tokens/s")
"""Units of what the layout of a process' memory changes."""

_Bounds = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class _Statistic:
    """What is asked of a series."""

    estimate: Callable[[NDArray[np.float64]], float]
    bounds: Callable[[NDArray[np.float64], float, float], _Bounds]
    """Of the values, at the confidences of the lower and of the upper bound; None where the values are too few."""
    least: Callable[[float], int]
    """Independent samples without which nothing is PASS at this confidence."""
    first: int
    """Samples at the first look."""
    method: str
    unit: str
    p: float = 0.5
    """The percentile whose inefficiency says how many independent samples a series is worth."""
    samples: str = "calls"
    more_is_faster: bool = False
    of_shape: bool = False
    """Whether it tells of the series' shape, not of its place: a trend makes it larger, whatever its direction."""


def percentile(
    sampler: SeriesSampler, p: float, operator: str, limit: float, rules: Rules, unit: str = "s", samples: str = "calls"
) -> Finding:
    """A percentile of solo calls, by order-statistic bounds that count calls which are alike as fewer."""
    tail = p if operator[0] == "<" else 1 - p
    first = max(MIN_SERIES, order.needed_n(p, 1 - _spent(rules.alpha_pass, 0), exceedances=2))
    statistic = _Statistic(
        lambda values: order.percentile(values, p),
        lambda values, low, high: order.series_bounds(values, p, low, high),
        lambda confidence: order.needed_n(tail, confidence),
        first,
        f"order statistics of p{100 * p:g}",
        unit,
        p,
        samples,
    )
    return _series(sampler, statistic, operator, limit, rules)


def throughput(
    sampler: SeriesSampler, operator: str, limit: float, rules: Rules, unit: str = "items/s", samples: str = "blocks"
) -> Finding:
    """The median block's items a second, by order-statistic bounds that count blocks which are alike as fewer."""
    statistic = _Statistic(
        lambda rates: float(np.median(rates)),
        lambda rates, low, high: order.series_bounds(rates, 0.5, low, high),
        lambda confidence: order.needed_n(0.5, confidence),
        order.needed_n(0.5, 1 - _spent(rules.alpha_pass, 0), exceedances=5),
        f"order statistics of {samples}",
        unit,
        samples=samples,
        more_is_faster=True,
    )
    return _series(sampler, statistic, operator, limit, rules)


def jitter(sampler: SeriesSampler, operator: str, limit: float, rules: Rules, samples: str = "calls") -> Finding:
    """The relative median absolute deviation of solo calls, which a few slow ones don't change, by order-statistic bounds."""

    def bounds(values: NDArray[np.float64], low: float, high: float) -> _Bounds:
        return spread.rmad_bounds(values, low, high) if len(values) >= MIN_SERIES else (None, None)

    def estimate(values: NDArray[np.float64]) -> float:
        if float(values.min()) <= 0:
            raise UnsupportedError("it is 0 or less in some calls, and a spread relative to that means nothing.")
        return spread.rmad(values)

    method = "rMAD, order statistics of deviations"
    statistic = _Statistic(
        estimate, bounds, lambda _: MIN_SERIES, MIN_SERIES, method, "proportion", samples=samples, of_shape=True
    )
    return _series(sampler, statistic, operator, limit, rules)


def _spent(alpha: float, look: int) -> float:
    """The share of an error rate that a look (0, 1, ...) may use: a half, a quarter, ...; the first one, which decides most, has the most."""
    return alpha * 0.5 ** (look + 1)


def _series(sampler: SeriesSampler, asked: _Statistic, operator: str, limit: float, rules: Rules) -> Finding:
    """Looks at a series each time it has doubled, until it proves something or the budget is spent.

    One process has one layout of its memory, and another of the same code differs from it by up to ``rules.guard``: bounds of times
    are widened by that. The budget is doubled once, when one more look would probably decide.
    """
    rises = operator[0] == "<"  # what would speak against the claim
    # A median suffers by a factor at most; a tail or a spread by any.
    middle = asked.p == 0.5 and not asked.of_shape
    guard = rules.guard if asked.unit in OF_TIME else 0.0
    budget, started = rules.budget, sampler.seconds()
    values = _more(sampler, np.empty(0), min(PILOT, asked.first), budget)
    each = max(sampler.seconds() - started, 1e-9) / len(values)
    fitting = max(len(values), int((budget - started) / each))
    least = asked.least(1 - _spent(rules.alpha_pass, 0))
    enough = fitting >= least
    first = asked.first if enough else max(len(values), fitting // 4)  # too few to pass may be enough to fail
    look, extended = 0, False
    bounds = _Interval(asked.estimate(values), None, None, limit, guard)
    while enough or not TEST[operator](bounds.estimate, limit):
        values = _more(sampler, values, first * 2**look, budget)
        passing, failing = 1 - _spent(rules.alpha_pass, look), 1 - _spent(rules.alpha_fail, look)
        levels = (failing, passing) if rises else (passing, failing)
        low, high = asked.bounds(values, *levels)
        if middle:
            low, high = _widened(values, low, high, levels, rules.contended)
        bounds = _Interval(asked.estimate(values), low, high, limit, guard)
        if bounds.outcome(operator) is not Outcome.INCONCLUSIVE or len(values) < first * 2**look or look + 1 == LOOKS:
            break
        if sampler.seconds() * 2 > budget:
            if extended or bounds.growth() > 2:
                break
            budget, extended = 2 * budget, True
        look += 1
    outcome = bounds.outcome(operator)
    notes = []
    # A busy or slow machine makes calls slower and less steady, never faster: only what speaks against the variant is doubtful.
    against = Outcome.FAIL if rises != asked.more_is_faster else Outcome.PASS
    distant = not bounds.low / rules.contended <= limit <= bounds.high * rules.contended
    doubt = None
    # No variant warms up, or heats up, by such a factor once its first calls are over; but any trend adds to a spread.
    if outcome is against:
        if not (middle and distant):
            doubt = _machine(sampler, rules)
        if doubt is None and (asked.of_shape or not distant):
            doubt = _trend(values, asked, "faster")
    elif outcome is not Outcome.INCONCLUSIVE and not (asked.of_shape or distant):
        doubt = _trend(values, asked, "slower")
    if doubt:
        outcome = Outcome.INCONCLUSIVE
        notes.append(doubt)
    elif outcome is Outcome.INCONCLUSIVE and not enough:
        needed = math.ceil(1.1 * (started + each * asked.first))
        notes.append(
            f"it takes at least {least} {asked.samples}, about {show(each * least, 's')}, and only {fitting} fit into the budget of "
            f"{rules.budget:g} s: --edge-budget={needed}"
        )
    elif outcome is Outcome.INCONCLUSIVE:
        notes.append(_undecided(bounds, asked, values, least, limit, sampler.seconds()))
        notes += filter(None, [_trend(values, asked)])
    return Finding(
        outcome,
        bounds.estimate,
        bounds.low,
        bounds.high,
        1 - rules.alpha,  # over all looks together
        asked.method,
        f"{len(values)} {asked.samples}, {sampler.seconds():.2g} s",
        sampler.seconds(),
        len(values),
        notes,
    )


def _widened(
    values: NDArray[np.float64], low: float | None, high: float | None, levels: tuple[float, float], factor: float
) -> _Bounds:
    """The bounds, or where they are tighter those of independent samples, widened by a factor: a level that wanders does so by less."""
    plain = order.lower_bound(values, 0.5, levels[0]), order.upper_bound(values, 0.5, levels[1])
    lows = [one for one in (low, plain[0] and plain[0] / factor) if one is not None]
    highs = [one for one in (high, plain[1] and plain[1] * factor) if one is not None]
    return max(lows, default=None), min(highs, default=None)


class _Interval:
    """An estimate and its bounds, widened by the guard; infinite where there is none."""

    def __init__(self, estimate: float, low: float | None, high: float | None, limit: float, guard: float) -> None:
        self.estimate, self._limit, self._guard = estimate, limit, guard
        self.low = -math.inf if low is None else low - guard * abs(low)
        self.high = math.inf if high is None else high + guard * abs(high)

    def outcome(self, operator: str) -> Outcome:
        return outcome_of(self.low, self.high, operator, self._limit)

    def growth(self) -> float:
        """How many times as many samples would free the limit: bounds narrow with the root of their number. Infinite where none would."""
        edge = self.high if self.estimate < self._limit else self.low
        guarded = self._guard * abs(self.estimate)
        distance = abs(self.estimate - self._limit) - guarded
        return float(((abs(edge - self.estimate) - guarded) / distance) ** 2) if distance > 0 else math.inf


def _more(sampler: SeriesSampler, values: NDArray[np.float64], wanted: int, budget: float) -> NDArray[np.float64]:
    """``values`` and further ones: ``wanted`` together, or as many as the budget allows."""
    while len(values) < wanted and (sampler.seconds() < budget or len(values) == 0):
        spent = max(sampler.seconds(), 1e-9)
        fitting = int((budget - spent) * len(values) / spent)
        values = np.concatenate([values, sampler.more(min(max(fitting, 1), wanted - len(values)))])
    return values


def _undecided(
    bounds: _Interval, asked: _Statistic, values: NDArray[np.float64], least: int, limit: float, seconds: float
) -> str:
    """Which bounds a series gave, and what would decide."""
    taken = len(values)
    growth = bounds.growth()
    if math.isinf(bounds.low if bounds.estimate > limit else bounds.high):
        alike = order.inefficiency(values, asked.p)
        growth = max(2.0, 1.5 * least * alike / taken)
        told = f"{taken} {asked.samples}, of which {alike:.2g} in a row say no more than one, give no bound"
        why = "run it on a quieter machine"
    else:
        ends = f"{show(bounds.low, asked.unit)} to {show(bounds.high, asked.unit)}"
        told = f"the limit {show(limit, asked.unit)} lies within the bounds {ends} of {taken} {asked.samples}"
        why = "the truth is too near to the limit"
    if math.isinf(growth):
        return f"{told}, and the truth seems nearer to it than two processes of the same code are to each other"
    more, most = _rounded(taken * growth), asked.first * 2 ** (LOOKS - 1)
    if more > most:
        return f"{told}; it would take about {more}, and no more than {most} are made: {why}"
    budget = _rounded(1.2 * seconds * growth)
    return f"{told}; about {more} {asked.samples} would decide it (--edge-budget={budget}), or a quieter machine"


def _rounded(number: float) -> int:
    """Up to two digits."""
    size: int = 10 ** max(0, math.floor(math.log10(max(number, 1))) - 1)
    return math.ceil(number / size) * size


def _trend(values: NDArray[np.float64], asked: _Statistic, direction: str = "") -> str | None:
    """How the series got faster or slower, if it did, and in this direction if one is given: what a variant does that is not warm yet."""
    medians = [float(np.median(block)) for block in np.array_split(values, min(TREND_BLOCKS, len(values)))]
    moved = steady.trend(medians)
    if not moved:
        return None
    slower = (moved > 0) != asked.more_is_faster
    if direction and not asked.of_shape and slower != (direction == "slower"):
        return None
    return (
        f"it was still getting {'slower' if slower else 'faster'} while it was measured, by {100 * abs(moved):.2g} % from the first half "
        "to the second; a larger --edge-budget lets it warm up for longer"
    )


def _machine(sampler: SeriesSampler, rules: Rules) -> str | None:
    """What was wrong with the machine, by a constant piece of work between the samples, and what the system says of the reasons."""
    facts = sampler.noise()
    if "canary_median_s" not in facts:
        return None
    wide, tail, speed = facts["canary_rmad"], facts["canary_tail"], facts["canary_best_s"] / facts["canary_median_s"]
    if wide > rules.canary_spread:
        told = (
            f"the machine itself was not steady: a constant piece of work varied by {show(wide, 'proportion')} (rMAD)"
        )
    elif tail > rules.canary_tail:
        told = f"the machine itself was not steady: a constant piece of work took {tail:.1f} times its median in one of a hundred runs"
    elif speed < rules.canary_speed:
        told = f"the machine ran at {100 * speed:.0f} % of its own speed, by a constant piece of work"
    else:
        return None
    reasons = ", ".join(_reasons(facts))
    return f"{told}{f' ({reasons})' if reasons else ''}; run it again on a quieter one"


def _reasons(facts: Mapping[str, float]) -> list[str]:
    """What disturbed, of :attr:`pytest_edgeai.records.Measurement.noise`."""
    seconds = facts.get("wall_s", math.inf)
    steal = facts.get("steal_s", 0.0) / seconds / facts.get("cores", 1.0)
    pressure = facts.get("cpu_pressure_s", 0.0) / seconds
    throttled = facts.get("throttled_s", 0.0) / seconds
    frequency = facts.get("mhz_median", 1.0) / facts.get("mhz_most", math.inf)
    told = {
        f"{100 * steal:.0f} % of the cores' time taken by the hypervisor": steal >= 0.01,
        f"tasks waited for a core in {100 * pressure:.0f} % of the time": pressure >= 0.05,
        f"throttled by the container's limit for {100 * throttled:.0f} % of the time": throttled >= 0.01,
        f"throttled {facts.get('thermal_throttles', 0):.0f} times by heat": facts.get("thermal_throttles", 0) > 0,
        f"cores at {100 * frequency:.0f} % of their highest frequency": 0 < frequency < 0.8,
        f"{facts.get('involuntary_switches', 0):.0f} times taken off its core": facts.get("involuntary_switches", 0)
        > 0,
    }
    return [text for text, holds in told.items() if holds]
