"""Screening: rough estimates of every quantity of one variant, to choose by. Nothing is decided by them."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.errors import EdgeError, UnsupportedError
from pytest_edgeai.judge import figures
from pytest_edgeai.judge.quantities import INSTEAD, PERCENTILES, units
from pytest_edgeai.measure.bench import Bench, Load, Setup, readings
from pytest_edgeai.measure.noise import Noise
from pytest_edgeai.measure.quiet import Quiet
from pytest_edgeai.measure.solo import Calls, Solo
from pytest_edgeai.measure.turns import Turns
from pytest_edgeai.records import Figure, Measurement, Variant
from pytest_edgeai.registry import Registry

PROCESSES = 4
"""Of the variant, each with its memory and its start: the one whose calls are timed, and one for each pair."""
CALLS = 100
PAIRS = PROCESSES - 1
ROUNDS = 15
"""Pairs of processes, and rounds of each."""
BLOCKS = 8
"""Of calls, each with its items a second."""
PATIENCE = 5.0
"""Seconds that each series may wait for free cores; then they are taken as they are."""
GLANCES, GLANCED_EVERY = 20, 5
"""Rounds of a glance, and after how many it may be enough."""
GLANCE_PATIENCE = 1.0
"""As above, of a glance."""
LAYOUT = 0.03
"""ln of the ratio that two pairs of processes of the same variants differ by at most, usually: sd 1.2 to 1.6 %."""
PHASE = "screening"
ESTIMATED = ("p50", "p90", "p95")
"""Percentiles that so few calls can estimate."""


PROMPT_SECONDS = 1.0
LEAST_PROMPTS = 6
"""How long calls of a language model are made at least, and how many."""


@dataclass(slots=True)
class Screened:
    """What was found of one variant."""

    figures: dict[str, Figure] = field(default_factory=dict)
    """Quantity -> estimate."""
    measurements: list[Measurement] = field(default_factory=list)
    placement: dict[str, str] = field(default_factory=dict)


def screen(
    variant: Variant, baseline: Variant, setup: Setup, registry: Registry, *, limit: float, seed: int
) -> Screened:
    """Fresh processes, calls alone, and a few rounds in turns at the speed-up ``limit``. Raises EdgeError.

    What is read in blocks of seconds (energy) is left to the gates that ask for it.
    """
    found = Screened()
    known, once = units(registry.metrics.values()), registry.metrics_per("start", "process")
    with Solo(variant, setup, metrics=once, patience=PATIENCE) as solo:
        calls = solo.more(CALLS)
        columns = readings([solo.bench])
        found.placement = solo.bench.placement
        found.measurements.append(solo.measurement(PHASE))
    _add_calls(found, "latency", "s", calls)
    rates = variant.recipe.batch * np.array([len(block) / block.sum() for block in np.array_split(calls, BLOCKS)])
    found.figures["throughput"] = figures.of_rates(rates)
    for name in registry.metrics_per("call"):
        for part, unit in registry.metrics[name].units.items() if name != "latency" else ():
            _screen_calls(found, variant, setup, name, part, unit)
    begin, noise = time.perf_counter(), Noise()
    if variant.name == baseline.name:
        found.figures["speedup"] = figures.exact(1, "x", "by definition")
        for _ in range(PROCESSES - 1):
            with Bench(variant, setup, once) as bench:
                _extend(columns, readings([bench]))
    else:
        with Turns(
            baseline, variant, setup, limit=limit, pairs=PAIRS, seed=seed, patience=PATIENCE, metrics=once
        ) as turns:
            found.figures["speedup"] = _of_rounds(turns)
            found.measurements.append(turns.measurement(PHASE))
            _extend(columns, turns.readings)
    found.measurements.append(_processes(variant.name, columns, PHASE, time.perf_counter() - begin, noise))
    for quantity, values in columns.items():
        found.figures[quantity] = figures.of_range(values, known[quantity], "processes")
    return found


def _extend(columns: dict[str, list[float]], more: Mapping[str, list[float]]) -> None:
    for quantity, values in more.items():
        columns.setdefault(quantity, []).extend(values)


def ratio(variant: Variant, before: Variant, setup: Setup, *, seed: int, phase: str = "") -> tuple[Figure, Measurement]:
    """How many times as fast one variant is as another, from a few rounds in turns; of a language model's ``phase``. Raises EdgeError."""
    with Turns(
        before, variant, setup, limit=1.0, pairs=PAIRS, seed=seed, patience=PATIENCE, load=Load(phase=phase)
    ) as turns:
        return _of_rounds(turns), turns.measurement(PHASE)


def _of_rounds(turns: Turns) -> Figure:
    """A few rounds of each pair."""
    rounds = []
    for number in range(PAIRS * ROUNDS):
        turns.wait()
        rounds.append(turns.round(number % PAIRS))
    return figures.of_turns(np.array(rounds))


class Contest:
    """One process of the baseline against one of each variant, one variant after the other: rougher than :func:`screen`, in a third of the time.

    What the baseline's process has of its own (the layout of its memory) is in all ratios alike, so it doesn't change which variant is faster.
    """

    def __init__(self, baseline: Variant, setup: Setup, registry: Registry) -> None:
        self._baseline, self._setup, self._registry = baseline, setup, registry
        self._bench: Bench | None = None
        self._once = registry.metrics_per("start", "process")

    @contextlib.contextmanager
    def enter(self, variant: Variant) -> Iterator[Bench]:
        """The variant's process, with what is read once a process. Raises EdgeError."""
        with Bench(variant, self._setup, self._once) as bench:
            yield bench

    def read(self, bench: Bench) -> dict[str, Figure]:
        """Memory, start and the like, of this one process."""
        known = units(self._registry.metrics.values())
        return {
            quantity: figures.of_range(values, known[quantity], "processes")
            for quantity, values in readings([bench]).items()
        }

    def compare(
        self, bench: Bench, limit: float, seed: int, enough: Callable[[Figure], bool]
    ) -> tuple[Figure, Measurement]:
        """The speed-up, from up to 20 rounds: fewer where ``enough`` says so. Raises EdgeError."""
        if self._bench is None:
            self._bench = Bench(self._baseline, self._setup)
        try:
            with Turns(
                self._baseline,
                bench.variant,
                self._setup,
                limit=limit,
                pairs=1,
                seed=seed,
                patience=GLANCE_PATIENCE,
                given=(self._bench, bench),
            ) as turns:
                rounds: list[float] = []
                found = None
                while found is None or not (len(rounds) >= GLANCES or enough(found)):
                    for _ in range(GLANCED_EVERY):
                        turns.wait()
                        rounds.append(turns.round(0))
                    found = _of_one_pair(figures.of_turns(np.array(rounds)))
                return found, turns.measurement(PHASE)
        except EdgeError:
            self.close()  # whichever side it was, the next variant meets a fresh process
            raise

    def close(self) -> None:
        """End the baseline's process."""
        if self._bench is not None:
            self._bench.close()
            self._bench = None


def _of_one_pair(found: Figure) -> Figure:
    """With room for what another pair of processes would show."""
    return msgspec.structs.replace(
        found,
        low=found.low * math.exp(-LAYOUT),
        high=found.high * math.exp(LAYOUT),
        method="rounds in turns, one pair of processes",
    )


def screen_language(variant: Variant, setup: Setup, registry: Registry) -> Screened:
    """One fresh process, and calls alone. Raises EdgeError. Speed-ups are ratios of what is found so of two variants, see :func:`compare`."""
    found = Screened()
    known = units(registry.metrics.values(), language=True)
    once = [name for name in registry.metrics_per("start", "process") if name not in INSTEAD]
    quiet, begin, noise = Quiet(setup.threads, PATIENCE), time.perf_counter(), Noise()
    with Bench(variant, setup, once) as bench:
        readings_ = readings([bench])
        found.placement = bench.placement
        found.measurements.append(_processes(variant.name, readings_, PHASE, time.perf_counter() - begin, noise))
        columns: dict[str, list[float]] = {}
        begin, noise = time.perf_counter(), Noise()
        for call in range(1, CALLS + 1):  # the first ones were made when it was loaded
            quiet.wait()
            for column, values in bench.phases(call, 1)[0].items():
                columns.setdefault(column, []).extend(values)
            seconds = time.perf_counter() - begin
            if seconds >= PROMPT_SECONDS and call >= LEAST_PROMPTS:
                break
    found.measurements.append(
        Measurement(
            subject=variant.name,
            metric="phases",
            unit="",
            plan="solo",
            phase=PHASE,
            samples=columns,
            seconds=seconds,
            processes=1,
            noise=noise.since(),
        )
    )
    for quantity, values in readings_.items():
        found.figures[quantity] = figures.of_range(values, known[quantity], "processes")
    for phase in ("ttft", "tpot", "itl", "end_to_end"):
        _add_calls(found, phase, "s", np.array(columns[phase]))
    for phase in ("prefill", "decode"):
        found.figures[f"{phase}.throughput"] = figures.of_rates(np.array(columns[phase]), "tokens/s", "calls")
    return found


def compare(screened: Mapping[str, Figure], baseline: Mapping[str, Figure]) -> dict[str, Figure]:
    """Quantity -> speed-up, from estimates of a language model and its baseline, each measured alone."""
    found = {}
    for speedup, quantity in (("decode", "tpot.p50"), ("ttft", "ttft.p50"), ("end_to_end", "end_to_end.p50")):
        if quantity in screened and quantity in baseline:
            mine, others = screened[quantity], baseline[quantity]
            found[f"{speedup}.speedup"] = Figure(
                estimate=others.estimate / mine.estimate,
                low=others.low / mine.high,
                high=others.high / mine.low,
                unit="x",
                confidence=min(mine.confidence, others.confidence),
                n=min(mine.n, others.n),
                method="medians of calls alone",
            )
    return found


def _screen_calls(found: Screened, variant: Variant, setup: Setup, name: str, part: str, unit: str) -> None:
    """Another metric of every call, in a process of its own; nothing where it can't be read here."""
    try:
        with Solo(variant, setup, Calls(name, part), patience=PATIENCE) as solo:
            calls = solo.more(CALLS)
            found.measurements.append(solo.measurement(PHASE, unit))
    except UnsupportedError:
        return
    _add_calls(found, name if part == name else f"{name}.{part}", unit, calls)


def _add_calls(found: Screened, prefix: str, unit: str, calls: NDArray[np.float64]) -> None:
    for p in ESTIMATED:
        found.figures[f"{prefix}.{p}"] = figures.of_percentile(calls, PERCENTILES[p], unit)
    if calls.min() > 0:  # a spread relative to nothing is none
        found.figures[f"{prefix}.jitter"] = figures.of_jitter(calls)


def _processes(variant: str, columns: dict[str, list[float]], phase: str, seconds: float, noise: Noise) -> Measurement:
    """The record of metrics that are one number a process."""
    count = len(next(iter(columns.values()), []))
    return Measurement(
        subject=variant,
        metric="process",
        unit="",
        plan="process",
        phase=phase,
        samples=columns,
        seconds=seconds,
        processes=count,
        noise=noise.since(),
    )
