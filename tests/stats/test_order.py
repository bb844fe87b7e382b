"""Percentiles: published sample sizes, exact coverage, and bounds of correlated series."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import bdtr
from scipy.stats import norm

from pytest_edgeai.stats.order import (
    inefficiency,
    lower_bound,
    needed_n,
    percentile,
    series_bounds,
    upper_bound,
)

NEEDED = {
    (0.50, 0.95): (5, 8, 11, 18, 30, 53),
    (0.50, 0.99): (7, 11, 14, 22, 35, 59),
    (0.90, 0.95): (29, 46, 61, 103, 167, 286),
    (0.90, 0.99): (44, 64, 81, 127, 197, 325),
    (0.95, 0.95): (59, 93, 124, 208, 336, 577),
    (0.95, 0.99): (90, 130, 165, 259, 398, 656),
    (0.99, 0.95): (299, 473, 628, 1_049, 1_693, 2_902),
    (0.99, 0.99): (459, 662, 838, 1_307, 2_010, 3_304),
    (0.999, 0.95): (2_995, 4_742, 6_294, 10_511, 16_959, 29_058),
    (0.999, 0.99): (4_603, 6_636, 8_403, 13_105, 20_140, 33_097),
}
EXCEEDANCES = (0, 1, 2, 5, 10, 20)

numbers = st.lists(st.floats(min_value=-1e6, max_value=1e6), min_size=1, max_size=200)
fractions = st.floats(min_value=0.01, max_value=0.99)
repeatable = settings(deadline=None, derandomize=True, database=None, max_examples=100)


def correlated(n: int, phi: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """An autoregressive series of order 1 whose lag-1 autocorrelation is *phi*."""
    return lfilter([1.0], [1.0, -phi], rng.standard_normal(n + 100))[100:]


@pytest.mark.parametrize(("p", "confidence"), NEEDED)
def test_the_sample_sizes_of_the_percentile_table_come_out(p: float, confidence: float) -> None:
    sizes = tuple(needed_n(p, confidence, exceedances) for exceedances in EXCEEDANCES)

    assert sizes == NEEDED[p, confidence]


def test_mlperf_early_stopping_needs_the_same_662_queries_for_one_exceedance_at_p99() -> None:
    assert needed_n(0.99, 0.99, exceedances=1) == 662


@given(p=fractions, confidence=st.sampled_from([0.9, 0.95, 0.99]), exceedances=st.integers(0, 30))
@repeatable
def test_the_needed_size_is_enough_and_one_less_is_not(p: float, confidence: float, exceedances: int) -> None:
    n = needed_n(p, confidence, exceedances)

    assert n > exceedances
    assert bdtr(exceedances, n, 1 - p) <= 1 - confidence
    assert n == exceedances + 1 or bdtr(exceedances, n - 1, 1 - p) > 1 - confidence


def test_the_largest_of_just_enough_samples_bounds_and_one_sample_less_bounds_nothing() -> None:
    enough = np.arange(299.0)

    assert upper_bound(enough, 0.99, 0.95) == 298.0
    assert upper_bound(enough[:-1], 0.99, 0.95) is None


def test_further_exceedances_move_the_bound_inwards_at_the_sizes_of_the_table() -> None:
    for exceedances, n in zip(EXCEEDANCES, NEEDED[0.9, 0.99], strict=True):
        assert upper_bound(np.arange(1.0, n + 1), 0.9, 0.99) == n - exceedances


@given(values=numbers, p=fractions)
@repeatable
def test_the_lower_bound_mirrors_the_upper_one(values: list[float], p: float) -> None:
    upper = upper_bound(values, p, 0.95)

    mirrored = lower_bound([-v for v in values], 1 - p, 0.95)

    assert (mirrored is None) == (upper is None)
    assert mirrored is None or mirrored == -upper


@pytest.mark.parametrize("p", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_the_bounds_enclose_the_estimate_as_soon_as_there_is_an_upper_one(p: float, confidence: float) -> None:
    enough = needed_n(p, confidence)

    for n in range(enough, enough + 60):
        ranks = np.arange(1.0, n + 1)
        lower, upper = lower_bound(ranks, p, confidence), upper_bound(ranks, p, confidence)

        assert lower is not None
        assert upper is not None
        assert lower <= percentile(ranks, p) <= upper


@given(values=numbers, p=fractions)
@repeatable
def test_the_bounds_widen_with_confidence(values: list[float], p: float) -> None:
    for bound, sign in ((upper_bound, 1), (lower_bound, -1)):
        wide, narrow = bound(values, p, 0.99), bound(values, p, 0.9)
        assert wide is None or (narrow is not None and sign * (wide - narrow) >= 0)


@pytest.mark.parametrize(("p", "n"), [(0.5, 40), (0.9, 100), (0.99, 700)])
def test_the_bounds_miss_the_true_percentile_no_more_often_than_stated(p: float, n: int) -> None:
    rng = np.random.default_rng(23)
    repeats, confidence = 3000, 0.95
    heavy_tailed = rng.pareto(1.5, size=(repeats, n))
    truth = (1 - p) ** (-1 / 1.5) - 1

    too_low = np.mean([upper < truth for row in heavy_tailed if (upper := upper_bound(row, p, confidence)) is not None])
    too_high = np.mean(
        [lower > truth for row in heavy_tailed if (lower := lower_bound(row, p, confidence)) is not None]
    )

    tolerance = 3 * math.sqrt(confidence * (1 - confidence) / repeats)
    assert 0.01 <= too_low <= 1 - confidence + tolerance
    assert 0.01 <= too_high <= 1 - confidence + tolerance


def test_the_estimated_p99_of_twenty_samples_is_no_upper_bound() -> None:
    samples = np.random.default_rng(29).exponential(size=(2000, 20))

    misses = np.mean([percentile(row, 0.99) < -math.log(0.01) for row in samples])

    assert misses > 0.5
    assert upper_bound(samples[0], 0.99, 0.95) is None


def test_the_percentile_is_interpolated_between_its_neighbours() -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.5
    assert percentile([10.0], 0.99) == 10.0


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8])
def test_the_inefficiency_of_the_median_is_near_that_of_the_process(phi: float) -> None:
    found = inefficiency(correlated(50_000, phi, np.random.default_rng(31)), 0.5)

    ranks = 1 + 2 * sum(6 / math.pi * math.asin(phi**lag / 2) for lag in range(1, 200))  # Spearman's from Pearson's
    assert found == pytest.approx(ranks, rel=0.12)


def test_the_inefficiency_does_not_depend_on_the_distribution() -> None:
    series = correlated(2000, 0.6, np.random.default_rng(32))

    assert inefficiency(np.exp(5 * series), 0.9) == inefficiency(series, 0.9)


@pytest.mark.parametrize("values", [[1.0], [0.1] * 50, [1.0, 2.0] * 50])
def test_what_never_changes_or_alternates_has_no_inefficiency(values: list[float]) -> None:
    assert inefficiency(values, 0.5) == 1.0


def test_bursts_count_as_few_values_in_the_tail() -> None:
    rng = np.random.default_rng(33)
    series = rng.standard_normal(5000)
    for begin in rng.integers(0, 4980, 25):
        series[begin : begin + 20] += 10  # one value in ten, together

    assert inefficiency(series, 0.95) > 8


@given(values=numbers, p=fractions)
@repeatable
def test_values_that_are_alike_widen_the_bounds(values: list[float], p: float) -> None:
    for bound, sign in ((upper_bound, 1), (lower_bound, -1)):
        wide, narrow = bound(values, p, 0.9, 3.0), bound(values, p, 0.9)
        assert wide is None or (narrow is not None and sign * (wide - narrow) >= 0)


@pytest.mark.parametrize(("p", "n"), [(0.5, 300), (0.95, 600)])
@pytest.mark.parametrize("phi", [0.5, 0.8, 0.9])
def test_the_bounds_of_a_series_miss_no_more_often_than_stated(p: float, n: int, phi: float) -> None:
    rng = np.random.default_rng(43)
    runs, truth = 400, float(norm.ppf(p)) / math.sqrt(1 - phi**2)

    found = [series_bounds(correlated(n, phi, rng), p, 0.95, 0.95) for _ in range(runs)]

    tolerance = 3 * math.sqrt(0.05 * 0.95 / runs)
    assert np.mean([low is not None and low > truth for low, _ in found]) <= 0.05 + tolerance
    assert np.mean([high is not None and high < truth for _, high in found]) <= 0.05 + tolerance


def test_a_level_that_wanders_a_little_leaves_bounds() -> None:
    series = np.linspace(1.0, 1.01, 600) + 1e-3 * np.random.default_rng(44).standard_normal(600)

    low, high = series_bounds(series, 0.95, 0.995, 0.995)

    assert upper_bound(series, 0.95, 0.995, inefficiency(series, 0.95)) is None
    assert low is not None
    assert high is not None
    assert low < 1.0095
    assert 1.012 < high < 1.02


@pytest.mark.parametrize("alike", [0.5, math.nan, math.inf])
def test_an_inefficiency_that_is_none_is_refused(alike: float) -> None:
    with pytest.raises(ValueError, match="alike"):
        upper_bound([1.0, 2.0], 0.5, 0.9, alike)


@pytest.mark.parametrize("values", [[], [math.nan, 1.0], [math.inf, 1.0], [[1.0, 2.0], [3.0, 4.0]]])
def test_nonsense_values_are_refused(values: list[float]) -> None:
    for call in (
        lambda: upper_bound(values, 0.5, 0.9),
        lambda: lower_bound(values, 0.5, 0.9),
        lambda: percentile(values, 0.5),
    ):
        with pytest.raises(ValueError, match="values"):
            call()


@pytest.mark.parametrize("p", [0.0, 1.0, 99, -0.1, math.nan])
def test_a_percentile_that_is_no_fraction_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        upper_bound([1.0], p, 0.95)
    with pytest.raises(ValueError, match="between 0 and 1"):
        needed_n(p, 0.95)


def test_a_negative_number_of_exceedances_is_refused() -> None:
    with pytest.raises(ValueError, match="exceedances"):
        needed_n(0.9, 0.95, exceedances=-1)
