"""Rates: items a second of blocks of calls, one at a time or several, and what can't be fed so."""

import sys
import time
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from pytest_edgeai.errors import UnsupportedError, WorkerError
from pytest_edgeai.measure import worker
from pytest_edgeai.measure.bench import Bench, Load, Setup
from pytest_edgeai.measure.rates import Blocks
from pytest_edgeai.measure.solo import CANARIES, Solo
from pytest_edgeai.measure.turns import Turns
from pytest_edgeai.records import Variant


@pytest.mark.parametrize("load", [Load(), Load(batch=4), Load(requests=2), Load(batch=2, requests=3)])
def test_a_block_counts_every_item_of_every_call(fake: Callable[[str], Variant], setup: Setup, load: Load) -> None:
    with Solo(fake("parallel"), setup, Blocks(load, "throughput")) as rates:
        found = rates.more(3)
        measurement = rates.measurement("gate", "items/s")

    assert len(found) == 3
    assert found.min() > 0
    assert measurement.samples == {"throughput": list(found)}
    assert (measurement.plan, measurement.unit) == ("blocks", "items/s")
    assert len(rates._canary) == 3 * CANARIES


def test_a_runner_that_makes_one_call_at_a_time_has_no_parallel_requests(
    fake: Callable[[str], Variant], setup: Setup
) -> None:
    with pytest.raises(UnsupportedError, match=r"^fake-fp32-plain: its framework makes one call at a time"):
        Solo(fake("plain"), setup, Blocks(Load(requests=2), "throughput"))


def test_a_failure_in_a_thread_is_told_and_no_thread_waits_for_ever(
    fake: Callable[[str], Variant], setup: Setup
) -> None:
    with (
        Bench(fake("raise_later"), setup) as bench,
        pytest.raises(WorkerError, match="phase 'infer': RuntimeError: the engine says no"),
    ):
        bench.turn(0, 20, Load(requests=2))


class Hogging:
    """A runner that notes when its calls begin and end, and lets no other thread run in them."""

    def __init__(self) -> None:
        self.times: list[tuple[int, int]] = []

    def __call__(self, inputs):
        begin = time.perf_counter_ns()
        if (
            len(self.times) < 2
        ):  # each thread's first call: whoever waits for the threads waits already when they are ready
            time.sleep(0.05)
        outputs = {"sum": sum(array.sum() for _ in range(200) for array in inputs.values())}
        self.times.append((begin, time.perf_counter_ns()))
        return {name: np.array(value) for name, value in outputs.items()}

    def parallel(self, requests):
        return [self] * requests

    def placement(self):
        return {}


def test_parallel_calls_are_timed_from_their_beginning_whenever_the_waiting_thread_is_woken() -> None:
    bench, runner = worker.Bench([]), Hogging()
    bench._runner, bench._items = runner, [{"image": np.ones((1, 8))}]
    before = sys.getswitchinterval()
    try:
        sys.setswitchinterval(10)  # a thread that need not wait goes on until it is done
        seconds = bench.turn(0, calls=20, requests=2)["seconds"]
    finally:
        sys.setswitchinterval(before)

    timed = sorted(runner.times)[
        2:42
    ]  # without each thread's first call, and the one afterwards that answers are held against
    assert len(timed) == 40
    assert seconds * 1e9 >= max(end for _, end in timed) - timed[0][0]


def test_two_variants_take_turns_under_a_load(fake: Callable[[str], Variant], setup: Setup) -> None:
    twins = fake("parallel"), fake("parallel")

    with Turns(*twins, setup, limit=1, pairs=1, seed=1, load=Load(batch=2, requests=2)) as turns:
        ratios = [turns.round(0) for _ in range(5)]

    assert np.isfinite(ratios).all()


def test_a_recipe_for_a_batch_is_called_with_that_many_items_and_timed_for_each(
    fake: Callable[[str], Variant], setup: Setup
) -> None:
    plain = fake("plain")
    batched = msgspec.structs.replace(plain, recipe=msgspec.structs.replace(plain.recipe, tuning={"batch": 4}))

    with Bench(batched, setup) as bench:
        outputs = bench.outputs
    with Turns(plain, batched, setup, limit=1, pairs=1, seed=1) as turns:
        turns.round(0)

    assert outputs == {"logits": ["float32", [4, 4]]}


def test_items_are_scored_alike_one_at_a_time_and_in_batches(
    fake: Callable[[str], Variant], setup: Setup, tmp_path
) -> None:
    plain = fake("plain")
    batched = msgspec.structs.replace(plain, recipe=msgspec.structs.replace(plain.recipe, tuning={"batch": 5}))
    found = []

    for number, variant in enumerate((plain, batched)):
        with Bench(variant, setup) as bench:
            assert bench.score(setup.inputs, tmp_path / f"{number}.npz", ["logits"], timeout=60) == []
        found.append(np.load(tmp_path / f"{number}.npz")["logits"])

    assert found[0].shape == (16, 4)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-5)
