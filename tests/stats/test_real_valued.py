"""Ratios of real-valued scores: coverage, pairing, and what they refuse."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import bootstrap

from pytest_edgeai.stats.order import needed_n
from pytest_edgeai.stats.real_valued import paired_ratio_bounds

repeatable = settings(deadline=None, derandomize=True, database=None, max_examples=40)
score_pairs = st.lists(st.tuples(st.floats(0.1, 1.0), st.floats(0.1, 1.0)), min_size=2, max_size=60)


def paired_scores(items: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Reference scores around 0.8, and a variant that keeps 97 % of each on average, with a skewed loss."""
    reference = rng.beta(8, 2, size=items)
    return reference * (1 - 0.03 * rng.exponential(size=items)), reference


@pytest.mark.parametrize("items", [50, 200])
def test_the_bounds_miss_the_true_ratio_about_as_often_as_stated(items: int) -> None:
    rng = np.random.default_rng(97)
    repeats, confidence, truth = 400, 0.95, 0.97

    bounds = np.array([paired_ratio_bounds(*paired_scores(items, rng), confidence, rng) for _ in range(repeats)])

    # The bootstrap is approximate: 2 points beside the binomial tolerance.
    allowed = 1 - confidence + 0.02 + 3 * math.sqrt(confidence * (1 - confidence) / repeats)
    assert 0.01 <= np.mean(bounds[:, 0] > truth) <= allowed
    assert 0.01 <= np.mean(bounds[:, 1] < truth) <= allowed


def test_pairing_is_worth_more_than_either_mean_alone() -> None:
    rng = np.random.default_rng(101)
    variant, reference = paired_scores(200, rng)

    low, high = paired_ratio_bounds(variant, reference, 0.95, rng)
    unpaired_low, unpaired_high = paired_ratio_bounds(rng.permutation(variant), reference, 0.95, rng)

    assert high - low < 0.5 * (unpaired_high - unpaired_low)


def test_skewed_losses_make_lopsided_bounds() -> None:
    rng = np.random.default_rng(103)
    reference = np.ones(300)
    variant = 1 - 0.1 * rng.exponential(size=300) ** 2

    low, high = paired_ratio_bounds(variant, reference, 0.95, rng)

    estimate = variant.mean()
    assert estimate - low > 1.05 * (high - estimate)


@pytest.mark.parametrize("side", [1, -1], ids=["losses", "gains"])
def test_the_bounds_are_those_of_the_bca_bootstrap_in_scipy(side: int) -> None:
    rng = np.random.default_rng(127)
    reference = rng.uniform(0.5, 1.0, size=25)
    variant = reference * (1 - side * 0.1 * rng.exponential(size=25) ** 2)
    resamples = 20_000

    bounds = np.array(paired_ratio_bounds(variant, reference, 0.95, rng, resamples))

    expected, percentile_only = (
        bootstrap(
            (variant, reference),
            lambda v, r, axis: v.mean(axis) / r.mean(axis),
            paired=True,
            confidence_level=0.9,
            n_resamples=resamples,
            method=method,
            rng=rng,
        ).confidence_interval
        for method in ("BCa", "percentile")
    )
    width = expected.high - expected.low
    assert bounds == pytest.approx(expected, abs=0.04 * width)
    assert np.abs(bounds - percentile_only).min() > 0.05 * width


@given(pairs=score_pairs, scale=st.floats(0.01, 100.0))
@repeatable
def test_the_bounds_enclose_the_ratio_and_scale_with_it(pairs: list[tuple[float, float]], scale: float) -> None:
    variant, reference = np.array(pairs).T

    low, high = paired_ratio_bounds(variant, reference, 0.95, np.random.default_rng(1), resamples=200)
    scaled = paired_ratio_bounds(variant * scale, reference, 0.95, np.random.default_rng(1), resamples=200)

    assert low <= variant.mean() / reference.mean() <= high
    assert scaled == pytest.approx((low * scale, high * scale), rel=1e-6)


def test_identical_scores_have_a_ratio_of_exactly_one() -> None:
    scores = np.random.default_rng(107).uniform(0.5, 1.0, size=100)

    assert paired_ratio_bounds(scores, scores, 0.95, np.random.default_rng(0)) == (1.0, 1.0)


def test_the_same_seed_gives_the_same_bounds() -> None:
    variant, reference = paired_scores(80, np.random.default_rng(109))

    first, second = (paired_ratio_bounds(variant, reference, 0.95, np.random.default_rng(5)) for _ in range(2))

    assert first == second


def test_a_reference_mean_that_may_be_zero_bounds_nothing() -> None:
    reference = np.array([-1.0, 1.2] * 10)

    assert paired_ratio_bounds(np.ones(20), reference, 0.95, np.random.default_rng(0)) == (
        -math.inf,
        math.inf,
    )


@pytest.mark.parametrize("reference", [[0.0, 0.0, 0.0], [-1.0, 0.2, 0.3]])
def test_a_reference_mean_of_zero_or_less_is_refused(reference: list[float]) -> None:
    with pytest.raises(ValueError, match="mean"):
        paired_ratio_bounds([1.0, 1.0, 1.0], reference, 0.95, np.random.default_rng(0))


def test_scores_that_do_not_pair_are_refused() -> None:
    rng = np.random.default_rng(0)

    with pytest.raises(ValueError, match="paired"):
        paired_ratio_bounds([1.0, 1.0, 1.0], [1.0, 1.0], 0.95, rng)
    with pytest.raises(ValueError, match="at least 2"):
        paired_ratio_bounds([1.0], [1.0], 0.95, rng)
    with pytest.raises(ValueError, match="finite"):
        paired_ratio_bounds([1.0, math.nan], [1.0, 1.0], 0.95, rng)
    with pytest.raises(ValueError, match="resamples"):
        paired_ratio_bounds([1.0, 0.9], [1.0, 1.0], 0.95, rng, resamples=10)


def test_a_rare_collapse_is_missed_by_thirty_items_and_not_by_as_many_as_an_order_statistic_needs() -> None:
    rng = np.random.default_rng(113)
    repeats, ratio, confidence = 300, 0.95, 0.95

    def false_passes(items: int) -> float:
        collapsed = (rng.random((repeats, items)) >= 1 - ratio).astype(float)
        return float(
            np.mean([paired_ratio_bounds(row, np.ones(items), confidence, rng)[0] >= ratio for row in collapsed])
        )

    assert false_passes(30) > 0.15
    assert false_passes(needed_n(ratio, confidence)) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / repeats)
