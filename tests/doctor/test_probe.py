"""The probe: its tiny model, the numbers that it ought to give, and what counts as wrong."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from pytest_edgeai.doctor import probe

MANUAL = (Path(__file__).parents[2] / "docs/reference/commands.md").read_text(encoding="utf-8")


def test_the_numbers_are_those_of_an_engine_that_is_well(tmp_path):
    probe.write_model(str(tmp_path / probe.MODEL), "onnx")
    onnx.checker.check_model(onnx.load(tmp_path / probe.MODEL), full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / probe.MODEL, providers=["CPUExecutionProvider"])

    answers = [session.run(None, item)[0] for item in probe._items()]

    expected = [probe._computed(item) for item in probe._items()]
    assert probe._distance(np.concatenate(answers), np.concatenate(expected)) < 1e-5


def test_outputs_of_zeros_and_of_another_item_are_wrong_in_every_precision():
    expected = np.concatenate([probe._computed(item) for item in probe._items()])

    zeros, another = (probe._distance(wrong, expected) for wrong in (np.zeros_like(expected), expected[::-1]))

    worst = max(*probe.TOLERANCES.values(), probe._COARSE)
    assert min(zeros, another) > worst


def test_the_manual_tells_the_errors_that_are_not_wrong():
    told = {
        name: float(cells[2].strip().removesuffix(" %")) / 100
        for line in MANUAL.splitlines()
        if len(cells := line.split("|")) == 4 and cells[2].strip().endswith(" %")
        for name in cells[1].strip().split(", ")
    }

    assert {name: round(share, 6) for name, share in told.items()} == probe.TOLERANCES | {"any other": probe._COARSE}
