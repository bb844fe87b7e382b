"""Findings: what a comparison came to, before it is put into words; and the two simplest comparisons.

Every comparison takes a claim "quantity >= limit" or "quantity <= limit" and returns a Finding. Whatever is not proven is INCONCLUSIVE.
Samplers and clocks are given, so that all of it runs simulated.
"""

import operator as operators
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from pytest_edgeai.records import Evidence, Outcome

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
    evidence: Evidence | None = None
    """What a later run may go on from, where that is sound."""


def exact(value: float, operator: str, limit: float) -> Finding:
    """A quantity that is known exactly."""
    outcome = Outcome.PASS if TEST[operator](value, limit) else Outcome.FAIL
    return Finding(outcome, value, value, value, 1.0, "exact")


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
    holds = TEST[operator]
    sides = {holds(low, limit), holds(high, limit)}
    outcome = Outcome.INCONCLUSIVE if len(sides) > 1 else Outcome.PASS if sides == {True} else Outcome.FAIL
    notes = [] if outcome is not Outcome.INCONCLUSIVE else [f"{samples} lie on both sides of the limit"]
    spent = f"{len(variant)} {samples}" + (" of each" if baseline else "")
    estimate = float(np.median(variant) / np.median(over))
    return Finding(outcome, estimate, low, high, None, f"extremes of {samples}", spent, seconds, len(variant), notes)


def outcome_of(low: float, high: float, operator: str, limit: float) -> Outcome:
    """PASS when the whole interval is where the claim wants it, FAIL when none of it is."""
    low_holds, high_holds = TEST[operator](low, limit), TEST[operator](high, limit)
    if low_holds and high_holds:
        return Outcome.PASS
    return Outcome.INCONCLUSIVE if low_holds or high_holds else Outcome.FAIL
