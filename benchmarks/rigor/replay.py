"""Replays: a TurnSampler that takes its rounds from a bank, so that thousands of verdicts cost seconds."""

import math
import random

import numpy as np

from benchmarks.rigor.rounds import Rounds


class Deck:
    """A bank made ready for many replays: plain lists, for a round must cost no more than an index."""

    def __init__(self, rounds: Rounds, least_free: int = 1) -> None:
        """``least_free``: rounds that a pair must have begun with free cores. Raises ValueError when no pair has so many."""
        logs = np.log(rounds.baseline.astype(np.float64) / rounds.variant.astype(np.float64))
        self.differences: list[float] = logs.tolist()
        self.took: list[float] = rounds.took.astype(np.float64).tolist()
        starts = np.flatnonzero(np.diff(rounds.pair, prepend=-1))
        ends = [*starts[1:].tolist(), len(rounds.pair)]
        self.always_free = bool(rounds.free.all())
        """So that nobody need ask when they were."""
        self.of_pair: list[dict[bool, list[int]]] = []
        """Pair -> whether the cores were free -> its rounds that began so, in the order in which they were taken. Pairs that hardly ever had free cores are
        not among them: nobody knows how they would have done there, and the same few rounds again and again would not say it."""
        self.weather: list[tuple[list[float], list[bool]]] = []
        """Of every pair: seconds at which each of its rounds began, with the end of the last one after them; and whether the cores were free then."""
        for begin, end in zip(starts.tolist(), ends, strict=True):
            free: list[bool] = rounds.free[begin:end].tolist()
            if sum(free) >= least_free:
                kinds = {kind: [begin + at for at, one in enumerate(free) if one is kind] for kind in (False, True)}
                self.of_pair.append(kinds)
            at = (rounds.at[begin:end] - rounds.at[begin]).astype(np.float64).tolist()
            self.weather.append(([*at, at[-1] + self.took[end - 1]], free))
        if not self.of_pair:
            raise ValueError("a bank without a pair that had free cores can't be replayed")

    @property
    def pairs(self) -> int:
        """How many pairs of processes there are."""
        return len(self.of_pair)


class Replay:
    """Satisfies :class:`pytest_edgeai.protocols.TurnSampler`; the only place that knows what the judge asks of one.

    Each of its pairs is a pair of processes of the bank, drawn at random and put back, so that pairs differ as much as the bank's do. When the cores are
    free is what one pair of the bank saw from a random moment on, then another one, and as in a live run it is the same for all pairs: each
    gives its rounds that began with free cores while they are free, and its other ones while they aren't, both in the order in which
    they were taken, with the order of sides and the seconds of then.

    ``faster``: a factor by which the truth is made faster than the bank's. ``truth``: the speed-up by the work of the bank's sides; a coin mirrors the
    differences of each pair about it (where both do the same work, it swaps the sides), so that the truth of a replay is exactly that, whatever so few
    pairs happen to show (what a bootstrap test demands: Hall & Wilson, "Two guidelines for bootstrap hypothesis testing", Biometrics 47, 1991).
    ``layout``: standard deviation of ln(speed-up) that is added between pairs, for a bank that comes from one process; with heavy tails (Student's t,
    3 degrees of freedom), for some layouts are very bad.
    ``patience``: seconds that may be waited in all.
    """

    def __init__(
        self,
        deck: Deck,
        coin: random.Random,
        *,
        pairs: int = 3,
        faster: float = 1.0,
        truth: float | None = None,
        layout: float = 0.0,
        patience: float = 0.0,
    ) -> None:
        self._deck, self._coin = deck, coin
        self._shift, self._layout, self._patience = math.log(faster), layout, patience
        self._centre = None if truth is None else math.log(truth)
        self.waited = 0.0
        """Seconds so far."""
        self._seconds = 0.0
        self._free = True
        self._pairs: list[_Pair] = []
        for _ in range(pairs):
            self._draw()
        self._new_weather()

    @property
    def pairs(self) -> int:
        """How many pairs of processes there are."""
        return len(self._pairs)

    def round(self, pair: int) -> float:
        """The next round of this pair: ln(baseline's seconds a call / variant's seconds a call)."""
        drawn = self._pairs[pair]
        index, self._free = drawn.next(self._free_now())
        self._clock += self._deck.took[index]
        self._seconds += self._deck.took[index]
        return drawn.sign * self._deck.differences[index] + drawn.shift

    @property
    def free(self) -> bool:
        """Whether nothing else ran on the cores when the last round began."""
        return self._free

    def wait(self) -> bool:
        """Go on when the cores are free again; ``False`` when patience is spent."""
        if self._free_now():
            return True
        while self.waited <= self._patience:
            at, free = self._weather
            found = next((moment for moment in range(self._moment + 1, len(free)) if free[moment]), None)
            self.waited += (at[-1] if found is None else at[found]) - self._clock
            if found is None:
                self._clock = at[-1]
                self._go_on()
            else:
                self._moment, self._clock = found, at[found]
            if self._free_now():
                break
        return self.waited <= self._patience

    def seconds(self) -> float:
        """Spent on rounds; waiting, and the start of workers, are not."""
        return self._seconds

    def renew(self) -> int:
        """One further pair; its number. The machine is at another moment when its processes have started."""
        self._draw()
        self._new_weather()
        return self.pairs - 1

    def _draw(self) -> None:
        chosen = self._coin.randrange(self._deck.pairs)
        sign, centre = 1.0, 0.0
        if self._centre is not None and self._coin.random() < 0.5:
            sign, centre = -1.0, self._centre
        shift = self._shift + 2 * centre + (self._layout * self._heavy_tailed() if self._layout else 0.0)
        self._pairs.append(_Pair(self._deck.of_pair[chosen], self._coin, sign, shift))

    def _new_weather(self) -> None:
        self._weather = self._coin.choice(self._deck.weather)
        self._moment = self._coin.randrange(len(self._weather[1]))
        self._clock = self._weather[0][self._moment]

    def _go_on(self) -> None:
        """What a pair saw is over; another one's follows."""
        self._clock -= self._weather[0][-1]
        self._weather = self._coin.choice(self._deck.weather)
        self._moment = 0

    def _free_now(self) -> bool:
        """Whether the cores are free at the clock's time."""
        if self._deck.always_free:
            return True
        while self._clock >= self._weather[0][self._moment + 1]:
            self._moment += 1
            if self._moment == len(self._weather[1]):
                self._go_on()
        return self._weather[1][self._moment]

    def _heavy_tailed(self) -> float:
        """From Student's distribution with 3 degrees of freedom, over its standard deviation."""
        return self._coin.gauss(0.0, 1.0) / math.sqrt(self._coin.gammavariate(1.5, 2.0))


class _Pair:
    """A pair of processes that was drawn."""

    def __init__(self, rounds: dict[bool, list[int]], coin: random.Random, sign: float, shift: float) -> None:
        self._rounds = rounds
        self._next = {kind: coin.randrange(len(of_kind)) for kind, of_kind in rounds.items() if of_kind}
        self.sign, self.shift = sign, shift

    def next(self, free: bool) -> tuple[int, bool]:
        """The next round of this kind, or of the other one where there is none of it; and its kind."""
        kind = free if free in self._next else not free
        at, of_kind = self._next[kind], self._rounds[kind]
        self._next[kind] = at + 1 if at + 1 < len(of_kind) else 0
        return of_kind[at], kind
