"""ONNX Runtime: the baseline of every ONNX model, fp16 where there are kernels for it, and int8 by its own quantizer."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from pytest_edgeai.distributions import one_of
from pytest_edgeai.hookspecs import hookimpl
from pytest_edgeai.ort import biases, files, offers, sessions
from pytest_edgeai.ort.building import building
from pytest_edgeai.protocols import Arrays, Framework, Runner
from pytest_edgeai.records import Assessment, Device, EngineDevice, ModelKind, Recipe, Target

_BASELINE: Final = Recipe(framework="onnxruntime", precision="fp32")
_SINGLE: Final = Recipe(framework="onnxruntime", precision="fp32", method="single", options={"threads": 1})
_FP16: Final = Recipe(framework="onnxruntime", precision="fp16", options={"io": "fp32"}, needs=offers.FP16_ARITHMETIC)
_DYNAMIC: Final = Recipe(
    framework="onnxruntime",
    precision="int8",
    method="dynamic",
    options={"weights": "int8", "per_channel": True},
    needs=offers.INT8_MULTIPLIERS,
)
_STATIC: Final = Recipe(
    framework="onnxruntime",
    precision="int8",
    method="static",
    options={
        "activations": "uint8",
        "weights": "int8",
        "per_channel": True,
        "calibration": "minmax",
        "bias": "corrected",
        "operators": "layers alone in networks with attention",
    },
    calibrated=True,
    needs=offers.INT8_MULTIPLIERS,
)
_CATALOGUE: Final[dict[str, tuple[Recipe, ...]]] = {"onnx": (_FP16, _SINGLE, _DYNAMIC, _STATIC)}
_BASELINES: Final[dict[str, Recipe]] = {"onnx": _BASELINE}
_LAYERS_ALONE: Final[dict[str, Any]] = {
    "op_types_to_quantize": [
        "Attention",
        "Conv",
        "ConvTranspose",
        "EmbedLayerNormalization",
        "Gather",
        "Gemm",
        "MatMul",
    ],
    "extra_options": {"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
}
"""What has weights is quantized, and products come out in full precision."""
_MAKERS: Final = {"CUDAExecutionProvider": "NVIDIA GPU", "TensorrtExecutionProvider": "NVIDIA GPU"}
"""Providers that run on one maker's hardware alone."""


class OnnxRuntime:
    """Runs on one execution provider, the CPU's unless the recipe is tuned otherwise.

    Static int8 is written as QDQ with unsigned activations and signed weights per channel (U8S8), which is what x86's VNNI
    multiplies. On an x86 CPU without VNNI or AMX that product saturates at 16 bits and gives wrong results, so there the model is
    loaded with ``session.x64quantprecision``: weights become unsigned, without any loss, and slower kernels are used. (The
    option works on every x86 CPU with AVX2, so it is set only where needed: on a CPU with VNNI it made a residual network
    2.5 times slower.) Ranges are taken from the extremes of the calibration items (MinMax). Two things are done differently from
    the quantizer's defaults, measured on the models of ``fixtures/zoo``, on items that were not calibrated with:

    - Biases make good what weights lose on average (:mod:`pytest_edgeai.ort.biases`): ``mobilenet`` kept 95.4 % of what varies
      in its outputs instead of 34.2 %, and 96.8 instead of 88.8 % accuracy (98.4 % in fp32), in the same time.
    - In networks with attention, what lies between matrix products stays in full precision, for there is little to gain from
      int8 in a softmax, a norm or a residual, and much to lose: ``minilm`` kept 99.7 % instead of 87.3 %, and took 1.8 instead of
      2.6 ms. (Elsewhere there is: ``two_towers``, of convolutions and dense layers, took 0.15 instead of 0.08 ms so.)

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
    at_load = offers.AT_LOAD

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
        if recipe.precision != "fp32":
            why = offers.unfit(recipe, assessment, device, _SINGLE.name)
        elif recipe.method == "single" and not offers.trees_of(assessment):
            why = "It is for ensembles of trees, where one item is too little work to share between threads; this model has none."
        else:
            why = None
        return why or offers.untunable(recipe, assessment, device)

    def reason(self, recipe: Recipe, assessment: Assessment, device: Device) -> str:
        """Where the work is, and what the CPU has for it."""
        if recipe.method == "single":
            return f"Its work is in {offers.trees_of(assessment)}, and one item of that is too little to share between threads."
        if recipe.precision == "fp32":
            return "The model as it is, in the engine that ONNX models are made for."
        return offers.work_of(recipe, assessment, device)

    def accelerations(self, assessment: Assessment, device: Device) -> Mapping[str, Sequence[str | int]]:
        """Threads, graph optimization levels, accelerators; of trees the threads alone, for there is nothing to fuse."""
        found = offers.accelerations(device, self.name)
        return {key: values for key, values in found.items() if key != "graph" or not offers.trees_of(assessment)}

    def devices(self) -> Sequence[EngineDevice]:
        """The execution providers of this build of ONNX Runtime."""
        import onnxruntime

        onnxruntime.disable_telemetry_events()
        capabilities = ("fp32", "int8-saturating" if sessions.saturates() else "int8")
        return [
            EngineDevice(name=provider, title=platform.machine(), capabilities=capabilities)
            if provider == sessions.CPU
            else EngineDevice(name=provider, title=_MAKERS.get(provider, ""))
            for provider in onnxruntime.get_available_providers()
        ]

    def build(self, recipe: Recipe, model: Path, folder: Path, calibration: Sequence[Arrays]) -> None:
        """Write ``model.onnx``. Raises BuildError, or UnsupportedError where ONNX Runtime lacks something that the model needs."""
        with building(recipe, model, folder, calibration) as (file, scratch):
            if recipe.precision == "fp32":
                files.copy(model, file)
            elif recipe.precision == "fp16":
                _halve(recipe, model, file, scratch)
            else:
                _quantize(recipe, model, file, calibration, scratch)

    def load(self, recipe: Recipe, folder: Path, threads: int) -> Runner:
        """A session with ``threads`` threads, this call's own included, or as many as the recipe says. Raises EdgeError."""
        settings = sessions.Settings(threads=int(recipe.options.get("threads", threads)))
        return sessions.load(recipe, folder / files.FILE, settings)


class _Reader:
    """Calibration items as ONNX Runtime's quantizer wants to read them."""

    def __init__(self, items: Sequence[Arrays]) -> None:
        self._items: Iterator[Arrays] = iter(items)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        item = next(self._items, None)
        return None if item is None else dict(item)


def _halve(recipe: Recipe, model: Path, file: Path, scratch: Path) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    halves = OnnxModel(
        convert_float_to_float16(onnx.load(model), keep_io_types=True, disable_shape_infer=files.is_large(model))
    )
    halves.topological_sort()  # the casts of inputs were put at the end
    files.save(halves.model, file, apart=bool(files.outside(model)))
    if recipe.device == "CPU":
        files.demand_halves(file, scratch)


def _quantize(recipe: Recipe, model: Path, file: Path, calibration: Sequence[Arrays], scratch: Path) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType
    from onnxruntime.quantization.quantize import quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared, large = scratch / files.FILE, files.is_large(model)
    # Symbolic shape inference needs sympy, and the recipe must not depend on what else is installed.
    quant_pre_process(
        str(files.modern(model, scratch)),
        str(prepared),
        skip_symbolic_shape=True,
        save_as_external_data=bool(files.outside(model)),
        all_tensors_to_one_file=True,
    )
    if recipe.method == "static":
        quantize_static(
            str(prepared),
            str(file),
            _Reader(calibration),
            **(_LAYERS_ALONE if _attends(prepared) else {}),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            use_external_data_format=large,
        )
        biases.correct(prepared, file, scratch, calibration, apart=large)
    else:
        quantize_dynamic(
            str(prepared),
            str(file),
            op_types_to_quantize=list(offers.DYNAMIC_OPERATORS),
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=large,
        )
    files.demand_int8(recipe.name, file, scratch)


def _attends(model: Path) -> bool:
    """Whether it has attention: an operator of it, or a softmax that goes into a matrix product."""
    import onnx

    nodes = onnx.load(model, load_external_data=False).graph.node
    weighing = {output for node in nodes if node.op_type == "Softmax" for output in node.output}
    return any(
        "Attention" in node.op_type or (node.op_type == "MatMul" and weighing & set(node.input)) for node in nodes
    )


@hookimpl
def edge_frameworks() -> Sequence[Framework]:
    """The engine of this file."""
    return (OnnxRuntime(),)
