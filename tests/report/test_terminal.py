"""The report in the terminal."""

import msgspec
import pytest

from pytest_edgeai.records import Outcome
from pytest_edgeai.report import summary
from pytest_edgeai.report.text import clip, columns_of, plain, shorten
from tests.report import language, sample

RUNS = {
    "one model": sample.results(),
    "nearest": sample.results("stand-in", meets=False),
    "foreign": sample.results("foreign"),
    "several": sample.several(),
    "crowd": sample.crowd(40),
    "hostile": sample.hostile(),
    "empty": sample.empty(),
    "language": language.results(),
    "language, hostile": sample.hostile(language.results(meets=False)),
    "both kinds": language.beside_tensors(),
}


def text_of(lines):
    return "\n".join(text for _, text in lines)


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("ascii_only", [False, True], ids=["unicode", "ascii"])
@pytest.mark.parametrize("run", RUNS)
def test_every_line_fits_and_is_one_line_of_printable_text(run, width, ascii_only):
    lines = summary(RUNS[run], width, ascii_only)

    assert lines
    for markup, text in lines:
        assert markup in ("", "green", "red", "yellow", "bold")
        assert columns_of(text) <= width
        assert text.isprintable()
        assert text.isascii() or not ascii_only


def test_numbers_stand_in_columns_below_their_heads():
    lines = [text for _, text in summary(sample.results(), 80)]
    head, baseline, choice = lines[:3]

    for column, base, chosen in (
        ("size", "1.32 MB", "402 kB"),
        ("p50", "1.15 ms", "412 µs"),
        ("accuracy", "98.61 %", "98.33 %"),
    ):
        ends = head.index(column) + len(column)
        assert baseline[:ends].endswith(base)
        assert choice[:ends].endswith(chosen)


def test_the_choice_is_starred_the_baseline_labelled_and_a_failure_explained():
    lines = summary(sample.results(), 80)

    assert ("bold", next(t for _, t in lines if t.startswith("* openvino-int8"))) in lines
    assert any(t.startswith("  onnxruntime-fp32 (baseline)") for _, t in lines)
    assert any(m == "red" and t.startswith("  openvino-bf16") and "failed: " in t for m, t in lines)


def test_verdicts_are_counted_and_the_worst_gives_the_color():
    failing = summary(sample.results(), 80)
    open_ = summary(sample.results(without=("FAIL", "ERROR")), 80)
    fine = summary(sample.results(without=("FAIL", "ERROR", "INCONCLUSIVE")), 80)

    assert ("red", "Verdicts: 6 PASS, 1 FAIL, 1 INCONCLUSIVE, 1 ERROR, 1 UNSUPPORTED") in failing
    assert ("yellow", "Verdicts: 6 PASS, 1 INCONCLUSIVE, 1 UNSUPPORTED") in open_
    assert ("green", "Verdicts: 6 PASS, 1 UNSUPPORTED") in fine


def test_the_advice_comes_with_its_reason():
    shipping = summary(sample.results(), 120)
    nearest = summary(sample.results(meets=False), 120)

    assert ("green", "* Ship openvino-int8") in shipping
    assert "The fastest of the 2 variants that meet every limit" in text_of(shipping)
    assert ("yellow", "* Nothing meets the limits; openvino-int8 comes nearest") in nearest
    assert "Speed-up 1.62x is below the limit of 2x." in text_of(nearest)


def test_where_gates_have_milder_limits_than_the_target_that_is_told():
    base = sample.results(meets=False)
    gate = next(gate for gate in base.gates if gate.verdict.subject == sample.CHOICE)
    failed = msgspec.structs.replace(gate, verdict=msgspec.structs.replace(gate.verdict, outcome=Outcome.FAIL))

    passed = text_of(summary(base, 200))
    mixed = text_of(summary(msgspec.structs.replace(base, gates=(*base.gates, failed)), 200))

    assert "4 gates on it passed, at limits of their own; --edge-limit states other limits to choose by" in passed
    assert "limits of their own" not in mixed


@pytest.mark.parametrize(
    ("outcome", "headline"),
    [
        (Outcome.FAIL, "Do not ship openvino-int8 yet: 1 gate on it failed"),
        (Outcome.ERROR, "Do not ship openvino-int8 yet: 1 gate on it ended in an error"),
        (Outcome.INCONCLUSIVE, "openvino-int8 is not proven yet: 1 gate on it inconclusive"),
        (Outcome.UNSUPPORTED, "openvino-int8 passed what could be decided here; 1 gate on it could not"),
    ],
)
def test_nothing_is_shipped_against_a_gate_of_its_own(outcome, headline):
    base = sample.results()
    gate = base.gates[5]
    assert gate.verdict.subject == sample.CHOICE
    against = msgspec.structs.replace(gate, verdict=msgspec.structs.replace(gate.verdict, outcome=outcome))

    lines = text_of(summary(msgspec.structs.replace(base, gates=(*base.gates, against)), 120))

    assert headline in lines
    assert "Ship openvino-int8\n" not in lines


def test_a_choice_without_any_decided_gate_is_not_called_shippable():
    lines = text_of(summary(msgspec.structs.replace(sample.results(), gates=()), 120))

    assert "openvino-int8 looks best, but no gate on it was decided" in lines
    assert "Verdicts: none; no gate was decided." in lines


def test_another_models_gates_do_not_speak_for_this_one():
    base = sample.results()
    other = msgspec.structs.replace(base.models[0], model=msgspec.structs.replace(base.models[0].model, name="other"))

    lines = text_of(summary(msgspec.structs.replace(base, models=(base.models[0], other)), 120))

    assert "Ship openvino-int8 (digits)" in lines
    assert "openvino-int8 looks best, but no gate on it was decided (other)" in lines


def test_a_stand_in_and_a_foreign_device_are_named():
    assert "intel-xeon-2c, which stands in for Intel processors" in text_of(summary(sample.results("stand-in"), 120))
    assert "intel-xeon-2c is no device of Intel processors" in text_of(summary(sample.results("foreign"), 120))


def test_wide_characters_take_two_columns():
    assert columns_of("模型") == 4
    assert columns_of(clip("模型" * 30, 21)) <= 21


def test_text_is_cut_in_the_middle_and_what_acts_is_made_visible():
    assert shorten("test_gates.py::test_fast[openvino-int8]", 20) == "test_gates.py…-int8]"
    assert plain("\x1b[31m\u202ereversed\u2028\xa0\udc80") == "\\x1b[31m\\u202ereversed\\u2028 \\udc80"
    assert len(plain("\x00" * 10_000, 80)) == 80
    assert plain("naïve 模型 µs") == "naïve 模型 µs"
