"""The console: where a pytest process shows the progress of long work.

On a terminal that is a line below pytest's own; in a log, or where pytest does not capture output (``-s``), it is lines. A process of
pytest-xdist has no console: what it says goes into its journal, and the controller prints it. With ``-q`` or without a terminal
reporter nothing is shown.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

from pytest_edgeai.journal import Journal, Tail
from pytest_edgeai.progress import Live, Progress

LOOK = 0.5
"""Seconds between the controller's looks at what the processes of pytest-xdist say."""


def progress(config: pytest.Config, folder: Path) -> Progress:
    """``folder``: of the run's journals."""
    worker_input: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker_input is not None:
        who = worker_input["workerid"]
        journal = Journal(folder, who)

        def note(text: str) -> None:
            journal.write("say", "", f"[{who}] {text}")

        return Progress(note, note)
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or config.get_verbosity() < 0:
        return Progress(_nowhere)
    console = Console(config, reporter)
    config.pluginmanager.register(console, "edgeai-console")
    return Progress(console.write, console.beat, console.live())


class Console:
    """Writes lines for the thread that runs tests, and beside it for another one."""

    def __init__(self, config: pytest.Config, reporter: pytest.TerminalReporter) -> None:
        self._reporter = reporter
        self._capture = config.pluginmanager.get_plugin("capturemanager")
        self._bare = config.getoption("capture", "no") == "no"
        # pytest captures descriptors while a test runs: only a copy that was made before leads to the terminal.
        self._file: TextIO = reporter._tw._file
        with self._uncaptured(), contextlib.suppress(OSError, ValueError, AttributeError):
            self._file = _copy(self._file)

    def write(self, text: str) -> None:
        """A line of its own, by pytest's own writer, whose place in the line is known then."""
        with self._uncaptured():
            _write_line(self._reporter, text)

    def beat(self, text: str) -> None:
        """A line while the thread that runs tests waits at the start of one."""
        with contextlib.suppress(OSError, ValueError):  # a log that is gone needs no progress
            self._file.write(f"edgeai: {text}\n")
            self._file.flush()

    def live(self) -> Live | None:
        """``None`` where a line can't be drawn and erased."""
        try:
            if self._bare or not _draws() or not self._file.isatty():
                return None
            descriptor = self._file.fileno()
        except (OSError, ValueError, AttributeError):
            return None
        writer = self._reporter._tw
        return Live(
            descriptor,
            lambda: writer.width_of_current_line,
            coloured=self._reporter.hasmarkup,
            ascii_only="utf" not in (self._file.encoding or "ascii").lower(),
        )

    def pytest_unconfigure(self) -> None:
        if self._file is not self._reporter._tw._file:
            self._file.close()

    @contextlib.contextmanager
    def _uncaptured(self) -> Iterator[None]:
        if self._capture is None:
            yield
            return
        with self._capture.global_and_fixture_disabled():
            yield


class Following:
    """The controller of pytest-xdist prints what its processes say, between pytest's own lines."""

    def __init__(self, config: pytest.Config, folder: Path) -> None:
        self._reporter: pytest.TerminalReporter | None = config.pluginmanager.get_plugin("terminalreporter")
        self._tail = Tail(folder)
        self._over = threading.Event()
        self._writing = threading.RLock()
        self._thread = threading.Thread(target=self._follow, name="edgeai-following", daemon=True)
        if self._reporter is not None and config.get_verbosity() >= 0:
            self._thread.start()

    # What pytest writes while processes run, it writes in these hooks.

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logstart(self) -> Generator[None]:
        with self._writing:
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self) -> Generator[None]:
        with self._writing:
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logfinish(self) -> Generator[None]:
        with self._writing:
            return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _follow(self) -> None:
        while True:
            over = self._over.wait(LOOK)
            for kind, fact in self._tail.more():
                if kind == "say":
                    self._print(str(fact))
            if over:
                return

    def _print(self, text: str) -> None:
        with self._writing, contextlib.suppress(OSError, ValueError):  # a log that is gone needs no progress
            if self._reporter is not None:
                _write_line(self._reporter, text)


def _write_line(reporter: pytest.TerminalReporter, text: str) -> None:
    reporter.ensure_newline()
    if (
        reporter._tw.width_of_current_line
    ):  # dots of pytest-xdist's processes, of which the reporter doesn't know that they are a line
        reporter.line("")
    reporter.write_line(f"edgeai: {text}")
    reporter.flush()


def _draws() -> bool:
    """Whether somebody looks at a terminal that moves its cursor; logs of CI are kept, even if they claim to be terminals."""
    dumb = os.environ.get("TERM", "dumb") in ("", "dumb", "unknown")
    return not dumb and not os.environ.get("CI") and not os.environ.get("BUILD_NUMBER") and sys.platform != "win32"


def _copy(file: TextIO) -> TextIO:
    """Raises OSError or ValueError for what is no file of the system's."""
    encoding = getattr(file, "encoding", None) or "utf-8"
    return os.fdopen(os.dup(file.fileno()), "w", encoding=encoding, errors="backslashreplace")


def _nowhere(text: str) -> None:
    """Nobody looks."""
