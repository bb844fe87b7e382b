"""Biases that make good what weights lose by quantization."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.ort import files, sessions
from pytest_edgeai.protocols import Arrays

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

_LAYERS: Final = ("Conv", "Gemm")
"""Operators whose third input is a bias for each channel of axis 1."""
_QUANTIZED: Final = "_quantized"
"""What ONNX Runtime's quantizer appends to the name of a weight."""
_ERROR: Final = "/error"
"""What is appended here to the names of a layer's weight and output, for the error of either."""


class _Layer(NamedTuple):
    """One whose weight and bias were quantized."""

    weight_from: "NodeProto"
    bias_from: "NodeProto"
    """Their DequantizeLinear."""


def correct(source: Path, quantized: Path, scratch: Path, calibration: Sequence[Arrays], *, apart: bool) -> None:
    """Shift the biases of ``quantized``, in place, by what its layers' weights lose on average.

    Rounding errors of a weight don't cancel in a layer's output, because what comes in isn't zero on average (after a ReLU it is positive): they shift each
    channel. The shift is the layer with the error for its weight, applied to the calibration items in full precision and averaged; it is subtracted from the bias.
    This is bias correction as of Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (2019), section 4.2, with
    measured inputs (its appendix D) and without going from layer to layer. It costs nothing when the model runs.

    ``source``: the ONNX model that ``quantized`` was made of by ONNX Runtime's static quantizer, QDQ. ``apart``: the weights are saved beside the model.
    """
    import onnx

    exact, model = onnx.load(source), onnx.load(quantized)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    layers = _layers(model.graph, constants)
    if not layers:
        return
    shifts = _shifts(exact, layers, constants, scratch, calibration)
    for name, shift in shifts.items():
        tensor, scale = (constants[given] for given in layers[name].bias_from.input[:2])
        stored = onnx.numpy_helper.to_array(tensor)
        steps = np.rint(shift / onnx.numpy_helper.to_array(scale).astype(np.float64)).astype(np.int32)
        if stored.size == steps.size:  # else it is one number for all channels
            tensor.CopyFrom(onnx.numpy_helper.from_array(stored - steps.reshape(stored.shape), tensor.name))
    for written in (quantized, quantized.with_name(f"{quantized.name}.data")):
        written.unlink(missing_ok=True)  # what is saved beside a model would be appended to
    files.save(model, quantized, apart=apart)


def _layers(graph: "GraphProto", constants: "dict[str, TensorProto]") -> dict[str, _Layer]:
    """By the weight's name before quantization; without those that share a weight or a bias, because one shift doesn't fit both."""
    made = {
        node.output[0]: node
        for node in graph.node
        if node.op_type == "DequantizeLinear" and set(node.input[:2]) <= constants.keys()
    }
    uses = Counter(name for node in graph.node for name in node.input)
    found = {}
    for node in graph.node:
        given = list(node.input)
        if node.op_type not in _LAYERS or len(given) != 3 or not {given[1], given[2]} <= made.keys():
            continue
        weight_from, bias_from = made[given[1]], made[given[2]]
        alone = max(uses[name] for name in (*given[1:], weight_from.input[0], bias_from.input[0])) == 1
        if alone and _beta(node) == 1:
            name = weight_from.input[0].removesuffix(_QUANTIZED)
            found[name] = _Layer(weight_from, bias_from)
    return found


def _shifts(
    exact: "ModelProto",
    layers: dict[str, _Layer],
    constants: "dict[str, TensorProto]",
    scratch: Path,
    calibration: Sequence[Arrays],
) -> dict[str, NDArray[np.float64]]:
    """By weight: what its error adds to each channel, on average."""
    import onnx
    import onnxruntime

    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in exact.graph.initializer}
    beside = dict[str, str]()
    for node in list(exact.graph.node):
        name = node.input[1] if node.op_type in _LAYERS else ""
        if name not in layers:
            continue
        error = _dequantized(layers[name].weight_from, constants) - weights[name]
        exact.graph.initializer.append(onnx.numpy_helper.from_array(error.astype(np.float32), name + _ERROR))
        beside[name] = node.output[0] + _ERROR
        copy = onnx.helper.make_node(node.op_type, [node.input[0], name + _ERROR], [beside[name]])
        copy.attribute.extend(node.attribute)
        exact.graph.node.append(copy)
        exact.graph.output.append(onnx.ValueInfoProto(name=beside[name]))
    file = scratch / "errors.onnx"
    files.save(exact, file, apart=True)
    session = onnxruntime.InferenceSession(str(file), sessions.plain_options(), providers=[sessions.CPU])
    sums = dict.fromkeys(beside, np.zeros(1))
    for item in calibration:
        told = session.run(list(beside.values()), dict(item))
        for name, output in zip(beside, told, strict=True):
            others = tuple(axis for axis in range(output.ndim) if axis != 1)
            sums[name] = sums[name] + output.mean(axis=others, dtype=np.float64)
    return {name: total / len(calibration) for name, total in sums.items()}


def _dequantized(node: "NodeProto", constants: "dict[str, TensorProto]") -> NDArray[np.float32]:
    import onnx

    stored, scale, zero = (onnx.numpy_helper.to_array(constants[name]) for name in node.input)
    axis = next((given.i for given in node.attribute if given.name == "axis"), 1)
    if scale.ndim:
        along = [1] * stored.ndim
        along[axis] = -1
        scale, zero = scale.reshape(along), zero.reshape(along)
    exact: NDArray[np.float32] = ((stored.astype(np.int32) - zero.astype(np.int32)) * scale).astype(np.float32)
    return exact


def _beta(node: "NodeProto") -> float:
    """What the bias is multiplied by."""
    return next((float(given.f) for given in node.attribute if given.name == "beta"), 1.0)
