"""Turns: two variants timed in pairs of processes, one after the other in random order, so that noise strikes both alike."""

import contextlib
import math
import random
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import numpy as np

from pytest_edgeai.errors import ModelError
from pytest_edgeai.measure.bench import ALONE, Bench, Load, Setup, readings
from pytest_edgeai.measure.noise import Noise
from pytest_edgeai.measure.pace import Pace
from pytest_edgeai.measure.quiet import Quiet
from pytest_edgeai.records import Measurement, Variant
from pytest_edgeai.stats import steady

MIN_SLOT = 5e-3
"""Seconds that a slot of the faster side lasts at least: thousands of times what the clock can tell apart, and long beside what the start of a
slot costs (slots of 1 ms showed 2.6 to 2.8 times where longer ones and calls alone showed 3.2)."""
MIN_PARALLEL_SLOT = 50e-3
"""The same where several threads make calls: starting and joining them takes some 0.2 ms."""
CANARIES = 30
"""Runs of the constant work at the end."""
WARM_UP_ROUNDS = 3
WARM_UP_SECONDS = 0.2
"""A pair of processes is warmed up for at least this many rounds and seconds, and where there is time for it for as many as show a trend."""
STEADY_ROUNDS = 20
"""The last rounds of a warm-up, which must not trend: neither side, nor their ratio."""
CHECKED_EVERY = 4
"""Rounds between two looks at that."""
LONGEST_WARM_UP = 1.5
"""Seconds; what still trends then is noted, and its drift strikes both sides alike."""
EQUAL_WITHIN = 1.2
"""Limits nearer to 1 than this factor get the same number of calls on both sides; others get slots of equal length."""
ROUNDING = 0.05
"""Share by which whole calls may make one slot longer than the other; six times the calls are always enough for it."""


class Turns:
    """Satisfies :class:`pytest_edgeai.protocols.TurnSampler`.

    ``patience``: seconds that may be waited in all for free cores. ``metrics``: what to read while the variant is loaded, see :attr:`readings`.
    ``given``: the first pair's processes, where there are some already; whoever started them ends them.

    Under "both sides take the same time in every slot" the order, drawn anew each round by a fair coin, makes either side the faster
    one with probability 1/2, whatever the noise. That is exact only when both slots are equally long, so the side that may be faster
    by ``limit`` makes that many times more calls.

    Both sides are fed by the same ``load``. A recipe that was tuned for a batch is called with that many items, and the time counts for each.
    """

    def __init__(
        self,
        baseline: Variant,
        variant: Variant,
        setup: Setup,
        *,
        limit: float,
        pairs: int,
        seed: int,
        patience: float = 0.0,
        load: Load = ALONE,
        metrics: Sequence[str] = (),
        given: tuple[Bench, Bench] | None = None,
    ) -> None:
        self._load, self._metrics = load, metrics
        self._names = f"{variant.name}/{baseline.name}"
        self._random = random.Random(seed)  # noqa: S311 - a coin, not a secret
        self._noise = Noise()
        self._quiet = Quiet(setup.threads, patience)
        self._pace = Pace(setup.pace)
        self._columns: dict[str, list[float]] = {
            name: [] for name in ("pair", "baseline_first", "free", "baseline", "variant")
        }
        self._item = 0
        self._seconds = 0.0
        self._trending = 0
        """Pairs that were not steady at the end of their warm-up."""
        self._stack = contextlib.ExitStack()
        self._setup, self._sides = setup, (baseline, variant)
        self._pairs: list[tuple[Bench, Bench]] = []
        self._first = 0
        """Of the pairs whose processes live."""
        self._ended: Counter[str] = Counter()
        """What the processes of the others counted."""
        try:
            if given is not None:
                self._pair(*given)
            for _ in range(pairs - self.pairs):
                self._start()
            _demand_comparable(*self._pairs[0])
            self._calls = self._slots([turn for pair in range(pairs) for turn in self._warm_up(pair)], limit)
        except BaseException:
            self._stack.close()
            raise

    @property
    def pairs(self) -> int:
        """How many pairs of processes there are or were."""
        return len(self._pairs)

    def renew(self) -> int:
        """End the processes so far, start one further pair and warm it up; its number. Raises EdgeError."""
        self._ended = self._counters()
        self._first = self.pairs
        self._stack.close()
        self._start()
        self._warm_up(self.pairs - 1)
        return self.pairs - 1

    def round(self, pair: int) -> float:
        """One more round of ``pair``; ln(baseline's seconds a call / variant's seconds a call)."""
        begin = time.perf_counter()
        free = self._quiet.free()
        baseline, variant, baseline_first = self._turn(pair, *self._calls)
        self._seconds += time.perf_counter() - begin
        for column, value in zip(self._columns.values(), (pair, baseline_first, free, baseline, variant), strict=True):
            column.append(float(value))
        return math.log(baseline / variant)

    @property
    def free(self) -> bool:
        """Whether nothing else ran on the cores when the last round began."""
        return bool(self._columns["free"][-1])

    def wait(self) -> bool:
        """Wait until nothing else runs on the cores; ``False`` when patience is spent."""
        return self._quiet.wait()

    def seconds(self) -> float:
        """Spent on rounds; starting the workers and warming them up is not."""
        return self._seconds

    def measurement(self, phase: str) -> Measurement:
        """Every round so far; the constant work is done now."""
        return Measurement(
            subject=self._names,
            metric=self._load.phase or "latency",
            unit="s",
            plan="turns",
            phase=phase,
            samples=self._columns,
            seconds=self._seconds,
            processes=2 * self.pairs,
            noise=self._noise.since()
            | {"waited_s": self._quiet.waited, "trending_pairs": float(self._trending)}
            | self._counters()
            | self._pace.facts(self._pairs[-1][0].canary(CANARIES)),
        )

    @property
    def readings(self) -> dict[str, list[float]]:
        """Quantity -> one number for each process of the variant that lives, of the metrics that are read once a process."""
        return readings([variant for _, variant in self._pairs[self._first :]])

    def _turn(self, pair: int, baseline_calls: int, variant_calls: int) -> tuple[float, float, bool]:
        """Seconds an item of each side, and whether the baseline went first."""
        benches, calls = self._pairs[pair], (baseline_calls, variant_calls)
        baseline_first = self._random.random() < 0.5
        seconds = [0.0, 0.0]
        for side in (0, 1) if baseline_first else (1, 0):
            bench = benches[side]
            items = calls[side] * self._load.items * bench.variant.recipe.batch
            seconds[side] = bench.turn(self._item, calls[side], self._load) / items
        self._item += 1
        return seconds[0], seconds[1], baseline_first

    def _counters(self) -> Counter[str]:
        """What all processes counted so far."""
        counted = Counter(self._ended)
        for pair in self._pairs[self._first :]:
            for bench in pair:
                counted.update(bench.counters())
        return counted

    def _start(self) -> None:
        """One further pair of processes."""
        baseline, variant = (
            self._stack.enter_context(Bench(side, self._setup, metrics))
            for side, metrics in zip(self._sides, ((), self._metrics), strict=True)
        )
        self._pair(baseline, variant)

    def _pair(self, baseline: Bench, variant: Bench) -> None:
        self._pairs.append((baseline, variant))
        # Both or none, for the sides must be alike. Another load may start threads, which would all have the core of the one that starts them.
        if self._load.one_by_one and not (baseline.pin() and variant.pin()):
            baseline.unpin()
            variant.unpin()

    def _warm_up(self, pair: int) -> list[tuple[float, float]]:
        """Seconds an item of each side, of turns of one call that warm a pair up."""
        begin = time.perf_counter()
        seen: list[tuple[float, float]] = []
        while not is_warm(seen, time.perf_counter() - begin):
            baseline, variant, _ = self._turn(pair, 1, 1)
            seen.append((baseline, variant))
        self._trending += still_trends(seen)
        return seen

    def _slots(self, seen: list[tuple[float, float]], limit: float) -> tuple[int, int]:
        """The number of calls a slot of each side, from what the warm-up showed."""
        # From seconds an item to seconds that a call fills.
        fed = [self._load.items * bench.variant.recipe.batch for bench in self._pairs[0]]
        baseline, variant = (
            statistics.median(side) * items for side, items in zip(zip(*seen, strict=True), fed, strict=True)
        )
        # Threads don't start at one moment, which must not count.
        shortest = MIN_SLOT if self._load.requests == 1 else MIN_PARALLEL_SLOT
        return calls_a_slot(baseline, variant, limit * fed[0] / fed[1], shortest)

    def close(self) -> None:
        """End all workers."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def is_warm(seen: list[tuple[float, float]], seconds: float) -> bool:
    """Whether a pair that took so many seconds for these rounds need not be warmed up for longer."""
    if len(seen) < WARM_UP_ROUNDS or seconds < WARM_UP_SECONDS:
        return False
    checked = len(seen) >= steady.LEAST_VALUES and len(seen) % CHECKED_EVERY == 0
    return seconds >= LONGEST_WARM_UP or (checked and not still_trends(seen))


def still_trends(seen: list[tuple[float, float]]) -> bool:
    """Whether either side's seconds, or their ratio, trend over the last rounds of a warm-up."""
    baseline, variant = np.array(seen[-STEADY_ROUNDS:]).T
    return any(steady.trend(values) for values in (baseline, variant, baseline / variant))


def _demand_comparable(baseline: Bench, variant: Bench) -> None:
    """Raises ModelError where the two answer with other arrays: the time of another computation compares with nothing."""
    # Not the dtypes: a variant may answer in another precision.
    shapes = [{name: shape for name, (_, shape) in bench.outputs.items()} for bench in (baseline, variant)]
    if baseline.variant.recipe.batch == variant.variant.recipe.batch and shapes[0] != shapes[1]:
        told = [", ".join(f"{name} {shape}" for name, shape in sorted(side.items())) for side in shapes]
        raise ModelError(
            f"{variant.variant.name} answers with {told[1]} and {baseline.variant.name} with {told[0]}: they can't be compared."
        )


def calls_a_slot(baseline: float, variant: float, limit: float, shortest: float = MIN_SLOT) -> tuple[int, int]:
    """Calls a slot of (baseline, variant), given their seconds a call, the speed-up that is tested and the shortest slot's seconds.

    At a true speed-up of ``limit`` both slots are equally long. When the warm-up shows that the truth is more than a factor of two
    away, equal slots no longer matter to the verdict, and the factor is kept within two of what was seen, so that no slot is
    senselessly long.
    """
    seen = baseline / variant
    ratio = min(max(limit, seen / 2), seen * 2)
    if 1 / EQUAL_WITHIN < ratio < EQUAL_WITHIN:
        ratio = 1.0
    one, other = (1.0, ratio) if ratio >= 1 else (1 / ratio, 1.0)
    # Also after rounding.
    least = max(1, math.ceil((1 + ROUNDING) * shortest / min(one * baseline, other * variant)))
    more = max(one, other)
    times = next(
        times for times in range(least, least + 8) if abs(round(more * times) / (more * times) - 1) <= ROUNDING
    )
    return round(one * times), round(other * times)
