"""Likelihood: what a language model says about texts, token by token, beside what the reference said. In chunks, for all logits at once may take gigabytes."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.errors import ModelError
from pytest_edgeai.language.generation import CHUNK
from pytest_edgeai.protocols import Generator, ParallelReader

COLUMNS: Final = ("log_probability", "likeliest", "divergence", "agrees")
"""Of each predicted token: the natural logarithm of its probability; whether it was the likeliest; and where there is a reference, the Kullback-Leibler
divergence from its distribution (in nats), and whether both find the same token likeliest."""


def score(
    generator: Generator,
    sequences: Sequence[NDArray[np.integer[Any]]],
    vocabulary: int,
    reference: Path | None,
    keep: Path | None,
) -> dict[str, NDArray[np.float64]]:
    """The columns, one value for each token but the first one of each sequence. Raises ModelError for logits that are not finite.

    ``vocabulary``: tokens that there are; logits beyond them are of no token and don't count. ``reference``: logarithms of probabilities that an earlier
    call kept, for the same sequences. ``keep``: where to keep those of this one, float32 ``[predicted tokens, vocabulary]``.
    """
    total = sum(max(0, len(sequence) - 1) for sequence in sequences)
    found = {name: np.full(total, np.nan) for name in COLUMNS}
    others = np.load(reference, mmap_mode="r") if reference and total else None
    if others is not None and others.shape != (total, vocabulary):
        raise ModelError(
            f"the reference was asked about {others.shape[0]} tokens of {others.shape[1]}, and this one about {total} of {vocabulary}."
        )
    kept = (
        np.lib.format.open_memmap(keep, mode="w+", dtype=np.float32, shape=(total, vocabulary))
        if keep and total
        else None
    )
    ends = np.cumsum([max(0, len(sequence) - 1) for sequence in sequences])

    def read(place: int) -> None:
        """One sequence, into rows of its own."""
        sequence = sequences[place]
        at = int(ends[place]) - max(0, len(sequence) - 1)
        for logs, following in _predictions(generator, sequence, vocabulary):
            rows = slice(at, at + len(logs))
            found["log_probability"][rows] = np.take_along_axis(logs, following[:, None], 1)[:, 0]
            best = logs.argmax(1)
            found["likeliest"][rows] = best == following
            if others is not None:
                expected = np.asarray(others[rows])
                found["divergence"][rows] = np.sum(np.exp(expected) * (expected - logs), axis=1, dtype=np.float64)
                found["agrees"][rows] = best == expected.argmax(1)
            if kept is not None:
                kept[rows] = logs
            at += len(logs)
        if at != ends[place]:
            raise ModelError(
                f"it gave no logits of the last {ends[place] - at} of the {len(sequence) - 1} tokens of a text that it was asked about."
            )

    readers = generator.readers if isinstance(generator, ParallelReader) else 1
    if readers == 1:
        for place in range(len(sequences)):
            read(place)
    else:
        with ThreadPoolExecutor(readers) as pool:
            list(pool.map(read, range(len(sequences))))
    if kept is not None:
        kept.flush()
    return found


def _predictions(
    generator: Generator, sequence: NDArray[np.integer[Any]], vocabulary: int
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """For some tokens at a time: logarithms of the probabilities of what follows, and what follows."""
    first = 0
    for part in generator.logits(sequence[:-1], CHUNK) if len(sequence) > 1 else ():
        logits = np.array(part[:, :vocabulary], np.float32)
        if logits.shape[1] < vocabulary or not np.isfinite(logits).all():
            raise ModelError(
                f"the logits of the tokens from the {first + 1}th on are not those of {vocabulary} tokens, or not finite."
            )
        if first + len(logits) >= len(sequence):
            raise ModelError(
                f"it gave logits of more than the {len(sequence) - 1} tokens of a text that it was asked about."
            )
        logits -= logits.max(1, keepdims=True)
        logits -= np.log(np.sum(np.exp(logits), axis=1, keepdims=True, dtype=np.float64)).astype(np.float32)
        yield logits, sequence[first + 1 : first + 1 + len(logits)].astype(np.int64)
        first += len(logits)
