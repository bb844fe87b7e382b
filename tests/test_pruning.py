"""Pruning: which weights become zero, how many, and what stays."""

from pathlib import Path

import models
import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from test_strategy import ASSESSMENT

from pytest_edgeai import pruning
from pytest_edgeai.errors import BuildError, UnsupportedError
from pytest_edgeai.records import Quantizable, Recipe


def weights(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


@given(
    values=st.lists(st.integers(-5, 5), min_size=1, max_size=60),
    percent=st.integers(pruning.LEAST, pruning.MOST),
)
def test_exactly_the_stated_share_of_values_is_zero_and_no_kept_one_is_smaller(values, percent):
    array = np.array(values, np.float32)

    pruned = pruning.without_smallest(array, percent / 100)

    kept = pruned == array
    assert np.count_nonzero(~kept | (array == 0)) >= percent * len(values) // 100
    assert np.count_nonzero(~kept) <= percent * len(values) // 100
    assert not pruned[~kept].any()
    if kept.any() and not kept.all():
        assert np.abs(array[~kept]).max() <= np.abs(array[kept & (array != 0)]).min(initial=np.inf)


def test_each_layer_is_pruned_alike_and_its_largest_weights_stay(tmp_path):
    model = models.convolutional(tmp_path / "small.onnx")
    (tmp_path / "out").mkdir()

    pruned = pruning.prune(model, tmp_path / "out", 0.25)

    before, after = weights(model), weights(pruned)
    for name in ("w0", "w1", "w2", "head"):
        assert np.mean(after[name] == 0) == pytest.approx(0.25, abs=1 / after[name].size)
        largest = np.abs(before[name]) > np.quantile(np.abs(before[name]), 0.3)
        assert (after[name] == before[name])[largest].all()


def test_tables_biases_and_norms_stay(tmp_path):
    model = models.transformer(tmp_path / "encoder.onnx")
    looked_up = {"words", "kinds"}
    (tmp_path / "out").mkdir()

    after = weights(pruning.prune(model, tmp_path / "out", 0.5))

    kept = {name for name, values in weights(model).items() if np.array_equal(values, after[name])}
    assert looked_up <= kept
    assert {name for name, values in after.items() if values.ndim < 2} <= kept
    assert len(kept) < len(after)


def test_weights_that_reach_a_product_by_way_of_a_constant_and_a_transpose_are_found(tmp_path):
    values = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    nodes = [
        helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(values)),
        helper.make_node("Transpose", ["w"], ["t"]),
        helper.make_node("MatMul", ["x", "t"], ["y"]),
    ]
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size]) for name, size in (("x", 4), ("y", 3))]
    graph = helper.make_graph(nodes, "g", tensors[:1], tensors[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "m.onnx")
    (tmp_path / "out").mkdir()

    pruned = onnx.load(pruning.prune(tmp_path / "m.onnx", tmp_path / "out", 0.5))

    found = numpy_helper.to_array(pruned.graph.node[0].attribute[0].t)
    assert found.ravel().tolist() == [0, 0, 0, 0, 0, 0, 7, 8, 9, 10, 11, 12]


def test_a_model_without_weights_of_layers_is_refused(tmp_path):
    model = models.trees(tmp_path / "trees.onnx")
    (tmp_path / "out").mkdir()

    with pytest.raises(UnsupportedError, match="no floating-point weights"):
        pruning.prune(model, tmp_path / "out", 0.5)


def test_a_file_that_cannot_be_read_is_told_in_one_sentence(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"\xff" * 40)

    with pytest.raises(BuildError, match=r"m\.onnx can't be pruned: ") as error:
        pruning.prune(tmp_path / "m.onnx", tmp_path, 0.5)

    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "precisions", "told"),
    [
        ("onnx", {}, None),
        ("onnx", {"int8-static": Quantizable(possible=False, reason="it has trees")}, None),
        ("huggingface", {}, "Only the weights of ONNX models are pruned: ask for it without -pruned20."),
    ],
)
def test_what_speaks_against_pruning(kind, precisions, told):
    recipe = Recipe(framework="openvino", precision="int8", sparsity=0.2)
    assessment = msgspec.structs.replace(ASSESSMENT, precisions=precisions)

    assert pruning.refusal(recipe, kind, assessment) == told


def test_a_model_that_no_int8_recipe_takes_has_no_weights_to_prune():
    no = Quantizable(possible=False, reason="its work is in 20 trees")
    assessment = msgspec.structs.replace(ASSESSMENT, precisions={"int8-static": no, "int8-dynamic": no})
    recipe = Recipe(framework="onnxruntime", precision="fp32", sparsity=0.5)

    assert pruning.refusal(recipe, "onnx", assessment) == "There are no weights to prune: its work is in 20 trees."
    assert pruning.refusal(Recipe(framework="onnxruntime", precision="fp32"), "onnx", assessment) is None
