"""The gates that a model's variants must pass before one of them ships.

They run on the sample model (``make suites``) and on yours: ``pytest suites/ --edge-model=M.onnx --edge-dataset=D.npz``. The limits are
the target's own, or yours: ``--edge-limit "accuracy=0.99 package=20MB"``.
"""

import pytest

pytestmark = pytest.mark.edge_kind("tensor")


def test_every_variant_keeps_its_accuracy(edge_variant, edge_target):
    assert edge_variant.accuracy >= edge_target.limits.accuracy_kept * edge_variant.reference.accuracy


def test_the_choice_keeps_its_accuracy(edge_choice, edge_target):
    assert edge_choice.accuracy >= edge_target.limits.accuracy_kept * edge_choice.reference.accuracy


def test_the_choice_is_faster(edge_choice, edge_target):
    assert edge_choice.speedup >= edge_target.limits.speedup


def test_the_choice_needs_less_memory(edge_choice, edge_target):
    assert edge_choice.memory.footprint <= edge_target.limits.footprint * edge_choice.baseline.memory.footprint


def test_the_choice_is_steady(edge_choice):
    assert edge_choice.latency.jitter <= 0.20


def test_the_choice_fits_into_the_package(edge_choice, edge_target):
    assert edge_choice.size <= edge_target.limits.package


def test_the_choice_fits_into_memory(edge_choice, edge_target):
    assert edge_choice.memory.peak <= edge_target.limits.memory_bytes


def test_the_choice_keeps_to_its_power(edge_choice, edge_target):
    assert edge_choice.energy.power <= edge_target.limits.power_watts


def test_the_choice_runs_without_a_network(edge_choice, edge_target):
    if not edge_target.limits.offline:
        pytest.skip(f"devices of the target {edge_target.name} have a network")
    assert edge_choice.offline
