"""Quantities end to end: metrics that a plugin brings, throughput, running without a network, limits that nobody states."""

import pytest

from pytest_edgeai import sampling, screening
from pytest_edgeai.records import Outcome

SENSORS = """
def pytest_edge_plugins(config):
    return ["fake_engine", "fake_sensors"]
"""


@pytest.fixture
def sensing(edge, monkeypatch):
    """Writes tests that may ask for the fake sensors' quantities; blocks are short."""
    monkeypatch.setattr(sampling, "BLOCK_SECONDS", 0.02)

    def write(source: str):
        edge.write(source)
        edge.pytester.makeconftest(SENSORS)
        return edge

    return write


METRICS = """
def test_call(edge_variant):
    assert edge_variant.switches.voluntary.p95 <= 3

def test_process(edge_variant):
    assert edge_variant.files <= 5
    assert edge_variant.files <= 2 * edge_variant.baseline.files

def test_block(edge_variant):
    assert edge_variant.heat <= 9

def test_ratio_of_blocks(edge_variant):
    assert edge_variant.heat <= 1.1 * edge_variant.baseline.heat

@pytest.mark.parametrize("name", ["absent", "absent_block"])
def test_absent(edge_variant, name):
    assert getattr(edge_variant, name) <= 1

def test_absent_call(edge_variant):
    assert edge_variant.absent_call.p50 <= 1

def test_spread_of_nothing(edge_variant):
    assert edge_variant.switches.forced.jitter <= 1

def test_estimates(edge_variant):
    assert edge_variant.heat.estimate == 10
    assert edge_variant.switches.voluntary.p50.estimate == 3
"""


def test_a_metric_of_a_plugin_is_measured_judged_and_kept_like_our_own(sensing, gates, results):
    edge = sensing(METRICS)

    edge.run("--edge-recipe=fake-fp32-plain").assert_outcomes(passed=4, failed=1, skipped=4)

    said = {
        "test_call": [("fake-fp32-plain switches.voluntary.p95 <= 3", Outcome.PASS)],
        "test_process": [
            ("fake-fp32-plain files <= 5", Outcome.PASS),
            ("fake-fp32-plain files <= 2 * onnxruntime-fp32 files", Outcome.PASS),
        ],
        "test_block": [("fake-fp32-plain heat <= 9 J", Outcome.FAIL)],
        "test_ratio_of_blocks": [("fake-fp32-plain heat <= 1.1 * onnxruntime-fp32 heat", Outcome.PASS)],
    }
    assert {test: gates(test) for test in said} == said
    assert {outcome for test in ("test_absent", "test_absent_call") for _, outcome in gates(test)} == {
        Outcome.UNSUPPORTED
    }
    assert {note for gate in results().gates for note in gate.verdict.notes if "no such sensor" in note} == {
        "absent can't be read here: there is no such sensor here.",
        "absent_block can't be read here: there is no such sensor here.",
        "absent_call can't be read here: there is no such sensor here.",
    }
    variant = next(v for v in results().models[0].variants if v.name == "fake-fp32-plain")
    assert (variant.figures["heat"].estimate, variant.figures["heat"].unit) == (10, "J")
    assert "heat" in (edge.report / "index.html").read_text()


THROUGHPUT = """
def test_alone(edge_variant):
    assert edge_variant.throughput >= 1
    assert not edge_variant.throughput <= 1

def test_batch(edge_variant):
    assert edge_variant.throughput.at(batch=4) >= 1

def test_requests(edge_variant):
    assert edge_variant.throughput.at(requests=2, batch=2) >= 1

def test_ratio(edge_variant):
    assert edge_variant.throughput >= 0.01 * edge_variant.baseline.throughput
"""


def test_throughput_is_decided_at_a_batch_and_with_parallel_requests(edge, gates):
    edge.write(THROUGHPUT, fake=True)

    edge.run("--edge-recipe=fake-fp32-parallel").assert_outcomes(passed=4)

    assert gates() == [
        ("fake-fp32-parallel throughput >= 1 items/s", Outcome.PASS),
        ("fake-fp32-parallel throughput <= 1 items/s", Outcome.FAIL),
        ("fake-fp32-parallel throughput@batch=4 >= 1 items/s", Outcome.PASS),
        ("fake-fp32-parallel throughput@batch=2,requests=2 >= 1 items/s", Outcome.PASS),
        ("fake-fp32-parallel throughput >= 0.01 * onnxruntime-fp32 throughput", Outcome.PASS),
    ]


OFFLINE = """
def test_offline(edge_variant):
    assert edge_variant.offline
"""


def test_a_variant_that_wants_a_network_fails_where_there_is_none(edge, results, told):
    edge.write(OFFLINE, fake=True)

    edge.run("--edge-recipe=fake-fp32-plain")
    without = results().gates[0].verdict
    failing = edge.run("--edge-recipe=fake-fp32-networked")
    wanting = results().gates[0].verdict

    if without.outcome is Outcome.UNSUPPORTED:  # a system that allows no namespaces
        assert without.notes[0].startswith("the network can't be taken away from a process here: ")
        assert wanting.outcome is Outcome.UNSUPPORTED
    else:
        assert (without.claim, without.outcome) == ("fake-fp32-plain runs without a network", Outcome.PASS)
        assert wanting.outcome is Outcome.FAIL
        assert "it runs only with a network" in told(failing, "test_offline")


SHY = """
import os, socket

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gram:
    try:
        gram.connect(("127.0.0.1", 9))
    except OSError:
        os._exit(3)
"""
"""A plugin module that ends a process without a network."""


def test_a_worker_that_does_not_start_without_a_network_says_nothing_of_the_variant(edge, results):
    edge.write(OFFLINE)
    edge.pytester.makepyfile(shy=SHY)
    edge.pytester.makeconftest("def pytest_edge_plugins(config):\n    return ['fake_engine', 'shy']\n")

    edge.run("--edge-recipe=fake-fp32-plain", subprocess=True)
    verdict = results().gates[0].verdict

    if verdict.outcome is not Outcome.UNSUPPORTED:  # a system that allows no namespaces
        assert verdict.outcome is Outcome.ERROR
        assert "failed in phase 'start': it exited with status 3" in " ".join(verdict.notes)


def test_a_target_without_a_network_is_measured_without_one(edge, results):
    edge.write("def test_fast(edge_choice):\n    assert edge_choice.latency.p50 <= 100\n", fake=True)
    edge.pytester.makeconftest(
        """
def pytest_edge_plugins(config):
    return ["fake_engine", "fake_places"]
"""
    )

    edge.run("--edge-target=cellar", "--edge-recipe=fake-fp32-plain").assert_outcomes(passed=1)

    variant = next(v for v in results().models[0].variants if v.role == "variant")
    assert variant.placement.get("network", "none") == "none"
    assert results().target.limits.offline


def test_what_an_engine_turns_out_not_to_take_is_refused_late_and_is_no_error(edge, results):
    edge.write("def test_size(edge_variant):\n    assert edge_variant.size <= 1e9\n", fake=True)

    result = edge.run("--edge-recipe=fake-fp32-refused", "-rs")

    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*fake-fp32-refused: the engine has no operator Conv."])
    assert [refusal.reason for refusal in results().models[0].refusals] == ["the engine has no operator Conv."]
    assert [variant.role for variant in results().models[0].variants] == []


def test_where_everything_is_refused_there_is_nothing_to_choose_and_that_is_unsupported(edge):
    edge.write("def test_choice(edge_choice):\n    assert edge_choice.size <= 1e9\n", fake=True)

    result = edge.run("--edge-recipe=fake-fp32-refused", "-rs")

    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*There is no variant of small for cross to choose. *no operator Conv."])


LIMITS = """
def test_package(edge_variant, edge_target):
    assert edge_variant.size <= edge_target.limits.package

def test_power(edge_variant, edge_target):
    assert edge_variant.energy.power <= edge_target.limits.power_watts
"""


def test_limits_are_the_targets_or_the_users_and_what_nobody_states_is_unsupported(edge, gates):
    edge.write(LIMITS, fake=True)

    edge.run("--edge-recipe=fake-fp32-plain", "--edge-limit=package=1kB").assert_outcomes(failed=1, skipped=1)

    assert gates("test_package") == [("fake-fp32-plain size <= 1 kB", Outcome.FAIL)]
    assert gates("test_power") == [("test_power[fake-fp32-plain]", Outcome.UNSUPPORTED)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("packages=1MB", "No limit named 'packages'. Did you mean 'package'?"),
        ("package=big", "The limit 'package=big' must be a size with its unit, as in package=20MB."),
        ("memory=0.6", "The limit 'memory=0.6' must be a size with its unit, as in memory=256MB."),
        ("accuracy=95", "The limit 'accuracy=95' must be a share of the reference's accuracy, as in accuracy=0.99."),
        ("accuracy", "The limit 'accuracy' must be a share of the reference's accuracy, as in accuracy=0.99."),
        ("power=0W", "The limit 'power=0W' must be in watts, as in power=5W."),
    ],
)
def test_a_limit_that_makes_no_sense_is_a_usage_error(edge, text, told):
    edge.write(LIMITS)

    result = edge.run(f"--edge-limit={text}")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *{told}*"])


BATCHED = """
def test_calls(edge_variant):
    assert edge_variant.latency.p50 <= 0.5 * edge_variant.baseline.latency.p50

def test_items(edge_variant):
    assert edge_variant.speedup <= 1000
    assert edge_variant.throughput >= 1

def test_twice_a_batch(edge_variant):
    assert edge_variant.throughput.at(batch=2) >= 1
"""


def test_a_recipe_for_a_batch_is_compared_by_the_item_and_not_by_the_call(edge, results):
    edge.write(BATCHED)

    edge.run("--edge-recipe=onnxruntime-fp32@batch=4").assert_outcomes(passed=1, skipped=2)

    assert [gate.verdict.notes[0] for gate in results().gates if gate.verdict.outcome is Outcome.UNSUPPORTED] == [
        (
            "a call of onnxruntime-fp32@batch=4 has 4 items and one of onnxruntime-fp32 has 1: compare speedup or "
            "throughput, which are of an item."
        ),
        "a call of onnxruntime-fp32@batch=4 has 4 items already: leave the batch out.",
    ]


def test_a_variant_that_is_the_baselines_artifact_loaded_otherwise_is_measured_against_it(edge, results, monkeypatch):
    for name, few in (("PROCESSES", 1), ("PAIRS", 1), ("ROUNDS", 5), ("CALLS", 20), ("PATIENCE", 0.1)):
        monkeypatch.setattr(screening, name, few)
    edge.write("def test_gate(edge_variant):\n    assert edge_variant.speedup.estimate > 0\n")

    edge.run("--edge-recipe=onnxruntime-fp32@threads=1").assert_outcomes(passed=1)

    (model,) = results().models
    found = {one.name: one for one in model.variants}
    assert found["onnxruntime-fp32@threads=1"].key == found["onnxruntime-fp32"].key
    assert found["onnxruntime-fp32@threads=1"].figures["speedup"].method != "by definition"
    assert found["onnxruntime-fp32@threads=1"].placement["threads"] == "1"
