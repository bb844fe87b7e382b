"""Checks: each returns the rates that a promise is about. The tests hold them to it; the mutations show that they would notice."""

import dataclasses
import functools
import math
import random
from collections.abc import Sequence

import numpy as np

from benchmarks.rigor.replay import Deck, Replay
from pytest_edgeai.judge import ratios, scores, series
from pytest_edgeai.judge.finding import Finding
from pytest_edgeai.judge.rules import RIGOR, Rules
from pytest_edgeai.records import Outcome
from pytest_edgeai.stats import sequential
from tests.judge.simulated import Weather
from tests.rigor.machines import Calls, Tailed, Workers

QUICK = RIGOR["quick"]
LAYOUT = 0.005
"""Standard deviation of ln(speed-up) between pairs of processes of the same code, as 24 pairs on the machine of the streams showed."""
FAR_APART = 0.016
"""The same of 41 pairs of an int8 model on another machine, where `make rigor` banked them."""
VERY_FAR_APART = 0.03
"""Nearly twice that: no machine showed it yet."""
HEATING = Weather(drift=0.01)
"""The second of two slots of a second is 1 % slower than the first."""


def share(findings: Sequence[Finding], outcome: Outcome, within: float = math.inf) -> float:
    """Of the findings, those with this outcome after at most so many seconds of sampling."""
    return sum(finding.outcome is outcome and finding.seconds <= within for finding in findings) / len(findings)


def replayed(
    deck: Deck,
    limit: float,
    rules: Rules,
    runs: int,
    *,
    faster: float = 1.0,
    mirrored: bool = True,
    layout: float = LAYOUT,
) -> list[Finding]:
    """What so many comparisons with the rounds of a stream come to, each with processes of other layouts."""
    coin = random.Random(0)
    samplers = (
        Replay(deck, coin, pairs=rules.pairs, faster=faster, truth=1.0 if mirrored else None, layout=layout)
        for _ in range(runs)
    )
    return [ratios.speedup(sampler, ">=", limit, rules) for sampler in samplers]


def at_the_limit(deck: Deck, runs: int, rules: Rules = QUICK, layout: float = LAYOUT) -> tuple[float, float]:
    """Shares of PASS and of FAIL where identical code must be at least as fast."""
    findings = replayed(deck, 1.0, rules, runs, layout=layout)
    return share(findings, Outcome.PASS), share(findings, Outcome.FAIL)


def runs_with_a_fail(deck: Deck, limit: float, gates: int, shared_by: int, runs: int) -> float:
    """Share of runs of so many gates on identical code in which any fails, when the error rate is shared by ``shared_by`` gates."""
    rules = dataclasses.replace(QUICK, share=1 / shared_by)
    findings = replayed(deck, limit, rules, gates * runs)
    of_runs = [findings[begin : begin + gates] for begin in range(0, len(findings), gates)]
    return sum(share(of_run, Outcome.FAIL) > 0 for of_run in of_runs) / runs


def in_turns(
    workers: Workers,
    speedup: float,
    limit: float,
    weather: Weather,
    runs: int,
    rules: Rules = QUICK,
    call: float = 0.010,
) -> list[Finding]:
    """What comparisons by the true Turns come to, beside workers that a simulated machine stands in for."""
    found = []
    for run in range(runs):
        with workers.turns(speedup, limit, weather, seed=run, call=call) as turns:
            found.append(ratios.speedup(turns, ">=", limit, rules))
    return found


def order_bias(workers: Workers, runs: int) -> float:
    """Median of ln(estimated speed-up) of identical code that takes a second a call, on a machine that heats."""
    findings = in_turns(workers, 1.0, 1.0, HEATING, runs, dataclasses.replace(QUICK, budget=60.0), call=1.0)
    return float(np.median([math.log(finding.estimate) for finding in findings if finding.estimate]))


def ever_proven(looks: int, alpha: float) -> float:
    """Exact chance that fair coins, looked at after every one of so many, are ever taken for unfair to one side."""
    needed = -math.log(alpha)
    chances = np.array([1.0])
    """Of each number of wins so far, without a proof."""
    proven = 0.0
    for rounds in range(1, looks + 1):
        chances = (np.append(chances, 0.0) + np.append(0.0, chances)) / 2
        crossed = [sequential.log_e_value(wins, rounds - wins) >= needed for wins in range(rounds + 1)]
        proven += float(chances[crossed].sum())
        chances[crossed] = 0.0
    return proven


def tail_misses(p: float, runs: int) -> tuple[float, float]:
    """Shares of PASS and of FAIL where a percentile of calls with a heavy tail is exactly at its limit."""
    limit = Tailed.percentile(p)
    findings = [series.percentile(Tailed(run), p, "<=", limit, QUICK) for run in range(runs)]
    return share(findings, Outcome.PASS), share(findings, Outcome.FAIL)


def unsteady(condition: str, runs: int, *, canary: bool = True) -> float:
    """Share of FAIL where the calls of one constant piece of work must be steady within 20 %."""
    rules = dataclasses.replace(QUICK, budget=5.0)
    findings = [series.jitter(Calls(condition, run, canary), "<=", 0.20, rules) for run in range(runs)]
    return share(findings, Outcome.FAIL)


@dataclasses.dataclass(frozen=True)
class Flips:
    """A baseline, and a variant that is truly at 95 % of it."""

    right: float
    """Share of items that the baseline has right."""
    gains: float
    """Share of items that only the variant has right."""

    def counts(self, items: int, runs: int) -> list[tuple[int, int, int, int]]:
        """Items that both, only the variant, only the baseline, and none have right, in so many draws."""
        lost = 0.05 * self.right + self.gains
        chances = [self.right - lost, self.gains, lost, 1 - self.right - self.gains]
        return [tuple(map(int, row)) for row in np.random.default_rng(items).multinomial(items, chances, runs)]


def accuracy_passes(flips: Flips, items: int, runs: int) -> float:
    """Share of PASS of a variant that is exactly at the limit of 95 % of the reference's accuracy."""

    @functools.cache
    def passes(both: int, better: int, worse: int, neither: int) -> bool:
        variant = np.repeat([1.0, 1.0, 0.0, 0.0], [both, better, worse, neither])
        reference = np.repeat([1.0, 0.0, 1.0, 0.0], [both, better, worse, neither])
        return scores.accuracy_ratio(variant, reference, ">=", 0.95, QUICK).outcome is Outcome.PASS

    return sum(passes(*table) for table in flips.counts(items, runs)) / runs
