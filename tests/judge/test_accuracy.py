"""Accuracy: non-inferiority to the reference on the same items, and proportions alone; with rates of false verdicts at the limit."""

import functools
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import bdtr

from pytest_edgeai.judge.rules import RIGOR
from pytest_edgeai.judge.scores import accuracy_ratio, proportion
from pytest_edgeai.records import Outcome

PASS, FAIL, INCONCLUSIVE, ERROR, UNSUPPORTED = Outcome
QUICK = RIGOR["quick"]
Scores = NDArray[np.float64]


def scores(both: int, better: int, worse: int, neither: int) -> tuple[Scores, Scores]:
    """Of the variant and of the reference: items that both answer right, that only the variant does, only the reference, none."""
    variant = np.repeat([1.0, 1.0, 0.0, 0.0], [both, better, worse, neither])
    reference = np.repeat([1.0, 0.0, 1.0, 0.0], [both, better, worse, neither])
    return variant, reference


@functools.cache
def outcome(both: int, better: int, worse: int, operator: str, limit: float) -> Outcome:
    return accuracy_ratio(*scores(both, better, worse, 3), operator, limit, QUICK).outcome


def promised(alpha: float, runs: int) -> float:
    """The largest share of false verdicts that chance makes of a true rate of ``alpha`` in all but one of a thousand tests."""
    return next(k for k in range(runs) if bdtr(k, runs, alpha) > 0.999) / runs


@pytest.mark.parametrize(
    ("table", "operator", "limit", "expected"),
    [
        ((180, 0, 0, 20), ">=", 0.95, PASS),
        ((175, 2, 3, 20), ">=", 0.95, PASS),
        ((170, 2, 10, 18), ">=", 0.95, INCONCLUSIVE),
        ((150, 1, 30, 19), ">=", 0.95, FAIL),
        ((0, 0, 180, 20), ">=", 0.95, FAIL),
        ((150, 30, 1, 19), ">=", 1.05, PASS),
        ((180, 0, 0, 20), ">=", 1.00, INCONCLUSIVE),
        ((180, 0, 0, 20), "<=", 0.95, FAIL),
        ((170, 2, 10, 18), "<=", 0.95, INCONCLUSIVE),
        ((150, 1, 30, 19), "<=", 0.95, PASS),
        ((180, 0, 0, 20), "<=", 1.05, PASS),
        ((150, 30, 1, 19), "<=", 1.05, FAIL),
        ((58, 0, 0, 0), ">=", 0.95, INCONCLUSIVE),
        ((59, 0, 0, 0), ">=", 0.95, PASS),
    ],
)
def test_right_and_wrong_answers_prove_or_refute_a_ratio_or_leave_it_open(table, operator, limit, expected):
    finding = accuracy_ratio(*scores(*table), operator, limit, QUICK)

    assert finding.outcome is expected
    assert finding.samples == sum(table)
    assert finding.spent == f"{sum(table)} items"
    assert finding.method == "paired non-inferiority, exact (Nam-Blackwelder score)"
    assert finding.confidence == 0.95
    assert finding.low <= finding.estimate <= finding.high


def test_the_finding_tells_how_many_items_changed_each_way():
    finding = accuracy_ratio(*scores(175, 2, 3, 20), ">=", 0.95, QUICK)

    assert "3 items got worse, 2 got better" in finding.notes
    assert finding.estimate == pytest.approx(177 / 178)


def test_items_that_neither_answers_right_do_not_matter():
    few = accuracy_ratio(*scores(100, 1, 4, 0), ">=", 0.95, QUICK)
    many = accuracy_ratio(*scores(100, 1, 4, 400), ">=", 0.95, QUICK)

    assert (few.outcome, few.low, few.high) == (many.outcome, many.low, many.high)


@pytest.mark.parametrize(("limit", "needed"), [(0.90, 29), (0.95, 59), (0.99, 299)])
def test_too_few_items_are_refused_with_the_number_that_it_takes(limit, needed):
    too_few = accuracy_ratio(*scores(needed - 1, 0, 0, 0), ">=", limit, QUICK)
    enough = accuracy_ratio(*scores(needed, 0, 0, 0), ">=", limit, QUICK)

    assert too_few.outcome is INCONCLUSIVE
    assert f"{needed - 1} items can't prove it even without one error; it needs at least {needed}" in too_few.notes
    assert enough.outcome is PASS


def test_an_open_comparison_tells_how_many_items_would_decide_it_and_they_do():
    table = (170, 2, 10, 18)

    note = next(n for n in accuracy_ratio(*scores(*table), ">=", 0.95, QUICK).notes if "would decide it" in n)

    times = math.ceil(int(note.split()[1]) / sum(table)) + 1
    more = accuracy_ratio(*scores(*(times * count for count in table)), ">=", 0.95, QUICK)
    assert more.outcome is not INCONCLUSIVE


@pytest.mark.parametrize("reference", [np.zeros(100), np.full(100, -0.2)], ids=["nothing right", "negative"])
def test_a_reference_that_has_nothing_right_is_an_error(reference):
    finding = accuracy_ratio(np.ones(100), reference, ">=", 0.95, QUICK)

    assert finding.outcome is ERROR
    assert finding.notes == ["the reference has no item right: a ratio to it means nothing"]
    assert finding.estimate is None


@pytest.mark.parametrize("operator", [">=", "<="])
def test_a_variant_that_has_nothing_right_is_judged_like_any_other(operator):
    finding = accuracy_ratio(np.zeros(100), np.ones(100), operator, 0.95, QUICK)

    assert finding.outcome is {">=": FAIL, "<=": PASS}[operator]
    assert finding.estimate == 0


@pytest.mark.parametrize(
    ("items", "gain", "gains", "operator"),
    [
        (100, 0.90, 0.0, ">="),
        (100, 0.90, 0.005, ">="),
        (200, 0.99, 0.0, ">="),
        (60, 0.95, 0.01, ">="),
        (100, 0.90, 0.0, "<="),
        (60, 0.95, 0.01, "<="),
    ],
)
def test_a_variant_exactly_at_the_limit_passes_no_more_often_than_promised(items, gain, gains, operator):
    """``gain``: the reference's accuracy; ``gains``: the share of items that only the variant answers right."""
    runs, losses = 1000, 0.05 * gain + gains
    chances = [gain - losses, gains, losses, 1 - gain - gains]
    tables = np.random.default_rng(0).multinomial(items, chances, size=runs)[:, :3].tolist()

    outcomes = [outcome(*table, operator, 0.95) for table in tables]

    assert outcomes.count(PASS) / runs <= promised(0.05, runs)
    assert outcomes.count(FAIL) / runs <= promised(0.01, runs)


def test_comparing_estimates_would_pass_half_of_the_variants_at_the_limit():
    """So that the test before is known to be able to fail."""
    runs, items = 2000, 100
    tables = np.random.default_rng(0).multinomial(items, [0.85, 0.005, 0.05, 0.095], size=runs)

    passes = np.mean(tables[:, 0] + tables[:, 1] >= 0.95 * (tables[:, 0] + tables[:, 2]))

    assert passes > 0.4


def real(items: int, ratio: float, seed: int) -> tuple[Scores, Scores]:
    """Scores between 0 and 1 or so whose means have this ratio."""
    rng = np.random.default_rng(seed)
    reference = rng.beta(8, 2, items)
    return ratio * reference + rng.normal(0, 0.05, items), reference


@pytest.mark.parametrize(
    ("ratio", "operator", "expected"),
    [
        (0.99, ">=", PASS),
        (0.95, ">=", INCONCLUSIVE),
        (0.90, ">=", FAIL),
        (0.99, "<=", FAIL),
        (0.95, "<=", INCONCLUSIVE),
        (0.90, "<=", PASS),
    ],
)
def test_real_valued_scores_prove_or_refute_a_ratio_or_leave_it_open(ratio, operator, expected):
    finding = accuracy_ratio(*real(200, ratio, seed=1), operator, 0.95, QUICK)

    assert finding.outcome is expected
    assert finding.method == "paired bootstrap"
    assert finding.low <= finding.estimate <= finding.high


def test_real_valued_scores_of_too_few_items_are_refused_however_equal_they_are():
    reference = np.random.default_rng(1).beta(8, 2, 58)

    finding = accuracy_ratio(reference * 0.999, reference, ">=", 0.95, QUICK)

    assert finding.outcome is INCONCLUSIVE
    assert "58 items can't prove it even without one error; it needs at least 59" in finding.notes


def test_real_valued_scores_exactly_at_the_limit_pass_no_more_often_than_promised():
    runs = 400

    outcomes = [accuracy_ratio(*real(80, 0.95, seed=run), ">=", 0.95, QUICK).outcome for run in range(runs)]

    assert outcomes.count(PASS) / runs <= promised(0.05, runs)
    assert outcomes.count(FAIL) / runs <= promised(0.01, runs)


def test_one_real_valued_side_makes_the_comparison_real_valued():
    variant, reference = scores(180, 0, 0, 20)

    finding = accuracy_ratio(variant * 0.98, reference, ">=", 0.95, QUICK)

    assert finding.method == "paired bootstrap"


@pytest.mark.parametrize(
    ("right", "items", "operator", "limit", "expected"),
    [
        (96, 100, ">=", 0.90, PASS),
        (95, 100, ">=", 0.90, INCONCLUSIVE),
        (84, 100, ">=", 0.90, INCONCLUSIVE),
        (81, 100, ">=", 0.90, FAIL),
        (100, 100, ">=", 1.00, INCONCLUSIVE),
        (84, 100, "<=", 0.90, PASS),
        (96, 100, "<=", 0.90, INCONCLUSIVE),
        (97, 100, "<=", 0.90, FAIL),
        (0, 100, "<=", 0.05, PASS),
        (100, 100, "<=", 0.05, FAIL),
    ],
)
def test_a_share_of_right_answers_is_held_against_a_number(right, items, operator, limit, expected):
    finding = proportion(np.repeat([1.0, 0.0], [right, items - right]), operator, limit, QUICK)

    assert finding.outcome is expected
    assert finding.estimate == right / items
    assert finding.method == "Clopper-Pearson"


@pytest.mark.parametrize("operator", [">=", "<="])
@pytest.mark.parametrize("items", [50, 400])
def test_a_share_exactly_at_the_limit_passes_no_more_often_than_promised(items, operator):
    chance = np.random.default_rng(2).binomial(items, 0.9, size=5000)
    by_count = {
        right: proportion(np.repeat([1.0, 0.0], [right, items - right]), operator, 0.9, QUICK).outcome
        for right in set(chance.tolist())
    }

    outcomes = [by_count[right] for right in chance.tolist()]

    assert outcomes.count(PASS) / 5000 <= promised(0.05, 5000)
    assert outcomes.count(FAIL) / 5000 <= promised(0.01, 5000)


def test_a_real_valued_score_is_not_held_against_a_number():
    finding = proportion(np.array([0.2, 0.9, 1.0]), ">=", 0.9, QUICK)

    assert finding.outcome is UNSUPPORTED
    assert "reference.accuracy" in finding.notes[0]
