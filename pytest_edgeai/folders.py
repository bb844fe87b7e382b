"""Folders that are nobody's business but ours: temporary ones, under names by which a later run knows those that were left by one that
was killed, and the user's cache."""

import contextlib
import os
import re
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import Final

STALE_AFTER: Final = 24 * 3600.0
"""Seconds without a new entry after which a folder is nobody's, unless the process that made it lives."""
_NAME: Final = re.compile(r"pytest-edgeai-(?:\d{8}T\d{6}|worker)-(\d+)-[0-9a-f]{16}")


def temporary(what: str) -> Path:
    """A fresh name that nobody can guess; ``what``: "worker", or when a run began. Raises OSError where nothing can be written."""
    return Path(tempfile.gettempdir()) / f"pytest-edgeai-{what}-{os.getpid()}-{os.urandom(8).hex()}"


def cache() -> Path | None:
    """Of this user; ``None`` for one without a home."""
    import platformdirs

    try:
        folder = Path(platformdirs.user_cache_dir("pytest-edgeai", appauthor=False))
    except RuntimeError:
        return None
    return folder if folder.is_absolute() else None  # older versions leave the "~"


def sweep() -> None:
    """Remove what killed runs of this user left behind."""
    with contextlib.suppress(OSError):  # whatever is in the way stays where it is
        for entry in Path(tempfile.gettempdir()).iterdir():
            name = _NAME.fullmatch(entry.name)
            if name and _is_stale(entry) and not _lives(int(name[1])):
                shutil.rmtree(entry, ignore_errors=True)


def _is_stale(entry: Path) -> bool:
    try:
        found = entry.lstat()
    except OSError:
        return False
    ours = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    return ours and stat.S_ISDIR(found.st_mode) and time.time() - found.st_mtime > STALE_AFTER


def _lives(process: int) -> bool:
    import psutil

    return bool(psutil.pid_exists(process))
