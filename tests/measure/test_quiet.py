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
    monkeypatch.setattr(quiet, "_PROC", tmp_path)

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


@pytest.mark.parametrize(("cores_of_others", "free"), [([2, 3], True), ([0, 3], False), ([1, 1], False)])
def test_what_runs_on_other_cores_than_ours_does_not_matter(
    running: Callable[[int], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cores_of_others: list[int],
    free: bool,
) -> None:
    monkeypatch.setattr(quiet.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(quiet.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    running(1 + len(cores_of_others))
    for pid, (state, core) in enumerate([("R", 0), ("S", 1), *(("R", core) for core in cores_of_others)], start=100):
        folder = tmp_path / str(pid) / "task" / str(pid)
        folder.mkdir(parents=True)
        (folder / "stat").write_text(f"{pid} (a) name) {state} {'0 ' * 35}{core} 0 0\n")

    assert Quiet(2, patience=0).free() is free


def test_a_neighbour_on_our_only_core_is_seen_on_a_machine_with_more(
    running: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quiet.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(quiet.os, "sched_getaffinity", lambda _: {1}, raising=False)
    monkeypatch.setattr(quiet, "_running_on", lambda _: 2)
    running(2)

    assert not Quiet(1, patience=0).free()


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
