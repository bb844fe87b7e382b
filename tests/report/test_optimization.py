"""The optimization report: what to ship, on what evidence, how to deploy it, and what to watch."""

import json
import re

import msgspec
import pytest

from pytest_edgeai.records import Outcome
from pytest_edgeai.report import encode, markdown, write
from pytest_edgeai.report.optimization import Report, optimization, report
from tests.report import language, sample


def of(results):
    return optimization(results, results.models[0])


def test_the_others_are_told_by_what_they_have_more_and_less_of():
    found = {one.variant: one for one in of(sample.searched()).tradeoffs}

    assert found["onnxruntime-int8-static"].differences == (
        "-0.55 points of accuracy",
        "1.21x the time a call",
        "0.934x the memory",
        "0.923x the size",
    )
    assert found["onnxruntime-int8-static"].relation == "second best"
    assert found["openvino-fp32"].relation == "perhaps beaten by openvino-int8"
    assert found["onnxruntime-int8-dynamic"].relation == "beaten by onnxruntime-int8-static"
    assert "openvino-int8" not in found


def test_every_limit_that_was_judged_is_a_number_to_watch():
    watched = {one.metric: one for one in of(sample.searched()).monitoring}
    baseline = next(one for one in sample.searched().models[0].variants if one.role == "baseline")

    assert watched["latency.p50"].limit == pytest.approx(baseline.figures["latency.p50"].estimate / 2)
    assert watched["latency.p50"].alert == "above 576 µs"
    assert watched["accuracy"].limit == pytest.approx(0.95 * baseline.figures["accuracy"].estimate)
    assert watched["accuracy"].alert.startswith("below 93.68 %")
    assert all(one.outcome in (Outcome.PASS, Outcome.INCONCLUSIVE) for one in watched.values())


def test_a_claim_beside_another_variant_is_watched_as_a_share_of_that_one():
    base = sample.searched()
    gate = next(one for one in base.gates if one.verdict.subject == sample.CHOICE)
    verdict = msgspec.structs.replace(
        gate.verdict, outcome=Outcome.PASS, claim="a claim", quantity="memory.footprint", operator="<=", limit=0.5,
        unit="ratio", other="openvino-fp32",
    )  # fmt: skip
    model = msgspec.structs.replace(base.models[0], progression=())
    results = msgspec.structs.replace(base, models=(model,), gates=(msgspec.structs.replace(gate, verdict=verdict),))

    (watched,) = of(results).monitoring

    assert watched.limit == 0.5 * 6_119_424


def test_the_guidance_names_what_to_ship_with_which_runtime_on_what():
    steps = {one.topic: one.text for one in of(sample.searched()).deployment}

    assert steps["Ship"].startswith("The files of openvino-int8, 402 kB")
    assert steps["Runtime"].startswith("openvino 2026.4.1: what it was built and measured with.")
    assert "Set what the recipe asks for: threads=1." in steps["Options"]
    assert "int8 is fast only on a CPU with one of avx512_vnni (this device has avx512_vnni)" in steps["Device"]
    assert "Memory" in steps


def test_a_device_that_is_not_of_the_target_says_what_to_do_before():
    steps = {one.topic: one.text for one in of(sample.results("stand-in")).deployment}

    assert "Run the same gates on a device of Intel processors" in steps["Before"]


def test_without_a_choice_nothing_is_guided():
    base = sample.results()
    model = msgspec.structs.replace(base.models[0], choice=None)

    found = of(msgspec.structs.replace(base, models=(model,)))

    assert (found.variant, found.deployment, found.monitoring, found.tradeoffs) == ("", (), (), ())


@pytest.mark.parametrize(
    "results",
    [
        sample.searched(),
        sample.searched(meets=False),
        sample.empty(),
        sample.several(),
        language.results(),
        sample.results("foreign"),
    ],
    ids=["searched", "nearest", "empty", "several", "language", "foreign"],
)
def test_the_json_reads_back_and_the_markdown_has_every_model(tmp_path, results):
    write(results, tmp_path)

    back = msgspec.json.decode((tmp_path / "optimization.json").read_bytes(), type=Report)
    text = (tmp_path / "optimization.md").read_text("utf-8")

    assert back == report(results)
    assert json.loads(encode(back))["schema"] == 1
    assert text.startswith("# Optimization report")
    for model in back.models:
        assert f"## {markdown.escaped(model.model)} for {markdown.escaped(model.target)}" in text
        assert markdown.escaped(model.headline) in text


@pytest.mark.parametrize("base", [sample.searched(), sample.results(meets=False)], ids=["searched", "nearest"])
def test_hostile_names_break_no_table_and_are_no_markup(base):
    text = markdown.render(report(sample.hostile(base)))

    tables = [line for line in text.splitlines() if line.startswith("|")]
    widths = {line: len(re.findall(r"(?<!\\)\|", line)) for line in tables}
    assert set(widths.values()) <= {4, 5, 6}
    assert "<script" not in text.replace("\\<", "")
    assert "](http" not in text.replace("\\]", "")
    assert "\x1b" not in text
    assert not re.search(r"(?<!\\)[<`]", text)


def test_equal_results_make_equal_reports():
    assert markdown.render(report(sample.searched())) == markdown.render(report(sample.searched()))
