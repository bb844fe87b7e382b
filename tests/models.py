"""Small real models for the tests, made on the spot."""

from pathlib import Path

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
