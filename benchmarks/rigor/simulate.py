"""Simulations: thousands of runs of a row, with rounds replayed from the bank, in as many processes as there are cores."""

import functools
import multiprocessing
import os
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.rigor import bank
from benchmarks.rigor.replay import Deck, Replay
from benchmarks.rigor.rounds import Rounds
from benchmarks.rigor.rows import ARMS, ROWS
from pytest_edgeai.judge import ratios
from pytest_edgeai.judge.rules import RIGOR
from pytest_edgeai.records import Outcome

RUNS = 10_000
LEAST_PAIRS = max(RIGOR["strict"].looks)
"""That a bank must have before it is replayed: a strict comparison looks at so many."""
LEAST_FREE = 12
"""Rounds on free cores that a pair must have: what a clear verdict takes of all pairs. Of fewer, the few that a neighbour struck would come again and again."""
CHUNK = 250
"""Runs that one process makes at a time."""


@dataclass(slots=True)
class Found:
    """What runs of one row came to, one entry a run; rounds and seconds are a gate's."""

    outcomes: list[str] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """Of sampling."""
    waited: list[float] = field(default_factory=list)
    """Seconds for free cores."""

    def add(self, other: "Found") -> None:
        """Those of another chunk."""
        self.outcomes += other.outcomes
        self.rounds += other.rounds
        self.seconds += other.seconds
        self.waited += other.waited


def simulate(name: str, file: Path, seed: str, runs: int) -> Found:
    """So many runs of a row with the rounds in ``file``. A run of several gates has the outcome FAIL when any of them has it."""
    row, deck, coin = ROWS[name], _deck(file), random.Random(seed)
    rules, found = row.rules, Found()
    for _ in range(runs):
        outcomes, rounds, seconds, waited = [], 0, 0.0, 0.0
        for _ in range(row.gates):
            replay = Replay(
                deck,
                coin,
                pairs=rules.pairs,
                faster=row.faster,
                truth=ARMS[row.arm].speedup,
                patience=rules.budget,
            )
            finding = ratios.speedup(replay, ">=", row.limit, rules)
            outcomes.append(finding.outcome)
            rounds += finding.samples
            seconds += finding.seconds
            waited += replay.waited
        worst = min(outcomes, key=[Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS].index)
        found.outcomes.append(worst.value)
        found.rounds.append(rounds // row.gates)
        found.seconds.append(seconds / row.gates)
        found.waited.append(waited / row.gates)
    return found


def all_rows(until: float, say: Callable[[str], None], runs: int = RUNS) -> dict[tuple[str, str], Found]:
    """(row, condition) -> what its runs came to: of every row whose rounds are banked, ``runs`` of each or fewer where time is up.

    Chunks of all rows take turns, so that no row starves.
    """
    due = [
        (name, condition)
        for name, row in ROWS.items()
        for condition in row.conditions
        if (banked := bank.read(row.arm, condition)) and banked.pairs >= LEAST_PAIRS
    ]
    wanted = [(*one, number) for number in range(-(-runs // CHUNK)) for one in due]
    found: dict[tuple[str, str], Found] = {}
    processes = os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        pending: dict[Future[Found], tuple[str, str]] = {}
        todo: Iterator[tuple[str, str, int]] = iter(wanted)
        taken = 0
        while True:
            while len(pending) < 2 * processes and time.monotonic() < until and (job := next(todo, None)):
                name, condition, number = job
                file = bank.file_of(ROWS[name].arm, condition)
                count = min(CHUNK, runs - number * CHUNK)
                pending[pool.submit(simulate, name, file, f"{name} {condition} {number}", count)] = (name, condition)
            if not pending:
                return found
            done = next(as_completed(pending))
            found.setdefault(pending.pop(done), Found()).add(done.result())
            taken += 1
            if taken % 50 == 0:
                say(f"replays: {taken} of {len(wanted)} chunks")


@functools.lru_cache(maxsize=20)
def _deck(file: Path) -> Deck:
    return Deck(Rounds.read(file), LEAST_FREE)
