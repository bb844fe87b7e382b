"""Objectives: preferences as they are written, and gains in units of what a target demands."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_edgeai import objectives
from pytest_edgeai.errors import UsageError
from pytest_edgeai.objectives import LANGUAGE, TENSOR
from pytest_edgeai.records import Figure, Limits


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        (None, {}),
        ("", {}),
        ("latency=3,accuracy=2,memory=1", {"latency": 3 / 6, "accuracy": 2 / 6, "memory": 1 / 6}),
        ("size=2 energy=2", {"size": 0.5, "energy": 0.5}),
        ("latency=0,memory=0.1", {"latency": 0.0, "memory": 1.0}),
    ],
)
def test_weights_are_shares_of_their_sum(text, shares):
    assert objectives.preferences(text) == pytest.approx(shares)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("speed=1", "No objective named 'speed'"),
        ("latncy=1", "Did you mean 'latency'?"),
        ("latency", "'latency' is not NAME=WEIGHT"),
        ("latency=", "'latency=' is not NAME=WEIGHT"),
        ("latency=fast", "'latency=fast' is not NAME=WEIGHT"),
        ("latency=-1", "'latency=-1' is not NAME=WEIGHT"),
        ("latency=inf", "'latency=inf' is not NAME=WEIGHT"),
        ("latency=nan", "'latency=nan' is not NAME=WEIGHT"),
        ("latency=1,latency=2", "'latency' is there twice"),
        ("latency=0", "something must weigh more than 0"),
        ("latency=1e308,memory=1e308", "something must weigh more than 0"),
    ],
)
def test_what_can_not_be_read_is_told(text, told):
    with pytest.raises(UsageError) as error:
        objectives.preferences(text)

    assert f"--edge-prefer {text}: " in str(error.value)
    assert told in str(error.value)


LIMITS = Limits(speedup=2, footprint=0.5, accuracy_kept=0.95, perplexity=1.05)
SPEED, ACCURACY, MEMORY, _, SIZE, _ = TENSOR


@pytest.mark.parametrize(
    ("objective", "value", "origin", "expected"),
    [
        (SPEED, 2.0, 1.0, 1.0),
        (SPEED, 4.0, 1.0, 2.0),
        (SPEED, 0.5, 1.0, -1.0),
        (MEMORY, 50e6, 100e6, 1.0),
        (MEMORY, 0.0, 1e5, 0.0),
        (ACCURACY, 0.855, 0.9, -1.0),
        (ACCURACY, 0.9, 0.9, 0.0),
        (SIZE, 25.0, 100.0, 2.0),
        (LANGUAGE[1], 21.0, 20.0, -1.0),
    ],
)
def test_a_gain_of_1_is_what_the_target_demands(objective, value, origin, expected):
    assert objectives.gain(objective, value, origin, LIMITS) == pytest.approx(expected)


@pytest.mark.parametrize("limits", [LIMITS, Limits(speedup=1, footprint=1, accuracy_kept=1, perplexity=1)])
@given(
    objective=st.sampled_from([*TENSOR, *LANGUAGE]),
    value=st.floats(0.01, 100),
    more=st.floats(-2, 2),
)
def test_the_value_of_a_gain_has_that_gain(limits, objective, value, more):
    value *= 1e9 if objective.name == "memory" else 1
    found = objectives.value_at(objective, more, value, limits)

    assert objectives.gain(objective, found, value, limits) == pytest.approx(more, abs=1e-6)


@pytest.mark.parametrize("demand", [1.0, 1.01, 0.9, 1.19])
def test_a_limit_near_1_is_no_measure_of_a_gain(demand):
    assert objectives.gain(SPEED, 2.0, 1.0, Limits(speedup=demand)) == pytest.approx(1)
    assert objectives.gain(MEMORY, 50e6, 100e6, Limits(footprint=1 / demand)) == pytest.approx(1)


def test_every_gain_is_finite_whatever_is_demanded_and_measured():
    for objective in (*TENSOR, *LANGUAGE):
        for value in (0.0, 1e-300, 1e9):
            assert math.isfinite(objectives.gain(objective, value, 0.0, Limits(speedup=1, accuracy_kept=1)))


def figures(*quantities: str) -> dict[str, Figure]:
    one = Figure(estimate=1.0, low=1.0, high=1.0, unit="", confidence=1.0, n=1, method="told")
    return dict.fromkeys(quantities, one)


def test_what_one_variant_lacks_is_no_objective():
    both = [figures("speedup", "accuracy", "size"), figures("speedup", "size", "memory.footprint")]

    assert [objective.name for objective in objectives.measured(both)] == ["latency", "size"]


def test_of_a_language_models_qualities_the_first_one_that_all_have_counts():
    names = ("decode.throughput", "bits_per_byte", "accuracy", "size")

    found = objectives.measured([figures("perplexity", *names), figures(*names)])

    assert [objective.quantity for objective in found] == ["decode.throughput", "bits_per_byte", "size"]


def test_nothing_measured_is_no_objective():
    assert objectives.measured([]) == ()
