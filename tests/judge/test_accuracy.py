"""Accuracy: non-inferiority to the reference on the same items, and proportions alone; with rates of false verdicts at the limit."""

import dataclasses
import math
import re

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_edgeai.judge.scores import accuracy_ratio, corpus_ratio, exactly, proportion, too_few
from pytest_edgeai.records import Outcome
from tests.chance import promised
from tests.judge.simulated_scores import QUICK, clustered, false_verdicts, scores

PASS, FAIL, INCONCLUSIVE, ERROR, UNSUPPORTED = Outcome
Scores = NDArray[np.float64]


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


def test_the_finding_tells_how_many_items_changed_each_way_and_whether_chance_would_do_it():
    finding = accuracy_ratio(*scores(170, 1, 9, 20), ">=", 0.95, QUICK)

    assert finding.notes[0] == "9 items got worse, 1 got better: 5.00 % flipped (McNemar p = 0.021)"
    assert finding.estimate == pytest.approx(171 / 179)


def test_flips_are_told_where_accuracies_are_equal_and_decide_nothing():
    calm, restless = (accuracy_ratio(*scores(500, n, n, 100), ">=", 0.9, QUICK) for n in (0, 50))

    assert (calm.outcome, restless.outcome) == (PASS, PASS)
    assert restless.notes == ["50 items got worse, 50 got better: 14.29 % flipped (McNemar p = 1)"]


def test_items_that_neither_answers_right_do_not_matter():
    few = accuracy_ratio(*scores(100, 1, 4, 0), ">=", 0.95, QUICK)
    many = accuracy_ratio(*scores(100, 1, 4, 400), ">=", 0.95, QUICK)

    assert (few.outcome, few.low, few.high) == (many.outcome, many.low, many.high)


@pytest.mark.parametrize(("limit", "needed"), [(0.90, 29), (0.95, 59), (0.99, 299)])
def test_too_few_items_are_refused_before_they_are_scored_with_the_number_that_it_takes(limit, needed):
    refused = too_few(needed - 1, ">=", limit, QUICK)

    assert refused is not None
    assert refused.outcome is INCONCLUSIVE
    assert refused.notes == [f"{needed - 1} items can't prove it even without one error; it needs at least {needed}"]
    assert too_few(needed, ">=", limit, QUICK) is None


@pytest.mark.parametrize("operator", [">=", "<="])
@pytest.mark.parametrize("limit", [0.1, 0.5, 0.9, 0.99])
def test_what_is_refused_could_not_have_been_proven_and_what_is_not_could(operator, limit):
    best = 1.0 if operator == ">=" else 0.0
    sizes = range(1, 330)

    refused = [too_few(items, operator, limit, QUICK, at_most=1) is not None for items in sizes]

    proven = [proportion(np.full(items, best), operator, limit, QUICK).outcome is PASS for items in sizes]
    assert refused == [not one for one in proven]


def test_a_ratio_that_is_refused_could_not_have_been_proven_without_gains():
    refused = [too_few(items, ">=", 0.95, QUICK) is not None for items in range(1, 100)]

    proven = [accuracy_ratio(*scores(items, 0, 0), ">=", 0.95, QUICK).outcome is PASS for items in range(1, 100)]
    assert refused == [not one for one in proven]


def test_no_number_of_items_proves_all_of_them_right():
    refused = too_few(10**9, ">=", 1.0, QUICK, at_most=1)

    assert refused is not None
    assert "no number of items proves 100.00 %" in refused.notes[0]
    assert too_few(100, ">=", 1.0, QUICK) is None  # a variant may be better than its reference
    assert too_few(100, "<=", 1.0, QUICK, at_most=1) is None


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
    ("items", "accuracy", "gains", "operator"),
    [
        (100, 0.90, 0.0, ">="),
        (100, 0.60, 0.01, ">="),
        (200, 0.99, 0.005, ">="),
        (200, 0.90, 0.02, ">="),
        (500, 0.90, 0.01, ">="),
        (1000, 0.80, 0.002, ">="),
        (2000, 0.95, 0.001, ">="),
        (2000, 0.80, 0.005, ">="),
        (100, 0.90, 0.02, "<="),
        (500, 0.90, 0.01, "<="),
    ],
)
def test_a_variant_exactly_at_the_limit_is_judged_wrongly_no_more_often_than_promised(items, accuracy, gains, operator):
    passes, fails = false_verdicts(items, accuracy, gains, operator, runs=10_000)

    assert passes <= 0.055
    assert fails <= promised(0.01, 10_000)


@pytest.mark.parametrize(("items", "flips", "power"), [(259, 0.05, 0.88), (403, 0.10, 0.86)])
def test_a_variant_that_loses_nothing_passes_with_as_many_items_as_its_flips_ask_for(items, flips, power):
    passes, fails = false_verdicts(items, 0.9, flips / 2, truth=1.0)

    assert passes >= power
    assert fails == 0


def test_a_gate_among_many_needs_more_evidence_to_fail_and_no_more_to_pass():
    one_of_fifty = dataclasses.replace(QUICK, share=1 / 50)

    failing = [accuracy_ratio(*scores(155, 1, 25, 19), ">=", 0.95, rules).outcome for rules in (QUICK, one_of_fifty)]
    passing = [accuracy_ratio(*scores(175, 2, 3, 20), ">=", 0.95, rules).outcome for rules in (QUICK, one_of_fifty)]

    assert failing == [FAIL, INCONCLUSIVE]
    assert passing == [PASS, PASS]


def test_fifty_thousand_items_are_judged_as_the_normal_approximation_judges_them():
    near = accuracy_ratio(*scores(46_000, 500, 2_700, 800), ">=", 0.95, QUICK)
    over = accuracy_ratio(*scores(46_000, 500, 3_400, 100), ">=", 0.95, QUICK)

    assert (near.outcome, over.outcome) == (PASS, FAIL)
    assert near.low > 0.95 > over.high


def test_what_is_open_has_the_limit_between_its_bounds():
    findings = [accuracy_ratio(*scores(58 + n, 0, n), ">=", 0.95, QUICK) for n in range(6)]

    assert all(finding.low <= 0.95 <= finding.high for finding in findings if finding.outcome is INCONCLUSIVE)
    assert INCONCLUSIVE in {finding.outcome for finding in findings}


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


def test_a_handful_of_real_valued_scores_refutes_nothing():
    finding = accuracy_ratio(np.full(9, 0.5), np.linspace(0.8, 0.9, 9), ">=", 0.95, QUICK)

    assert finding.outcome is INCONCLUSIVE


def test_an_open_real_valued_comparison_tells_how_many_items_would_decide_it():
    finding = accuracy_ratio(*real(200, 0.955, seed=1), ">=", 0.95, QUICK)

    assert finding.outcome is INCONCLUSIVE
    assert any("items like these would decide it" in note for note in finding.notes)


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


def test_an_open_share_tells_how_many_items_would_decide_it():
    finding = proportion(np.repeat([1.0, 0.0], [94, 6]), ">=", 0.90, QUICK)

    assert finding.outcome is INCONCLUSIVE
    assert len(finding.notes) == 1
    assert 100 < int(finding.notes[0].split()[1]) < 1000


# Chance ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("right", "expected"), [(40, ERROR), (54, ERROR), (60, ERROR), (75, PASS)])
def test_a_reference_that_may_be_no_better_than_a_constant_answer_is_an_error(right, expected):
    alike = np.repeat([1.0, 0.0], [right, 100 - right])

    finding = accuracy_ratio(alike, alike, ">=", 0.95, QUICK, chance=0.54)

    assert finding.outcome is expected
    if expected is ERROR:
        assert f"the reference is right on {right}.00 % of the items, a constant answer on 54.00 %" in finding.notes[0]
        assert finding.notes[1].startswith("a ratio to a chance model means nothing")


def test_a_model_that_guesses_is_found_out_almost_always():
    rng = np.random.default_rng(4)

    outcomes = [
        accuracy_ratio(guessed, guessed, ">=", 0.95, QUICK, chance=0.25).outcome
        for guessed in (rng.random((300, 400)) < 0.25).astype(float)
    ]

    assert outcomes.count(ERROR) / len(outcomes) >= 0.9


# Groups ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("icc", [0.05, 0.5])
def test_a_variant_exactly_at_the_limit_passes_no_more_often_where_losses_come_in_groups(icc):
    rng, runs = np.random.default_rng(5), 250

    outcomes = []
    for _ in range(runs):
        variant, reference, groups = clustered(120, icc, rng)
        outcomes.append(accuracy_ratio(variant, reference, ">=", 0.95, QUICK, groups=groups).outcome)

    assert outcomes.count(PASS) / runs <= promised(0.055, runs)
    assert outcomes.count(FAIL) / runs <= promised(0.01, runs)


def test_taking_grouped_items_for_single_ones_judges_wrongly_far_too_often():
    """So that the test before is known to be able to fail."""
    rng, runs = np.random.default_rng(5), 250

    outcomes = [accuracy_ratio(*clustered(120, 0.5, rng)[:2], ">=", 0.95, QUICK).outcome for _ in range(runs)]

    assert outcomes.count(PASS) / runs > 0.2
    assert outcomes.count(FAIL) / runs > 0.1


def test_grouped_items_prove_what_they_can():
    rng = np.random.default_rng(6)
    good, bad, few = clustered(120, 0.3, rng, truth=0.999), clustered(120, 0.3, rng, truth=0.8), clustered(20, 0.3, rng)

    findings = [
        accuracy_ratio(variant, reference, ">=", 0.95, QUICK, groups=groups)
        for variant, reference, groups in (good, bad, few)
    ]

    assert [finding.outcome for finding in findings] == [PASS, FAIL, INCONCLUSIVE]
    assert findings[0].method == "paired bootstrap over 120 groups"
    assert findings[0].spent == f"{len(good[0])} items in 120 groups"
    assert (
        "groups (counted as if equally large) can't prove it even without one error; it needs at least 30"
        in findings[2].notes[1]
    )


def test_groups_of_one_item_each_are_judged_as_real_valued_items_are():
    variant, reference = real(200, 0.99, seed=1)

    alone = accuracy_ratio(variant, reference, ">=", 0.95, QUICK)
    grouped = accuracy_ratio(variant, reference, ">=", 0.95, QUICK, groups=np.arange(200))

    assert (grouped.outcome, grouped.low, grouped.high) == (alone.outcome, alone.low, alone.high)


def test_a_share_of_grouped_items_is_held_against_a_number():
    rng = np.random.default_rng(7)
    lucky = clustered(150, 0.3, rng, accuracy=0.97, truth=0.999)
    poor = clustered(150, 0.3, rng, accuracy=0.70, truth=0.999)

    findings = [proportion(scored, ">=", 0.9, QUICK, groups=groups) for scored, _, groups in (lucky, poor)]

    assert [finding.outcome for finding in findings] == [PASS, FAIL]
    assert all(0 <= finding.low <= finding.estimate <= finding.high <= 1 for finding in findings)


# Scores of all items at once -------------------------------------------------------------------------------------------------


def f1(answers: NDArray[np.bool_], truth: NDArray[np.bool_]):
    """A corpus score of fixed answers."""

    def score(places: NDArray[np.int64]) -> float:
        mine, known = answers[places], truth[places]
        return float(2 * np.sum(mine & known) / max(np.sum(mine) + np.sum(known), 1))

    return score


def answered(items: int, kept: float, rng: np.random.Generator):
    """Scores of a reference, and of a variant that finds this share of what it finds."""
    truth = rng.random(items) < 0.4
    reference = np.where(rng.random(items) < 0.95, truth, ~truth)
    found = rng.random(items) < kept
    return f1(reference & found, truth), f1(reference, truth)


@pytest.mark.parametrize(("kept", "expected"), [(1.0, PASS), (0.91, INCONCLUSIVE), (0.80, FAIL)])
def test_a_score_of_all_items_proves_or_refutes_a_ratio_or_leaves_it_open(kept, expected):
    finding = corpus_ratio(*answered(1500, kept, np.random.default_rng(8)), 1500, ">=", 0.95, QUICK)

    assert finding.outcome is expected
    assert finding.method == "paired bootstrap"
    assert finding.low <= finding.estimate <= finding.high


def test_a_score_of_all_items_is_taken_over_groups_where_there_are_some():
    groups = np.repeat(np.arange(150), 10)

    finding = corpus_ratio(*answered(1500, 1.0, np.random.default_rng(8)), 1500, ">=", 0.95, QUICK, groups=groups)

    assert finding.outcome is PASS
    assert finding.method == "paired bootstrap over 150 groups"


def test_a_reference_that_scores_nothing_is_an_error():
    finding = corpus_ratio(lambda _: 0.5, lambda _: 0.0, 100, ">=", 0.95, QUICK)

    assert finding.outcome is ERROR
    assert finding.notes == ["the reference scores 0: a ratio to it means nothing"]


# Exactly these items ---------------------------------------------------------------------------------------------------------


def test_a_claim_on_exactly_this_dataset_is_arithmetic():
    passes = exactly([0.95, 0.95], [1.0, 1.0], ">=", 0.95, 1000)
    fails = exactly([0.949, 0.949], [1.0, 1.0], ">=", 0.95, 1000)

    assert (passes.outcome, fails.outcome) == (PASS, FAIL)
    assert passes.spent == "exactly this dataset: 1000 items, 2 runs"
    assert passes.confidence == 1


def test_runs_that_disagree_about_exactly_this_dataset_leave_it_open():
    finding = exactly([0.951, 0.949], None, ">=", 0.95, 1000)

    assert finding.outcome is INCONCLUSIVE
    assert finding.notes[0].startswith("runs lie on both sides of the limit, from 0.949 to 0.951")
    assert finding.confidence is None


@pytest.mark.parametrize(
    "judge",
    [
        lambda: accuracy_ratio(*real(80, 0.97, seed=3), ">=", 0.95, QUICK),
        lambda: corpus_ratio(*answered(300, 0.97, np.random.default_rng(9)), 300, ">=", 0.95, QUICK),
    ],
)
def test_the_same_scores_get_the_same_finding_to_the_last_bit(judge):
    assert judge() == judge()


@pytest.mark.parametrize("grouped", [False, True], ids=["items", "groups"])
def test_a_limit_of_one_is_not_proven_by_items_that_only_seem_to_be_equal(grouped):
    """A collapse of one in thirty is rarely seen in forty."""
    groups = np.repeat(np.arange(40), 5) if grouped else None
    equal = np.ones(200 if grouped else 40) * (1.0 if grouped else 0.7)

    findings = [
        accuracy_ratio(equal, equal, operator, limit, QUICK, groups=groups)
        for operator, limit in ((">=", 1.0), ("<=", 1.001))
    ]

    assert [finding.outcome for finding in findings] == [INCONCLUSIVE, INCONCLUSIVE]
    assert any("no number of" in note for note in findings[0].notes)


def test_a_real_valued_score_that_is_better_throughout_is_proven_to_be():
    rng = np.random.default_rng(2)
    reference = rng.uniform(0.4, 0.6, 200)

    assert accuracy_ratio(1.2 * reference, reference, ">=", 1.0, QUICK).outcome is PASS
    assert accuracy_ratio(reference, 1.2 * reference, ">=", 1.0, QUICK).outcome is FAIL


def test_what_is_equal_but_for_rounding_holds_exactly():
    assert exactly([0.72, 0.72], [0.80, 0.80], ">=", 0.9, 100).outcome is PASS
    assert exactly([0.72, 0.72], [0.80, 0.80], ">", 0.9, 100).outcome is FAIL


def test_a_reference_that_scores_nothing_is_an_error_exactly_too():
    assert exactly([0.5, 0.5], [0.0, 0.0], ">=", 0.9, 100).outcome is ERROR


@pytest.mark.parametrize(("right", "wrong"), [(49, 12), (56, 12)])
def test_the_items_that_are_forecast_decide_it(right, wrong):
    """Without flips the score alone says too few."""
    reference = np.repeat([1.0, 0.0], [right, wrong])
    finding = accuracy_ratio(reference, reference, ">=", 0.95, QUICK)

    wanted = int(re.search(r"about (\d+) items", finding.notes[1])[1])

    grown = np.repeat([1.0, 0.0], [round(right * wanted / len(reference)), round(wrong * wanted / len(reference))])
    assert finding.outcome is INCONCLUSIVE
    assert accuracy_ratio(grown, grown, ">=", 0.95, QUICK).outcome is PASS
    assert wanted < 1.3 * len(reference)
