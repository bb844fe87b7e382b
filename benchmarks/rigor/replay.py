"""Replays: a TurnSampler that takes its rounds from a bank, so that thousands of verdicts cost seconds."""

import math
import random

import numpy as np

from benchmarks.rigor.rounds import Rounds


class Deck:
    """A bank made ready for many replays: plain lists, for a round must cost no more than an index."""

    def __init__(self, rounds: Rounds) -> None:
        """Raises ValueError when there are no rounds."""
        if not len(rounds.pair):
            raise ValueError("a bank without rounds can't be replayed")
        logs = np.log(rounds.baseline.astype(np.float64) / rounds.variant.astype(np.float64))
        self.differences: list[float] = logs.tolist()
        self.free: list[bool] = rounds.free.tolist()
        self.took: list[float] = rounds.took.astype(np.float64).tolist()
        self.warm_up: list[float] = rounds.warm_up.astype(np.float64).tolist()
        starts = np.flatnonzero(np.diff(rounds.pair, prepend=-1))
        self.begins: list[int] = starts.tolist()
        self.ends: list[int] = [*starts[1:].tolist(), len(rounds.pair)]
        self.next_free: list[int | None] = [None] * len(rounds.pair)
        """The next round of the same pair that began with free cores, itself included; after the last one comes the first again."""
        self.until_free: list[float] = [0.0] * len(rounds.pair)
        """Seconds until then."""
        at = rounds.at.astype(np.float64).tolist()
        for begin, end in zip(self.begins, self.ends, strict=True):
            length = at[end - 1] + self.took[end - 1] - at[begin]
            found: tuple[int, float] | None = None
            for turn in (length, 0.0):  # seen from the end; the first time only to know what comes after it
                for index in range(end - 1, begin - 1, -1):
                    if self.free[index]:
                        found = index, at[index] + turn
                    if found is not None and turn == 0.0:
                        self.next_free[index], self.until_free[index] = found[0], found[1] - at[index]

    @property
    def pairs(self) -> int:
        """How many pairs of processes there are."""
        return len(self.begins)


class Replay:
    """Satisfies :class:`pytest_edgeai.protocols.TurnSampler`; the only place that knows what the judge asks of one.

    Each of its pairs is a pair of processes of the bank, drawn at random, no two of them the same while there are others. Its rounds come
    in the order in which they were taken, from one drawn at random on, with the order of sides, the seconds and the free cores of then.

    ``faster``: a factor by which the truth is made faster than the bank's. ``mirrored``: let a coin swap the sides of each pair, which
    makes the truth of a bank of identical code exactly 1. ``layout``: standard deviation of ln(speed-up) that is added between pairs,
    for a bank that comes from one process; with heavy tails (Student's t, 3 degrees of freedom), for some layouts are very bad.
    """

    def __init__(
        self,
        deck: Deck,
        coin: random.Random,
        *,
        pairs: int = 3,
        faster: float = 1.0,
        mirrored: bool = False,
        layout: float = 0.0,
        patience: float = 0.0,
    ) -> None:
        self._deck, self._coin = deck, coin
        self._shift, self._mirrored, self._layout, self._patience = math.log(faster), mirrored, layout, patience
        self.waited = 0.0
        """Seconds so far."""
        self._seconds = 0.0
        self._index = -1
        self._drawn: set[int] = set()
        self._next: list[int] = []
        self._begins: list[int] = []
        self._ends: list[int] = []
        self._signs: list[float] = []
        self._shifts: list[float] = []
        for _ in range(pairs):
            self._draw()

    @property
    def pairs(self) -> int:
        """How many pairs of processes there are."""
        return len(self._next)

    def round(self, pair: int) -> float:
        """The next round of this pair: ln(baseline's seconds a call / variant's seconds a call)."""
        self._index = index = self._next[pair]
        self._next[pair] = index + 1 if index + 1 < self._ends[pair] else self._begins[pair]
        self._seconds += self._deck.took[index]
        return self._signs[pair] * self._deck.differences[index] + self._shifts[pair]

    @property
    def free(self) -> bool:
        """Whether nothing else ran on the cores when the last round began."""
        return self._deck.free[self._index]

    def wait(self) -> bool:
        """Skip the rounds that began beside others, and count their time as waiting; ``False`` when patience is spent."""
        for pair, index in enumerate(self._next):
            found = self._deck.next_free[index]
            self.waited += self._patience if found is None else self._deck.until_free[index]
            if found is None or self.waited > self._patience:
                return False
            self._next[pair] = found
        return True

    def seconds(self) -> float:
        """Spent on sampling, warming up included; waiting and the start of workers are not."""
        return self._seconds

    def renew(self) -> int:
        """One further pair; its number."""
        self._draw()
        return len(self._next) - 1

    def _draw(self) -> None:
        if len(self._drawn) == self._deck.pairs:
            self._drawn.clear()
        chosen = self._coin.randrange(self._deck.pairs)
        while chosen in self._drawn:
            chosen = self._coin.randrange(self._deck.pairs)
        self._drawn.add(chosen)
        begin, end = self._deck.begins[chosen], self._deck.ends[chosen]
        self._begins.append(begin)
        self._ends.append(end)
        self._next.append(self._coin.randrange(begin, end))
        self._signs.append(-1.0 if self._mirrored and self._coin.random() < 0.5 else 1.0)
        self._shifts.append(self._shift + (self._layout * self._heavy_tailed() if self._layout else 0.0))
        self._seconds += self._deck.warm_up[chosen]

    def _heavy_tailed(self) -> float:
        """From Student's distribution with 3 degrees of freedom, over its standard deviation."""
        return self._coin.gauss(0.0, 1.0) / math.sqrt(self._coin.gammavariate(1.5, 2.0))
