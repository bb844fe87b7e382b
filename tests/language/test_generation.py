"""Calls of a language model: what is timed, and what must hold of what was timed."""

import itertools

import numpy as np
import pytest

from pytest_edgeai.errors import ModelError
from pytest_edgeai.language.generation import Prompted, Stamps, runner_of

VOCABULARY = 16
ITEM = {"prompt": np.array([1, 2, 3], np.int32), "output": np.array(6)}


class Counting:
    """Finds the next number the likeliest, whatever came before."""

    vocabulary, context = VOCABULARY, 64

    def __init__(self) -> None:
        self.asked: list[int] = []

    def generate(self, prompt, count):
        self.asked.append(count)
        token = int(prompt[-1])
        for _ in range(count):
            token = (token + 1) % VOCABULARY
            yield token

    def logits(self, tokens, chunk):
        for first in range(0, len(tokens), chunk):
            part = tokens[first : first + chunk]
            yield np.eye(VOCABULARY, dtype=np.float32)[(part + 1) % VOCABULARY] * 9

    def placement(self):
        return {"device": "CPU"}


class Sampling(Counting):
    """Draws its tokens."""

    def generate(self, prompt, count):
        yield from np.random.default_rng().integers(0, VOCABULARY, count).tolist()


class Remembering(Counting):
    """Something is left of the second call in the third one."""

    def generate(self, prompt, count):
        left = 1 if len(self.asked) == 2 else 0
        yield from (token + left for token in super().generate(prompt, count))


class Short(Counting):
    """Ends where it finds the end of a text."""

    def generate(self, prompt, count):
        yield from itertools.islice(super().generate(prompt, count), 2)


def test_a_call_gives_as_many_tokens_as_were_asked_for() -> None:
    outputs = Prompted(Counting())(ITEM)

    assert outputs["tokens"].tolist() == [4, 5, 6, 7, 8, 9]


def test_a_call_that_ends_early_is_an_error_that_counts() -> None:
    with pytest.raises(ModelError, match="6 tokens were asked for, and the model gave 2: 4, 5"):
        Prompted(Short())(ITEM)


@pytest.mark.parametrize(("phase", "count"), [("ttft", 1), ("prefill", 1), ("decode", 6), ("end_to_end", 6)])
def test_a_phase_takes_no_more_tokens_than_it_needs(phase: str, count: int) -> None:
    generator = Counting()

    Prompted(generator).timed(ITEM, phase)

    assert generator.asked == [count]


def test_phases_are_told_apart_by_when_tokens_are_known() -> None:
    call = Stamps(prompt=100, begin=0, tokens=(5, 6, 7), known=(4_000_000, 4_500_000, 6_000_000))

    columns = call.columns()

    assert columns.pop("itl") == pytest.approx([0.0005, 0.0015])
    assert {name: value for name, (value,) in columns.items()} == pytest.approx(
        {"ttft": 0.004, "prefill": 25_000, "tpot": 0.001, "decode": 1000, "end_to_end": 0.006}
    )


def test_a_first_token_alone_shows_nothing_of_the_others() -> None:
    assert Stamps(10, 0, (5,), (1_000,)).columns().keys() == {"ttft", "prefill"}


def test_what_is_generated_must_be_what_is_found_likeliest() -> None:
    Prompted(Counting()).demand_likeliest(ITEM)

    with pytest.raises(ModelError, match="less likely than the likeliest one, by its own logits"):
        Prompted(Sampling()).demand_likeliest(ITEM | {"output": np.array(40)})


def test_a_timed_call_that_answers_otherwise_than_an_untimed_one_is_an_error() -> None:
    runner = Prompted(Remembering())
    runner.demand_untimed(runner.timed(ITEM, "decode"), ITEM)

    with pytest.raises(ModelError, match="what is timed is not what is generated"):
        runner.demand_untimed(runner.timed(ITEM, "decode"), ITEM)


def test_an_engine_that_never_answers_twice_alike_is_no_error() -> None:
    runner = Prompted(Sampling())

    for _ in range(3):
        runner.demand_untimed(runner.timed(ITEM, "decode"), ITEM)


def test_only_generators_are_wrapped() -> None:
    plain = object()

    assert runner_of(plain) is plain
    assert isinstance(runner_of(Counting()), Prompted)
