"""Results: what several processes wrote into their journals, put together as one."""

import dataclasses
import importlib.metadata
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_edgeai import registry
from pytest_edgeai.journal import Journal
from pytest_edgeai.records import (
    SCHEMA,
    Choice,
    Figure,
    GateResult,
    Measurement,
    ModelResult,
    Outcome,
    Results,
    VariantResult,
    digest_of,
)
from pytest_edgeai.results import gather, selected
from pytest_edgeai.settings import Settings
from tests.report import sample

EMPTY = sample.empty()
STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FOUND = registry.find()


def gathered(folder: Path, **settings: Any) -> Results:
    return gather(
        folder,
        settings=Settings(**settings),
        registry_=FOUND,
        target=EMPTY.target,
        device=EMPTY.device,
        standing="native",
        started=STARTED,
        command="pytest suites",
    )


def header(name: str = "digits") -> ModelResult:
    """A study as it begins: nothing is built yet."""
    of = sample.results().models[0]
    model = msgspec.structs.replace(of.model, name=name, digest=digest_of(name))
    return msgspec.structs.replace(of, model=model, variants=(), choice=None, measurements=())


def variant(name: str, state: str, **fields: Any) -> VariantResult:
    framework, precision = name.split("-")
    role = "baseline" if precision == "fp32" else "variant"
    return VariantResult(name=name, framework=framework, precision=precision, role=role, state=state, **fields)


def figure(value: float) -> Figure:
    return Figure(estimate=value, low=value, high=value, unit="x", confidence=0.95, n=30, method="told")


def gate(test: str, outcome: Outcome) -> GateResult:
    return GateResult(test=test, verdict=sample.verdict(outcome, "openvino-int8", "speedup", 2.0))


@pytest.fixture
def two(tmp_path: Path) -> tuple[Journal, Journal]:
    """The journals of two processes that both study the model ``m``."""
    journals = Journal(tmp_path, "gw0"), Journal(tmp_path, "gw1")
    for journal in journals:
        journal.write("study", "m", header())
    return journals


@pytest.mark.parametrize(
    ("states", "state"),
    [
        (("built", "cached"), "built"),
        (("cached", "built"), "built"),
        (("cached", "cached"), "cached"),
        (("built", "failed"), "failed"),
        (("failed", "built"), "failed"),
        (("failed", "cached"), "failed"),
    ],
)
def test_what_one_process_built_and_another_found_in_the_cache_was_built(two, states, state):
    for journal, each in zip(two, states, strict=True):
        journal.write("variant", "m", variant("openvino-int8", each, build_seconds=6.5 if each == "built" else None))

    found = gathered(two[0].folder).models[0].variants

    assert [(v.name, v.state) for v in found] == [("openvino-int8", state)]
    assert found[0].build_seconds == (6.5 if state == "built" else None)


def test_a_model_that_two_processes_studied_is_one_model(two):
    assert [model.model.name for model in gathered(two[0].folder).models] == ["digits"]


def test_the_baseline_comes_first_then_the_targets_order_of_preference(two):
    for name in ("zeta-int8", "onnxruntime-int8", "openvino-int8", "onnxruntime-fp32", "olive-int8"):
        two[len(name) % 2].write("variant", "m", variant(name, "built"))

    names = [v.name for v in gathered(two[0].folder).models[0].variants]

    assert EMPTY.target.frameworks == ("openvino", "onnxruntime", "olive")
    assert names == ["onnxruntime-fp32", "openvino-int8", "onnxruntime-int8", "olive-int8", "zeta-int8"]


def test_figures_and_placements_come_to_their_variant_whoever_found_them_out(two):
    two[0].write("variant", "m", variant("openvino-int8", "built"))
    two[1].write("variant", "m", variant("openvino-int8", "cached"))
    two[0].write("figure", "m", {"variant": "openvino-int8", "quantity": "speedup", "figure": figure(2.0)})
    two[1].write("figure", "m", {"variant": "openvino-int8", "quantity": "size", "figure": figure(1000)})
    two[1].write("figure", "m", {"variant": "openvino-int8", "quantity": "speedup", "figure": figure(2.5)})
    two[1].write("placement", "m", {"variant": "openvino-int8", "placement": {"device": "CPU"}})

    found = gathered(two[0].folder).models[0].variants[0]

    assert found.figures == {"speedup": figure(2.5), "size": figure(1000)}
    assert found.placement == {"device": "CPU"}


def test_figures_of_a_variant_that_nobody_made_are_left_out(two):
    two[0].write("figure", "m", {"variant": "ghost-int8", "quantity": "size", "figure": figure(1000)})

    assert gathered(two[0].folder).models[0].variants == ()


def test_the_choice_measurements_and_gates_of_all_processes_are_there(two):
    choice = Choice(recipe="openvino-int8", meets_limits=True, reason="It is the fastest.")
    measurement = Measurement(
        subject="openvino-int8",
        metric="latency",
        unit="s",
        plan="solo",
        phase="gate",
        samples={},
        seconds=1,
        processes=1,
    )
    for journal in two:
        journal.write("measurement", "m", measurement)
        journal.write("choice", "m", choice)
    two[0].write("gate", "m", gate("test_a", Outcome.PASS))
    two[1].write("gate", "m", gate("test_b", Outcome.FAIL))

    results = gathered(two[0].folder)

    assert results.models[0].choice == choice
    assert results.models[0].measurements == (measurement, measurement)
    assert [(g.test, g.verdict.outcome) for g in results.gates] == [("test_a", "PASS"), ("test_b", "FAIL")]


def test_each_model_keeps_its_own_facts(two):
    two[0].write("study", "other", header("detector"))
    two[0].write("variant", "other", variant("openvino-fp16", "built"))
    two[1].write("variant", "m", variant("openvino-int8", "built"))

    models = {m.model.name: [v.name for v in m.variants] for m in gathered(two[0].folder).models}

    assert models == {"digits": ["openvino-int8"], "detector": ["openvino-fp16"]}


def test_a_model_whose_study_never_began_is_left_out_and_its_gates_are_kept(tmp_path):
    journal = Journal(tmp_path, "main")
    journal.write("variant", "m", variant("openvino-int8", "failed"))
    journal.write("gate", "m", gate("test_a", Outcome.ERROR))

    results = gathered(tmp_path)

    assert results.models == ()
    assert len(results.gates) == 1


def test_a_process_that_was_killed_while_writing_takes_nothing_from_the_others(two):
    two[0].write("gate", "m", gate("test_a", Outcome.PASS))
    two[1].write("gate", "m", gate("test_b", Outcome.PASS))
    path = two[1].folder / "journal-gw1.jsonl"
    path.write_bytes(path.read_bytes()[:-20])

    results = gathered(two[0].folder)

    assert [g.test for g in results.gates] == ["test_a"]
    assert len(results.models) == 1


def test_a_fact_of_an_unknown_kind_is_an_error_and_not_lost(two):
    two[0].write("speculation", "m", {})

    with pytest.raises(ValueError, match="unknown kind: speculation"):
        gathered(two[0].folder)


def test_a_run_without_facts_has_results_without_models(tmp_path):
    results = gathered(tmp_path / "run")

    assert (results.models, results.gates, results.run) == ((), (), "run")


def test_the_results_say_what_ran_where_when_and_with_which_versions(tmp_path):
    results = gathered(tmp_path, release="1.4.0", budget=5.0)

    assert results.schema == SCHEMA
    assert (results.release, results.command, results.standing) == ("1.4.0", "pytest suites", "native")
    assert results.started == "2026-01-02T03:04:05+00:00"
    assert results.seconds >= (datetime.now(UTC) - STARTED - timedelta(minutes=5)).total_seconds()
    assert results.tool == importlib.metadata.version("pytest-edgeai")
    assert set(results.versions) >= {"python", "pytest", "numpy", "scipy", "pytest-edgeai", "onnxruntime"}
    assert set(results.settings) == {field.name for field in dataclasses.fields(Settings)}
    assert results.settings["budget"] == 5.0


def test_results_survive_json(two):
    two[0].write("variant", "m", variant("openvino-int8", "built"))
    two[0].write("gate", "m", gate("test_a", Outcome.PASS))

    results = gathered(two[0].folder)

    assert msgspec.json.decode(msgspec.json.encode(results), type=Results) == results


def test_the_number_of_selected_tests_is_the_largest_that_a_process_counted(two):
    two[0].write("selected", "", 3)
    two[1].write("selected", "", 5)

    assert selected(two[0].folder) == 5
    assert selected(two[0].folder / "nowhere") == 0
