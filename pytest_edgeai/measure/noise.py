"""Noise: what the machine did while something was measured. Evidence beside the samples, never a reason to drop any."""

import contextlib
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

_PROC, _SYS = Path("/proc"), Path("/sys")


class Noise:
    """Facts between its making and :meth:`since`; those that can't be read here are absent."""

    def __init__(self) -> None:
        self._begin, self._before = time.perf_counter(), _read(_COUNTERS)

    def since(self) -> dict[str, float]:
        """See :attr:`pytest_edgeai.records.Measurement.noise`."""
        now = _read(_COUNTERS)
        return {
            "wall_s": time.perf_counter() - self._begin,
            "cores": float(os.cpu_count() or 1),
            **{name: now[name] - self._before[name] for name in now if name in self._before},
            **_read(_STATES),
        }


def _read(facts: dict[str, Callable[[], float]]) -> dict[str, float]:
    found = {}
    for name, read in facts.items():
        with contextlib.suppress(OSError, ValueError, IndexError, KeyError, AttributeError):  # it can't be read here
            found[name] = read()
    return found


def _steal() -> float:
    """proc(5): the eighth number of the first line of ``/proc/stat``."""
    return int((_PROC / "stat").read_text().splitlines()[0].split()[8]) / os.sysconf("SC_CLK_TCK")


def _pressure() -> float:
    return int((_PROC / "pressure" / "cpu").read_text().splitlines()[0].rpartition("total=")[2]) * 1e-6


def _cgroup(name: str) -> float:
    """A number of ``cpu.stat`` of this process' control group, which has it when its time is limited (version 2, else 1).

    In a container the group is mounted as the root.
    """
    groups = (line.split(":", 2) for line in (_PROC / "self" / "cgroup").read_text().splitlines())
    own = {controllers: path.lstrip("/") for _, controllers, path in groups}
    for controllers, root in (("", "cgroup"), ("cpu,cpuacct", "cgroup/cpu,cpuacct"), ("cpu", "cgroup/cpu")):
        for path in dict.fromkeys((own.get(controllers, ""), "")):
            with contextlib.suppress(OSError):
                lines = (_SYS / "fs" / root / path / "cpu.stat").read_text().splitlines()
                return float(dict(line.split() for line in lines)[name])
    raise OSError(name)


def _throttled() -> float:
    """Version 2 counts microseconds, version 1 nanoseconds."""
    try:
        return _cgroup("throttled_usec") * 1e-6
    except KeyError:
        return _cgroup("throttled_time") * 1e-9


def _megahertz(name: str) -> list[float]:
    """Of every core, from its scaling driver, in kHz."""
    return [int(path.read_text()) / 1000 for path in (_SYS / "devices/system/cpu").glob(f"cpu[0-9]*/cpufreq/{name}")]


def _heat() -> float:
    """Times that a core was slowed down because it was too hot (Intel)."""
    counts = [
        int(path.read_text())
        for path in (_SYS / "devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/core_throttle_count")
    ]
    if not counts:
        raise OSError("no such counter")
    return float(sum(counts))


_COUNTERS: dict[str, Callable[[], float]] = {
    "steal_s": _steal,
    "cpu_pressure_s": _pressure,
    "throttled_periods": lambda: _cgroup("nr_throttled"),
    "throttled_s": _throttled,
    "thermal_throttles": _heat,
}
"""What only grows."""
_STATES: dict[str, Callable[[], float]] = {
    "load_1m": lambda: os.getloadavg()[0],
    "mhz_least": lambda: min(_megahertz("scaling_cur_freq")),
    "mhz_median": lambda: statistics.median(_megahertz("scaling_cur_freq")),
    "mhz_most": lambda: max(_megahertz("cpuinfo_max_freq")),
}
"""What is so at a moment."""
