"""Quiet: whether anything else runs on the machine, and waiting until nothing does.

Pairing and random order make noise strike both sides alike, but a neighbour on the cores also changes what is measured: threads that wait
for each other lose the same time in a fast variant as in a slow one, so a speed-up shrinks towards 1. So a round is started when the cores are
free. Looking before a round, not after it, leaves the coin fair.
"""

import os
import time
from pathlib import Path

_LOAD = Path("/proc/loadavg")
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
        """Whether the cores have nothing to run but us, who are running to ask (proc(5): the fourth field of loadavg).

        Where the system doesn't tell (it is not Linux), they are believed to be free.
        """
        try:
            running = int(_LOAD.read_text().split()[3].partition("/")[0])
        except (OSError, ValueError, IndexError):
            return True
        return running - 1 + self._threads <= (os.cpu_count() or self._threads)

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
