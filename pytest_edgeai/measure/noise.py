"""Noise: what the machine did while something was measured. Evidence beside the samples, never a reason to drop any."""

import os
from pathlib import Path

_PROC = Path("/proc")


class Noise:
    """Facts between its making and :meth:`since`; those that can't be read here are absent."""

    def __init__(self) -> None:
        self._before = _counters()

    def since(self) -> dict[str, float]:
        """``load_1m`` (runnable tasks), ``steal_s`` (taken by the hypervisor), ``cpu_pressure_s`` (some task waited for a CPU)."""
        now = _counters()
        facts = {name: now[name] - self._before[name] for name in now if name in self._before}
        if hasattr(os, "getloadavg"):
            facts["load_1m"] = os.getloadavg()[0]
        return facts


def _counters() -> dict[str, float]:
    counters = {}
    try:
        fields = (_PROC / "stat").read_text().splitlines()[0].split()
        counters["steal_s"] = int(fields[8]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        counters.pop("steal_s", None)
    try:
        some = (_PROC / "pressure" / "cpu").read_text().splitlines()[0]
        counters["cpu_pressure_s"] = int(some.rpartition("total=")[2]) * 1e-6
    except (OSError, ValueError, IndexError):
        counters.pop("cpu_pressure_s", None)
    return counters
