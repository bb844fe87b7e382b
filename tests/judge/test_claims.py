"""Claims: every phrasing of a question is one claim, and its verdict is told in the words that were used."""

import math

import msgspec
import pytest

from pytest_edgeai.judge.claims import Claim, as_claimed, canonical
from pytest_edgeai.records import Outcome, Verdict

BASELINE = "orig-fp32"


def claim(subject: str, quantity: str, operator: str, limit: float, other: str | None = None) -> Claim:
    return Claim(subject, quantity, operator, limit, other, unit="ratio" if other else "x")


FAST = claim("fast-int8", "speedup", ">=", 2)
PHRASINGS = {
    "speedup >= 2": (FAST, 4.0),
    "speedup < 2": (claim("fast-int8", "speedup", "<", 2), 4.0),
    "latency <= half": (claim("fast-int8", "latency.p50", "<=", 0.5, BASELINE), 0.25),
    "latency > half": (claim("fast-int8", "latency.p50", ">", 0.5, BASELINE), 0.25),
    "baseline's latency >= twice": (claim(BASELINE, "latency.p50", ">=", 2, "fast-int8"), 4.0),
    "throughput >= twice": (claim("fast-int8", "throughput", ">=", 2, BASELINE), 4.0),
    "baseline's throughput <= half": (claim(BASELINE, "throughput", "<=", 0.5, "fast-int8"), 0.25),
}


def verdict(of: Claim, outcome: Outcome, estimate: float) -> Verdict:
    return Verdict(
        outcome=outcome,
        claim=str(of),
        subject=of.subject,
        quantity=of.quantity,
        operator=of.operator,
        limit=of.limit,
        unit=of.unit,
        device="a-device",
        target="cross",
        estimate=estimate,
        low=estimate / 2,
        high=estimate * 2,
    )


@pytest.mark.parametrize("words", PHRASINGS)
def test_all_phrasings_of_a_question_about_speed_are_one_claim_told_in_its_own_words(words):
    made, ratio = PHRASINGS[words]

    wanted, turned = canonical(made, BASELINE)
    told = as_claimed(verdict(wanted, Outcome.PASS, 4.0), made, turned)

    assert wanted == FAST
    assert (told.outcome is Outcome.FAIL) == turned
    assert turned == (words in ("speedup < 2", "latency > half"))
    assert (told.subject, told.operator, told.limit) == (made.subject, made.operator, made.limit)
    assert (told.low, told.estimate, told.high) == (ratio / 2, ratio, ratio * 2)


def test_a_speed_up_that_has_no_lower_bound_yet_is_a_latency_without_an_upper_one():
    made, _ = PHRASINGS["latency <= half"]
    unbounded = msgspec.structs.replace(verdict(FAST, Outcome.INCONCLUSIVE, 4.0), low=0.0, high=math.inf)

    told = as_claimed(unbounded, made, False)

    assert (told.low, told.estimate, told.high) == (0.0, 0.25, None)


@pytest.mark.parametrize("quantity", ["latency.p50", "throughput"])
def test_a_ratio_of_two_variants_and_its_inverse_are_one_claim(quantity):
    one = claim("b", quantity, "<=" if quantity == "latency.p50" else ">=", 0.5, "a")
    other = claim("a", quantity, ">=" if quantity == "latency.p50" else "<=", 2, "b")

    assert canonical(one, BASELINE)[0] == canonical(other, BASELINE)[0]


def test_latencies_of_calls_with_different_batches_are_no_speedup():
    made = claim("fast-int8", "latency.p50", "<=", 0.5, BASELINE)

    assert canonical(made, BASELINE, None) == (made, False)


def test_throughput_at_a_load_is_a_claim_of_its_own():
    made = claim("fast-int8", "throughput@batch=8", ">=", 2, BASELINE)

    assert canonical(made, BASELINE) == (made, False)


@pytest.mark.parametrize(
    ("limit", "unit", "other", "told"),
    [
        (1.0001, "x", "orig-fp32", "<= 1.0001 * orig-fp32 perplexity"),
        (2.0, "x", None, "<= 2"),
        (0.36, "proportion", None, "<= 36.00 %"),
        (0.999995, "proportion", None, "<= 99.9995 %"),
    ],
)
def test_a_limit_is_told_as_it_was_claimed(limit, unit, other, told):
    assert str(Claim("fast-int8", "perplexity", "<=", limit, other, unit=unit)) == f"fast-int8 perplexity {told}"
