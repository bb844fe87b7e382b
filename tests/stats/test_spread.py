"""Relative spread: its estimate, and bounds that hold for correlated series."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter

from pytest_edgeai.stats.spread import rmad, rmad_bounds

NORMAL_QUARTILE = 0.6744897501960817


def latencies(n: int, phi: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Log-normal values around 1 with a log-sd of 0.2, whose logarithms are autoregressive of order 1."""
    series = lfilter([1.0], [1.0, -phi], rng.standard_normal(n + 100))[100:] * math.sqrt(1 - phi**2)
    return np.exp(0.2 * series)


def true_rmad() -> float:
    """Of `latencies`: half of the deviations from the median, 1, are within the m below."""
    # P(1 - m < exp(0.2 Z) < 1 + m) = 1/2, by bisection over m.
    low, high = 0.0, 0.9
    for _ in range(60):
        m = (low + high) / 2
        inside = (math.erf(math.log1p(m) / 0.2 / math.sqrt(2)) - math.erf(math.log1p(-m) / 0.2 / math.sqrt(2))) / 2
        low, high = (m, high) if inside < 0.5 else (low, m)
    return 1.4826 * low


def test_the_spread_of_normal_values_is_their_sd_over_their_mean() -> None:
    values = np.random.default_rng(1).normal(10.0, 1.0, size=200_000)

    assert rmad(values) == pytest.approx(0.1, rel=0.01)


def test_a_few_wild_outliers_leave_the_spread_as_it_is() -> None:
    values = np.random.default_rng(2).normal(10.0, 1.0, size=1000)
    disturbed = values.copy()
    disturbed[::50] *= 40

    assert rmad(disturbed) == pytest.approx(rmad(values), rel=0.1)
    assert np.std(disturbed) / np.mean(disturbed) > 1


def test_the_spread_has_no_unit() -> None:
    values = np.random.default_rng(3).lognormal(size=501)

    assert rmad(values * 1e-9) == pytest.approx(rmad(values), rel=1e-12)


def test_the_spread_of_equal_values_is_zero() -> None:
    assert rmad([3.0, 3.0, 3.0]) == 0.0
    assert rmad_bounds(np.full(300, 3.0), 0.95, 0.95) == (0.0, 0.0)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_the_bounds_miss_the_true_spread_no_more_often_than_stated(phi: float) -> None:
    rng = np.random.default_rng(47)
    repeats, confidence, truth = 200, 0.95, true_rmad()

    found = [rmad_bounds(latencies(600, phi, rng), confidence, confidence) for _ in range(repeats)]

    allowed = 1 - confidence + 3 * math.sqrt(confidence * (1 - confidence) / repeats)
    assert np.mean([low is not None and low > truth for low, _ in found]) <= allowed
    assert np.mean([high is not None and high < truth for _, high in found]) <= allowed


def test_the_bounds_enclose_the_estimate_and_narrow_with_more_values() -> None:
    values = latencies(4800, 0.3, np.random.default_rng(53))

    (few_low, few_high), (low, high) = (rmad_bounds(part, 0.95, 0.95) for part in (values[:300], values))

    assert few_low <= rmad(values[:300]) <= few_high
    assert low <= rmad(values) <= high
    assert high - low < 0.5 * (few_high - few_low)


def test_neighbours_that_are_alike_widen_the_bounds() -> None:
    rng = np.random.default_rng(59)
    series = [latencies(600, 0.8, rng) for _ in range(12)]

    def widths(rows: list[NDArray[np.float64]]) -> float:
        return float(np.mean([high - low for low, high in (rmad_bounds(row, 0.95, 0.95) for row in rows)]))

    assert widths(series) > 1.1 * widths([rng.permutation(row) for row in series])


def test_each_bound_has_its_own_confidence() -> None:
    values = latencies(300, 0.0, np.random.default_rng(61))

    (low, high), (lower, same) = rmad_bounds(values, 0.9, 0.95), rmad_bounds(values, 0.99, 0.95)

    assert lower < low
    assert same >= high  # the median's own interval has become wider


def test_too_few_values_give_no_bounds() -> None:
    assert rmad_bounds([1.0, 2.0, 3.0], 0.95, 0.95) == (None, None)


@pytest.mark.parametrize("broken", [0.0, -1.0, math.nan, math.inf])
def test_values_that_are_no_positive_number_are_refused(broken: float) -> None:
    with pytest.raises(ValueError, match="values"):
        rmad([1.0, 2.0, broken])
    with pytest.raises(ValueError, match="values"):
        rmad_bounds(np.append(np.ones(300), broken), 0.95, 0.95)
