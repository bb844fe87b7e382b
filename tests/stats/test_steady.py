"""Steadiness: trends are seen, noise is none."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from pytest_edgeai.stats.steady import LEAST_VALUES, mann_kendall_p, trend


@pytest.mark.parametrize("direction", [1, -1])
def test_a_series_that_warms_up_trends(direction: int) -> None:
    noise = np.random.default_rng(1).normal(0, 0.01, 20)
    values = 1 + noise + direction * 0.1 * np.exp(-np.arange(20) / 8)

    assert trend(values) * direction < -0.02


def test_the_trend_is_the_shift_between_the_halves() -> None:
    values = np.repeat([1.0, 1.1], 10) + 1e-6 * np.arange(20)

    assert trend(values) == pytest.approx(0.1 / 1.05, rel=1e-4)


def test_noise_is_a_trend_as_rarely_as_promised() -> None:
    rng = np.random.default_rng(2)

    shares = [np.mean([trend(rng.lognormal(0, noise, 20)) != 0 for _ in range(1000)]) for noise in (0.01, 0.1, 1.0)]

    assert max(shares) <= 0.02


def test_a_trend_that_is_small_is_none() -> None:
    values = 1 + 0.015 * np.arange(20) / 20

    assert mann_kendall_p(values) < 1e-6
    assert trend(values) == 0.0


def test_a_spike_is_no_trend() -> None:
    values = np.ones(20)
    values[15] = 50.0

    assert trend(values) == 0.0


@pytest.mark.parametrize("values", [[], [1.0] * 20, list(range(1, LEAST_VALUES)), [0.0] * 20])
def test_what_is_too_short_or_never_changes_is_steady(values: list[float]) -> None:
    assert trend(values) == 0.0


@pytest.mark.parametrize("ties", [False, True])
def test_the_p_value_is_that_of_kendalls_tau_against_time(ties: bool) -> None:
    values = np.random.default_rng(3).normal(0, 1, 60) + 0.01 * np.arange(60)
    values = np.round(values, 1) if ties else values

    theirs = kendalltau(np.arange(60), values, method="asymptotic").pvalue  # without the correction for whole numbers

    assert mann_kendall_p(values) == pytest.approx(theirs, rel=0.03)


def test_what_is_not_finite_is_an_error() -> None:
    with pytest.raises(ValueError, match="finite"):
        trend([1.0] * 10 + [float("nan")])
