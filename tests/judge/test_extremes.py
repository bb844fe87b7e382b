"""One number a process: proven when every process, against every one of the baseline's, says the same."""

import itertools

import numpy as np
import pytest

from pytest_edgeai.judge.finding import Spare, agreeing, extremes
from pytest_edgeai.records import Outcome
from pytest_edgeai.units import MB

PASS, FAIL, INCONCLUSIVE, ERROR, _ = Outcome


@pytest.mark.parametrize(
    ("variant", "operator", "outcome"),
    [
        ([10.0, 11.0, 12.0], "<=", PASS),
        ([10.0, 11.0, 20.0], "<=", PASS),
        ([10.0, 11.0, 20.1], "<=", INCONCLUSIVE),
        ([20.1, 21.0, 22.0], "<=", FAIL),
        ([20.0, 21.0, 22.0], ">=", PASS),
        ([19.9, 21.0, 22.0], ">=", INCONCLUSIVE),
        ([10.0, 11.0, 19.9], ">=", FAIL),
        ([20.0, 20.0, 20.0], "<", FAIL),
        ([20.0, 20.0, 20.0], ">", FAIL),
        ([19.0, 20.0], "<", INCONCLUSIVE),
    ],
)
def test_a_limit_is_proven_when_all_processes_lie_on_one_side(variant, operator, outcome):
    finding = extremes(variant, operator, 20.0)

    assert finding.outcome is outcome
    assert (finding.low, finding.high) == (min(variant), max(variant))
    assert finding.estimate == np.median(variant)
    assert finding.spent == f"{len(variant)} processes"


@pytest.mark.parametrize(
    ("variant", "baseline", "outcome"),
    [
        ([40 * MB, 45 * MB, 49 * MB], [100 * MB, 101 * MB, 110 * MB], PASS),
        ([40 * MB, 45 * MB, 51 * MB], [100 * MB, 101 * MB, 110 * MB], INCONCLUSIVE),
        ([56 * MB, 57 * MB, 60 * MB], [100 * MB, 101 * MB, 110 * MB], FAIL),
        ([54 * MB, 57 * MB, 60 * MB], [100 * MB, 101 * MB, 110 * MB], INCONCLUSIVE),
    ],
)
def test_against_a_baseline_the_worst_pair_of_processes_decides(variant, baseline, outcome):
    finding = extremes(variant, "<=", 0.5, baseline, seconds=2.5)

    assert finding.outcome is outcome
    assert finding.low == min(variant) / max(baseline)
    assert finding.high == max(variant) / min(baseline)
    assert finding.estimate == np.median(variant) / np.median(baseline)
    assert finding.spent == "3 processes of each"
    assert finding.seconds == 2.5


def test_a_proof_is_one_for_every_pair_of_processes():
    rng = np.random.default_rng(0)
    for _ in range(200):
        variant, baseline = rng.uniform(40, 60, 3).tolist(), rng.uniform(95, 105, 3).tolist()

        finding = extremes(variant, "<=", 0.5, baseline)

        below = [v / b <= 0.5 for v, b in itertools.product(variant, baseline)]
        expected = PASS if all(below) else INCONCLUSIVE if any(below) else FAIL
        assert finding.outcome is expected


def test_processes_on_both_sides_are_told_of_with_their_range():
    finding = extremes([10 * MB, 30 * MB], "<=", 20 * MB, unit="bytes")

    assert finding.notes == [
        "processes lie on both sides of the limit, from 10 MB to 30 MB: a limit outside of that range would be decided"
    ]


@pytest.mark.parametrize(("error", "count"), [(0.01, 7), (0.005, 8), (0.01 / 50, 13)])
def test_so_many_agree_that_they_would_not_by_chance(error, count):
    assert agreeing(error) == count
    assert 0.5**count <= error < 0.5 ** (count - 1)


def test_the_range_holds_the_median_with_the_confidence_that_is_told():
    assert extremes([10.0] * 7, "<=", 20.0).confidence == 0.992  # 1 - 2**-7, rounded down


@pytest.mark.parametrize("n", [7, 13])
def test_at_the_limit_itself_no_side_is_proven_more_often_than_stated(n):
    rng = np.random.default_rng(1)

    alone = [extremes(rng.lognormal(0, 0.3, n).tolist(), "<=", 1.0).outcome for _ in range(10_000)]
    ratios = [
        extremes(rng.lognormal(0, 0.3, n).tolist(), "<=", 1.0, rng.lognormal(0, 0.1, n).tolist()).outcome
        for _ in range(2_000)
    ]

    assert max(alone.count(PASS), alone.count(FAIL)) <= 10_000 * 2.0**-n + 3 * np.sqrt(10_000 * 2.0**-n)
    assert max(ratios.count(PASS), ratios.count(FAIL)) <= 2_000 * 2.0**-n + 3 * np.sqrt(2_000 * 2.0**-n)


# A share that may not count -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "outcome"),
    [(100.0, PASS), (101.0, PASS), (99.0, INCONCLUSIVE), (61.0, INCONCLUSIVE), (59.0, FAIL)],
)
def test_a_claim_is_proven_only_with_and_without_the_share_that_may_not_count(limit, outcome):
    finding = extremes([100.0, 100.0], "<=", limit, spare=Spare("inactive", [40.0, 40.0]))

    assert finding.outcome is outcome
    assert (finding.low, finding.high) == (60.0, 100.0)


@pytest.mark.parametrize(
    ("variant", "share", "baseline", "its_share", "outcome"),
    [
        (300, 0, 1000, 0, PASS),  # both hold copies
        (300, 280, 1000, 980, INCONCLUSIVE),  # of nothing but such pages there remain as many
        (600, 350, 1000, 0, INCONCLUSIVE),  # a file that is mapped and repacked, against a copy
        (450, 200, 1000, 0, PASS),
        (900, 100, 1000, 0, FAIL),
    ],
)
def test_a_ratio_is_taken_with_the_shares_of_both_sides_or_of_none(variant, share, baseline, its_share, outcome):
    spare = Spare("memory.inactive", [share * MB] * 3, [its_share * MB] * 3)

    assert extremes([variant * MB] * 3, "<=", 0.5, [baseline * MB] * 3, spare=spare).outcome is outcome


def test_why_a_share_leaves_a_ratio_open_is_told_with_both_numbers():
    finding = extremes([600.0, 610.0], "<=", 0.5, [1000.0, 1000.0], spare=Spare("memory.inactive", [350, 350], [0, 0]))

    (note,) = finding.notes
    assert note == (
        "it is 0.6 to 0.61 with memory.inactive and 0.25 to 0.26 without, on both sides of the limit: "
        "it depends on whether that share counts, and more samples don't tell"
    )


def test_a_baseline_that_is_all_share_proves_nothing_against_the_variant():
    finding = extremes([10.0, 10.0], "<=", 0.5, [100.0, 100.0], spare=Spare("energy.idle", [1, 1], [100, 100]))

    assert finding.outcome is INCONCLUSIVE
    assert finding.high == np.inf


def test_the_same_samples_make_the_same_finding_in_any_order():
    rng = np.random.default_rng(2)
    variant, baseline = rng.uniform(40, 60, 7), rng.uniform(95, 105, 7)

    first = extremes(variant.tolist(), "<=", 0.5, baseline.tolist())
    again = extremes(variant[::-1].tolist(), "<=", 0.5, baseline[::-1].tolist())

    assert repr(first) == repr(again)


def test_a_baseline_of_nothing_is_an_error():
    finding = extremes([10.0, 11.0], "<=", 0.5, [0.0, 20.0])

    assert finding.outcome is ERROR
    assert finding.notes == ["the baseline's is 0 in one of its processes: a ratio to it means nothing"]
