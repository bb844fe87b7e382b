"""Precedents: what the last run found out about a claim, so that another one can go on from there.

A run that starts anew is a fresh draw: repeated until it is green, it passes anything. A sequential test may be gone on with instead, and its
error rate holds over all runs together. That is sound only for the same bytes on the same machine, which is what a precedent's name is made of.
"""

import os
from pathlib import Path
from typing import Any

import msgspec

from pytest_edgeai.records import Device, Evidence, Record, Verdict, digest_of


class Precedent(Record, frozen=True, kw_only=True):
    """What was decided, and from what."""

    verdict: Verdict
    evidence: Evidence


class Precedents:
    """On disk, one file a claim; the last run's wins."""

    def __init__(self, root: Path, device: Device) -> None:
        self._root = root
        # What a device has, not what it is called or how it is set just now.
        self._device = [device.cpu, device.architecture, device.cores, device.memory_bytes, device.accelerators]

    def find(self, claim: Any, variants: list[str]) -> Precedent | None:
        """Of this claim about the variants with these keys; ``None`` where there is none that can be read."""
        try:
            return msgspec.json.decode(self._file(claim, variants).read_bytes(), type=Precedent)
        except (OSError, msgspec.DecodeError):  # never written, or by another version
            return None

    def keep(self, claim: Any, variants: list[str], precedent: Precedent) -> None:
        """Raises OSError."""
        path = self._file(claim, variants)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        try:
            partial.write_bytes(msgspec.json.encode(precedent))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _file(self, claim: Any, variants: list[str]) -> Path:
        return self._root / f"{digest_of([claim, variants, self._device])}.json"
