"""The host's lock: builds share it, measuring has it alone, so that no build runs beside a measurement on this machine."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock

from pytest_edgeai.errors import EdgeError

NOTICE_AFTER = 2.0
"""Seconds of waiting before the user is told."""
GIVE_UP_AFTER = 3600.0
"""Seconds of waiting before it is an error."""


class HostLock:
    """A reader-writer lock between the processes of one user on one machine; the kernel frees it when its holder dies.

    Nested use is free, except that a build can't start measuring. ``say`` is told when somebody else must be waited for.
    """

    def __init__(self, say: Callable[[str], None], path: Path | None = None) -> None:
        self._say = say
        self._path = path or Path(tempfile.gettempdir()) / f"pytest-edgeai-{_user()}" / "host.lock"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._measuring = 0
        self._lock = filelock.ReadWriteLock(self._path)

    @contextlib.contextmanager
    def building(self) -> Iterator[None]:
        """Shared: several builds at once, and none while something is measured by somebody else."""
        if self._measuring:  # exclusive use includes this one
            yield
            return
        self._acquire(self._lock.acquire_read, "something else on this machine is being measured")
        try:
            yield
        finally:
            self._lock.release()

    @contextlib.contextmanager
    def measuring(self) -> Iterator[None]:
        """Exclusive."""
        self._acquire(self._lock.acquire_write, "something else on this machine is being built or measured")
        self._measuring += 1
        try:
            yield
        finally:
            self._measuring -= 1
            self._lock.release()

    def idle(self) -> bool:
        """Whether nobody builds or measures at this moment; nothing is waited for."""
        try:
            self._lock.acquire_write(timeout=0)
        except filelock.Timeout:
            return False
        self._lock.release()
        return True

    def _acquire(self, acquire: Callable[..., object], busy: str) -> None:
        try:
            acquire(timeout=NOTICE_AFTER)
        except filelock.Timeout:
            self._say(f"waiting: {busy}")
            try:
                acquire(timeout=GIVE_UP_AFTER)
            except filelock.Timeout as error:
                raise EdgeError(
                    f"{busy} for more than {GIVE_UP_AFTER / 60:.0f} minutes; the lock is {self._path}."
                ) from error


def _user() -> str:
    # Not getpass: a container's user need not have a name.
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
