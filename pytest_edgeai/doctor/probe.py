"""The probe: a tiny model that a framework builds, loads and runs in a worker, with the outputs that it ought to give.

The network has a convolution and a matrix product, which is where engines have their int8 and 16-bit kernels, and is computed a
second time with numpy. So an engine that crashes, hangs or is silently wrong on this CPU shows it here, before any model of the user's.
Engines of language models are tried with :mod:`pytest_edgeai.doctor.language_probe`.
"""

import functools
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pytest_edgeai import arrays, registry
from pytest_edgeai.doctor import language_probe
from pytest_edgeai.errors import ModelError
from pytest_edgeai.protocols import Arrays, Generator, Runner
from pytest_edgeai.records import ModelKind, Recipe, Record

MODEL: Final = "probe.onnx"
_SIZE, _CHANNELS, _CLASSES, _ITEMS = 8, 32, 10, 16

TOLERANCES: Final = {"fp32": 1e-3, "fp16": 0.05, "f16": 0.05, "bf16": 0.05, "int8": 0.3, "q8_0": 0.3}
"""Precision -> the largest error that is not wrong: root mean square, as a share of the outputs' own. Measured with ONNX Runtime and
OpenVINO on a CPU with VNNI: 5e-7 in fp32, 3e-4 in fp16, 0.004 in bf16, 0.01 to 0.02 in int8; of the language model with llama.cpp and
MLX: 4e-4 to 8e-4 in 16 bits, 0.01 to 0.02 in 8. Outputs of zeros give 1, those of another item 1.2."""
_COARSE: Final = 0.6
"""For any other precision. Measured with llama.cpp and MLX: 0.04 in 6 bits, 0.08 in 5, 0.14 to 0.21 in 4."""


class Trial(Record, frozen=True, kw_only=True):
    """What a worker found with one recipe."""

    error: float
    """Root mean square of the differences, as a share of the outputs' own."""
    placement: dict[str, str]
    """What the runtime says it really used."""
    seconds: float
    """To build, to load and to run it."""


def write_model(path: str, kind: ModelKind) -> None:
    """Make the tiny model of this kind at ``path``. An ONNX file needs onnx."""
    if kind == "huggingface":
        language_probe.write_model(Path(path))
    else:
        _write_onnx(Path(path))


def _write_onnx(file: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Conv", ["image", "w0"], ["c0"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c0"], ["r0"]),
        helper.make_node("Conv", ["r0", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Flatten", ["r1"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w2"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "probe",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, _SIZE, _SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, _CLASSES])],
        [numpy_helper.from_array(weight, f"w{place}") for place, weight in enumerate(_weights())],
    )
    # Old enough for every engine that is still in use.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, file)


def try_recipe(modules: list[str], recipe: dict[str, Any], model: str) -> Trial:
    """Build, load and run the tiny model. Raises ModelError for wrong numbers, and what the framework raises."""
    wanted, path = msgspec.convert(recipe, Recipe), Path(model)
    framework = registry.load(modules).framework(wanted.framework)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="pytest-edgeai-") as artifact:
        framework.build(wanted, path, Path(artifact), _items() if wanted.calibrated else [])
        loaded = framework.load(wanted, Path(artifact), threads=1)
        error = language_probe.error_of(loaded, path) if isinstance(loaded, Generator) else _error_of(loaded)
        seconds = time.perf_counter() - begin
        placement = loaded.placement()
    tolerance = TOLERANCES.get(wanted.precision, _COARSE)
    if not error <= tolerance:
        raise ModelError(
            f"it computes wrong numbers: the outputs are off by {100 * error:.3g} % of their size, and {wanted.precision} "
            f"explains {100 * tolerance:g} %"
        )
    return Trial(error=error, placement=placement, seconds=seconds)


def _error_of(runner: Runner) -> float:
    items = _items()
    answers = [_logits(runner(item)) for item in items]
    return _distance(np.concatenate(answers), np.concatenate([_computed(item) for item in items]))


def _logits(outputs: Arrays) -> NDArray[Any]:
    shape = (1, _CLASSES)
    told = {name: array.shape for name, array in outputs.items()}
    if told != {"logits": shape}:
        raise ModelError(f"it gives the outputs {told or 'none'} where the model has logits {shape}")
    if arrays.not_finite(outputs):
        raise ModelError("it computes wrong numbers: the outputs hold NaN or infinity")
    return outputs["logits"]


def _distance(answers: NDArray[Any], expected: NDArray[Any]) -> float:
    size = float(np.sqrt(np.mean(np.square(expected))))
    return float(np.sqrt(np.mean(np.square(answers.astype(np.float64) - expected)))) / size


@functools.cache
def _weights() -> tuple[NDArray[np.float32], ...]:
    rng = np.random.default_rng(0)
    shapes = ((_CHANNELS, 1, 3, 3), (_CHANNELS, _CHANNELS, 3, 3), (_CHANNELS * _SIZE * _SIZE, _CLASSES))
    fan_in = (9, 9 * _CHANNELS, shapes[2][0])
    return tuple(
        (rng.standard_normal(shape) * np.sqrt(2 / inputs)).astype(np.float32)
        for shape, inputs in zip(shapes, fan_in, strict=True)
    )


def _items() -> list[dict[str, NDArray[Any]]]:
    rng = np.random.default_rng(1)
    return [{"image": rng.standard_normal((1, 1, _SIZE, _SIZE), dtype=np.float32)} for _ in range(_ITEMS)]


def _computed(item: Arrays) -> NDArray[Any]:
    first, second, head = (weight.astype(np.float64) for weight in _weights())
    hidden = _convolved(_convolved(item["image"].astype(np.float64), first), second)
    return np.asarray(hidden.reshape(1, -1) @ head)


def _convolved(image: NDArray[Any], kernel: NDArray[Any]) -> NDArray[Any]:
    """A 3x3 convolution that keeps the size, and ReLU; [1, channels, height, width]."""
    padded = np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.asarray(np.einsum("nchwij,ocij->nohw", windows, kernel, optimize=True)).clip(min=0)
