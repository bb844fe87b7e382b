"""Cold start: from a process with the engine imported to the first answer."""

import time
from collections.abc import Mapping, Sequence

from pytest_edgeai.hookspecs import hookimpl
from pytest_edgeai.protocols import Metric


class ColdStart:
    """Seconds to load the variant and to finish its first call; the engine is already imported. One number a process."""

    name = "cold_start"
    units: Mapping[str, str] = {"cold_start": "s"}
    per = "start"

    def __init__(self) -> None:
        self._begin = 0

    def unsupported(self) -> str | None:
        """Always readable."""
        return None

    def arm(self) -> None:
        """Note the time."""
        self._begin = time.perf_counter_ns()

    def read(self, calls: int) -> Mapping[str, float]:  # noqa: ARG002 - whatever their number
        """Seconds since :meth:`arm`."""
        return {"cold_start": (time.perf_counter_ns() - self._begin) * 1e-9}


@hookimpl
def edge_metrics() -> Sequence[Metric]:
    """The metric of this file."""
    return (ColdStart(),)
