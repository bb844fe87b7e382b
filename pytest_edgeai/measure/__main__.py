"""The start of a worker: ``python -P -m pytest_edgeai.measure HANDLE PARENT [offline]``.

The process is made ready here, before anything that starts threads is imported; then :mod:`pytest_edgeai.measure.worker` serves.
"""

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys

from pytest_edgeai.measure import isolation


def _prepare_process(parent: int) -> None:
    """Make the process die with its parent, leave no core file, fill no disk, and print native crashes' tracebacks."""
    faulthandler.enable()
    # Engines print to stdout; everything they say belongs to the log.
    os.dup2(2, 1)
    if sys.platform == "win32":
        return
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    isolation.limit_files(".")
    isolation.die_first()
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            sys.exit(1)


if __name__ == "__main__":
    why = isolation.leave_network() if "offline" in sys.argv[3:] else "it was not asked to have none"
    _prepare_process(int(sys.argv[2]))
    from pytest_edgeai.measure import worker

    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        worker.serve(sys.argv[1], why)
