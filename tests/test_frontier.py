"""The frontier: what is shown to beat another one, and what only seems to."""

import math

import numpy as np
import pytest

from pytest_edgeai.frontier import Screened, front, shown_better
from pytest_edgeai.objectives import TENSOR, Objective, measured
from pytest_edgeai.records import Figure, Front

SPEED, ACCURACY, MEMORY, _, SIZE, _ = TENSOR


def figure(low: float, high: float, *, confidence: float = 0.95, n: int = 30) -> Figure:
    return Figure(
        estimate=math.sqrt(low * high), low=low, high=high, unit="", confidence=confidence, n=n, method="told"
    )


def variant(speed: float, memory: float = 50.0, size: float = 1.0, accuracy: float = 0.9) -> dict[str, Figure]:
    return {
        "speedup": figure(speed * 0.99, speed * 1.01),
        "accuracy": figure(accuracy - 0.02, accuracy + 0.02),
        "memory.footprint": figure(memory * 0.999, memory * 1.001, confidence=1.0, n=4),
        "size": figure(size, size, confidence=1.0, n=1),
    }


def compared(
    known: Screened, scored=lambda one, other, objective, better: not better, same=lambda one, other: False
) -> Front:
    return front(known, measured(known.values()), scored, same)


def test_what_is_shown_to_be_better_in_one_thing_and_no_worse_in_the_others_beats():
    found = compared({"slow": variant(2.0), "fast": variant(3.0)})

    assert found.members == ("fast",)
    assert (found.beaten[0].recipe, found.beaten[0].by) == ("slow", "fast")
    assert found.beaten[0].evidence[0] == "speed-up 3 against 2: better"
    assert found.beaten[0].evidence[1] == "accuracy 0.9 against 0.9: no more than 1 % worse"


def test_what_trades_one_thing_for_another_is_on_the_front():
    found = compared({"fast": variant(3.0, memory=90.0), "lean": variant(2.0)})

    assert found.members == ("fast", "lean")
    assert (found.beaten, found.undecided, found.alike) == ((), (), ())


def test_what_only_seems_to_be_beaten_stays_and_it_is_told_what_is_not_shown():
    found = compared({"slow": variant(2.0), "fast": variant(3.0)}, scored=lambda *_: False)

    assert found.members == ("slow", "fast")
    assert (found.undecided[0].recipe, found.undecided[0].by) == ("slow", "fast")
    assert found.undecided[0].evidence == ("accuracy 0.9 against 0.9: that it is no worse is not shown",)


def test_variants_that_are_equal_in_practice_are_told_as_such():
    found = compared({"one": variant(3.0), "other": variant(3.05)})

    assert found.members == ("one", "other")
    assert found.alike == (("one", "other"),)


def test_scores_of_one_artifact_need_no_evidence():
    found = compared({"slow": variant(2.0), "fast": variant(3.0)}, scored=lambda *_: False, same=lambda *_: True)

    assert found.members == ("fast",)


def test_scores_are_asked_for_only_where_the_estimates_leave_it_open():
    asked = []

    def scored(one: str, other: str, objective: Objective, better: bool) -> bool:
        asked.append((one, other))
        return not better

    compared({"fast": variant(3.0, memory=90.0), "lean": variant(2.0), "best": variant(4.0)}, scored)

    assert set(asked) == {("best", "fast"), ("best", "lean")}


def test_intervals_that_meet_within_the_guard_show_nothing():
    assert shown_better(SPEED, figure(2.1, 2.2), figure(1.9, 2.0))
    assert not shown_better(SPEED, figure(2.04, 2.2), figure(1.9, 2.0))
    assert not shown_better(SPEED, figure(2.1, 2.2, confidence=0.0), figure(1.9, 2.0))


@pytest.mark.parametrize(("processes", "shown"), [(1, False), (2, False), (3, True), (4, True)])
def test_ranges_show_something_where_chance_would_seldom_order_so_many_processes_so(processes, shown):
    low, high = (figure(*ends, confidence=1.0, n=processes) for ends in ((40.0, 41.0), (41.5, 42.0)))

    assert shown_better(MEMORY, low, high) == shown
    assert not shown_better(MEMORY, high, low)


def test_single_processes_show_something_where_they_are_further_apart_than_two_of_one_variant_ever_are():
    low, high = (figure(value, value, confidence=1.0, n=1) for value in (40.0, 43.0))

    assert shown_better(MEMORY, low, high)


def test_what_is_exact_needs_no_room():
    assert shown_better(SIZE, figure(1.0, 1.0), figure(1.000001, 1.000001))
    assert not shown_better(SIZE, figure(1.0, 1.0), figure(1.0, 1.0))


def test_identical_variants_are_seldom_shown_to_differ():
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(2000):
        # The medians of three pairs of processes, whose layouts differ, with the interval of their rounds alone.
        ends = []
        for _ in range(2):
            middle = math.log(3) + rng.normal(0, 0.016, 3).mean()
            ends.append(figure(math.exp(middle - 0.004), math.exp(middle + 0.004)))
        wrong += shown_better(SPEED, *ends)

    assert wrong / 2000 <= 0.05


def test_no_variants_make_no_front():
    assert compared({}).members == ()
