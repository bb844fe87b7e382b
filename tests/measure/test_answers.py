"""What is timed is what is scored: the answers of timed calls are held against untimed ones."""

import dataclasses

import msgspec
import numpy as np
import pytest

from pytest_edgeai.errors import ModelError
from pytest_edgeai.measure import worker
from pytest_edgeai.measure.bench import Bench, Load

WAYS = {
    "turn": lambda bench: bench.turn(0, 3),
    "batch": lambda bench: bench.turn(0, 3, Load(batch=4)),
    "series": lambda bench: bench.series("latency", 0, 3),
    "block": lambda bench: bench.block("latency", 0, 0.001),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_engine_that_is_not_done_when_it_returns_is_found_however_it_is_timed(fake, setup, way):
    with Bench(fake("hasty"), setup, ["latency"]) as bench, pytest.raises(ModelError) as error:
        WAYS[way](bench)

    assert "output 'logits' of a timed call differs from that of the same call untimed (by 100 %)" in str(error.value)
    assert "what is timed is not what is scored" in str(error.value)


def test_requests_that_share_an_answer_are_found(fake, setup, plugin):
    name = plugin(
        """
import numpy as np
import fake_engine
from pytest_edgeai import hookimpl
from pytest_edgeai.records import Recipe

class Sharing(fake_engine.Runner):
    def parallel(self, requests):
        buffer = {}
        def answer(inputs):
            if not buffer:
                buffer.update(self(inputs))
            return buffer
        return [answer] * requests

class Engine(fake_engine.Fake):
    name = "sharing"
    def load(self, recipe, folder, threads):
        return Sharing(recipe.method, folder, threads)

@hookimpl
def edge_frameworks():
    return (Engine(),)
"""
    )
    plain = fake("plain")
    variant = msgspec.structs.replace(plain, recipe=msgspec.structs.replace(plain.recipe, framework="sharing"))
    shared = dataclasses.replace(setup, modules=[*setup.modules, name])

    with Bench(variant, shared) as bench, pytest.raises(ModelError, match="what is timed is not what is scored"):
        bench.turn(0, 2, Load(requests=2))


@pytest.mark.parametrize("method", ["plain", "wavering"])
def test_a_runtime_is_allowed_as_much_as_its_own_answers_differ(fake, setup, method):
    with Bench(fake(method), setup) as bench:
        seconds = [bench.turn(first, 3) for first in range(20)]

    assert min(seconds) > 0


REAL, WHOLE = np.array([3.0, 4.0], dtype=np.float32), np.array([1, 2, 3, 4])


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ({"a": REAL}, {"a": REAL}, ("a", 0.0)),
        ({"a": REAL * 1.1}, {"a": REAL}, ("a", 0.1)),
        ({"a": REAL, "b": REAL * 2}, {"a": REAL, "b": REAL}, ("b", 1.0)),
        ({"a": REAL * 0}, {"a": REAL * 0}, ("a", 0.0)),
        ({"a": REAL}, {"a": REAL * 0}, ("a", np.inf)),
        ({"a": REAL}, {"a": REAL[:1]}, ("a", np.inf)),
        ({"a": REAL}, {"b": REAL}, ("a", np.inf)),
        ({"a": WHOLE}, {"a": WHOLE[::-1]}, ("a", 1.0)),
        ({"a": WHOLE}, {"a": np.array([1, 2, 3, 5])}, ("a", 0.25)),
        ({"a": WHOLE[:0]}, {"a": WHOLE[:0]}, ("a", 0.0)),
        ({"a": REAL * 1j}, {"a": REAL * 1j}, ("a", 0.0)),
        ({}, {}, ("", 0.0)),
    ],
)
def test_how_far_two_answers_lie_apart(one, other, apart):
    name, distance = worker._apart(one, other)

    assert name == apart[0]
    assert distance == pytest.approx(apart[1], rel=1e-6)
