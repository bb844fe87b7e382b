"""Records: what a verdict says and whether it is true, and that every record survives its way to disk and back."""

import math
from typing import Any

import msgspec
import pytest

from pytest_edgeai import records
from pytest_edgeai.errors import Undecided
from pytest_edgeai.judge import finding, ratios, series
from pytest_edgeai.judge.finding import Finding
from pytest_edgeai.judge.rules import RIGOR
from pytest_edgeai.pipeline import _finite
from pytest_edgeai.records import (
    Citation,
    Conversion,
    Offer,
    Outcome,
    Plan,
    Preference,
    Recipe,
    Record,
    Refusal,
    Results,
    TensorSpec,
    Variant,
    Verdict,
    digest_of,
    digest_of_file,
)
from tests.judge.simulated import QUIET, Series, Told
from tests.report import language, sample


def verdict(outcome: Outcome = Outcome.PASS, **fields: Any) -> Verdict:
    asked: dict[str, Any] = {
        "claim": "openvino-int8 speedup >= 2",
        "subject": "openvino-int8",
        "quantity": "speedup",
        "operator": ">=",
        "limit": 2.0,
        "unit": "x",
        "device": "intel-xeon-2c",
        "target": "intel",
    }
    return Verdict(outcome=outcome, **asked | fields)


def test_pass_is_true_and_fail_is_false():
    assert verdict(Outcome.PASS)
    assert not verdict(Outcome.FAIL)


@pytest.mark.parametrize("outcome", [Outcome.INCONCLUSIVE, Outcome.ERROR, Outcome.UNSUPPORTED])
def test_any_other_outcome_raises_itself_with_its_text_when_asked_for_its_truth(outcome):
    undecided = verdict(outcome, notes=("It was not to be.",))

    with pytest.raises(Undecided) as raised:
        bool(undecided)

    assert raised.value.verdict is undecided
    assert str(raised.value) == str(undecided)


def test_an_undecided_verdict_is_no_exception_that_a_test_would_catch():
    assert not issubclass(Undecided, Exception)


def test_a_verdict_for_people_tells_the_claim_what_was_measured_and_why():
    text = str(
        verdict(
            Outcome.FAIL,
            estimate=1.62,
            low=1.58,
            high=1.67,
            confidence=0.99,
            spent="3 process pairs, 118 rounds, 0.9 s",
            notes=("The CPU has no VNNI.",),
        )
    )

    assert text.splitlines() == [
        "openvino-int8 speedup >= 2: FAIL on intel-xeon-2c",
        "  measured 1.62x (99 % bound 1.58x .. 1.67x; 3 process pairs, 118 rounds, 0.9 s)",
        "  The CPU has no VNNI.",
    ]


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"estimate": 2.5}, "  measured 2.5x"),
        ({"estimate": 2.5, "spent": "5 processes"}, "  measured 2.5x (5 processes)"),
        ({"estimate": 2.5, "low": 2.5, "high": 2.5, "confidence": 1}, "  measured 2.5x"),
        ({"estimate": 2.5, "low": 2.0, "high": 3.0}, "  measured 2.5x (range 2x .. 3x)"),
        ({"estimate": 2.5, "low": None, "high": 3.0, "confidence": 0.99}, "  measured 2.5x"),
        ({"estimate": 0.0, "unit": "bytes"}, "  measured 0 B"),
        (
            {"estimate": 0.95, "low": 0.9, "high": 0.99, "confidence": 0.95, "unit": "proportion"},
            "  measured 95.00 % (95 % bound 90.00 % .. 99.00 %)",
        ),
    ],
)
def test_the_line_of_what_was_measured_tells_as_much_as_is_known(fields, line):
    assert verdict(**fields).lines()[1] == line


def test_a_verdict_without_an_estimate_tells_of_none():
    text = verdict(Outcome.UNSUPPORTED, notes=("There is no sensor.",)).lines()

    assert text == ["openvino-int8 speedup >= 2: UNSUPPORTED on intel-xeon-2c", "  There is no sensor."]


@pytest.mark.parametrize("estimate", [None, 2.5])
@pytest.mark.parametrize("notes", [0, 1, 5, 6, 40])
def test_a_verdict_has_at_most_seven_lines(notes, estimate):
    lines = verdict(Outcome.ERROR, estimate=estimate, notes=tuple(f"note {n}" for n in range(notes))).lines()

    assert len(lines) == min(7, 1 + (estimate is not None) + notes)


def test_a_verdict_is_frozen():
    with pytest.raises(AttributeError, match="immutable"):
        verdict().outcome = Outcome.FAIL  # type: ignore[misc]


# On disk and on the wire -----------------------------------------------------------------------------------------------------

RECIPE = Recipe(
    framework="onnxruntime",
    precision="int8",
    method="static",
    options={"per_channel": True, "nodes": 4, "share": 0.5, "device": "CPU"},
    calibrated=True,
    needs=("avx512_vnni",),
)
CITATION = Citation(rule="platform matrix: Intel CPU/GPU -> OpenVINO", fact="the target is intel", source="a course")


def every_record() -> list[Record]:
    """At least one of each kind, nested ones included."""
    found: list[Record] = [
        Plan(
            model="digits",
            target="intel",
            baseline=Recipe(framework="onnxruntime", precision="fp32"),
            baselines={"mlx": Recipe(framework="mlx", precision="fp16")},
            offers=(Offer(recipe=RECIPE, reason="The CPU has VNNI.", citations=(CITATION,)),),
            refusals=(Refusal(recipe="mlx-int4", reason="It is not installed."),),
            preferences=(
                Preference(framework="onnxruntime", citations=(CITATION,), score=2),
                Preference(framework="mlx", citations=(CITATION,), unfit="MLX reads no ONNX."),
            ),
        ),
        Variant(
            recipe=RECIPE,
            model_digest="0" * 64,
            key="1" * 64,
            folder="/somewhere",
            files={"model.onnx": "2" * 64},
            bytes=1000,
            versions={"onnxruntime": "1.22"},
            build_seconds=2.5,
        ),
        Conversion(
            source="/somewhere/nets.py:small",
            origin="function",
            architecture="Small",
            exporter="torch.onnx.export(dynamo=True)",
            opset=20,
            versions={"torch": "2.13.0"},
            difference=1e-7,
            output="logits",
            limit=5e-5,
            batches=(2, 3),
            fixed={"batch": "the model's code takes it for 3"},
        ),
        sample.searched(),
        language.results(),
        verdict(Outcome.FAIL, estimate=1.62, low=1.58, high=None, confidence=0.99, notes=("one", "two")),
    ]
    for record in found:
        inside = (getattr(record, name) for name in record.__struct_fields__)
        found += [
            item
            for value in inside
            for item in (value if isinstance(value, tuple) else value.values() if isinstance(value, dict) else [value])
            if isinstance(item, Record)
        ]
        deeper = (value for value in (getattr(record, n) for n in record.__struct_fields__) if isinstance(value, dict))
        found += [
            item for mapping in deeper for value in mapping.values() if isinstance(value, tuple) for item in value
        ]
    return found


def test_every_kind_of_record_survives_json():
    found = every_record()

    for record in found:
        assert msgspec.json.decode(msgspec.json.encode(record), type=type(record)) == record
    known = {kind for kind in vars(records).values() if isinstance(kind, type) and issubclass(kind, Record)}
    assert {type(record) for record in found} == known - {Record}


def test_every_kind_of_record_survives_being_made_plain():
    for record in every_record():
        assert msgspec.convert(msgspec.to_builtins(record), type(record)) == record


def test_results_are_strict_json():
    assert b"NaN" not in msgspec.json.encode(sample.results())
    assert isinstance(msgspec.json.decode(msgspec.json.encode(sample.results()), type=Results), Results)


def test_records_with_equal_fields_are_equal_and_have_equal_digests():
    same = msgspec.json.decode(msgspec.json.encode(RECIPE), type=Recipe)

    assert same == RECIPE
    assert digest_of(same) == digest_of(RECIPE)
    assert digest_of(msgspec.structs.replace(RECIPE, precision="int4")) != digest_of(RECIPE)


def test_a_digest_does_not_depend_on_the_order_of_keys():
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")

    assert digest_of_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        (Recipe(framework="onnxruntime", precision="fp32"), "onnxruntime-fp32"),
        (RECIPE, "onnxruntime-int8-static"),
    ],
)
def test_a_recipe_is_named_by_framework_precision_and_method(recipe, name):
    assert recipe.name == name


def test_the_dynamic_axes_of_a_model_are_named_once_in_order():
    inputs = (
        TensorSpec(name="ids", dtype="int64", shape=("batch", "length")),
        TensorSpec(name="mask", dtype="int64", shape=("batch", "length", 8)),
        TensorSpec(name="image", dtype="float32", shape=("frames", 3)),
    )
    assessment = sample.results().models[0].assessment
    assert assessment is not None

    axes = msgspec.structs.replace(assessment, inputs=inputs).dynamic_axes

    assert axes == ("batch", "length", "frames")


# What a verdict's numbers are ------------------------------------------------------------------------------------------------


def findings() -> dict[str, Finding]:
    """Of comparisons that know as little as can be."""
    rules = RIGOR["quick"]
    slow = {"call": 100.0}
    return {
        "one cycle of rounds": ratios.speedup(Told(0.5, round_seconds=1e6), ">=", 2.0, rules),
        "rounds that are all alike": ratios.speedup(Told(0.0, round_seconds=0.1), ">=", 1.0, rules),
        "enormous speed-up": ratios.speedup(Told(600.0), ">=", 2.0, rules),
        "no speed-up at all": ratios.speedup(Told(-600.0), ">=", 2.0, rules),
        "one slow call": series.percentile(Series(QUIET, **slow), 0.99, "<=", 1.0, rules),
        "jitter of one call": series.jitter(Series(QUIET, **slow), "<=", 0.2, rules),
        "no memory": finding.extremes([0.0], "<=", 1.0),
        "no memory of the baseline's": finding.extremes([0.0], "<=", 1.0, [0.0]),
        "exact": finding.exact(0.0, "<=", 1.0),
    }


@pytest.mark.parametrize("what", findings())
def test_no_number_that_json_has_no_word_for_reaches_a_verdict(what):
    finding = findings()[what]

    made = verdict(
        finding.outcome,
        estimate=finding.estimate,
        low=_finite(finding.low),
        high=_finite(finding.high),
        confidence=finding.confidence,
        seconds=finding.seconds,
    )

    numbers = [getattr(made, name) for name in ("limit", "estimate", "low", "high", "confidence", "seconds")]
    assert all(number is None or math.isfinite(number) for number in numbers)
    assert msgspec.json.decode(msgspec.json.encode(made), type=Verdict) == made


def test_an_open_bound_is_none():
    assert [_finite(value) for value in (None, math.inf, -math.inf, math.nan, 0.0, 1.5)] == [None] * 4 + [0.0, 1.5]


# Modalities ------------------------------------------------------------------------------------------------------------------


def spec(name: str, dtype: str, *shape: int | str) -> records.TensorSpec:
    return records.TensorSpec(name=name, dtype=dtype, shape=shape)


@pytest.mark.parametrize(
    ("inputs", "modalities"),
    [
        ([spec("x", "float32", "n", 3, 224, 224)], ("image",)),
        ([spec("x", "uint8", "n", 224, 224, 3)], ("image",)),
        ([spec("x", "float32", 1, 8, 3, 64, 64)], ("video",)),
        ([spec("mel", "float32", "n", 1, 80, 3000)], ("audio",)),
        ([spec("input_values", "float32", "n", "samples")], ("audio",)),
        (
            [
                spec(name, "int64", "b", "s")
                for name in ("input_ids", "attention_mask", "token_type_ids", "position_ids")
            ],
            ("text",),
        ),
        ([spec("a", "int32", "b", "s")], ("text",)),
        ([spec("a", "int32", "b", 12)], ("tabular",)),
        ([spec("signal", "float32", "time", "batch", 9)], ("sequence",)),
        ([spec("X", "float32", "n", 64)], ("tabular",)),
        ([spec("image", "float32", "n", 3, 48, 48), spec("table", "float32", "n", 24)], ("image", "tabular")),
        ([spec("pixel_values", "float32", "n", 3, 224, 224), spec("input_ids", "int64", "n", "s")], ("image", "text")),
        ([spec("a", "float32", "n", 3, 64, 64), spec("threshold", "float32"), spec("on", "bool")], ("image",)),
        ([spec("input_ids", "int64", "b", "s"), spec("past.0.key", "float32", "b", 4, "p", 32)], ("text",)),
        ([spec("input", "float32", "b", 512), spec("state", "float32", 2, "b", 128)], ("tabular",)),
        ([spec("mask", "bool", "n", 4)], ("tabular",)),
    ],
)
def test_the_modalities_of_a_model_are_told_by_names_and_shapes(inputs: list[records.TensorSpec], modalities):
    assessment = sample.results().models[0].assessment
    assert assessment is not None

    found = msgspec.structs.replace(assessment, inputs=tuple(inputs))

    assert found.modalities == modalities


@pytest.mark.parametrize(
    ("inputs", "takes"),
    [
        ([spec("x", "float32", "batch", 3)], True),
        ([spec("x", "float32", "x:0", 3), spec("y", "int64", "batch_of_sequences", "seq")], True),
        ([spec("x", "float32", 1, 3)], False),
        ([spec("x", "float32", "time", "batch", 9)], False),
        ([spec("x", "float32", "batch", 3), spec("threshold", "float32")], False),
    ],
)
def test_several_items_fit_into_a_call_where_every_input_begins_with_a_batch(
    inputs: list[records.TensorSpec], takes: bool
):
    assessment = sample.results().models[0].assessment
    assert assessment is not None

    found = msgspec.structs.replace(assessment, inputs=tuple(inputs))

    assert (found.why_no_batches is None) is takes
