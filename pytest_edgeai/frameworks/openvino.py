"""OpenVINO on the CPU: fp32, bf16 where the CPU has it, and int8 by NNCF."""

import contextlib
import io
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from pytest_edgeai.errors import BuildError, EdgeError
from pytest_edgeai.hookspecs import hookimpl
from pytest_edgeai.protocols import Arrays, Framework, Runner
from pytest_edgeai.records import Assessment, Device, EngineDevice, ModelKind, Recipe, Target

FILE: Final = "model.xml"
"""The artifact, with its weights in ``model.bin`` beside it: OpenVINO's intermediate representation."""
INT8_MULTIPLIERS: Final = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
"""Instruction sets that multiply 8-bit numbers into 32-bit sums; one of them is what makes int8 fast."""
BF16_MULTIPLIERS: Final = ("avx512_bf16", "amx_bf16", "bf16")
"""Instruction sets that multiply bfloat16 numbers."""

_RECIPES: Final = (
    Recipe(framework="openvino", precision="bf16", needs=BF16_MULTIPLIERS),
    Recipe(framework="openvino", precision="fp32"),
    Recipe(
        framework="openvino",
        precision="int8",
        options={"preset": "mixed", "subset": "all"},
        calibrated=True,
        needs=INT8_MULTIPLIERS,
    ),
)
_CATALOGUE: Final[dict[str, tuple[Recipe, ...]]] = {"onnx": _RECIPES}
_HINTS: Final = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""Precision -> what is computed with where nothing is quantized. Stated, because the plugin's default is bf16 where the CPU has it."""
_KERNELS: Final = {"fp32": ("f32",), "bf16": ("bf16",), "int8": ("i8", "u8")}
"""Precision -> what the kernels that do the work are expected to run in."""
_COPIED: Final = 128 * 2**10
"""Bytes of an input up to which copying it into the request's own memory costs less than wrapping the array where it is (some 10 us)."""
_FLOATS: Final = ("float16", "float32", "float64", "bfloat16")
_WORKERS: Final = ("Convolution", "Deconvolution", "FullyConnected", "MatMul")


class OpenVino:
    """Runs on the CPU plugin alone, in one stream, with the latency hint; what NNCF leaves unquantized runs in f32.

    A model whose only dynamic axes are first ones (the batch) is loaded with a batch of 1, because latency is measured at batch 1
    and static shapes spare the plugin the inference of shapes in every call (9 % of a network that takes 0.1 ms, 1 % of one that
    takes 7 ms). The first call with another shape compiles it again with the axes as they were, and later calls use that.

    The plugin may use fewer threads than it was asked for (never more than there are cores); ``placement`` says how many.
    """

    name = "openvino"
    distributions: tuple[str, ...] = ("openvino", "nncf")

    def catalogue(self, target: Target, kind: ModelKind) -> Sequence[Recipe]:  # noqa: ARG002 - the same for every target
        """bf16, fp32 and int8."""
        return _CATALOGUE.get(kind, ())

    def baseline(self, kind: ModelKind) -> Recipe | None:  # noqa: ARG002 - never
        """None: the baseline of an ONNX model is ONNX Runtime's."""
        return None

    def refusal(self, recipe: Recipe, assessment: Assessment, device: Device) -> str | None:
        """Where the model can't be brought to the precision, or the device doesn't have it."""
        if recipe.precision == "fp32" and (
            low := [dtype for dtype in assessment.weight_dtypes if not dtype.startswith(_FLOATS)]
        ):
            return f"The model is already quantized (it has weights in {' and '.join(low)}), so there is no fp32 variant of it."
        verdict = assessment.precisions.get({"int8": "int8-static"}.get(recipe.precision, recipe.precision))
        if verdict is not None and not verdict.possible:
            return f"{_capital(verdict.reason)}."
        if recipe.precision == "bf16" and not _has_bf16(device):
            found = ", ".join(device.features) or "none"
            return f"The CPU has no bfloat16 arithmetic (none of {', '.join(BF16_MULTIPLIERS)}; detected: {found})."
        return None

    def reason(self, recipe: Recipe, assessment: Assessment, device: Device) -> str:
        """Where the work is, and what the CPU has for it."""
        work = assessment.precisions.get("int8-static")
        told = _capital(work.reason) if work is not None and work.possible else f"{assessment.parameters} parameters"
        if recipe.precision == "fp32":
            return f"{told}; OpenVINO's kernels may run them faster at the same precision."
        there = [name for name in recipe.needs if name in device.features]
        if recipe.precision == "bf16":
            return f"{told}; the CPU has {' and '.join(there) or 'bf16, says OpenVINO'}, and bfloat16 needs no calibration."
        return f"{told}; {'the CPU has ' + ' and '.join(there) if there else 'but the CPU has none of ' + ', '.join(recipe.needs)}."

    def devices(self) -> Sequence[EngineDevice]:
        """What OpenVINO lists; only the CPU is used."""
        core = _openvino().Core()
        return [
            EngineDevice(
                name=name,
                title=str(core.get_property(name, "FULL_DEVICE_NAME")),
                capabilities=tuple(
                    sorted(entry.lower() for entry in core.get_property(name, "OPTIMIZATION_CAPABILITIES"))
                ),
            )
            for name in core.available_devices
        ]

    def build(self, recipe: Recipe, model: Path, folder: Path, calibration: Sequence[Arrays]) -> None:
        """Write ``model.xml`` and ``model.bin``. Raises BuildError."""
        if recipe.calibrated and not calibration:
            raise BuildError(f"{recipe.name} needs calibration items, and there are none.")
        try:
            with _quiet():
                openvino = _openvino()
                network = openvino.Core().read_model(model)
                names = [port.get_any_name() for port in network.outputs]
                if recipe.precision == "int8":
                    network = _quantize(network, calibration)
                for port, name in zip(network.outputs, names, strict=True):
                    port.tensor.set_names({name})
                openvino.save_model(network, folder / FILE, compress_to_fp16=False)
        except BuildError:
            raise
        except Exception as error:
            raise BuildError(f"OpenVINO can't build {recipe.name} of {model.name}: {_said(error)}.") from error

    def load(self, recipe: Recipe, folder: Path, threads: int) -> Runner:
        """A compiled model on the CPU with at most ``threads`` threads. Raises EdgeError."""
        return _Compiled(recipe, folder / FILE, threads)


class _Compiled:
    """A loaded model. The arrays that it hands back are its callers' own: copies, because the plugin reuses its outputs' memory."""

    def __init__(self, recipe: Recipe, file: Path, threads: int) -> None:
        self._recipe, self._file, self._threads = recipe, file, threads
        self._accepted: list[tuple[str, tuple[int, ...], Any]] | None = None
        self._own: dict[str, NDArray[Any]] = {}
        self._inputs: dict[str, str] = {}
        self._outputs: list[str] = []
        self._compile(fix_batch=True)

    def __call__(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        signature = [(name, array.shape, array.dtype) for name, array in inputs.items()]
        if signature != self._accepted:
            self._accepted = None  # until the request is ready for it
            self._accept(inputs)
            self._accepted = signature
        try:
            # Every step of Python here is paid in each call, with cold caches: with all inputs wrapped and the outputs looked up by
            # their place, a call of a network that takes 0.72 ms took 0.05 ms more than the engine's own clock says; so 0.02 ms.
            large = {}
            for name, array in inputs.items():
                if name in self._own:
                    self._own[name][...] = array
                else:
                    large[name] = array
            # Inputs are only read, so the plugin may look at the large ones where they are.
            results = self._request.infer(large or None, share_inputs=True, share_outputs=False)
            return dict(zip(self._outputs, results.values(), strict=True))
        except Exception as error:
            raise EdgeError(f"OpenVINO can't run the model on these inputs: {_said(error)}.") from error

    def placement(self) -> dict[str, str]:
        """Raises EdgeError when most of the work is not done in the recipe's precision."""
        kernels = _kernels(self._network)
        wanted = sum(count for precision, count in kernels.items() if precision in _KERNELS[self._recipe.precision])
        if 2 * wanted < sum(kernels.values()):
            raise EdgeError(
                f"OpenVINO runs {wanted} of {sum(kernels.values())} convolutions and matrix products of {self._recipe.name} "
                f"in {self._recipe.precision} (it uses {_told(kernels)}); a variant by another name is not measured."
            )
        return {
            "device": ", ".join(self._network.get_property("EXECUTION_DEVICES")),
            "precision": _told(kernels) or _HINTS[self._recipe.precision],
            "threads": str(self._network.get_property("INFERENCE_NUM_THREADS")),
        }

    def _accept(self, inputs: Arrays) -> None:
        """Refuse what the plugin would take in silence: a missing input (it would use the last call's), another dtype (converted)."""
        given = {name: str(array.dtype) for name, array in inputs.items()}
        if given != self._inputs:
            expected, got = (
                ", ".join(f"{name}: {dtype}" for name, dtype in sorted(spec.items())) for spec in (self._inputs, given)
            )
            raise EdgeError(
                f"OpenVINO can't run the model on these inputs: it takes {expected or 'none'}, and was given {got or 'none'}."
            )
        if self._fixed and any(array.shape != self._fixed[name] for name, array in inputs.items()):
            self._compile(fix_batch=False)
        try:
            self._own = {name: self._memory(name, array) for name, array in inputs.items() if array.nbytes <= _COPIED}
        except Exception as error:
            raise EdgeError(f"OpenVINO can't run the model on these inputs: {_said(error)}.") from error

    def _memory(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        """The request's own memory for an input of this shape. Always new: what it looks at now may be a caller's array."""
        tensor = _openvino().Tensor(self._network.input(name).get_element_type(), array.shape)
        self._request.set_tensor(name, tensor)
        memory: NDArray[Any] = tensor.data
        return memory

    def _compile(self, *, fix_batch: bool) -> None:
        """Load the artifact, with dynamic batch axes fixed at 1 or with all axes as they are."""
        hint = _HINTS[self._recipe.precision]
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": 1,
        }
        try:
            core = _openvino().Core()
            model = core.read_model(self._file)
            self._fixed = _fix_batch(model) if fix_batch else {}
            self._network = core.compile_model(model, "CPU", options)
            self._request = self._network.create_infer_request()
        except Exception as error:
            raise EdgeError(f"OpenVINO can't load {self._recipe.name}: {_said(error)}.") from error
        self._inputs = {port.get_any_name(): str(port.get_element_type().to_dtype()) for port in self._network.inputs}
        self._outputs = [port.get_any_name() for port in self._network.outputs]
        used = self._network.get_property("EXECUTION_DEVICES")
        if used != ["CPU"]:
            raise EdgeError(
                f"OpenVINO was asked to run {self._recipe.name} on CPU, and uses {', '.join(used)}; such a fallback is not measured."
            )
        precision = self._network.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if precision != hint:
            raise EdgeError(
                f"OpenVINO was asked to compute {self._recipe.name} in {hint}, and uses {precision}: the CPU lacks it."
            )


def _fix_batch(model: Any) -> dict[str, tuple[int, ...]]:
    """Set dynamic first axes to 1 where no other axis is dynamic; the shapes that the model then takes, empty where nothing was set."""
    shapes = {port.get_any_name(): port.partial_shape for port in model.inputs}
    for shape in shapes.values():
        if shape.rank.is_dynamic or any(dim.is_dynamic for dim in list(shape)[1:]):
            return {}
    if all(shape.is_static for shape in shapes.values()):
        return {}
    for shape in shapes.values():
        if shape.is_dynamic:
            shape[0] = 1
    model.reshape(shapes)
    return {name: tuple(shape.to_shape()) for name, shape in shapes.items()}


def _quantize(network: Any, calibration: Sequence[Arrays]) -> Any:
    import nncf

    nncf.set_log_level(logging.ERROR)
    items = [dict(item) for item in calibration]
    network = nncf.quantize(network, nncf.Dataset(items), preset=nncf.QuantizationPreset.MIXED, subset_size=len(items))
    if not any(node.get_type_name() == "FakeQuantize" for node in network.get_ops()):
        raise BuildError(
            "openvino-int8: NNCF found nothing to quantize, so this variant would be fp32 by another name."
        )
    return network


def _openvino() -> Any:
    with _quiet():
        import openvino
    return openvino


def _kernels(network: Any) -> Counter[str]:
    """Precision -> how many convolutions and matrix products the plugin runs in it."""
    nodes = [node.get_rt_info() for node in network.get_runtime_model().get_ops()]
    return Counter(info["runtimePrecision"].astype(str) for info in nodes if info["layerType"].astype(str) in _WORKERS)


def _told(kernels: Counter[str]) -> str:
    """``u8``, or ``u8 (15), f32 (1)``."""
    if len(kernels) == 1:
        return next(iter(kernels))
    return ", ".join(f"{precision} ({count})" for precision, count in kernels.most_common())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing on stdout, where rich draws NNCF's progress bars, and no telemetry.

    ``import openvino`` and ``import nncf`` write to the home folder and send an event, unless they believe to run in a CI job; no
    other variable keeps them from it without leaving a file.
    """
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before


def _has_bf16(device: Device) -> bool:
    listed = device.engines.get("openvino", ())
    if listed:
        return any(entry.name == "CPU" and "bf16" in entry.capabilities for entry in listed)
    return any(name in device.features for name in BF16_MULTIPLIERS)


def _said(error: Exception) -> str:
    """What an exception says, in one line, without the places in OpenVINO's source."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(("Exception from src", "Check '"))]
    return " ".join(told or lines)[:400].rstrip(".") or type(error).__name__


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


@hookimpl
def edge_frameworks() -> Sequence[Framework]:
    """The engine of this file."""
    return (OpenVino(),)
