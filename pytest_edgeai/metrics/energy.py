"""Energy: joules of a call and watts while calls are made, from the machine's own sensors."""

import functools
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_edgeai.hookspecs import hookimpl
from pytest_edgeai.protocols import Metric


class Energy:
    """What all sensors together counted that Zeus can read: CPU packages and memory by RAPL, GPUs by their drivers, systems on a chip by theirs.

    ``per_call`` is joules over the number of calls, ``power`` joules over seconds. The counters are of whole devices, so everything else
    that runs on them counts too; nothing is subtracted. They are updated some thousand times a second, so they are read around seconds of
    calls. An estimate from a CPU's nominal power is never taken for a reading. Needs the extra ``energy`` (https://ml.energy/zeus).
    """

    name = "energy"
    units: Mapping[str, str] = {"per_call": "J", "power": "W"}
    per = "block"

    def __init__(self) -> None:
        self._begin = 0.0

    def unsupported(self) -> str | None:
        """There must be a sensor that this user may read."""
        monitor = _monitor()
        return monitor if isinstance(monitor, str) else None

    def arm(self) -> None:
        """Note the counters."""
        _monitor().begin_window("calls", sync_execution=False)
        self._begin = time.perf_counter()

    def read(self, calls: int) -> Mapping[str, float]:
        """``per_call`` in joules and ``power`` in watts since :meth:`arm`."""
        seconds = time.perf_counter() - self._begin
        joules = float(_monitor().end_window("calls", sync_execution=False).total_energy)
        return {"per_call": joules / calls, "power": joules / seconds}


@functools.cache
def _monitor() -> Any:
    """Zeus' monitor of every sensor that there is; a sentence where there is none."""
    logging.getLogger("zeus").setLevel(logging.ERROR)
    try:
        from zeus.monitor import ZeusMonitor
    except ImportError:
        return "energy needs Zeus to read the sensors (pip install 'pytest-edgeai[energy]')"
    try:
        monitor = ZeusMonitor(approx_instant_energy=False)
        reading = _reading(monitor)
    except Exception as error:  # noqa: BLE001 - a driver that answers wrongly is a fact about this machine
        return f"the energy sensors can't be read ({' '.join(str(error).split()) or type(error).__name__})"
    if reading is None:
        return "this machine has no energy sensor that this user may read (on Linux, RAPL's counters in /sys/class/powercap are for root)"
    return monitor


def _reading(monitor: Any) -> float | None:
    """Joules of an empty window; ``None`` where no sensor took part in it."""
    monitor.begin_window("probe", sync_execution=False)
    window = monitor.end_window("probe", sync_execution=False)
    parts = (window.gpu_energy, window.cpu_energy, window.dram_energy, getattr(window, "soc_energy", None))
    return None if not any(parts) else float(window.total_energy)


@hookimpl
def edge_metrics() -> Sequence[Metric]:
    """The metric of this file."""
    return (Energy(),)
