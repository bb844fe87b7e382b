"""Rounds: what two sides took in turns, pair of processes by pair, as columns that can be kept in a file."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

STREAMS = Path(__file__).with_name("streams")
STREAM_PAIR = 400
"""Rounds of a stream that stand for one pair of processes."""


@dataclass(frozen=True, slots=True, eq=False)
class Rounds:
    """One row a round. The rounds of a pair lie together, in the order in which they were taken."""

    pair: NDArray[np.int32]
    """Number of the pair of processes, from 0 on."""
    baseline_first: NDArray[np.bool_]
    free: NDArray[np.bool_]
    """Whether nothing else ran on the cores when the round began."""
    baseline: NDArray[np.float32]
    """Seconds a call."""
    variant: NDArray[np.float32]
    """Seconds a call."""
    took: NDArray[np.float32]
    """Seconds that the whole round cost, calls that are not timed included."""
    at: NDArray[np.float32]
    """Seconds since the pair's first round began, or that of the pairs that it took turns with."""
    code: str = ""
    """A digest of the code that took them; empty where it is not known."""

    @property
    def pairs(self) -> int:
        """How many pairs of processes there are."""
        return int(self.pair[-1]) + 1 if len(self.pair) else 0

    @classmethod
    def of_columns(cls, columns: dict[str, Sequence[Any]], code: str = "") -> Self:
        """Rounds of some pairs in the order in which they were taken."""
        by_pair = np.argsort(np.asarray(columns["pair"]), kind="stable")
        return cls(**{name: np.asarray(columns[name], dtype)[by_pair] for name, dtype in _DTYPES.items()}, code=code)

    def joined(self, other: Self) -> Self:
        """These rounds and those of another bank after them, which the same code took."""
        columns = {name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in _DTYPES}
        columns["pair"] = np.concatenate([self.pair, other.pair + self.pairs]).astype(np.int32)
        return type(self)(**columns, code=self.code)

    def write(self, file: Path) -> None:
        """Whole or not at all."""
        data = io.BytesIO()
        np.savez_compressed(data, **{name: getattr(self, name) for name in _DTYPES}, code=np.array(self.code))
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch = file.with_suffix(".part")
        scratch.write_bytes(data.getvalue())
        scratch.replace(file)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Raises OSError, or KeyError where it is no bank."""
        with np.load(file) as data:
            columns = {name: data[name].astype(dtype) for name, dtype in _DTYPES.items()}
            return cls(**columns, code=str(data["code"]))


_DTYPES: dict[str, Any] = {
    "pair": np.int32,
    "baseline_first": np.bool_,
    "free": np.bool_,
    "baseline": np.float32,
    "variant": np.float32,
    "took": np.float32,
    "at": np.float32,
}
assert [*_DTYPES, "code"] == [field.name for field in fields(Rounds)]


def of_stream(condition: str, baseline: str = "A0", variant: str = "A1") -> Rounds:
    """Rounds of two arms of a stream of one process (see ``streams/README.md``), cut so that 400 of them stand for a pair of processes.

    It is one process, so its "pairs" don't differ as real ones do: give :class:`benchmarks.rigor.replay.Replay` a ``layout``.
    """
    with np.load(STREAMS / f"{condition}.npz") as data:
        arms = [str(name) for name in data["arms"]]
        nanoseconds, place, at = data["nanoseconds"], data["place"], data["at"]
    one, other = arms.index(baseline), arms.index(variant)
    count = len(at) // STREAM_PAIR * STREAM_PAIR
    pair = np.arange(count) // STREAM_PAIR
    seconds = nanoseconds[:count].astype(np.float64) * 1e-9
    return Rounds(
        pair=pair.astype(np.int32),
        baseline_first=place[:count, one] < place[:count, other],
        free=np.ones(count, bool),  # nobody looked; so all of them count, which makes it harder to be right
        baseline=seconds[:, one].astype(np.float32),
        variant=seconds[:, other].astype(np.float32),
        took=(seconds[:, one] + seconds[:, other]).astype(np.float32),
        at=(at[:count] - at[:count:STREAM_PAIR][pair]).astype(np.float32),
    )
