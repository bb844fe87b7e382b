"""One number a process: proven when every process, against every one of the baseline's, says the same."""

import itertools

import numpy as np
import pytest

from pytest_edgeai.judge.finding import extremes
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


def test_processes_on_both_sides_are_told_of():
    finding = extremes([10.0, 30.0], "<=", 20.0)

    assert finding.notes == ["processes lie on both sides of the limit"]


def test_the_range_is_no_bound_of_any_confidence():
    assert extremes([10.0, 11.0], "<=", 20.0).confidence is None


def test_a_baseline_of_nothing_is_an_error():
    finding = extremes([10.0, 11.0], "<=", 0.5, [0.0, 20.0])

    assert finding.outcome is ERROR
    assert finding.notes == ["the baseline's is 0 in one of its processes: a ratio to it means nothing"]
