"""The worker: a fresh interpreter that builds, loads and runs variants, so that nothing they do can hurt the pytest process.

Started as ``python -P -m pytest_edgeai.measure.worker HANDLE PARENT``. It knows frameworks and arrays; never pytest, a label or the user's
code. One request is answered after the other until the connection closes.
"""

import contextlib
import ctypes
import faulthandler
import gc
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pytest_edgeai import arrays, registry
from pytest_edgeai.errors import EdgeError, ModelError
from pytest_edgeai.measure import channel
from pytest_edgeai.measure.canary import Canary
from pytest_edgeai.protocols import Metric, Runner
from pytest_edgeai.records import Recipe

TASKS = {
    "assess": "pytest_edgeai.assess:read_model",
    "build": "pytest_edgeai.build:build_here",
    "devices": "pytest_edgeai.measure.worker:list_devices",
    "probe-model": "pytest_edgeai.doctor.probe:write_model",
    "probe-devices": "pytest_edgeai.doctor.probe:list_devices",
    "probe": "pytest_edgeai.doctor.probe:try_recipe",
}
"""One-shot tasks by name; each function takes keyword arguments and returns a record or plain data."""

FIRST_CALLS = 5
"""Calls after loading before the "process" metrics are read: lazily allocated buffers are there by then."""


def list_devices(modules: list[str]) -> dict[str, Any]:
    """Framework -> the devices that it lists itself, for the frameworks that are installed; or the error that it raised."""
    found: dict[str, Any] = {}
    for name, framework in registry.load(modules).frameworks.items():
        if registry.versions(framework) is None:
            continue
        try:
            found[name] = [msgspec.to_builtins(device) for device in framework.devices()]
        except Exception as error:  # noqa: BLE001 - a broken engine is a fact about this machine, told with the others
            found[name] = f"{type(error).__name__}: {error}"
    return found


class Bench:
    """One loaded variant with its inputs."""

    def __init__(self, modules: list[str]) -> None:
        self._registry = registry.load(modules)
        self._items: list[dict[str, NDArray[Any]]] = []
        self._runner: Runner | None = None
        self._canary: Canary | None = None

    def load(
        self, recipe: dict[str, Any], folder: str, inputs: str, threads: int, metrics: list[str]
    ) -> dict[str, Any]:
        """Import the engine, arm the sensors, load, make the first calls, read the sensors."""
        wanted = msgspec.convert(recipe, Recipe)
        framework = self._registry.framework(wanted.framework)
        self._items = arrays.read_items(Path(inputs))
        self._canary = Canary(threads)
        # The engine is imported before anything is armed: it is there whatever the variant is.
        framework.devices()
        armed, unsupported = self._supported(metrics)
        gc.collect()
        gc.freeze()
        for metric in armed:
            metric.arm()
        runner = framework.load(wanted, Path(folder), threads)
        outputs = runner(self._items[0])
        readings = {metric.name: dict(metric.read()) for metric in armed if metric.per == "start"}
        for call in range(1, FIRST_CALLS):
            outputs = runner(self._items[call % len(self._items)])
        readings |= {metric.name: dict(metric.read()) for metric in armed if metric.per == "process"}
        _demand_finite(outputs, "the first calls")
        self._runner = runner
        return {
            "readings": readings,
            "unsupported": unsupported,
            "placement": runner.placement(),
            "outputs": {name: [str(array.dtype), list(array.shape)] for name, array in outputs.items()},
        }

    def turn(self, first: int, calls: int) -> dict[str, Any]:
        """Seconds that ``calls`` calls took, back to back, on items ``first``, ``first + 1``, ...

        One call before them is not timed: the other side's turn has emptied the caches, and a device that runs one model is warm.
        """
        runner, items, count = self._loaded(), self._items, len(self._items)
        chosen = [items[(first + call) % count] for call in range(calls)]
        outputs: Mapping[str, NDArray[Any]] = runner(items[(first - 1) % count])
        begin = time.perf_counter_ns()
        for item in chosen:
            outputs = runner(item)
        seconds = (time.perf_counter_ns() - begin) * 1e-9
        _demand_finite(outputs, "a timed call")
        return {"seconds": seconds}

    def series(self, metric: str, first: int, calls: int, canaries: int) -> dict[str, Any]:
        """One number a call, and ``canaries`` runs of the constant work afterwards."""
        runner, items, count = self._loaded(), self._items, len(self._items)
        sensor = self._registry.metrics[metric]
        columns: dict[str, list[float]] = {}
        outputs: Mapping[str, NDArray[Any]] = {}
        for call in range(calls):
            item = items[(first + call) % count]
            sensor.arm()
            outputs = runner(item)
            for part, value in sensor.read().items():
                columns.setdefault(part, []).append(value)
        _demand_finite(outputs, "a timed call")
        if self._canary is None:
            raise ModelError("Nothing is loaded.")
        return {"columns": columns, "canary": [self._canary.run() for _ in range(canaries)]}

    def score(self, inputs: str, outputs: str, batched: list[str]) -> dict[str, Any]:
        """Outputs for every item of ``inputs``, stacked, into the ``.npz`` file ``outputs``; says which items were not finite.

        ``batched``: outputs whose first axis is the batch, which has one item; the others are kept whole.
        """
        runner = self._loaded()
        rows: dict[str, list[NDArray[Any]]] = {}
        spoilt = []
        for index, item in enumerate(arrays.read_items(Path(inputs))):
            answer = runner(item)
            if arrays.not_finite(answer) is not None:
                spoilt.append(index)
            for name, array in answer.items():
                rows.setdefault(name, []).append(np.array(array[0] if name in batched else array))
        for name, row in rows.items():
            shapes = sorted({array.shape for array in row})
            if len(shapes) > 1:
                raise ModelError(
                    f"output '{name}' has the shape {list(shapes[0])} for some items and {list(shapes[-1])} for others; "
                    "only outputs of one shape can be scored. Pad it in the model."
                )
        arrays.write(Path(outputs), {name: np.stack(row) for name, row in rows.items()})
        return {"spoilt": spoilt}

    def _supported(self, names: list[str]) -> tuple[list[Metric], dict[str, str]]:
        armed, unsupported = [], {}
        for name in names:
            metric = self._registry.metrics[name]
            reason = metric.unsupported()
            if reason is None:
                armed.append(metric)
            else:
                unsupported[name] = reason
        return armed, unsupported

    def _loaded(self) -> Runner:
        if self._runner is None:
            raise ModelError("Nothing is loaded.")
        return self._runner


def run_task(task: str, arguments: dict[str, Any]) -> Any:
    """The answer of a one-shot task, as plain data."""
    module, _, function = TASKS[task].partition(":")
    return msgspec.to_builtins(getattr(importlib.import_module(module), function)(**arguments))


def serve(handle: str) -> None:
    """Answer requests until the other side closes the connection."""
    connection = channel.open_handle(handle)
    bench: Bench | None = None
    while True:
        try:
            request = channel.receive(connection)
        except EOFError:
            return
        operation = request.pop("do")
        try:
            answer: dict[str, Any] = {}
            if operation == "task":
                answer["ok"] = run_task(**request)
            elif operation == "open":
                bench = Bench(**request)
                answer["ok"] = {"pid": os.getpid()}
            else:
                method: Callable[..., Any] = getattr(bench, operation)
                answer["ok"] = method(**request)
        except EdgeError as error:
            answer = {"refused": type(error).__name__, "text": str(error)}
        except Exception as error:  # noqa: BLE001 - an engine's own exception ends the request, not the worker
            answer = {"refused": "", "text": f"{type(error).__name__}: {error}"}
        try:
            channel.send(connection, answer)
        except TypeError as error:  # a plugin's own type, numpy's numbers included; nothing was sent
            channel.send(connection, {"refused": "", "text": f"the answer can't be sent: {error}"})


def _demand_finite(outputs: Mapping[str, NDArray[Any]], when: str) -> None:
    name = arrays.not_finite(outputs)
    if name is not None:
        raise ModelError(f"output '{name}' of {when} is not finite (it holds NaN or infinity)")


def _prepare_process(parent: int) -> None:
    """Make the process die with its parent, leave no core file, and print native crashes' tracebacks."""
    faulthandler.enable()
    # Engines print to stdout; everything they say belongs to the log.
    os.dup2(2, 1)
    if sys.platform == "win32":
        return
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            sys.exit(1)


if __name__ == "__main__":
    _prepare_process(int(sys.argv[2]))
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        serve(sys.argv[1])
