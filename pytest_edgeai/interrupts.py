"""Interrupts: Ctrl-C and SIGTERM wait while something is done that must not be half done."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def held() -> Iterator[None]:
    """What comes during the block strikes at its end, SIGTERM first. Other threads than the main one are never struck."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append((number, frame))

    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # One that is ignored, or ends the process at once, stays as it is.
    before = {number: handler for number, handler in before.items() if callable(handler)}
    try:
        for number in before:
            signal.signal(number, note)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        # The first handler that raises is the last one that is called.
        for number, frame in sorted(came, key=lambda one: one[0] != signal.SIGTERM):
            handler = before[number]
            if callable(handler):
                handler(number, frame)
