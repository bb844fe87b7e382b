"""The sign e-process: closed forms, validity under peeking, and the interval that inverts it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.special import bdtr

from pytest_edgeai.stats.sequential import (
    FORESIGHT_ROUNDS,
    SignEvidence,
    log_e_value,
    rounds_to_decide,
    sign_bounds,
    sign_evidence,
)

ALPHA = 0.01
LOOKS = 600

counts = st.integers(min_value=0, max_value=2000)
series = st.lists(st.integers(min_value=-50, max_value=50).map(float), max_size=120)
repeatable = settings(deadline=None, derandomize=True, database=None, max_examples=100)


def exact_log_e(wins: int, rounds: int) -> float:
    """sum_{i<=k} C(n+1, i) / ((n+1) C(n, k)) in integers of any size."""
    binomial, total = 1, 1
    for i in range(1, wins + 1):
        binomial = binomial * (rounds + 2 - i) // i
        total += binomial
    return math.log(total) - math.log((rounds + 1) * math.comb(rounds, wins))


def e_process_boundary() -> NDArray[np.int64]:
    """For n = 0 ... LOOKS, the fewest wins at which the e-process reaches 1/ALPHA (n + 1: never)."""
    return np.array(
        [next((k for k in range(n + 1) if log_e_value(k, n - k) >= -math.log(ALPHA)), n + 1) for n in range(LOOKS + 1)]
    )


def fixed_test_boundary() -> NDArray[np.int64]:
    """For n = 0 ... LOOKS, the fewest wins with P(Binomial(n, 1/2) >= wins) <= ALPHA (n + 1: never)."""
    boundary = [1]
    for n in range(1, LOOKS + 1):
        wins = np.arange(1, n + 1)
        enough = wins[bdtr(wins - 1, n, 0.5) >= 1 - ALPHA]
        boundary.append(int(enough[0]) if enough.size else n + 1)
    return np.array(boundary)


def exact_crossing_rate(boundary: NDArray[np.int64], win_rate: float = 0.5) -> float:
    """Probability that the number of wins ever reaches the boundary, by stepping the distribution."""
    alive = np.zeros(LOOKS + 2)
    alive[0] = 1.0
    crossed = 0.0
    for n in range(1, LOOKS + 1):
        alive[1:] = alive[1:] * (1 - win_rate) + alive[:-1] * win_rate
        alive[0] *= 1 - win_rate
        crossed += float(alive[boundary[n] :].sum())
        alive[boundary[n] :] = 0.0
    return crossed


def simulated_crossing_rate(boundary: NDArray[np.int64], paths: int, seed: int) -> float:
    wins = np.random.default_rng(seed).integers(0, 2, size=(paths, LOOKS), dtype=np.int16).cumsum(axis=1)
    return float((wins >= boundary[1:]).any(axis=1).mean())


def test_no_rounds_are_no_evidence() -> None:
    assert log_e_value(0, 0) == 0.0


@pytest.mark.parametrize("rounds", [1, 2, 3, 8, 25, 60])
def test_the_e_value_is_the_likelihood_ratio_integrated_over_win_rates_above_one_half(rounds: int) -> None:
    for wins in range(rounds + 1):
        integral, _ = quad(lambda p, k=wins: 2 * (2 * p) ** k * (2 - 2 * p) ** (rounds - k), 0.5, 1)

        assert log_e_value(wins, rounds - wins) == pytest.approx(math.log(integral), abs=1e-9)


@pytest.mark.parametrize("rounds", [1, 2, 5, 9, 37, 600, 5000])
def test_the_e_value_agrees_with_exact_integers(rounds: int) -> None:
    for wins in sorted({0, 1, rounds // 3, rounds // 2, (rounds + 1) // 2, 2 * rounds // 3, rounds - 1, rounds}):
        assert log_e_value(wins, rounds - wins) == pytest.approx(exact_log_e(wins, rounds), abs=1e-10)


@pytest.mark.parametrize(
    ("wins", "losses", "expected"),
    [
        (1_000_000, 0, 1_000_001 * math.log(2) - math.log(1_000_001)),
        (0, 1_000_000, -math.log(1_000_001)),
        (1_000, 999_000, math.log(math.fsum((1_000 / 999_002) ** j for j in range(9)) / 999_001)),
    ],
)
def test_a_million_rounds_neither_overflow_nor_underflow(wins: int, losses: int, expected: float) -> None:
    assert log_e_value(wins, losses) == pytest.approx(expected, abs=1e-7)


def test_the_e_value_of_one_more_round_is_at_most_the_present_one_on_average() -> None:
    for wins, losses in [(0, 0), (3, 1), (9, 0), (40, 60), (300, 299)]:
        now = math.exp(log_e_value(wins, losses))
        after_a_win = math.exp(log_e_value(wins + 1, losses))
        after_a_loss = math.exp(log_e_value(wins, losses + 1))

        for win_rate in (0.5, 0.45, 0.2, 0.0):
            assert win_rate * after_a_win + (1 - win_rate) * after_a_loss <= now * (1 + 1e-9)


@given(wins=counts, losses=counts)
@repeatable
def test_a_win_adds_evidence_and_a_loss_takes_some(wins: int, losses: int) -> None:
    now = log_e_value(wins, losses)

    assert log_e_value(wins + 1, losses) > now
    assert log_e_value(wins, losses + 1) < now


@given(wins=counts, losses=counts)
@repeatable
def test_the_evidence_of_both_sides_adds_up_to_that_against_a_fair_coin(wins: int, losses: int) -> None:
    rounds = wins + losses
    both = (rounds + 1) * math.log(2) - math.log((rounds + 1) * math.comb(rounds, wins))

    total = np.logaddexp(log_e_value(wins, losses), log_e_value(losses, wins))

    assert total == pytest.approx(both, abs=1e-8)


def test_nine_equal_rounds_are_the_fewest_that_decide_at_one_percent() -> None:
    assert log_e_value(8, 0) < math.log(100) <= log_e_value(9, 0)


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="counts"):
        log_e_value(-1, 3)


def test_looking_after_every_round_crosses_no_more_often_than_alpha() -> None:
    paths = 8000

    rate = simulated_crossing_rate(e_process_boundary(), paths, seed=11)

    assert rate <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / paths)
    assert rate >= 0.004  # the bound is not vacuous


def test_the_exact_crossing_rate_over_600_looks_is_below_alpha() -> None:
    rate = exact_crossing_rate(e_process_boundary())

    assert rate == pytest.approx(0.00746, abs=0.00001)


def test_a_fixed_alpha_sign_test_looked_at_after_every_round_breaks_its_level() -> None:
    boundary = fixed_test_boundary()

    assert simulated_crossing_rate(boundary, 8000, seed=11) > 5 * ALPHA
    assert exact_crossing_rate(boundary) > 5 * ALPHA


def test_a_clear_difference_is_found_soon() -> None:
    assert exact_crossing_rate(e_process_boundary(), win_rate=0.7) > 0.99


def test_rounds_are_counted_above_below_and_at_the_limit() -> None:
    evidence = sign_evidence([1.0, 2.0, 2.0, 3.0, 5.0], limit=2.0)

    assert evidence == SignEvidence(above=2, below=1, ties=2)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_difference_or_limit_that_is_not_finite_is_refused(broken: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        sign_evidence([0.1, broken], limit=0.0)
    with pytest.raises(ValueError, match="finite"):
        sign_evidence([0.1, 0.2], limit=broken)
    with pytest.raises(ValueError, match="finite"):
        sign_bounds([0.1, broken], 0.98)


def test_too_few_rounds_bound_nothing() -> None:
    assert sign_bounds([], 0.98) == (-math.inf, math.inf)
    assert sign_bounds(np.arange(8.0), 0.98) == (-math.inf, math.inf)


def test_nine_rounds_bound_the_median_by_their_extremes() -> None:
    assert sign_bounds(np.arange(9.0), 0.98) == (0.0, 8.0)


def test_the_ends_of_the_interval_are_where_the_e_process_stops_rejecting() -> None:
    differences = np.random.default_rng(5).normal(size=250)
    needed = math.log(2 / 0.02)

    low, high = sign_bounds(differences, 0.98)

    below, above = sign_evidence(differences, low - 1e-9), sign_evidence(differences, low + 1e-9)
    assert log_e_value(below.above, below.below) >= needed > log_e_value(above.above, above.below)
    below, above = sign_evidence(differences, high - 1e-9), sign_evidence(differences, high + 1e-9)
    assert log_e_value(above.below, above.above) >= needed > log_e_value(below.below, below.above)


@given(differences=series)
@repeatable
def test_the_interval_encloses_the_median_and_widens_with_confidence(differences: list[float]) -> None:
    narrow = sign_bounds(differences, 0.9)
    wide = sign_bounds(differences, 0.99)

    assert wide[0] <= narrow[0] <= narrow[1] <= wide[1]
    assert not differences or narrow[0] <= np.median(differences) <= narrow[1]


@given(differences=series)
@repeatable
def test_the_interval_of_mirrored_differences_is_the_mirrored_interval(differences: list[float]) -> None:
    low, high = sign_bounds(differences, 0.95)

    assert sign_bounds([-d for d in differences], 0.95) == (-high, -low)


@pytest.mark.parametrize("ties", [False, True], ids=["continuous", "with ties"])
def test_the_interval_covers_the_median_at_every_look_at_once(ties: bool) -> None:
    rng = np.random.default_rng(17)
    paths, confidence = 1000, 0.95
    skewed = np.round(rng.exponential(size=(paths, 240)), 1 if ties else 12)
    median = 0.7 if ties else math.log(2)

    def covered(path: NDArray[np.float64]) -> bool:
        bounds = (sign_bounds(path[:n], confidence) for n in range(8, 241, 8))
        return all(low <= median <= high for low, high in bounds)

    missed = 1 - np.mean([covered(path) for path in skewed])

    assert missed <= 1 - confidence + 3 * math.sqrt(confidence * (1 - confidence) / paths)


def test_the_forecast_is_the_round_at_which_a_steady_share_of_wins_decides() -> None:
    pattern = np.array([1.0, 1.0, -1.0, 1.0])  # 75 % wins

    forecast = rounds_to_decide(np.tile(pattern, 3), limit=0.0, alpha=ALPHA)

    rounds = np.tile(pattern, 100)
    decided = next(
        n
        for n in range(1, 400)
        if log_e_value(*np.bincount(rounds[:n] > 0, minlength=2)[::-1].tolist()) >= math.log(100)
    )
    assert forecast == pytest.approx(decided, abs=4)


def test_rounds_that_decide_already_need_no_more() -> None:
    assert rounds_to_decide(np.ones(20), limit=0.0, alpha=ALPHA) == 20
    assert rounds_to_decide(-np.ones(20), limit=0.0, alpha=ALPHA) == 20


def test_ties_are_expected_to_go_on() -> None:
    without = rounds_to_decide(np.tile([1.0, 1.0, -1.0], 4), limit=0.0, alpha=ALPHA)
    half_ties = rounds_to_decide(np.tile([1.0, 0.0, 1.0, 0.0, -1.0, 0.0], 4), limit=0.0, alpha=ALPHA)

    assert without is not None
    assert half_ties == pytest.approx(2 * without, abs=6)


def test_what_a_million_rounds_would_not_decide_has_no_forecast() -> None:
    near_even = np.concatenate([np.ones(10_001), -np.ones(9_999)])

    assert rounds_to_decide([], limit=0.0, alpha=ALPHA) is None
    assert rounds_to_decide(np.zeros(50), limit=0.0, alpha=ALPHA) is None
    assert rounds_to_decide([1.0, -1.0], limit=0.0, alpha=ALPHA) is None
    assert rounds_to_decide(near_even, limit=0.0, alpha=ALPHA) is None
    assert log_e_value(FORESIGHT_ROUNDS // 2 + 50, FORESIGHT_ROUNDS // 2 - 50) < math.log(100)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.5, math.nan])
def test_an_impossible_error_rate_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        rounds_to_decide([1.0], limit=0.0, alpha=alpha)


@pytest.mark.parametrize("confidence", [95, 1.0, 0.05, math.nan])
def test_a_confidence_that_is_no_confidence_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        sign_bounds([1.0, 2.0], confidence)
