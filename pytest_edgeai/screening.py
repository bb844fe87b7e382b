"""Screening: rough estimates of every quantity of one variant, to choose by. Nothing is decided by them."""

import time
from dataclasses import dataclass, field

import numpy as np

from pytest_edgeai.judge import figures
from pytest_edgeai.judge.quantities import UNITS
from pytest_edgeai.measure.bench import Bench, Setup, readings
from pytest_edgeai.measure.solo import Solo
from pytest_edgeai.measure.turns import Turns
from pytest_edgeai.records import Figure, Measurement, Variant

PROCESSES = 2
CALLS = 100
PAIRS = 3
ROUNDS = 15
"""Pairs of processes, and rounds of each."""
PATIENCE = 5.0
"""Seconds that each of two series may wait for free cores; then they are taken as they are."""
PHASE = "screening"
METRICS = ("cold_start", "memory")
"""One number a process each."""


@dataclass(slots=True)
class Screened:
    """What was found of one variant."""

    figures: dict[str, Figure] = field(default_factory=dict)
    """Quantity -> estimate."""
    measurements: list[Measurement] = field(default_factory=list)
    placement: dict[str, str] = field(default_factory=dict)


def screen(variant: Variant, baseline: Variant, setup: Setup, *, limit: float, seed: int) -> Screened:
    """Fresh processes, calls alone, and a few rounds in turns at the speed-up ``limit``. Raises EdgeError."""
    found = Screened()
    with Solo(variant, setup, METRICS, patience=PATIENCE) as solo:
        calls = solo.more(CALLS)
        columns = readings([solo.bench])
        found.placement = solo.bench.placement
        found.measurements.append(solo.measurement(PHASE))
    seconds = time.perf_counter()
    for _ in range(PROCESSES - 1):
        with Bench(variant, setup, METRICS) as bench:
            for quantity, values in readings([bench]).items():
                columns[quantity] += values
    found.measurements.append(processes(variant.name, columns, PHASE, time.perf_counter() - seconds))
    for quantity, values in columns.items():
        found.figures[quantity] = figures.of_processes(values, UNITS[quantity])
    for p in (0.5, 0.9, 0.95):
        found.figures[f"latency.p{100 * p:g}"] = figures.of_percentile(calls, p, "s")
    found.figures["latency.jitter"] = figures.of_jitter(calls)
    if variant.key == baseline.key:
        found.figures["speedup"] = figures.exact(1, "x", "by definition")
        return found
    with Turns(baseline, variant, setup, limit=limit, pairs=PAIRS, seed=seed, patience=PATIENCE) as turns:
        rounds = []
        for number in range(PAIRS * ROUNDS):
            turns.wait()
            rounds.append(turns.round(number % PAIRS))
        found.figures["speedup"] = figures.of_turns(np.array(rounds))
        found.measurements.append(turns.measurement(PHASE))
    return found


def processes(variant: str, columns: dict[str, list[float]], phase: str, seconds: float) -> Measurement:
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
    )
