"""Files: ONNX models on disk, with weights inside or beside them, and what ONNX Runtime makes of them on this CPU."""

import shutil
from pathlib import Path
from typing import Any, Final

from pytest_edgeai.errors import BuildError, UnsupportedError
from pytest_edgeai.ort.problems import said

FILE: Final = "model.onnx"
"""An artifact; weights that the model keeps outside lie in ``model.onnx.data`` beside it."""
OPSET: Final = 13
"""The first one that can say a scale for each channel, which the int8 recipes need."""
LARGE: Final = 2**31 - 2**27
"""Bytes of weights that still go into one file: a protobuf message ends at 2 GiB, and there is more than weights in it."""
BATCH: Final = "DATA_BATCH"
"""ONNX's own mark of the axis that counts items
(https://onnx.ai/onnx/repo-docs/DimensionDenotation.html)."""
_INT8_KERNELS: Final = frozenset(
    {
        "QLinearConv",
        "QLinearMatMul",
        "QGemm",
        "QAttention",
        "ConvInteger",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "DynamicQuantizeMatMul",
        "DynamicQuantizeLSTM",
    }
)
_FP16_KERNELS: Final = frozenset({"Conv", "FusedConv", "NhwcFusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"})


def copy(model: Path, file: Path) -> None:
    """The model as it is, with the weights that lie beside it."""
    import onnx

    if outside(model):
        save(onnx.load(model), file, apart=True)
    else:
        shutil.copyfile(model, file)


def save(model: Any, file: Path, *, apart: bool) -> None:
    """``apart``: with its weights in one file beside it."""
    import onnx

    if apart:
        location = f"{file.name}.data"
        onnx.save(model, file, save_as_external_data=True, all_tensors_to_one_file=True, location=location)
    else:
        onnx.save(model, file)


def outside(model: Path) -> set[Path]:
    """Files with weights that the model keeps beside it."""
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    apart = [tensor for tensor in graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
    return {model.parent / entry.value for tensor in apart for entry in tensor.external_data if entry.key == "location"}


def is_large(model: Path) -> bool:
    """Whether its weights are too many for one file."""
    return sum(file.stat().st_size for file in (model, *outside(model))) > LARGE


def modern(model: Path, scratch: Path) -> Path:
    """The model, converted where its opset is too old to be quantized. Raises UnsupportedError where it can't be."""
    import onnx

    opset = max(entry.version for entry in onnx.load(model, load_external_data=False).opset_import if not entry.domain)
    if opset >= OPSET:
        return model
    converted = scratch / "converted.onnx"
    try:
        save(onnx.version_converter.convert_version(onnx.load(model), OPSET), converted, apart=bool(outside(model)))
    except Exception as error:
        raise UnsupportedError(
            f"The model has opset {opset}, int8 needs {OPSET}, and it can't be converted ({said(error)}). Export it with opset {OPSET} or later."
        ) from error
    return converted


def mark_batch(file: Path) -> None:
    """Name the inputs' first axes for what they are, so that a session can fix them."""
    import onnx

    model = onnx.load(file, load_external_data=False)
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name not in constants and dims and dims[0].dim_value <= 0:
            dims[0].denotation = BATCH
    onnx.save(model, file)


def demand_halves(file: Path, scratch: Path) -> None:
    """Raises UnsupportedError where the CPU computes nothing in half precision: what it has no kernels for gets casts to fp32 before it."""
    import onnx

    graph = _optimized(file, scratch / "optimized.onnx")
    half = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16}
    if not any(half & set(node.input) for node in graph.node if node.op_type in _FP16_KERNELS):
        raise UnsupportedError(
            "ONNX Runtime has no half-precision kernels here and turns every weight back into fp32, so this variant would be "
            "fp32 by another name."
        )


def demand_int8(name: str, file: Path, scratch: Path) -> None:
    """Raises BuildError where nothing is computed in int8. ``name``: the recipe's."""
    if not any(node.op_type in _INT8_KERNELS for node in _optimized(file, scratch / "optimized.onnx").node):
        raise BuildError(
            f"{name}: after quantization no operator runs in int8, so this variant would be fp32 by another name."
        )


def _optimized(file: Path, optimized: Path) -> Any:
    """The graph that ONNX Runtime makes of the model on this CPU."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    errors_only = 3
    options.log_severity_level = errors_only
    options.optimized_model_filepath = str(optimized)
    # What comes after this level depends on the CPU, and is warned of when written.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    if file.with_name(f"{file.name}.data").exists():
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", f"{optimized.name}.data"
        )
    onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return onnx.load(optimized, load_external_data=False).graph
