"""Accuracy: a variant exactly at 95 % of its reference passes as rarely as promised. The tests of scores go deeper (tests/judge/test_accuracy.py)."""

import pytest

from tests.rigor.checks import Flips, accuracy_passes

FALSE_PASS = 0.055


@pytest.mark.parametrize("flips", [Flips(0.9, 0.0), Flips(0.9, 0.02), Flips(0.5, 0.05)], ids=["no gains", "few", "many"])
@pytest.mark.parametrize(("items", "runs"), [(100, 4000), (300, 4000), (1000, 1000), (2000, 500)])
def test_a_variant_exactly_at_95_percent_rarely_passes(flips, items, runs, record_property):
    rate = accuracy_passes(flips, items, runs)

    record_property("false PASS", rate)
    assert rate <= FALSE_PASS
