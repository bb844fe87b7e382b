"""A worker process as the pytest process sees it: started clean, asked, watched, and killed with everything it started."""

import contextlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from pytest_edgeai import errors, folders, interrupts
from pytest_edgeai.errors import EdgeError, WorkerError
from pytest_edgeai.measure import channel

KEPT: Final = frozenset(
    {
        "PATH",
        "HOME",
        "USERPROFILE",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "TZ",
        "SYSTEMROOT",
        "SYSTEMDRIVE",
        "WINDIR",
        "COMSPEC",
        "PATHEXT",
        "TEMP",
        "TMP",
        "TMPDIR",
        "APPDATA",
        "LOCALAPPDATA",
        "LD_LIBRARY_PATH",
        "DYLD_LIBRARY_PATH",
        "DYLD_FALLBACK_LIBRARY_PATH",
        "VIRTUAL_ENV",
        "CUDA_VISIBLE_DEVICES",
        "CUDA_HOME",
        "NVIDIA_VISIBLE_DEVICES",
        "NVIDIA_DRIVER_CAPABILITIES",
        "HIP_VISIBLE_DEVICES",
        "ZE_AFFINITY_MASK",
    }
)
"""Environment variables that a worker inherits: what the system, the loader and the accelerators need."""

SET: Final = {
    "PYTHONUTF8": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    # Idle pools of runtimes that use libgomp would spin on the cores that the other side is timed on.
    "GOMP_SPINCOUNT": "10000",
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    # What keeps ONNX Runtime, OpenVINO, NNCF and Olive from sending telemetry and writing into the home folder when they are imported.
    "CI": "true",
    "NO_COLOR": "1",
}
OWN: Final = ("TMPDIR", "TEMP", "TMP", "HF_HOME")
"""Environment variables that name a folder of the worker's own: Olive makes one in Hugging Face's cache even where nothing is downloaded."""
HUB: Final = frozenset(
    {
        "HF_HOME",
        "HF_HUB_CACHE",
        "HF_DATASETS_CACHE",
        "HF_TOKEN",
        "HF_TOKEN_PATH",
        "HF_ENDPOINT",
        "HF_HUB_OFFLINE",
        "HF_DATASETS_OFFLINE",
        "XDG_CACHE_HOME",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
    }
)
"""What a worker that loads data from Hugging Face's hub inherits beside these, in place of what is set: the user's cache, access and way to it."""
MARK: Final = "PYTEST_EDGEAI_WORKER"
"""Environment variable by which a worker's descendants are known."""
LOG_LIMIT: Final = 64 * 2**20
"""Bytes that a worker may print before it is stopped."""
CRASHED: Final = "; `edgeai doctor` tries its engine with a small model, and says what mends it"
_HINTS: Final = {"SIGKILL": "; the system may have run out of memory", "SIGSEGV": CRASHED, "SIGILL": CRASHED}
_SLICE: Final = 0.5
"""Seconds between looks at the log's size while waiting; waiting itself blocks."""
STALL: Final = 10
"""Seconds without a byte in the middle of an answer after which the rest is not waited for."""
_COLUMNS: Final = 200
"""Of a log's line that an error shows."""
_NO_ENGINE: Final = re.compile(
    rf'\s*File "({re.escape(str(Path(__file__).parents[1]))}\b|<frozen runpy>|[^"]*[/\\]threading\.py)|(Current t|T)hread 0x|Extension modules:|\s*$'
)
"""Lines of a dump of stacks that say nothing about the engine."""


class Worker:
    """One worker process; a context manager that leaves nothing behind.

    ``subject`` names in errors what the worker is for; ``offline``: take the network away from it, where the system allows that; ``hub``: it loads data
    from Hugging Face's hub as the user does.
    """

    def __init__(self, subject: str, *, offline: bool = False, hub: bool = False) -> None:
        self.subject = subject
        # A folder of its own to stand in: engines drop files where they run.
        self._home = folders.temporary("worker")
        self._mark = self._home.name
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        self._connection, theirs = Pipe()
        self._wait = channel.waiter(self._connection)
        self._process: subprocess.Popen[bytes] | None = None
        _OPEN.add(self)
        try:
            with interrupts.held(), theirs:
                self._start(theirs, offline, hub)
        except BaseException:
            self.close()
            raise

    def _start(self, theirs: Connection, offline: bool, hub: bool) -> None:
        self._home.mkdir(mode=0o700)
        if sys.platform != "win32":
            with socket.socket(fileno=os.dup(self._connection.fileno())) as ours:
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", STALL, 0))
        handle = theirs.fileno()
        inherit: dict[str, Any] = {"pass_fds": [handle], "start_new_session": True}
        if sys.platform == "win32":
            os.set_handle_inheritable(handle, True)
            startup = subprocess.STARTUPINFO(lpAttributeList={"handle_list": [handle]})
            inherit = {"startupinfo": startup, "creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-P", "-m", "pytest_edgeai.measure", str(handle), str(os.getpid())]
            + (["offline"] if offline else []),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={**_environment(self._home, hub=hub), MARK: self._mark},
            cwd=self._home,
            **inherit,
        )

    def ask(self, operation: str, *, phase: str, timeout: float, **arguments: Any) -> Any:
        """The worker's answer. Raises WorkerError when it died, hung or answered nonsense; its own EdgeError when it refused."""
        if self._connection.closed:
            raise WorkerError(self.subject, phase, "it was closed before")
        try:
            channel.send(self._connection, {"do": operation, **arguments})
            deadline = time.monotonic() + timeout
            while not self._wait(min(_SLICE, max(0.0, deadline - time.monotonic()))):
                if time.monotonic() >= deadline:
                    raise self._failed(phase, self._stop_hanging(timeout))
                self._limit_log(phase)
            answer = self._receive()
        except BlockingIOError as error:
            self.kill()
            raise self._failed(phase, "it stopped in the middle of an answer") from error
        except (EOFError, ConnectionError, OSError) as error:
            raise self._failed(phase, self._death()) from error
        except ValueError as error:
            self.kill()
            raise self._failed(phase, f"it answered nonsense ({error})") from error
        self._limit_log(phase)
        if "refused" in answer:
            raised = getattr(errors, answer["refused"], None) if answer["refused"] else None
            if isinstance(raised, type) and issubclass(raised, EdgeError) and raised is not WorkerError:
                raise raised(f"{self.subject}: {answer['text']}")
            raise self._failed(phase, answer["text"])
        return answer["ok"]

    def kill(self) -> None:
        """Kill the process and everything that it started."""
        if self._process is None:
            return
        if sys.platform == "win32":
            self._process.kill()
        else:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if sys.platform == "linux":
            _kill_marked(self._mark)

    def close(self) -> None:
        """End the process: by closing the connection, else by force."""
        with interrupts.held():
            self._connection.close()
            # Nothing is gained by an orderly end when something went wrong or somebody pressed Ctrl-C, and six workers add up.
            if self._process is not None and sys.exc_info()[0] is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(timeout=0.2)
            self.kill()
            self._log.close()
            shutil.rmtree(self._home, ignore_errors=True)
            _OPEN.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise WorkerError(self.subject, "start", "it was never started")
        return self._process

    def _receive(self) -> dict[str, Any]:
        answer = channel.receive(self._connection)
        if "ok" not in answer and not (isinstance(answer.get("refused"), str) and "text" in answer):
            raise ValueError("neither a result nor an error")
        return answer

    def _limit_log(self, phase: str) -> None:
        if os.fstat(self._log.fileno()).st_size > LOG_LIMIT:
            self.kill()
            raise self._failed(phase, f"it printed more than {LOG_LIMIT >> 20} MiB")

    def _failed(self, phase: str, cause: str) -> WorkerError:
        size = os.fstat(self._log.fileno()).st_size
        # pread: the worker shares the file's position, which must stay at its end.
        tail = os.pread(self._log.fileno(), 8192, max(0, size - 8192)) if hasattr(os, "pread") else b""
        return WorkerError(self.subject, phase, cause, _tidy(tail.decode("utf-8", "replace")))

    def _stop_hanging(self, timeout: float) -> str:
        if hasattr(signal, "SIGUSR1"):
            self._running.send_signal(signal.SIGUSR1)  # faulthandler prints where it hangs
            time.sleep(0.2)
        self.kill()
        return f"no answer within {timeout:.0f} s"

    def _death(self) -> str:
        try:
            status = self._running.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.kill()
            return "it closed the connection"
        if status >= 0:
            return f"it exited with status {status} before it answered"
        name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
        return f"killed by {name}{_HINTS.get(name, '')}"


_OPEN: Final[set[Worker]] = set()
"""Workers that are not closed. An interrupt can strike between the start of one and the block that would close it."""


def close_all() -> None:
    """Nothing that this process started is left."""
    for worker in list(_OPEN):
        worker.close()


def run_task(task: str, arguments: Mapping[str, Any], *, subject: str, timeout: float, hub: bool = False) -> Any:
    """Run one task in a fresh worker. See :class:`pytest_edgeai.protocols.Task` and, for ``hub``, :class:`Worker`."""
    with Worker(subject, hub=hub) as worker:
        return worker.ask("task", phase=task, timeout=timeout, task=task, arguments=dict(arguments))


def _kill_marked(mark: str) -> None:
    """Kill what a worker started and what left its process group, wherever it hangs in the tree: it has inherited the environment."""
    wanted = f"{MARK}={mark}".encode()
    for _ in range(10):
        found = [process for process in Path("/proc").iterdir() if process.name.isdigit() and _has(process, wanted)]
        if not found:
            return
        for process in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(process.name), signal.SIGKILL)
        time.sleep(0.01)  # what it had just started is found in the next round


def _has(process: Path, wanted: bytes) -> bool:
    try:
        return wanted in (process / "environ").read_bytes().split(b"\0")
    except OSError:  # it ended, or is somebody else's
        return False


def _tidy(log: str) -> str:
    """The log as an error shows it: without what is not the engine's, control characters and lines without end."""
    lines = [line for line in log.splitlines() if not _NO_ENGINE.match(line)]
    printable = ("".join(sign if sign.isprintable() else "?" for sign in line) for line in lines)
    return "\n".join(line if len(line) <= _COLUMNS else f"{line[:_COLUMNS]}..." for line in printable)


def _environment(home: Path, *, hub: bool) -> dict[str, str]:
    inherited = KEPT | HUB if hub else KEPT
    kept = {name: value for name, value in os.environ.items() if name.upper() in inherited}
    made = {**SET, **dict.fromkeys(OWN, str(home)), "PYTHONPATH": os.pathsep.join(_import_path(sys.path))}
    return kept | {name: value for name, value in made.items() if not (hub and name in HUB)}


def _import_path(path: Sequence[str]) -> list[str]:
    """The parent's import path without what the child has by itself, so that plugin modules are found there too."""
    own = tuple(str(Path(prefix) / "lib") for prefix in {sys.prefix, sys.base_prefix})
    absolute = [str(Path(entry or ".").absolute()) for entry in path]
    return [entry for entry in absolute if not entry.startswith(own)]
