"""Termination: SIGTERM ends a run as orderly as Ctrl-C does, and an interrupt reaches the processes of pytest-xdist."""

import os
import signal
import threading
from collections.abc import Generator
from pathlib import Path
from types import FrameType

import pytest

LOOK = 0.3
"""Seconds between a process's looks at whether the controller was interrupted."""
_STOP = "stop"
_REASON, _STATUS = "terminated by SIGTERM", 128 + signal.SIGTERM


class _Terminated(BaseException):
    """Neither an Exception nor a KeyboardInterrupt: user code and debuggers catch those and go on."""


class Termination:
    """Of a run whose tests run in this process, or which this process controls. ``folder``: the run's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._terminated = False
        self.interrupted = False

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Whoever has a handler of their own for SIGTERM keeps it."""
        main = threading.current_thread() is threading.main_thread()
        if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            return (yield)

        def terminate(_: int, __: FrameType | None) -> None:
            self._terminated = True
            session.shouldstop = _REASON  # whoever catches everything ends the run one test later
            raise _Terminated

        signal.signal(signal.SIGTERM, terminate)
        try:
            try:
                return (yield)
            finally:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
        finally:
            if self._terminated:
                pytest.exit(_REASON, returncode=_STATUS)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Generator[None, object, object]:
        """Pytest takes what it does not know for the failure of a phase of the test."""
        try:
            return (yield)
        except _Terminated:
            pytest.exit(_REASON, returncode=_STATUS)

    pytest_runtest_setup = pytest_runtest_teardown = pytest_runtest_call

    def pytest_keyboard_interrupt(self) -> None:
        self.interrupted = True
        if self._folder.is_dir():
            (self._folder / _STOP).touch()


class Stopping:
    """Of a process of pytest-xdist: its controller alone may have been interrupted, and execnet takes five seconds to pass that on."""

    def __init__(self, folder: Path) -> None:
        self._stop = folder / _STOP
        self._over = threading.Event()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        threading.Thread(target=self._watch, name="edgeai-stopping", daemon=True).start()
        try:
            return (yield)
        finally:
            self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(LOOK):
            if self._stop.exists():
                os.kill(os.getpid(), signal.SIGINT)
                return
