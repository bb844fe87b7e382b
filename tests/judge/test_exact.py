"""What is known exactly is decided exactly."""

import pytest

from pytest_edgeai.judge.finding import exact
from pytest_edgeai.records import Outcome


@pytest.mark.parametrize(
    ("value", "operator", "limit", "holds"),
    [
        (49, "<=", 50, True),
        (50, "<=", 50, True),
        (51, "<=", 50, False),
        (51, ">=", 50, True),
        (50, ">=", 50, True),
        (49, ">=", 50, False),
        (50, "<", 50, False),
        (49, "<", 50, True),
        (50, ">", 50, False),
        (51, ">", 50, True),
    ],
)
def test_each_operator_means_what_it_says(value, operator, limit, holds):
    finding = exact(value, operator, limit)

    assert finding.outcome is (Outcome.PASS if holds else Outcome.FAIL)


def test_an_exact_value_is_its_own_bounds_and_certain():
    finding = exact(42.0, "<=", 50)

    assert (finding.estimate, finding.low, finding.high, finding.confidence) == (42.0, 42.0, 42.0, 1.0)
    assert (finding.method, finding.seconds, finding.notes) == ("exact", 0.0, [])
