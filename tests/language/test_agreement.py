"""Agreement: what a converted model must say to pass, in generators that go wrong in one way each."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_edgeai.errors import BuildError
from pytest_edgeai.language import agreement
from pytest_edgeai.language.checkpoint import Checkpoint
from pytest_edgeai.language.decoder import log_probabilities
from tests.language import checkpoints


class Source:
    """Says what the checkpoint says, up to a constant; but for ``wrong``."""

    def __init__(self, checkpoint: Checkpoint, wrong: str = "") -> None:
        self._checkpoint, self._wrong = checkpoint, wrong

    def logits(self, tokens: NDArray[np.int64], chunk: int) -> Iterator[NDArray[np.float32]]:
        found = (log_probabilities(self._checkpoint, tokens) + 7).astype(np.float32)
        if self._wrong == "few tokens":
            found = found[:-1]
        if self._wrong == "few columns":
            found = found[:, :-1]
        if self._wrong == "not finite":
            found[3, 5] = np.nan
        if self._wrong == "forgets" and chunk == 1:
            found[20:] = found[20:, ::-1]
        padded = np.pad(found, ((0, 0), (0, 5 * (self._wrong == "padded"))), constant_values=99)
        for first in range(0, len(found), chunk):
            yield padded[first : first + chunk]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return Checkpoint(checkpoints.make(tmp_path / "llama", "llama"))


@pytest.mark.parametrize("how", ["", "padded"])
def test_what_says_the_same_passes(how: str, checkpoint: Checkpoint) -> None:
    agreement.demand(agreement.answers(checkpoint), Source(checkpoint, how), "it")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("few tokens", "it: asked about a text as a whole, the converted model gives no logits for each token"),
        ("few columns", "it: asked about a text as a whole, the converted model gives no logits for each token"),
        ("not finite", "it: asked about a text as a whole, the converted model gives no logits for each token"),
        ("forgets", "it: asked token by token, the converted model diverges from its source by up to"),
    ],
)
def test_what_says_something_else_does_not(wrong: str, told: str, checkpoint: Checkpoint) -> None:
    with pytest.raises(BuildError, match=told):
        agreement.demand(agreement.answers(checkpoint), Source(checkpoint, wrong), "it")  # type: ignore[arg-type]


def test_what_was_released_is_read_again(checkpoint: Checkpoint) -> None:
    before = checkpoint["model.norm.weight"].copy()

    checkpoint.release()

    assert np.array_equal(checkpoint["model.norm.weight"], before)
    assert np.array_equal(before, checkpoints.weights_of(checkpoints.LLAMA)["model.norm.weight"])
