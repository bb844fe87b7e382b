"""The frontier: which variants others are shown to beat, at a declared confidence, and which only seem to be beaten."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from pytest_edgeai.objectives import Objective, are_alike
from pytest_edgeai.records import Beaten, Figure, Front
from pytest_edgeai.units import show

CONFIDENCE: Final = 0.95
"""Of each comparison of two variants in one objective."""
GUARD: Final = 0.025
"""ln of the ratio of two variants' times that the layout of their processes' memory alone can make: pairs of processes of the same code differ by 1.2 to
1.6 % (sd), and three pairs of each are screened."""
SPREAD: Final = 0.05
"""ln of the ratio that the memory of two processes of the same variant may have; 28 processes of seven variants differed by up to 2.4 %, most by less than
0.1 %. Of fewer than three processes each it must be more."""
Scored = Callable[[str, str, Objective, bool], bool]
"""(one, other, objective, better) -> whether the scores of the same items show that ``one`` is better, or else no worse than by what is equal in practice."""

Screened = Mapping[str, Mapping[str, Figure]]


def front(screened: Screened, compared: Sequence[Objective], scored: Scored, same: Callable[[str, str], bool]) -> Front:
    """The variants, in their order, that nothing is shown to beat.

    One variant beats another when it is shown not to be worse in any objective by more than what is equal in practice, and to be better in
    at least one: for the first part an intersection-union test (Berger 1982), which needs no correction; each comparison is at 95 %.
    Intervals at 95 % that don't meet show a difference at 95 %, those of times after a guard for the layout of processes; ranges of so many
    processes that such an order of theirs comes by chance in at most 5 % do, too, and those of fewer processes where they are 5 % apart. ``same``: whether two variants are one artifact, whose answers and
    bytes are the same by construction.
    """
    comparison = _Comparison(screened, tuple(compared), scored, same)
    beaten, undecided = [], []
    members = []
    for name in screened:
        rivals = [other for other in screened if other != name and comparison.seems_to_beat(other, name)]
        lacking = {rival: comparison.unshown(rival, name) for rival in rivals}
        winner = next((rival for rival in rivals if not lacking[rival]), None)
        if winner is not None:
            beaten.append(Beaten(recipe=name, by=winner, evidence=comparison.told(winner, name)))
            continue
        members.append(name)
        if rivals:
            nearest = min(rivals, key=lambda rival: len(lacking[rival]))
            undecided.append(Beaten(recipe=name, by=nearest, evidence=tuple(lacking[nearest])))
    pairs = itertools.combinations(members, 2)
    return Front(
        objectives=tuple(objective.quantity for objective in compared),
        confidence=CONFIDENCE,
        members=tuple(members),
        beaten=tuple(beaten),
        undecided=tuple(undecided),
        alike=tuple((a, b) for a, b in pairs if compared and are_alike(compared, screened[a], screened[b])),
    )


def shown_better(objective: Objective, one: Figure, other: Figure, factor: float = 1.0) -> bool:
    """Whether ``one`` is shown to be better than ``factor`` times the other (of what is better when it is less: than one ``factor``-th).

    Of figures that are no scores.
    """
    mine, its = (one, other) if objective.more else (other, one)
    # What is more must be more for certain.
    low, high = mine.low, its.high * factor
    if objective.kind == "exact":
        return low > high
    if objective.kind == "range":
        seldom = _chance(one.n, other.n) <= 1 - CONFIDENCE
        return low > high * (1 if seldom else math.exp(SPREAD))
    if min(one.confidence, other.confidence) < CONFIDENCE:
        return False
    return low > high * math.exp(GUARD)


def _chance(one: int, other: int) -> float:
    """That all of so many numbers of one kind lie above all of so many others, though they are alike."""
    return 1 / math.comb(one + other, one)


def beaten(
    name: str, screened: Screened, compared: Sequence[Objective], scored: Scored, same: Callable[[str, str], bool]
) -> Beaten | None:
    """By which of the others a variant is shown to be beaten, as for :func:`front`; ``None`` where by none."""
    comparison = _Comparison(screened, tuple(compared), scored, same)
    for rival in screened:
        if rival != name and comparison.seems_to_beat(rival, name) and not comparison.unshown(rival, name):
            return Beaten(recipe=name, by=rival, evidence=comparison.told(rival, name))
    return None


class _Comparison:
    """Of variants, pair by pair."""

    def __init__(
        self, screened: Screened, compared: tuple[Objective, ...], scored: Scored, same: Callable[[str, str], bool]
    ) -> None:
        self._screened, self._compared, self._scored, self._same = screened, compared, scored, same

    def seems_to_beat(self, one: str, other: str) -> bool:
        """By the estimates: nowhere worse, and somewhere better, by more than what is equal in practice."""
        leads = [self._lead(objective, one, other) for objective in self._compared]
        margins = [objective.alike for objective in self._compared]
        return all(lead >= -margin for lead, margin in zip(leads, margins, strict=True)) and any(
            lead > margin for lead, margin in zip(leads, margins, strict=True)
        )

    def unshown(self, one: str, other: str) -> list[str]:
        """What isn't shown of ``one`` beating the other, in sentences; none where it beats it."""
        lacking = [
            f"{self._numbers(objective, one, other)}: that it is no worse is not shown"
            for objective in self._compared
            if not self._no_worse(objective, one, other)
        ]
        if not any(self._better(objective, one, other) for objective in self._compared):
            lacking.append("that it is better in something is not shown")
        return lacking

    def told(self, one: str, other: str) -> tuple[str, ...]:
        """The numbers, with what is shown."""
        return tuple(
            self._numbers(objective, one, other)
            + (
                ": better"
                if self._better(objective, one, other)
                else f": no more than {100 * objective.alike:g} % worse"
            )
            for objective in self._compared
        )

    def _lead(self, objective: Objective, one: str, other: str) -> float:
        """How much better, as a share of the greater number."""
        mine, its = (self._screened[name][objective.quantity].estimate for name in (one, other))
        lead = (mine - its) / max(abs(mine), abs(its), 1e-300)
        return lead if objective.more else -lead

    def _no_worse(self, objective: Objective, one: str, other: str) -> bool:
        if self._alike_by_construction(objective, one, other):
            return True
        if objective.kind == "score":
            return self._scored(one, other, objective, False)
        mine, its = (self._screened[name][objective.quantity] for name in (one, other))
        return shown_better(objective, mine, its, 1 - objective.alike)

    def _better(self, objective: Objective, one: str, other: str) -> bool:
        if self._alike_by_construction(objective, one, other):
            return False
        if objective.kind == "score":
            differ = self._lead(objective, one, other) != 0
            return differ and self._scored(one, other, objective, True)
        mine, its = (self._screened[name][objective.quantity] for name in (one, other))
        return shown_better(objective, mine, its)

    def _alike_by_construction(self, objective: Objective, one: str, other: str) -> bool:
        return objective.kind in ("score", "exact") and self._same(one, other)

    def _numbers(self, objective: Objective, one: str, other: str) -> str:
        mine, its = (self._screened[name][objective.quantity] for name in (one, other))
        return f"{objective.word} {show(mine.estimate, mine.unit)} against {show(its.estimate, its.unit)}"
