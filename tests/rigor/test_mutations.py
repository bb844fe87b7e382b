"""Mutations: whoever breaks what the verdicts rest on is told so by the checks of the proof."""

import dataclasses
import random
from statistics import NormalDist

import numpy as np
import pytest
from scipy.special import bdtr

from pytest_edgeai.judge import ratios
from pytest_edgeai.measure import turns
from pytest_edgeai.records import Outcome
from pytest_edgeai.stats import order, sequential, spread, student
from tests.chance import promised
from tests.judge.simulated import HOGS
from tests.rigor import checks
from tests.rigor.checks import QUICK, share
from tests.rigor.machines import Deck, Workers, apart, deck, stream

RUNS = 500
RED = promised(QUICK.alpha, RUNS)
"""What the checks allow of so many runs."""


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Workers:
    return Workers(monkeypatch)


def test_sides_that_are_not_timed_in_the_same_round_are_noticed():
    unpaired = Deck(apart(stream("drift"), by=200))

    assert max(checks.at_the_limit(unpaired, RUNS)) > RED


def test_sides_that_are_not_timed_in_the_same_round_fail_identical_code_on_a_heating_machine():
    unpaired = Deck(apart(stream("drift"), by=20))

    assert share(checks.replayed(unpaired, 1 / 1.05, QUICK, RUNS), Outcome.FAIL) > RED


def test_an_order_that_is_always_the_same_is_noticed(workers, monkeypatch):
    monkeypatch.setattr(random.Random, "random", lambda _: 0.0)

    assert abs(checks.order_bias(workers, 20)) > 0.003


def test_slots_of_as_many_calls_on_both_sides_are_noticed(workers, monkeypatch):
    monkeypatch.setattr(turns, "calls_a_slot", lambda *_: (1, 1))

    findings = checks.in_turns(workers, 2.0, 2.0, HOGS, RUNS)

    assert max(share(findings, Outcome.PASS), share(findings, Outcome.FAIL)) > RED


def test_a_missing_guard_is_noticed(monkeypatch):
    sides = ratios._Sides
    monkeypatch.setattr(ratios, "_Sides", lambda at, margin, alpha: sides(at, margin - QUICK.guard, alpha))

    assert max(checks.at_the_limit(deck("quiet"), RUNS, layout=checks.VERY_FAR_APART)) > RED


def test_a_tenfold_error_rate_is_noticed():
    assert max(checks.at_the_limit(deck("quiet"), RUNS, dataclasses.replace(QUICK, alpha=0.1))) > RED


def test_bounds_of_few_pairs_that_take_them_for_many_are_noticed(monkeypatch):
    monkeypatch.setattr(student, "_quantile", lambda _, alpha: NormalDist().inv_cdf(1 - alpha))

    assert max(checks.at_the_limit(deck("drift"), 2000)) > promised(QUICK.alpha, 2000)


def test_evidence_that_counts_twice_is_noticed(monkeypatch):
    true = sequential.log_e_value
    monkeypatch.setattr(sequential, "log_e_value", lambda wins, losses: 2 * true(wins, losses))

    assert checks.ever_proven(600, QUICK.alpha) > QUICK.alpha


def test_a_test_of_fixed_size_that_is_looked_at_after_every_round_is_noticed(monkeypatch):
    monkeypatch.setattr(sequential, "log_e_value", lambda wins, losses: -np.log(bdtr(losses, wins + losses, 0.5)))

    assert checks.ever_proven(600, QUICK.alpha) > QUICK.alpha


def test_gates_of_a_run_that_each_have_the_whole_error_rate_are_noticed():
    assert checks.runs_with_a_fail(deck("quiet"), 1.0, gates=50, shared_by=1, runs=60) > promised(0.01, 60)


def test_percentiles_without_bounds_are_noticed(monkeypatch):
    monkeypatch.setattr(order, "series_bounds", lambda values, p, *_: (order.percentile(values, p),) * 2)

    assert max(checks.tail_misses(0.99, RUNS)) > RED


def test_a_spread_that_few_slow_calls_can_make_is_noticed(monkeypatch):
    def of_all_calls(values, *_):
        return (np.std(values) / np.mean(values),) * 2

    monkeypatch.setattr(spread, "rmad_bounds", of_all_calls)

    assert checks.unsteady("hogs", 100, canary=False) > promised(QUICK.alpha, 100)
