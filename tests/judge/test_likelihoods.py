"""Claims on likelihoods: what is proven over documents, how often wrongly, and what is told where nothing is."""

import math

import numpy as np
import pytest
from chance import promised

from pytest_edgeai.judge import likelihoods
from pytest_edgeai.judge.rules import RIGOR
from pytest_edgeai.records import Outcome

RULES = RIGOR["quick"]


def documents(seed: int, count: int, shift: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums of the variant and of the reference, and tokens, of documents that differ in length and in how hard they are."""
    draw = np.random.default_rng(seed)
    tokens = draw.integers(30, 130, count).astype(float)
    hard = draw.gamma(9, 1 / 3, count)
    reference = np.array(
        [draw.normal(level, 1.5 / math.sqrt(size)) * size for level, size in zip(hard, tokens, strict=True)]
    )
    # A document's own share in what a conversion costs: skewed, as real ones are.
    cost = draw.gamma(2, shift / 2, count)
    return reference + cost * tokens, reference, tokens


def test_a_perplexity_that_is_clearly_kept_is_a_pass_with_bounds() -> None:
    variant, reference, tokens = documents(1, 60, 0.01)

    found = likelihoods.perplexity(variant, reference, tokens, "<=", 1.05, RULES)

    assert found.outcome is Outcome.PASS
    assert 1 < found.low < found.estimate < found.high < 1.05
    assert found.spent == f"60 documents, {tokens.sum():.0f} tokens in all"


def test_a_perplexity_that_is_clearly_lost_is_a_fail() -> None:
    variant, reference, tokens = documents(2, 60, 0.3)

    assert likelihoods.perplexity(variant, reference, tokens, "<=", 1.05, RULES).outcome is Outcome.FAIL


def test_a_perplexity_against_a_number_is_of_all_tokens_together() -> None:
    tokens = np.full(40, 50.0)
    sums = np.linspace(90, 110, 40)

    found = likelihoods.perplexity(sums, None, tokens, "<=", 9.0, RULES)

    assert found.outcome is Outcome.PASS
    assert found.estimate == pytest.approx(math.exp(2))


def test_few_documents_prove_nothing_and_say_how_many_would() -> None:
    variant, reference, tokens = documents(3, 20, 0.01)

    found = likelihoods.perplexity(variant, reference, tokens, "<=", 1.05, RULES)

    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.notes == ["20 documents can't prove anything; it needs at least 30, with --edge-dataset"]


def test_near_the_limit_it_says_how_many_documents_would_decide() -> None:
    variant, reference, tokens = documents(4, 40, math.log(1.045))

    found = likelihoods.perplexity(variant, reference, tokens, "<=", 1.05, RULES)

    assert found.outcome is Outcome.INCONCLUSIVE
    assert "documents like these would decide it" in found.notes[0]


def test_bits_per_byte_are_of_bytes() -> None:
    sums = np.full(40, 100 * math.log(2)) + np.linspace(-1, 1, 40)

    found = likelihoods.bits_per_byte(sums, None, np.full(40, 50.0), "<=", 2.5, RULES)

    assert found.estimate == pytest.approx(2)
    assert found.outcome is Outcome.PASS


def test_bits_per_byte_of_two_models_are_a_ratio() -> None:
    variant, reference, _ = documents(5, 60, 0.02)

    found = likelihoods.bits_per_byte(variant, reference, np.full(60, 300.0), "<=", 1.05, RULES)

    assert found.estimate == pytest.approx(variant.sum() / reference.sum())
    assert found.outcome is Outcome.PASS


def test_a_divergence_is_judged_by_documents() -> None:
    draw = np.random.default_rng(6)
    tokens = draw.integers(30, 130, 50).astype(float)

    found = likelihoods.divergence(draw.gamma(4, 0.01, 50) * tokens, tokens, "<=", 0.1, RULES)

    assert found.outcome is Outcome.PASS
    assert 0.03 < found.estimate < 0.05


@pytest.mark.parametrize("count", [30, 60, 200])
def test_exactly_at_the_limit_hardly_more_is_passed_than_promised(count: int) -> None:
    runs, at = 400, 0.0487

    passed = sum(
        likelihoods.perplexity(*documents(1000 * count + run, count, at), "<=", math.exp(at), RULES).outcome
        is Outcome.PASS
        for run in range(runs)
    )

    assert passed / runs <= promised(RULES.accuracy_pass, runs)
