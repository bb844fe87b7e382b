"""Energy: joules of a call and watts while calls are made, from the machine's own sensors."""

import functools
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pytest_edgeai.errors import EdgeError
from pytest_edgeai.hookspecs import hookimpl
from pytest_edgeai.protocols import Metric

_SOC: Final = (
    ("total_energy_mj",),
    ("cpu_energy_mj", "gpu_energy_mj"),
    ("cpu_total_mj", "dram_mj", "gpu_mj", "gpu_sram_mj", "ane_mj"),
)
"""The parts of a system on a chip that make up its whole, by Zeus' names; the first ones that can be read are taken."""
IDLE_SECONDS = 3.0
"""Of doing nothing, before each block."""


class Energy:
    """What all sensors counted that Zeus can read: CPU packages and their memory by RAPL, GPUs by their drivers, systems on a chip by theirs.

    ``per_call`` is joules over the number of calls, ``power`` joules over seconds. The counters are of whole devices, so everything else
    that runs on them counts too. ``idle`` is the power just before, while no call is made, and ``idle_per_call`` what that comes to in the time
    of a call: a claim must hold with that share and without it. They are updated ten to a thousand times a second, so they are read around
    seconds of calls. An estimate from a CPU's nominal power is never taken for a reading, and neither is what a GPU used beside a CPU that
    can't be read. Needs the extra ``energy`` (https://ml.energy/zeus). Was run on no machine with sensors yet.
    """

    name = "energy"
    units: Mapping[str, str] = {"per_call": "J", "power": "W", "idle_per_call": "J", "idle": "W"}
    per = "block"
    block_seconds = 10.0  # a sensor that is updated ten times a second is read to one percent then
    spare: Mapping[str, str] = {"per_call": "idle_per_call", "power": "idle"}

    def __init__(self) -> None:
        self._begin = 0.0
        self._idle = 0.0

    def unsupported(self) -> str | None:
        """There must be a sensor of the CPU or of the whole chip that this user may read."""
        monitor = _monitor()
        return monitor if isinstance(monitor, str) else None

    def arm(self) -> None:
        """Do nothing for a while and note its power, then note the counters."""
        self._note()
        time.sleep(IDLE_SECONDS)
        joules, seconds = self._since()
        self._idle = joules / seconds
        self._note()

    def read(self, calls: int) -> Mapping[str, float]:
        """Joules of a call and watts since :meth:`arm`. Raises EdgeError where the counters stood still."""
        joules, seconds = self._since()
        if joules <= 0:
            raise EdgeError(f"the energy sensors counted nothing in {seconds:.2g} s of work, so they can't be believed")
        power = joules / seconds
        idle = min(self._idle, power)
        return {"per_call": joules / calls, "power": power, "idle_per_call": idle * seconds / calls, "idle": idle}

    def _note(self) -> None:
        _monitor().begin_window("calls", sync_execution=False)
        self._begin = time.perf_counter()

    def _since(self) -> tuple[float, float]:
        """Joules and seconds since the last note."""
        seconds = time.perf_counter() - self._begin
        return sum(_joules(_monitor().end_window("calls", sync_execution=False)).values()), seconds


@functools.cache
def _monitor() -> Any:
    """Zeus' monitor of every sensor that there is; a sentence where there is none to be believed."""
    logging.getLogger("zeus").setLevel(logging.ERROR)
    try:
        from zeus.monitor import ZeusMonitor
    except ImportError:
        return "energy needs Zeus to read the sensors (pip install 'pytest-edgeai[energy]')"
    try:
        monitor = ZeusMonitor(approx_instant_energy=False)
        monitor.begin_window("probe", sync_execution=False)
        found = _joules(monitor.end_window("probe", sync_execution=False))
    except Exception as error:  # noqa: BLE001 - a driver that answers wrongly is a fact about this machine
        return f"the energy sensors can't be read ({' '.join(str(error).split()) or type(error).__name__})"
    if not {"cpu", "soc"} & set(found):
        beside = " (a GPU's alone would leave out the CPU)" if found else ""
        return f"no energy sensor of the CPU can be read{beside}; on Linux, RAPL's counters in /sys/class/powercap are for root"
    return monitor


def _joules(window: Any) -> dict[str, float]:
    """``cpu``, ``dram``, ``gpu``, ``soc`` -> joules of a window, of those that took part in it.

    Zeus' own total is that of the GPUs alone (0.16).
    """
    parts = {"cpu": window.cpu_energy, "dram": window.dram_energy, "gpu": window.gpu_energy}
    found = {name: float(sum(counted.values())) for name, counted in parts.items() if counted}
    for names in _SOC:
        read = [one for name in names if (one := getattr(window.soc_energy, name, None)) is not None]
        if read:
            return found | {"soc": sum(read) / 1000}
    return found


@hookimpl
def edge_metrics() -> Sequence[Metric]:
    """The metric of this file."""
    return (Energy(),)
