"""Ratios of real-valued scores: coverage, pairing, and what they refuse."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import bootstrap

from pytest_edgeai.stats.order import needed_n
from pytest_edgeai.stats.real_valued import corpus_ratio_bounds, paired_ratio_bounds, student_ratio_bounds

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


def means(*columns: NDArray[np.float64]) -> list[Callable[[NDArray[np.int64]], float]]:
    """As scores of all items together, whose bounds are known."""
    return [lambda places, column=column: float(column[places].mean()) for column in columns]


def test_students_bounds_miss_the_true_ratio_about_as_often_as_stated() -> None:
    rng = np.random.default_rng(131)
    repeats = 2000
    reference = rng.uniform(0.5, 1.0, size=(repeats, 200))
    variant = 0.97 * reference + rng.normal(0, 0.05, size=reference.shape)

    bounds = np.array([student_ratio_bounds(*pair, 0.95) for pair in zip(variant, reference, strict=True)])

    tolerance = 3 * math.sqrt(0.05 * 0.95 / repeats)
    assert np.mean(bounds[:, 0] > 0.97) == pytest.approx(0.05, abs=tolerance)
    assert np.mean(bounds[:, 1] < 0.97) == pytest.approx(0.05, abs=tolerance)


def test_students_bounds_can_be_had_at_any_confidence() -> None:
    variant, reference = paired_scores(80, np.random.default_rng(109))

    lows = [student_ratio_bounds(variant, reference, confidence)[0] for confidence in (0.95, 0.999, 1 - 1e-9)]

    assert lows == sorted(lows, reverse=True)
    assert len(set(lows)) == 3


def test_the_bounds_of_a_score_of_all_items_are_those_of_a_mean_where_it_is_one() -> None:
    rng = np.random.default_rng(137)
    variant, reference = paired_scores(200, rng)

    low, high = corpus_ratio_bounds(*means(variant, reference), 200, (0.95, 0.95), rng, 4000)

    expected = paired_ratio_bounds(variant, reference, 0.95, rng, 4000)
    width = expected[1] - expected[0]
    assert (low, high) == pytest.approx(expected, abs=0.1 * width)


def test_units_of_one_item_each_are_the_items() -> None:
    scored = means(*paired_scores(60, np.random.default_rng(139)))

    alone, listed = (
        corpus_ratio_bounds(*scored, units, (0.95, 0.99), np.random.default_rng(0), 200)
        for units in (60, [np.array([place]) for place in range(60)])
    )

    assert alone == listed


def test_groups_that_lose_together_widen_the_bounds() -> None:
    rng = np.random.default_rng(149)
    lost = np.repeat(rng.random(40) < 0.1, 20)
    scored, groups = means(1.0 - lost, np.ones(800)), np.split(np.arange(800), 40)

    low, high = corpus_ratio_bounds(*scored, groups, (0.95, 0.95), rng, 500)
    as_items = corpus_ratio_bounds(*scored, 800, (0.95, 0.95), rng, 500)

    assert high - low > 3 * (as_items[1] - as_items[0])


def test_scores_of_all_items_that_bound_nothing_or_are_identical() -> None:
    rng = np.random.default_rng(0)
    same = means(np.linspace(0.5, 1, 50))[0]

    assert corpus_ratio_bounds(same, same, 50, (0.95, 0.95), rng, 100) == (1.0, 1.0)
    assert corpus_ratio_bounds(*means(np.ones(20), np.array([-1.0, 1.2] * 10)), 20, (0.95, 0.95), rng, 100) == (
        -math.inf,
        math.inf,
    )


@pytest.mark.parametrize(
    ("units", "resamples", "reference", "words"),
    [(1, 100, 1.0, "2 units"), (50, 99, 1.0, "100 resamples"), (50, 100, 0.0, "zero or less")],
)
def test_scores_of_all_items_that_can_not_be_resampled_are_refused(
    units: int, resamples: int, reference: float, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        corpus_ratio_bounds(
            *means(np.ones(50), np.full(50, reference)), units, (0.95, 0.95), np.random.default_rng(0), resamples
        )
