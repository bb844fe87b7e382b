"""Sessions: a model that ONNX Runtime has loaded as it was asked to, or an error."""

import functools
import platform
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from pytest_edgeai.errors import EdgeError
from pytest_edgeai.ort.files import BATCH
from pytest_edgeai.ort.problems import problem, said
from pytest_edgeai.protocols import Arrays
from pytest_edgeai.records import Recipe
from pytest_edgeai.units import counted

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
LEVELS: Final = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
"""What ``graph`` can be tuned to -> ONNX Runtime's level of graph optimization."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a session is opened, where the recipe isn't tuned otherwise."""

    threads: int
    """Of one operator, the calling one included."""
    graph: str = "all"
    """One of :data:`LEVELS`."""
    branches: int = 1
    """Threads that run branches of the graph beside each other; 1: one operator after the other."""


def load(recipe: Recipe, file: Path, settings: Settings) -> "Session":
    """A session of ``file`` on the device that the recipe is tuned to. Raises EdgeError, also for whatever is not as it was asked for."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    device = recipe.device
    there = onnxruntime.get_available_providers()
    provider = next((name for name in PROVIDERS.get(device, ()) if name in there), None)
    if provider is None:
        raise EdgeError(
            f"{recipe.name}: this build of ONNX Runtime has no provider for {device} (it has {', '.join(there)})."
        )
    settings = Settings(
        threads=int(recipe.tuning.get("threads", settings.threads)),
        graph=str(recipe.tuning.get("graph", settings.graph)),
        branches=settings.branches,
    )
    placement = {"provider": provider, "device": device, "precision": recipe.precision}
    if recipe.precision == "int8" and device == "CPU" and saturates():
        placement["precision"] = "int8, weights unsigned (no VNNI)"
    if device != "CPU":
        placement["precision"] += ", as the file says (not verified)"
    placement["threads"] = str(settings.threads)
    if settings.branches > 1:
        placement["branches"] = str(settings.branches)
    if settings.graph != "all" or "graph" in recipe.tuning:
        placement["graph"] = settings.graph
    batch = recipe.tuning.get("batch")
    if batch is not None:
        placement["batch"] = str(batch)
    start = functools.partial(_start, recipe, file, provider, settings)
    return Session(start, int(batch) if batch is not None else None, placement)


def _start(recipe: Recipe, file: Path, provider: str, settings: Settings, batch: int | None) -> Any:
    """A session that really has what was asked for. Raises EdgeError."""
    import onnxruntime

    options = plain_options()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[settings.graph])
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = settings.branches
    if settings.branches > 1:
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    # Else idle threads spin on the cores that another engine is timed on.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # Names are noted while the session is made, and nothing while it runs; versions that don't know the entry pass over it.
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if recipe.precision == "int8" and provider == CPU and saturates():
        options.add_session_config_entry("session.x64quantprecision", "1")
    if provider != CPU:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    if provider == "CUDAExecutionProvider":
        onnxruntime.preload_dlls()  # CUDA's, which pip installs where the system doesn't look
    if batch is not None:
        options.add_free_dimension_override_by_denotation(BATCH, batch)
    before = _threads_there()
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=[provider])
    except Exception as error:
        raise problem(error, EdgeError, f"load {recipe.name}") from error
    if session.get_providers()[0] != provider:
        used = ", ".join(session.get_providers())
        raise EdgeError(
            f"ONNX Runtime was asked to run {recipe.name} on {provider}, and uses {used}; such a fallback is not measured."
        )
    started = _threads_there() - before + 1
    # A second session, for other batches, may be started while other threads come and go.
    if "threads" in recipe.tuning and batch == recipe.tuning.get("batch") and started != settings.threads:
        raise EdgeError(
            f"ONNX Runtime was asked to run {recipe.name} in {settings.threads} threads, and uses {started}."
        )
    sizes = {value.shape[0] for value in session.get_inputs() if value.shape}
    if batch is not None and sizes != {batch}:
        raise EdgeError(
            f"ONNX Runtime was asked to fix the batch of {recipe.name} at {batch}, and it is {', '.join(map(str, sizes))}."
        )
    return session


class Session:
    """A loaded model: satisfies :class:`pytest_edgeai.protocols.Runner`. The arrays that it hands back are its callers' own.

    A batch that the recipe is tuned to is fixed when the model is loaded; calls with another one go to a second session, made when it is first
    needed.
    """

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
        """``operators``: how many of each kind were given to which provider, where this version of ONNX Runtime tells."""
        operators = _assigned(self._session)
        return self._placement | ({"operators": operators} if operators else {})

    def parallel(self, requests: int) -> "Sequence[Session]":
        """This session as often: it may be called by several threads, and each call has its own outputs."""
        return [self] * requests

    @functools.cached_property
    def _any_batch(self) -> Any:
        return self._start(None)

    def _fits(self, inputs: Arrays) -> bool:
        return all(array.shape[0] == self._batch for array in inputs.values() if array.ndim)


def _assigned(session: Any) -> str:
    """``CPUExecutionProvider: 30 Conv, 27 Relu, 13 Add``: as the graph is when it is divided between providers, before operators are fused."""
    if not hasattr(session, "get_provider_graph_assignment_info"):  # ONNX Runtime 1.23 and before
        return ""
    found: dict[str, Counter[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        found.setdefault(part.ep_name, Counter()).update(node.op_type for node in part.get_nodes())
    return "; ".join(f"{provider}: {counted(kinds)}" for provider, kinds in found.items())


def plain_options() -> Any:
    """All optimizations, and no warnings."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    errors_only = 3
    options.log_severity_level = errors_only
    return options


@functools.cache
def saturates() -> bool:
    """Whether this CPU's product of unsigned and signed bytes saturates at 16 bits: x86 without VNNI and AMX."""
    if platform.machine().lower() not in ("x86_64", "amd64", "i386", "i686"):
        return False
    from archspec.cpu import detect

    # What the CPU itself reports; `archspec.cpu.host()` names the nearest known model, which on virtual machines has less.
    features = {name.replace("_", "") for name in detect.detected_info().features}
    return not features & {"avx512vnni", "avxvnni", "amxint8"}


def _threads_there() -> int:
    """Of this process."""
    import psutil

    return int(psutil.Process().num_threads())
