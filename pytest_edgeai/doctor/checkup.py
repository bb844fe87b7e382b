"""The check-up: everything that the doctor looks at, in one record."""

import contextlib
import importlib.metadata
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pytest_edgeai import device as devices
from pytest_edgeai.doctor.engines import Engine, examine
from pytest_edgeai.doctor.surroundings import Check, look
from pytest_edgeai.errors import EdgeError
from pytest_edgeai.measure.hostlock import HostLock
from pytest_edgeai.progress import Progress
from pytest_edgeai.protocols import Task
from pytest_edgeai.records import Device, Record, Target
from pytest_edgeai.registry import Registry

SCHEMA: Final = 1
"""Version of what ``edgeai doctor --json`` prints."""
TIMEOUT: Final = 120.0
"""Seconds that one probe may take."""


class CheckUp(Record, frozen=True, kw_only=True):
    """All that was found."""

    schema: int
    tool: str
    """Version of pytest-edgeai."""
    device: Device
    standings: dict[str, devices.Standing]
    """Target -> what this device is to it."""
    engines: tuple[Engine, ...]
    checks: tuple[Check, ...]

    @property
    def works(self) -> bool:
        """Whether every framework that is installed works."""
        return all(engine.state != "fails" for engine in self.engines)


def check_up(
    found: Registry,
    device: Device,
    target: Target,
    cache: Path | None,
    task: Task,
    say: Callable[[str], None],
    progress: Callable[[str], None],
    timeout: float = TIMEOUT,
) -> CheckUp:
    """Look at everything. ``target``: whose recipes are tried; ``task``: runs a probe in a worker; ``say`` is told when somebody else
    must be waited for, ``progress`` of every framework that is probed."""
    checks = tuple(look(device, cache, say))  # before the probes, which are noise themselves
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(EdgeError, OSError, sqlite3.Error):  # a check of its own tells it
            stack.enter_context(HostLock(Progress(say).working).building())
        engines = tuple(examine(found, device, target, task, progress, timeout))
    return CheckUp(
        schema=SCHEMA,
        tool=importlib.metadata.version("pytest-edgeai"),
        device=device,
        standings={name: devices.standing(device, one) for name, one in found.targets.items()},
        engines=engines,
        checks=checks,
    )
