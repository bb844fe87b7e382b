"""Quiet: whether anything else runs on the cores that this process may use, and waiting until nothing does.

Pairing and random order make noise strike both sides alike, but a neighbour on the cores also changes what is measured: threads that wait
for each other lose the same time in a fast variant as in a slow one, so a speed-up shrinks towards 1. So a round is started when the cores are
free. Looking before a round, not after it, leaves the coin fair.
"""

import contextlib
import os
import time
from pathlib import Path

_PROC = Path("/proc")
_SHORT, _LONG = 0.001, 0.02
"""Seconds between two looks: more each time."""


class Quiet:
    """Waits, at most ``patience`` seconds in all, until ``threads`` cores are free."""

    def __init__(self, threads: int, patience: float) -> None:
        self._threads = threads
        self._patience = patience
        self.waited = 0.0
        """Seconds so far."""

    def free(self) -> bool:
        """Whether the cores have nothing to run but us, who are running to ask.

        Where the system doesn't tell (it is not Linux), they are believed to be free; so are cores of a part of the machine when what runs
        on the rest of it, or on them, can't be told apart, as in a container that doesn't see the other ones' processes.
        """
        ours = _cores()
        try:
            running = int((_PROC / "loadavg").read_text().split()[3].partition("/")[0])  # proc(5): the fourth field
        except (OSError, ValueError, IndexError):
            return True
        if running - 1 + self._threads <= len(ours):
            return True
        # More than the cores hold; but perhaps elsewhere, where this process may not run.
        if len(ours) >= (os.cpu_count() or 1):
            return False
        return _running_on(ours) - 1 + self._threads <= len(ours)

    def wait(self) -> bool:
        """Whether the cores were free at last."""
        if self.free():
            return True
        begin, pause = time.perf_counter(), _SHORT
        free = False
        while not free and self.waited + time.perf_counter() - begin < self._patience:
            time.sleep(pause)
            pause = min(2 * pause, _LONG)
            free = self.free()
        self.waited += time.perf_counter() - begin
        return free


def _cores() -> set[int]:
    """Those that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _running_on(cores: set[int]) -> int:
    """How many threads that can be seen are running or runnable there (proc_pid_stat(5): the third and the 39th field); at least this one."""
    count = 0
    for process in filter(str.isdigit, os.listdir(_PROC)):  # noqa: PTH208 - pathlib takes three times as long
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has ended
            for thread in os.listdir(f"{_PROC}/{process}/task"):  # noqa: PTH208
                with open(f"{_PROC}/{process}/task/{thread}/stat") as file:  # noqa: PTH123
                    state, _, rest = file.read().rpartition(")")[2].lstrip().partition(" ")
                count += state == "R" and int(rest.split()[35]) in cores
    return max(1, count)
