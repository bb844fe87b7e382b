"""Latency: wall time of one call."""

import time
from collections.abc import Mapping, Sequence

from pytest_edgeai.hookspecs import hookimpl
from pytest_edgeai.protocols import Metric


class Latency:
    """Seconds of one call, by the monotonic clock with the finest resolution."""

    name = "latency"
    units: Mapping[str, str] = {"latency": "s"}
    per = "call"

    def __init__(self) -> None:
        self._begin = 0

    def unsupported(self) -> str | None:
        """Always readable."""
        return None

    def arm(self) -> None:
        """Note the time."""
        self._begin = time.perf_counter_ns()

    def read(self, calls: int) -> Mapping[str, float]:
        """Seconds a call since :meth:`arm`."""
        return {"latency": (time.perf_counter_ns() - self._begin) * 1e-9 / calls}


@hookimpl
def edge_metrics() -> Sequence[Metric]:
    """The metric of this file."""
    return (Latency(),)
