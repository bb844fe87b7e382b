"""Turns: how long a slot is, the order of the sides, and what is kept of every round; with real workers."""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import ClassVar

import msgspec
import numpy as np
import psutil
import pytest

from pytest_edgeai.errors import EdgeError, ModelError, WorkerError
from pytest_edgeai.measure import worker
from pytest_edgeai.measure.bench import ALONE, Bench, Load, Setup
from pytest_edgeai.measure.turns import EQUAL_WITHIN, MIN_SLOT, ROUNDING, Turns, calls_a_slot, is_warm, still_trends
from pytest_edgeai.records import Measurement, Variant

CALLS = [1e-6, 3e-5, 4e-4, 7e-4, 1e-3, 0.011, 0.25]
LIMITS = [1.2, 1.25, 1.3, 1.4, 1.5, 1.7, 2, 2.5, 3, 10]


# The length of a slot --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [*LIMITS, *(1 / limit for limit in LIMITS)])
def test_at_a_true_speedup_equal_to_the_limit_slots_are_equally_long(limit: float) -> None:
    calls = [calls_a_slot(limit * variant, variant, limit) for variant in CALLS]

    slots = [(one * limit * variant, other * variant) for (one, other), variant in zip(calls, CALLS, strict=True)]
    assert [baseline for baseline, _ in slots] == pytest.approx([variant for _, variant in slots], rel=1.1 * ROUNDING)
    assert min(map(min, slots)) >= MIN_SLOT * (1 - 1e-9)


@pytest.mark.parametrize("limit", [0.01, 0.5, 1, 2, 1000])
def test_no_slot_is_shorter_than_the_clock_needs(limit: float) -> None:
    sides = list(itertools.product(CALLS, CALLS))

    calls = [calls_a_slot(baseline, variant, limit) for baseline, variant in sides]

    slots = [
        min(one * baseline, other * variant) for (one, other), (baseline, variant) in zip(calls, sides, strict=True)
    ]
    assert min(map(min, calls)) >= 1
    assert min(slots) >= MIN_SLOT * (1 - 1e-9)


@pytest.mark.parametrize("limit", [0.9, 1.0, 1.1])
def test_limits_near_one_get_the_same_number_of_calls_on_both_sides(limit: float) -> None:
    assert 1 / EQUAL_WITHIN < limit < EQUAL_WITHIN
    assert calls_a_slot(0.01, 0.01, limit) == (1, 1)
    assert calls_a_slot(1e-4, 1e-4, limit)[0] == calls_a_slot(1e-4, 1e-4, limit)[1]


@pytest.mark.parametrize("limit", [100, 1000, 1e9])
def test_an_absurd_limit_makes_no_slot_senselessly_long(limit: float) -> None:
    calls = calls_a_slot(0.05, 0.05, limit)

    assert calls == (1, 2)
    assert calls_a_slot(0.05, 0.05, 1 / limit) == (2, 1)


def test_a_slow_model_is_called_once() -> None:
    assert calls_a_slot(3.0, 1.5, 2) == (1, 2)
    assert calls_a_slot(3.0, 3.0, 1) == (1, 1)


# Taking turns ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def turns(fake: Callable[[str], Variant], setup: Setup) -> Iterator[Turns]:
    """Two pairs of workers, and forty rounds of each."""
    with Turns(fake("twice"), fake("plain"), setup, limit=2, pairs=2, seed=11) as turns:
        for number in range(80):
            turns.round(number % 2)
        yield turns


@pytest.fixture(scope="module")
def measurement(turns: Turns) -> Measurement:
    return turns.measurement("gate")


def test_every_pair_is_two_processes(turns: Turns, workers: Callable[[], list[psutil.Process]]) -> None:
    assert turns.pairs == 2
    assert len(workers()) == 4


def test_every_round_is_kept_in_columns_of_equal_length(measurement: Measurement) -> None:
    lengths = {name: len(column) for name, column in measurement.samples.items()}

    assert lengths == dict.fromkeys(["pair", "baseline_first", "free", "baseline", "variant"], 80)
    assert measurement.samples["pair"] == [0.0, 1.0] * 40
    assert (measurement.subject, measurement.plan, measurement.phase, measurement.processes) == (
        "fake-fp32-plain/fake-fp32-twice",
        "turns",
        "gate",
        4,
    )


def test_a_further_pair_takes_the_place_of_those_before(
    fake: Callable[[str], Variant], setup: Setup, workers: Callable[[], list[psutil.Process]]
) -> None:
    others = {process.pid for process in workers()}
    with Turns(fake("twice"), fake("plain"), setup, limit=2, pairs=2, seed=11) as turns:
        before = {process.pid for process in workers()} - others

        pair = turns.renew()

        difference = turns.round(pair)
        now = {process.pid for process in workers()} - others
        kept = turns.measurement("gate")
    assert (pair, turns.pairs, kept.processes) == (2, 3, 6)
    assert (len(before), len(now)) == (4, 2)
    assert not now & before
    assert kept.samples["pair"] == [2.0]
    assert math.isfinite(difference)


def rounds_of(*seconds: float) -> list[tuple[float, float]]:
    return [(second, 1.0) for second in seconds]


def test_a_side_that_still_gets_faster_is_not_warm() -> None:
    assert still_trends(rounds_of(*np.linspace(2.0, 1.0, 20)))
    assert not still_trends(rounds_of(*[1.0, 1.1] * 10))
    assert not still_trends(rounds_of(*np.linspace(3.0, 1.0, 20), *[1.0, 1.1] * 10))


@pytest.mark.parametrize(
    ("seen", "seconds", "warm"),
    [
        (rounds_of(*[1.0] * 7), 0.4, False),  # a slow model: too few rounds to see whether it trends
        (rounds_of(*[1.0] * 8), 0.4, True),
        (rounds_of(*np.linspace(2.0, 1.0, 8)), 0.4, False),
        (rounds_of(*np.linspace(2.0, 1.0, 8)), 1.5, True),  # noted, and its drift strikes both sides
        (rounds_of(*[1.0] * 4), 1.5, True),
        (rounds_of(*[1.0] * 2), 9.0, False),
        (rounds_of(*[1.0] * 100), 0.1, False),
    ],
)
def test_a_pair_is_warm_when_it_is_seen_not_to_trend_or_when_time_is_up(
    seen: list[tuple[float, float]], seconds: float, warm: bool
) -> None:
    assert is_warm(seen, seconds) is warm


def test_the_order_is_drawn_anew_each_round(measurement: Measurement) -> None:
    first = measurement.samples["baseline_first"]

    assert set(first) == {0.0, 1.0}
    assert 20 <= sum(first) <= 60
    assert len({tuple(first[place : place + 4]) for place in range(76)}) > 4


def test_a_round_is_the_logarithm_of_the_ratio_of_seconds_a_call(turns: Turns) -> None:
    ratio = turns.round(1)

    samples = turns.measurement("gate").samples
    assert ratio == pytest.approx(math.log(samples["baseline"][-1] / samples["variant"][-1]))
    assert samples["pair"][-1] == 1


def test_seconds_of_a_call_are_kept_and_sampling_takes_longer_than_they_do(measurement: Measurement) -> None:
    samples = measurement.samples

    assert min(samples["baseline"] + samples["variant"]) > 0
    assert measurement.seconds > sum(samples["baseline"]) + sum(samples["variant"])


def test_what_the_machine_did_is_told_with_the_workers_switches_and_the_constant_work(measurement: Measurement) -> None:
    facts = measurement.noise

    assert facts["involuntary_switches"] >= 0
    assert 0 < facts["canary_best_s"] == facts["canary_median_s"] < facts["canary_median_s"] * facts["canary_tail"]
    assert {"wall_s", "load_1m", "waited_s", "canary_rmad"} <= set(facts)


def test_the_seconds_spent_grow_with_each_round(turns: Turns) -> None:
    before = turns.seconds()

    turns.round(0)

    assert turns.seconds() > before


def rounds(baseline: Variant, variant: Variant, setup: Setup) -> None:
    """A hundred of them, one pair."""
    with Turns(baseline, variant, setup, limit=2, pairs=1, seed=1) as turns:
        for _ in range(100):
            turns.round(0)


def test_a_side_that_crashes_is_a_worker_error_and_leaves_no_process(
    fake: Callable[[str], Variant], setup: Setup, workers: Callable[[], list[psutil.Process]]
) -> None:
    others = {process.pid for process in workers()}

    with pytest.raises(
        WorkerError, match=r"^fake-fp32-segv_later: the worker failed in phase 'infer': killed by SIGSEGV"
    ):
        rounds(fake("plain"), fake("segv_later"), setup)

    assert {process.pid for process in workers()} == others


def test_a_side_that_answers_nan_is_an_error(fake: Callable[[str], Variant], setup: Setup) -> None:
    with pytest.raises(ModelError, match=r"^fake-fp32-nan_later: output 'logits' of a timed call is not finite"):
        rounds(fake("nan_later"), fake("plain"), setup)


def test_turns_that_are_closed_can_take_no_more_rounds(
    fake: Callable[[str], Variant], setup: Setup, workers: Callable[[], list[psutil.Process]]
) -> None:
    others = {process.pid for process in workers()}
    closed = Turns(fake("plain"), fake("plain"), setup, limit=1, pairs=1, seed=1)

    closed.close()

    assert {process.pid for process in workers()} == others
    with pytest.raises(WorkerError, match="it was closed before"):
        closed.round(0)


# The bench beneath -----------------------------------------------------------------------------------------------------------

METRIC = """
import math
import numpy as np
from pytest_edgeai import hookimpl

class Odd:
    name, units, per, value = "odd", {"odd": "W"}, "call", {"odd": np.float32(1.5)}
    def unsupported(self): return None
    def arm(self): pass
    def read(self, calls): return self.value

class Nameless(Odd):
    name, units, value = "nameless", {"nameless": "W"}, {"other": 1.0}

class Nan(Odd):
    name, units, value = "nan", {"nan": "W"}, {"nan": math.nan}

class Text(Odd):
    name, units, value = "text", {"text": "W"}, {"text": "7"}

class Absent(Odd):
    name, units, per = "absent", {"absent": "W"}, "process"
    def unsupported(self): return "There is no such sensor here."

@hookimpl
def edge_metrics():
    return (Odd(), Nameless(), Nan(), Text(), Absent())
"""


def test_a_metric_that_reads_what_is_no_number_is_an_error_and_not_the_end_of_the_worker(
    fake: Callable[[str], Variant], setup: Setup, plugin: Callable[[str], str]
) -> None:
    modules = (*setup.modules, plugin(METRIC))
    told = []

    with Bench(fake("plain"), Setup(modules=modules, threads=1, inputs=setup.inputs), ["absent", "memory"]) as bench:
        for metric in ("nameless", "nan", "text"):
            with pytest.raises(EdgeError) as caught:
                bench.series(metric, first=0, calls=1)
            told.append(str(caught.value).removeprefix("fake-fp32-plain: "))
        columns, _ = bench.series("odd", first=0, calls=3)

    assert told == [
        "the metric nameless read other, and its units name nameless",
        "the metric nan read nan for nan, which is no finite number",
        "the metric text read '7' for text, which is no finite number",
    ]
    assert columns["odd"] == [1.5, 1.5, 1.5]
    assert bench.unsupported == {"absent": "There is no such sensor here."}
    assert set(bench.readings) == {"memory"}


def test_a_bench_tells_what_the_runtime_uses_and_what_the_model_gives(
    fake: Callable[[str], Variant], setup: Setup
) -> None:
    recipe = msgspec.structs.replace(fake("plain").recipe, options={"threads": 1})

    with Bench(msgspec.structs.replace(fake("plain"), recipe=recipe), setup, ["cold_start", "memory"]) as bench:
        seconds = bench.turn(first=7, calls=20)

    assert bench.placement == {"device": "CPU", "precision": "fp32"}
    assert bench.outputs == {"logits": ["float32", [1, 4]]}
    assert bench.readings["cold_start"]["cold_start"] > 0
    assert bench.readings["memory"]["peak"] > bench.readings["memory"]["footprint"] > 0
    assert seconds > 0


# Pinning ---------------------------------------------------------------------------------------------------------------------


class StandIn(contextlib.AbstractContextManager["StandIn"]):
    """A worker whose threads can be pinned, or can't; ``done`` says what was asked of which side."""

    done: ClassVar[list[tuple[str, str]]] = []
    stubborn: ClassVar[str] = ""
    """The side whose threads can't be pinned."""

    def __init__(self, variant: Variant, _: Setup, metrics: Sequence[str] = ()) -> None:
        self.variant, self.outputs = variant, {"y": ("float32", (1, 10))}

    def turn(self, first: int, calls: int, load: Load) -> float:
        return 0.01 * calls

    def pin(self) -> bool:
        self.done.append(("pin", self.variant.name))
        return self.variant.name != self.stubborn

    def unpin(self) -> None:
        self.done.append(("unpin", self.variant.name))

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> type[StandIn]:
    monkeypatch.setattr("pytest_edgeai.measure.turns.Bench", StandIn)
    monkeypatch.setattr(StandIn, "done", [])
    return StandIn


def sides(fake: Callable[[str], Variant], setup: Setup, load: Load = ALONE) -> list[str]:
    """What was asked of one pair of processes, without the framework's name."""
    with Turns(fake("plain"), fake("twice"), setup, limit=1, pairs=1, seed=1, load=load):
        return [f"{asked} {name.rpartition('-')[2]}" for asked, name in StandIn.done]


def test_both_sides_of_a_pair_are_pinned(stand_in: type[StandIn], fake: Callable[[str], Variant], setup: Setup) -> None:
    assert sides(fake, setup) == ["pin plain", "pin twice"]


@pytest.mark.parametrize("stubborn", ["plain", "twice"])
def test_none_is_where_one_can_not_be(
    stand_in: type[StandIn],
    fake: Callable[[str], Variant],
    setup: Setup,
    monkeypatch: pytest.MonkeyPatch,
    stubborn: str,
) -> None:
    monkeypatch.setattr(stand_in, "stubborn", fake(stubborn).name)

    assert sides(fake, setup)[-2:] == ["unpin plain", "unpin twice"]


@pytest.mark.parametrize("load", [Load(batch=8), Load(requests=2)])
def test_none_is_for_a_load_that_may_start_threads(
    stand_in: type[StandIn], fake: Callable[[str], Variant], setup: Setup, load: Load
) -> None:
    assert sides(fake, setup, load) == []


def test_the_constant_work_is_done_as_if_nothing_were_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    @contextlib.contextmanager
    def lifted() -> Iterator[None]:
        order.append("lifted")
        yield
        order.append("put back")

    bench = worker.Bench([])
    monkeypatch.setattr(bench, "_pins", SimpleNamespace(lifted=lifted))
    monkeypatch.setattr(bench, "_canary", SimpleNamespace(run=lambda: order.append("run")))

    bench.canary(2)

    assert order == ["lifted", "run", "run", "put back"]
