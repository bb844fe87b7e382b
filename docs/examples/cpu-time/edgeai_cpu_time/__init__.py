"""A metric: CPU time of one call, over all threads. What a battery pays for, where latency is what a user waits for."""

import time

from pytest_edgeai import hookimpl


class CpuTime:
    """Seconds that all threads of the process spent on the cores during one call."""

    name = "cpu_time"
    units = {"cpu_time": "s"}  # part -> unit; one number has the metric's own name
    per = "call"

    def __init__(self):
        self._begin = 0

    def unsupported(self):
        """Readable wherever Python runs."""
        return None

    def arm(self):
        """Note the time."""
        self._begin = time.process_time_ns()

    def read(self, calls):
        """Seconds a call since ``arm``."""
        return {"cpu_time": (time.process_time_ns() - self._begin) * 1e-9 / calls}


@hookimpl
def edge_metrics():
    """The metric of this module."""
    return [CpuTime()]
