"""Pinning: every busy thread of this process on a core of its own, while turns are timed.

A process that is woken for its turn may find that the scheduler puts two of its threads on one core, where one waits for the next tick while the
other one spins: 4 ms on most systems, twice what a small model's call takes. On a device that runs nothing else they part once.
"""

import contextlib
import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

TASKS = Path("/proc/self/task")
CPUS = Path("/sys/devices/system/cpu")
BUSY = 0.1
"""Share of the time that a thread that works for the calls runs at least."""
WATCHED = 0.03
"""Seconds of calls that show which threads work."""
LOOKS = 3
"""How often that is looked at, where the number of threads is not that of the cores or the calls get slower: a neighbour may be the reason."""
LONG = 0.05
"""Seconds of a call beside which a tick is little."""
TRIED, BLOCKS = 0.01, 6
"""Seconds of calls with and without, in turns, that show whether pinned ones are slower; and how many of these blocks."""
SLOWER = 1.03
"""Factor by which the median call may be; where it is slower, the threads are let go again."""


class Pins:
    """The threads of this process that were given a core."""

    def __init__(self) -> None:
        self._cores: dict[int, set[int]] = {}
        """Thread -> the one core that it was given."""
        self._before: dict[int, set[int]] = {}
        """Thread -> the cores that it could use before."""

    @property
    def held(self) -> bool:
        """Whether some were given a core, and all of them that live are there still."""
        return bool(self._cores) and all(_mask(thread) in (core, None) for thread, core in self._cores.items())

    def put(self, call: Callable[[], object]) -> bool:
        """Give each thread that is busy while ``call`` is called a core; whether none shares one by chance now.

        That is so of a thread that works alone, too, and where the engine has placed threads itself. Others are pinned only where as many are busy as
        there are cores that this process may use, so that whatever thread a core is given to, none is left over, and where all cores are alike.
        """
        if self._cores or not hasattr(os, "sched_setaffinity"):
            return bool(self._cores)
        cores = os.sched_getaffinity(0)
        if len(cores) == 1 or not _alike(cores):
            return False
        alone = True
        for _ in range(LOOKS):
            busy, shortest = _watch(call)
            alone = alone and len(busy) == 1
            if any(_mask(thread) not in (cores, None) for thread in busy):
                return True
            if shortest > LONG:
                return False
            if len(busy) == len(cores) and self._try(call, busy, cores):
                return True
        return alone

    def _try(self, call: Callable[[], object], busy: list[int], cores: set[int]) -> bool:
        """Whether these threads are pinned now; not where that can't be done, or makes calls slower."""
        self._before = dict.fromkeys(busy, cores)
        self._cores = {thread: {core} for thread, core in zip(busy, sorted(cores), strict=True)}
        seconds: dict[bool, list[float]] = {True: [], False: []}
        for pinned in itertools.islice(itertools.cycle((True, False)), BLOCKS):
            if not _place(self._cores if pinned else self._before):
                self.lift()
                return False
            seconds[pinned] += _times(call, TRIED)
        if statistics.median(seconds[True]) > SLOWER * statistics.median(seconds[False]) or not _place(self._cores):
            self.lift()
            return False
        return True

    def lift(self) -> None:
        """Let them go again."""
        _place(self._before)
        self._cores, self._before = {}, {}

    @contextlib.contextmanager
    def lifted(self) -> Iterator[None]:
        """Without them for as long as this lasts: for work of other threads, and for starting some, which get the mask of the one that starts them."""
        _place(self._before)
        try:
            yield
        finally:
            if not _place(self._cores):
                self.lift()


def _watch(call: Callable[[], object]) -> tuple[list[int], float]:
    """The threads that are busy while ``call`` is called, in the order of their numbers; and the seconds of the shortest call."""
    before, begin = _ran(), time.perf_counter()
    seconds = _times(call, WATCHED)
    took = time.perf_counter() - begin
    ran = {thread: seconds - before.get(thread, 0.0) for thread, seconds in _ran().items()}
    return sorted(thread for thread in ran if ran[thread] >= BUSY * took), min(seconds)


def _times(call: Callable[[], object], at_least: float) -> list[float]:
    """Seconds of each call, of so many that they last so long together."""
    begin, taken = time.perf_counter(), []
    while (now := time.perf_counter()) - begin < at_least:
        call()
        taken.append(time.perf_counter() - now)
    return taken


def _ran() -> dict[int, float]:
    """Thread -> seconds on a core so far, where the system tells (``/proc/PID/task/TID/schedstat``: the first number, in nanoseconds)."""
    found = {}
    with contextlib.suppress(OSError):  # no /proc
        for task in TASKS.iterdir():
            with contextlib.suppress(OSError):  # it has just ended
                found[int(task.name)] = int((task / "schedstat").read_text().split()[0]) * 1e-9
    return found


def _alike(cores: set[int]) -> bool:
    """Whether none of them is smaller than another, where the system tells (``cpu_capacity``, on ARM)."""
    capacities = set()
    for core in cores:
        with contextlib.suppress(OSError):
            capacities.add((CPUS / f"cpu{core}" / "cpu_capacity").read_text().strip())
    return len(capacities) <= 1


def _mask(thread: int) -> set[int] | None:
    with contextlib.suppress(OSError):
        return os.sched_getaffinity(thread)
    return None  # it has just ended


def _place(masks: Mapping[int, set[int]]) -> bool:
    """Whether every thread that lives could be placed so: a sandbox may forbid it, and cores may be taken away."""
    placed = True
    for thread, cores in masks.items():
        try:
            os.sched_setaffinity(thread, cores)
        except ProcessLookupError:
            continue
        except OSError:
            placed = False
    return placed
