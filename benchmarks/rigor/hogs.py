"""Neighbours on the cores: what makes a machine noisy, started on purpose. A script of its own, which ends with whoever started it.

``python hogs.py bursty SEED`` burns one core for 0.2 to 3 s, rests as long, and so on. ``python hogs.py drift SEED`` burns a share of one core that
rises from nothing to four fifths within 10 s and falls again, in slices of 5 ms: everything beside it becomes slowly slower, then faster.
"""

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

KINDS: dict[str, tuple[str, ...]] = {"quiet": (), "hogs": ("bursty", "bursty"), "drift": ("drift", "drift")}
"""Condition -> neighbours."""
LEAST, MOST = 0.2, 3.0
"""Seconds of a burst, and of the rest after it."""
RISE, SLICE, GREATEST = 10.0, 0.005, 0.8
"""Seconds of the rise of a drift, seconds of a slice, and the greatest share of a core."""


class Hogs:
    """The neighbours of a condition; a context manager. All of one drift rise together; bursts are each process' own."""

    def __init__(self, condition: str, seed: int) -> None:
        self._commands = [
            [sys.executable, __file__, kind, str(seed if kind == "drift" else 2 * seed + number)]
            for number, kind in enumerate(KINDS[condition])
        ]
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self._processes = [subprocess.Popen(command, stdin=subprocess.PIPE) for command in self._commands]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()


def bursty(coin: random.Random) -> None:
    """Without end."""
    busy = coin.random() < 0.5
    while True:
        seconds = coin.uniform(LEAST, MOST)
        if busy:
            _burn(seconds)
        else:
            time.sleep(seconds)
        busy = not busy


def drift(coin: random.Random) -> None:
    """Without end."""
    begin = time.monotonic() - coin.uniform(0, 2 * RISE)
    while True:
        at = (time.monotonic() - begin) % (2 * RISE) / RISE
        share = GREATEST * min(at, 2 - at)
        _burn(share * SLICE)
        time.sleep((1 - share) * SLICE)


def _burn(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def _end_with_parent() -> None:
    sys.stdin.buffer.read()  # nothing ever comes, until the other side is gone
    os._exit(0)


if __name__ == "__main__":
    burn: dict[str, Callable[[random.Random], None]] = {"bursty": bursty, "drift": drift}
    threading.Thread(target=_end_with_parent, daemon=True).start()
    burn[sys.argv[1]](random.Random(int(sys.argv[2])))
