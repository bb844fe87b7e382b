"""Rates: how often something happened, with the bounds of its true probability."""

from dataclasses import dataclass

from pytest_edgeai.stats import proportions

CONFIDENCE = 0.95
"""That the true rate lies between the bounds (Clopper & Pearson 1934)."""
SURELY = 0.999
"""The same, where many rates are compared."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So often, of so many."""

    count: int
    total: int

    @property
    def value(self) -> float:
        """A proportion."""
        return self.count / self.total

    @property
    def bounds(self) -> tuple[float, float]:
        """Of the true rate."""
        return proportions.binomial_bounds(self.count, self.total, (1 + CONFIDENCE) / 2)

    def keeps(self, limit: float, *, at_most: bool) -> str:
        """Whether a promise is kept: for sure only with the bounds."""
        low, high = self.bounds
        kept = self.value <= limit if at_most else self.value >= limit
        surely = high <= limit or low > limit if at_most else low >= limit or high < limit
        return ("yes" if kept else "**no**") if surely else ("probably" if kept else "probably not")

    def contradicts(self, limit: float, *, at_most: bool) -> bool:
        """Whether even the bounds don't allow for it."""
        low, high = self.bounds
        return low > limit if at_most else high < limit

    def allows(self, value: float) -> bool:
        """Whether this may be the true rate, for all that was seen."""
        low, high = proportions.binomial_bounds(self.count, self.total, (1 + SURELY) / 2)
        return low <= value <= high

    def __str__(self) -> str:
        low, high = self.bounds
        return f"{percent(self.value)} % ({percent(low)} .. {percent(high)})"


def percent(share: float) -> str:
    """Two digits after the point near 0 and 100, one elsewhere."""
    value = 100 * share
    return f"{value:.2f}" if 0 < value < 1 or 99 < value < 100 else f"{value:.1f}".removesuffix(".0")
