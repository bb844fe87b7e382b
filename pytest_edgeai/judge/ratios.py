"""Ratios of two latencies, measured in turns: a sequential test that stops as soon as either side of the limit is proven."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.judge.claims import MIRRORED
from pytest_edgeai.judge.finding import Finding
from pytest_edgeai.judge.rules import RIGOR, Rules
from pytest_edgeai.protocols import TurnSampler
from pytest_edgeai.records import Outcome
from pytest_edgeai.stats import sequential, student

RESTLESS_ROUNDS = 25
"""Rounds beside other programs before free cores are waited for: what is far from the limit is decided by then, with up to a hundred gates."""
ENOUGH_ROUNDS = 400
"""Of a pair of processes, at most: its median is known to 0.3 % then, even at a noise of 5 % a round, and pairs differ by some 1.2 %."""
LEAST_ROUNDS = 30
KNOWN = 0.25
"""Where further pairs may be started, they tell more than further rounds of a pair that has so many, and a median known to this share of the guard (its
standard error)."""
EXTENDED = 2.0
"""How often the budget may be spent where the truth is near the limit, and further pairs of processes decide."""
AGREED = 5.0
"""Standard errors by which the mean of the pairs' medians must be away from the limit, where the pairs differ by no more than the guard."""
TELLING_ROUNDS = 8
"""Of a pair, before its median says anything about its layout; what fewer rounds of all pairs decide is far from the limit."""
NEAR, FAR, LOOKS = 0.49, 0.01, 0.5
"""Shares of an error rate: of the rounds that are believed, of all rounds where the limit is far, and of the looks at medians."""


def speedup(sampler: TurnSampler, operator: str, limit: float, rules: Rules, before: Sequence[float] = ()) -> Finding:
    """The ratio of two latencies, measured in turns.

    First a sign test as an e-process (Robbins' beta mixture; Howard & Ramdas, arXiv 1906.09712), valid however often it is looked at: rounds
    of all pairs are pooled, and each side of the limit is tested ``rules.guard`` away from it, because processes differ by that much
    through nothing but the layout of their memory. Where it hasn't decided when the medians of these pairs are known well, the truth is near the
    limit, and the budget is extended once, for further pairs of processes: at the numbers of pairs that ``rules.looks`` names, a t bound on the
    pairs' medians decides. The looks have half of the error rate, each its equal part.

    Other programs on the cores change a speed-up itself (see :mod:`pytest_edgeai.measure.quiet`), even of two processes that do the same: for as long
    as one of them shares its core. So only the rounds that began with the cores free are believed; all of them where the limit is far.

    ``before``: the believed differences of earlier runs of the same two variants on this machine. The e-process goes on from there; looks are
    not made again, for their error rate is spent.
    """
    comparison = _Comparison(sampler, operator, math.log(limit), rules, before)
    return comparison.finding(comparison.side())


class _Comparison:
    def __init__(self, sampler: TurnSampler, operator: str, at: float, rules: Rules, before: Sequence[float]) -> None:
        self._sampler, self._operator, self._at, self._rules, self._before = sampler, operator, at, rules, before
        self._alpha = {operator: rules.alpha_pass, MIRRORED[operator]: rules.alpha_fail}
        """Side -> error rate."""
        self._near = _Sides(at, rules.guard, self._spent(NEAR))
        for difference in before:
            self._near.add(difference)
        self._far = _Sides(at, math.log(rules.contended), self._spent(FAR))
        self._believed: list[list[float]] = [[] for _ in range(sampler.pairs)]
        self._rounds: list[list[float]] = [[] for _ in range(sampler.pairs)]
        """Pair -> differences: of the rounds that are believed near the limit, and of all."""
        self._disturbed = 0
        self._gave_up = False
        self._by_look = self._by_far = self._odd = False
        self._look_bounds: tuple[float, float] | None = None

    def _spent(self, share: float) -> dict[str, float]:
        return {side: share * alpha for side, alpha in self._alpha.items()}

    def side(self) -> str | None:
        """The proven side of the limit."""
        return self._pooled() or self._between_pairs()

    def _pooled(self) -> str | None:
        """Cycles of one round a pair, until they prove something, or know as much about these processes as matters."""
        while True:
            for pair in range(self._sampler.pairs):
                if not self._round(pair):
                    return None
            side = self._proven()
            # What earlier runs proved waits for a word of the pairs of this one.
            budget = self._rules.budget * (EXTENDED if self._odd and self._before else 1)
            if side or self._sampler.seconds() >= budget or all(map(self._known, self._believed)):
                return side

    def _known(self, differences: Sequence[float]) -> bool:
        """Whether further pairs of processes, or nothing, would tell more than further rounds of the pair that has these."""
        if len(differences) < LEAST_ROUNDS or len(differences) >= ENOUGH_ROUNDS:
            return len(differences) >= ENOUGH_ROUNDS
        return self._may_renew and median_error(differences) <= KNOWN * self._rules.guard

    @property
    def _may_renew(self) -> bool:
        """Whether further pairs may be started: the looks at them are made once, however often a comparison goes on."""
        return bool(self._rules.looks) and not self._before

    def _between_pairs(self) -> str | None:
        """Further pairs of processes, until a look at their medians proves something."""
        if not self._may_renew or self._gave_up or not all(self._believed):
            return None
        rounds = min(map(len, self._believed))
        for pairs in self._rules.looks:
            while self._sampler.pairs < pairs:
                if not self._further_pair(rounds):
                    return None
                if side := self._proven():
                    return side
            self._look_bounds = self._bounds_of_medians()
            low, high = self._look_bounds
            self._by_look = low > self._at or high < self._at
            if self._by_look:
                return ">=" if low > self._at else "<="
        return None

    def _further_pair(self, rounds: int) -> bool:
        """Start a pair and take at most so many rounds; ``False`` when there is no time or no quiet for it."""
        if self._sampler.seconds() >= EXTENDED * self._rules.budget:
            return False
        pair = self._sampler.renew()
        self._believed.append([])
        self._rounds.append([])
        while len(self._believed[pair]) < rounds and not self._known(self._believed[pair]):
            if not self._round(pair) or self._sampler.seconds() >= EXTENDED * self._rules.budget:
                return False
        return True

    def _round(self, pair: int) -> bool:
        """Take one; ``False`` when the cores would not become free for it."""
        if self._disturbed >= RESTLESS_ROUNDS and not self._sampler.wait():
            self._gave_up = True
            return False
        difference = self._sampler.round(pair)
        self._rounds[pair].append(difference)
        self._far.add(difference)
        if self._sampler.free:
            self._believed[pair].append(difference)
            self._near.add(difference)
        else:
            self._disturbed += 1
        return True

    def _proven(self) -> str | None:
        """The side that the e-process proves, if the pairs agree: one odd process (a neighbour's core, a bad layout of memory) must not
        decide for all, nor layouts that differ by more than the guard allows for."""
        side = self._near.proven()
        self._odd = side is not None and not self._agreed(side, self._believed, self._rules.guard)
        if side and not self._odd:
            return side
        side = self._far.proven()
        self._by_far = side is not None and self._agreed(side, self._rounds, math.log(self._rules.contended))
        return side if self._by_far else None

    def _agreed(self, side: str, of_pairs: list[list[float]], margin: float) -> bool:
        """Whether the median of every pair lies on this side of the limit, and their mean far enough away from it: by some standard errors, or,
        where pairs differ by more than the margin that was given them, by a t bound."""
        if not all(of_pairs):
            return False
        sign = 1 if side == ">=" else -1
        distances = np.array([sign * (float(np.median(differences)) - self._at) for differences in of_pairs])
        if distances.min() <= 0:
            return False
        if len(distances) == 1:
            return True
        fewest, most = min(map(len, of_pairs)), max(map(len, of_pairs))
        if fewest < TELLING_ROUNDS:
            # What earlier runs proved says nothing about the pairs of this one.
            return most < TELLING_ROUNDS and not self._before
        spread = float(distances.std(ddof=1))
        if spread > margin:
            return student.lower_bound(distances, self._alpha[side] / 2) > 0
        return bool(distances.mean() > AGREED * spread / math.sqrt(len(distances)))

    def _bounds_of_medians(self) -> tuple[float, float]:
        medians = np.array([np.median(differences) for differences in self._believed])
        spent = self._spent(LOOKS / len(self._rules.looks))
        low, high = spent[">="], spent["<="]
        return student.lower_bound(medians, low), -student.lower_bound(-medians, high)

    def _seen(self) -> NDArray[np.float64]:
        """What is summed up: the believed rounds where there are enough of them."""
        believed = [*self._before, *itertools.chain(*self._believed)]
        return np.array(believed if believed and not self._by_far else list(itertools.chain(*self._rounds)))

    def _wanted(self) -> int | None:
        """Rounds that would decide, as far as rounds can."""
        seen = self._seen()
        distance = float(np.median(seen)) - self._at
        if abs(distance) <= self._rules.guard:
            return None
        guarded = self._at + math.copysign(self._rules.guard, distance)
        return sequential.rounds_to_decide(seen, guarded, self._spent(NEAR)[">=" if distance > 0 else "<="])

    def finding(self, side: str | None) -> Finding:
        """The comparison's end, ``side`` being what is proven."""
        seen, sampler = self._seen(), self._sampler
        believed = any(self._believed) or len(self._before) > 0
        margin = self._rules.guard if believed and not self._by_far else math.log(self._rules.contended)
        # The rounds bound the speed-up of these processes; others of the same code differ from them by up to the guard. Both bounds are shown at the
        # rate of a comparison alone: the share that many gates leave of it would take more rounds than a clear verdict has.
        alpha = self._rules.alpha / (4 if self._by_look else 2)
        low = sequential.lower_sign_bound(seen, alpha) - margin
        high = -sequential.lower_sign_bound(-seen, alpha) + margin
        if self._look_bounds is not None:
            low, high = max(low, self._look_bounds[0]), min(high, self._look_bounds[1])
        if side is None:  # they may not claim more than is proven
            low, high = min(low, self._at), max(high, self._at)
        earlier = f" ({len(self._before)} of them in earlier runs)" if self._before and not self._by_far else ""
        return Finding(
            Outcome.INCONCLUSIVE if side is None else Outcome.PASS if side == self._operator else Outcome.FAIL,
            math.exp(float(np.median(seen))),
            math.exp(low),
            math.exp(high),
            1 - self._rules.alpha,
            "t bounds of process pairs in turns" if self._by_look else "sign e-process in turns",
            f"{sampler.pairs} process pairs, {len(seen)} rounds{earlier}, {sampler.seconds():.2g} s",
            sampler.seconds(),
            len(seen),
            [] if side else [self._why_open(seen)],
            [*self._before, *itertools.chain(*self._believed)],
        )

    def _why_open(self, seen: NDArray[np.float64]) -> str:
        """Why nothing is proven, and what would prove it."""
        rounds = sum(map(len, self._rounds))
        if self._gave_up or not all(self._believed):
            return (
                f"other programs kept running on the cores ({self._disturbed} of {rounds} rounds began beside them), which changes a speed-up: "
                f"beside them only what is a factor of {self._rules.contended:g} away is decided; run it again on a quieter machine, or wait "
                "longer for free cores (a larger --edge-budget)"
            )
        if self._odd and self._look_bounds is None:
            to_do = "run it without --edge-continue" if self._before else "give it a larger --edge-budget"
            return f"the pairs of processes differ too much to agree about the limit; {to_do}, and further pairs decide"
        undecided = f"not decided within {self._sampler.seconds():.3g} s of sampling"
        wanted, most = self._wanted(), self._sampler.pairs * ENOUGH_ROUNDS
        if self._look_bounds is None and wanted is not None and len(seen) < wanted <= most:
            # Of the rounds of this run, those that were believed.
            seconds = math.ceil(self._sampler.seconds() * wanted / (len(seen) - len(self._before)))
            return f"{undecided}; about {wanted} rounds would decide it (--edge-budget={seconds}), or a quieter machine"
        near = f"{undecided}: the truth may lie within {100 * math.expm1(self._rules.guard):.1f} % of the limit"
        if self._look_bounds is None:
            return near
        medians = [float(np.median(differences)) for differences in self._believed if differences]
        side = ">=" if float(np.mean(medians)) > self._at else "<="
        alpha = self._spent(LOOKS / len(self._rules.looks))[side]
        pairs = student.values_to_decide(medians, self._at, alpha)
        if pairs is None:
            return f"{near}, and no number of processes would tell"
        strict = max(RIGOR["strict"].looks)
        more = f" (--edge-rigor=strict starts up to {strict})" if max(self._rules.looks) < pairs <= strict else ""
        return f"{near}; about {pairs} process pairs would decide it{more}"


def median_error(values: Sequence[float]) -> float:
    """Standard error of a median: a quarter of the distance of the two values between which it lies by two standard errors of their ranks, so
    that it is large where values lie in two heaps (McKean & Schrader, "A comparison of methods for studentizing the sample median", 1984)."""
    ordered, middle = sorted(values), len(values) / 2
    ranks = math.sqrt(len(values))
    return (ordered[min(len(values) - 1, math.ceil(middle + ranks))] - ordered[max(0, math.floor(middle - ranks))]) / 4


class _Sides:
    """Evidence for both sides of a limit, each ``margin`` away from it."""

    def __init__(self, at: float, margin: float, alpha: dict[str, float]) -> None:
        self._needed = {side: -math.log(rate) for side, rate in alpha.items()}
        self._above, self._below = _Sign(at + margin), _Sign(at - margin)

    def add(self, difference: float) -> None:
        self._above.add(difference)
        self._below.add(difference)

    def proven(self) -> str | None:
        """The side whose log e-value is large enough."""
        if sequential.log_e_value(self._above.greater, self._above.less) >= self._needed[">="]:
            return ">="
        if sequential.log_e_value(self._below.less, self._below.greater) >= self._needed["<="]:
            return "<="
        return None


class _Sign:
    """Counts for one threshold; ties count for neither side."""

    def __init__(self, threshold: float) -> None:
        self._threshold, self.greater, self.less = threshold, 0, 0

    def add(self, difference: float) -> None:
        self.greater += difference > self._threshold
        self.less += difference < self._threshold
