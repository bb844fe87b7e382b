"""The canary: a constant piece of work that tells whether the machine itself was steady."""

import hashlib
import threading
import time

_BLOCK = bytes(192 * 1024)


class Canary:
    """Hashes a constant block on ``threads`` threads at once (hashing releases the interpreter's lock), about 0.1 to 1 ms.

    It uses as many threads as the model, so that a neighbour who slows the model slows the canary too.
    """

    def __init__(self, threads: int) -> None:
        self._ready = threading.Barrier(threads)
        self._done = threading.Barrier(threads)
        for _ in range(threads - 1):
            threading.Thread(target=self._help, daemon=True).start()

    def run(self) -> float:
        """Seconds of one run."""
        begin = time.perf_counter_ns()
        self._ready.wait()
        hashlib.sha256(_BLOCK).digest()
        self._done.wait()
        return (time.perf_counter_ns() - begin) * 1e-9

    def _help(self) -> None:
        while True:
            self._ready.wait()
            hashlib.sha256(_BLOCK).digest()
            self._done.wait()
