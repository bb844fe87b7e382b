"""The Pareto front."""

import math

from hypothesis import given
from hypothesis import strategies as st

from pytest_edgeai.report.pareto import dominates, front

POINTS = st.lists(st.tuples(st.integers(0, 6).map(float), st.integers(0, 6).map(float)), max_size=12)


def test_the_front_holds_what_nothing_beats_in_both():
    points = [(0.99, 10.0), (0.97, 4.0), (0.96, 5.0), (0.90, 1.0), (0.90, 2.0)]

    assert front(points) == (0, 1, 3)


def test_equal_points_are_on_the_front_together():
    assert front([(0.9, 1.0), (0.9, 1.0), (0.8, 1.0)]) == (0, 1)


def test_a_tie_in_one_is_decided_by_the_other():
    assert front([(0.9, 1.0), (0.9, 2.0)]) == (0,)
    assert front([(0.9, 1.0), (0.8, 1.0)]) == (0,)


def test_no_points_make_no_front_and_one_point_makes_it_alone():
    assert front([]) == ()
    assert front([(0.0, math.inf)]) == (0,)


def test_a_point_that_is_no_number_is_never_on_the_front_and_pushes_nothing_off():
    assert front([(math.nan, 1.0), (0.5, 2.0), (0.9, math.nan)]) == (1,)
    assert front([(math.nan, math.nan)]) == ()


def test_another_rule_may_say_what_beats_what():
    intervals = [(0.90, 0.94), (0.93, 0.97), (0.80, 0.85)]

    def proven_better(one: tuple[float, float], other: tuple[float, float]) -> bool:
        return one[0] > other[1]

    assert front(intervals, proven_better) == (0, 1)


@given(POINTS)
def test_what_is_off_the_front_is_beaten_by_something_on_it(points):
    best = front(points)

    for i, point in enumerate(points):
        assert (i in best) != any(dominates(points[j], point) for j in best)
