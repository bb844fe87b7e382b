"""Assessing: files from outside, parsing, counting, and what is refused."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_edgeai.assess import ASSESS_TIMEOUT, assess, digest_model, read_model
from pytest_edgeai.errors import ModelError, WorkerError
from pytest_edgeai.records import Assessment

OPSET = [helper.make_opsetid("", 18)]


def floats(name: str, *shape: int) -> TensorProto:
    values = np.random.default_rng(len(name)).normal(size=shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


def value(name: str, shape: tuple[int | str | None, ...], dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def model_of(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: list[TensorProto] | None = None,
    **more: Any,
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "graph", inputs, outputs, weights or [])
    return helper.make_model(graph, **{"opset_imports": OPSET, "ir_version": 10, "producer_name": "tests", **more})


def convolutional(batch: int | str | None = "batch") -> onnx.ModelProto:
    """16 filters of 3x3 on 3x32x32, global pooling, 10 classes: 442,528 multiply-accumulates."""
    return model_of(
        [
            helper.make_node("Conv", ["image", "kernel", "bias"], ["features"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["features"], ["active"]),
            helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("Gemm", ["flat", "classes"], ["logits"], transB=1),
        ],
        [value("image", (batch, 3, 32, 32))],
        [value("logits", (batch, 10))],
        [floats("kernel", 16, 3, 3, 3), floats("bias", 16), floats("classes", 10, 16)],
    )


def dense() -> onnx.ModelProto:
    return model_of(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [value("x", ("n", 64))],
        [value("y", ("n", 32))],
        [floats("w", 64, 32)],
    )


def attention() -> onnx.ModelProto:
    return model_of(
        [
            helper.make_node("MatMul", ["x", "wq"], ["q"]),
            helper.make_node("MatMul", ["x", "wk"], ["k"]),
            helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
            helper.make_node("MatMul", ["q", "kt"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["weights"]),
            helper.make_node("MatMul", ["weights", "x"], ["y"]),
        ],
        [value("x", ("batch", 8, 64))],
        [value("y", ("batch", 8, 64))],
        [floats("wq", 64, 64), floats("wk", 64, 64)],
    )


def saved(model: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    path = folder / name
    onnx.save(model, path)
    return path


def assessed(model: onnx.ModelProto, folder: Path) -> Assessment:
    return read_model(str(saved(model, folder)))


def with_external_data(folder: Path) -> Path:
    path = folder / "model.onnx"
    onnx.save(convolutional(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def relocated(path: Path, **entries: str) -> None:
    """Change what the model at ``path`` says of where its first tensor's data lie."""
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        entry.value = entries.get(entry.key, entry.value)
    path.write_bytes(model.SerializeToString())


# What is known of a model ----------------------------------------------------------------------------------------------------


def test_a_convolutional_model_is_counted_and_described(tmp_path: Path) -> None:
    path = saved(convolutional(), tmp_path)

    found = read_model(str(path))

    assert found.architecture == "convolutional"
    assert found.macs == 16 * 32 * 32 * 3 * 3 * 3 + 16 * 10
    assert found.parameters == 16 * 3 * 3 * 3 + 16 + 160
    assert found.bytes == path.stat().st_size
    assert found.ops == {"Conv": 1, "Flatten": 1, "Gemm": 1, "GlobalAveragePool": 1, "Relu": 1}
    assert (found.opset, found.producer, found.weight_dtypes) == (18, "tests", ("float32",))


def test_inputs_and_outputs_name_their_dynamic_axes(tmp_path: Path) -> None:
    found = assessed(convolutional(), tmp_path)

    assert [(spec.name, spec.dtype, spec.shape) for spec in found.inputs] == [
        ("image", "float32", ("batch", 3, 32, 32))
    ]
    assert [(spec.name, spec.dtype, spec.shape) for spec in found.outputs] == [("logits", "float32", ("batch", 10))]
    assert found.dynamic_axes == ("batch",)


def test_a_dynamic_axis_without_a_name_is_named_by_its_place(tmp_path: Path) -> None:
    found = assessed(convolutional(batch=None), tmp_path)

    assert found.dynamic_axes == ("image:0",)
    assert found.macs == 442_528


@pytest.mark.parametrize("name", ["?", "None", "-1"])
def test_a_name_that_means_nothing_is_no_name(tmp_path: Path, name: str) -> None:
    model = model_of(
        [helper.make_node("Identity", ["x"], ["y"])], [value("x", (name, name))], [value("y", (name, name))]
    )

    found = assessed(model, tmp_path)

    assert found.dynamic_axes == ("x:0", "x:1")


@pytest.mark.parametrize(
    "dtype",
    ["bool", "float16", "float32", "float64", *(f"{s}int{bits}" for s in ("", "u") for bits in (8, 16, 32, 64))],
)
def test_every_numeric_dtype_and_scalars_are_read(tmp_path: Path, dtype: str) -> None:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    model = model_of([helper.make_node("Identity", ["x"], ["y"])], [value("x", (), kind)], [value("y", (), kind)])

    found = assessed(model, tmp_path)

    assert [(spec.dtype, spec.shape) for spec in (*found.inputs, *found.outputs)] == [(dtype, ()), (dtype, ())]


@pytest.mark.parametrize("opset", range(7, onnx.defs.onnx_opset_version() + 1))
def test_opsets_from_7_to_the_newest_are_read(tmp_path: Path, opset: int) -> None:
    model = convolutional()
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", opset))
    model.ir_version = helper.find_min_ir_version_for(list(model.opset_import))
    for tensor in model.graph.initializer if model.ir_version < 4 else ():
        model.graph.input.append(value(tensor.name, tuple(tensor.dims)))
    for node in model.graph.node:
        if node.op_type == "Gemm" and opset < 11:  # its third input was not optional
            node.input.append("zero")
            zero = numpy_helper.from_array(np.zeros(10, np.float32), "zero")
            model.graph.initializer.append(zero)
            model.graph.input.append(value("zero", (10,)))

    found = assessed(model, tmp_path)

    assert (found.opset, found.macs) == (opset, 442_528)
    assert [spec.name for spec in found.inputs] == ["image"]


@pytest.mark.parametrize("version", [3, 5])
def test_an_ensemble_of_trees_is_known_as_one(tmp_path: Path, version: int) -> None:
    """Version 5 of the domain has one operator for classifiers and regressors."""
    if version == 5:
        node = helper.make_node(
            "TreeEnsemble", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, tree_roots=[0], nodes_featureids=[0],
            nodes_splits=numpy_helper.from_array(np.array([0.5], np.float32)),
            nodes_modes=numpy_helper.from_array(np.array([0], np.uint8)),
            nodes_truenodeids=[0], nodes_trueleafs=[1], nodes_falsenodeids=[1], nodes_falseleafs=[1],
            leaf_targetids=[0, 0], leaf_weights=numpy_helper.from_array(np.array([1.0, 2.0], np.float32)),
        )  # fmt: skip
    else:
        node = helper.make_node(
            "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, nodes_treeids=[0, 0, 0],
            nodes_nodeids=[0, 1, 2], nodes_featureids=[0, 0, 0], nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
            nodes_values=[0.5, 0.0, 0.0], nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0],
            target_treeids=[0, 0], target_nodeids=[1, 2], target_ids=[0, 0], target_weights=[1.0, 2.0],
        )  # fmt: skip
    opset = [*OPSET, helper.make_opsetid("ai.onnx.ml", version)]
    model = model_of([node], [value("x", ("n", 3))], [value("y", ("n", 1))], opset_imports=opset)

    found = assessed(model, tmp_path)

    assert found.architecture == "trees"
    assert found.precisions["int8-static"].reason.startswith("it is an ensemble of trees")


def test_the_digest_of_one_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    path = saved(convolutional(), tmp_path, "detector.onnx")

    known = digest_model(path)

    assert known.digest == read_model(str(path)).digest
    assert (known.name, known.path, known.kind) == ("detector", str(path), "onnx")


def test_weights_that_are_listed_as_graph_inputs_are_not_inputs(tmp_path: Path) -> None:
    model = dense()
    model.graph.input.append(value("w", (64, 32)))

    found = assessed(model, tmp_path)

    assert [spec.name for spec in found.inputs] == ["x"]
    assert found.macs == 64 * 32


def test_transposed_convolutions_and_groups_are_counted(tmp_path: Path) -> None:
    model = model_of(
        [
            helper.make_node("Conv", ["x", "depthwise"], ["y"], group=8),
            helper.make_node("ConvTranspose", ["y", "up"], ["z"], strides=[2, 2]),
        ],
        [value("x", (1, 8, 10, 10))],
        [value("z", (1, 4, None, None))],
        [floats("depthwise", 8, 1, 3, 3), floats("up", 8, 4, 2, 2)],
    )

    assert assessed(model, tmp_path).macs == 8 * 8 * 8 * 9 + 8 * 8 * 8 * 4 * 2 * 2


def test_multiply_accumulates_are_unknown_where_shapes_are(tmp_path: Path) -> None:
    model = convolutional()
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"side{axis}"

    found = assessed(model, tmp_path)

    assert found.macs is None
    assert (
        found.precisions["int8-static"].reason == "72 % of 592 weights are in 1 convolution, 27 % in 1 matrix product"
    )


def test_what_an_operator_of_another_domain_computes_is_not_left_out_in_silence(tmp_path: Path) -> None:
    model = dense()
    model.graph.node[0].output[0] = "h"
    model.graph.node.append(helper.make_node("FusedThing", ["h"], ["y"], domain="com.example"))
    model.opset_import.append(helper.make_opsetid("com.example", 1))

    found = assessed(model, tmp_path)

    assert found.macs is None
    assert found.ops == {"MatMul": 1, "com.example.FusedThing": 1}


def test_work_in_a_branch_makes_the_count_unknown(tmp_path: Path) -> None:
    def branch(name: str) -> onnx.GraphProto:
        return helper.make_graph([helper.make_node("MatMul", ["x", "w"], [name])], name, [], [value(name, ("n", 32))])

    model = dense()
    model.graph.node[0].CopyFrom(
        helper.make_node("If", ["flag"], ["y"], then_branch=branch("then"), else_branch=branch("else"))
    )
    model.graph.input.append(value("flag", (), TensorProto.BOOL))

    found = assessed(model, tmp_path)

    assert found.macs is None
    assert found.ops == {"MatMul": 2, "If": 1}


def test_local_functions_are_looked_into(tmp_path: Path) -> None:
    function = helper.make_function(
        "local", "Project", ["a", "b"], ["c"], [helper.make_node("MatMul", ["a", "b"], ["c"])], OPSET
    )
    model = dense()
    model.graph.node[0].CopyFrom(helper.make_node("Project", ["x", "w"], ["y"], domain="local"))
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))

    found = assessed(model, tmp_path)

    assert (found.ops, found.macs) == ({"MatMul": 1}, 64 * 32)


@pytest.mark.parametrize(
    ("make", "label"),
    [(convolutional, "convolutional"), (dense, "dense"), (attention, "transformer")],
    ids=["convolutional", "dense", "transformer"],
)
def test_the_architecture_is_told_from_where_the_work_is(
    make: Callable[[], onnx.ModelProto], label: str, tmp_path: Path
) -> None:
    assert assessed(make(), tmp_path).architecture == label


def test_a_recurrent_model_is_told_by_its_weights(tmp_path: Path) -> None:
    model = model_of(
        [helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=16)],
        [value("x", (5, 1, 8))],
        [value("y", (5, 1, 1, 16))],
        [floats("w", 1, 64, 8), floats("r", 1, 64, 16)],
    )

    found = assessed(model, tmp_path)

    assert (found.architecture, found.macs) == ("recurrent", None)
    assert found.precisions["int8-dynamic"].possible
    assert not found.precisions["int8-static"].possible


# What can be quantized, and why ----------------------------------------------------------------------------------------------


def test_static_int8_is_possible_where_convolutions_do_the_work(tmp_path: Path) -> None:
    found = assessed(convolutional(), tmp_path).precisions["int8-static"]

    assert found.possible
    assert found.reason == "99 % of 443 k multiply-accumulates are in 1 convolution"


def test_dynamic_int8_is_refused_where_convolutions_do_the_work(tmp_path: Path) -> None:
    found = assessed(convolutional(), tmp_path).precisions["int8-dynamic"]

    assert not found.possible
    assert found.reason.startswith(
        "99 % of 443 k multiply-accumulates are in 1 convolution, and dynamic quantization is for matrix products"
    )


def test_dynamic_int8_is_possible_where_matrix_products_do_the_work(tmp_path: Path) -> None:
    found = assessed(dense(), tmp_path).precisions["int8-dynamic"]

    assert found.possible
    assert found.reason == "all of 2.05 k multiply-accumulates are in 1 matrix product"


def test_products_of_two_activations_are_told_apart_from_those_with_weights(tmp_path: Path) -> None:
    found = assessed(attention(), tmp_path).precisions["int8-dynamic"]

    assert (
        found.reason
        == "88 % of 73.7 k multiply-accumulates are in 2 matrix products, 11 % in 2 products of two activations"
    )


def test_nothing_is_possible_for_a_model_that_is_already_quantized(tmp_path: Path) -> None:
    model = model_of(
        [
            helper.make_node("DequantizeLinear", ["q", "scale"], ["w"]),
            helper.make_node("MatMul", ["x", "w"], ["y"]),
        ],
        [value("x", (1, 4))],
        [value("y", (1, 4))],
        [numpy_helper.from_array(np.ones((4, 4), np.int8), "q"), numpy_helper.from_array(np.float32(0.1), "scale")],
    )

    found = assessed(model, tmp_path)

    assert found.weight_dtypes == ("int8", "float32")
    assert {verdict.possible for verdict in found.precisions.values()} == {False}
    assert found.precisions["int8-static"].reason == (
        "the model is already quantized (it has 1 DequantizeLinear nodes); start from the one in float32"
    )


def test_half_precision_weights_are_named_as_the_obstacle(tmp_path: Path) -> None:
    model = model_of(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [value("x", (1, 4), TensorProto.FLOAT16)],
        [value("y", (1, 4), TensorProto.FLOAT16)],
        [numpy_helper.from_array(np.ones((4, 4), np.float16), "w")],
    )

    found = assessed(model, tmp_path)

    assert found.inputs[0].dtype == "float16"
    assert found.precisions["int8-static"].reason == "its weights are float16; start from the model in float32"


def test_a_model_without_weights_has_nothing_to_quantize(tmp_path: Path) -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], [value("x", (1,))], [value("y", (1,))])

    found = assessed(model, tmp_path)

    assert (found.parameters, found.macs) == (0, 0)
    assert found.precisions["fp16"].reason == "it has no weights"


# Files that are no model -----------------------------------------------------------------------------------------------------


def both_say(path: Path, *parts: str) -> None:
    """The pytest process' look and the worker's refuse the file in the same words."""
    with pytest.raises(ModelError) as outside:
        digest_model(path)
    with pytest.raises(ModelError) as inside:
        read_model(str(path))
    for part in (str(path), *parts):
        assert part in str(outside.value)
    assert str(inside.value) == str(outside.value)


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_model(str(path))
    return str(caught.value)


def test_a_missing_file_is_refused_with_its_path(tmp_path: Path) -> None:
    both_say(tmp_path / "none.onnx", "There is no model at")


def test_a_folder_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    saved(dense(), tmp_path, "inner.onnx")

    both_say(tmp_path, "is a folder", "It holds inner.onnx: name that file.")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.onnx"
    path.touch()

    both_say(path, "is empty (0 bytes)", "Make or fetch it again.")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_a_fifo_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "pipe.onnx"
    os.mkfifo(path)

    both_say(path, "is a FIFO, not a regular file")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="this system has no /dev/zero")
def test_a_device_is_refused_without_reading_it() -> None:
    both_say(Path("/dev/zero"), "is a device, not a regular file")


def test_a_path_with_a_nul_is_refused() -> None:
    both_say(Path("model\0.onnx"), "can't be read")


def test_a_truncated_file_is_refused_at_every_length(tmp_path: Path) -> None:
    whole = convolutional().SerializeToString()
    path = tmp_path / "cut.onnx"
    whole_length = len(whole)

    for length in (1, 2, 7, 40, whole_length // 2, whole_length - 300, whole_length - 20, whole_length - 1):
        path.write_bytes(whole[:length])
        assert f"{path} (" in refusal(path)
        assert "truncated" in refusal(path) or "not a valid ONNX model" in refusal(path)


def test_random_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "noise.onnx"

    for seed in range(20):
        path.write_bytes(np.random.default_rng(seed).bytes(2000))
        assert "2 kB" in refusal(path)


@pytest.mark.parametrize(
    ("beginning", "meaning"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "run `git lfs pull`"),
        (b"PK\x03\x04", "a zip archive"),
        (b"GGUF", "a GGUF file"),
        (b"<!DOCTYPE html>", "a web page"),
    ],
)
def test_what_is_often_taken_for_a_model_is_named(beginning: bytes, meaning: str, tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(beginning + b"...")

    assert meaning in refusal(path)


def test_an_invalid_graph_is_refused_with_the_checkers_words(tmp_path: Path) -> None:
    model = dense()
    model.graph.node[0].op_type = "MatMull"

    assert "is not a valid ONNX model: No Op registered for MatMull" in refusal(saved(model, tmp_path))


def test_a_tensor_shorter_than_its_shape_is_refused(tmp_path: Path) -> None:
    model = dense()
    model.graph.initializer[0].raw_data = b"1234"

    assert "tensor 'w' holds 4 bytes and its shape needs 8192" in refusal(saved(model, tmp_path))


def test_a_model_newer_than_the_onnx_package_is_refused_with_both_versions(tmp_path: Path) -> None:
    newer = onnx.defs.onnx_opset_version() + 1
    model = dense()
    model.opset_import[0].version = newer

    assert f"has opset {newer}, and onnx {onnx.__version__} knows them up to {newer - 1}" in refusal(
        saved(model, tmp_path)
    )


def test_an_output_without_a_shape_is_no_obstacle(tmp_path: Path) -> None:
    model = dense()
    model.graph.output[0].type.tensor_type.ClearField("shape")

    found = assessed(model, tmp_path)

    assert found.outputs[0].shape == ("...",)
    assert found.macs == 64 * 32


def test_large_weights_are_counted_though_left_out_of_shape_inference(tmp_path: Path) -> None:
    model = model_of(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [value("x", ("n", 64))],
        [value("y", ("n", 256))],
        [floats("w", 64, 256)],
    )

    found = assessed(model, tmp_path)

    assert (found.macs, found.parameters) == (64 * 256, 64 * 256)


# Inputs that can't be fed ----------------------------------------------------------------------------------------------------


def test_strings_are_refused(tmp_path: Path) -> None:
    model = model_of(
        [helper.make_node("Identity", ["text"], ["same"])],
        [value("text", (1,), TensorProto.STRING)],
        [value("same", (1,), TensorProto.STRING)],
    )

    assert refusal(saved(model, tmp_path)).endswith(
        "input 'text' is of text, and only numbers can be measured. Export the model without it: make numbers of the texts before the model."
    )


def test_classes_that_are_text_are_refused(tmp_path: Path) -> None:
    labels = numpy_helper.from_array(np.array(["cat", "dog"], dtype=object), "labels")
    model = model_of(
        [helper.make_node("Gather", ["labels", "x"], ["label"])],
        [value("x", ("n",), TensorProto.INT64)],
        [value("label", ("n",), TensorProto.STRING)],
        [labels],
    )

    told = refusal(saved(model, tmp_path))

    assert "output 'label' is of text" in told
    assert told.endswith("train it with numbered classes.")


def test_a_zipmap_is_refused_with_the_option_that_leaves_it_out(tmp_path: Path) -> None:
    dictionary = helper.make_map_type_proto(
        TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, shape=[])
    )
    model = model_of(
        [helper.make_node("ZipMap", ["x"], ["probabilities"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])],
        [value("x", ("n", 2))],
        [helper.make_value_info("probabilities", helper.make_sequence_type_proto(dictionary))],
        opset_imports=[*OPSET, helper.make_opsetid("ai.onnx.ml", 3)],
    )

    told = refusal(saved(model, tmp_path))

    assert told.endswith("only dense tensors can be measured. Convert it again with options={'zipmap': False}.")


def test_outputs_that_are_no_tensors_are_refused(tmp_path: Path) -> None:
    model = model_of(
        [helper.make_node("SequenceConstruct", ["x", "x"], ["both"])],
        [value("x", (2,))],
        [helper.make_tensor_sequence_value_info("both", TensorProto.FLOAT, None)],
    )

    assert "output 'both' is of type sequence, and only dense tensors" in refusal(saved(model, tmp_path))


def test_numbers_that_numpy_does_not_have_are_refused(tmp_path: Path) -> None:
    model = model_of(
        [helper.make_node("Identity", ["x"], ["y"])],
        [value("x", (1,), TensorProto.BFLOAT16)],
        [value("y", (1,), TensorProto.BFLOAT16)],
    )

    assert "input 'x' is of bfloat16" in refusal(saved(model, tmp_path))


def test_sequences_are_refused(tmp_path: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info("many", TensorProto.FLOAT, None)
    model = model_of(
        [helper.make_node("SequenceAt", ["many", "place"], ["one"])],
        [sequence, value("place", (), TensorProto.INT64)],
        [value("one", (1,))],
    )

    assert "input 'many' is of type sequence, and only dense tensors can be measured" in refusal(saved(model, tmp_path))


def test_an_input_of_unknown_rank_is_refused(tmp_path: Path) -> None:
    model = model_of(
        [helper.make_node("Relu", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        [value("y", (1,))],
    )

    assert "input 'x' is of unknown rank" in refusal(saved(model, tmp_path))


def test_a_model_without_inputs_is_refused(tmp_path: Path) -> None:
    model = model_of([helper.make_node("Relu", ["w"], ["y"])], [], [value("y", (4,))], [floats("w", 4)])

    assert "has no inputs" in refusal(saved(model, tmp_path))


# Weights in other files ------------------------------------------------------------------------------------------------------


def test_external_data_count_in_bytes_and_digest(tmp_path: Path) -> None:
    path = with_external_data(tmp_path)
    before = read_model(str(path))
    data = bytearray((tmp_path / "weights.bin").read_bytes())
    data[0] ^= 1
    (tmp_path / "weights.bin").write_bytes(data)

    after = read_model(str(path))

    assert before.bytes == path.stat().st_size + len(data)
    assert before.macs == 442_528
    assert before.digest != after.digest
    assert before.digest != digest_model(path).digest


def test_missing_external_data_are_named_with_their_tensor(tmp_path: Path) -> None:
    path = with_external_data(tmp_path)
    (tmp_path / "weights.bin").unlink()

    assert "the data of tensor 'kernel' lie in 'weights.bin', which is not there" in refusal(path)


@pytest.mark.parametrize(
    "location", ["../weights.bin", "/etc/passwd", "a/../../weights.bin", "C:\\weights.bin", "..\\weights.bin", ""]
)
def test_external_data_outside_the_folder_are_refused(location: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    path = with_external_data(tmp_path / "model")
    relocated(path, location=location)

    assert f"the data of tensor 'kernel' lie in '{location}', outside the model's folder" in refusal(path)


def test_external_data_behind_a_symbolic_link_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    path = with_external_data(tmp_path / "model")
    (tmp_path / "model" / "weights.bin").rename(tmp_path / "blob")
    (tmp_path / "model" / "weights.bin").symlink_to(tmp_path / "blob")

    assert "which is a link; ONNX's own loader refuses those. Copy the model's folder with `cp -rL`" in refusal(path)


@pytest.mark.parametrize("entries", [{"offset": "999999"}, {"offset": "-4"}, {"length": "4"}])
def test_external_data_that_do_not_fit_their_tensor_are_refused(entries: Mapping[str, str], tmp_path: Path) -> None:
    path = with_external_data(tmp_path)
    relocated(path, **entries)

    assert "but its shape needs 1728 bytes and the file has 2432" in refusal(path)


def test_an_offset_that_is_no_number_is_refused(tmp_path: Path) -> None:
    path = with_external_data(tmp_path)
    relocated(path, offset="many")

    assert "an offset or a length that is no number" in refusal(path)


# The pytest process' side ----------------------------------------------------------------------------------------------------


def test_the_assessment_is_asked_for_in_a_worker(tmp_path: Path) -> None:
    path = saved(dense(), tmp_path)
    asked: list[Any] = []

    def ask(task: str, arguments: Mapping[str, Any], *, subject: str, timeout: float) -> Any:
        asked.append((task, dict(arguments), subject))
        return msgspec.json.decode(msgspec.json.encode(read_model(**arguments)))

    found = assess(digest_model(path), ask)

    assert found == read_model(str(path))
    assert asked == [("assess", {"path": str(path)}, "model")]


def test_a_large_model_is_given_more_time(tmp_path: Path) -> None:
    path, waits = saved(dense(), tmp_path), []
    with (tmp_path / "weights.bin").open("wb") as stream:
        stream.truncate(10**9)  # without a byte on the disk

    def ask(task: str, arguments: Mapping[str, Any], *, subject: str, timeout: float) -> Any:
        waits.append(timeout)
        return msgspec.to_builtins(read_model(**arguments))

    assess(digest_model(path), ask)

    assert waits[0] == pytest.approx(ASSESS_TIMEOUT + 20, abs=1)


def test_an_answer_that_is_no_assessment_is_the_workers_failure(tmp_path: Path) -> None:
    def ask(task: str, arguments: Mapping[str, Any], *, subject: str, timeout: float) -> Any:
        return {"bytes": "many"}

    with pytest.raises(WorkerError, match="it answered nonsense"):
        assess(digest_model(saved(dense(), tmp_path)), ask)


def test_digesting_parses_nothing(tmp_path: Path) -> None:
    path = saved(dense(), tmp_path)
    program = f"import sys, pathlib; from pytest_edgeai.assess import digest_model; digest_model(pathlib.Path({str(path)!r})); print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()

    assert not {"onnx", "google.protobuf"} & set(loaded)
