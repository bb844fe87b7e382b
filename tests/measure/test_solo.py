"""Solo series: every call is kept, in order, with the constant work between them."""

from collections.abc import Callable, Iterator

import numpy as np
import psutil
import pytest

from pytest_edgeai.errors import WorkerError
from pytest_edgeai.measure import solo as solo_module
from pytest_edgeai.measure.bench import Setup
from pytest_edgeai.measure.solo import CANARIES, CHUNK, Solo
from pytest_edgeai.records import Variant


@pytest.fixture(scope="module")
def solo(fake: Callable[[str], Variant], setup: Setup) -> Iterator[Solo]:
    with Solo(fake("plain"), setup) as solo:
        yield solo


def test_more_gives_as_many_samples_as_are_asked_for_and_keeps_them_all(solo: Solo) -> None:
    kept = len(solo.measurement("gate").samples["latency"])
    canaries = len(solo._canary)

    one, other = solo.more(2 * CHUNK + 1), solo.more(7)

    assert (len(one), len(other)) == (2 * CHUNK + 1, 7)
    assert min(*one, *other) > 0
    assert solo.measurement("gate").samples["latency"][kept:] == [*one, *other]
    assert len(solo._canary) == canaries + 4 * CANARIES


def test_the_measurement_says_how_it_was_made(solo: Solo) -> None:
    solo.more(10)

    found = solo.measurement("screening")

    assert (found.subject, found.metric, found.unit, found.plan, found.phase, found.processes) == (
        "fake-fp32-plain",
        "latency",
        "s",
        "solo",
        "screening",
        1,
    )
    assert found.noise["canary_median_s"] == np.median(solo._canary)
    assert found.noise["involuntary_switches"] >= 0
    assert {"canary_rmad", "canary_tail", "canary_best_s", "waited_s", "warm_up_trend", "wall_s", "load_1m"} <= set(
        found.noise
    )
    assert found.seconds == solo.seconds() > sum(found.samples["latency"])


def test_a_measurement_without_samples_is_empty(fake: Callable[[str], Variant], setup: Setup) -> None:
    with Solo(fake("plain"), setup) as unused:
        found = unused.measurement("gate")

    assert found.samples == {"latency": []}
    assert found.seconds > 0


def test_a_crash_while_warming_up_leaves_no_process(
    fake: Callable[[str], Variant], setup: Setup, workers: Callable[[], list[psutil.Process]]
) -> None:
    others = {process.pid for process in workers()}

    with pytest.raises(WorkerError, match="phase 'infer': killed by SIGSEGV"):
        Solo(fake("segv_later"), setup)

    assert {process.pid for process in workers()} == others


class Drifting:
    """A source whose samples take 1 ms of its own clock each, and drift for the first of them."""

    plan, metric, column = "solo", "latency", "latency"
    sensors = ()
    warm_up = 20

    def __init__(self, until: int) -> None:
        self.taken, self._until = 0, until

    def perf_counter(self):
        return 0.001 * self.taken

    def prime(self, bench):
        return 0

    def take(self, bench, item, most, canaries):
        samples = []
        for _ in range(20):
            self.taken += 1
            samples.append(1 + max(0, self._until - self.taken) / self._until)
        return samples, [], 20


@pytest.mark.parametrize(("patience", "drifts"), [(0.0, True), (400.0, False)])
def test_a_warm_up_goes_on_while_the_samples_drift_for_a_quarter_of_the_patience(
    fake: Callable[[str], Variant], setup: Setup, patience: float, drifts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Drifting(until=700)  # longer than half a second
    monkeypatch.setattr(solo_module, "time", source)

    with Solo(fake("plain"), setup, source, patience=patience) as solo:
        facts = solo.noise()

    assert (facts["warm_up_trend"] < 0) is drifts
    assert (source.taken > 700) is not drifts
