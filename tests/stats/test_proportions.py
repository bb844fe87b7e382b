"""Proportions: the score test against its definition, error rates by simulation, and exact bounds."""

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, multinomial, norm

from pytest_edgeai.stats.order import needed_n
from pytest_edgeai.stats.proportions import (
    binomial_bounds,
    exact_p_values,
    mcnemar_p,
    non_inferiority_z,
    ratio_bounds,
)

Z95 = 1.6448536269514722
Z99 = 2.3263478740408408

counts = st.integers(min_value=0, max_value=300)
tables = st.tuples(counts, counts, counts, counts).filter(lambda t: t[0] + t[2] > 0)
ratios = st.floats(min_value=0.3, max_value=3.0)
repeatable = settings(deadline=None, derandomize=True, database=None, max_examples=80)

score = cache(non_inferiority_z)
exact = cache(exact_p_values)


def constrained_z(n11: int, n10: int, n01: int, n00: int, rho: float) -> float:
    """The statistic from its definition: the likelihood maximised numerically under V = rho B."""
    n = n11 + n10 + n01 + n00
    seen = 1 - n00 / n  # the maximum likelihood estimate of P(at least one is right), with and without the constraint

    def cells(gain: float) -> tuple[float, float, float]:
        loss = (1 - rho) * seen + rho * gain
        return seen - gain - loss, gain, loss

    def deviance(gain: float) -> float:
        return -sum(
            count * math.log(max(cell, 1e-300))
            for count, cell in zip((n11, n10, n01), cells(gain), strict=True)
            if count
        )

    gains = (max(0.0, (1 - 1 / rho) * seen), rho * seen / (1 + rho))
    best = minimize_scalar(deviance, bounds=gains, method="bounded", options={"xatol": 1e-12})
    _, gain, loss = cells(best.x)
    return math.sqrt(n) * ((n11 + n10) - rho * (n11 + n01)) / n / math.sqrt(rho * (gain + loss))


def draw(n: int, base: float, gain: float, loss: float, repeats: int, seed: int) -> NDArray[np.int64]:
    """Tables (n11, n10, n01, n00) of *n* items, for a baseline right on *base*, and the shares of flips."""
    both = base - loss
    return np.random.default_rng(seed).multinomial(
        n, [both, gain, loss, max(0.0, 1 - both - gain - loss)], size=repeats
    )


def scores(drawn: NDArray[np.int64], rho: float) -> NDArray[np.float64]:
    # Items that neither answers right do not matter, so leaving them out makes the cache hit more often.
    return np.array([score(int(a), int(b), int(c), 0, rho) for a, b, c, _ in drawn])


@pytest.mark.parametrize(
    "table",
    [(80, 5, 8, 7), (59, 6, 16, 80), (40, 1, 1, 8), (150, 20, 4, 30), (10, 30, 25, 5), (900, 12, 40, 48)],
)
@pytest.mark.parametrize("rho", [0.5, 0.9, 0.95, 1.0, 1.05, 2.0])
def test_the_statistic_agrees_with_a_numerically_maximised_likelihood(
    table: tuple[int, int, int, int], rho: float
) -> None:
    assert non_inferiority_z(*table, rho) == pytest.approx(constrained_z(*table, rho), rel=1e-5, abs=1e-6)


def test_the_statistic_at_a_ratio_of_one_is_that_of_mcnemar() -> None:
    assert non_inferiority_z(70, 12, 5, 13, 1.0) == pytest.approx((12 - 5) / math.sqrt(12 + 5))


@given(table=tables, rho=ratios)
@repeatable
def test_swapping_the_models_and_inverting_the_ratio_changes_the_sign_only(
    table: tuple[int, int, int, int], rho: float
) -> None:
    n11, n10, n01, n00 = table
    assume(n11 + n10 > 0)

    swapped = non_inferiority_z(n11, n01, n10, n00, 1 / rho)

    assert swapped == pytest.approx(-non_inferiority_z(*table, rho), rel=1e-9, abs=1e-9)


@given(table=tables, rho=ratios)
@repeatable
def test_the_statistic_falls_with_the_ratio_and_rises_with_gains_and_falls_with_losses(
    table: tuple[int, int, int, int], rho: float
) -> None:
    n11, n10, n01, n00 = table
    here = non_inferiority_z(*table, rho)

    assert non_inferiority_z(*table, rho * 1.01) <= here + 1e-12
    assert non_inferiority_z(n11, n10 + 1, n01, n00, rho) > here
    assert non_inferiority_z(n11, n10, n01 + 1, n00, rho) < here
    assert non_inferiority_z(n11, n10, n01, n00 + 50, rho) == here


def test_without_flips_the_statistic_grows_with_the_right_items_only() -> None:
    assert non_inferiority_z(100, 0, 0, 0, 0.95) == pytest.approx(math.sqrt(100 * 0.05 / 0.95))
    assert non_inferiority_z(100, 0, 0, 900, 0.95) == pytest.approx(math.sqrt(100 * 0.05 / 0.95))
    assert non_inferiority_z(100, 0, 0, 0, 1.0) == 0.0
    assert non_inferiority_z(100, 0, 0, 0, 1.05) == pytest.approx(-math.sqrt(100 * 0.05))


def test_a_variant_that_answers_nothing_right_has_a_finite_and_negative_statistic() -> None:
    assert non_inferiority_z(0, 0, 50, 50, 0.95) == pytest.approx(-math.sqrt(0.95 * 50))
    assert exact_p_values(0, 0, 50, 50, 0.95)[1] < 2e-6


@pytest.mark.parametrize("call", [non_inferiority_z, exact_p_values])
def test_a_table_without_a_ratio_or_with_negative_counts_is_refused(call: object) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match="no ratio"):
        call(0, 3, 0, 10, 0.95)
    with pytest.raises(ValueError, match="negative"):
        call(5, -1, 0, 0, 0.95)
    for rho in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="rho"):
            call(5, 1, 0, 0, rho)


# Expected shares of gains, from none but a few to many; the losses make the ratio exactly rho.
@pytest.mark.parametrize("gain", [0.02, 0.05, 0.1])
@pytest.mark.parametrize(("n", "base"), [(50, 0.9), (100, 0.75), (200, 0.9), (500, 0.5)])
def test_a_variant_exactly_at_the_boundary_passes_in_at_most_five_and_a_half_percent(
    n: int, base: float, gain: float
) -> None:
    repeats = 12_000
    drawn = draw(n, base, gain, gain + 0.05 * base, repeats, seed=67)

    false_passes = np.mean(scores(drawn, 0.95) >= Z95)

    assert false_passes <= 0.055


def test_a_point_rule_passes_half_of_the_variants_at_the_boundary() -> None:
    drawn = draw(200, 0.9, 0.02, 0.065, 4000, seed=71)

    right = drawn[:, 0, None] + drawn[:, 1:3]  # of the variant, of the baseline

    assert np.mean(right[:, 0] >= 0.95 * right[:, 1]) > 0.4


def test_a_perfect_baseline_without_gains_shows_the_limit_of_the_score_test_and_the_exact_one_holds() -> None:
    # 52 items, no flip: the score test passes, and at the boundary that happens with probability 0.95^52.
    assert non_inferiority_z(52, 0, 0, 0, 0.95) >= Z95
    assert 0.95**52 > 0.065

    assert exact_p_values(52, 0, 0, 0, 0.95)[0] == pytest.approx(0.95**52, abs=2e-6)
    assert exact_p_values(58, 0, 0, 0, 0.95)[0] > 0.05 >= exact_p_values(59, 0, 0, 0, 0.95)[0]


@pytest.mark.parametrize(("n", "base", "gain"), [(52, 1.0, 0.0), (120, 1.0, 0.0), (200, 0.995, 0.005)])
def test_the_exact_p_values_hold_both_error_rates_where_gains_are_rare(n: int, base: float, gain: float) -> None:
    repeats = 8000
    drawn = draw(n, base, gain, gain + 0.05 * base, repeats, seed=73)

    both = np.array([exact(int(a), int(b), int(c), 0, 0.95) for a, b, c, _ in drawn])

    assert np.mean(both[:, 0] <= 0.05) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / repeats)
    assert np.mean(both[:, 1] <= 0.01) <= 0.01 + 3 * math.sqrt(0.01 * 0.99 / repeats)


def test_the_score_test_exceeds_one_percent_for_false_fails_where_gains_are_rare() -> None:
    drawn = draw(200, 0.9, 0.005, 0.05, 20_000, seed=73)

    assert np.mean(scores(drawn, 0.95) <= -Z99) > 0.0135


@pytest.mark.parametrize("table", [(8, 2, 1, 1), (6, 1, 3, 0), (15, 2, 5, 4)])
@pytest.mark.parametrize("rho", [0.8, 0.95, 1.1])
def test_the_exact_p_value_bounds_the_chance_of_a_table_as_extreme_anywhere_in_the_hypothesis(
    table: tuple[int, int, int, int], rho: float
) -> None:
    n11, n10, n01, _ = table
    m = n11 + n10 + n01
    observed = non_inferiority_z(*table, rho)
    extreme = np.array(
        [
            (m - gains - losses, gains, losses)
            for gains in range(m)
            for losses in range(m + 1 - gains)
            if score(m - gains - losses, gains, losses, 0, rho) >= observed - 1e-9
        ]
        + [(0, m, 0)]
    )

    largest = 0.0
    for gain in np.linspace(max(0.0, 1 - 1 / rho), rho / (1 + rho), 25):
        for loss in np.linspace(1 - rho + rho * gain, 1 - gain, 6):  # from the boundary V = rho B inwards
            cells = np.maximum([1 - gain - loss, gain, loss], 0)
            largest = max(largest, float(multinomial.pmf(extreme, m, cells / cells.sum()).sum()))

    assert exact_p_values(*table, rho)[0] == pytest.approx(largest, abs=0.002)


def test_with_many_items_the_exact_p_values_are_nearly_those_of_the_score() -> None:
    table = (60_000, 9_000, 9_600, 5_000)

    passing, failing = exact_p_values(*table, 0.99)

    z = non_inferiority_z(*table, 0.99)
    assert passing == pytest.approx(norm.sf(z), rel=0.03)
    assert failing == pytest.approx(norm.cdf(z), rel=0.03)


# Sizes for 90 % power at one-sided 95 %, after Nam & Blackwelder: the square of
# (z_.95 sd under the constraint + z_.90 sd) / distance.
@pytest.mark.parametrize(
    ("base", "flips", "drop", "n"),
    [
        (0.90, 0.02, 0.00, 154),
        (0.90, 0.02, 0.01, 239),
        (0.90, 0.05, 0.00, 259),
        (0.90, 0.10, 0.01, 716),
        (0.75, 0.05, 0.00, 354),
        (0.50, 0.10, 0.00, 1346),
    ],
)
def test_the_published_sample_sizes_give_ninety_percent_power(base: float, flips: float, drop: float, n: int) -> None:
    drawn = draw(n, base, (flips - drop) / 2, (flips + drop) / 2, 4000, seed=79)

    passes = np.mean(scores(drawn, 0.95) >= Z95)

    assert 0.88 <= passes <= 0.95


@pytest.mark.parametrize(("flips", "n", "power"), [(0.10, 403, 0.88), (0.05, 202, 0.84), (0.02, 82, 0.65)])
def test_sizes_from_the_unconstrained_variance_alone_fall_short_when_flips_are_rare(
    flips: float, n: int, power: float
) -> None:
    drawn = draw(n, 0.90, flips / 2, flips / 2, 4000, seed=83)

    passes = np.mean(scores(drawn, 0.95) >= Z95)

    assert passes == pytest.approx(power, abs=0.025)


@given(table=tables)
@repeatable
def test_the_ratio_bounds_enclose_the_estimate_and_widen_with_confidence(
    table: tuple[int, int, int, int],
) -> None:
    n11, n10, n01, _ = table
    estimate = (n11 + n10) / (n11 + n01)

    low, high = ratio_bounds(*table, 0.95)
    wider_low, wider_high = ratio_bounds(*table, 0.99)

    assert 0 <= wider_low <= low <= estimate <= high <= wider_high


@given(table=tables)
@repeatable
def test_the_ratio_bounds_are_where_the_statistic_reaches_the_quantile(
    table: tuple[int, int, int, int],
) -> None:
    low, high = ratio_bounds(*table, 0.95)

    assert non_inferiority_z(*table, high) == pytest.approx(-Z95, abs=1e-6)
    assert low == 0 or non_inferiority_z(*table, low) == pytest.approx(Z95, abs=1e-6)
    assert (low == 0) == (table[0] + table[1] == 0)


def test_the_ratio_bounds_cover_a_ratio_at_the_stated_level() -> None:
    repeats = 500
    drawn = draw(150, 0.8, 0.04, 0.06, repeats, seed=89)
    truth = 0.78 / 0.8

    bounds = np.array([ratio_bounds(*map(int, row), 0.95) for row in drawn])

    tolerance = 3 * math.sqrt(0.05 * 0.95 / repeats)
    assert np.mean(bounds[:, 0] > truth) == pytest.approx(0.05, abs=tolerance)
    assert np.mean(bounds[:, 1] < truth) == pytest.approx(0.05, abs=tolerance)


def test_ratio_bounds_without_flips_have_a_closed_form() -> None:
    low, high = ratio_bounds(52, 0, 0, 0, 0.95)

    assert low == pytest.approx(52 / (52 + Z95**2))
    assert high == pytest.approx(1 + Z95**2 / 52)


def test_ratio_bounds_to_a_baseline_that_is_never_right_are_refused() -> None:
    with pytest.raises(ValueError, match="no ratio"):
        ratio_bounds(0, 5, 0, 5, 0.95)


@pytest.mark.parametrize("rho", [0.8, 0.9, 0.95, 0.99])
def test_the_exact_test_needs_as_many_items_as_an_order_statistic(rho: float) -> None:
    n = needed_n(rho, 0.95)

    assert exact_p_values(n, 0, 0, 0, rho)[0] <= 0.05 < exact_p_values(n - 1, 0, 0, 0, rho)[0]


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 30), (30, 30), (7, 30), (999, 1000), (300, 40_000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.995])
def test_the_binomial_bounds_agree_with_scipy(successes: int, n: int, confidence: float) -> None:
    expected = binomtest(successes, n).proportion_ci(confidence_level=2 * confidence - 1, method="exact")

    low, high = binomial_bounds(successes, n, confidence)

    assert low == pytest.approx(expected.low, rel=1e-9, abs=1e-15)
    assert high == pytest.approx(expected.high, rel=1e-9)


@given(n=st.integers(1, 500), data=st.data())
@repeatable
def test_the_binomial_bounds_enclose_the_share_and_mirror(n: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n))

    low, high = binomial_bounds(successes, n, 0.95)

    assert 0 <= low <= successes / n <= high <= 1
    assert binomial_bounds(n - successes, n, 0.95) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_impossible_numbers_of_successes_are_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        binomial_bounds(successes, n, 0.95)


@pytest.mark.parametrize(("n10", "n01"), [(0, 1), (3, 3), (2, 9), (15, 40), (200, 260)])
def test_mcnemar_is_the_two_sided_binomial_test_of_the_flips(n10: int, n01: int) -> None:
    expected = binomtest(n10, n10 + n01, 0.5).pvalue

    assert mcnemar_p(n10, n01) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_p(n01, n10) == mcnemar_p(n10, n01)


def test_without_flips_mcnemar_finds_nothing() -> None:
    assert mcnemar_p(0, 0) == 1.0


def test_negative_flips_are_refused() -> None:
    with pytest.raises(ValueError, match="counts"):
        mcnemar_p(-1, 2)
