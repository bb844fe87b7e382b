"""Quiet: whether the cores are free, by what the kernel says, and how long that is waited for."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_edgeai.measure import quiet
from pytest_edgeai.measure.quiet import Quiet

CORES = os.cpu_count() or 1


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many tasks the kernel says are running, this one included."""
    monkeypatch.setattr(quiet, "_LOAD", tmp_path / "loadavg")

    def write(tasks: int) -> None:
        (tmp_path / "loadavg").write_text(f"0.52 0.58 0.59 {tasks}/1184 4242\n")

    return write


@pytest.mark.parametrize(("tasks", "free"), [(1, True), (2, False), (40, False)])
def test_all_cores_are_free_when_nothing_runs_but_who_asks(
    running: Callable[[int], None], tasks: int, free: bool
) -> None:
    running(tasks)

    assert Quiet(CORES, patience=0).free() is free


def test_a_neighbour_on_a_core_that_is_not_needed_does_not_matter(running: Callable[[int], None]) -> None:
    running(2)

    assert Quiet(CORES - 1, patience=0).free()


def test_where_the_kernel_does_not_say_the_cores_are_believed_to_be_free(
    running: Callable[[int], None], tmp_path: Path
) -> None:
    missing = Quiet(CORES, patience=0).free()
    (tmp_path / "loadavg").write_text("nonsense")

    assert missing
    assert Quiet(CORES, patience=0).free()


def test_free_cores_are_not_waited_for(running: Callable[[int], None]) -> None:
    running(1)
    found = Quiet(CORES, patience=60)

    assert found.wait()
    assert found.waited == 0


def test_waiting_ends_when_the_cores_are_free(running: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    running(9)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            running(1)

    monkeypatch.setattr(quiet.time, "sleep", sleep)
    found = Quiet(CORES, patience=600)

    assert found.wait()
    assert len(pauses) == 3
    assert found.waited > 0


def test_patience_is_spent_once_and_for_all_waits_together(
    running: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    running(9)
    clock = itertools.count()
    monkeypatch.setattr(quiet.time, "sleep", lambda _: None)
    monkeypatch.setattr(quiet.time, "perf_counter", lambda: float(next(clock)))
    found = Quiet(CORES, patience=20)

    waits = [found.wait() for _ in range(4)]

    assert waits == [False] * 4
    assert 20 <= found.waited <= 40
