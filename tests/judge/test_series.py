"""Percentiles and jitter of calls alone: what is proven, how many calls it takes, and when the machine itself is to blame."""

import dataclasses
import math
import re
from statistics import NormalDist

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.signal import lfilter
from scipy.stats import norm

from pytest_edgeai.judge.finding import Finding
from pytest_edgeai.judge.rules import RIGOR
from pytest_edgeai.judge.series import MIN_SERIES, jitter, percentile, throughput
from pytest_edgeai.records import Outcome
from pytest_edgeai.stats import order, spread
from pytest_edgeai.units import ms
from tests.chance import promised
from tests.judge.simulated import QUIET, Recorded, Series, Weather

PASS, FAIL, INCONCLUSIVE = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE
QUICK = dataclasses.replace(RIGOR["quick"], guard=0.015)
"""The numbers below are for this guard."""
ENDLESS = dataclasses.replace(QUICK, budget=1e9)
NOISY = Weather(noise=0.1)
CALL = 10 * ms
PERCENTILES = [0.5, 0.9, 0.95, 0.99]
FIRST = {0.5: 300, 0.9: 300, 0.95: 300, 0.99: 924, 0.999: 9271}
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


@pytest.mark.parametrize("p", PERCENTILES)
@pytest.mark.parametrize(
    ("operator", "factor", "outcome"), [("<=", 1.3, PASS), ("<=", 0.8, FAIL), (">=", 0.8, PASS), (">=", 1.3, FAIL)]
)
def test_a_percentile_that_is_clearly_on_one_side_is_proven_by_the_first_look(p, operator, factor, outcome):
    finding = percentile(Series(NOISY), p, operator, factor * true_percentile(p), QUICK)

    assert finding.outcome is outcome
    assert finding.samples == FIRST[p]
    assert finding.low < true_percentile(p) < finding.high
    assert finding.confidence == 0.99
    assert finding.method == f"order statistics of p{100 * p:g}"
    assert finding.notes == []


@pytest.mark.parametrize("p", [0.5, 0.9])
def test_a_percentile_exactly_at_the_limit_stays_open_after_three_doublings(p):
    sampler = Series(NOISY, seed=4)

    finding = percentile(sampler, p, "<=", true_percentile(p), ENDLESS)

    assert finding.outcome is INCONCLUSIVE
    assert finding.samples == 8 * FIRST[p] == sum(sampler.asked)
    assert f"of {8 * FIRST[p]} calls" in finding.notes[0]
    assert "the truth" in finding.notes[0]
    assert "--edge-budget" not in finding.notes[0]


@pytest.mark.parametrize("p", FIRST)
def test_the_first_look_takes_enough_calls_for_an_upper_bound_with_two_calls_beyond_it(p):
    confidence = 1 - QUICK.alpha / 2

    needed = order.needed_n(p, confidence, exceedances=2)

    assert max(needed, MIN_SERIES) == FIRST[p]


def test_calls_that_nearly_meet_the_limit_are_proven_by_a_later_look():
    finding = percentile(Series(NOISY, seed=1), 0.5, "<=", 1.022 * true_percentile(0.5), ENDLESS)

    assert finding.outcome is PASS
    assert finding.samples > MIN_SERIES


SHAPES = {
    "lognormal": lambda z: np.exp(0.2 * z),
    "heavy tail": lambda z: 1 + 0.1 * ((1 - norm.cdf(z)) ** (-1 / 1.5) - 1),
    "two peaks": lambda z: np.where(z < norm.ppf(0.6), 1 + 0.02 * z, 1.5 + 0.05 * z),
}
"""Latencies from standard normal numbers; all of them grow with these."""


def walk(rng: np.random.Generator, n: int, correlation: float) -> np.ndarray:
    """Standard normal numbers, each correlated with its neighbour."""
    return lfilter([1.0], [1.0, -correlation], rng.standard_normal(n + 100))[100:] * math.sqrt(1 - correlation**2)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.7, 0.9])
@pytest.mark.parametrize(("p", "shape"), [(0.5, "lognormal"), (0.5, "two peaks"), (0.95, "heavy tail")])
def test_a_percentile_exactly_at_the_limit_is_proven_to_no_side(p, shape, correlation):
    runs, rng, truth = 300, np.random.default_rng(2), float(SHAPES[shape](np.array(norm.ppf(p))))
    samplers = (Recorded(SHAPES[shape](walk(rng, 2400, correlation))) for _ in range(runs))

    # Not in seconds, so without the guard, which would cover mistakes of the bounds.
    outcomes = [percentile(sampler, p, "<=", truth, ENDLESS, "").outcome for sampler in samplers]

    assert outcomes.count(PASS) / runs <= promised(QUICK.alpha, runs)
    assert outcomes.count(FAIL) / runs <= promised(QUICK.alpha, runs)


@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_processes_that_differ_by_their_layout_prove_nothing_at_the_limit(correlation):
    runs, rng = 300, np.random.default_rng(3)
    layouts = np.exp(rng.normal(0, 0.005, runs))
    samplers = (Recorded(layout * np.exp(0.01 * walk(rng, 2400, correlation))) for layout in layouts)

    outcomes = [percentile(sampler, 0.5, "<=", 1.0, ENDLESS).outcome for sampler in samplers]

    assert outcomes.count(PASS) / runs <= promised(QUICK.alpha, runs)
    assert outcomes.count(FAIL) / runs <= promised(QUICK.alpha, runs)


def test_the_bounds_of_one_process_alone_would_pass_and_fail_by_its_layout():
    """So that the test before is known to be able to fail."""
    rng, bare = np.random.default_rng(3), dataclasses.replace(ENDLESS, guard=0.0)
    samplers = [Recorded(layout * np.exp(0.01 * walk(rng, 2400, 0))) for layout in np.exp(rng.normal(0, 0.005, 100))]

    outcomes = [percentile(sampler, 0.5, "<=", 1.0, bare).outcome for sampler in samplers]

    assert min(outcomes.count(PASS), outcomes.count(FAIL)) > 30


def test_bounds_that_took_neighbours_for_independent_would_break_the_error_rate():
    """So that the tests before are known to be able to fail."""
    rng, confidence = np.random.default_rng(4), 1 - QUICK.alpha / 2
    calls = [walk(rng, 600, 0.7) for _ in range(300)]

    def missed(alike) -> float:
        ends = ((order.lower_bound(v, 0.5, confidence, a), order.upper_bound(v, 0.5, confidence, a)) for v, a in alike)
        return float(np.mean([not low <= 0 <= high for low, high in ends]))

    assert missed((values, 1.0) for values in calls) > 0.1
    assert missed((values, order.inefficiency(values, 0.5)) for values in calls) < 0.03


def test_an_autocorrelated_series_widens_the_bounds():
    independent = percentile(Series(NOISY, seed=2), 0.5, "<=", CALL, ENDLESS)
    correlated = percentile(Series(dataclasses.replace(NOISY, correlation=0.8), seed=2), 0.5, "<=", CALL, ENDLESS)

    assert correlated.samples == independent.samples
    assert correlated.high - correlated.low > 1.5 * (independent.high - independent.low)


@pytest.mark.parametrize(("operator", "share_of_low", "share_of_high"), [("<=", 0.02, 1), (">=", 1, 0.02)])
def test_the_side_that_fails_has_its_share_of_the_runs_error_rate(operator, share_of_low, share_of_high):
    rules = dataclasses.replace(QUICK, share=0.02, guard=0.0)
    finding = percentile(Series(NOISY, seed=3), 0.9, operator, 1.3 * true_percentile(0.9), rules)

    values = Series(NOISY, seed=3).more(300)
    alike = order.inefficiency(values, 0.9)
    assert finding.low == order.lower_bound(values, 0.9, 1 - 0.005 * share_of_low, alike)
    assert finding.high == order.upper_bound(values, 0.9, 1 - 0.005 * share_of_high, alike)
    assert finding.estimate == np.quantile(values, 0.9)


@pytest.mark.parametrize(("limit", "outcome"), [(1.08, PASS), (1.01, INCONCLUSIVE), (0.99, INCONCLUSIVE), (0.92, FAIL)])
def test_a_limit_within_the_guard_is_not_proven_by_one_process_however_steady(limit, outcome):
    finding = percentile(Recorded(np.full(2400, 1.0)), 0.5, "<=", limit, ENDLESS)

    assert finding.outcome is outcome
    assert (finding.low, finding.high) == pytest.approx((0.985, 1.015))


def test_what_is_no_time_has_no_guard():
    assert percentile(Recorded(np.full(300, 64.0)), 0.5, "<=", 64.0, QUICK, "bytes").outcome is PASS


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
    assert finding.method == "rMAD, order statistics of deviations"


def test_jitter_at_the_limit_stays_open():
    finding = jitter(Series(NOISY, seed=5), "<=", true_jitter(NOISY), ENDLESS)

    assert finding.outcome is INCONCLUSIVE
    assert finding.samples == 2400
    assert "the limit 9.99 % lies within the bounds" in finding.notes[0]


def test_each_bound_of_the_jitter_has_its_share_of_the_error_rate():
    finding = jitter(Series(NOISY, seed=6), "<=", 0.3, dataclasses.replace(QUICK, share=0.1))

    values = Series(NOISY, seed=6).more(300)
    assert (finding.low, finding.high) == spread.rmad_bounds(values, 1 - 0.0005, 1 - 0.005)
    assert finding.confidence == 0.99
    assert finding.estimate == spread.rmad(values)


@pytest.mark.parametrize("correlation", [0.0, 0.7])
@pytest.mark.parametrize("shape", SHAPES)
def test_jitter_exactly_at_the_limit_is_proven_to_no_side(shape, correlation):
    runs, rng, evenly = 100, np.random.default_rng(8), norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    limit = spread.rmad(SHAPES[shape](evenly))
    samplers = (Recorded(SHAPES[shape](walk(rng, 1200, correlation))) for _ in range(runs))

    rules = dataclasses.replace(QUICK, budget=12)
    outcomes = [jitter(sampler, "<=", limit, rules).outcome for sampler in samplers]

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


def test_steady_code_beside_neighbours_does_not_fail_by_its_jitter():
    hogs, runs = Weather(noise=0.02, hogs=True), 40
    samplers = (Series(hogs, seed=2 * run, canary=hogs) for run in range(runs))

    outcomes = [jitter(sampler, "<=", 0.05, QUICK).outcome for sampler in samplers]

    assert outcomes.count(FAIL) / runs <= promised(QUICK.alpha, runs)
    assert outcomes.count(PASS) > 0


def decided(sampler: Series, p: float, budget: float) -> Finding:
    """At a limit that is too near to the truth for any budget."""
    return percentile(sampler, p, "<=", CALL, dataclasses.replace(QUICK, budget=budget))


@pytest.mark.parametrize(("budget", "calls"), [(4, 300), (7, 600), (13, 1200), (1000, 2400)])
def test_a_series_is_doubled_only_while_the_budget_allows_it(budget, calls):
    sampler = Series(QUIET, seed=4)

    finding = decided(sampler, 0.5, budget)

    assert (finding.outcome, finding.samples) == (INCONCLUSIVE, calls)
    assert sampler.seconds() <= budget


def test_the_budget_is_doubled_once_when_one_more_look_would_probably_decide():
    rng = np.random.default_rng(11)
    values = np.exp(0.3 * rng.standard_normal(2400))

    near, nearer = (
        percentile(Recorded(values), 0.5, "<=", limit, dataclasses.replace(QUICK, budget=4)) for limit in (1.09, 1.06)
    )

    assert (near.outcome, near.samples) == (PASS, 600)
    assert near.seconds <= 2 * 4
    assert (nearer.outcome, nearer.samples) == (INCONCLUSIVE, 300)


def test_an_undecided_series_names_its_bounds_its_calls_and_what_would_decide():
    values = np.exp(0.3 * np.random.default_rng(11).standard_normal(2400))

    note = percentile(Recorded(values), 0.5, "<=", 1.07, dataclasses.replace(QUICK, budget=4)).notes[0]

    told = re.fullmatch(
        r"the limit 1.07 s lies within the bounds (\d+) ms to 1.11 s of 300 calls; about (\d+) calls would decide it "
        r"\(--edge-budget=(\d+)\), or a quieter machine",
        note,
    )
    assert told, note
    assert 600 < int(told[2]) <= 2400
    assert 0.01 * int(told[2]) < int(told[3]) < 0.02 * int(told[2])


def test_a_truth_within_the_guard_is_told_so():
    note = decided(Series(QUIET, seed=4), 0.5, 1000).notes[0]

    assert note.endswith(
        "of 2400 calls, and the truth seems nearer to it than two processes of the same code are to each other"
    )


def test_calls_that_are_alike_give_no_bound_and_the_note_says_how_alike_they_are():
    values = np.exp(0.1 * walk(np.random.default_rng(5), 4000, 0.95))

    note = percentile(Recorded(values), 0.95, "<=", 2.0, dataclasses.replace(QUICK, budget=5)).notes[0]

    assert re.match(r"300 calls, of which \d+ in a row say no more than one, give no bound; ", note), note


def test_calls_that_are_too_much_alike_for_any_number_are_not_called_near_to_the_limit():
    machine = Series(Weather(noise=0.1, correlation=0.999), seed=2)

    note = percentile(machine, 0.95, "<=", 20000 * CALL, ENDLESS).notes[0]

    assert note.endswith("no more than 2400 are made: run it on a quieter machine")


@pytest.mark.parametrize("call", [0.1, 1.0, 30.0])
def test_what_the_budget_can_not_hold_is_refused_before_it_is_spent(call):
    sampler = Series(QUIET, call=call)

    finding = percentile(sampler, 0.99, "<=", 1.5 * call, QUICK)

    assert finding.outcome is INCONCLUSIVE
    assert sampler.seconds() <= (3.3 if call < 1 else QUICK.budget + 1.1 * call)
    assert re.match(
        r"it takes at least 528 calls, about \d+(\.\d)? s, and only \d+ fit into the budget of 20 s: --edge-budget=\d+",
        finding.notes[0],
    )


def test_p999_needs_thousands_of_calls_and_says_so_after_thirty():
    finding = percentile(Series(QUIET, call=0.01), 0.999, "<=", 0.02, QUICK)

    assert (finding.outcome, finding.samples) == (INCONCLUSIVE, 30)
    assert "it takes at least 5296 calls, about 5" in finding.notes[0]


def test_p999_of_fast_calls_is_proven():
    values = np.exp(0.1 * np.random.default_rng(1).standard_normal(20_000))

    finding = percentile(Recorded(values, call=0.001), 0.999, "<=", 1.6, QUICK)

    assert (finding.outcome, finding.samples) == (PASS, FIRST[0.999])
    assert finding.method == "order statistics of p99.9"


@pytest.mark.parametrize(("call", "calls"), [(0.1, 50), (1.0, 21)])
def test_too_few_calls_to_pass_may_be_enough_to_fail(call, calls):
    finding = percentile(Series(QUIET, call=call), 0.99, "<=", 0.5 * call, QUICK)

    assert finding.outcome is FAIL
    assert finding.samples <= calls


def test_the_budget_that_is_named_for_a_slow_model_is_enough():
    note = percentile(Series(QUIET, call=0.1), 0.99, "<=", 0.15, QUICK).notes[0]

    budget = float(note.rpartition("=")[2])
    finding = percentile(Series(QUIET, call=0.1), 0.99, "<=", 0.15, dataclasses.replace(QUICK, budget=budget))
    assert finding.outcome is PASS
    assert finding.samples == FIRST[0.99]


def test_few_calls_of_a_slow_model_may_still_prove_its_median():
    finding = percentile(Series(QUIET, call=0.5), 0.5, "<=", 0.8, QUICK)

    assert finding.outcome is PASS
    assert 30 <= finding.samples <= 41


def test_too_few_calls_for_jitter_prove_nothing():
    finding = jitter(Series(QUIET, call=0.5), "<=", 0.9, QUICK)

    assert finding.outcome is INCONCLUSIVE
    assert (finding.low, finding.high) == (-math.inf, math.inf)
    assert "it takes at least 300 calls" in finding.notes[0]


def test_a_finding_says_what_was_spent():
    sampler = Series(NOISY)

    finding = percentile(sampler, 0.5, "<=", 20 * ms, QUICK)

    assert finding.spent == f"300 calls, {sampler.seconds():.2g} s"
    assert finding.seconds == sampler.seconds()


WARMING = np.exp(0.15 * np.exp(-np.arange(2400) / 200) + 0.002 * np.random.default_rng(9).standard_normal(2400))
"""Calls that get faster by 15 %."""


@pytest.mark.parametrize(
    ("values", "limit", "outcome"),
    [
        (WARMING, 0.95, INCONCLUSIVE),  # a FAIL of calls that get faster
        (WARMING, 1.30, PASS),
        (1 / WARMING, 1.05, INCONCLUSIVE),  # a PASS of calls that get slower
        (1 / WARMING, 0.80, FAIL),
        (1 / WARMING, 5.00, PASS),  # no trend leads so far
        (WARMING, 0.20, FAIL),
    ],
)
def test_a_series_that_trends_proves_nothing_that_the_trend_may_undo(values, limit, outcome):
    finding = percentile(Recorded(values), 0.5, "<=", limit, QUICK)

    assert finding.outcome is outcome
    assert any("it was still getting" in note for note in finding.notes) == (outcome is INCONCLUSIVE)


@pytest.mark.parametrize(("values", "limit", "outcome"), [(1 / WARMING, 1.05, INCONCLUSIVE), (1 / WARMING, 5.00, PASS)])
def test_a_tail_that_trends_proves_what_no_trend_leads_to(values, limit, outcome):
    assert percentile(Recorded(values), 0.95, "<=", limit, QUICK).outcome is outcome


@pytest.mark.parametrize(("limit", "outcome"), [(0.9, INCONCLUSIVE), (1.1, PASS), (0.2, FAIL)])
def test_a_slow_machine_is_held_against_nobody_and_named_with_its_reasons(limit, outcome):
    facts = {
        "canary_best_s": 0.71e-3, "wall_s": 10.0, "cores": 2.0, "steal_s": 2.4, "cpu_pressure_s": 4.0,
        "throttled_s": 1.0, "thermal_throttles": 3.0, "mhz_median": 1500.0, "mhz_most": 3000.0, "involuntary_switches": 12.0,
    }  # fmt: skip

    finding = percentile(Recorded(np.full(2400, 1.0), noise=facts), 0.5, "<=", limit, QUICK)

    told = (
        "the machine ran at 71 % of its own speed, by a constant piece of work (12 % of the cores' time taken by the hypervisor, "
        "tasks waited for a core in 40 % of the time, throttled by the container's limit for 10 % of the time, throttled 3 times by heat, "
        "cores at 50 % of their highest frequency, 12 times taken off its core); run it again on a quieter one"
    )
    assert finding.outcome is outcome
    assert finding.notes == ([told] if outcome is INCONCLUSIVE else [])


def test_a_machine_at_its_own_speed_is_held_against_the_variant():
    finding = percentile(Recorded(np.full(2400, 1.0), noise={"canary_best_s": 0.95e-3}), 0.5, "<=", 0.9, QUICK)

    assert finding.outcome is FAIL


@pytest.mark.parametrize(("limit", "outcome"), [(80.0, PASS), (120.0, FAIL)])
def test_throughput_is_proven_by_few_blocks(limit, outcome):
    rates = 100 * np.exp(0.02 * np.random.default_rng(2).standard_normal(500))

    finding = throughput(Recorded(rates, call=0.1), ">=", limit, QUICK)

    assert finding.outcome is outcome
    assert finding.samples <= 30


def test_blocks_that_the_budget_can_not_hold_are_refused():
    finding = throughput(Recorded(np.full(500, 0.1), call=10.0), ">=", 0.05, QUICK)

    assert finding.outcome is INCONCLUSIVE
    assert "it takes at least 8 blocks, about 80 s, and only 2 fit" in finding.notes[0]


def test_a_throughput_that_is_far_from_its_limit_is_decided_however_alike_its_blocks_are():
    """Twenty-four blocks that wander slowly are worth three or four, too few for a bound."""
    rng = np.random.default_rng(4)
    rates = 50_000 * np.exp(np.cumsum(rng.normal(0, 0.05, 24)))

    assert throughput(Recorded(rates), ">=", 1, QUICK).outcome is PASS
    assert throughput(Recorded(rates), ">=", 1e7, QUICK).outcome is FAIL
