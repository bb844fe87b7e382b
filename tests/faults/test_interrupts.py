"""Interrupts: whatever a run is doing, Ctrl-C, SIGTERM and SIGKILL leave no process, no folder and no half-written file behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from pytest_edgeai import folders
from pytest_edgeai.measure.process import MARK, Worker

TESTS = """
def test_accuracy(edge_variant):
    assert edge_variant.accuracy >= 0.5

def test_latency(edge_variant):
    assert edge_variant.latency.p50 <= 1000

def test_speedup(edge_variant):
    assert edge_variant.speedup >= 0.5

def test_choice(edge_choice):
    assert edge_choice.size <= 1e9
"""
SLEEPER = """
import time

def asleep():
    with open("asleep", "a") as file:
        file.write("z")
    time.sleep(3600)

def score(outputs, label):
    asleep()
    return 1.0
"""
PHASES = {
    "a build": ("latency", "slow_build", "building fake-fp32-slow_build"),
    "a build that hangs": ("latency", "hang_build", "building fake-fp32-hang_build"),
    "loading": ("latency", "hang_load", "deciding fake-fp32-hang_load"),
    "a series": ("latency", "hang_later", "deciding fake-fp32-hang_later"),
    "turns": ("speedup", "hang_later", "deciding fake-fp32-hang_later"),
    "scoring": ("accuracy", "hang_later", "scoring fake-fp32-hang_later"),
    "screening": ("choice", "hang_later", "screening fake-fp32-hang_later"),
    "a grandchild of its own": ("latency", "breeding", "deciding fake-fp32-breeding"),
}
"""What a run is doing -> (test, method of the fake engine, what the run says of it)."""


@dataclass
class Started:
    """A pytest process of its own, with what it wrote so far."""

    process: "subprocess.Popen[bytes]"
    output: Path

    @property
    def text(self) -> str:
        return self.output.read_text()

    def wait_for(self, ready: Callable[[], object]) -> None:
        guard = time.monotonic() + 120
        while not ready():
            assert self.process.poll() is None, self.text
            assert time.monotonic() < guard, self.text
            time.sleep(0.02)

    def end(self, number: int) -> int:
        """Its exit status after this signal."""
        self.process.send_signal(number)
        return self.process.wait(timeout=60)


@pytest.fixture
def start(edge) -> Iterator[Callable[..., Started]]:
    """Starts pytest in a process of its own, with a cache of its own."""
    started: list[Started] = []

    def run(test: str, method: str, *arguments: str, cache: Path = edge.cache, source: str = TESTS) -> Started:
        edge.write(source, fake=True)
        output = edge.pytester.path / f"output-{len(started)}.txt"
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", f"test_{test}", *arguments]
        options = [f"--edge-recipe=fake-fp32-{method}", f"--edge-cache={cache}", f"--edge-report={edge.report}"]
        with output.open("wb") as stream:
            process = subprocess.Popen(
                [*command, "--edge-target=cross", *options],
                stdout=stream,
                stderr=stream,
                cwd=edge.pytester.path,
                start_new_session=True,
            )
        started.append(Started(process, output))
        return started[-1]

    yield run
    for one in started:
        one.process.kill()
        one.process.wait()


@pytest.fixture
def family(temporary: Path) -> Callable[[], list[psutil.Process]]:
    """Workers of this test and whatever they started, living."""

    def find() -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                mark = process.environ().get(MARK)
                if mark and process.environ()["TMPDIR"] == str(temporary / mark):
                    found.append(process)
            except psutil.Error:  # it ended meanwhile, or is not ours to look at
                continue
        return found

    return find


@pytest.fixture
def left(temporary: Path, edge) -> Callable[[], list[str]]:
    """Names of what an interrupted run left in the folder for temporary files, in the cache and as a report."""

    def find() -> list[str]:
        lock = f"pytest-edgeai-{os.getuid()}"
        here = [path for path in temporary.rglob("*") if lock not in path.parts]
        cache = [path for path in edge.cache.rglob("*") if path.parent.name == "partial" or ".json." in path.name]
        return sorted(path.name for path in [*here, *cache, *edge.report.rglob("*")])

    return find


@pytest.mark.parametrize("phase", PHASES)
def test_ctrl_c_leaves_nothing_behind(start, family, left, phase: str) -> None:
    test, method, said = PHASES[phase]
    run = start(test, method)
    run.wait_for(lambda: said in run.text and len(family()) >= (2 if method == "breeding" else 1))

    status = run.end(signal.SIGINT)

    assert status == pytest.ExitCode.INTERRUPTED
    assert family() == []
    assert left() == []
    assert "Traceback" not in run.text


def test_ctrl_c_ends_waiting_for_the_hosts_lock(start, family, left) -> None:
    holder = start("latency", "hang_load")
    holder.wait_for(lambda: "deciding" in holder.text)
    run = start("latency", "plain")
    run.wait_for(lambda: "edgeai: waiting: " in run.text)

    status = run.end(signal.SIGINT)
    holder.end(signal.SIGINT)

    assert status == pytest.ExitCode.INTERRUPTED
    assert family() == []
    assert left() == []


@pytest.mark.parametrize("phase", ["a build", "turns"])
def test_sigterm_ends_a_run_as_orderly_as_ctrl_c(start, family, left, phase: str) -> None:
    test, method, said = PHASES[phase]
    run = start(test, method)
    run.wait_for(lambda: said in run.text and family())

    status = run.end(signal.SIGTERM)

    assert status == 128 + signal.SIGTERM
    assert family() == []
    assert left() == []
    assert "terminated by SIGTERM" in run.text


SLEEPERS = {
    "a score": """
        def test_score(edge_variant):
            assert edge_variant.accuracy >= 0.5
    """,
    "a test that catches exceptions": """
        def test_score(edge_variant):
            try:
                sleeper.asleep()
            except (Exception, KeyboardInterrupt):
                pass
    """,
    "a test that catches everything": """
        def test_score(edge_variant):
            try:
                sleeper.asleep()
            except BaseException:
                pass

        def test_score_again(edge_variant):
            sleeper.asleep()
    """,
    "a fixture's teardown": """
        @pytest.fixture
        def slow():
            yield
            sleeper.asleep()

        def test_score(slow, edge_variant):
            pass
    """,
}
"""Whose code SIGTERM strikes -> a test of the user's that runs it."""


@pytest.mark.parametrize("sleeping", SLEEPERS)
def test_sigterm_ends_a_run_in_the_users_own_code(start, family, left, edge, sleeping: str) -> None:
    edge.pytester.makepyfile(sleeper=SLEEPER)
    run = start("score", "plain", "--edge-score=sleeper:score", source=f"import sleeper\n{dedent(SLEEPERS[sleeping])}")
    run.wait_for((edge.pytester.path / "asleep").exists)

    status = run.end(signal.SIGTERM)

    assert status == 128 + signal.SIGTERM
    assert family() == []
    assert left() == []
    assert "terminated by SIGTERM" in run.text
    assert len((edge.pytester.path / "asleep").read_text()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_of_the_controller_alone_reaches_the_processes_of_xdist(start, family, left, number: int) -> None:
    run = start("latency", "slow_build", "-n", "2")
    run.wait_for(lambda: "edgeai: [gw" in run.text and "building fake-fp32-slow_build" in run.text and family())

    status = run.end(number)

    assert status == (pytest.ExitCode.INTERRUPTED if number == signal.SIGINT else 128 + number)
    assert family() == []
    assert left() == []


def test_workers_die_with_a_pytest_that_is_killed_and_a_later_run_removes_its_folders(
    start, family, left, temporary: Path
) -> None:
    run = start("speedup", "hang_later")
    run.wait_for(lambda: "deciding" in run.text and family())

    status = run.end(signal.SIGKILL)
    guard = time.monotonic() + 60
    while family() and time.monotonic() < guard:
        time.sleep(0.02)
    there = left()
    for folder in temporary.glob("pytest-edgeai-*-*"):
        os.utime(folder, (0, 0))
    folders.sweep()

    assert status == -signal.SIGKILL
    assert family() == []
    assert len(there) > 0
    assert left() == []


def test_a_sweep_removes_only_what_is_ours_old_and_nobodys(temporary: Path) -> None:
    dead = "pytest-edgeai-20200101T000000-999999999-0123456789abcdef"
    alive = f"pytest-edgeai-worker-{os.getpid()}-0123456789abcdef"
    kept = [alive, "pytest-edgeai-0", "pytest-edgeai-mine", "pytest-of-somebody", "x" + dead]
    for name in [dead, *kept]:
        (temporary / name).mkdir()
        os.utime(temporary / name, (0, 0))
    young = temporary / dead.replace("0123", "9999")
    young.mkdir()
    (temporary / dead.replace("0123", "8888")).symlink_to(temporary / "pytest-edgeai-mine")

    folders.sweep()

    assert sorted(path.name for path in temporary.iterdir()) == sorted(
        [*kept, young.name, dead.replace("0123", "8888")]
    )


def test_what_left_the_workers_group_and_lost_its_parent_dies_with_the_worker(family) -> None:
    code = "import os, time; os.fork() and os._exit(0); os.setsid(); time.sleep(3600)"
    with Worker("a test") as worker:
        environment = {**os.environ, MARK: worker._mark, "TMPDIR": str(worker._home)}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        before = [process for process in family() if process.pid != worker._running.pid]

    assert len(before) == 1
    assert family() == []
