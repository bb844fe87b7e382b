"""ONNX Runtime on the CPU: the baseline of every ONNX model, and int8 by its own quantizer."""

import functools
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from pytest_edgeai.errors import BuildError, EdgeError
from pytest_edgeai.hookspecs import hookimpl
from pytest_edgeai.protocols import Arrays, Framework, Runner
from pytest_edgeai.records import Assessment, Device, EngineDevice, ModelKind, Recipe, Target

CPU: Final = "CPUExecutionProvider"
FILE: Final = "model.onnx"
"""The artifact; weights that the model keeps outside lie in ``model.onnx.data`` beside it."""
INT8_MULTIPLIERS: Final = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
"""Instruction sets that multiply 8-bit numbers into 32-bit sums; one of them is what makes int8 fast."""

_BASELINE: Final = Recipe(framework="onnxruntime", precision="fp32")
_DYNAMIC: Final = Recipe(
    framework="onnxruntime",
    precision="int8",
    method="dynamic",
    options={"weights": "int8", "per_channel": True},
    needs=INT8_MULTIPLIERS,
)
_STATIC: Final = Recipe(
    framework="onnxruntime",
    precision="int8",
    method="static",
    options={"activations": "uint8", "weights": "int8", "per_channel": True, "calibration": "minmax"},
    calibrated=True,
    needs=INT8_MULTIPLIERS,
)
_CATALOGUE: Final[dict[str, tuple[Recipe, ...]]] = {"onnx": (_DYNAMIC, _STATIC)}
_BASELINES: Final[dict[str, Recipe]] = {"onnx": _BASELINE}
# Without Conv, which quantize_dynamic would turn into ConvInteger.
_DYNAMIC_OPERATORS: Final = ["MatMul", "Gather", "Attention", "LSTM", "EmbedLayerNormalization"]
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


class OnnxRuntime:
    """Runs on the CPU execution provider alone, one call at a time.

    Static int8 is written as QDQ with unsigned activations and signed weights per channel (U8S8), which is what x86's VNNI
    multiplies. On an x86 CPU without VNNI or AMX that product saturates at 16 bits and gives wrong results, so there the model is
    loaded with ``session.x64quantprecision``: weights become unsigned, without any loss, and slower kernels are used. (The
    option works on every x86 CPU with AVX2, so it is set only where needed: on a CPU with VNNI it made a residual network
    2.5 times slower.) Ranges are taken from the extremes of the calibration items (MinMax).
    """

    name = "onnxruntime"
    distributions: tuple[str, ...] = ("onnxruntime", "onnx")

    def catalogue(self, target: Target, kind: ModelKind) -> Sequence[Recipe]:  # noqa: ARG002 - the same for every target
        """int8, static and dynamic."""
        return _CATALOGUE.get(kind, ())

    def baseline(self, kind: ModelKind) -> Recipe | None:
        """The model as it is."""
        return _BASELINES.get(kind)

    def refusal(self, recipe: Recipe, assessment: Assessment, device: Device) -> str | None:  # noqa: ARG002 - only the model decides
        """Where the model can't be quantized so."""
        verdict = assessment.precisions.get(f"{recipe.precision}-{recipe.method}")
        return None if verdict is None or verdict.possible else f"{_capital(verdict.reason)}."

    def reason(self, recipe: Recipe, assessment: Assessment, device: Device) -> str:
        """Where the work is, and what the CPU has for it."""
        if recipe.precision != "int8":
            return "The model as it is, in the engine that ONNX models are made for."
        work = assessment.precisions.get(f"int8-{recipe.method}")
        there = [name for name in recipe.needs if name in device.features]
        cpu = f"the CPU has {' and '.join(there)}" if there else f"but the CPU has none of {', '.join(recipe.needs)}"
        return f"{_capital(work.reason)}; {cpu}." if work else f"{_capital(cpu)}."

    def devices(self) -> Sequence[EngineDevice]:
        """The execution providers of this build of ONNX Runtime; only the CPU's is used."""
        import onnxruntime

        onnxruntime.disable_telemetry_events()
        capabilities = ("fp32", "int8-saturating" if _saturates() else "int8")
        return [
            EngineDevice(name=provider, title=platform.machine(), capabilities=capabilities)
            if provider == CPU
            else EngineDevice(name=provider)
            for provider in onnxruntime.get_available_providers()
        ]

    def build(self, recipe: Recipe, model: Path, folder: Path, calibration: Sequence[Arrays]) -> None:
        """Write ``model.onnx``. Raises BuildError."""
        if recipe.calibrated and not calibration:
            raise BuildError(f"{recipe.name} needs calibration items, and there are none.")
        try:
            if recipe.precision == "fp32":
                _copy(model, folder / FILE)
            else:
                with tempfile.TemporaryDirectory(prefix="pytest-edgeai-") as scratch:
                    _quantize(recipe, model, folder / FILE, calibration, Path(scratch))
        except BuildError:
            raise
        except Exception as error:
            raise BuildError(f"ONNX Runtime can't build {recipe.name} of {model.name}: {_said(error)}.") from error

    def load(self, recipe: Recipe, folder: Path, threads: int) -> Runner:
        """A session on the CPU with ``threads`` threads, this call's own included. Raises EdgeError."""
        import onnxruntime

        onnxruntime.disable_telemetry_events()
        options = _options()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Else idle threads spin on the cores that another engine is timed on.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        placement = {"provider": CPU, "device": "CPU", "precision": recipe.precision, "threads": str(threads)}
        if recipe.precision == "int8" and _saturates():
            options.add_session_config_entry("session.x64quantprecision", "1")
            placement["precision"] = "int8, weights unsigned (no VNNI)"
        try:
            session = onnxruntime.InferenceSession(str(folder / FILE), options, providers=[CPU])
        except Exception as error:
            raise EdgeError(f"ONNX Runtime can't load {recipe.name}: {_said(error)}.") from error
        if session.get_providers() != [CPU]:
            used = ", ".join(session.get_providers())
            raise EdgeError(
                f"ONNX Runtime was asked to run {recipe.name} on {CPU}, and uses {used}; such a fallback is not measured."
            )
        return _Session(session, placement)


class _Session:
    """A loaded model. The arrays that it hands back are its callers' own."""

    def __init__(self, session: Any, placement: dict[str, str]) -> None:
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()]
        self._placement = placement

    def __call__(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        try:
            return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs)), strict=True))
        except Exception as error:
            raise EdgeError(f"ONNX Runtime can't run the model on these inputs: {_said(error)}.") from error

    def placement(self) -> dict[str, str]:
        return dict(self._placement)


class _Reader:
    """Calibration items as ONNX Runtime's quantizer wants to read them."""

    def __init__(self, items: Sequence[Arrays]) -> None:
        self._items: Iterator[Arrays] = iter(items)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        item = next(self._items, None)
        return None if item is None else dict(item)


def _copy(model: Path, file: Path) -> None:
    import onnx

    if _keeps_weights_outside(model):
        location = f"{file.name}.data"
        onnx.save(onnx.load(model), file, save_as_external_data=True, all_tensors_to_one_file=True, location=location)
    else:
        shutil.copyfile(model, file)


def _quantize(recipe: Recipe, model: Path, file: Path, calibration: Sequence[Arrays], scratch: Path) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType
    from onnxruntime.quantization.quantize import quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = scratch / FILE
    # Symbolic shape inference needs sympy, and the recipe must not depend on what else is installed.
    quant_pre_process(
        str(model), str(prepared), skip_symbolic_shape=True, save_as_external_data=_keeps_weights_outside(model)
    )
    if recipe.method == "static":
        quantize_static(
            str(prepared),
            str(file),
            _Reader(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
    else:
        quantize_dynamic(
            str(prepared),
            str(file),
            op_types_to_quantize=_DYNAMIC_OPERATORS,
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
    if not _int8_kernels(file, scratch / "optimized.onnx"):
        raise BuildError(
            f"{recipe.name}: after quantization no operator runs in int8, so this variant would be fp32 by another name."
        )


def _keeps_weights_outside(model: Path) -> bool:
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    return any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in graph.initializer)


def _int8_kernels(file: Path, optimized: Path) -> int:
    """How many operators run in int8, in the graph that ONNX Runtime makes of the model."""
    import onnx
    import onnxruntime

    options = _options()
    options.optimized_model_filepath = str(optimized)
    # What comes after this level depends on the CPU, and is warned of when written.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(str(file), options, providers=[CPU])
    return sum(node.op_type in _INT8_KERNELS for node in onnx.load(optimized, load_external_data=False).graph.node)


def _options() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    errors_only = 3
    options.log_severity_level = errors_only
    return options


@functools.cache
def _saturates() -> bool:
    """Whether this CPU's product of unsigned and signed bytes saturates at 16 bits: x86 without VNNI and AMX."""
    if platform.machine().lower() not in ("x86_64", "amd64", "i386", "i686"):
        return False
    from archspec.cpu import detect

    # What the CPU itself reports; `archspec.cpu.host()` names the nearest known model, which on virtual machines has less.
    features = {name.replace("_", "") for name in detect.detected_info().features}
    return not features & {"avx512vnni", "avxvnni", "amxint8"}


def _said(error: Exception) -> str:
    """What an exception says, in one line, without ONNX Runtime's preamble."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", " ".join(str(error).split()))
    return text[:400].rstrip(".") or type(error).__name__


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


@hookimpl
def edge_frameworks() -> Sequence[Framework]:
    """The engine of this file."""
    return (OnnxRuntime(),)
