"""Interrupts: they wait for the end of what must not be half done, and are never lost."""

import signal
import threading
from collections.abc import Iterator

import pytest

from pytest_edgeai import interrupts


def deliver(number: int) -> None:
    """As the system does, but to the handler alone: a process of pytest-xdist may end by a real one."""
    handler = signal.getsignal(number)
    if handler is not signal.SIG_IGN:
        assert callable(handler)
        handler(number, None)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process of pytest-xdist may have another
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_ctrl_c_strikes_at_the_end_of_the_block():
    done = []

    def work() -> None:
        with interrupts.held():
            deliver(signal.SIGINT)
            done.append("all of it")

    with pytest.raises(KeyboardInterrupt):
        work()

    assert done == ["all of it"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_is_not_lost_when_the_block_fails():
    def work() -> None:
        with interrupts.held():
            deliver(signal.SIGINT)
            raise RuntimeError("the disk is full")

    with pytest.raises(KeyboardInterrupt) as struck:
        work()

    assert isinstance(struck.value.__context__, RuntimeError)


def test_a_block_in_a_block_passes_it_on_to_the_outer_ones_end():
    done = []

    def work() -> None:
        with interrupts.held():
            with interrupts.held():
                deliver(signal.SIGINT)
            done.append("the outer one, too")

    with pytest.raises(KeyboardInterrupt):
        work()

    assert done == ["the outer one, too"]


def test_sigterm_waits_where_somebody_handles_it():
    seen = []
    signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))

    with interrupts.held():
        deliver(signal.SIGTERM)
        inside = list(seen)

    assert inside == []
    assert seen == [signal.SIGTERM]


@pytest.mark.parametrize("depth", [1, 2])
def test_sigterm_goes_before_the_ctrl_c_that_it_follows(depth: int):
    class Terminated(BaseException):
        pass

    def terminate(number: int, frame: object) -> None:
        raise Terminated

    def work(depth: int) -> None:
        with interrupts.held():
            if depth > 1:
                work(depth - 1)
            else:
                deliver(signal.SIGINT)
                deliver(signal.SIGTERM)

    signal.signal(signal.SIGTERM, terminate)

    with pytest.raises(Terminated):
        work(depth)


def test_what_nobody_raises_at_is_followed_by_what_else_came():
    seen = []
    signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))

    def work() -> None:
        with interrupts.held():
            deliver(signal.SIGINT)
            deliver(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        work()

    assert seen == [signal.SIGTERM]


def test_what_is_ignored_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    with interrupts.held():
        deliver(signal.SIGINT)
        inside = signal.getsignal(signal.SIGINT)

    assert inside is signal.SIG_IGN


def test_other_threads_change_no_handler():
    seen = []

    def work() -> None:
        with interrupts.held():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert seen == [signal.default_int_handler]
