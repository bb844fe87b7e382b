"""The pace: the best speed that this machine has shown at the constant work, so that a slow day of the machine isn't held against a model."""

import contextlib
import hashlib
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pytest_edgeai.measure.canary import BLOCK
from pytest_edgeai.records import Device
from pytest_edgeai.stats import spread

STEADY = 0.1
"""Spread (rMAD) of the constant work up to which its median is believed."""
KEPT_SECONDS = 7 * 86400.0
"""After so long a machine may have got another cooler, governor or neighbour."""


class Pace:
    """Kept in a file, so that runs share it. ``path``: see :func:`file_of`; ``None``: nothing is kept."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def facts(self, canary: Sequence[float]) -> dict[str, float]:
        """``canary_...`` of :attr:`pytest_edgeai.records.Measurement.noise`, of the seconds of runs of the constant work; none of no runs."""
        if not canary:
            return {}
        middle, wide = float(np.median(canary)), spread.rmad(canary)
        return {
            "canary_median_s": middle,
            "canary_rmad": wide,
            "canary_tail": float(np.quantile(canary, 0.99)) / middle,
            "canary_best_s": self._best(middle, steady=wide <= STEADY),
        }

    def _best(self, median: float, *, steady: bool) -> float:
        known = self._read()
        if not steady or (known is not None and known <= median):
            return median if known is None else known
        if self._path is not None:
            with contextlib.suppress(OSError):  # a cache that can't be written to: other runs do without it
                self._path.parent.mkdir(parents=True, exist_ok=True)
                fresh = self._path.with_suffix(f".{os.getpid()}")
                fresh.write_text(repr(median))
                fresh.replace(self._path)
        return median

    def _read(self) -> float | None:
        try:
            if self._path is None or time.time() - self._path.stat().st_mtime > KEPT_SECONDS:
                return None
            return float(self._path.read_text())
        except (OSError, ValueError):
            return None


def file_of(root: Path, device: Device, threads: int) -> Path:
    """Where the pace of this machine is kept below ``root``; another CPU, interpreter, number of threads or work has another one."""
    facts = f"{device.cpu} {device.cores} {threads} {platform.python_version()} {len(BLOCK)}"
    return root / "paces" / f"{device.name}-{hashlib.sha256(facts.encode()).hexdigest()[:12]}"
