"""Figures: estimates with intervals for reports; nothing in them is NaN or infinite, however few the samples."""

import math

import msgspec
import numpy as np
import pytest

from pytest_edgeai.judge import figures, ratios
from pytest_edgeai.judge.finding import Finding
from pytest_edgeai.judge.rules import RIGOR
from pytest_edgeai.records import Figure, Outcome
from tests.judge.simulated import QUIET, Series, Turns


def test_what_is_known_without_sampling_has_no_width():
    figure = figures.exact(1000.0, "bytes")

    assert (figure.low, figure.estimate, figure.high, figure.confidence, figure.n) == (1000.0, 1000.0, 1000.0, 1, 1)


def test_processes_are_summed_up_by_their_median_and_range():
    figure = figures.of_range([5.0, 1.0, 2.0], "bytes", "processes")

    assert (figure.low, figure.estimate, figure.high, figure.n) == (1.0, 2.0, 5.0, 3)
    assert figure.method == "range of 3 processes"


@pytest.mark.parametrize("p", [0.5, 0.9])
def test_a_percentile_of_enough_calls_has_an_interval(p):
    calls = Series(QUIET).more(200)

    figure = figures.of_percentile(calls, p, "s")

    assert figure.low < figure.estimate < figure.high
    assert (figure.unit, figure.confidence, figure.n) == ("s", 0.95, 200)


@pytest.mark.parametrize(("p", "calls"), [(0.99, 100), (0.95, 50), (0.5, 3)])
def test_a_percentile_of_too_few_calls_is_an_estimate_alone(p, calls):
    figure = figures.of_percentile(Series(QUIET).more(calls), p, "s")

    assert figure.low == figure.estimate == figure.high
    assert figure.confidence == 0


def test_jitter_is_an_estimate_alone():
    figure = figures.of_jitter(Series(QUIET).more(100))

    assert figure.estimate == pytest.approx(0.02, rel=0.3)
    assert (figure.confidence, figure.unit) == (0, "proportion")


def test_rounds_in_turns_are_summed_up_as_a_speedup():
    sampler = Turns(2.0, 2.0)

    figure = figures.of_turns(np.array([sampler.round(0) for _ in range(60)]))

    assert figure.low < figure.estimate < figure.high
    assert figure.estimate == pytest.approx(2.0, rel=0.03)
    assert (figure.unit, figure.n) == ("x", 60)


def test_a_few_rounds_in_turns_are_an_estimate_alone():
    figure = figures.of_turns(np.array([0.69, 0.70, 0.68]))

    assert figure.confidence == 0
    assert figure.low == figure.estimate == figure.high == pytest.approx(math.exp(0.69))


def test_right_and_wrong_answers_have_exact_binomial_bounds():
    figure = figures.of_scores(np.repeat([1.0, 0.0], [90, 10]))

    assert figure.estimate == 0.9
    assert (figure.low, figure.high) == (pytest.approx(0.82378, abs=1e-5), pytest.approx(0.95099, abs=1e-5))
    assert figure.method == "Clopper-Pearson"


def test_real_valued_scores_have_normal_bounds():
    values = np.linspace(0.5, 0.9, 101)

    figure = figures.of_scores(values)

    assert figure.estimate == pytest.approx(0.7)
    assert figure.high - figure.low == pytest.approx(2 * 1.96 * values.std(ddof=1) / math.sqrt(101))


def test_a_share_of_groups_ends_at_all_and_at_nothing():
    scores = np.ones(400)
    scores[0] = 0

    most = figures.of_scores(scores, np.arange(400) // 4)
    least = figures.of_scores(1 - scores, np.arange(400) // 4)

    assert most.high == 1
    assert least.low == 0
    assert 0 < most.low < most.estimate < 1


def test_one_real_valued_score_is_an_estimate_alone():
    figure = figures.of_scores(np.array([0.7]))

    assert (figure.low, figure.estimate, figure.high, figure.confidence) == (0.7, 0.7, 0.7, 0)


def test_a_finding_becomes_a_figure_of_both_sides_confidence():
    finding = ratios.speedup(Turns(3.0, 2.0), ">=", 2.0, RIGOR["quick"])

    figure = figures.of_finding(finding, "x")

    assert figure is not None
    assert (figure.estimate, figure.low, figure.high) == (finding.estimate, finding.low, finding.high)
    assert figure.confidence == pytest.approx(0.98)
    assert figure.n == finding.samples


def test_a_finding_without_an_estimate_becomes_no_figure():
    assert figures.of_finding(Finding(Outcome.ERROR, None), "x") is None


def test_a_finding_without_bounds_becomes_an_estimate_alone():
    figure = figures.of_finding(Finding(Outcome.INCONCLUSIVE, 2.0, -math.inf, math.inf, 0.99), "x")

    assert figure is not None
    assert (figure.low, figure.high, figure.confidence) == (2.0, 2.0, 0)


def few(count: int) -> np.ndarray:
    return np.random.default_rng(count).uniform(0.5, 1.5, count)


@pytest.mark.parametrize("count", [1, 2, 10, 300])
def test_no_figure_holds_what_json_has_no_word_for(count):
    values = few(count)
    made = [
        figures.of_range(values.tolist(), "bytes", "processes"),
        figures.of_percentile(values, 0.99, "s"),
        figures.of_jitter(values),
        figures.of_turns(values),
        figures.of_scores(values),
        figures.of_scores(np.round(values / 2)),
    ]

    assert all(math.isfinite(number) for f in made for number in (f.estimate, f.low, f.high, f.confidence))
    assert [msgspec.json.decode(msgspec.json.encode(f), type=Figure) for f in made] == made
