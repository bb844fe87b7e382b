"""Simulated machines: samplers that obey the protocols, with noise that is known and a clock that costs nothing."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.measure.pace import Pace
from pytest_edgeai.measure.turns import calls_a_slot


@dataclasses.dataclass(frozen=True)
class Weather:
    """What disturbs a simulated machine."""

    noise: float = 0.02
    """Standard deviation of ln(time) of a slot or a call."""
    layout: float = 0.005
    """Standard deviation of ln(speed-up) between pairs of processes that run the same code."""
    hogs: bool = False
    """A neighbour that is busy and idle in turns of 0.2 to 3 s; while busy it takes 4 ms from us every 10 ms of work, on average."""
    drift: float = 0.0
    """By how much everything becomes slower each second, as by heat."""
    correlation: float = 0.0
    """Of ln(time) between neighbouring calls of a series."""


QUIET = Weather()
HOGS = Weather(hogs=True)
HEAT = Weather(drift=0.03)


class Machine:
    """Work takes the time that it takes here; the clock stands still otherwise."""

    def __init__(self, weather: Weather, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.weather = weather
        self.clock = 0.0
        self._normal = self._drawn(self.rng.standard_normal)
        self._exponential = self._drawn(self.rng.standard_exponential)
        self._busy, self._until = False, 0.0
        self._to_next_visit = 0.0
        self._last = 0.0

    def coin(self) -> bool:
        """Fair."""
        return next(self._normal) > 0

    def work(self, seconds: float) -> float:
        """How long ``seconds`` of undisturbed work take now."""
        weather = self.weather
        noise = next(self._normal)
        if weather.correlation:
            rho = weather.correlation
            self._last = noise = rho * self._last + math.sqrt(1 - rho * rho) * noise
        taken = seconds * math.exp(weather.noise * noise + weather.drift * self.clock)
        if weather.hogs:
            taken += self._visits(taken)
        self.clock += taken
        return taken

    def _visits(self, work: float) -> float:
        while self.clock >= self._until:
            self._busy = not self._busy
            self._until += self.rng.uniform(0.2, 3)
        taken = 0.0
        if self._busy:
            self._to_next_visit -= work
            while self._to_next_visit < 0:
                self._to_next_visit += 0.010 * next(self._exponential)
                taken += 0.004 * next(self._exponential)
        return taken

    @staticmethod
    def _drawn(draw) -> Iterator[float]:
        while True:
            yield from draw(256).tolist()


class Turns:
    """A TurnSampler: a baseline and a variant that is truly ``speedup`` times as fast."""

    def __init__(
        self,
        speedup: float,
        limit: float,
        weather: Weather = QUIET,
        *,
        seed: int = 0,
        pairs: int = 3,
        call: float = 0.010,
        equal_calls: bool = False,
    ) -> None:
        """``call``: seconds of the baseline's; ``equal_calls``: slots of as many calls on both sides, however long they are then."""
        self.machine = Machine(weather, seed)
        self.pairs = pairs
        self._baseline = call
        self._variant = call / speedup
        self._variants = [self._laid_out() for _ in range(pairs)]
        self._calls = (1, 1) if equal_calls else calls_a_slot(call, call / speedup, limit)
        self.rounds = 0

    def round(self, pair: int) -> float:
        self.rounds += 1
        baseline, variant = self._calls[0] * self._baseline, self._calls[1] * self._variants[pair]
        if self.machine.coin():
            one = self.machine.work(baseline)
            other = self.machine.work(variant)
        else:
            other = self.machine.work(variant)
            one = self.machine.work(baseline)
        return math.log(one / self._calls[0]) - math.log(other / self._calls[1])

    free = True

    def renew(self) -> int:
        self.pairs += 1
        self._variants.append(self._laid_out())
        return self.pairs - 1

    def wait(self) -> bool:
        """The cores are always free."""
        return True

    def seconds(self) -> float:
        return self.machine.clock

    def _laid_out(self) -> float:
        """Seconds of the variant's call in a further process."""
        return self._variant * math.exp(self.machine.rng.normal(0, self.machine.weather.layout))


class Crowded(Turns):
    """Turns beside a neighbour who makes every call lose the same time, on both sides: so the speed-up itself shrinks towards 1."""

    def __init__(
        self,
        speedup: float,
        limit: float,
        present: Callable[[float], bool],
        weather: Weather = QUIET,
        *,
        seed: int = 0,
        patience: float = 20.0,
        loss: float = 0.5,
        call: float = 0.010,
    ) -> None:
        """``present``: whether the neighbour is there at a time; ``loss``: of each call, in the baseline's seconds a call."""
        super().__init__(speedup, limit, weather, seed=seed, call=call)
        self._present, self._patience, self._loss = present, patience, loss * call
        self.waited = 0.0
        self.free = True

    def round(self, pair: int) -> float:
        self.free = not self._present(self._now())
        lost = 0.0 if self.free else self._loss
        undisturbed = self._baseline, self._variants[pair]
        self._baseline, self._variants[pair] = (seconds + lost for seconds in undisturbed)
        difference = super().round(pair)
        self._baseline, self._variants[pair] = undisturbed
        return difference

    def wait(self) -> bool:
        """Until the neighbour is gone, within the patience."""
        while self._present(self._now()):
            if self.waited >= self._patience:
                return False
            self.waited += 0.02
        return True

    def _now(self) -> float:
        return self.machine.clock + self.waited


class Told:
    """A TurnSampler whose rounds are told: the same difference always, or one after the other."""

    def __init__(self, *differences: float, pairs: int = 3, round_seconds: float = 0.01) -> None:
        self.pairs, self.rounds = pairs, 0
        self._differences, self._round_seconds = differences, round_seconds

    def round(self, pair: int) -> float:
        self.rounds += 1
        return self._differences[(self.rounds - 1) % len(self._differences)]

    free = True

    def renew(self) -> int:
        self.pairs += 1
        return self.pairs - 1

    def wait(self) -> bool:
        """The cores are always free."""
        return True

    def seconds(self) -> float:
        return self.rounds * self._round_seconds


class Series:
    """A SeriesSampler: calls of ``call`` seconds (the median), alone; beside them a canary of its own noise."""

    def __init__(
        self,
        weather: Weather = QUIET,
        *,
        seed: int = 0,
        call: float = 0.010,
        canary: Weather | None = QUIET,
        noise: Mapping[str, float] | None = None,
    ) -> None:
        """``canary=None``: there is none. ``noise``: facts about the machine."""
        self.machine = Machine(weather, seed)
        self._call, self._noise = call, dict(noise or {})
        self._canary_machine = Machine(canary, seed + 1) if canary else None
        self._canary: list[float] = []
        self.asked: list[int] = []

    def more(self, count: int) -> NDArray[np.float64]:
        self.asked.append(count)
        if self._canary_machine:
            self._canary += [self._canary_machine.work(1e-3) for _ in range(count // 5)]
        return np.array([self.machine.work(self._call) for _ in range(count)])

    def noise(self) -> Mapping[str, float]:
        return Pace(None).facts(self._canary) | self._noise

    def seconds(self) -> float:
        return self.machine.clock


class Recorded:
    """A SeriesSampler that plays back an array, ``call`` seconds a sample; beside them a canary that always takes 1 ms."""

    def __init__(
        self, values: NDArray[np.float64], *, call: float = 0.010, noise: Mapping[str, float] | None = None
    ) -> None:
        self._values, self._call, self._noise, self._next = values, call, dict(noise or {}), 0

    def more(self, count: int) -> NDArray[np.float64]:
        begin, self._next = self._next, self._next + count
        return self._values[begin : self._next]

    def noise(self) -> Mapping[str, float]:
        return Pace(None).facts([1e-3] * self._next) | self._noise

    def seconds(self) -> float:
        return self._next * self._call
