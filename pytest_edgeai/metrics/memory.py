"""Memory: the process' peak, and what the model itself adds to it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_edgeai.hookspecs import hookimpl
from pytest_edgeai.protocols import Metric

_PROC = Path("/proc/self")


class Memory:
    """Bytes resident in RAM, from the kernel's own high-water mark (``VmHWM``), which misses no spike.

    ``peak`` is the process' high-water mark; ``footprint`` is the model's own part of it: the mark is reset just before
    loading (``5`` written to ``/proc/self/clear_refs``, proc(5)), else the spikes of importing the engine would hide the model.
    File-backed pages that the model touches count. Linux only.
    """

    name = "memory"
    units: Mapping[str, str] = {"footprint": "bytes", "peak": "bytes"}
    per = "process"

    def __init__(self) -> None:
        self._before = 0
        self._earlier = 0

    def unsupported(self) -> str | None:
        """The kernel must let a process reset its own mark."""
        try:
            self.arm()
        except OSError as error:
            return f"the kernel's memory high-water mark can't be read and reset here ({error.strerror or error})"
        return None

    def arm(self) -> None:
        """Reset the mark, noting what it was and what is resident."""
        self._earlier = max(self._earlier, _status("VmHWM"))
        (_PROC / "clear_refs").write_text("5")
        self._before = _status("VmRSS")

    def read(self, calls: int) -> Mapping[str, float]:  # noqa: ARG002 - whatever their number
        """``footprint`` and ``peak`` in bytes since :meth:`arm`."""
        peak = _status("VmHWM")
        return {"footprint": float(max(0, peak - self._before)), "peak": float(max(peak, self._earlier))}


def _status(field: str) -> int:
    for line in (_PROC / "status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


@hookimpl
def edge_metrics() -> Sequence[Metric]:
    """The metric of this file."""
    return (Memory(),)
