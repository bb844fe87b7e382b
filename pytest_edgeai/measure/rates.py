"""Rates: how many items a second one variant answers, in blocks of calls."""

from collections.abc import Sequence

from pytest_edgeai.measure.bench import Bench, Load

BLOCK_SECONDS = 0.1
"""A block lasts about so long: beside it, what starting and joining threads costs (some 0.2 ms) counts for nothing."""
PRIMING_BLOCKS = 3


class Blocks:
    """Satisfies :class:`pytest_edgeai.measure.solo.Source`; a sample is the items a second of one block. ``name``: of the quantity."""

    plan = "blocks"
    sensors: Sequence[str] = ()
    warm_up = 10

    def __init__(self, load: Load, name: str) -> None:
        self._load = load
        self.metric = self.column = name
        self._calls = 1

    def prime(self, bench: Bench) -> int:
        """A few blocks, each nearer to the length that they should have."""
        item = 0
        for _ in range(PRIMING_BLOCKS):
            (rate,), _, calls = self.take(bench, item, 1, 0)
            item += calls
            self._calls = max(1, round(BLOCK_SECONDS * rate / (self._load.items * bench.variant.recipe.batch)))
        return item

    def take(self, bench: Bench, item: int, most: int, canaries: int) -> tuple[list[float], list[float], int]:  # noqa: ARG002
        """One block, which is a go of its own."""
        seconds = bench.turn(item, self._calls, self._load)
        items = self._calls * self._load.items * bench.variant.recipe.batch
        return [items / seconds], bench.canary(canaries), self._calls
