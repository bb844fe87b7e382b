"""The host's lock: builds share it, measuring has it alone, so that no build runs beside a measurement on this machine."""

import contextlib
import os
import sqlite3
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import filelock

from pytest_edgeai import folders
from pytest_edgeai.errors import EdgeError

NOTICE_AFTER = 2.0
"""Seconds of waiting before the user is told."""
GIVE_UP_AFTER = 3600.0
"""Seconds of waiting before it is an error."""
SLICE = 0.5
"""Seconds after which a waiting process listens to Ctrl-C."""


class HostLock:
    """A reader-writer lock between the processes of one user on one machine; the kernel frees it when its holder dies.

    Nested use is free, except that a build can't start measuring. ``working`` shows the waiting for somebody else.
    Raises EdgeError where there is no place for it.
    """

    def __init__(self, working: Callable[[str], AbstractContextManager[object]], path: Path | None = None) -> None:
        self._working = working
        self._path = path or _folder() / "host.lock"
        self._measuring = 0
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = filelock.ReadWriteLock(self._path)
        except (OSError, ValueError, sqlite3.Error) as error:
            raise EdgeError(f"The host's lock {self._path} can't be used: {error}.") from error

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
        if _acquired(acquire, NOTICE_AFTER):
            return
        with self._working(f"waiting: {busy}"):
            if not _acquired(acquire, GIVE_UP_AFTER):
                raise EdgeError(f"{busy} for more than {GIVE_UP_AFTER / 60:.0f} minutes; the lock is {self._path}.")


def _acquired(acquire: Callable[..., object], seconds: float) -> bool:
    """Waits in slices: the lock is SQLite's, whose own waiting no signal interrupts."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            acquire(timeout=min(SLICE, max(0.0, deadline - time.monotonic())))
        except filelock.Timeout:
            if time.monotonic() >= deadline:
                return False
        else:
            return True


def _folder() -> Path:
    """Of this user alone: where everybody may write, somebody else may have been there first. Raises EdgeError."""
    why, cache = [], folders.cache()
    places = [Path(tempfile.gettempdir()) / f"pytest-edgeai-{_user()}", *([cache / "lock"] if cache else [])]
    for folder in places:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _is_own(folder):
                return folder
            why.append(f"{folder} belongs to somebody else")
        except OSError as error:
            why.append(str(error))
    raise EdgeError(f"There is no folder for the host's lock: {'; '.join(why)}. Let TMPDIR name a folder of your own.")


def _is_own(folder: Path) -> bool:
    """No link, ours, and writable by us alone (it is made so where it isn't)."""
    if not hasattr(os, "getuid"):
        return folder.is_dir()
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        return False
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        folder.chmod(0o700)
    return True


def _user() -> str:
    # Not getpass: a container's user need not have a name.
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
