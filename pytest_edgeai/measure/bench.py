"""The bench: one variant loaded in a worker of its own, ready to be timed, weighed and scored."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from pytest_edgeai.errors import EdgeError, hinted
from pytest_edgeai.measure.process import Worker
from pytest_edgeai.records import Recipe, Variant

START_TIMEOUT = 60.0
"""Seconds for a worker to start: an interpreter and the plugin modules."""
LOAD_TIMEOUT = 300.0
"""Seconds to import an engine, load a variant and make the first calls."""
CALL_TIMEOUT = 120.0
"""Seconds for one request while measuring; a request is made of few calls."""
ACCELERATORS = ("GPU", "NPU")
"""Kinds of device that an engine must not replace by the CPU without a word."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What every bench of a run shares."""

    modules: Sequence[str]
    threads: int
    inputs: Path
    """``.npz`` with the items that calls are timed on."""
    offline: bool = False
    """Whether the process shall have no network, where the system allows to take it away."""
    hint: str = ""
    """What to say when the first calls fail: that inputs were made up, and how to choose others."""
    pace: Path | None = None
    """Where the machine's best speed at the constant work is kept, see :mod:`pytest_edgeai.measure.pace`."""
    place: Callable[[Recipe], str] = operator.attrgetter("device")
    """The kind of device that a recipe's variant is to run on."""


@dataclass(frozen=True, slots=True)
class Load:
    """How items are fed."""

    batch: int = 1
    """Items a call."""
    requests: int = 1
    """Calls at a time."""
    phase: str = ""
    """Of a language model's calls, what is timed: one of :data:`pytest_edgeai.language.generation.PHASES`."""

    @property
    def items(self) -> int:
        """Items at a time."""
        return self.batch * self.requests

    @property
    def one_by_one(self) -> bool:
        """Whether each call has one item, and comes after the one before."""
        return self.items == 1


ALONE = Load()
"""One item after the other."""


class Bench:
    """A context manager; starting it loads the variant and reads the metrics that are one number a process."""

    def __init__(self, variant: Variant, setup: Setup, metrics: Sequence[str] = ()) -> None:
        self.variant = variant
        self._worker = Worker(variant.name, offline=setup.offline)
        try:
            opened = self._worker.ask("open", phase="start", timeout=START_TIMEOUT, modules=list(setup.modules))
            loaded = self._worker.ask(
                "load",
                phase="load",
                timeout=LOAD_TIMEOUT,
                recipe=msgspec.to_builtins(variant.recipe),
                folder=variant.folder,
                inputs=str(setup.inputs),
                threads=setup.threads,
                metrics=list(metrics),
            )
            _demand_place(variant, setup.place(variant.recipe), loaded["placement"])
        except BaseException as error:
            self._worker.close()
            if setup.hint and isinstance(error, EdgeError):
                raise hinted(error, setup.hint) from error
            raise
        self.readings: dict[str, dict[str, float]] = loaded["readings"]
        """Metric -> part -> number, of loading and the first calls."""
        self.unsupported: dict[str, str] = loaded["unsupported"]
        """Metric -> why it can't be read here."""
        self.networked: str | None = opened["networked"]
        """Why the process has a network; ``None`` where it was asked to have none, and has none."""
        self.placement: dict[str, str] = loaded["placement"] | ({} if self.networked else {"network": "none"})
        self.outputs: dict[str, list[Any]] = loaded["outputs"]
        """Output -> [dtype, shape] of one call."""

    def turn(self, first: int, calls: int, load: Load = ALONE) -> float:
        """Seconds that ``calls`` calls of each of the load's requests took, back to back, starting with item ``first``."""
        if load.phase:
            arguments = {"name": load.phase, "first": first, "calls": calls}
            return float(self._worker.ask("phase", phase="infer", timeout=CALL_TIMEOUT, **arguments)["seconds"])
        given = {} if load == ALONE else {"batch": load.batch, "requests": load.requests}
        answer = self._worker.ask("turn", phase="infer", timeout=CALL_TIMEOUT, first=first, calls=calls, **given)
        return float(answer["seconds"])

    def pin(self) -> bool:
        """Give each thread that is busy in a call a core of its own; whether none shares one by chance now."""
        return bool(self._worker.ask("pin", phase="infer", timeout=CALL_TIMEOUT))

    def unpin(self) -> None:
        """Let them go again."""
        self._worker.ask("unpin", phase="infer", timeout=CALL_TIMEOUT)

    def block(self, metric: str, first: int, seconds: float) -> dict[str, float]:
        """Part -> number, of one block of calls that lasts at least so many seconds."""
        timeout = CALL_TIMEOUT + seconds
        answer = self._worker.ask("block", phase="infer", timeout=timeout, metric=metric, first=first, seconds=seconds)
        return dict(answer)

    def series(
        self, metric: str, first: int, calls: int, canaries: int = 0
    ) -> tuple[dict[str, list[float]], list[float]]:
        """Part -> one number a call, and the seconds of ``canaries`` runs of the constant work afterwards."""
        answer = self._worker.ask(
            "series", phase="infer", timeout=CALL_TIMEOUT, metric=metric, first=first, calls=calls, canaries=canaries
        )
        return answer["columns"], answer["canary"]

    def phases(
        self, first: int, calls: int, canaries: int = 0, *, first_token: bool = False
    ) -> tuple[dict[str, list[float]], list[float]]:
        """Of a language model: what each call shows (seconds, and tokens a second of both phases), and the seconds of the constant work afterwards."""
        asked = {"first": first, "calls": calls, "canaries": canaries, "first_token": first_token}
        answer = self._worker.ask("phases", phase="infer", timeout=CALL_TIMEOUT, **asked)
        return answer["columns"], answer["canary"]

    def canary(self, runs: int) -> list[float]:
        """Seconds of so many runs of the constant work."""
        return list(self._worker.ask("canary", phase="infer", timeout=CALL_TIMEOUT, runs=runs))

    def counters(self) -> dict[str, float]:
        """``involuntary_switches`` of the worker since its first calls, where the system counts them; ``pinned_processes``: 1 where it is one."""
        return dict(self._worker.ask("counters", phase="infer", timeout=CALL_TIMEOUT))

    def score(self, inputs: Path, outputs: Path, batched: Sequence[str], timeout: float) -> list[int]:
        """Write the outputs for every item into ``outputs``; the indexes of items whose outputs are not finite.

        ``batched``: names of the outputs whose first axis is the batch.
        """
        files = {"inputs": str(inputs), "outputs": str(outputs)}
        answer = self._worker.ask("score", phase="score", timeout=timeout, **files, batched=list(batched))
        return list(answer["spoilt"])

    def read(self, files: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Of a language model: score texts, see :func:`pytest_edgeai.measure.texts.read`."""
        return dict(self._worker.ask("read", phase="score", timeout=timeout, **files))

    def close(self) -> None:
        """End the worker."""
        self._worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _demand_place(variant: Variant, place: str, placement: Mapping[str, str]) -> None:
    """Raises EdgeError where the CPU took the place of an accelerator."""
    if place in ACCELERATORS and placement.get("device") == "CPU":
        raise EdgeError(
            f"{variant.name} was to run on the {place}, and its runtime has put it on the CPU, which is not what would be measured. "
            "See `edgeai doctor`: is there a driver, and memory?"
        )


def readings(benches: Sequence[Bench]) -> dict[str, list[float]]:
    """Quantity (``cold_start``, ``memory.footprint``) -> one number a bench, of the metrics that are read once a process."""
    columns: dict[str, list[float]] = {}
    for bench in benches:
        for metric, parts in bench.readings.items():
            for part, value in parts.items():
                columns.setdefault(metric if part == metric else f"{metric}.{part}", []).append(value)
    return columns
