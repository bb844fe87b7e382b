"""What an assertion sees: which claim each comparison makes, and what is refused with a sentence that says what to write."""

# ruff: noqa: SIM300 - which side a limit stands on is what is tested

import fractions
import math

import numpy as np
import pytest

from pytest_edgeai.errors import Undecided, UnsupportedError
from pytest_edgeai.judge.claims import Claim
from pytest_edgeai.judge.quantities import Quantity, Subject, units
from pytest_edgeai.records import Figure, Outcome, Recipe, Verdict
from pytest_edgeai.registry import find
from pytest_edgeai.units import MB, ms

UNITS = units(find().metrics.values())


class Recording:
    """A Decider that notes what it is asked, and answers what it was told to."""

    units = UNITS

    def __init__(self, outcome: Outcome = Outcome.PASS) -> None:
        self.outcome = outcome
        self.claims: list[Claim] = []
        self.figures: list[tuple[str, str]] = []

    def decide(self, claim: Claim) -> Verdict:
        self.claims.append(claim)
        return Verdict(
            outcome=self.outcome,
            claim=str(claim),
            subject=claim.subject,
            quantity=claim.quantity,
            operator=claim.operator,
            limit=claim.limit,
            unit=claim.unit,
            device="a-device",
            target="cross",
        )

    def figure(self, subject: str, quantity: str) -> Figure:
        self.figures.append((subject, quantity))
        value = {"fast-int8": 4.0, "orig-fp32": 8.0, "slow-int8": 16.0}[subject]
        return Figure(estimate=value, low=value, high=value, unit=UNITS[quantity], confidence=1, n=1, method="told")


@pytest.fixture
def decider() -> Recording:
    return Recording()


def subject(name: str, decider: Recording, *, is_choice: bool = False) -> Subject:
    """``fast-int8`` or ``slow-int8`` beside their baseline ``orig-fp32``."""
    framework, precision = name.split("-")
    baseline = Subject("orig-fp32", Recipe(framework="orig", precision="fp32"), decider, "quick")
    recipe = Recipe(framework=framework, precision=precision)
    return baseline if name == baseline.name else Subject(name, recipe, decider, "quick", baseline, is_choice=is_choice)


@pytest.fixture
def variant(decider: Recording) -> Subject:
    return subject("fast-int8", decider)


@pytest.fixture
def other(decider: Recording) -> Subject:
    return subject("slow-int8", decider)


def claim(quantity: str, operator: str, limit: float, over: str | None = None, of: str = "fast-int8") -> Claim:
    return Claim(of, quantity, operator, limit, over, unit="ratio" if over else UNITS[quantity.partition("@")[0]])


COMPARISONS = {
    "speedup >= 2": lambda v: v.speedup >= 2,
    "speedup <= 2": lambda v: v.speedup <= 2,
    "speedup > 2": lambda v: v.speedup > 2,
    "speedup < 2": lambda v: v.speedup < 2,
}


@pytest.mark.parametrize("text", COMPARISONS)
def test_each_operator_makes_its_claim(text, variant, decider):
    verdict = COMPARISONS[text](variant)

    quantity, operator, limit = text.split()
    assert decider.claims == [claim(quantity, operator, float(limit))]
    assert verdict.claim == f"fast-int8 {text}"


@pytest.mark.parametrize(
    ("mirrored", "operator"),
    [
        (lambda q: 2 <= q, ">="),
        (lambda q: 2 >= q, "<="),
        (lambda q: 2 < q, ">"),
        (lambda q: 2 > q, "<"),
    ],
)
def test_a_limit_on_the_left_makes_the_mirrored_claim(mirrored, operator, variant, decider):
    mirrored(variant.speedup)

    assert decider.claims == [claim("speedup", operator, 2)]


@pytest.mark.parametrize(
    ("compare", "expected"),
    [
        (lambda v: v.latency.p50 <= 8 * ms, claim("latency.p50", "<=", 8 * ms)),
        (lambda v: v.latency.p90 <= 8 * ms, claim("latency.p90", "<=", 8 * ms)),
        (lambda v: v.latency.p95 <= 8 * ms, claim("latency.p95", "<=", 8 * ms)),
        (lambda v: v.latency.p99 <= 8 * ms, claim("latency.p99", "<=", 8 * ms)),
        (lambda v: v.latency.jitter <= 0.2, claim("latency.jitter", "<=", 0.2)),
        (lambda v: v.memory.footprint <= 5 * MB, claim("memory.footprint", "<=", 5e6)),
        (lambda v: v.memory.peak <= 5 * MB, claim("memory.peak", "<=", 5e6)),
        (lambda v: v.cold_start <= 1, claim("cold_start", "<=", 1)),
        (lambda v: v.size <= 5 * MB, claim("size", "<=", 5e6)),
        (lambda v: v.accuracy >= 0.9, claim("accuracy", ">=", 0.9)),
    ],
)
def test_every_quantity_can_be_compared_with_a_number_of_its_unit(compare, expected, variant, decider):
    compare(variant)

    assert decider.claims == [expected]


@pytest.mark.parametrize(
    ("compare", "limit"),
    [
        (lambda v: 2 * v.speedup >= 6, 3),
        (lambda v: v.speedup * 2 >= 6, 3),
        (lambda v: v.speedup / 2 >= 6, 12),
        (lambda v: 0.5 * (4 * v.speedup) >= 6, 3),
        (lambda v: 6 <= 2 * v.speedup, 3),
    ],
)
def test_a_factor_goes_to_the_limit(compare, limit, variant, decider):
    compare(variant)

    assert decider.claims == [claim("speedup", ">=", limit)]


@pytest.mark.parametrize(
    ("compare", "operator", "limit"),
    [
        (lambda v: v.memory.footprint <= 0.5 * v.baseline.memory.footprint, "<=", 0.5),
        (lambda v: v.memory.footprint <= v.baseline.memory.footprint * 0.5, "<=", 0.5),
        (lambda v: v.memory.footprint <= v.baseline.memory.footprint / 2, "<=", 0.5),
        (lambda v: 2 * v.memory.footprint <= v.baseline.memory.footprint, "<=", 0.5),
        (lambda v: 0.5 * v.baseline.memory.footprint >= v.memory.footprint, "<=", 0.5),
        (lambda v: v.baseline.memory.footprint >= 2 * v.memory.footprint, "<=", 0.5),
        (lambda v: v.baseline.memory.footprint > v.memory.footprint, "<", 1),
        (lambda v: v.baseline.memory.footprint <= v.memory.footprint, ">=", 1),
        (lambda v: v.baseline.memory.footprint < v.memory.footprint, ">", 1),
        (lambda v: v.memory.footprint / v.baseline.memory.footprint <= 0.5, "<=", 0.5),
        (lambda v: 0.5 >= v.memory.footprint / v.baseline.memory.footprint, "<=", 0.5),
        (lambda v: 3 * v.memory.footprint / (2 * v.baseline.memory.footprint) <= 0.75, "<=", 0.5),
        (lambda v: 2 * (v.memory.footprint / v.baseline.memory.footprint) <= 1, "<=", 0.5),
    ],
)
def test_whichever_way_a_ratio_to_the_baseline_is_written_the_variant_is_what_is_judged(
    compare, operator, limit, variant, decider
):
    compare(variant)

    assert decider.claims == [claim("memory.footprint", operator, pytest.approx(limit), over="orig-fp32")]


def test_accuracy_is_held_against_the_reference(variant, decider):
    verdict = variant.accuracy >= 0.95 * variant.reference.accuracy

    assert decider.claims == [claim("accuracy", ">=", 0.95, over="orig-fp32")]
    assert verdict.claim == "fast-int8 accuracy >= 0.95 * orig-fp32 accuracy"
    assert verdict.unit == "ratio"


def test_the_ratio_of_two_variants_is_proven_by_dividing(variant, other, decider):
    verdict = variant.latency.p50 / other.latency.p50 <= 0.9

    assert decider.claims == [claim("latency.p50", "<=", 0.9, over="slow-int8")]
    assert verdict.claim == "fast-int8 latency.p50 <= 0.9 * slow-int8 latency.p50"


@pytest.mark.parametrize(
    ("compare", "text"),
    [
        (lambda v: v.speedup >= 2, "fast-int8 speedup >= 2"),
        (lambda v: v.speedup >= 1.05, "fast-int8 speedup >= 1.05"),
        (lambda v: v.latency.p95 <= 8 * ms, "fast-int8 latency.p95 <= 8 ms"),
        (lambda v: v.latency.jitter <= 0.2, "fast-int8 latency.jitter <= 20.00 %"),
        (lambda v: v.size < 50 * MB, "fast-int8 size < 50 MB"),
        (lambda v: v.accuracy > 0.9, "fast-int8 accuracy > 90.00 %"),
    ],
)
def test_a_claim_reads_like_the_assertion(compare, text, variant):
    assert compare(variant).claim == text


@pytest.mark.parametrize("is_choice", [False, True])
def test_gates_on_the_choice_are_decided_on_evidence_that_the_choice_has_not_seen(is_choice, decider):
    chosen = subject("fast-int8", decider, is_choice=is_choice)

    _ = chosen.speedup >= 2
    _ = chosen.accuracy >= 0.95 * chosen.reference.accuracy
    _ = 0.95 * chosen.reference.accuracy <= chosen.accuracy
    _ = chosen.reference.accuracy / chosen.accuracy <= 1.05

    assert [made.fresh for made in decider.claims] == [is_choice] * 4


def test_the_rigor_of_the_test_goes_with_the_claim(decider):
    strict = Subject("fast-int8", Recipe(framework="fast", precision="int8"), decider, "strict")

    _ = strict.size <= 1000

    assert decider.claims[0].rigor == "strict"


def test_equal_claims_are_equal_so_that_a_second_ask_draws_no_second_ticket(variant, decider):
    _ = variant.speedup >= 2
    _ = 2 * variant.speedup >= 4

    assert len(set(decider.claims)) == 1


@pytest.mark.parametrize(
    "limit", [2, 2.0, np.float64(2), np.float32(2), np.int64(2), fractions.Fraction(2)], ids=lambda x: type(x).__name__
)
def test_any_real_number_is_a_limit_or_a_factor_on_either_side(limit, variant, decider):
    _ = variant.speedup >= limit
    _ = limit <= variant.speedup
    _ = variant.speedup * limit >= 4
    _ = limit * variant.speedup >= 4
    _ = variant.speedup / limit >= 1

    assert decider.claims == [claim("speedup", ">=", 2.0)] * 5
    assert all(type(made.limit) is float for made in decider.claims)


@pytest.mark.parametrize(
    ("nonsense", "words"),
    [
        (lambda v: v.speedup == 2, "equals nothing exactly. Write >= or <="),
        (lambda v: v.speedup != 2, "equals nothing exactly. Write >= or <="),
        (lambda v: v.speedup in [1, 2], "equals nothing exactly"),
        (lambda v: bool(v.speedup), "has no truth value. Compare it with a limit, or use .estimate"),
        (lambda v: not v.speedup, "has no truth value"),
        (lambda v: hash(v.speedup), "unhashable"),
        (lambda v: {v.speedup}, "unhashable"),
        (
            lambda v: float(v.speedup),
            "is compared, not converted; its plain number, which proves nothing, is .estimate",
        ),
        (lambda v: v.speedup + 1, "can be scaled and divided, not added to or subtracted from"),
        (lambda v: 1 - v.speedup, "can be scaled and divided, not added to or subtracted from"),
        (lambda v: v.accuracy >= v.reference.accuracy - 0.01, "not added to or subtracted from: write a ratio"),
        (lambda v: 1 / v.speedup, "A number can't be divided by <fast-int8 speedup>"),
        (lambda v: v.speedup * v.speedup, "unsupported operand"),
        (lambda v: v.speedup >= "2", "with a number of 'x' or with a quantity, not with str"),
        (lambda v: "8 ms" >= v.latency.p50, "with a number of 's' or with a quantity, not with str"),
        (lambda v: v.speedup >= [], "not with list"),
        (lambda v: v.speedup >= True, "not with bool"),
        (lambda v: v.speedup >= np.bool_(True), "not with bool"),
        (lambda v: v.speedup >= 2j, "not with complex"),
        (lambda v: v.speedup >= [2], "not with list"),
        (lambda v: v.size <= v.baseline, "not with Subject"),
        (lambda v: v.speedup >= -2, "needs a positive, finite limit, not -2.0"),
        (lambda v: v.speedup >= 0, "needs a positive, finite limit, not 0.0"),
        (lambda v: v.speedup >= math.inf, "needs a positive, finite limit, not inf"),
        (lambda v: v.speedup >= math.nan, "needs a positive, finite limit, not nan"),  # noqa: PLW0177 - that is the test
        (lambda v: v.speedup * -1, "can only be scaled by a positive number, not by -1"),
        (lambda v: 0 * v.speedup, "can only be scaled by a positive number, not by 0"),
        (lambda v: v.speedup * math.nan, "can only be scaled by a positive number, not by nan"),
        (lambda v: v.speedup * math.inf, "can only be scaled by a positive number, not by inf"),
        (lambda v: v.speedup * True, "unsupported operand"),
        (lambda v: "2" * v.speedup, "unsupported operand|can't multiply"),
        (lambda v: v.speedup / 0, "can only be divided by a positive number, not by 0"),
        (lambda v: v.speedup / -2, "can only be divided by a positive number, not by -2"),
        (lambda v: v.speedup / True, "unsupported operand"),
        (lambda v: v.speedup / "2", "unsupported operand"),
        (lambda v: v.latency.p50 >= v.latency.p95, "only the same plain quantity of two variants can be"),
        (lambda v: v.speedup >= v.baseline.accuracy, "only the same plain quantity of two variants can be"),
        (lambda v: v.latency.p50 / v.size, "only the same plain quantity of two variants can be divided"),
        (
            lambda v: v.size / v.baseline.size / v.baseline.size,
            "only the same plain quantity of two variants can be divided",
        ),
        (lambda v: v.size / v.baseline.size <= v.size, "only the same plain quantity of two variants can be"),
        (lambda v: v.size <= v.size / v.baseline.size, "only the same plain quantity of two variants can be"),
    ],
)
def test_what_makes_no_claim_is_a_type_error_that_says_so_and_nothing_is_measured(nonsense, words, variant, decider):
    with pytest.raises(TypeError, match=words.replace(".", r"\.") if "|" not in words else words):
        nonsense(variant)
    assert decider.claims == []
    assert decider.figures == []


@pytest.mark.parametrize("rank", [max, min, sorted])
def test_variants_are_not_ranked_by_verdicts(rank, variant, other, decider):
    with pytest.raises(TypeError, match=r"sorted\(variants, key=lambda v: v\.speedup\.estimate\)"):
        rank([variant.speedup, other.speedup])
    assert decider.claims == []


def test_variants_are_ranked_by_their_estimates(variant, other):
    ranked = sorted([other, variant], key=lambda v: v.latency.p50.estimate)

    assert [v.name for v in ranked] == ["fast-int8", "slow-int8"]


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (lambda v: v.speedup, 4.0),
        (lambda v: 3 * v.speedup, 12.0),
        (lambda v: v.size / v.baseline.size, 0.5),
        (lambda v: 3 * v.size / (2 * v.baseline.size), 0.75),
    ],
)
def test_the_estimate_is_the_plain_number(of, expected, variant):
    assert of(variant).estimate == pytest.approx(expected)


def test_showing_a_quantity_decides_and_measures_nothing(variant, decider):
    shown = [
        repr(quantity)
        for quantity in (
            variant.speedup,
            0.5 * variant.baseline.memory.footprint,
            variant.latency.p50 / variant.baseline.latency.p50,
        )
    ]

    assert shown == [
        "<fast-int8 speedup>",
        "<0.5 * orig-fp32 memory.footprint>",
        "<fast-int8 latency.p50 / orig-fp32 latency.p50>",
    ]
    assert (repr(variant), variant.speedup.unit) == ("<variant fast-int8>", "x")
    assert decider.claims == []
    assert decider.figures == []


@pytest.mark.parametrize(
    ("nonsense", "words"),
    [
        (lambda v: v.latency <= 8 * ms, "latency is several quantities. Write latency.p50 or latency.p90"),
        (lambda v: 8 * ms >= v.latency, "latency is several quantities"),
        (lambda v: v.memory <= 0.5 * v.baseline.memory, "memory is several quantities. Write memory.footprint or"),
        (lambda v: v.memory * 2, "memory is several quantities"),
        (lambda v: v.memory / 2, "memory is several quantities"),
        (lambda v: bool(v.latency), "latency is several quantities"),
        (lambda v: v.latency == 1, "latency is several quantities"),
        (lambda v: v.memory != v.baseline.memory, "memory is several quantities"),
    ],
)
def test_a_group_of_quantities_is_not_one_of_them(nonsense, words, variant, decider):
    with pytest.raises(TypeError, match=words.replace(".", r"\.")):
        nonsense(variant)
    assert decider.claims == []


@pytest.mark.parametrize(
    ("group", "known"),
    [
        ("latency", "latency.p50, latency.p90, latency.p95, latency.p99, latency.p999, latency.jitter"),
        ("memory", "memory.footprint, memory.peak, memory.anonymous, memory.mapped, memory.inactive"),
    ],
)
def test_an_unknown_quantity_of_a_group_is_told_with_those_that_there_are(group, known, variant):
    with pytest.raises(AttributeError) as error:
        _ = getattr(variant, group).p42

    assert str(error.value) == f"There is no quantity {group}.p42. There are: {known}."


def test_a_limit_that_nobody_states_leaves_nothing_to_decide(variant, decider):
    with pytest.raises(UnsupportedError, match=r"^fast-int8 size: no limit is stated"):
        _ = variant.size <= None

    assert decider.claims == []


def test_a_quantity_is_asked_at_a_setting_and_at_one_item_a_time_it_is_itself(variant):
    names = [quantity.name for quantity in (
        variant.throughput.at(requests=2, batch=8), variant.throughput.at(batch=1, requests=3), variant.throughput.at(batch=1),
        variant.throughput.at(batch=8).at(batch=2),
    )]  # fmt: skip

    assert names == ["throughput@batch=8,requests=2", "throughput@requests=3", "throughput", "throughput@batch=2"]
    assert variant.throughput.at(batch=8).unit == "items/s"


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda v: v.throughput.at(width=8), "can't be asked at width. It can be asked at batch and requests."),
        (lambda v: v.size.at(batch=8), "can't be asked at batch. It has no settings."),
        (lambda v: v.throughput.at(batch=0), "batch must be a whole number of at least 1, not 0."),
        (lambda v: v.throughput.at(batch=True), "batch must be a whole number of at least 1, not True."),
    ],
)
def test_a_setting_that_makes_no_sense_is_a_type_error_that_says_what_does(ask, words, variant):
    with pytest.raises(TypeError) as error:
        ask(variant)

    assert str(error.value).endswith(words)


def test_running_without_a_network_is_a_verdict_and_not_a_number(variant, decider):
    assert variant.offline

    assert [str(claim) for claim in decider.claims] == ["fast-int8 runs without a network"]


class Counting:
    """A metric from elsewhere, of two numbers a call."""

    name, units, per = "switches", {"voluntary": "", "forced": ""}, "call"


def test_the_quantities_of_a_metric_from_elsewhere_are_reached_by_its_name(decider):
    decider.units = units([Counting()])
    variant = subject("fast-int8", decider)

    assert variant.switches.forced.p95.name == "switches.forced.p95"
    with pytest.raises(TypeError, match=r"^switches.forced is several quantities. Write switches.forced.p50 or"):
        _ = variant.switches.forced >= 3
    with pytest.raises(AttributeError, match=r"^No quantity named 'switch'. Did you mean 'switches'"):
        _ = variant.switch


def test_every_quantity_with_a_unit_is_reached_by_its_name(variant):
    for name, unit in UNITS.items():
        reached = variant
        for part in name.split("."):
            reached = getattr(reached, part)

        assert isinstance(reached, Quantity)
        assert (reached.name, reached.unit) == (name, unit)


def test_the_baseline_is_its_own_baseline_and_reference(decider):
    baseline = subject("orig-fp32", decider)

    assert baseline.baseline is baseline
    assert baseline.reference is baseline
    assert baseline.is_original


def test_a_chain_of_comparisons_makes_both_claims(variant, decider):
    assert 2 <= variant.speedup <= 50

    assert decider.claims == [claim("speedup", ">=", 2), claim("speedup", "<=", 50)]


@pytest.mark.parametrize("outcome", [Outcome.INCONCLUSIVE, Outcome.ERROR, Outcome.UNSUPPORTED])
def test_what_is_not_decided_gets_no_truth_value_in_whatever_expression(outcome):
    variant = subject("fast-int8", Recording(outcome))

    for expression in (
        lambda: not variant.speedup < 2,
        lambda: variant.speedup >= 2 and True,
        lambda: variant.speedup >= 2 or True,
        lambda: all([variant.speedup >= 2]),
        lambda: 1 if variant.speedup >= 2 else 0,
        lambda: 2 <= variant.speedup <= 3,
    ):
        with pytest.raises(Undecided):
            expression()
