"""Precedents: what the last run found out about a claim, so that another one can go on from there.

A run that starts anew is a fresh draw: repeated until it is green, it passes anything. A sequential test may be gone on with instead, and its
error rate holds over all runs together. That is sound only for the same bytes and inputs on the same machine, which is what a precedent's name is
made of.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pytest_edgeai.judge.finding import Finding
from pytest_edgeai.judge.rules import Rules
from pytest_edgeai.records import Device, Outcome, digest_of


@dataclass(frozen=True, slots=True)
class Precedent:
    """What was found, and with which share of the error rate of a false FAIL."""

    finding: Finding
    share: float

    def holds(self, rules: Rules) -> bool:
        """Whether it is proven, and as surely as these rules demand."""
        return self.finding.outcome is not Outcome.INCONCLUSIVE and self.share <= rules.share


class Precedents:
    """On disk, one file a claim; the last run's wins."""

    def __init__(self, root: Path, device: Device) -> None:
        # What a device has, not what it is called or how it is set just now.
        facts = [device.cpu, device.features, device.cores, device.memory_bytes, device.accelerators]
        self._root = root / digest_of(facts)[:16]

    def find(self, key: str) -> Precedent | None:
        """Of the claim with this key; ``None`` where there is none that can be read."""
        try:
            return msgspec.json.decode((self._root / f"{key}.json").read_bytes(), type=Precedent)
        except (OSError, msgspec.DecodeError):  # never written, or by another version
            return None

    def keep(self, key: str, precedent: Precedent) -> None:
        """Raises OSError."""
        self._root.mkdir(parents=True, exist_ok=True)
        partial = self._root / f"{key}.{os.getpid()}"
        try:
            partial.write_bytes(msgspec.json.encode(precedent))
            partial.replace(self._root / f"{key}.json")
        finally:
            partial.unlink(missing_ok=True)
