"""The gates that a vision model's variants must pass before one of them ships.

They run on the sample model (``make suites``) and on yours: ``pytest suites/vision --edge-model M.onnx --edge-dataset D.npz``.
"""


def test_every_variant_keeps_its_accuracy(edge_variant, edge_target):
    assert edge_variant.accuracy >= edge_target.limits.accuracy_kept * edge_variant.reference.accuracy


def test_the_choice_keeps_its_accuracy(edge_choice, edge_target):
    assert edge_choice.accuracy >= edge_target.limits.accuracy_kept * edge_choice.reference.accuracy


def test_the_choice_is_faster(edge_choice, edge_target):
    assert edge_choice.speedup >= edge_target.limits.speedup


def test_the_choice_needs_less_memory(edge_choice, edge_target):
    assert edge_choice.memory.footprint <= edge_target.limits.memory * edge_choice.baseline.memory.footprint


def test_the_choice_is_steady(edge_choice):
    assert edge_choice.latency.jitter <= 0.20
