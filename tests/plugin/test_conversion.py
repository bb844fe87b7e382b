"""Models of PyTorch through the plugin: converted, quantized and judged like an ONNX file; quietly, and with PyTorch in workers alone."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pytest_edgeai.measure.process import run_task

for needed in ("torch", "transformers", "onnxscript", "onnxruntime"):
    pytest.importorskip(needed)

NETS = Path(__file__).parents[1] / "conversion" / "nets.py"
GATES = """
import pytest

{mark}

@pytest.mark.edge_recipe("*-int8*")
def test_it(edge_variant):
    assert edge_variant.accuracy >= 0.5 * edge_variant.reference.accuracy
    assert edge_variant.size <= 10**6
"""


@pytest.fixture
def images(pytester: pytest.Pytester) -> Path:
    """Items for the small net, and its file."""
    shutil.copy(NETS, pytester.path)
    numbers = np.random.default_rng(0).standard_normal((120, 3, 16, 16)).astype(np.float32)
    np.savez(pytester.path / "items.npz", image=numbers)
    return pytester.path / "items.npz"


def test_a_function_in_a_marker_is_converted_quantized_and_judged(edge, images: Path, results) -> None:
    pytest.importorskip("openvino")
    mark = "pytestmark = pytest.mark.edge_model('nets.py:small', dataset='items.npz')"
    edge.pytester.makepyfile(test_edge=GATES.format(mark=mark))

    found = edge.run("--edge-recipe=openvino-int8 onnxruntime-int8-static")

    found.assert_outcomes(passed=2)
    model = results().models[0]
    assert (model.model.name, model.model.kind) == ("nets", "onnx")
    assert (model.conversion.architecture, model.conversion.axes) == ("Small", ("batch",))
    assert {variant.name: variant.state for variant in model.variants}.keys() >= {
        "openvino-int8",
        "onnxruntime-int8-static",
    }
    assert "Converted from" in (edge.report / "index.html").read_text()
    assert "torchvision" not in found.stdout.str() + found.stderr.str()


def test_a_folder_of_transformers_goes_the_same_way_by_an_option(edge, pytester: pytest.Pytester, results) -> None:
    make = f"import sys; sys.path.insert(0, {str(NETS.parent)!r}); import folders, pathlib; folders.make('BertForSequenceClassification', pathlib.Path('bert'))"
    pytester.run(sys.executable, "-W", "ignore", "-c", make)
    tokens = np.random.default_rng(0).integers(0, 100, (80, 24))
    ones, zeros = np.ones_like(tokens), np.zeros_like(tokens)
    np.savez("texts.npz", input_ids=tokens, attention_mask=ones, token_type_ids=zeros)
    pytester.makepyfile(test_edge=GATES.format(mark=""))

    found = edge.run("--edge-model=bert", "--edge-dataset=texts.npz", "--edge-recipe=onnxruntime-int8-dynamic")

    found.assert_outcomes(passed=1)
    assert results().models[0].conversion.source == str(pytester.path / "bert")


def test_the_ini_file_and_the_hook_take_a_function_too(edge, images: Path) -> None:
    edge.pytester.makepyfile(test_edge="def test_it(edge_model):\n    assert edge_model.kind == 'onnx'\n")
    edge.pytester.makeini("[pytest]\nedge_model = nets.py:small\n")

    edge.run().assert_outcomes(passed=1)

    edge.pytester.makeini("[pytest]\n")
    edge.pytester.makeconftest("def pytest_edge_models(config):\n    return {'small': {'path': 'nets.py:small'}}\n")

    edge.run().assert_outcomes(passed=1)


def test_the_plan_says_what_it_was_converted_from_and_how_far_it_is_off(edge, images: Path) -> None:
    edge.pytester.makepyfile(test_edge="def test_it(edge_variant):\n    pass\n")

    found = edge.run("--edge-model=nets.py:fixed_batch", "--edge-plan")

    told = next(line for line in found.outlines if line.startswith("  converted "))
    assert f"Of of {images.parent / 'nets.py:fixed_batch'}, by torch.onnx.export(dynamo=True), opset" in told
    assert "off by 0 of the range of 'output' at most" in told
    assert "dynamic axes: none; batch is fixed, because the model's code takes it for 3" in told


def test_what_cannot_be_converted_is_an_error_of_one_sentence(edge, images: Path) -> None:
    edge.pytester.makepyfile(test_edge="def test_it(edge_variant):\n    assert edge_variant.size <= 1\n")

    found = edge.run("--edge-model=nets.py:another_formula", "--edge-recipe=onnxruntime-int8-dynamic")

    found.assert_outcomes(errors=1)
    found.stdout.fnmatch_lines(
        ["nets.py:another_formula: *its output 'output' differs by up to 0.* % of that output's range*"]
    )
    assert "Traceback" not in found.stdout.str()


def test_the_users_code_finds_what_lies_beside_it_and_in_the_working_folder(tmp_path: Path) -> None:
    source, working = tmp_path / "source", tmp_path / "working"
    for folder in (source, working, tmp_path / "made"):
        folder.mkdir()
    (source / "beside.py").write_text("SIZE = 3\n")
    (working / "at_work.py").write_text("SIZE = 2\n")
    (working / "weights.txt").write_text("0.5")
    (source / "model.py").write_text(
        "import torch, beside, at_work\n\ndef make():\n    layer = torch.nn.Linear(beside.SIZE, at_work.SIZE)\n"
        "    layer.weight.data.fill_(float(open('weights.txt').read()))\n    print('noise')\n    return layer, (torch.ones(2, 3),)\n"
    )
    arguments = {"path": f"{source / 'model.py'}:make", "origin": "function", "working": str(working)}

    run_task("convert", {**arguments, "folder": str(tmp_path / "made")}, subject="model.py:make", timeout=60)

    assert (tmp_path / "made" / "model.onnx").is_file()


def test_edgeai_assess_tells_the_conversion_and_leaves_pytorch_to_the_worker(images: Path, tmp_path: Path) -> None:
    program = "import sys; from pytest_edgeai import cli; status = cli.main(sys.argv[1:]); print('torch' in sys.modules, status)"
    command = [sys.executable, "-c", program, "assess", f"{images.parent / 'nets.py'}:two"]

    done = subprocess.run([*command, "--cache", tmp_path / "cache"], capture_output=True, text=True, check=True)

    assert "converted from  Two of" in done.stdout
    assert "logits: float32 [batch, 2]" in done.stdout
    assert done.stdout.endswith("False 0\n")
    assert "edgeai: converting nets.py:two to ONNX" in done.stderr
