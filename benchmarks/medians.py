"""Medians: of one number from each of several repeats, with bounds, and whether a limit is kept."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from pytest_edgeai.stats import order

CONFIDENCE = 0.95
"""That the true median lies between the bounds, whatever the distribution; six repeats are the fewest that have any."""


@dataclass(frozen=True, slots=True)
class Median:
    """Of independent repeats."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Raises ValueError when there are none."""
        one_sided = (1 + CONFIDENCE) / 2
        low, high = order.lower_bound(values, 0.5, one_sided), order.upper_bound(values, 0.5, one_sided)
        bounds = (-math.inf, math.inf) if low is None or high is None else (low, high)
        return cls(order.percentile(values, 0.5), *bounds)

    def at_most(self, limit: float) -> str:
        """Whether the limit is kept."""
        return _told(self.value <= limit, surely=self.high <= limit or self.low > limit)

    def within(self, share: float) -> str:
        """Whether a ratio that should be 1 is off by at most this share."""
        low, high = 1 - share, 1 + share
        inside, outside = low <= self.low and self.high <= high, self.low > high or self.high < low
        return _told(low <= self.value <= high, surely=inside or outside)

    def __format__(self, form: str) -> str:
        if math.isinf(self.low):
            return f"{self.value:{form}}"
        return f"{self.value:{form}} ({self.low:{form}} .. {self.high:{form}})"


def _told(kept: bool, *, surely: bool) -> str:
    return ("yes" if kept else "no") if surely else ("probably" if kept else "probably not")
