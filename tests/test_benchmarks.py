"""The benchmarks' pure parts: medians with their bounds, what other programs print, and the page of tables."""

import math
from pathlib import Path

import pytest

from benchmarks.latency import median_of
from benchmarks.medians import Median
from benchmarks.start import imported
from benchmarks.tables import MARK, Table, publish


def test_a_median_is_enclosed_by_the_least_and_the_greatest_of_six():
    found = Median.of([1.04, 1.0, 1.01, 1.05, 1.02, 0.99])

    assert (found.value, found.low, found.high) == (pytest.approx(1.015), 0.99, 1.05)


def test_five_repeats_have_no_bounds_and_settle_nothing():
    found = Median.of([1.0] * 5)

    assert (found.low, found.high) == (-math.inf, math.inf)
    assert f"{found:.2f}" == "1.00"
    assert found.within(0.02) == found.at_most(2) == "probably"


@pytest.mark.parametrize(
    ("low", "value", "high", "told"),
    [
        (0.99, 1.0, 1.02, "yes"),
        (0.99, 1.0, 1.03, "probably"),
        (0.99, 1.03, 1.05, "probably not"),
        (1.03, 1.04, 1.05, "no"),
        (0.90, 0.95, 0.97, "no"),
    ],
)
def test_a_ratio_is_within_a_share_of_1_for_sure_only_with_both_its_bounds(low, value, high, told):
    assert Median(value, low, high).within(0.02) == told


@pytest.mark.parametrize(
    ("low", "value", "high", "told"),
    [(1.0, 1.5, 2.0, "yes"), (1.0, 1.5, 2.1, "probably"), (1.9, 2.1, 3.0, "probably not"), (2.1, 2.2, 3.0, "no")],
)
def test_a_limit_is_kept_for_sure_only_by_the_upper_bound(low, value, high, told):
    assert Median(value, low, high).at_most(2) == told


def test_a_median_shows_its_bounds():
    assert f"{Median(1.0, 0.5, 2.0):.1f} us" == "1.0 (0.5 .. 2.0) us"


@pytest.mark.parametrize(("line", "seconds"), [("Median:        719.56 us", 719.56e-6), ("Median:   0.95 ms", 0.95e-3)])
def test_the_median_that_benchmark_app_prints_is_read_in_its_unit(line, seconds):
    output = f"[ INFO ] Latency:\n[ INFO ]    {line}\n[ INFO ]    Average:       738.21 us\n"

    assert median_of(output) == pytest.approx(seconds)


def test_what_benchmark_app_prints_instead_of_a_median_is_shown():
    with pytest.raises(ValueError, match=r"told no median latency: .*Can't open file"):
        median_of("[ ERROR ] Can't open file")


def test_import_times_are_each_modules_own():
    lines = [
        "import time: self [us] | cumulative | imported package",
        "import time:       120 |       1120 | pytest_edgeai",
        "import time:      1000 |       1000 |   pytest_edgeai.units",
        "what the program itself prints",
    ]

    assert imported(lines) == {"pytest_edgeai": 120, "pytest_edgeai.units": 1000}


def test_tables_take_the_place_of_those_below_the_mark(tmp_path: Path):
    page = tmp_path / "README.md"
    page.write_text(f"# Ours\n\n{MARK}\n\nold\n", encoding="utf-8")
    table = Table("Turns", ["", "time"], [["turn", "36 us"]], "How it was done.")

    publish(page, [table])

    above, _, below = page.read_text(encoding="utf-8").partition(MARK)
    assert above == "# Ours\n\n"
    assert below.endswith("### Turns\n\nHow it was done.\n\n|  | time |\n| --- | --- |\n| turn | 36 us |\n")
    assert "old" not in below


def test_a_page_without_the_mark_is_left_alone(tmp_path: Path):
    page = tmp_path / "README.md"
    page.write_text("# Ours\n", encoding="utf-8")

    with pytest.raises(ValueError, match="has no line"):
        publish(page, [])

    assert page.read_text(encoding="utf-8") == "# Ours\n"
