"""Objectives: what variants are compared by, which way is better, and how much of each is as much as the target demands."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pytest_edgeai.errors import UsageError, unknown
from pytest_edgeai.records import Figure, Limits

Kind = Literal["interval", "range", "exact", "score"]


@dataclass(frozen=True, slots=True)
class Objective:
    """One thing that variants are compared by."""

    name: str
    """As ``--edge-prefer`` calls it: ``latency``."""
    quantity: str
    """What shows it: ``speedup``."""
    word: str
    """Within a sentence: ``speed-up``."""
    more: bool
    """Whether more of the quantity is better."""
    kind: Kind
    """What its figures are: an ``interval`` of a mean or a median, the ``range`` of a few processes, ``exact``, or a ``score`` of items that
    are the same for all variants."""
    alike: float
    """Share up to which two numbers are equal in practice; of a score, of the reference's."""
    demand: str = ""
    """The limit that says how much of it a target demands."""


# What is downloaded, where it was counted: zeros take next to none of it.
_SIZES: Final = (
    Objective("size", "compressed_size", "compressed size", more=False, kind="exact", alike=0.05),
    Objective("size", "size", "size", more=False, kind="exact", alike=0.05),
)
_MEMORY: Final = Objective(
    "memory", "memory.footprint", "own memory", more=False, kind="range", alike=0.05, demand="footprint"
)
_ACCURACY: Final = Objective(
    "accuracy", "accuracy", "accuracy", more=True, kind="score", alike=0.01, demand="accuracy_kept"
)
TENSOR: Final = (
    Objective("latency", "speedup", "speed-up", more=True, kind="interval", alike=0.05, demand="speedup"),
    _ACCURACY,
    _MEMORY,
    *_SIZES,
    Objective("energy", "energy.per_call", "energy a call", more=False, kind="range", alike=0.05),
)
LANGUAGE: Final = (
    # Engines have baselines of their own, so their speed-ups don't compare.
    Objective("latency", "decode.throughput", "decode speed", more=True, kind="interval", alike=0.05, demand="speedup"),
    Objective("accuracy", "perplexity", "perplexity", more=False, kind="score", alike=0.005, demand="perplexity"),
    Objective("accuracy", "bits_per_byte", "bits per byte", more=False, kind="score", alike=0.001),
    _ACCURACY,
    _MEMORY,
    *_SIZES,
    Objective("energy", "energy.per_token", "energy a token", more=False, kind="range", alike=0.05),
)
LEAST_DEMAND: Final = 1.2
"""Factor from which on a limit is taken for the measure of a gain: a limit near 1 asks that nothing gets worse, not for so little."""
PAGES: Final = 1e6
"""Bytes of memory below which variants don't differ: a process' own pages come and go."""
NAMES: Final = tuple(dict.fromkeys(objective.name for objective in TENSOR))
"""What can be preferred."""


def measured(screened: Iterable[Mapping[str, Figure]]) -> tuple[Objective, ...]:
    """Those that every variant has a figure of; of several by one name the first."""
    figures = list(screened)
    of_language = any("decode.throughput" in one or "perplexity" in one for one in figures)
    found: dict[str, Objective] = {}
    for objective in LANGUAGE if of_language else TENSOR:
        if figures and all(objective.quantity in one for one in figures):
            found.setdefault(objective.name, objective)
    return tuple(found.values())


def preferences(text: str | None) -> dict[str, float]:
    """``latency=3,accuracy=2,memory=1`` as shares that add up to 1; what isn't named has no say. Empty where nothing is said. Raises UsageError."""
    weights: dict[str, float] = {}
    for entry in (text or "").replace(",", " ").split():
        name, equals, value = entry.partition("=")
        if name not in NAMES:
            raise UsageError(f"--edge-prefer {text}: {unknown('objective', name, NAMES)}")
        if name in weights:
            raise UsageError(f"--edge-prefer {text}: '{name}' is there twice.")
        weights[name] = _weight(value) if equals else -1
        if not 0 <= weights[name] < math.inf:
            raise UsageError(
                f"--edge-prefer {text}: '{entry}' is not NAME=WEIGHT, a number from 0 on. Write it as latency=3,accuracy=2,memory=1."
            )
    total = sum(weights.values())
    if weights and not 0 < total < math.inf:
        raise UsageError(f"--edge-prefer {text}: something must weigh more than 0.")
    return {name: weight / total for name, weight in weights.items()}


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def gain(objective: Objective, value: float, origin: float, limits: Limits) -> float:
    """How good a number is: 0 at ``origin``, and 1 more where it is better by as much as the target demands.

    Times, sizes and rates count by their logarithm, so that twice as fast is as much from 1x to 2x as from 2x to 4x; a demand is the limit on speed-up, on
    the share of memory, on the ratio of perplexities, and a factor of 2 where there is none. Accuracy counts by its share of the reference's: 1
    is all that the target allows to be lost.
    """
    if objective.kind == "score" and objective.more:
        return (value - origin) / max(origin, 1e-9) / max(1 - limits.accuracy_kept, 1e-3)
    least = PAGES if objective.name == "memory" else 1e-12
    ratio = math.log(max(value, least) / max(origin, least))
    return (ratio if objective.more else -ratio) / _unit(objective, limits)


def _unit(objective: Objective, limits: Limits) -> float:
    """ln of the factor that a target demands; of 2 where it demands none, or next to none."""
    demand = getattr(limits, objective.demand) if objective.demand else None
    if objective.kind == "score":
        return max(math.log(demand or 1.0), 1e-3) if demand and demand > 1 else math.log(2)
    factor = math.log(demand) if demand else 0.0
    asked = factor if objective.more else -factor
    return asked if asked >= math.log(LEAST_DEMAND) else math.log(2)


def value_at(objective: Objective, target: float, value: float, limits: Limits) -> float:
    """The number whose gain is ``target`` with ``value`` as the origin; the inverse of :func:`gain`."""
    if objective.kind == "score" and objective.more:
        return value * (1 + target * max(1 - limits.accuracy_kept, 1e-3))
    unit = _unit(objective, limits)
    return value * math.exp((target if objective.more else -target) * unit)


def are_alike(objectives: Sequence[Objective], one: Mapping[str, Figure], other: Mapping[str, Figure]) -> bool:
    """Whether two variants are equal in practice in everything."""
    return all(
        _is_alike(objective, one[objective.quantity].estimate, other[objective.quantity].estimate)
        for objective in objectives
    )


def _is_alike(objective: Objective, one: float, other: float) -> bool:
    return abs(one - other) <= objective.alike * max(abs(one), abs(other))
