"""What a turn costs beside the calls that it times, next to a bare ping between two processes.

``python -m benchmarks.turns``. A turn is :meth:`pytest_edgeai.measure.bench.Bench.turn` of an engine that does nothing: request, one untimed and one
timed call, answer. A ping is a message of the same size to a process that sends it back. They take turns, so that neighbours strike both.
"""

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from benchmarks.medians import Median
from benchmarks.tables import Table
from pytest_edgeai import arrays
from pytest_edgeai.measure.bench import Bench, Setup
from pytest_edgeai.measure.quiet import Quiet
from pytest_edgeai.records import Recipe, Variant
from pytest_edgeai.registry import BUILT_IN

PAIRS, ROUNDS, GO = 7, 1500, 50
"""Pairs of processes, rounds of each, and rounds between two looks at whether the cores are free."""
PATIENCE = 5.0
"""Seconds that a pair may wait for free cores."""
LIMIT, CPU_LIMIT = 2.0, 50.0
"""A turn's cost in pings; the pytest process' CPU time a turn, in us."""


def echo(connection: Connection) -> None:
    """Send back what comes, until the other side is gone."""
    try:
        while True:
            connection.send_bytes(connection.recv_bytes())
    except EOFError:
        return


def null_variant(folder: Path) -> Variant:
    """Of the engine that does nothing, as if it had been built."""
    recipe = Recipe(framework="null", precision="fp32")
    nothing = {"files": {}, "bytes": 0, "versions": {}, "build_seconds": 0.0}
    return Variant(recipe=recipe, model_digest="", key="", folder=str(folder), **nothing)


class Sample(NamedTuple):
    """One pair of processes: medians over the rounds, in seconds, and means of this process' CPU time, which is exact only over many."""

    ping: float
    turn: float
    pings_a_turn: float
    """Of each round, whose two sides are neighbours in time."""
    ping_cpu: float
    turn_cpu: float


def pair(setup: Setup, variant: Variant) -> Sample:
    """One pair of processes."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=echo, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    message = msgspec.msgpack.encode({"do": "turn", "first": 0, "calls": 1})

    def ping() -> None:
        ours.send_bytes(message)
        ours.recv_bytes()

    quiet = Quiet(setup.threads, PATIENCE)
    columns: tuple[list[float], ...] = ([], [], [], [])
    try:
        with Bench(variant, setup) as bench:
            for number in range(ROUNDS + GO):
                if number % GO == 0:
                    quiet.wait()
                both = (*timed(ping), *timed(lambda: bench.turn(0, 1)))
                if number >= GO:  # the first ones warm up
                    for column, value in zip(columns, both, strict=True):
                        column.append(value)
    finally:
        ours.close()
        process.join(timeout=5)
    pings, ping_cpu, turns, turn_cpu = columns
    ratio = statistics.median(turn / ping for turn, ping in zip(turns, pings, strict=True))
    middle, mean = statistics.median, statistics.mean
    return Sample(middle(pings), middle(turns), ratio, mean(ping_cpu), mean(turn_cpu))


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock, and of CPU time of this process."""
    cpu, begin = time.process_time(), time.perf_counter()
    action()
    return time.perf_counter() - begin, time.process_time() - cpu


def measure(pairs: int = PAIRS) -> Table:
    """All pairs, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "inputs.npz"
        arrays.write(inputs, {"x": np.zeros((1, 1), np.float32)})
        setup = Setup(modules=[*BUILT_IN, "benchmarks.null_engine"], threads=1, inputs=inputs)
        found = [pair(setup, null_variant(Path(folder))) for _ in range(pairs)]
    ping, ping_cpu = (
        statistics.median(values) * 1e6 for values in ([s.ping for s in found], [s.ping_cpu for s in found])
    )
    turn = statistics.median(sample.turn for sample in found) * 1e6
    pings, cpu = Median.of([s.pings_a_turn for s in found]), Median.of([s.turn_cpu * 1e6 for s in found])
    rows = [
        ["bare ping", f"{ping:.0f} us", "1", "", f"{ping_cpu:.0f} us", ""],
        ["turn", f"{turn:.0f} us", f"{pings:.2f}", pings.at_most(LIMIT), f"{cpu:.0f} us", cpu.at_most(CPU_LIMIT)],
    ]
    note = (
        f"{pairs} fresh pairs of processes, {ROUNDS} rounds each, in which ping and turn alternate; medians, and in brackets the least and the "
        "greatest of the pairs. A turn is a request to an engine that does nothing for one untimed and one timed call, and the answer. CPU is what "
        "the pytest process itself burns meanwhile."
    )
    limits = f"at most {LIMIT:g}", f"at most {CPU_LIMIT:g} us"
    return Table("What a turn costs", ["", "time", "in pings", limits[0], "CPU", limits[1]], rows, note)


if __name__ == "__main__":
    print(measure())
