"""Solo series: one variant alone, call after call, as a device would run it."""

import contextlib
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.errors import UnsupportedError
from pytest_edgeai.measure.bench import Bench, Setup
from pytest_edgeai.measure.noise import Noise
from pytest_edgeai.measure.quiet import Quiet
from pytest_edgeai.records import Measurement, Variant

WARM_UP_CALLS = 20
WARM_UP_SECONDS = 0.5
SLOW_WARM_UP_SECONDS = 2.0
"""A slow model is warm after this, whatever the number of calls."""
CHUNK = 50
CHUNK_SECONDS = 2.0
"""Calls in one go, and how long it may last; the canary runs between the goes."""
CANARIES = 10
"""Runs of the canary after each go."""


class Solo:
    """Satisfies :class:`pytest_edgeai.protocols.SeriesSampler`. One process, so one layout of memory.

    ``metrics``: what to read while loading. ``metric``: what to read at every call, ``part`` of it where it has several.
    ``patience``: seconds that may be waited in all for free cores. Raises UnsupportedError where the metric can't be read.
    """

    def __init__(
        self,
        variant: Variant,
        setup: Setup,
        metrics: Sequence[str] = (),
        metric: str = "latency",
        part: str = "",
        patience: float = 0.0,
    ) -> None:
        self._metric, self._part = metric, part or metric
        self._quiet = Quiet(setup.threads, patience)
        self._noise = Noise()
        self._samples: list[float] = []
        self._canary: list[float] = []
        self._item = 0
        self._seconds = 0.0
        self.bench = Bench(variant, setup, [*metrics, metric])
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self.bench.close)
            if metric in self.bench.unsupported:
                raise UnsupportedError(f"{metric} can't be read here: {self.bench.unsupported[metric]}.")
            self._warm_up()
            on_failure.pop_all()

    def more(self, count: int) -> NDArray[np.float64]:
        """``count`` more samples in the order they were taken."""
        fresh: list[float] = []
        while len(fresh) < count:
            self._quiet.wait()  # when patience is spent, the canary tells what the neighbours did
            begin = time.perf_counter()
            calls = min(self._chunk, count - len(fresh))
            columns, canary = self.bench.series(self._metric, self._item, calls, CANARIES)
            fresh += columns[self._part]
            self._canary += canary
            self._item += calls
            self._seconds += time.perf_counter() - begin
        self._samples += fresh
        return np.array(fresh)

    def canary(self) -> NDArray[np.float64]:
        """Seconds of the constant work between the samples so far."""
        return np.array(self._canary)

    def seconds(self) -> float:
        """Spent on sampling, warming up included."""
        return self._seconds

    def measurement(self, phase: str, unit: str = "s") -> Measurement:
        """Every call so far."""
        return Measurement(
            subject=self.bench.variant.name,
            metric=self._metric,
            unit=unit,
            plan="solo",
            phase=phase,
            samples={self._part: self._samples},
            seconds=self._seconds,
            processes=1,
            noise=self._noise.since()
            | {"waited_s": self._quiet.waited}
            | ({"canary_median_s": float(np.median(self._canary))} if self._canary else {}),
        )

    def _warm_up(self) -> None:
        begin = time.perf_counter()
        self.bench.series(self._metric, 0, 1)
        # A request must not last long: the worker answers nothing else meanwhile.
        self._chunk = max(1, min(CHUNK, int(CHUNK_SECONDS / (time.perf_counter() - begin))))
        calls = 1
        while time.perf_counter() - begin < WARM_UP_SECONDS or (
            calls < WARM_UP_CALLS and time.perf_counter() - begin < SLOW_WARM_UP_SECONDS
        ):
            self.bench.series(self._metric, calls, self._chunk, 1)
            calls += self._chunk
        self._seconds += time.perf_counter() - begin

    def close(self) -> None:
        """End the worker."""
        self.bench.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
