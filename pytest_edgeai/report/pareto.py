"""Pareto front: which variants are not beaten by another in everything at once."""

from collections.abc import Callable, Sequence
from typing import TypeVar, overload

Point = tuple[float, float]
"""(quality, cost): more quality is better, less cost is better. What goes the other way is turned by its sign."""

P = TypeVar("P")


def dominates(one: Point, other: Point) -> bool:
    """Whether ``one`` is at least as good as ``other`` in both and better in one of them.

    Equal points don't dominate each other. A point that holds a NaN is dominated by every point, itself included.
    """
    quality, cost = one
    if other[0] != other[0] or other[1] != other[1]:
        return True
    return quality >= other[0] and cost <= other[1] and (quality > other[0] or cost < other[1])


@overload
def front(points: Sequence[Point]) -> tuple[int, ...]: ...
@overload
def front(points: Sequence[P], beats: Callable[[P, P], bool]) -> tuple[int, ...]: ...
def front(points: Sequence[P], beats: Callable[[P, P], bool] | None = None) -> tuple[int, ...]:
    """Indices, rising, of the points that no other point beats.

    ``beats(one, other)`` is :func:`dominates` unless given. It is where uncertainty enters: with points that carry intervals,
    let one beat another only where that is proven.
    """
    rule: Callable[..., bool] = beats or dominates
    return tuple(i for i, point in enumerate(points) if not any(rule(other, point) for other in points))
