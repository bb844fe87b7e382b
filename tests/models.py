"""Small real models for the tests, made on the spot."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def convolutional(path: Path, channels: int = 16, size: int = 16, classes: int = 4, *, seed: int = 0) -> Path:
    """Three convolutions with ReLUs, a global pool and a linear layer; input ``image`` [batch, 1, size, size], output ``logits``."""
    rng = np.random.default_rng(seed)
    weights, nodes, before = [], [], "image"
    for layer, (given, made) in enumerate([(1, channels), (channels, channels), (channels, channels)]):
        kernel = (rng.standard_normal((made, given, 3, 3)) / np.sqrt(9 * given)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{layer}"))
        nodes.append(helper.make_node("Conv", [before, f"w{layer}"], [f"c{layer}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        before = f"r{layer}"
    weights.append(numpy_helper.from_array(rng.standard_normal((channels, classes)).astype(np.float32), "head"))
    nodes.append(helper.make_node("GlobalAveragePool", [before], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    nodes.append(helper.make_node("MatMul", ["flat", "head"], ["logits"]))
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def items(path: Path, model: Path, count: int = 400, size: int = 16, *, wrong: float = 0.1, seed: int = 1) -> Path:
    """Random images with the model's own answers as labels, a share of them ``wrong``, so that its accuracy is known."""
    import onnxruntime

    rng = np.random.default_rng(seed)
    # Blobs rather than white noise: their pooled activations differ, so that classes do.
    image = rng.standard_normal((count, 1, size, size)).astype(np.float32) * rng.uniform(
        0.2, 3, (count, 1, 1, 1)
    ).astype(np.float32)
    image += rng.standard_normal((count, 1, 1, 1)).astype(np.float32)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    logits = session.run(None, {"image": image})[0]
    labels = logits.argmax(1)
    flipped = rng.random(count) < wrong
    labels[flipped] = (labels[flipped] + 1) % logits.shape[1]
    np.savez(path, image=image, labels=labels)
    return path


def dense(
    path: Path, *, opset: int = 17, dtype: int = TensorProto.FLOAT, width: int = 128, layers: int = 2, seed: int = 0
) -> Path:
    """Matrix products with ReLUs between them; input ``x`` [batch, 64], output ``y`` [batch, 10]."""
    rng = np.random.default_rng(seed)
    sizes = [64, *[width] * (layers - 1), 10]
    weights, nodes, before = [], [], "x"
    for layer, shape in enumerate(pairwise(sizes)):
        last = layer == layers - 1
        values = (rng.standard_normal(shape) / np.sqrt(shape[0])).astype(helper.tensor_dtype_to_np_dtype(dtype))
        weights.append(numpy_helper.from_array(values, f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [before, f"w{layer}"], ["y" if last else f"h{layer}"]))
        if not last:
            nodes.append(helper.make_node("Relu", [f"h{layer}"], [f"r{layer}"]))
        before = f"r{layer}"
    inputs = [helper.make_tensor_value_info("x", dtype, ["batch", 64])]
    outputs = [helper.make_tensor_value_info("y", dtype, ["batch", 10])]
    return _saved(path, nodes, inputs, outputs, weights, opset)


def transformer(path: Path, width: int = 64, heads: int = 4, words: int = 100, *, seed: int = 0) -> Path:
    """One encoder layer; inputs ``input_ids``, ``attention_mask`` and ``token_type_ids``, int64 [batch, sequence]; output ``logits``."""
    rng = np.random.default_rng(seed)
    weights: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, values: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]") -> str:
        weights.append(numpy_helper.from_array(values, name))
        return name

    def matrix(name: str, *shape: int) -> str:
        return constant(name, (rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32))

    def node(kind: str, given: list[str], made: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, given, [made], name=made, **attributes))
        return made

    words_in = node("Gather", [matrix("words", words, width), "input_ids"], "embedded")
    kinds_in = node("Gather", [matrix("kinds", 2, width), "token_type_ids"], "kinds_embedded")
    before = node("Add", [words_in, kinds_in], "sum")
    mask = node("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT)
    mask = node("Sub", [constant("one", np.float32([1])), mask], "away")
    mask = node("Mul", [mask, constant("far", np.float32([-1e4]))], "bias")
    mask = node("Unsqueeze", [mask, constant("axes", np.int64([1, 2]))], "spread")
    split = constant("split", np.int64([0, 0, heads, width // heads]))
    parts = {}
    for name in "qkv":
        part = node("MatMul", [before, matrix(f"w{name}", width, width)], f"{name}_product")
        part = node("Reshape", [part, split], f"{name}_split")
        parts[name] = node("Transpose", [part], name, perm=[0, 2, 3, 1] if name == "k" else [0, 2, 1, 3])
    scores = node("MatMul", [parts["q"], parts["k"]], "scores")
    scores = node("Mul", [scores, constant("scale", np.float32([1 / np.sqrt(width // heads)]))], "scaled")
    attention = node("Softmax", [node("Add", [scores, mask], "masked")], "attention", axis=-1)
    mixed = node("MatMul", [attention, parts["v"]], "mixed")
    mixed = node("Transpose", [mixed], "back", perm=[0, 2, 1, 3])
    mixed = node("Reshape", [mixed, constant("joined", np.int64([0, 0, width]))], "flat")
    mixed = node("Add", [before, node("MatMul", [mixed, matrix("wo", width, width)], "projected")], "residual")
    ones, zeros = constant("ones", np.ones(width, np.float32)), constant("zeros", np.zeros(width, np.float32))
    normal = node("LayerNormalization", [mixed, ones, zeros], "normal", axis=-1)
    wide = node("Relu", [node("MatMul", [normal, matrix("up", width, 4 * width)], "wide")], "active")
    last = node("Add", [normal, node("MatMul", [wide, matrix("down", 4 * width, width)], "narrow")], "last")
    first = node("Gather", [last, constant("place", np.int64(0))], "first", axis=1)
    node("MatMul", [first, matrix("head", width, 4)], "logits")
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])]
    return _saved(path, nodes, inputs, outputs, weights)


def sentences(count: int, words: int = 100, length: int = 12, *, seed: int = 1) -> list[dict[str, Any]]:
    """Calls for :func:`transformer`, of different lengths."""
    rng = np.random.default_rng(seed)
    lengths = [length - index % 3 for index in range(count)]
    return [
        {
            "input_ids": rng.integers(0, words, (1, size)),
            "attention_mask": np.ones((1, size), np.int64),
            "token_type_ids": np.zeros((1, size), np.int64),
        }
        for size in lengths
    ]


def recurrent(path: Path, width: int = 32, *, seed: int = 0) -> Path:
    """An LSTM and a linear layer; input ``series`` [20, batch, 8], output ``y`` [batch, 3]."""
    rng = np.random.default_rng(seed)

    def matrix(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((rng.standard_normal(shape) / np.sqrt(width)).astype(np.float32), name)

    weights = [
        matrix("w", 1, 4 * width, 8),
        matrix("r", 1, 4 * width, width),
        matrix("b", 1, 8 * width),
        matrix("head", width, 3),
        numpy_helper.from_array(np.int64([0]), "axes"),
    ]
    nodes = [
        helper.make_node("LSTM", ["series", "w", "r", "b"], ["", "hidden"], hidden_size=width),
        helper.make_node("Squeeze", ["hidden", "axes"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("series", TensorProto.FLOAT, [20, "batch", 8])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])]
    return _saved(path, nodes, inputs, outputs, weights)


def two_towers(path: Path, *, seed: int = 0) -> Path:
    """An image and a masked vector; inputs ``image`` [batch, 3, 16, 16], ``facts`` [batch, 8], ``known`` bool [batch, 8]; two outputs."""
    rng = np.random.default_rng(seed)

    def matrix(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((rng.standard_normal(shape) / 4).astype(np.float32), name)

    weights = [
        matrix("k1", 16, 3, 3, 3),
        matrix("k2", 16, 16, 3, 3),
        matrix("w", 8, 16),
        matrix("classes", 32, 5),
        matrix("size", 32, 1),
        numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
    ]
    nodes = [
        helper.make_node("Conv", ["image", "k1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "k2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["seen"]),
        helper.make_node("Where", ["known", "facts", "zero"], ["masked"]),
        helper.make_node("MatMul", ["masked", "w"], ["told"]),
        helper.make_node("Concat", ["seen", "told"], ["both"], axis=1),
        helper.make_node("MatMul", ["both", "classes"], ["class"]),
        helper.make_node("MatMul", ["both", "size"], ["amount"]),
    ]
    inputs = [
        helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 16, 16]),
        helper.make_tensor_value_info("facts", TensorProto.FLOAT, ["batch", 8]),
        helper.make_tensor_value_info("known", TensorProto.BOOL, ["batch", 8]),
    ]
    outputs = [
        helper.make_tensor_value_info("class", TensorProto.FLOAT, ["batch", 5]),
        helper.make_tensor_value_info("amount", TensorProto.FLOAT, ["batch", 1]),
    ]
    return _saved(path, nodes, inputs, outputs, weights)


def pairs(count: int, *, seed: int = 1) -> list[dict[str, Any]]:
    """Calls for :func:`two_towers`."""
    rng = np.random.default_rng(seed)
    return [
        {
            "image": rng.uniform(0, 1, (1, 3, 16, 16)).astype(np.float32),
            "facts": rng.standard_normal((1, 8)).astype(np.float32),
            "known": rng.random((1, 8)) > 0.3,
        }
        for _ in range(count)
    ]


def trees(path: Path, trees: int = 20, *, seed: int = 0) -> Path:
    """Decision stumps of ``ai.onnx.ml``; input ``x`` [batch, 8], outputs ``label`` int64 and ``scores`` [batch, 3]."""
    rng = np.random.default_rng(seed)
    places = [(tree, node) for tree in range(trees) for node in range(3)]
    split = [node == 0 for _, node in places]
    leaves = [(tree, node, tree % 3) for tree, node in places if node]
    ensemble = helper.make_node(
        "TreeEnsembleClassifier",
        ["x"],
        ["label", "scores"],
        domain="ai.onnx.ml",
        nodes_treeids=[tree for tree, _ in places],
        nodes_nodeids=[node for _, node in places],
        nodes_featureids=[int(rng.integers(8)) if inner else 0 for inner in split],
        nodes_modes=["BRANCH_LEQ" if inner else "LEAF" for inner in split],
        nodes_values=[float(rng.standard_normal()) if inner else 0.0 for inner in split],
        nodes_truenodeids=[1 if inner else 0 for inner in split],
        nodes_falsenodeids=[2 if inner else 0 for inner in split],
        class_treeids=[tree for tree, _, _ in leaves],
        class_nodeids=[node for _, node, _ in leaves],
        class_ids=[kind for _, _, kind in leaves],
        class_weights=[float(rng.standard_normal()) for _ in leaves],
        classlabels_int64s=[0, 1, 2],
        post_transform="SOFTMAX",
    )
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])]
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3]),
    ]
    return _saved(path, [ensemble], inputs, outputs, [])


def _saved(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: list[onnx.TensorProto],
    opset: int = 17,
) -> Path:
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, weights)
    opsets = [helper.make_opsetid("", opset)]
    if any(node.domain == "ai.onnx.ml" for node in nodes):
        opsets.append(helper.make_opsetid("ai.onnx.ml", 3))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
