"""Isolation: a worker without a network, for users with and without privileges, with threads and without."""

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_edgeai.measure.process import Worker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux's")

SETFCAP = 31
"""The capability without which nobody may map user 0 into a user namespace: capabilities(7)."""
REACHES = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gram:
    try:
        gram.connect(("127.0.0.1", 9))
    except OSError as error:
        print(error.strerror)
    else:
        print("there is a network")
"""
LEAVES = f"""
from pytest_edgeai.measure import isolation
print(isolation.leave_network())
{REACHES}
"""
ASKS = """
from pytest_edgeai.measure.process import Worker
with Worker("a test", offline=True) as worker:
    print(worker.ask("open", phase="start", timeout=60, modules=[])["networked"])
"""

Drops = Callable[[], None]


def dropping(*kept: int) -> Drops:
    """Makes a process, and whatever it executes, one without the privileges of root; a process of another user has none."""
    drop = ctypes.CDLL(None).prctl

    def run() -> None:
        bounding_set_drop = 24
        for capability in set(range(64)) - set(kept):
            drop(bounding_set_drop, capability, 0, 0, 0)

    return run


def said(program: str, preexec: Drops) -> list[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, preexec_fn=preexec, check=True
    )
    return ended.stdout.splitlines()


def needs_namespaces(preexec: Drops) -> None:
    """Skips where the system makes no network namespace for such a process, asked with the system's own tool."""
    command = ["unshare", "--user", "--net", "true"]
    if subprocess.run(command, preexec_fn=preexec, capture_output=True, check=False).returncode:
        pytest.skip("this system makes no network namespace for a user without privileges")


@pytest.mark.parametrize("kept", [(SETFCAP,), ()], ids=["may name users", "may name no user"])
def test_a_user_without_privileges_leaves_the_network(kept):
    drop = dropping(*kept)
    needs_namespaces(drop)

    assert said(LEAVES, drop) == ["None", "Network is unreachable"]


@pytest.mark.parametrize("kept", [(SETFCAP,), ()], ids=["may name users", "may name no user"])
def test_a_worker_of_a_user_without_privileges_leaves_the_network(kept):
    drop = dropping(*kept)
    needs_namespaces(drop)

    assert said(ASKS, drop) == ["None"]


def test_the_start_of_a_worker_imports_nothing_that_starts_threads():
    program = "import sys, threading, os\nimport pytest_edgeai.measure.__main__\n"
    program += "print(len(os.listdir('/proc/self/task')), 'numpy' in sys.modules, 'msgspec' in sys.modules)"

    assert said(program, lambda: None) == ["1 False False"]


def test_a_process_that_may_not_leave_the_network_says_why():
    threaded = "import threading, time\nthreading.Thread(target=time.sleep, args=(3600,), daemon=True).start()\n"

    reason, network = said(threaded + LEAVES, dropping())

    assert reason.startswith("the system allows no network namespace (")
    assert network == "there is a network"


def test_a_worker_that_is_not_asked_to_keeps_its_network():
    with Worker("a test") as worker:
        answer = worker.ask("open", phase="start", timeout=60, modules=[])

    assert answer["networked"] == "it was not asked to have none"
