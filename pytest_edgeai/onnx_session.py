"""ONNX sessions: a file that ONNX Runtime runs, whoever made it; with what was asked for, or an error that says what else it would have done."""

import functools
import platform
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from numpy.typing import NDArray

from pytest_edgeai.errors import EdgeError, UnsupportedError, unknown
from pytest_edgeai.protocols import Arrays
from pytest_edgeai.records import Assessment, Device, EngineDevice, Recipe

CPU: Final = "CPUExecutionProvider"
PROVIDERS: Final = {
    "CPU": (CPU,),
    "GPU": (
        "CUDAExecutionProvider",
        "ROCMExecutionProvider",
        "MIGraphXExecutionProvider",
        "DmlExecutionProvider",
        "WebGpuExecutionProvider",
    ),
    "NPU": ("QNNExecutionProvider", "VitisAIExecutionProvider"),
}
"""What ``device`` can be tuned to -> the execution providers that run there; the first one that the build has is used."""
_BATCH: Final = "DATA_BATCH"
"""ONNX's own mark of the axis that counts items
(https://onnx.ai/onnx/repo-docs/DimensionDenotation.html)."""
_LACKS: Final = re.compile(
    r"(\S+?)\(-?\d+\) is not a registered function/op|Could not find an implementation for (\S+?)\("
)


_MAKERS: Final = {"CUDAExecutionProvider": "NVIDIA GPU", "TensorrtExecutionProvider": "NVIDIA GPU"}
"""Providers that run on one maker's hardware alone."""
TUNING: Final = ("batch", "device", "graph", "threads")
"""What a session can be tuned by."""
LOADS: Final = ("graph", "threads")
"""Of these, what changes nothing of the file, whatever the recipe."""
LEVELS: Final = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
"""Graph optimization level -> ONNX Runtime's name of it."""
_TELL_PLACEMENT: Final = "session.record_ep_graph_assignment_info"


def devices() -> Sequence[EngineDevice]:
    """The execution providers of this build of ONNX Runtime. In a worker."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    capabilities = ("fp32", "int8-saturating" if saturates() else "int8")
    return [
        EngineDevice(name=provider, title=platform.machine(), capabilities=capabilities)
        if provider == CPU
        else EngineDevice(name=provider, title=_MAKERS.get(provider, ""))
        for provider in onnxruntime.get_available_providers()
    ]


def accelerations(device: Device, framework: str) -> dict[str, tuple[str | int, ...]]:
    """Tunings that may be better than the engine's own choice on this device: other threads, levels, and the accelerators that it has."""
    listed = {entry.name for entry in device.engines.get(framework, ())}
    there = tuple(kind for kind, names in PROVIDERS.items() if kind != "CPU" and listed & set(names))
    found: dict[str, tuple[str | int, ...]] = {
        "graph": ("extended", "basic"),
        "threads": fewer_threads(device),
        "device": there,
    }
    return {key: values for key, values in found.items() if values}


def fewer_threads(device: Device) -> tuple[int, ...]:
    """Numbers of threads that are fewer than the device's cores: one, and half of them."""
    return tuple(dict.fromkeys(count for count in (1, device.cores // 2) if 0 < count < device.cores))


def load(recipe: Recipe, file: Path, threads: int, settings: Mapping[str, str] = MappingProxyType({})) -> "Session":
    """A session with ``threads`` threads, this call's own included, or as many as the recipe says. Raises EdgeError.

    ``settings``: entries of the session's configuration, as ONNX Runtime calls them.
    """
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    device = str(recipe.tuning.get("device", "CPU"))
    there = onnxruntime.get_available_providers()
    provider = next((name for name in PROVIDERS.get(device, ()) if name in there), None)
    if provider is None:
        raise EdgeError(
            f"{recipe.name}: this build of ONNX Runtime has no provider for {device} (it has {', '.join(there)})."
        )
    asked = recipe.tuning.get("threads", recipe.options.get("threads", threads))
    placement = {"provider": provider, "device": device, "precision": recipe.precision, "threads": str(asked)}
    if recipe.precision == "int8" and on_cpu(recipe) and saturates():
        placement["precision"] = "int8, weights unsigned (no VNNI)"
    if not on_cpu(recipe):
        placement["precision"] += ", as the file says (not verified)"
    placement |= {key: str(recipe.tuning[key]) for key in ("batch", "graph") if key in recipe.tuning}
    batch = recipe.tuning.get("batch")
    start = functools.partial(_start, recipe, file, provider, int(asked), settings)
    return Session(start, int(batch) if batch is not None else None, placement)


def untunable(recipe: Recipe, assessment: Assessment, device: Device, framework: str) -> str | None:
    """Why the recipe can't be tuned so, if it can't."""
    for key, value in recipe.tuning.items():
        if key == "threads" and int(value) > device.cores:
            return f"{value} threads are more than the {device.cores} cores that this device lets a process use."
        if key == "batch" and assessment.why_no_batches:
            return assessment.why_no_batches
        if key == "device":
            listed = [entry.name for entry in device.engines.get(framework, ())]
            if value not in PROVIDERS:
                return unknown("device for ONNX Runtime", str(value), PROVIDERS)
            if not set(listed) & set(PROVIDERS[str(value)]):
                return f"ONNX Runtime has no provider for {value} here (it has {', '.join(listed) or 'none'})."
        if key == "graph" and value not in LEVELS:
            return unknown("graph optimization level", str(value), LEVELS)
        if key == "hint":
            return "ONNX Runtime has no performance hints: it runs one call in all its threads, and several at a time where a test asks for throughput."
        if key == "precision":
            return "ONNX Runtime computes in what the model's file says: choose the recipe of that precision instead."
        if key not in TUNING:
            return unknown(f"tuning of {framework}", key, TUNING)
    return None


def _start(
    recipe: Recipe, file: Path, provider: str, threads: int, settings: Mapping[str, str], batch: int | None
) -> Any:
    """A session that really has what was asked for. Raises EdgeError."""
    import onnxruntime

    given = options(str(recipe.tuning.get("graph", "all")))
    given.add_session_config_entry(_TELL_PLACEMENT, "1")
    given.intra_op_num_threads = threads
    given.inter_op_num_threads = 1
    # Else idle threads spin on the cores that another engine is timed on.
    given.add_session_config_entry("session.force_spinning_stop", "1")
    if recipe.precision == "int8" and provider == CPU and saturates():
        given.add_session_config_entry("session.x64quantprecision", "1")
    if provider != CPU:
        given.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    if provider == "CUDAExecutionProvider":
        onnxruntime.preload_dlls()  # CUDA's, which pip installs where the system doesn't look
    for key, value in settings.items():
        given.add_session_config_entry(key, value)
    if batch is not None:
        given.add_free_dimension_override_by_denotation(_BATCH, batch)
    before = _threads_there()
    try:
        session = onnxruntime.InferenceSession(str(file), given, providers=[provider])
    except Exception as error:
        raise problem(error, EdgeError, f"load {recipe.name}") from error
    if session.get_providers()[0] != provider:
        used = ", ".join(session.get_providers())
        raise EdgeError(
            f"ONNX Runtime was asked to run {recipe.name} on {provider}, and uses {used}; such a fallback is not measured."
        )
    started = _threads_there() - before + 1
    # A second session, for other batches, may be started while other threads come and go.
    if "threads" in recipe.tuning and batch == recipe.tuning.get("batch") and started != threads:
        raise EdgeError(f"ONNX Runtime was asked to run {recipe.name} in {threads} threads, and uses {started}.")
    sizes = {value.shape[0] for value in session.get_inputs() if value.shape}
    if batch is not None and sizes != {batch}:
        raise EdgeError(
            f"ONNX Runtime was asked to fix the batch of {recipe.name} at {batch}, and it is {', '.join(map(str, sizes))}."
        )
    return session


class Session:
    """A loaded model. The arrays that it hands back are its callers' own."""

    def __init__(self, start: Callable[[int | None], Any], batch: int | None, placement: dict[str, str]) -> None:
        self._start, self._batch = start, batch
        self._session = start(batch)
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._placement = placement

    def __call__(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        session = self._session if self._batch is None or self._fits(inputs) else self._any_batch
        try:
            return dict(zip(self._outputs, session.run(self._outputs, dict(inputs)), strict=True))
        except Exception as error:
            raise EdgeError(f"ONNX Runtime can't run the model on these inputs: {said(error)}.") from error

    def placement(self) -> dict[str, str]:
        """With the operators that each execution provider took, where this ONNX Runtime tells them (from 1.24 on)."""
        told = _operators(self._session)
        return self._placement | ({"operators": told} if told else {})

    def parallel(self, requests: int) -> "Sequence[Session]":
        """This session as often: it may be called by several threads, and each call has its own outputs."""
        return [self] * requests

    @functools.cached_property
    def _any_batch(self) -> Any:
        return self._start(None)

    def _fits(self, inputs: Arrays) -> bool:
        return all(array.shape[0] == self._batch for array in inputs.values() if array.ndim)


def _operators(session: Any) -> str:
    """``CPUExecutionProvider: 26 Conv, 13 Add``; empty where this ONNX Runtime can't tell."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return ""
    found: dict[str, Counter[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        found.setdefault(part.ep_name, Counter()).update(node.op_type for node in part.get_nodes())
    told = [
        f"{name}: {', '.join(f'{count} {kind}' for kind, count in ops.most_common())}" for name, ops in found.items()
    ]
    return "; ".join(told)


def mark_batch(file: Path) -> None:
    """Name the inputs' first axes for what they are, so that a session can fix them."""
    import onnx

    model = onnx.load(file, load_external_data=False)
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name not in constants and dims and dims[0].dim_value <= 0:
            dims[0].denotation = _BATCH
    onnx.save(model, file)


def options(level: str = "all") -> Any:
    """Quiet, and with a graph optimization level."""
    import onnxruntime

    found = onnxruntime.SessionOptions()
    found.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[level])
    errors_only = 3
    found.log_severity_level = errors_only
    return found


@functools.cache
def saturates() -> bool:
    """Whether this CPU's product of unsigned and signed bytes saturates at 16 bits: x86 without VNNI and AMX."""
    if platform.machine().lower() not in ("x86_64", "amd64", "i386", "i686"):
        return False
    from archspec.cpu import detect

    # What the CPU itself reports; `archspec.cpu.host()` names the nearest known model, which on virtual machines has less.
    features = {name.replace("_", "") for name in detect.detected_info().features}
    return not features & {"avx512vnni", "avxvnni", "amxint8"}


def on_cpu(recipe: Recipe) -> bool:
    """Whether it runs on the CPU."""
    return recipe.tuning.get("device", "CPU") == "CPU"


def _threads_there() -> int:
    """Of this process."""
    import psutil

    return int(psutil.Process().num_threads())


def problem(error: Exception, kind: type[EdgeError], doing: str) -> EdgeError:
    """The error to raise: an operator that the engine lacks is no failure of ours."""
    lacking = _LACKS.search(str(error))
    if lacking is None:
        return kind(f"ONNX Runtime can't {doing}: {said(error)}.")
    return UnsupportedError(
        f"ONNX Runtime lacks an operator of this model: {lacking[1] or lacking[2]}. Export the model without it, or choose a recipe of another framework."
    )


def said(error: Exception) -> str:
    """What an exception says, in one line, without the preambles of ONNX Runtime and ONNX."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : |^\S+\.h:\d+: .*? failed: ", "", " ".join(str(error).split()))
    return text[:400].rstrip(".") or type(error).__name__
