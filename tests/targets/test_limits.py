"""Limits that a user states, in the units that people write."""

import pytest

from pytest_edgeai.records import Limits
from pytest_edgeai.targets.limits import changed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("package=20MB", Limits(package=20_000_000)),
        ("package=20 MB, power=5w", Limits(package=20_000_000, power_watts=5)),
        ("memory=1.5GiB power=2.5 W", Limits(memory_bytes=round(1.5 * 2**30), power_watts=2.5)),
        ("accuracy=0.99 speedup=1.5 footprint=0.6", Limits(accuracy_kept=0.99, speedup=1.5, footprint=0.6)),
        ("package=300kb memory=64mib", Limits(package=300_000, memory_bytes=64 * 2**20)),
    ],
)
def test_limits_are_read_as_people_write_them(text, expected):
    assert changed(Limits(), text) == expected


def test_what_is_not_stated_stays_the_targets_own():
    assert changed(Limits(package=5, offline=True), "speedup=3") == Limits(package=5, offline=True, speedup=3)
