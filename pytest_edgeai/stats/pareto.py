"""Pareto: which points are not beaten by another in everything at once, how much they cover together, and where the front bends.

Points are rows of gains: more is better in each. What is better when it is less is turned by its sign.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar, overload

Point = Sequence[float]

P = TypeVar("P")


def dominates(one: Point, other: Point) -> bool:
    """Whether ``one`` is at least as good as ``other`` in everything and better in something.

    Equal points don't dominate each other. A point that holds a NaN is dominated by every point, itself included.
    """
    if any(gain != gain for gain in other):
        return True
    return all(mine >= its for mine, its in zip(one, other, strict=True)) and tuple(one) != tuple(other)


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


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """The volume that the points cover together above ``reference``, which is worse than what counts in every coordinate.

    Zitzler & Thiele, "Multiobjective Evolutionary Algorithms: A Comparative Case Study and the Strength Pareto Approach" (1999); computed by slicing
    along the last coordinate. A point that isn't better than the reference in every coordinate adds nothing.
    """
    inside = [tuple(point) for point in points if all(gain > low for gain, low in zip(point, reference, strict=True))]
    if not inside:
        return 0.0
    if len(reference) == 1:
        return max(point[0] for point in inside) - reference[0]
    ordered = sorted(inside, key=lambda point: -point[-1])
    total = 0.0
    for place, point in enumerate(ordered):
        below = ordered[place + 1][-1] if place + 1 < len(ordered) else reference[-1]
        if point[-1] > below:
            total += (point[-1] - below) * hypervolume([one[:-1] for one in ordered[: place + 1]], reference[:-1])
    return total


def knee_weights(points: Sequence[Point], least: float) -> tuple[float, ...]:
    """What a unit of each coordinate weighs when each counts from the worst point to the best alike; they add up to 1.

    The point of the greatest weighted sum is the one of least Manhattan distance to the ideal one, a knee of the front: Chiu, Yen & Juan, "Minimum
    Manhattan Distance Approach to Multiple Criteria Decision Making in Multiobjective Optimization Problems" (2016). A coordinate that
    differs by less than ``least`` is not stretched beyond that, for a small difference may be noise.
    """
    weights = [1 / max(max(column) - min(column), least) for column in zip(*points, strict=True)]
    return tuple(weight / sum(weights) for weight in weights)
