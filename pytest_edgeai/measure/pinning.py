"""Pinning: every busy thread of this process on a core of its own, while turns are timed.

A process that is woken for its turn may find that the scheduler puts two of its threads on one core, where one waits for the next tick while the
other one spins: 4 ms on most systems, twice what a small model's call takes. On a device that runs nothing else they part once.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

TASKS = Path("/proc/self/task")
BUSY = 0.1
"""Share of the time that a thread that works for the calls runs at least."""
WATCHED = 0.05
"""Seconds of calls that show which threads work."""
LOOKS = 3
"""How often that is looked at, where the number of threads is not that of the cores or the calls get slower: a neighbour may be the reason."""
SLOWER = 1.1
"""Factor by which calls may seem slower once threads are pinned; where they are, the threads are let go again."""


class Pins:
    """The threads of this process that were given a core."""

    def __init__(self) -> None:
        self._cores: dict[int, set[int]] = {}
        """Thread -> the one core that it was given."""
        self._before: dict[int, set[int]] = {}
        """Thread -> the cores that it could use before."""

    def __bool__(self) -> bool:
        return bool(self._cores)

    def put(self, call: Callable[[], object]) -> None:
        """Give each thread that is busy while ``call`` is called a core, the ones with most work first.

        Only where as many threads are busy as there are cores that this process may use, so that whatever thread a core is given to, none is left
        over and none is shared, and only where the engine has placed none itself.
        """
        if self or not hasattr(os, "sched_setaffinity"):
            return
        cores = os.sched_getaffinity(0)
        if len(cores) == 1:
            return
        for _ in range(LOOKS):
            busy, seconds = _watch(call)
            if any(_mask(thread) not in (cores, None) for thread in busy):
                return
            if len(busy) != len(cores):
                continue
            self._before = dict.fromkeys(busy, cores)
            self._cores = {thread: {core} for thread, core in zip(busy, sorted(cores), strict=True)}
            _place(self._cores)
            if _watch(call)[1] <= SLOWER * seconds:
                return
            _place(self._before)
            self._cores = {}

    @contextlib.contextmanager
    def lifted(self) -> Iterator[None]:
        """Without them for as long as this lasts: for work of other threads, and for starting some, which get the mask of the one that starts them."""
        _place(self._before if self else {})
        try:
            yield
        finally:
            _place(self._cores)


def _watch(call: Callable[[], object]) -> tuple[list[int], float]:
    """The threads that are busy while ``call`` is called, those with most work first; and the seconds of the fastest call."""
    before, begin, fastest = _ran(), time.perf_counter(), float("inf")
    while (now := time.perf_counter()) - begin < WATCHED:
        call()
        fastest = min(fastest, time.perf_counter() - now)
    took = time.perf_counter() - begin
    ran = {thread: seconds - before.get(thread, 0.0) for thread, seconds in _ran().items()}
    busy = [thread for thread, seconds in ran.items() if seconds >= BUSY * took]
    return sorted(busy, key=lambda thread: -ran[thread]), fastest


def _ran() -> dict[int, float]:
    """Thread -> seconds on a core so far, where the system tells (``/proc/PID/task/TID/schedstat``: the first number, in nanoseconds)."""
    found = {}
    with contextlib.suppress(OSError):  # no /proc
        for task in TASKS.iterdir():
            with contextlib.suppress(OSError):  # it has just ended
                found[int(task.name)] = int((task / "schedstat").read_text().split()[0]) * 1e-9
    return found


def _mask(thread: int) -> set[int] | None:
    with contextlib.suppress(ProcessLookupError):
        return os.sched_getaffinity(thread)
    return None  # it has just ended


def _place(masks: dict[int, set[int]]) -> None:
    for thread, cores in masks.items():
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.sched_setaffinity(thread, cores)
