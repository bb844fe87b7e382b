"""Ratios of two latencies, measured in turns: a sequential test that stops as soon as either side of the limit is proven."""

import math
from collections.abc import Sequence

import numpy as np

from pytest_edgeai.judge.finding import Finding
from pytest_edgeai.judge.rules import Rules
from pytest_edgeai.protocols import TurnSampler
from pytest_edgeai.records import Outcome
from pytest_edgeai.stats import sequential

RESTLESS = 0.1

"""Share of rounds with other programs on the cores above which the rounds are not believed. One half would not do: at a noise of 8 %, a
neighbour in 30 % of the rounds fails nine of ten variants that are exactly at the limit."""

RESTLESS_ROUNDS = 30

"""Undecided rounds with other programs on the cores before the cores are waited for."""


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
