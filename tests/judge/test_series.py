"""Percentiles and jitter of calls alone: what is proven, how many calls it takes, and when the machine itself is to blame."""

import dataclasses
import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import bdtr
from scipy.stats import norm

from pytest_edgeai.judge.finding import Finding
from pytest_edgeai.judge.rules import RIGOR
from pytest_edgeai.judge.series import LOOKS, MIN_SERIES, jitter, percentile
from pytest_edgeai.records import Outcome
from pytest_edgeai.stats import order, spread
from pytest_edgeai.units import ms
from tests.judge.simulated import QUIET, Series, Weather

PASS, FAIL, INCONCLUSIVE = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE
QUICK = RIGOR["quick"]
ENDLESS = dataclasses.replace(QUICK, budget=1e9)
NOISY = Weather(noise=0.1)
CALL = 10 * ms
PERCENTILES = [0.5, 0.9, 0.95, 0.99]
FIRST = {0.5: 300, 0.9: 300, 0.95: 300, 0.99: 974}
"""Calls at the first look."""


def true_percentile(p: float, weather: Weather = NOISY) -> float:
    """Of a lognormal distribution with the median ``CALL``."""
    return CALL * math.exp(weather.noise * NormalDist().inv_cdf(p))


def true_jitter(weather: Weather) -> float:
    """1.4826 times the median absolute deviation of a lognormal distribution, over its median."""

    def beyond(deviation: float) -> float:
        above, below = math.log(1 + deviation) / weather.noise, math.log(1 - deviation) / weather.noise
        return norm.cdf(above) - norm.cdf(below) - 0.5

    return 1.4826 * brentq(beyond, 1e-9, 0.999)


def promised(alpha: float, runs: int) -> float:
    """The largest share of false verdicts that chance makes of a true rate of ``alpha`` in all but one of a thousand tests."""
    return next(k for k in range(runs) if bdtr(k, runs, alpha) > 0.999) / runs


@pytest.mark.parametrize("p", PERCENTILES)
@pytest.mark.parametrize(
    ("operator", "factor", "outcome"), [("<=", 1.3, PASS), ("<=", 0.8, FAIL), (">=", 0.8, PASS), (">=", 1.3, FAIL)]
)
def test_a_percentile_that_is_clearly_on_one_side_is_proven_by_the_first_look(p, operator, factor, outcome):
    finding = percentile(Series(NOISY), p, operator, factor * true_percentile(p), QUICK)

    assert finding.outcome is outcome
    assert finding.samples == FIRST[p]
    assert finding.low < true_percentile(p) < finding.high
    assert finding.method == f"order statistics of p{100 * p:g}"
    assert finding.notes == []


@pytest.mark.parametrize("p", PERCENTILES)
def test_a_percentile_exactly_at_the_limit_stays_open_after_two_doublings(p):
    sampler = Series(NOISY, seed=4)

    finding = percentile(sampler, p, "<=", true_percentile(p), ENDLESS)

    assert finding.outcome is INCONCLUSIVE
    assert finding.samples == 4 * FIRST[p] == sum(sampler.asked)
    assert f"of {4 * FIRST[p]} calls, the most that are made" in finding.notes[0]


@pytest.mark.parametrize("p", PERCENTILES)
def test_the_first_look_takes_enough_calls_for_an_upper_bound_with_two_calls_beyond_it(p):
    confidence = 1 - QUICK.alpha / LOOKS

    needed = order.needed_n(p, confidence, exceedances=2)

    assert max(needed, MIN_SERIES) == FIRST[p]


def test_calls_that_nearly_meet_the_limit_are_proven_by_a_later_look():
    finding = percentile(Series(NOISY, seed=1), 0.5, "<=", 1.015 * true_percentile(0.5), ENDLESS)

    assert finding.outcome is PASS
    assert finding.samples == 600


@pytest.mark.parametrize("correlation", [0.0, 0.3], ids=["independent", "neighbours alike"])
@pytest.mark.parametrize("p", PERCENTILES)
def test_a_percentile_exactly_at_the_limit_is_proven_to_no_side(p, correlation):
    runs, weather = 500, dataclasses.replace(NOISY, correlation=correlation)
    samplers = (Series(weather, seed=2 * run, canary=None) for run in range(runs))

    outcomes = [percentile(sampler, p, "<=", true_percentile(p), ENDLESS).outcome for sampler in samplers]

    assert outcomes.count(PASS) / runs <= promised(QUICK.alpha, runs)
    assert outcomes.count(FAIL) / runs <= promised(QUICK.alpha, runs)


def test_bounds_that_took_neighbours_for_independent_would_break_the_error_rate():
    """So that the test before is known to be able to fail: calls are thinned first."""
    runs, weather, confidence = 300, dataclasses.replace(NOISY, correlation=0.6), 1 - QUICK.alpha / LOOKS
    calls = [Series(weather, seed=run, canary=None).more(600) for run in range(runs)]

    def missed(bounds: list[tuple[float, float]]) -> float:
        return float(np.mean([not low <= CALL <= high for low, high in bounds]))

    def bounds_of(values: np.ndarray) -> tuple[float, float]:
        return order.lower_bound(values, 0.5, confidence), order.upper_bound(values, 0.5, confidence)

    assert missed([bounds_of(values) for values in calls]) > 0.08
    assert missed([bounds_of(order.thin(values)) for values in calls]) < 0.03


def test_an_autocorrelated_series_widens_the_bounds():
    independent = percentile(Series(NOISY, seed=2), 0.5, "<=", CALL, ENDLESS)
    correlated = percentile(Series(dataclasses.replace(NOISY, correlation=0.8), seed=2), 0.5, "<=", CALL, ENDLESS)

    assert correlated.samples == independent.samples
    assert correlated.high - correlated.low > 1.5 * (independent.high - independent.low)


def test_each_look_has_its_share_of_the_error_rate():
    finding = percentile(Series(NOISY, seed=3), 0.9, "<=", 1.3 * true_percentile(0.9), QUICK)

    values = Series(NOISY, seed=3).more(300)
    assert finding.confidence == 0.99
    assert finding.high == order.upper_bound(order.thin(values), 0.9, 1 - 0.01 / 3)
    assert finding.low == order.lower_bound(order.thin(values), 0.9, 1 - 0.01 / 3)
    assert finding.estimate == np.quantile(values, 0.9)


@pytest.mark.parametrize(
    ("weather", "limit", "outcome"),
    [
        (Weather(noise=0.02), 0.20, PASS),
        (Weather(noise=0.50), 0.20, FAIL),
        (Weather(noise=0.10, correlation=0.5), 0.20, PASS),
        (Weather(noise=0.50, correlation=0.5), 0.20, FAIL),
    ],
)
def test_jitter_that_is_clearly_on_one_side_is_proven_by_the_first_look(weather, limit, outcome):
    finding = jitter(Series(weather), "<=", limit, QUICK)

    assert finding.outcome is outcome
    assert finding.samples == MIN_SERIES
    assert finding.low < true_jitter(weather) < finding.high
    assert finding.method == "rMAD, moving-block bootstrap"


def test_jitter_at_the_limit_stays_open():
    finding = jitter(Series(NOISY, seed=5), "<=", true_jitter(NOISY), ENDLESS)

    assert finding.outcome is INCONCLUSIVE
    assert finding.samples == 1200
    assert "the limit 9.99 % lies within the bounds" in finding.notes[0]


def test_each_bound_of_the_jitter_has_its_share_of_the_error_rate():
    finding = jitter(Series(NOISY, seed=6), "<=", 0.3, QUICK)

    values = Series(NOISY, seed=6).more(300)
    one_sided = 1 - 0.01 / 3
    assert (finding.low, finding.high) == spread.rmad_bounds(values, one_sided, np.random.default_rng(0))
    assert finding.confidence == 0.99
    assert finding.estimate == spread.rmad(values)


def test_jitter_exactly_at_the_limit_is_proven_to_no_side():
    runs, limit = 40, true_jitter(NOISY)
    samplers = (Series(NOISY, seed=2 * run, canary=None) for run in range(runs))

    outcomes = [jitter(sampler, "<=", limit, dataclasses.replace(QUICK, budget=5)).outcome for sampler in samplers]

    assert outcomes.count(PASS) / runs <= promised(QUICK.alpha, runs)
    assert outcomes.count(FAIL) / runs <= promised(QUICK.alpha, runs)


def test_the_same_calls_give_the_same_jitter():
    one, other = (jitter(Series(NOISY, seed=7), "<=", 0.11, QUICK) for _ in range(2))

    assert one == other


UNSTEADY = {
    "a constant piece of work varied by": Weather(noise=0.3),
    "in one of a hundred runs": Weather(noise=0.01, hogs=True),
}
KINDS = {"percentile": lambda *rest: percentile(rest[0], 0.95, *rest[1:]), "jitter": jitter}


@pytest.mark.parametrize(("words", "canary"), UNSTEADY.items(), ids=["spread", "tail"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("operator", "beyond", "steady", "unsteady"),
    [
        ("<=", "below", FAIL, INCONCLUSIVE),
        ("<=", "above", PASS, PASS),
        (">=", "below", PASS, INCONCLUSIVE),
        (">=", "above", FAIL, FAIL),
    ],
)
def test_an_unsteady_machine_is_no_proof_against_a_variant_but_does_not_take_from_one_for_it(
    kind, operator, beyond, steady, unsteady, words, canary
):
    truth = {"percentile": true_percentile(0.95), "jitter": true_jitter(NOISY)}[kind]
    limit = truth * {"below": 0.7, "above": 1.5}[beyond]

    on_a_steady_one = KINDS[kind](Series(NOISY, canary=QUIET), operator, limit, QUICK)
    on_an_unsteady_one = KINDS[kind](Series(NOISY, canary=canary), operator, limit, QUICK)

    assert on_a_steady_one.outcome is steady
    assert on_an_unsteady_one.outcome is unsteady
    assert any(words in note for note in on_an_unsteady_one.notes) == (unsteady is INCONCLUSIVE)


def test_without_a_canary_nothing_is_held_against_the_machine():
    finding = percentile(Series(NOISY, canary=None), 0.95, "<=", 0.7 * true_percentile(0.95), QUICK)

    assert finding.outcome is FAIL


def test_what_neighbours_did_to_both_is_not_a_proof_against_the_variant():
    hogs = Weather(noise=0.02, hogs=True)

    finding = percentile(Series(hogs, seed=8, canary=hogs), 0.95, "<=", 10.5 * ms, QUICK)

    assert finding.outcome is INCONCLUSIVE
    assert "the machine itself was not steady" in finding.notes[0]
    assert "quieter" in finding.notes[0]


def decided(sampler: Series, p: float, budget: float) -> Finding:
    """At a limit that is too near to the truth for any budget."""
    return percentile(sampler, p, "<=", CALL, dataclasses.replace(QUICK, budget=budget))


@pytest.mark.parametrize(("budget", "calls"), [(4, 300), (7, 600), (13, 1200), (1000, 1200)])
def test_a_series_is_doubled_only_while_the_budget_allows_it(budget, calls):
    sampler = Series(QUIET, seed=4)

    finding = decided(sampler, 0.5, budget)

    assert (finding.outcome, finding.samples) == (INCONCLUSIVE, calls)
    assert sampler.seconds() <= budget


def test_a_larger_budget_is_named_only_where_it_would_help():
    little = decided(Series(QUIET, seed=4), 0.5, 4)
    all_of_it = decided(Series(QUIET, seed=4), 0.5, 1000)

    assert little.notes == ["the limit 10 ms lies within the bounds; a larger --edge-budget narrows them"]
    assert "--edge-budget" not in all_of_it.notes[0]


@pytest.mark.parametrize("call", [0.1, 1.0, 30.0])
def test_a_slow_model_is_not_measured_beyond_the_budget(call):
    sampler = Series(QUIET, call=call)

    finding = percentile(sampler, 0.99, "<=", 1.5 * call, QUICK)

    assert finding.outcome is INCONCLUSIVE
    assert sampler.seconds() <= QUICK.budget + 1.1 * call
    assert f"only {finding.samples} calls fit into the budget, and it takes 974: --edge-budget=" in finding.notes[0]


def test_the_budget_that_is_named_for_a_slow_model_is_enough():
    note = percentile(Series(QUIET, call=0.1), 0.99, "<=", 0.15, QUICK).notes[0]

    budget = float(note.rpartition("=")[2])
    finding = percentile(Series(QUIET, call=0.1), 0.99, "<=", 0.15, dataclasses.replace(QUICK, budget=budget * 1.05))
    assert finding.outcome is PASS
    assert finding.samples == 974


def test_few_calls_of_a_slow_model_may_still_prove_its_median():
    finding = percentile(Series(QUIET, call=0.5), 0.5, "<=", 0.8, QUICK)

    assert finding.outcome is PASS
    assert 30 <= finding.samples <= 41


def test_too_few_calls_for_jitter_prove_nothing():
    finding = jitter(Series(QUIET, call=0.5), "<=", 0.9, QUICK)

    assert finding.outcome is INCONCLUSIVE
    assert (finding.low, finding.high) == (-math.inf, math.inf)
    assert "it takes 300" in finding.notes[0]


def test_a_finding_says_what_was_spent():
    sampler = Series(NOISY)

    finding = percentile(sampler, 0.5, "<=", 20 * ms, QUICK)

    assert finding.spent == f"300 calls, {sampler.seconds():.2g} s"
    assert finding.seconds == sampler.seconds()
