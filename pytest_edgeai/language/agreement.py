"""Agreement: whether a converted model says what its source says. Errors of conversions are silent and large, so each one is held against it.

What conversions get wrong (rows of queries in another order, biases that were left in the old one, positions that aren't stretched) moves
log-probabilities by 8 and more; rounding weights to float16 moves them by hundredths.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.errors import BuildError
from pytest_edgeai.language.checkpoint import Checkpoint
from pytest_edgeai.language.decoder import decoder_of, log_probabilities

if TYPE_CHECKING:
    from pytest_edgeai.protocols import Generator

TOKENS: Final = 80
"""That both are asked about."""
MOST: Final = 0.02
"""Nats by which the two may diverge at any token (Kullback & Leibler)."""


class Answers(NamedTuple):
    """What a model's source says about some tokens."""

    tokens: NDArray[np.int64]
    logarithms: NDArray[np.floating[Any]]
    """Of the probabilities of the token after each one, natural: ``[len(tokens), vocabulary]``."""


def question(vocabulary: int, context: int) -> NDArray[np.int64]:
    """The tokens that a model of these sizes is asked about. Any will do: what is asked is whether both compute the same."""
    return np.random.default_rng(0).integers(0, vocabulary, min(TOKENS, context)).astype(np.int64)


def answers(checkpoint: Checkpoint) -> Answers:
    """In plain numpy. Raises UnsupportedError for a model that numpy doesn't compute here."""
    sizes = decoder_of(checkpoint)
    tokens = question(sizes.vocabulary, sizes.context)
    expected = log_probabilities(checkpoint, tokens)
    checkpoint.release()  # before an engine has the weights, too
    return Answers(tokens, expected)


def demand(expected: Answers, generator: "Generator", name: str) -> None:
    """Raises BuildError where the converted model says something else than its source, of a whole text or token by token."""
    tokens = expected.tokens
    for chunk, told in ((len(tokens), "asked about a text as a whole"), (1, "asked token by token")):
        found = _divergences(expected.logarithms, generator.logits(tokens, chunk))
        if len(found) != len(tokens) or not np.isfinite(found).all():
            raise BuildError(f"{name}: {told}, the converted model gives no logits for each token.")
        if (worst := max(found)) > MOST:
            raise BuildError(
                f"{name}: {told}, the converted model diverges from its source by up to {worst:.3g} nats at a token ({MOST:g} may be): "
                "its conversion is wrong."
            )


def _divergences(expected: NDArray[np.floating[Any]], parts: Iterable[NDArray[np.float32]]) -> list[float]:
    """Of each token, as far as there are logits; one at a time, because those of a large vocabulary take a share of the model's own memory."""
    count = expected.shape[1]
    logits = (row[:count].astype(np.float64) for part in parts for row in part if len(row) >= count)
    return [float(divergence(own, normalized(row))) for own, row in zip(expected, logits, strict=False)]


def normalized(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural logarithms of probabilities, ``[tokens, vocabulary]`` or of one token."""
    shifted = logits - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def divergence(expected: NDArray[np.floating[Any]], found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kullback-Leibler divergence of each token's distribution, in nats; from logarithms of probabilities."""
    return np.asarray((np.exp(expected) * (expected - found)).sum(-1))
