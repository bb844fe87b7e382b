"""Student's t: bounds of the mean of a few values."""

import numpy as np
import pytest
from scipy import stats

from pytest_edgeai.stats import student


def test_the_bound_is_that_of_the_textbook():
    values = [0.010, 0.011, 0.009, 0.010, 0.012]

    low = student.lower_bound(values, 0.01)

    assert low == pytest.approx(stats.t.interval(0.98, 4, np.mean(values), stats.sem(values))[0])
    assert -student.lower_bound(-np.array(values), 0.01) == pytest.approx(2 * np.mean(values) - low)


def test_the_bound_misses_as_often_as_it_may():
    rng = np.random.default_rng(1)

    missed = np.mean([student.lower_bound(rng.normal(0, 1, 5), 0.05) > 0 for _ in range(4000)])

    assert missed == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("distance", [0.5, 1.0, -1.0, 3.0])
def test_the_number_that_is_forecast_decides_and_one_less_does_not(distance):
    values = np.array([-1.0, 1.0, -1.0, 1.0]) + distance
    mean, spread = values.mean(), values.std(ddof=1)

    number = student.values_to_decide(values, 0.0, 0.01)

    def decides(n: int) -> bool:
        return stats.t.isf(0.01, n - 1) * spread / n**0.5 < abs(mean)

    assert decides(number)
    assert number == len(values) or not decides(number - 1)


def test_what_lies_at_the_limit_is_decided_by_no_number():
    assert student.values_to_decide([-1.0, 1.0, -1.0, 1.0], 0.0, 0.01) is None


def test_one_value_has_no_spread():
    with pytest.raises(ValueError, match="at least 2"):
        student.lower_bound([1.0], 0.01)
