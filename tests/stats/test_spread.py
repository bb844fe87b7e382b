"""Relative spread: its estimate, and bounds that hold for correlated series."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter

from pytest_edgeai.stats.spread import LEAST_VALUES, rmad, rmad_bounds

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
    assert rmad_bounds(np.full(300, 3.0), 0.95, np.random.default_rng(0)) == (0.0, 0.0)


@pytest.mark.parametrize(("n", "phi"), [(300, 0.0), (300, 0.5)])
def test_the_bounds_miss_the_true_spread_about_as_often_as_stated(n: int, phi: float) -> None:
    rng = np.random.default_rng(47)
    repeats, confidence = 100, 0.95
    truth = true_rmad()

    bounds = np.array([rmad_bounds(latencies(n, phi, rng), confidence, rng) for _ in range(repeats)])

    # The bootstrap is approximate: 2 points beside the binomial tolerance.
    allowed = 1 - confidence + 0.02 + 3 * math.sqrt(confidence * (1 - confidence) / repeats)
    assert np.mean(bounds[:, 0] > truth) <= allowed
    assert np.mean(bounds[:, 1] < truth) <= allowed


def test_the_bounds_enclose_the_estimate_and_narrow_with_more_values() -> None:
    rng = np.random.default_rng(53)
    values = latencies(4800, 0.3, rng)

    few_low, few_high = rmad_bounds(values[:300], 0.95, rng)
    low, high = rmad_bounds(values, 0.95, rng)

    assert few_low <= rmad(values[:300]) <= few_high
    assert low <= rmad(values) <= high
    assert high - low < 0.5 * (few_high - few_low)


def test_blocks_widen_the_bounds_of_a_correlated_series() -> None:
    rng = np.random.default_rng(59)
    series = [latencies(600, 0.8, rng) for _ in range(12)]

    def widths(rows: list[NDArray[np.float64]]) -> float:
        return float(np.mean([high - low for low, high in (rmad_bounds(row, 0.95, rng) for row in rows)]))

    assert widths(series) > 1.1 * widths([rng.permutation(row) for row in series])


def test_the_same_seed_gives_the_same_bounds() -> None:
    values = latencies(300, 0.0, np.random.default_rng(61))

    first, second = (rmad_bounds(values, 0.95, np.random.default_rng(7)) for _ in range(2))

    assert first == second


def test_fewer_than_300_values_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 300"):
        rmad_bounds(np.ones(LEAST_VALUES - 1), 0.95, np.random.default_rng(0))


@pytest.mark.parametrize("broken", [0.0, -1.0, math.nan, math.inf])
def test_values_that_are_no_positive_number_are_refused(broken: float) -> None:
    with pytest.raises(ValueError, match="values"):
        rmad([1.0, 2.0, broken])
    with pytest.raises(ValueError, match="values"):
        rmad_bounds(np.append(np.ones(300), broken), 0.95, np.random.default_rng(0))
