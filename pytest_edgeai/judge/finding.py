"""Findings: what a comparison came to, before it is put into words; and the two simplest comparisons.

Every comparison takes a claim "quantity >= limit" or "quantity <= limit" and returns a Finding. Whatever is not proven is INCONCLUSIVE.
Samplers and clocks are given, so that all of it runs simulated.
"""

import math
import operator as operators
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from pytest_edgeai.records import Outcome
from pytest_edgeai.stats import order
from pytest_edgeai.units import show

TEST: dict[str, Callable[[float, float], bool]] = {
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
    evidence: list[float] = field(default_factory=list)
    """Differences of rounds that a later run may go on from; none where that is not sound."""


def exact(value: float, operator: str, limit: float) -> Finding:
    """A quantity that is known exactly."""
    outcome = Outcome.PASS if TEST[operator](value, limit) else Outcome.FAIL
    return Finding(outcome, value, value, value, 1.0, "exact")


@dataclass(frozen=True, slots=True)
class Spare:
    """A share of each number that may or may not count."""

    name: str
    """What it is called: ``memory.inactive``."""
    variant: Sequence[float]
    baseline: Sequence[float] = ()


def agreeing(error: float) -> int:
    """How many samples must be on one side of a limit for it to be the median's side, but for this error rate: each is with probability 1/2."""
    return order.needed_n(0.5, 1 - error)


def extremes(
    variant: Sequence[float],
    operator: str,
    limit: float,
    baseline: Sequence[float] = (),
    *,
    spare: Spare | None = None,
    seconds: float = 0.0,
    samples: str = "processes",
    unit: str = "ratio",
    guard: float = 0.0,
) -> Finding:
    """One number a process (or a block): proven when all are on one side of the limit; against a baseline, all pairs of them.

    That holds for the median process (the median ratio of two of them) with an error of at most 2**-n a side, whatever the distribution.
    Where a share may not count, the claim must hold with it and without it, on both sides alike. ``unit``: of the limit. ``guard``: share by
    which a further process may differ from all of these.
    """
    over = baseline or [1.0]
    if min(over) <= 0:
        return Finding(
            Outcome.ERROR, None, notes=[f"the baseline's is 0 in one of its {samples}: a ratio to it means nothing"]
        )
    ranges = [_range(variant, over)]
    if spare is not None:
        ranges.append(_range(_less(variant, spare.variant), _less(over, spare.baseline)))
    ranges = [(low * (1 - guard), high * (1 + guard)) for low, high in ranges]
    low, high = min(one[0] for one in ranges), max(one[1] for one in ranges)
    outcome = outcome_of(low, high, operator, limit)
    notes = []
    if outcome is Outcome.INCONCLUSIVE:
        told = [" to ".join(dict.fromkeys(show(end, unit) for end in one)) for one in ranges]
        if spare is not None and Outcome.INCONCLUSIVE not in {outcome_of(*one, operator, limit) for one in ranges}:
            notes.append(
                f"it is {told[0]} with {spare.name} and {told[1]} without, on both sides of the limit: "
                "it depends on whether that share counts, and more samples don't tell"
            )
        else:
            notes.append(
                f"{samples} lie on both sides of the limit, from {show(low, unit)} to {show(high, unit)}: "
                "a limit outside of that range would be decided"
            )
    spent = f"{len(variant)} {samples}" + (" of each" if baseline else "")
    estimate = float(np.median(variant) / np.median(over))
    confidence, method = math.floor(1000 * (1 - 0.5 ** len(variant))) / 1000, f"extremes of {samples}"
    return Finding(outcome, estimate, low, high, confidence, method, spent, seconds, len(variant), notes)


def _range(variant: Sequence[float], over: Sequence[float]) -> tuple[float, float]:
    low = min(variant) / max(over) if max(over) > 0 else 0.0
    return low, max(variant) / min(over) if min(over) > 0 else math.inf


def _less(values: Sequence[float], shares: Sequence[float]) -> list[float]:
    return [max(0.0, value - share) for value, share in zip(values, shares, strict=True)] if shares else list(values)


def outcome_of(low: float, high: float, operator: str, limit: float) -> Outcome:
    """PASS when the whole interval is where the claim wants it, FAIL when none of it is."""
    low_holds, high_holds = TEST[operator](low, limit), TEST[operator](high, limit)
    if low_holds and high_holds:
        return Outcome.PASS
    return Outcome.INCONCLUSIVE if low_holds or high_holds else Outcome.FAIL
