"""The canary: a constant piece of work that tells whether the machine itself was steady."""

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Iterator

BLOCK = bytes(768 * 1024)
"""Some half a millisecond of work, beside which it is little how long a thread takes to be woken (0.05 to 0.08 ms here)."""


class Canary:
    """Hashes a constant block on ``threads`` threads at once (hashing releases the interpreter's lock), 0.2 to 4 ms.

    It uses as many threads as the model, so that a neighbour who slows the model slows the canary too. Where these are as many as the cores, each has its own:
    the scheduler may let a thread that is woken share the core of the one that wakes it, in one process and not in another (a shorter work took 0.24
    instead of 0.16 ms on two cores), which says nothing about the machine.
    """

    def __init__(self, threads: int) -> None:
        self._ready = threading.Barrier(threads)
        self._done = threading.Barrier(threads)
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        self._cores = cores if len(cores) == threads else []
        for number in range(1, threads):
            threading.Thread(target=self._help, args=(number,), daemon=True).start()

    def run(self) -> float:
        """Seconds of one run, after one that isn't timed."""
        with self._on_core(0):
            self._work()  # wakes them
            begin = time.perf_counter_ns()
            self._work()
            return (time.perf_counter_ns() - begin) * 1e-9

    def _work(self) -> None:
        self._ready.wait()
        hashlib.sha256(BLOCK).digest()
        self._done.wait()

    def _help(self, number: int) -> None:
        with self._on_core(number):
            while True:
                self._work()

    @contextlib.contextmanager
    def _on_core(self, number: int) -> Iterator[None]:
        """This thread on its core for as long as that lasts, where it has one and may have it."""
        before = os.sched_getaffinity(0) if self._cores else set()
        _place({self._cores[number]} if self._cores else before)
        try:
            yield
        finally:
            _place(before)


def _place(cores: set[int]) -> None:
    """This thread on these cores, if there are any."""
    if cores:
        with contextlib.suppress(OSError):  # a sandbox forbids it, or took them away
            os.sched_setaffinity(0, cores)
