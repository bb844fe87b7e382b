"""Pruning: the smallest weights of an ONNX model become zero, before anything else is done to it."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.errors import BuildError, UnsupportedError
from pytest_edgeai.records import Assessment, ModelKind, Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

LEAST, MOST = 1, 95
"""Percent of the weights that a recipe may prune."""
_WEIGHTS: Final = {
    "Conv": (1,),
    "ConvTranspose": (1,),
    "Gemm": (0, 1),
    "MatMul": (0, 1),
    "LSTM": (1, 2),
    "GRU": (1, 2),
    "RNN": (1, 2),
    "Attention": (1,),
}
"""Operator -> inputs that may be weights."""
_PASSED_ON: Final = frozenset({"Identity", "Transpose", "Reshape", "Cast"})
"""Operators that weights go through on their way."""
_LARGE: Final = 2**31 - 2**27
"""Bytes of a model that still go into one file: a protobuf message ends at 2 GiB."""


def refusal(recipe: Recipe, kind: ModelKind, assessment: Assessment) -> str | None:
    """Why a model can't be pruned, in one sentence; ``None`` where it can, or isn't to be."""
    if not recipe.sparsity:
        return None
    if kind != "onnx":
        return f"Only the weights of ONNX models are pruned: ask for it without -pruned{recipe.pruned_percent}."
    why = assessment.why_not("int8-static")
    if why is not None and assessment.why_not("int8-dynamic") is not None:
        return f"There are no weights to prune: {why[:1].lower()}{why[1:]}"
    return None


def prune(model: Path, folder: Path, sparsity: float) -> Path:
    """A copy of an ONNX model in ``folder`` in which the share ``sparsity`` of each layer's weights, those of least magnitude, is zero.

    Layers are convolutions, matrix products and recurrent layers, each pruned alike, because the scales of layers don't compare; biases, norms
    and tables that are looked up in (embeddings) stay. It is magnitude pruning as of Han et al., "Learning both Weights and Connections for Efficient
    Neural Networks" (2015), without training afterwards. Raises BuildError, or UnsupportedError where there is no such weight.
    """
    import onnx

    try:
        loaded = onnx.load(model)
        found = _weights(loaded)
        for tensor in found:
            tensor.CopyFrom(_pruned(tensor, sparsity))
        file = folder / model.name
        if loaded.ByteSize() > _LARGE:
            onnx.save(
                loaded, file, save_as_external_data=True, all_tensors_to_one_file=True, location=f"{file.name}.data"
            )
        else:
            onnx.save(loaded, file)
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise BuildError(f"{model.name} can't be pruned: {said}.") from error
    if not found:
        raise UnsupportedError("It has no floating-point weights of convolutions or matrix products to prune.")
    return file


def _weights(model: "ModelProto") -> "list[TensorProto]":
    """Floating-point weights of layers, each once."""
    from onnx import TensorProto

    floats = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16}
    found: dict[int, TensorProto] = {}

    def look(graph: "GraphProto", known: "dict[str, TensorProto | None]") -> None:
        known = known | {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                known |= dict.fromkeys(
                    node.output, next((one.t for one in node.attribute if one.name == "value"), None)
                )
            elif node.op_type in _PASSED_ON and node.input[0] in known:
                known[node.output[0]] = known[node.input[0]]
            for place in _WEIGHTS.get(node.op_type, ()):
                tensor = known.get(node.input[place]) if place < len(node.input) else None
                if tensor is not None and tensor.data_type in floats and len(tensor.dims) > 1:
                    found[id(tensor)] = tensor
            for body in _bodies(node):
                look(body, known)

    look(model.graph, {})
    return list(found.values())


def _bodies(node: "NodeProto") -> "Iterator[GraphProto]":
    attribute: AttributeProto
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _pruned(tensor: "TensorProto", sparsity: float) -> Any:
    from onnx import numpy_helper

    values = numpy_helper.to_array(tensor)
    return numpy_helper.from_array(without_smallest(values, sparsity), tensor.name)


def without_smallest(values: NDArray[Any], sparsity: float) -> NDArray[Any]:
    """A copy in which so large a share of the values, those nearest to zero, is zero; of equal ones the first."""
    flat = values.reshape(-1).copy()
    count = math.floor(sparsity * flat.size + 1e-9)
    if count:
        flat[np.argsort(np.abs(flat.astype(np.float64)), kind="stable")[:count]] = 0
    return flat.reshape(values.shape)
