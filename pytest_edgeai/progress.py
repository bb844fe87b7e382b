"""Progress: long work as its user sees it: lines in a log, with a sign of life now and then, or one line that lives on a terminal.

A fact is a line: ``progress.say("the cache can't be written")``. Work is a block::

    with progress.working("building openvino-int8"):
        ...
    with progress.working("screening", total=len(names)) as step:
        for name in names:
            step(name)  # "screening openvino-int8 (3 of 8)"
            ...

Work inside work is shown in place of it, with the outer one's count.
"""

import contextlib
import os
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

HEARTBEAT: Final = 30.0
"""Seconds of one piece of work between two lines in a log."""
REDRAW: Final = 1.0
"""Seconds between two drawings on a terminal; one takes some 50 us of the process that waits, and none of the one that is timed."""
FIRST_DRAW: Final = 0.3
"""Seconds before work is drawn at all: what is over at once only flickers."""
_BAR: Final = 16
_ROOMY: Final = 72
"""Columns of a terminal that has room for a bar."""
_NARROW: Final = 36
"""Columns of a terminal that has no room for the time left."""


@dataclass(slots=True, eq=False)
class _Work:
    text: str
    total: int | None
    begun: float
    told: float
    """When a log had its last line about it."""
    step: str = ""
    place: int = 0
    """Of the step that is being done; the first one is 1."""
    stepped: float = 0.0
    """When that step began."""

    def label(self) -> str:
        text = f"{self.text} {self.step}".rstrip()
        return f"{text} ({self.place} of {self.total})" if self.total and self.place else text

    def left(self, now: float) -> float | None:
        """Seconds, supposing that the steps to come take as long as those that are done; unknown before one is, and when they don't."""
        done = self.place - 1
        if not self.total or done < 1:
            return None
        each = (self.stepped - self.begun) / done
        seconds = each * (self.total - done) - (now - self.stepped)
        return seconds if seconds > 0 else None


class Live:
    """One line below pytest's own, which keeps its place: drawn, drawn anew, and erased without a trace.

    ``descriptor``: of the terminal; ``column``: where the cursor stands, which is put back there. The moves are relative, so that
    a terminal that scrolls is no worse.
    """

    def __init__(self, descriptor: int, column: Callable[[], int], *, coloured: bool, ascii_only: bool) -> None:
        self._descriptor, self._column = descriptor, column
        self._coloured, self._ascii = coloured, ascii_only
        self._erasing = b""

    def draw(self, label: str, clock: str, share: float | None) -> None:
        """``share``: of the work that is done, 0 to 1, where it is known. A label that is too long is cut; the clock is not."""
        columns = self._columns()
        column = self._column() % columns
        bar = "" if share is None or columns < _ROOMY else self._bar(share) + " "
        if columns < _NARROW:
            clock = clock.partition(",")[0]
        room = columns - len("edgeai ") - (_BAR + 1 if bar else 0) - len(clock) - 2
        line = f"edgeai {bar}{_cut(_plain(label, self._ascii), room, '...' if self._ascii else '…')} {clock}"
        back = f"\x1b[1A\r\x1b[{column}C" if column else "\r"
        below = "\n" if column else ""
        self._erasing = f"{below}\r\x1b[2K{back}".encode()
        self._write(f"{below}\r\x1b[2K{line}{back}".encode("ascii" if self._ascii else "utf-8", "replace"))

    def erase(self) -> None:
        """Nothing is left of the line."""
        if self._erasing:
            self._write(self._erasing)
            self._erasing = b""

    def _bar(self, share: float) -> str:
        full = round(_BAR * share)
        sign, rest = ("#", "-") if self._ascii else ("━", "─")
        on, off = ("\x1b[36m", "\x1b[0m") if self._coloured else ("", "")
        return f"{on}{sign * full}{off}{rest * (_BAR - full)}"

    def _columns(self) -> int:
        try:
            return max(20, os.get_terminal_size(self._descriptor).columns or 80)
        except OSError:
            return 80

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # a terminal that is gone needs no progress
            os.write(self._descriptor, data)


class Progress:
    """Says facts and shows work.

    ``write``: prints a line; called by the thread that works. ``beat``: prints a line while that thread works, called by another one;
    without it, no sign of life is given. ``live``: where the work is drawn in place of lines.
    """

    def __init__(
        self, write: Callable[[str], None], beat: Callable[[str], None] | None = None, live: Live | None = None
    ) -> None:
        self._write, self._beat, self._live = write, beat, live
        self._lock = threading.RLock()
        self._works: list[_Work] = []

    def say(self, text: str) -> None:
        """A fact that the user should know."""
        with self._lock:
            if self._live is not None:
                self._live.erase()
            for line in text.splitlines():
                self._write(_plain(line))

    @contextlib.contextmanager
    def working(self, text: str, total: int | None = None) -> Iterator[Callable[[str], None]]:
        """Show work while the block lasts. ``total``: how many steps it has; what the block is given starts the next one."""
        now = time.monotonic()
        work = _Work(text, total, begun=now, told=now, stepped=now)

        def step(name: str) -> None:
            with self._lock:
                work.step, work.place, work.stepped = name, work.place + 1, time.monotonic()
                self._begun(work)

        with self._shown(work):
            if total is None:
                with self._lock:
                    self._begun(work)
            yield step

    def _begun(self, work: _Work) -> None:
        work.told = time.monotonic()
        if self._live is None:
            self._write(_plain(work.label()))

    @contextlib.contextmanager
    def _shown(self, work: _Work) -> Iterator[None]:
        over, watcher = threading.Event(), None
        try:
            with self._lock:
                self._works.append(work)
                first = len(self._works) == 1
            if first and (self._live is not None or self._beat is not None):
                watcher = threading.Thread(target=self._watch, args=(over,), name="edgeai-progress", daemon=True)
                watcher.start()
            yield
        finally:
            over.set()
            with self._lock:
                self._works.remove(work)
                if first and self._live is not None:
                    self._live.erase()
            if watcher is not None:
                watcher.join()

    def _watch(self, over: threading.Event) -> None:
        wait = FIRST_DRAW if self._live is not None else HEARTBEAT
        while not over.wait(wait):
            with self._lock:
                if over.is_set() or not self._works:
                    return
                now = time.monotonic()
                wait = self._draw(now) if self._live is not None else self._remind(now)

    def _draw(self, now: float) -> float:
        counted = next((work for work in reversed(self._works) if work.total), None)
        share = (counted.place - 1) / counted.total if counted and counted.total and counted.place else None
        if self._live is not None:
            self._live.draw(*self._line(now), share)
        return REDRAW

    def _remind(self, now: float) -> float:
        work = self._works[-1]
        if now - work.told >= HEARTBEAT and self._beat is not None:
            work.told = now
            label, clock = self._line(now, " so far")
            self._beat(f"{_plain(label)}: {clock}")
        return max(1.0, work.told + HEARTBEAT - now)

    def _line(self, now: float, so_far: str = "") -> tuple[str, str]:
        work = self._works[-1]
        counted = next((one for one in reversed(self._works) if one.total), work)
        label = (
            work.label()
            if counted is work or not counted.place
            else f"{work.label()} ({counted.place} of {counted.total})"
        )
        left = counted.left(now)
        about = "" if left is None else f", about {_clock(left)} left"
        return label, f"{_clock(now - (work.stepped or work.begun))}{so_far}{about}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _plain(text: str, ascii_only: bool = False) -> str:
    """Without control characters: a file's name may hold any."""
    return "".join(sign if sign.isprintable() and not (ascii_only and ord(sign) > 126) else "?" for sign in text)


def _cut(text: str, columns: int, ellipsis: str) -> str:
    """As much of it as the columns hold."""
    widths = [2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text]
    if sum(widths) <= columns:
        return text
    kept, room = 0, columns - len(ellipsis)
    for width in widths:
        room -= width
        if room < 0:
            break
        kept += 1
    return text[:kept] + ellipsis
