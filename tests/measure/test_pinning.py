"""Pinning: which threads are given a core, when none is, and that they are let go again; on simulated threads and on real ones."""

import contextlib
import hashlib
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_edgeai.measure import pinning
from pytest_edgeai.measure.pinning import LONG, LOOKS, WATCHED, Pins

MAIN, POOL, IDLE, LOGGER = 100, 101, 102, 103
CORES = {0, 3}
CALL = 2e-3


class Threads:
    """Threads that work for a call, or don't; a clock that only calls advance; and the system's calls that pin them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shares = {MAIN: 0.9, POOL: 1.0, IDLE: 0.0, LOGGER: 0.02}
        """Thread -> share of a call for which it runs."""
        self.masks = {thread: set(CORES) for thread in self.shares}
        self.given: list[tuple[int, set[int]]] = []
        """All that was pinned or let go, in this order."""
        self.forbids: dict[int, OSError] = {}
        """Thread -> what placing it raises."""
        self.now = 50.0
        self.seconds = CALL
        """Of a call."""
        self.slowed = 1.0
        """How much slower a call is while threads are pinned."""
        self.calls = 0
        self._ran = dict.fromkeys(self.shares, 7.0)
        self._tell()

    def call(self) -> None:
        seconds = self.seconds * (self.slowed if any(mask != CORES for mask in self.masks.values()) else 1.0)
        self.calls += 1
        self.now += seconds
        for thread, share in self.shares.items():
            self._ran[thread] += share * seconds
        self._tell()

    def ends(self, thread: int) -> None:
        """It is gone: no folder, no mask."""
        (self.folder / str(thread) / "schedstat").unlink()
        for mapping in (self.shares, self.masks, self._ran):
            del mapping[thread]

    def _tell(self) -> None:
        for thread, seconds in self._ran.items():
            (self.folder / str(thread)).mkdir(exist_ok=True)
            (self.folder / str(thread) / "schedstat").write_text(f"{seconds * 1e9:.0f} 12345 678\n")

    def getaffinity(self, thread: int) -> set[int]:
        thread = thread or MAIN
        if thread not in self.masks:
            raise ProcessLookupError(3, "No such process")
        return set(self.masks[thread])

    def setaffinity(self, thread: int, cores: set[int]) -> None:
        self.getaffinity(thread)
        if thread in self.forbids and cores != CORES:
            raise self.forbids[thread]
        self.masks[thread] = set(cores)
        self.given.append((thread, set(cores)))


@pytest.fixture
def threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Threads:
    threads = Threads(tmp_path)
    monkeypatch.setattr(pinning, "TASKS", tmp_path)
    monkeypatch.setattr(pinning, "time", SimpleNamespace(perf_counter=lambda: threads.now))
    monkeypatch.setattr(pinning.os, "sched_getaffinity", threads.getaffinity, raising=False)
    monkeypatch.setattr(pinning.os, "sched_setaffinity", threads.setaffinity, raising=False)
    return threads


def test_each_busy_thread_is_given_a_core_of_its_own(threads: Threads) -> None:
    pins = Pins()

    assert pins.put(threads.call)
    assert pins.held
    assert threads.masks == {MAIN: {0}, POOL: {3}, IDLE: CORES, LOGGER: CORES}


@pytest.mark.parametrize("busy", [0, 3, 4])
def test_fewer_or_more_busy_threads_than_cores_are_left_alone(threads: Threads, busy: int) -> None:
    threads.shares = {thread: 0.4 * (place < busy) for place, thread in enumerate(threads.shares)}
    pins = Pins()

    assert not pins.put(threads.call)
    assert not pins.held
    assert threads.given == []
    assert threads.calls * CALL <= LOOKS * (WATCHED + CALL)


def test_one_thread_shares_no_core_with_another(threads: Threads) -> None:
    threads.shares[POOL] = 0.0
    pins = Pins()

    assert pins.put(threads.call)
    assert not pins.held
    assert threads.given == []


def test_on_one_core_nothing_is_looked_at(threads: Threads) -> None:
    threads.masks = {thread: {3} for thread in threads.masks}

    assert not Pins().put(threads.call)
    assert (threads.calls, threads.given) == (0, [])


@pytest.mark.parametrize(("capacities", "pinned"), [((1024, 1024), True), ((446, 1024), False)])
def test_large_and_small_cores_are_not_given_to_threads(
    threads: Threads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capacities: tuple[int, int], pinned: bool
) -> None:
    for core, capacity in zip(sorted(CORES), capacities, strict=True):
        (tmp_path / f"cpu{core}").mkdir()
        (tmp_path / f"cpu{core}" / "cpu_capacity").write_text(f"{capacity}\n")
    monkeypatch.setattr(pinning, "CPUS", tmp_path)

    assert Pins().put(threads.call) is pinned


def test_threads_that_the_engine_has_placed_itself_stay_there(threads: Threads) -> None:
    threads.masks[POOL] = {3}
    pins = Pins()

    assert pins.put(threads.call)
    assert not pins.held
    assert threads.given == []
    assert threads.calls * CALL <= WATCHED + CALL  # looking again would show nothing else


@pytest.mark.parametrize(("slowed", "pinned"), [(0.8, True), (1.0, True), (1.02, True), (1.05, False), (1.3, False)])
def test_threads_are_let_go_where_calls_get_slower(threads: Threads, slowed: float, pinned: bool) -> None:
    threads.slowed = slowed
    pins = Pins()

    assert pins.put(threads.call) is pinned
    assert pins.held is pinned
    assert (threads.masks == dict.fromkeys(threads.masks, CORES)) is not pinned


def test_calls_beside_which_a_tick_is_little_are_not_tried(threads: Threads) -> None:
    threads.seconds = 2 * LONG

    assert not Pins().put(threads.call)
    assert (threads.calls, threads.given) == (1, [])


def test_what_a_neighbour_hid_is_looked_at_again(threads: Threads) -> None:
    threads.shares[POOL] = 0.0

    def call() -> None:
        threads.call()
        if threads.calls * CALL > WATCHED:  # the first look is over
            threads.shares[POOL] = 1.0

    pins = Pins()

    assert pins.put(call)
    assert pins.held


@pytest.mark.parametrize("error", [PermissionError(1, "Operation not permitted"), OSError(22, "Invalid argument")])
def test_where_a_sandbox_forbids_it_nothing_is_pinned(threads: Threads, error: OSError) -> None:
    threads.forbids[POOL] = error
    pins = Pins()

    assert not pins.put(threads.call)
    assert not pins.held
    assert threads.masks == dict.fromkeys(threads.masks, CORES)


def test_what_is_forbidden_later_lets_all_go(threads: Threads) -> None:
    pins = Pins()
    pins.put(threads.call)

    with pins.lifted():
        threads.forbids[POOL] = OSError(22, "Invalid argument")  # its core was taken away

    assert not pins.held
    assert threads.masks == dict.fromkeys(threads.masks, CORES)


def test_an_engine_that_places_its_threads_later_is_seen(threads: Threads) -> None:
    pins = Pins()
    pins.put(threads.call)

    threads.masks[POOL] = set(CORES)

    assert not pins.held


def test_a_thread_that_ended_meanwhile_is_no_error(threads: Threads) -> None:
    pins = Pins()
    pins.put(threads.call)
    threads.ends(POOL)

    with pins.lifted():
        assert threads.masks[MAIN] == CORES
    assert threads.masks[MAIN] == {0}
    assert pins.held


def test_lifted_is_as_if_nothing_had_been_pinned(threads: Threads) -> None:
    pins = Pins()
    with pins.lifted():
        assert threads.given == []
    pins.put(threads.call)
    pinned = dict(threads.masks)

    with contextlib.suppress(KeyError), pins.lifted():
        assert threads.masks == dict.fromkeys(threads.masks, CORES)
        raise KeyError

    assert threads.masks == pinned


def test_what_is_let_go_stays_so(threads: Threads) -> None:
    pins = Pins()
    pins.put(threads.call)

    pins.lift()
    with pins.lifted():
        pass

    assert not pins.held
    assert threads.masks == dict.fromkeys(threads.masks, CORES)


def test_a_second_time_changes_nothing(threads: Threads) -> None:
    pins = Pins()
    pins.put(threads.call)
    before = threads.calls, dict(threads.masks)

    assert pins.put(threads.call)
    assert (threads.calls, threads.masks) == before


def test_where_the_system_tells_nothing_of_threads_none_is_pinned(
    threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pinning, "TASKS", threads.folder / "absent")

    assert not Pins().put(threads.call)
    assert threads.given == []


def test_where_threads_can_not_be_pinned_nothing_is_looked_at(
    threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(pinning.os, "sched_setaffinity")

    assert not Pins().put(threads.call)
    assert threads.calls == 0


# Real threads ----------------------------------------------------------------------------------------------------------------

BLOCK = bytes(2**20)


@pytest.fixture
def two_cores() -> Iterator[set[int]]:
    """The only ones that this thread, and those that it starts, may use."""
    if sys.platform != "linux" or len(os.sched_getaffinity(0)) == 1 or not any(pinning._ran().values()):
        pytest.skip("threads are pinned only where the system tells how long each ran, and not on one core")
    before = os.sched_getaffinity(0)
    cores = set(sorted(before)[:2])
    os.sched_setaffinity(0, cores)
    yield cores
    os.sched_setaffinity(0, before)


def test_real_threads_are_pinned_and_let_go(two_cores: set[int]) -> None:
    def call() -> None:
        other = pool.submit(hashlib.sha256, BLOCK)
        hashlib.sha256(BLOCK)
        other.result()

    pins = Pins()
    with ThreadPoolExecutor(1) as pool:
        both = {threading.get_native_id(), pool.submit(threading.get_native_id).result()}
        for _ in range(20):  # a loaded machine may hide them from all looks of one time
            if pins.put(call) and pins.held:
                break
        pinned = [os.sched_getaffinity(thread) for thread in both]
        with pins.lifted():
            lifted = [os.sched_getaffinity(thread) for thread in both]

    assert all(len(cores) == 1 for cores in pinned)
    assert set().union(*pinned) == two_cores
    assert lifted == [two_cores, two_cores]
