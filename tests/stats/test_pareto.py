"""The Pareto front, what it covers, and its knee."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_edgeai.stats.pareto import dominates, front, hypervolume, knee_weights

POINTS = st.lists(st.tuples(*[st.integers(0, 6).map(float)] * 3), max_size=12)


def test_the_front_holds_what_nothing_beats_in_everything():
    points = [(0.99, -10.0), (0.97, -4.0), (0.96, -5.0), (0.90, -1.0), (0.90, -2.0)]

    assert front(points) == (0, 1, 3)


def test_equal_points_are_on_the_front_together():
    assert front([(0.9, 1.0), (0.9, 1.0), (0.8, 1.0)]) == (0, 1)


def test_a_tie_in_one_is_decided_by_the_other():
    assert front([(0.9, 2.0), (0.9, 1.0)]) == (0,)
    assert front([(0.9, 1.0), (0.8, 1.0)]) == (0,)


def test_no_points_make_no_front_and_one_point_makes_it_alone():
    assert front([]) == ()
    assert front([(0.0, -math.inf)]) == (0,)


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


@given(POINTS)
def test_points_with_whole_numbers_cover_as_many_unit_cubes_as_lie_below_one_of_them(points):
    cubes = sum(
        any(all(corner[axis] < point[axis] for axis in range(3)) for point in points)
        for corner in itertools.product(range(6), repeat=3)
    )

    assert hypervolume(points, (0.0, 0.0, 0.0)) == pytest.approx(cubes)


def test_what_is_no_better_than_the_reference_covers_nothing():
    assert hypervolume([(2.0, 0.0), (1.0, 5.0)], (1.0, 0.0)) == 0
    assert hypervolume([], (0.0,)) == 0
    assert hypervolume([(3.0,), (2.0,)], (1.0,)) == 2


def test_the_knee_is_the_point_nearest_to_the_ideal_one_when_each_axis_counts_from_its_worst_to_its_best():
    points = np.array([(0.0, 10.0), (3.0, 9.0), (4.0, 0.0)])

    weights = knee_weights(points.tolist(), least=1e-9)

    assert weights == pytest.approx((10 / 14, 4 / 14))
    scaled = (points.max(0) - points) / (points.max(0) - points.min(0))
    assert np.argmax(points @ weights) == np.argmin(scaled.sum(1)) == 1


def test_an_axis_on_which_points_hardly_differ_is_not_stretched():
    assert knee_weights([(0.0, 0.0), (4.0, 0.01)], least=1.0) == pytest.approx((0.2, 0.8))
