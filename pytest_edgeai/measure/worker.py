"""The worker: a fresh interpreter that builds, loads and runs variants, so that nothing they do can hurt the pytest process.

``measure/__main__.py`` starts it. It knows frameworks and arrays; never pytest or a label, and of the user's code the function alone that makes a model of
PyTorch, in a worker that does nothing else. One request is answered after the
other until the connection closes.
"""

import errno
import gc
import importlib
import itertools
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pytest_edgeai import arrays, registry
from pytest_edgeai.errors import EdgeError, ModelError, UnsupportedError
from pytest_edgeai.language import generation
from pytest_edgeai.language.generation import Prompted, runner_of
from pytest_edgeai.measure import channel, isolation, texts
from pytest_edgeai.measure.canary import Canary
from pytest_edgeai.measure.pinning import Pins
from pytest_edgeai.protocols import Arrays, Metric, ParallelRunner, Runner, Settling
from pytest_edgeai.records import Recipe

TASKS = {
    "assess": "pytest_edgeai.assess:read_model",
    "convert": "pytest_edgeai.conversion.onnx_export:convert",
    "build": "pytest_edgeai.build:build_here",
    "try": "pytest_edgeai.build:try_here",
    "tokenize": "pytest_edgeai.measure.texts:tokenize",
    "load-tasks": "pytest_edgeai.measure.harness:load",
    "judge-tasks": "pytest_edgeai.measure.harness:judge",
    "devices": "pytest_edgeai.measure.worker:list_devices",
    "probe-model": "pytest_edgeai.doctor.probe:write_model",
    "probe": "pytest_edgeai.doctor.probe:try_recipe",
}
"""One-shot tasks by name; each function takes keyword arguments and returns a record or plain data."""

FIRST_CALLS = 5
"""Calls after loading before the "process" metrics are read: lazily allocated buffers are there by then."""
FIRST_PROMPTS = 2
"""The same of a language model, each of whose calls is many."""

KNOWN = 4
"""Items, of each size of a call, whose untimed answers timed ones are held against: so many calls more in a process' life."""
APART = 0.01
"""How far (see :func:`_apart`) a timed answer may lie from the untimed one: some ten times what bfloat16 rounds."""
AGAIN = 5
"""Untimed calls that show how far a runtime's answers lie apart by themselves, before a timed one is called wrong."""


def list_devices(modules: list[str], framework: str) -> list[Any]:
    """The devices that this one framework lists."""
    return [msgspec.to_builtins(device) for device in registry.load(modules).framework(framework).devices()]


class Bench:
    """One loaded variant with its inputs."""

    def __init__(self, modules: list[str]) -> None:
        self._registry = registry.load(modules)
        self._items: list[dict[str, NDArray[Any]]] = []
        """The calls that are timed, each with as many items as the recipe takes."""
        self._batch = 1
        self._runner: Runner | None = None
        self._canary: Canary | None = None
        self._known: dict[int, dict[int, dict[str, NDArray[Any]]]] = {}
        """Items a call -> the call's place -> its untimed answer."""
        self._apart = APART
        self._switches: int | None = None
        self._pins = Pins()
        self._stacked: dict[int, list[dict[str, NDArray[Any]]]] = {}
        self._runners: dict[int, Sequence[Callable[[Arrays], dict[str, NDArray[Any]]]]] = {}

    def load(
        self, recipe: dict[str, Any], folder: str, inputs: str, threads: int, metrics: list[str]
    ) -> dict[str, Any]:
        """Import the engine, arm the sensors, load, make the first calls, read the sensors."""
        wanted = msgspec.convert(recipe, Recipe)
        framework = self._registry.framework(wanted.framework)
        items = arrays.read_items(Path(inputs))
        self._items = [arrays.stack(_from(items, first, wanted.batch)) for first in range(len(items))]
        self._batch = wanted.batch
        self._canary = Canary(threads)
        # The engine is imported before anything is armed: it is there whatever the variant is.
        framework.devices()
        armed, unsupported = self._supported(metrics)
        gc.collect()
        gc.freeze()
        for metric in sorted(armed, key=lambda metric: metric.per == "start"):  # those that time the start come last
            metric.arm()
        runner = runner_of(framework.load(wanted, Path(folder), threads))
        outputs = runner(self._items[0])
        readings = _read(armed, "start", 1, unsupported)
        for metric in armed:
            if isinstance(metric, Settling):
                metric.settle()
        first_calls = FIRST_PROMPTS if isinstance(runner, Prompted) else FIRST_CALLS
        for call in range(1, first_calls):
            outputs = runner(self._items[call % len(self._items)])
        readings |= _read(armed, "process", first_calls, unsupported)
        _demand_finite(outputs, "the first calls")
        if isinstance(runner, Prompted):
            runner.demand_likeliest(self._items[0])
        self._runner, self._switches = runner, _involuntary_switches()
        return {
            "readings": readings,
            "unsupported": unsupported,
            "placement": runner.placement(),
            "outputs": {name: [str(array.dtype), list(array.shape)] for name, array in outputs.items()},
        }

    def turn(self, first: int, calls: int, batch: int = 1, requests: int = 1) -> dict[str, Any]:
        """Seconds that ``calls`` calls of each of ``requests`` threads took, back to back, on items ``first``, ``first + 1``, ...

        One call before them is not timed: the other side's turn has emptied the caches, and a device that runs one model is warm.
        """
        items = self._batches(batch)
        count = len(items)
        if requests > 1:
            return {"seconds": self._at_once(items, first, calls, requests, batch)}
        runner = self._loaded()
        chosen = [items[(first + call) % count] for call in range(calls)]
        outputs: Mapping[str, NDArray[Any]] = runner(items[(first - 1) % count])
        begin = time.perf_counter_ns()
        for item in chosen:
            outputs = runner(item)
        seconds = (time.perf_counter_ns() - begin) * 1e-9
        self._demand_untimed_answer(outputs, first + calls - 1, batch)
        return {"seconds": seconds}

    def phase(self, name: str, first: int, calls: int) -> dict[str, Any]:
        """Seconds that this phase of ``calls`` calls of a language model took together, on prompts ``first``, ``first + 1``, ...

        Where the prompt's own work is timed, one call before them is not, as in :meth:`turn`; before decoding comes that work.
        """
        runner, count = self._prompted(), len(self._items)
        if name != "decode":
            runner.timed(self._items[(first - 1) % count], name)
        seconds = 0.0
        for call in range(first, first + calls):
            item = self._items[call % count]
            stamps = runner.timed(item, name)
            seconds += stamps.seconds(name)
        runner.demand_untimed(stamps, item)
        return {"seconds": seconds}

    def phases(self, first: int, calls: int, canaries: int, *, first_token: bool) -> dict[str, Any]:
        """What each call shows, see :meth:`pytest_edgeai.language.generation.Stamps.columns`; perhaps of its first token alone."""
        runner, count = self._prompted(), len(self._items)
        columns: dict[str, list[float]] = {}
        for call in range(first, first + calls):
            item = self._items[call % count]
            stamps = runner.timed(item, "ttft" if first_token else "end_to_end")
            for name, values in stamps.columns().items():
                columns.setdefault(name, []).extend(values)
        if calls:
            runner.demand_untimed(stamps, item)
        return {"columns": columns, "canary": self.canary(canaries)}

    def read(self, **files: Any) -> dict[str, Any]:
        """What a language model says about texts, see :func:`pytest_edgeai.measure.texts.read`."""
        return texts.read(self._prompted().generator, **files)

    def pin(self) -> bool:
        """Give each thread that is busy in a call a core of its own (see :meth:`pytest_edgeai.measure.pinning.Pins.put`)."""
        runner, items = self._loaded(), itertools.cycle(self._items)
        return self._pins.put(lambda: runner(next(items)))

    def unpin(self) -> None:
        """Let them go again."""
        self._pins.lift()

    def block(self, metric: str, first: int, seconds: float) -> dict[str, float]:
        """What a metric reads around calls that last at least ``seconds`` together; of a language model, a generated token counts as a call."""
        runner, items, count = self._loaded(), self._items, len(self._items)
        sensor = self._registry.metrics[metric]
        outputs: Mapping[str, NDArray[Any]] = {}
        calls = 0
        sensor.arm()
        begin = time.perf_counter()
        while calls == 0 or time.perf_counter() - begin < seconds:
            outputs = runner(items[(first + calls) % count])
            calls += 1
        tokens = calls * len(outputs["tokens"]) if isinstance(runner, Prompted) else 0
        found = _numbers(sensor, tokens or calls)
        self._demand_untimed_answer(outputs, first + calls - 1)
        return {generation.of_tokens(part): value for part, value in found.items()} if tokens else found

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
            for part, value in _numbers(sensor, 1).items():
                columns.setdefault(part, []).append(value)
        if calls:
            self._demand_untimed_answer(outputs, first + calls - 1)
        return {"columns": columns, "canary": self.canary(canaries)}

    def canary(self, runs: int) -> list[float]:
        """Seconds of so many runs of the constant work."""
        if self._canary is None:
            raise ModelError("Nothing is loaded.")
        with self._pins.lifted():
            return [self._canary.run() for _ in range(runs)]

    def counters(self) -> dict[str, float]:
        """How often a thread of this process was taken off its core since the first calls, where the system counts it, and whether it is pinned."""
        now = _involuntary_switches()
        counted = {} if now is None or self._switches is None else {"involuntary_switches": float(now - self._switches)}
        return counted | ({"pinned_processes": 1.0} if self._pins.held else {})

    def score(self, inputs: str, outputs: str, batched: list[str]) -> dict[str, Any]:
        """Outputs for every item of ``inputs``, stacked, into the ``.npz`` file ``outputs``; says which items were not finite.

        ``batched``: outputs whose first axis is the batch, which is cut where it has one item; the others are kept whole.
        """
        runner = self._loaded()
        rows: dict[str, list[NDArray[Any]]] = {}
        spoilt = []
        items = arrays.read_items(Path(inputs))
        for first in range(0, len(items), self._batch):
            answer = runner(arrays.stack(_from(items, first, self._batch)))
            cut = {name for name, array in answer.items() if name in batched and array.shape[:1] == (self._batch,)}
            for place in range(min(self._batch, len(items) - first)):
                one = {name: array[place] if name in cut else array for name, array in answer.items()}
                if arrays.not_finite(one) is not None:
                    spoilt.append(first + place)
                for name, array in one.items():
                    rows.setdefault(name, []).append(np.array(array))
        for name, row in rows.items():
            shapes = sorted({array.shape for array in row})
            if len(shapes) > 1:
                raise ModelError(
                    f"output '{name}' has the shape {list(shapes[0])} for some items and {list(shapes[-1])} for others; "
                    "only outputs of one shape can be scored. Pad it in the model."
                )
        arrays.write(Path(outputs), {name: np.stack(row) for name, row in rows.items()})
        return {"spoilt": spoilt}

    def _batches(self, size: int) -> list[dict[str, NDArray[Any]]]:
        """The timed items, ``size`` of them stacked for each call."""
        if size not in self._stacked:
            self._stacked[size] = [arrays.stack(_from(self._items, first, size)) for first in range(len(self._items))]
        return self._stacked[size]

    def _at_once(
        self, items: list[dict[str, NDArray[Any]]], first: int, calls: int, requests: int, batch: int
    ) -> float:
        """Seconds from the moment that all threads are ready until the last one has made its calls.

        The threads themselves look at the clock: one that waits for them may be woken long after they went on.
        """
        runners = self._parallel(requests)
        begins: list[int] = []
        ends: list[int] = []
        answers: dict[int, dict[str, NDArray[Any]]] = {}
        ready = threading.Barrier(requests, action=lambda: begins.append(time.perf_counter_ns()))
        failures: list[Exception] = []

        def work(number: int) -> None:
            runner, outputs = runners[number], {}
            try:
                outputs = runner(items[(first - 1) % len(items)])
                ready.wait()
                for call in range(calls):
                    outputs = runner(items[(first + number + call * requests) % len(items)])
                ends.append(time.perf_counter_ns())
                answers[first + number + (calls - 1) * requests] = outputs
            except Exception as error:  # noqa: BLE001 - told by the thread that answers
                failures.append(error)
                ready.abort()

        threads = [threading.Thread(target=work, args=(number,)) for number in range(requests)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        failures.sort(key=lambda error: isinstance(error, threading.BrokenBarrierError))
        if failures:
            raise failures[0]
        for place, answer in answers.items():
            self._demand_untimed_answer(answer, place, batch)
        return (max(ends) - begins[0]) * 1e-9

    def _parallel(self, requests: int) -> Sequence[Callable[[Arrays], dict[str, NDArray[Any]]]]:
        if requests not in self._runners:
            runner = self._loaded()
            if not isinstance(runner, ParallelRunner):
                raise UnsupportedError("its framework makes one call at a time, so there are no parallel requests")
            self._runners[requests] = runner.parallel(requests)
        return self._runners[requests]

    def _supported(self, names: list[str]) -> tuple[list[Metric], dict[str, str]]:
        """The sensors to arm before loading, and why the others of these can't be read."""
        armed, unsupported = [], {}
        for name in names:
            metric = self._registry.metrics[name]
            reason = metric.unsupported()
            if reason is not None:
                unsupported[name] = reason
            elif metric.per in ("start", "process"):
                armed.append(metric)
        return armed, unsupported

    def _demand_untimed_answer(self, outputs: Mapping[str, NDArray[Any]], place: int, batch: int = 1) -> None:
        """What was timed must be what is scored: the last timed answer is the one that the same call gives untimed. Raises ModelError.

        An engine that isn't done when its call returns, or that shares a buffer between calls, has the answer of another item, or none.
        """
        _demand_finite(outputs, "a timed call")
        items, known = self._batches(batch), self._known.setdefault(batch, {})
        place %= len(items)
        if place not in known:
            if len(known) == KNOWN:
                return
            known[place] = self._untimed(items[place])
        name, distance = _apart(outputs, known[place])
        if distance <= self._apart:
            return
        for _ in range(AGAIN):
            self._apart = max(self._apart, 2 * _apart(self._untimed(items[place]), known[place])[1])
        if distance > self._apart:
            raise ModelError(
                f"output '{name}' of a timed call differs from that of the same call untimed ({_by(distance)}): what is timed is not what is scored. "
                "Does the runner return before the engine is done?"
            )

    def _untimed(self, item: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """A copy: an engine may write its next answer into the same memory."""
        return {name: np.array(array) for name, array in self._loaded()(item).items()}

    def _prompted(self) -> Prompted:
        runner = self._loaded()
        if not isinstance(runner, Prompted):
            raise UnsupportedError("it is no language model, so it has no phases and reads no texts")
        return runner

    def _loaded(self) -> Runner:
        if self._runner is None:
            raise ModelError("Nothing is loaded.")
        return self._runner


def run_task(task: str, arguments: dict[str, Any]) -> Any:
    """The answer of a one-shot task, as plain data."""
    if folder := arguments.get("folder"):
        isolation.limit_files(str(Path(folder).parent))
    module, _, function = TASKS[task].partition(":")
    return msgspec.to_builtins(getattr(importlib.import_module(module), function)(**arguments))


def serve(handle: str, networked: str | None) -> None:
    """Answer requests until the other side closes the connection. ``networked``: why this process has a network, if it has."""
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
                answer["ok"] = {"pid": os.getpid(), "networked": networked}
            else:
                method: Callable[..., Any] = getattr(bench, operation)
                answer["ok"] = method(**request)
        except EdgeError as error:
            answer = {"refused": type(error).__name__, "text": str(error)}
        except Exception as error:  # noqa: BLE001 - an engine's own exception ends the request, not the worker
            answer = {"refused": "", "text": _told(error)}
        try:
            channel.send(connection, answer)
        except TypeError as error:  # a plugin's own type, numpy's numbers included; nothing was sent
            channel.send(connection, {"refused": "", "text": f"the answer can't be sent: {error}"})


def _told(error: Exception) -> str:
    """An engine's exception in one sentence."""
    if isinstance(error, MemoryError):
        return f"it asked for more memory than the system gives ({str(error) or 'MemoryError'})"
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return f"a file that it wrote was about to fill the disk ({error})"
    return f"{type(error).__name__}: {error}"


def _involuntary_switches() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _from(items: list[dict[str, NDArray[Any]]], first: int, count: int) -> list[dict[str, NDArray[Any]]]:
    """``count`` items from the one at ``first`` on; after the last one comes the first again."""
    return [items[(first + place) % len(items)] for place in range(count)]


def _read(armed: Sequence[Metric], per: str, calls: int, unsupported: dict[str, str]) -> dict[str, dict[str, float]]:
    """What the sensors of this kind read, by name; ``unsupported`` learns why one can't tell after all."""
    readings = {}
    for metric in armed:
        if metric.per == per:
            try:
                readings[metric.name] = _numbers(metric, calls)
            except UnsupportedError as error:
                unsupported[metric.name] = str(error)
    return readings


def _numbers(metric: Metric, calls: int) -> dict[str, float]:
    """What a metric reads: a finite number for each part that it declares, and nothing else. Raises EdgeError."""
    read: dict[str, Any] = dict(metric.read(calls))
    if read.keys() != metric.units.keys():
        told = [", ".join(sorted(map(str, names))) or "nothing" for names in (read, metric.units)]
        raise EdgeError(f"the metric {metric.name} read {told[0]}, and its units name {told[1]}")
    for part, value in read.items():
        if isinstance(value, str | bytes) or not math.isfinite(float(value)):
            raise EdgeError(f"the metric {metric.name} read {value!r} for {part}, which is no finite number")
    return {part: float(value) for part, value in read.items()}


def _apart(one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> tuple[str, float]:
    """The output in which two answers differ most, and by how much.

    Real numbers: the length of the difference over that of ``other``. Whole numbers: the share that is unequal. Infinite for arrays of another
    shape.
    """
    distances = dict.fromkeys(one.keys() ^ other.keys(), math.inf)
    for name in one.keys() & other.keys():
        mine, others = np.asarray(one[name]), other[name]
        if mine.shape != others.shape:
            distances[name] = math.inf
        elif mine.dtype.kind in "fc":
            wide = np.result_type(mine, np.float64)
            length = float(np.linalg.norm(others.astype(wide).ravel()))
            gap = float(np.linalg.norm((mine.astype(wide) - others).ravel()))
            distances[name] = gap / length if length else math.inf if gap else 0.0
        else:
            distances[name] = float(np.mean(mine != others)) if mine.size else 0.0
    name = max(sorted(distances), key=lambda one: distances[one], default="")
    return name, distances.get(name, 0.0)


def _by(distance: float) -> str:
    return "another shape or nothing in common" if math.isinf(distance) else f"by {100 * distance:.0f} %"


def _demand_finite(outputs: Mapping[str, NDArray[Any]], when: str) -> None:
    name = arrays.not_finite(outputs)
    if name is not None:
        raise ModelError(f"output '{name}' of {when} is not finite (it holds NaN or infinity)")
