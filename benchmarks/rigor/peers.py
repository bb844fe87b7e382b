"""Peers: what other tools decide from the samples of two sides that were measured one after the other. Pure functions of seconds."""

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.rigor.rounds import Rounds

Samples = NDArray[np.float64]
"""Seconds a call, or a slot of some, in the order in which they were taken."""
Rule = Callable[[Samples, Samples], bool]
"""(baseline, variant) -> whether it says that the variant is slower."""
VALUES = 10
"""A side, for the test of benchstat: its manual asks for at least that many."""
PYPERF_VALUE = 0.1
"""Seconds that one value of pyperf lasts at least."""


def percentage(statistic: Callable[[Samples], float], limit: float = 0.05) -> Rule:
    """pytest-benchmark's ``--benchmark-compare-fail=STATISTIC:5%``: whether the statistic of the later run exceeds the earlier one's by more.

    Source: ``PercentageRegressionCheck`` of pytest_benchmark/utils.py, 5.x.
    """
    return lambda baseline, variant: bool(statistic(variant) / statistic(baseline) * 100 - 100 > 100 * limit)


def pyperf(baseline: Samples, variant: Samples, least: float = 0.0) -> bool:
    """``pyperf compare_to``, with ``--min-speed`` where ``least`` is a share: Student's t test with equal variances, two-sided at 0.05, and slower.

    Its values are means of at least 0.1 s of calls. Source: ``is_significant`` of pyperf/_utils.py and ``CompareData`` of pyperf/_compare.py, 2.x. A test with
    different numbers of values on both sides is an error there that counts as significant; here both sides have the same number.
    """
    from scipy.stats import ttest_ind

    one, other = (chunks(side, max(2, round(float(side.sum()) / PYPERF_VALUE))) for side in (baseline, variant))
    count = min(len(one), len(other))
    one, other = one[:count], other[:count]
    slower = float(other.mean() / one.mean()) - 1
    return bool(slower > 0 and slower >= least and ttest_ind(one, other).pvalue <= 0.05)


def benchstat(baseline: Samples, variant: Samples) -> bool:
    """``benchstat``: Mann-Whitney's U test, exact, two-sided at 0.05, of 10 values a side, each a mean of calls; and a slower median.

    Source: ``AssumeNothing`` of golang.org/x/perf/benchmath, and the manual of golang.org/x/perf/cmd/benchstat.
    """
    from scipy.stats import mannwhitneyu

    one, other = chunks(baseline, VALUES), chunks(variant, VALUES)
    return bool(np.median(other) > np.median(one) and mannwhitneyu(one, other, method="exact").pvalue <= 0.05)


RULES: dict[str, Rule] = {
    "pytest-benchmark, mean:5%": percentage(lambda side: float(side.mean())),
    "pytest-benchmark, median:5%": percentage(lambda side: float(np.median(side))),
    "pytest-benchmark, min:5%": percentage(lambda side: float(side.min())),
    "pyperf compare_to (t test)": pyperf,
    "pyperf compare_to --min-speed=5": lambda baseline, variant: pyperf(baseline, variant, 0.05),
    "benchstat (U test, 10 v 10)": benchstat,
}


def chunks(samples: Samples, count: int) -> Samples:
    """So many means of equally many samples that follow each other; the few that are left over are dropped. ValueError when there are fewer."""
    size = len(samples) // count
    if size == 0:
        raise ValueError(f"{len(samples)} samples make no {count} values")
    return samples[: size * count].reshape(count, size).mean(axis=1)


def windows(rounds: Rounds, seconds: float, calls: int = 1) -> Iterator[tuple[Samples, Samples]]:
    """The baseline's slots of so many seconds of timed work, then the variant's of the rounds after them: as if they had been measured
    one after the other, in one pair of processes. No round is used twice. ``calls``: how many calls a slot has; samples are seconds a slot."""
    for pair in range(rounds.pairs):
        of_pair = rounds.pair == pair
        baseline, variant = (calls * side[of_pair].astype(np.float64) for side in (rounds.baseline, rounds.variant))
        first = 0
        while (middle := _end(baseline, first, seconds)) and (end := _end(variant, middle, seconds)):
            yield baseline[first:middle], variant[middle:end]
            first = end


def _end(side: Samples, first: int, seconds: float) -> int | None:
    """Where so many seconds from ``first`` on are over; ``None`` where there are fewer."""
    found = int(np.searchsorted(np.cumsum(side[first:]), seconds))
    return first + found + 1 if first + found < len(side) and not math.isinf(seconds) else None
