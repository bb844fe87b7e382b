"""The canary: constant work on as many threads as the model."""

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
