"""Phases: what each call of a language model shows, as samples of a solo series."""

import math
import time
from collections.abc import Sequence

from pytest_edgeai.language.generation import FIRST
from pytest_edgeai.measure.bench import Bench
from pytest_edgeai.measure.solo import CHUNK, CHUNK_SECONDS


class Phase:
    """Satisfies :class:`pytest_edgeai.measure.solo.Source`; ``column`` as in :meth:`pytest_edgeai.language.generation.Stamps.columns`."""

    plan = "solo"
    sensors: Sequence[str] = ()
    warm_up = 5

    def __init__(self, column: str) -> None:
        self.metric = self.column = column
        self._first_token = column in FIRST
        self._chunk, self._each = 1, 1

    def prime(self, bench: Bench) -> int:
        """One call, to see how many fit into one go, and how many samples it gives."""
        begin = time.perf_counter()
        columns, _ = bench.phases(0, 1, first_token=self._first_token)
        self._each = len(columns[self.column])
        self._chunk = max(1, min(CHUNK, int(CHUNK_SECONDS / (time.perf_counter() - begin))))
        return 1

    def take(self, bench: Bench, item: int, most: int, canaries: int) -> tuple[list[float], list[float], int]:
        """One number a call, or a token."""
        calls = min(self._chunk, math.ceil(most / self._each))
        columns, canary = bench.phases(item, calls, canaries, first_token=self._first_token)
        return columns[self.column], canary, calls
