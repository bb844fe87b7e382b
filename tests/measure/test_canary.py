"""The canary: constant work on as many threads as the model."""

import os
import threading

import pytest

from pytest_edgeai.measure.canary import Canary


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_it_runs_again_and_again_and_tells_seconds(threads: int) -> None:
    canary = Canary(threads)

    seconds = [canary.run() for _ in range(50)]

    assert len(seconds) == 50
    assert min(seconds) > 0


def test_its_helpers_do_not_keep_a_process_alive() -> None:
    before = set(threading.enumerate())

    Canary(4).run()

    helpers = set(threading.enumerate()) - before
    assert len(helpers) == 3
    assert all(helper.daemon for helper in helpers)


@pytest.fixture
def placed(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[set[int]]]:
    """Thread -> the cores that it was given, one after the other, on a machine of two cores."""
    found: dict[int, list[set[int]]] = {}
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4, 7}, raising=False)
    monkeypatch.setattr(
        os,
        "sched_setaffinity",
        lambda _, cores: found.setdefault(threading.get_ident(), []).append(set(cores)),
        raising=False,
    )
    return found


def test_each_thread_has_a_core_of_its_own_while_it_runs(placed: dict[int, list[set[int]]]) -> None:
    Canary(2).run()

    mine = placed.pop(threading.get_ident())
    assert mine == [{4}, {4, 7}]
    assert list(placed.values()) == [[{7}]]


@pytest.mark.parametrize("threads", [1, 3])
def test_fewer_or_more_threads_than_cores_are_not_placed(placed: dict[int, list[set[int]]], threads: int) -> None:
    Canary(threads).run()

    assert placed == {}


def test_where_a_sandbox_forbids_it_threads_run_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", forbid, raising=False)

    assert Canary(2).run() > 0
