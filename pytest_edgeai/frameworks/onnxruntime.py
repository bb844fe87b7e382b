"""ONNX Runtime: the baseline of every ONNX model, fp16 where there are kernels for it, and int8 by its own quantizer."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from pytest_edgeai import onnx_session
from pytest_edgeai.distributions import one_of
from pytest_edgeai.errors import BuildError, EdgeError, UnsupportedError
from pytest_edgeai.hookspecs import hookimpl
from pytest_edgeai.onnx_session import CPU, on_cpu, problem, said
from pytest_edgeai.protocols import Arrays, Framework, Runner
from pytest_edgeai.records import Assessment, Device, EngineDevice, ModelKind, Recipe, Target

FILE: Final = "model.onnx"
"""The artifact; weights that the model keeps outside lie in ``model.onnx.data`` beside it."""
INT8_MULTIPLIERS: Final = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
"""Instruction sets that multiply 8-bit numbers into 32-bit sums; one of them is what makes int8 fast."""
FP16_ARITHMETIC: Final = ("asimdhp",)
"""Instruction sets that ONNX Runtime has half-precision kernels for on CPUs: ARM's alone."""
OPSET: Final = 13
"""The first one that can say a scale for each channel, which the int8 recipes need."""
LARGE: Final = 2**31 - 2**27
"""Bytes of weights that still go into one file: a protobuf message ends at 2 GiB, and there is more than weights in it."""

_BASELINE: Final = Recipe(framework="onnxruntime", precision="fp32")
_SINGLE: Final = Recipe(framework="onnxruntime", precision="fp32", method="single", options={"threads": 1})
_FP16: Final = Recipe(framework="onnxruntime", precision="fp16", options={"io": "fp32"}, needs=FP16_ARITHMETIC)
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
_CATALOGUE: Final[dict[str, tuple[Recipe, ...]]] = {"onnx": (_FP16, _SINGLE, _DYNAMIC, _STATIC)}
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
_FP16_KERNELS: Final = frozenset({"Conv", "FusedConv", "NhwcFusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"})


class OnnxRuntime:
    """Runs on one execution provider, the CPU's unless the recipe is tuned otherwise.

    Static int8 is written as QDQ with unsigned activations and signed weights per channel (U8S8), which is what x86's VNNI
    multiplies. On an x86 CPU without VNNI or AMX that product saturates at 16 bits and gives wrong results, so there the model is
    loaded with ``session.x64quantprecision``: weights become unsigned, without any loss, and slower kernels are used. (The
    option works on every x86 CPU with AVX2, so it is set only where needed: on a CPU with VNNI it made a residual network
    2.5 times slower.) Ranges are taken from the extremes of the calibration items (MinMax).

    fp16 is for ARM CPUs with half-precision arithmetic and for GPUs. On an x86 CPU the weights are turned back into fp32 when the
    model is loaded: a residual network of 18.9 MB became a file of 9.5 MB, was loaded in 67 instead of 21 ms, and ran in 3.5
    instead of 3.1 ms.

    ``single`` is the model as it is in one thread, for ensembles of trees: one item is too little work to share. Boosted trees
    (1,000 of depth 4) took 29 us a call in one thread and 39 us in two, and were loaded in 21 instead of 33 ms.

    A batch that the recipe is tuned to is fixed when the model is loaded; calls with another one go to a second session, made
    when it is first needed.
    """

    name = "onnxruntime"
    tunes = True
    loads = onnx_session.LOADS

    def __init__(self) -> None:
        self.distributions: tuple[str, ...] = (*one_of("onnxruntime", "onnxruntime-gpu"), "onnx")

    def catalogue(self, target: Target, kind: ModelKind) -> Sequence[Recipe]:  # noqa: ARG002 - the same for every target
        """fp16, fp32 in one thread, and int8, static and dynamic."""
        return _CATALOGUE.get(kind, ())

    def baseline(self, kind: ModelKind) -> Recipe | None:
        """The model as it is."""
        return _BASELINES.get(kind)

    def refusal(self, recipe: Recipe, assessment: Assessment, device: Device) -> str | None:
        """Where the model can't be brought to the precision, the device has no kernels for it, or the tuning can't be had."""
        trees = _trees(assessment)
        if recipe.precision == "fp32":
            if recipe.method == "single" and not trees:
                return "It is for ensembles of trees, where one item is too little work to share between threads; this model has none."
            return onnx_session.untunable(recipe, assessment, device, self.name)
        if trees:
            return (
                f"Its work is in {trees}, for which ONNX Runtime has kernels in full precision alone, so there is nothing to bring to "
                f"{recipe.precision}. What may help such a model is one thread: {_SINGLE.name}."
            )
        verdict = assessment.precisions.get("-".join(part for part in (recipe.precision, recipe.method) if part))
        if verdict is not None and not verdict.possible:
            return f"{_capital(verdict.reason)}."
        if recipe.precision == "fp16" and on_cpu(recipe) and not set(FP16_ARITHMETIC) & set(device.features):
            return (
                f"ONNX Runtime has no half-precision kernels for this CPU ({device.cpu}, {device.architecture}): it would turn the weights back "
                "into fp32 when it loads them, so that only the file is smaller, and loading and calls are slower. "
                "Build it on an ARM device with asimdhp, or for a GPU."
            )
        return onnx_session.untunable(recipe, assessment, device, self.name)

    def reason(self, recipe: Recipe, assessment: Assessment, device: Device) -> str:
        """Where the work is, and what the CPU has for it."""
        if recipe.method == "single":
            return f"Its work is in {_trees(assessment)}, and one item of that is too little to share between threads."
        if recipe.precision == "fp32":
            return "The model as it is, in the engine that ONNX models are made for."
        if recipe.precision == "fp16":
            has = (
                "the CPU has half-precision arithmetic"
                if on_cpu(recipe)
                else f"{recipe.tuning['device']}s have half-precision arithmetic"
            )
            return f"{_capital(assessment.precisions['fp16'].reason)}, and {has}; no calibration is needed."
        work = assessment.precisions.get(f"int8-{recipe.method}")
        there = [name for name in recipe.needs if name in device.features]
        cpu = f"the CPU has {' and '.join(there)}" if there else f"but the CPU has none of {', '.join(recipe.needs)}"
        if not on_cpu(recipe):
            cpu = f"it was asked for on {recipe.tuning['device']}"
        return f"{_capital(work.reason)}; {cpu}." if work else f"{_capital(cpu)}."

    def accelerations(self, assessment: Assessment, device: Device) -> Mapping[str, Sequence[str | int]]:
        """Threads, graph optimization levels, accelerators; of trees the threads alone, for there is nothing to fuse."""
        found = onnx_session.accelerations(device, self.name)
        return {key: values for key, values in found.items() if key != "graph" or not _trees(assessment)}

    def devices(self) -> Sequence[EngineDevice]:
        """The execution providers of this build of ONNX Runtime."""
        return onnx_session.devices()

    def build(self, recipe: Recipe, model: Path, folder: Path, calibration: Sequence[Arrays]) -> None:
        """Write ``model.onnx``. Raises BuildError, or UnsupportedError where ONNX Runtime lacks something that the model needs."""
        if recipe.calibrated and not calibration:
            raise BuildError(f"{recipe.name} needs calibration items, and there are none.")
        file = folder / FILE
        try:
            with tempfile.TemporaryDirectory(prefix="pytest-edgeai-") as scratch:
                if recipe.precision == "fp32":
                    _copy(model, file)
                elif recipe.precision == "fp16":
                    _halve(recipe, model, file, Path(scratch))
                else:
                    _quantize(recipe, model, file, calibration, Path(scratch))
            if "batch" in recipe.tuning:
                onnx_session.mark_batch(file)
        except EdgeError:
            raise
        except Exception as error:
            raise problem(error, BuildError, f"build {recipe.name} of {model.name}") from error

    def load(self, recipe: Recipe, folder: Path, threads: int) -> Runner:
        """A session with ``threads`` threads, this call's own included, or as many as the recipe says. Raises EdgeError."""
        return onnx_session.load(recipe, folder / FILE, threads)


class _Reader:
    """Calibration items as ONNX Runtime's quantizer wants to read them."""

    def __init__(self, items: Sequence[Arrays]) -> None:
        self._items: Iterator[Arrays] = iter(items)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        item = next(self._items, None)
        return None if item is None else dict(item)


def _copy(model: Path, file: Path) -> None:
    import onnx

    if _outside(model):
        _save(onnx.load(model), file, apart=True)
    else:
        shutil.copyfile(model, file)


def _halve(recipe: Recipe, model: Path, file: Path, scratch: Path) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    halves = OnnxModel(
        convert_float_to_float16(onnx.load(model), keep_io_types=True, disable_shape_infer=_is_large(model))
    )
    halves.topological_sort()  # the casts of inputs were put at the end
    _save(halves.model, file, apart=bool(_outside(model)))
    if not on_cpu(recipe):
        return
    # What the CPU has no kernels for gets casts to fp32 before it.
    graph = _optimized(file, scratch / "optimized.onnx")
    half = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16}
    if not any(half & set(node.input) for node in graph.node if node.op_type in _FP16_KERNELS):
        raise UnsupportedError(
            "ONNX Runtime has no half-precision kernels here and turns every weight back into fp32, so this variant would be "
            "fp32 by another name."
        )


def _quantize(recipe: Recipe, model: Path, file: Path, calibration: Sequence[Arrays], scratch: Path) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType
    from onnxruntime.quantization.quantize import quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared, large = scratch / FILE, _is_large(model)
    # Symbolic shape inference needs sympy, and the recipe must not depend on what else is installed.
    quant_pre_process(
        str(_modern(model, scratch)),
        str(prepared),
        skip_symbolic_shape=True,
        save_as_external_data=bool(_outside(model)),
        all_tensors_to_one_file=True,
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
            use_external_data_format=large,
        )
    else:
        quantize_dynamic(
            str(prepared),
            str(file),
            op_types_to_quantize=_DYNAMIC_OPERATORS,
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=large,
        )
    if not any(node.op_type in _INT8_KERNELS for node in _optimized(file, scratch / "optimized.onnx").node):
        raise BuildError(
            f"{recipe.name}: after quantization no operator runs in int8, so this variant would be fp32 by another name."
        )


def _modern(model: Path, scratch: Path) -> Path:
    """The model, converted where its opset is too old to be quantized. Raises UnsupportedError where it can't be."""
    import onnx

    opset = max(entry.version for entry in onnx.load(model, load_external_data=False).opset_import if not entry.domain)
    if opset >= OPSET:
        return model
    converted = scratch / "converted.onnx"
    try:
        _save(onnx.version_converter.convert_version(onnx.load(model), OPSET), converted, apart=bool(_outside(model)))
    except Exception as error:
        raise UnsupportedError(
            f"The model has opset {opset}, int8 needs {OPSET}, and it can't be converted ({said(error)}). Export it with opset {OPSET} or later."
        ) from error
    return converted


def _save(model: Any, file: Path, *, apart: bool) -> None:
    import onnx

    if apart:
        location = f"{file.name}.data"
        onnx.save(model, file, save_as_external_data=True, all_tensors_to_one_file=True, location=location)
    else:
        onnx.save(model, file)


def _outside(model: Path) -> set[Path]:
    """Files with weights that the model keeps beside it."""
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    apart = [tensor for tensor in graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
    return {model.parent / entry.value for tensor in apart for entry in tensor.external_data if entry.key == "location"}


def _is_large(model: Path) -> bool:
    return sum(file.stat().st_size for file in (model, *_outside(model))) > LARGE


def _optimized(file: Path, optimized: Path) -> Any:
    """The graph that ONNX Runtime makes of the model on this CPU."""
    import onnx
    import onnxruntime

    options = onnx_session.options()
    options.optimized_model_filepath = str(optimized)
    # What comes after this level depends on the CPU, and is warned of when written.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    if file.with_name(f"{file.name}.data").exists():
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", f"{optimized.name}.data"
        )
    onnxruntime.InferenceSession(str(file), options, providers=[CPU])
    return onnx.load(optimized, load_external_data=False).graph


def _trees(assessment: Assessment) -> str:
    """``1 TreeEnsembleClassifier``, where that is what the model is; else nothing."""
    if any(verdict.possible for name, verdict in assessment.precisions.items() if name.startswith("int8")):
        return ""
    found = {op: count for op, count in assessment.ops.items() if op.startswith("ai.onnx.ml.TreeEnsemble")}
    return " and ".join(f"{count} {op.rpartition('.')[2]}" for op, count in found.items())


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


@hookimpl
def edge_frameworks() -> Sequence[Framework]:
    """The engine of this file."""
    return (OnnxRuntime(),)
