"""Tails: percentiles of heavy-tailed calls, and the steadiness of constant work beside busy neighbours."""

import pytest

from tests.chance import promised
from tests.rigor import checks
from tests.rigor.checks import QUICK


@pytest.mark.parametrize(("p", "runs"), [(0.95, 1000), (0.99, 1000), (0.999, 100)])
def test_a_percentile_exactly_at_its_limit_is_proven_to_neither_side(p, runs):
    passed, failed = checks.tail_misses(p, runs)

    assert passed <= promised(QUICK.alpha, runs)
    assert failed <= promised(QUICK.alpha, runs)


@pytest.mark.parametrize("condition", ["quiet", "hogs"])
def test_constant_work_is_not_found_unsteady_because_neighbours_are(condition):
    assert checks.unsteady(condition, 1000) <= 0.01
