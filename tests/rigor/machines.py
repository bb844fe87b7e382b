"""Machines of the proof: real rounds replayed under real and added noise, and workers that a simulated machine stands in for."""

import contextlib
import dataclasses
import functools
import math
import random
from collections.abc import Mapping
from types import SimpleNamespace, TracebackType
from typing import Self

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.rigor.replay import Deck
from benchmarks.rigor.rounds import Rounds, of_stream
from pytest_edgeai.measure import turns
from pytest_edgeai.measure.bench import Load, Setup
from pytest_edgeai.measure.pace import Pace
from pytest_edgeai.measure.turns import Turns
from tests.judge.simulated import Machine, Weather

CALLS_A_SLOT = 3
"""Calls of 2 ms that fill a slot. A round costs the time of so many, and has the noise of one, which is larger."""
HEAVY_CALLS = 50
"""Times 2 ms: a call of a tenth of a second, so that the two slots of a round lie apart and drift matters."""
HEAT = 0.03
"""By how much everything becomes slower each second where there is a drift."""


def stream(condition: str, work: str = "A1") -> Rounds:
    """The rounds of a stream against the arm ``work``, as of one long pair that any round may begin."""
    rounds = of_stream("hogs" if condition == "hogs" else "quiet", "A0", work)
    one_pair = {
        "pair": np.zeros_like(rounds.pair),
        "free": np.ones_like(rounds.free),
    }
    calls = HEAVY_CALLS if condition == "drift" else CALLS_A_SLOT
    rounds = dataclasses.replace(rounds, took=calls * rounds.took, **one_pair)
    return heated(rounds, HEAT, calls) if condition == "drift" else rounds


def heated(rounds: Rounds, drift: float, calls: int) -> Rounds:
    """The same work in slots of so many calls on a machine where everything becomes slower by ``drift`` each second."""
    slots = {True: calls * rounds.baseline.astype(np.float64), False: calls * rounds.variant.astype(np.float64)}
    begin = np.cumsum(slots[True] + slots[False]) - slots[True] - slots[False]
    baseline_at = begin + np.where(rounds.baseline_first, 0.0, slots[False])
    variant_at = begin + np.where(rounds.baseline_first, slots[True], 0.0)
    return dataclasses.replace(
        rounds,
        baseline=rounds.baseline * np.exp(drift * baseline_at),
        variant=rounds.variant * np.exp(drift * variant_at),
    )


def apart(rounds: Rounds, by: int) -> Rounds:
    """The same times without the pairing: a round's baseline was measured ``by`` rounds after its variant."""
    return dataclasses.replace(rounds, baseline=np.roll(rounds.baseline, -by))


@functools.cache
def deck(condition: str, work: str = "A1") -> Deck:
    """Of the condition "quiet", "hogs" or "drift"."""
    return Deck(stream(condition, work))


class Calls:
    """A SeriesSampler of the calls of a stream from some call on: one arm is the model, the identical other one the canary."""

    def __init__(self, condition: str, seed: int, canary: bool = True) -> None:
        self._calls, self._work = _arms(condition)
        self._at = random.Random(seed).randrange(len(self._calls))
        self._taken, self._with_canary = 0, canary

    def more(self, count: int) -> NDArray[np.float64]:
        begin = self._at + self._taken
        self._taken += count
        return self._calls.take(range(begin, begin + count), mode="wrap")

    def noise(self) -> Mapping[str, float]:
        done = range(self._at, self._at + self._taken) if self._with_canary else range(0)
        return Pace(None).facts(self._work.take(done, mode="wrap").tolist())

    def seconds(self) -> float:
        return self._taken * float(np.median(self._calls))


@functools.cache
def _arms(condition: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rounds = of_stream(condition)
    return rounds.baseline.astype(np.float64), rounds.variant.astype(np.float64)


class Tailed:
    """A SeriesSampler of independent calls with a tail so heavy (Lomax, shape 1.5) that their variance is infinite."""

    SHAPE, SCALE, CALL = 1.5, 0.05, 0.010

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def more(self, count: int) -> NDArray[np.float64]:
        return self.CALL * (1 + self.SCALE * self._rng.pareto(self.SHAPE, count))

    @classmethod
    def percentile(cls, p: float) -> float:
        """The true one."""
        return cls.CALL * (1 + cls.SCALE * ((1 - p) ** (-1 / cls.SHAPE) - 1))

    def noise(self) -> Mapping[str, float]:
        return {}

    def seconds(self) -> float:
        return 0.0


class Workers:
    """Lets the true :class:`Turns` time workers that a simulated machine stands in for, by its clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(turns, "Bench", self._bench)
        monkeypatch.setattr(turns, "Quiet", lambda *_: SimpleNamespace(free=lambda: True, waited=0.0))
        monkeypatch.setattr(turns, "Noise", lambda: SimpleNamespace(since=dict))
        monkeypatch.setattr(turns, "time", SimpleNamespace(perf_counter=lambda: self._machine.clock))

    def turns(self, speedup: float, limit: float, weather: Weather, *, seed: int, call: float = 0.010) -> Turns:
        """Of a variant that is truly ``speedup`` times as fast as a baseline that takes ``call`` seconds."""
        self._machine = Machine(weather, seed)
        baseline, variant = (_side(name, taken) for name, taken in (("fp32", call), ("int8", call / speedup)))
        return Turns(baseline, variant, Setup(1, [], 1.0), limit=limit, pairs=3, seed=seed)  # type: ignore[arg-type]

    def _bench(self, side: SimpleNamespace, _: Setup, metrics: object = ()) -> "_Bench":
        layout = self._machine.weather.layout if side.name == "int8" else 0.0
        return _Bench(self._machine, side, side.call * math.exp(self._machine.rng.normal(0, layout)))


def _side(name: str, call: float) -> SimpleNamespace:
    recipe = SimpleNamespace(batch=1, framework="onnxruntime", precision=name, tuning={})
    return SimpleNamespace(name=name, recipe=recipe, call=call)


class _Bench(contextlib.AbstractContextManager["_Bench"]):
    """A worker: a call takes ``call`` seconds of the machine's work."""

    def __init__(self, machine: Machine, variant: SimpleNamespace, call: float) -> None:
        self.variant, self.outputs = variant, {"y": ("float32", (1, 10))}
        self._machine, self._call = machine, call

    def turn(self, item: int, calls: int, load: Load) -> float:
        """Seconds that so many calls took."""
        return self._machine.work(calls * self._call)

    def pin(self) -> bool:
        """There are no threads."""
        return True

    def counters(self) -> Mapping[str, int]:
        """There is no process that counts anything."""
        return {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """There is no process."""

    def __enter__(self) -> Self:
        return self
