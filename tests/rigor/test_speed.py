"""Speed: the promised rates of verdicts in turns, by thousands of runs a row with the rounds of real work, on a quiet, a busy and a heating machine."""

import statistics

import pytest

from benchmarks.rigor.rows import ROWS
from pytest_edgeai.judge.rules import RIGOR
from pytest_edgeai.records import Outcome
from tests.chance import promised
from tests.judge.simulated import HOGS, QUIET
from tests.rigor.checks import (
    FAR_APART,
    QUICK,
    VERY_FAR_APART,
    at_the_limit,
    ever_proven,
    in_turns,
    order_bias,
    replayed,
    runs_with_a_fail,
    share,
)
from tests.rigor.machines import Workers, deck

RUNS = 10_000
LONG_RUNS = 2500
"""Of comparisons near their limit, which take a hundred times as long; `make rigor` makes ten thousand."""
CONDITIONS = ("quiet", "hogs", "drift")
WORK = {"plus10": "B10", "plus5": "B5"}
"""Arm of the rows -> of the streams, where it does more work than the baseline's."""
TRUE = {"half": 2.0, "fifths": 2.5}
"""Arm of the rows -> speed-up, in slots of equal length: so the rounds are those of identical work."""
TESTED = {
    "identical": CONDITIONS,
    "at-limit-scaled": CONDITIONS,
    **dict.fromkeys(("plus10", "plus5", "plus3-scaled", "fifths", "above-two", "below-two"), ("quiet", "hogs")),
}


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Workers:
    return Workers(monkeypatch)


each_row = pytest.mark.parametrize(
    ("name", "condition"), [(name, condition) for name, conditions in TESTED.items() for condition in conditions]
)


@each_row
def test_where_processes_differ_three_times_as_much_fewer_are_decided_and_no_more_are_wrong(name, condition):
    row = ROWS[name]
    work, true = WORK.get(row.arm, "A1"), TRUE.get(row.arm, 1.0) * row.faster

    findings = replayed(
        deck(condition, work), row.limit, row.rules, 400, faster=true, mirrored=work == "A1", layout=FAR_APART
    )

    for target in (target for target in row.targets if condition in target.limits):
        rate = share(findings, Outcome(target.outcome), target.within)
        assert rate <= target.limits[condition] if target.at_most else rate >= 0.90, target.told


@each_row
def test_verdicts_and_bounds_are_wrong_as_rarely_and_decided_as_often_as_promised(name, condition, record_property):
    row = ROWS[name]
    runs = LONG_RUNS if "limit" in name or row.rigor == "strict" else RUNS
    work, true = WORK.get(row.arm, "A1"), TRUE.get(row.arm, 1.0) * row.faster

    findings = replayed(deck(condition, work), row.limit, row.rules, runs, faster=true, mirrored=work == "A1")

    for target in (target for target in row.targets if condition in target.limits):
        rate = share(findings, Outcome(target.outcome), target.within)
        record_property(target.told, rate)
        assert rate <= target.limits[condition] if target.at_most else rate >= target.limits[condition], target.told
    assert statistics.median(finding.samples for finding in findings) <= row.rounds
    if work == "A1":  # else the truth is not known exactly
        assert statistics.mean(finding.low > true for finding in findings) <= QUICK.alpha
        assert statistics.mean(finding.high < true for finding in findings) <= QUICK.alpha


@pytest.mark.parametrize("condition", CONDITIONS)
def test_of_runs_of_50_gates_on_identical_code_hardly_any_has_a_false_fail(condition):
    assert runs_with_a_fail(deck(condition), 1 / 1.05, gates=50, shared_by=50, runs=100) <= 0.01


def test_nor_has_one_where_identical_code_must_not_be_slower_at_all():
    """Each gate is exactly at its limit then."""
    assert runs_with_a_fail(deck("quiet"), 1.0, gates=50, shared_by=50, runs=30) <= promised(0.01, 30)


@pytest.mark.parametrize(
    ("rigor", "layout"), [("quick", FAR_APART), ("quick", VERY_FAR_APART), ("strict", VERY_FAR_APART)]
)
def test_pairs_that_differ_more_than_the_guard_allows_for_are_wrong_no_more_often(rigor, layout):
    wrong = at_the_limit(deck("quiet"), 1000, RIGOR[rigor], layout)

    assert sum(wrong) / 2 <= QUICK.alpha  # a coin swaps the sides, so both rates are one


@pytest.mark.parametrize("weather", [QUIET, HOGS], ids=["quiet", "hogs"])
def test_slots_of_equal_length_prove_nothing_about_exactly_two_times_the_speed(workers, weather):
    findings = in_turns(workers, 2.0, 2.0, weather, 300)

    assert share(findings, Outcome.PASS) <= promised(QUICK.alpha, 300)
    assert share(findings, Outcome.FAIL) <= promised(QUICK.alpha, 300)


def test_looking_at_every_one_of_600_rounds_keeps_the_error_rate():
    assert ever_proven(600, QUICK.alpha) <= QUICK.alpha


def test_an_order_by_a_coin_is_not_biased_by_heat(workers):
    assert abs(order_bias(workers, 100)) < 0.003
