"""Solo series: one variant alone, sample after sample, as a device would run it."""

import contextlib
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.errors import UnsupportedError
from pytest_edgeai.measure.bench import Bench, Setup
from pytest_edgeai.measure.noise import Noise
from pytest_edgeai.measure.pace import Pace
from pytest_edgeai.measure.quiet import Quiet
from pytest_edgeai.records import Measurement, Variant
from pytest_edgeai.stats import steady

WARM_UP_SECONDS = 0.5
SLOW_WARM_UP_SECONDS = 2.0
"""A slow model is warm after this, whatever the number of samples."""
WARM_UP_SHARE = 0.25
"""Of the patience: so long a warm-up may last while its samples still drift."""
WARM_UP_BLOCKS = 20
"""Blocks of the warm-up's second half whose medians must not drift."""
CHUNK = 50
CHUNK_SECONDS = 2.0
"""Calls in one go, and how long it may last; the canary runs between the goes."""
CANARIES = 10
"""Runs of the canary after each go."""


class Source(Protocol):
    """What a sample is."""

    plan: str
    """As in :attr:`pytest_edgeai.records.Measurement.plan`."""
    metric: str
    column: str
    """Names of what is read, in the measurement."""
    sensors: Sequence[str]
    """Metrics that must be readable."""
    warm_up: int
    """Samples that a warm-up takes, unless the model is slow."""

    def prime(self, bench: Bench) -> int:
        """Find out how much fits into one go; the number of calls that took."""
        ...

    def take(self, bench: Bench, item: int, most: int, canaries: int) -> tuple[list[float], list[float], int]:
        """About ``most`` samples, as whole calls give them, from item ``item`` on, seconds of so many runs of the canary, and how many calls were made."""
        ...


class Calls:
    """A sample is what a metric reads at one call, ``part`` of it where it has several."""

    plan = "solo"
    warm_up = 20

    def __init__(self, metric: str = "latency", part: str = "") -> None:
        self.metric, self.column = metric, part or metric
        self.sensors: Sequence[str] = (metric,)
        self._chunk = 1

    def prime(self, bench: Bench) -> int:
        """One call. A request must not last long: the worker answers nothing else meanwhile."""
        begin = time.perf_counter()
        bench.series(self.metric, 0, 1)
        self._chunk = max(1, min(CHUNK, int(CHUNK_SECONDS / (time.perf_counter() - begin))))
        return 1

    def take(self, bench: Bench, item: int, most: int, canaries: int) -> tuple[list[float], list[float], int]:
        """See :class:`Source`."""
        calls = min(self._chunk, most)
        columns, canary = bench.series(self.metric, item, calls, canaries)
        return columns[self.column], canary, calls


class Solo:
    """Satisfies :class:`pytest_edgeai.protocols.SeriesSampler`. One process, so one layout of memory.

    ``source``: what a sample is, by default a call's latency. ``metrics``: what to read while loading. ``patience``: seconds that may be
    waited in all for free cores; a quarter of it may be spent on warming up. Raises UnsupportedError where the metric can't be read.
    """

    def __init__(
        self,
        variant: Variant,
        setup: Setup,
        source: Source | None = None,
        *,
        metrics: Sequence[str] = (),
        patience: float = 0.0,
    ) -> None:
        self._source = source or Calls()
        self._quiet, self._patience = Quiet(setup.threads, patience), patience
        self._pace = Pace(setup.pace)
        self._noise = Noise()
        self._samples: list[float] = []
        self._canary: list[float] = []
        self._item = 0
        self._seconds = 0.0
        self._drift = 0.0
        self.bench = Bench(variant, setup, [*metrics, *self._source.sensors])
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self.bench.close)
            for metric in self._source.sensors:
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
            samples, canary, calls = self._source.take(self.bench, self._item, count - len(fresh), CANARIES)
            fresh += samples
            self._canary += canary
            self._item += calls
            self._seconds += time.perf_counter() - begin
        self._samples += fresh
        return np.array(fresh)

    def noise(self) -> dict[str, float]:
        """See :attr:`pytest_edgeai.records.Measurement.noise`."""
        facts = self._noise.since() | self.bench.counters()
        facts |= {"waited_s": self._quiet.waited, "warm_up_trend": self._drift}
        return facts | self._pace.facts(self._canary)

    def seconds(self) -> float:
        """Spent on sampling, warming up included."""
        return self._seconds

    def measurement(self, phase: str, unit: str = "s") -> Measurement:
        """Every sample so far."""
        return Measurement(
            subject=self.bench.variant.name,
            metric=self._source.metric,
            unit=unit,
            plan=self._source.plan,
            phase=phase,
            samples={self._source.column: self._samples},
            seconds=self._seconds,
            processes=1,
            noise=self.noise(),
        )

    def _warm_up(self) -> None:
        begin = time.perf_counter()
        self._item = self._source.prime(self.bench)
        seen: list[float] = []
        elapsed, longest = 0.0, WARM_UP_SHARE * self._patience
        while (
            elapsed < WARM_UP_SECONDS
            or (len(seen) < self._source.warm_up and elapsed < SLOW_WARM_UP_SECONDS)
            or (self._drift and elapsed < longest)
        ):
            samples, _, calls = self._source.take(self.bench, self._item, CHUNK, 1)
            seen += samples
            self._item += calls
            self._drift = _drift(seen[len(seen) // 2 :])
            elapsed = time.perf_counter() - begin
        self._seconds += elapsed

    def close(self) -> None:
        """End the worker."""
        self.bench.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _drift(samples: Sequence[float]) -> float:
    """How far they drift, by :func:`pytest_edgeai.stats.steady.trend`; 0 when they don't."""
    return steady.trend([float(np.median(block)) for block in np.array_split(samples, WARM_UP_BLOCKS) if len(block)])
