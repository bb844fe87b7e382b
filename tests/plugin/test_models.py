"""Models of other kinds than the sample's, through the plugin: sizes of dynamic axes, items as whole calls, scores."""

from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_edgeai.records import Results

LATENCY = "def test_it(edge_variant):\n    assert edge_variant.latency.p50 <= 1000\n"
SIZE = "def test_it(edge_variant):\n    assert edge_variant.size <= 10**9\n"
ACCURACY = "def test_it(edge_variant):\n    assert edge_variant.accuracy >= 0.95 * edge_variant.reference.accuracy\n"


def linear(path: Path, shape: tuple[str | int, ...], outputs: int) -> Path:
    """24 numbers in the last axis of ``x``, weighed into ``outputs`` numbers; the last axis is declared as dynamic."""
    weights = np.random.default_rng(0).standard_normal((24, outputs)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [*shape, "features"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [*shape, outputs])],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.fixture
def run(edge, tmp_path: Path):
    """Runs a test of the fake engine's plain variant of a model, declared by options."""

    def start(source: str, model: Path, *arguments: str, **items: np.ndarray) -> pytest.RunResult:
        edge.pytester.makepyfile(test_edge=source)
        edge.pytester.makeconftest("def pytest_edge_plugins(config):\n    return ['fake_engine']\n")
        given = [f"--edge-model={model}", "--edge-recipe=fake-fp32-plain", *arguments]
        if items:
            np.savez(tmp_path / "items.npz", **items)
            given.append(f"--edge-dataset={tmp_path / 'items.npz'}")
        return edge.run(*given)

    return start


def results(edge) -> Results:
    return msgspec.json.decode((edge.report / "results.json").read_bytes(), type=Results)


def test_without_data_the_sizes_of_dynamic_axes_are_an_option(run, tmp_path: Path) -> None:
    found = run(SIZE, linear(tmp_path / "m.onnx", ("batch",), 4), "--edge-shape=features=24")

    found.assert_outcomes(passed=1)


@pytest.mark.parametrize("before", [False, True], ids=["when it is built", "when it was built before"])
def test_a_model_that_cannot_run_on_made_up_sizes_tells_them_and_how_to_choose_others(
    run, tmp_path: Path, before: bool
) -> None:
    model = linear(tmp_path / "m.onnx", ("batch",), 5 + before)
    if before:
        run(SIZE, model, "--edge-shape=features=24").assert_outcomes(passed=1)

    found = run(LATENCY, model)

    assert found.ret == pytest.ExitCode.TESTS_FAILED
    found.stdout.fnmatch_lines(
        ["*were made up (batch=1, features=16); choose other sizes with --edge-shape, or give a dataset*"]
    )
    assert "pytest_edgeai/" not in found.stdout.str()


@pytest.mark.parametrize(
    ("shape", "items", "words"),
    [
        ("feature=24", {}, "*No dynamic axis named 'feature'. Did you mean 'features'? Known: batch, features.*"),
        ("features=0", {}, "*sizes are whole numbers from 1 on; not 'features=0'*"),
        (
            "features=23",
            {"x": np.ones((40, 24), np.float32)},
            "*has 24 for the axis 'features', and --edge-shape says 23.*",
        ),
    ],
)
def test_a_wrong_size_fails_with_one_sentence(run, tmp_path: Path, shape: str, items, words: str) -> None:
    found = run(SIZE, linear(tmp_path / "m.onnx", ("batch",), 4), f"--edge-shape={shape}", **items)

    assert found.ret == pytest.ExitCode.TESTS_FAILED
    found.stdout.fnmatch_lines([words])
    assert "pytest_edgeai/" not in found.stdout.str()


@pytest.mark.parametrize(
    ("shape", "outputs", "labelled", "title"),
    [
        (("batch",), 4, False, "agreement with the reference (top1)"),
        (("batch",), 1, False, "agreement with the reference (r2)"),
        (("batch",), 1, True, "r2"),
        (("time", "batch"), 4, True, "top1"),
    ],
)
def test_the_score_is_chosen_for_the_model_and_told_in_the_results(
    edge, run, tmp_path: Path, shape, outputs: int, labelled: bool, title: str
) -> None:
    model, rng = linear(tmp_path / "m.onnx", shape, outputs), np.random.default_rng(1)
    axes = (5, 1) if len(shape) > 1 else ()
    items = {"x": rng.standard_normal((200, *axes, 24)).astype(np.float32)}
    if labelled:
        answers = items["x"] @ numpy_helper.to_array(onnx.load(model).graph.initializer[0])
        items["labels"] = answers.argmax(-1) if outputs > 1 else answers[:, 0] + 0.1 * rng.standard_normal(200)

    found = run(ACCURACY, model, **items)

    found.assert_outcomes(passed=1)
    assert results(edge).models[0].score == title
