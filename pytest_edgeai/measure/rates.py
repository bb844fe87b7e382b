"""Rates: how many items a second one variant answers, alone, block after block."""

import contextlib
import time
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.measure.bench import Bench, Load, Setup
from pytest_edgeai.measure.noise import Noise
from pytest_edgeai.measure.quiet import Quiet
from pytest_edgeai.measure.solo import CANARIES
from pytest_edgeai.records import Measurement, Variant

BLOCK_SECONDS = 0.1
"""A block lasts about so long: beside it, what starting and joining threads costs (some 0.2 ms) counts for nothing."""
WARM_UP_BLOCKS = 3


class Rates:
    """Satisfies :class:`pytest_edgeai.protocols.SeriesSampler`; a sample is the items a second of one block.

    ``patience``: seconds that may be waited in all for free cores.
    """

    def __init__(self, variant: Variant, setup: Setup, load: Load, name: str, patience: float = 0.0) -> None:
        self._load, self._name = load, name
        self._items = load.items * variant.recipe.batch
        self._quiet = Quiet(setup.threads, patience)
        self._noise = Noise()
        self._samples: list[float] = []
        self._canary: list[float] = []
        self._item = 0
        self._seconds = 0.0
        self.bench = Bench(variant, setup)
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self.bench.close)
            self._calls = self._warm_up()
            on_failure.pop_all()

    def more(self, count: int) -> NDArray[np.float64]:
        """``count`` more blocks' items a second, in the order they were taken."""
        fresh = []
        for _ in range(count):
            self._quiet.wait()  # when patience is spent, the canary tells what the neighbours did
            begin = time.perf_counter()
            fresh.append(self._block(self._calls))
            self._canary += self.bench.series("latency", self._item, 0, CANARIES)[1]
            self._seconds += time.perf_counter() - begin
        self._samples += fresh
        return np.array(fresh)

    def canary(self) -> NDArray[np.float64]:
        """Seconds of the constant work between the samples so far."""
        return np.array(self._canary)

    def seconds(self) -> float:
        """Spent on sampling, warming up included."""
        return self._seconds

    def measurement(self, phase: str) -> Measurement:
        """Every block so far."""
        return Measurement(
            subject=self.bench.variant.name,
            metric=self._name,
            unit="items/s",
            plan="blocks",
            phase=phase,
            samples={self._name: self._samples},
            seconds=self._seconds,
            processes=1,
            noise=self._noise.since() | {"waited_s": self._quiet.waited},
        )

    def _block(self, calls: int) -> float:
        seconds = self.bench.turn(self._item, calls, self._load)
        self._item += calls
        return calls * self._items / seconds

    def _warm_up(self) -> int:
        """Calls of each request that fill a block."""
        begin, calls = time.perf_counter(), 1
        for _ in range(WARM_UP_BLOCKS):
            rate = self._block(calls)
            calls = max(1, round(BLOCK_SECONDS * rate / self._items))
        self._seconds += time.perf_counter() - begin
        return calls

    def close(self) -> None:
        """End the worker."""
        self.bench.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
