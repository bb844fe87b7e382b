"""Models of PyTorch through the plugin: converted, quantized and judged like an ONNX file; quietly, and with PyTorch in workers alone."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

for needed in ("torch", "onnxscript", "onnxruntime"):
    pytest.importorskip(needed)

NETS = Path(__file__).parents[1] / "conversion" / "nets.py"
GATES = """
import pytest

pytestmark = pytest.mark.edge_model("nets.py:small", dataset="items.npz")

def test_it(edge_variant):
    assert edge_variant.accuracy >= 0.5 * edge_variant.reference.accuracy
"""
NAMED = "def test_it(edge_variant):\n    pass\n"


@pytest.fixture
def nets(edge) -> Path:
    """The file of small nets, in the folder that pytest runs in."""
    return Path(shutil.copy(NETS, edge.pytester.path))


def test_a_function_in_a_marker_is_converted_quantized_and_judged(edge, nets: Path, results) -> None:
    images = np.random.default_rng(0).standard_normal((120, 3, 16, 16)).astype(np.float32)
    np.savez(nets.with_name("items.npz"), image=images)
    edge.pytester.makepyfile(test_edge=GATES)

    found = edge.run("--edge-recipe=onnxruntime-int8-static")

    found.assert_outcomes(passed=1)
    model = results().models[0]
    assert (model.model.name, model.model.kind) == ("nets", "onnx")
    assert (model.conversion.source, model.conversion.axes) == (f"{nets}:small", ("batch",))
    assert "<dt>Converted from</dt><dd>Small of " in (edge.report / "index.html").read_text()
    assert "torchvision" not in found.stdout.str() + found.stderr.str()


@pytest.mark.parametrize("place", ["option", "ini", "hook"])
def test_an_option_the_ini_file_and_the_hook_take_a_function_too(edge, nets: Path, place: str) -> None:
    edge.pytester.makepyfile(test_edge=NAMED)
    if place == "ini":
        edge.pytester.makeini("[pytest]\nedge_model = nets.py:small\n")
    if place == "hook":
        hook = "def pytest_edge_models(config):\n    return {'small': {'path': 'nets.py:small'}}\n"
        edge.pytester.makeconftest(hook)

    found = edge.run("--collect-only", *(["--edge-model=nets.py:small"] if place == "option" else []))

    found.stdout.fnmatch_lines(["*<Function test_it?onnxruntime-int8-static?>"])


def test_the_plan_says_what_it_was_converted_from_and_how_far_it_is_off(edge, nets: Path) -> None:
    edge.pytester.makepyfile(test_edge=NAMED)

    found = edge.run("--edge-model=nets.py:fixed_batch", "--edge-plan")

    told = next(line for line in found.outlines if line.startswith("  converted "))
    assert f"Of of {nets}:fixed_batch, by torch.onnx.export(dynamo=True), opset" in told
    assert "off by 0 of the range of 'output' at most" in told
    assert "dynamic axes: none; batch is fixed, because the model's code takes it for 3" in told


def test_what_cannot_be_converted_is_an_error_of_one_sentence(edge, nets: Path) -> None:
    edge.pytester.makepyfile(test_edge=NAMED)

    found = edge.run("--edge-model=nets.py:raises", "--edge-recipe=onnxruntime-int8-dynamic")

    found.assert_outcomes(errors=1)
    found.stdout.re_match_lines([r"nets\.py:raises: it failed \(nets\.py:\d+\): ValueError: the weights are gone$"])
    assert "Traceback" not in found.stdout.str()


def test_edgeai_assess_tells_the_conversion_and_leaves_pytorch_to_the_worker(tmp_path: Path) -> None:
    program = "import sys; from pytest_edgeai import cli; status = cli.main(sys.argv[1:]); print('torch' in sys.modules, status)"
    command = [sys.executable, "-c", program, "assess", f"{NETS}:two", "--cache", tmp_path / "cache"]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert "converted from  Two of" in done.stdout
    assert "logits: float32 [batch, 2]" in done.stdout
    assert done.stdout.endswith("False 0\n")
    assert "edgeai: converting nets.py:two to ONNX" in done.stderr
