"""Accuracy: a variant exactly at 95 % of its reference passes as rarely as promised. The tests of scores go deeper (tests/judge/test_accuracy.py)."""

import pytest

from tests.chance import promised
from tests.rigor.checks import QUICK, Flips, accuracy_passes


@pytest.mark.parametrize("flips", [Flips(0.9, 0.02), Flips(0.5, 0.05)], ids=["few flips", "many"])
@pytest.mark.parametrize(("items", "runs"), [(100, 10_000), (500, 2000), (2000, 500)])
def test_a_variant_exactly_at_95_percent_rarely_passes(flips, items, runs):
    assert accuracy_passes(flips, items, runs) <= max(0.055, promised(QUICK.accuracy_pass, runs))
