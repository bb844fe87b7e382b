"""Likelihood: per token, in chunks, beside a reference; on a generator whose logits are known."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_edgeai.errors import ModelError
from pytest_edgeai.measure import likelihood
from pytest_edgeai.measure.likelihood import CHUNK, score

VOCABULARY = 11


class Known:
    """Its logits after a token are a row of a table; it has two more of them than there are tokens."""

    vocabulary, context = VOCABULARY + 2, 1000

    def __init__(self, seed: int = 1) -> None:
        self.table = np.random.default_rng(seed).normal(0, 3, (VOCABULARY, VOCABULARY + 2)).astype(np.float32)
        self.table[:, VOCABULARY:] = 50.0
        self.asked: list[int] = []

    def logits(self, tokens: NDArray[np.int64], chunk: int) -> Iterator[NDArray[np.float32]]:
        buffer = np.empty((chunk, self.vocabulary), np.float32)  # used again and again, as by engines
        for first in range(0, len(tokens), chunk):
            part = tokens[first : first + chunk]
            self.asked.append(len(part))
            buffer[: len(part)] = self.table[part]
            yield buffer[: len(part)]

    def log_probabilities(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        logits = self.table[tokens[:-1], :VOCABULARY].astype(np.float64)
        return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def texts(*lengths: int) -> list[NDArray[np.int64]]:
    draw = np.random.default_rng(2)
    return [draw.integers(0, VOCABULARY, length) for length in lengths]


def test_each_token_is_scored_by_those_before_it() -> None:
    model, sequences = Known(), texts(300, 2, 128)

    found = score(model, sequences, VOCABULARY, None, None)

    logs = np.concatenate([model.log_probabilities(tokens) for tokens in sequences])
    following = np.concatenate([tokens[1:] for tokens in sequences])
    assert found["log_probability"] == pytest.approx(logs[np.arange(len(logs)), following], abs=1e-5)
    assert found["likeliest"].tolist() == (logs.argmax(1) == following).tolist()
    assert np.isnan(found["divergence"]).all()
    assert max(model.asked) == CHUNK
    assert sum(model.asked) == 299 + 1 + 127


class Together(Known):
    """Reads two texts at a time: nobody's first part comes before somebody else's has begun."""

    readers = 2

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Barrier(2)

    def logits(self, tokens: NDArray[np.int64], chunk: int) -> Iterator[NDArray[np.float32]]:
        self.begun.wait(timeout=60)
        yield from super().logits(tokens, chunk)


def test_texts_that_are_read_at_a_time_are_scored_each_in_its_place(tmp_path: Path) -> None:
    sequences = texts(300, 2, 128, 40)

    one, other = (score(model, sequences, VOCABULARY, None, None) for model in (Known(), Together()))

    assert one["log_probability"].tolist() == other["log_probability"].tolist()
    assert one["likeliest"].tolist() == other["likeliest"].tolist()


def test_a_model_diverges_from_itself_by_nothing(tmp_path: Path) -> None:
    sequences = texts(40, 200)
    score(Known(), sequences, VOCABULARY, None, tmp_path / "reference.npy")

    found = score(Known(), sequences, VOCABULARY, tmp_path / "reference.npy", None)

    assert np.abs(found["divergence"]).max() < 1e-6
    assert found["agrees"].all()


def test_another_model_diverges_as_the_formula_says(tmp_path: Path) -> None:
    one, other, sequences = Known(1), Known(2), texts(60)
    score(one, sequences, VOCABULARY, None, tmp_path / "reference.npy")

    found = score(other, sequences, VOCABULARY, tmp_path / "reference.npy", None)

    expected, logs = one.log_probabilities(sequences[0]), other.log_probabilities(sequences[0])
    assert found["divergence"] == pytest.approx((np.exp(expected) * (expected - logs)).sum(1), abs=1e-5)
    assert found["agrees"].tolist() == (logs.argmax(1) == expected.argmax(1)).tolist()


@pytest.mark.parametrize("length", [0, 1])
def test_a_text_of_one_token_predicts_nothing(length: int, tmp_path: Path) -> None:
    found = score(Known(), texts(length), VOCABULARY, None, tmp_path / "reference.npy")

    assert {name: len(column) for name, column in found.items()} == dict.fromkeys(likelihood.COLUMNS, 0)


def test_a_reference_of_other_texts_is_refused(tmp_path: Path) -> None:
    score(Known(), texts(10), VOCABULARY, None, tmp_path / "reference.npy")

    with pytest.raises(ModelError, match="asked about 9 tokens of 11, and this one about 10 of 11"):
        score(Known(), texts(11), VOCABULARY, tmp_path / "reference.npy", None)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_an_error(wrong: float) -> None:
    model = Known()
    model.table[:, 3] = wrong

    with pytest.raises(ModelError, match="not finite"):
        score(model, texts(10), VOCABULARY, None, None)


def test_fewer_logits_than_tokens_are_an_error() -> None:
    with pytest.raises(ModelError, match="not those of 20 tokens"):
        score(Known(), texts(10), 20, None, None)
