"""Units: the numbers to multiply by, and how a number with its unit is shown."""

import math

import pytest

from pytest_edgeai import GB, MB, GiB, KiB, MiB, kB, ms, s, us
from pytest_edgeai.units import counted, show


@pytest.mark.parametrize(
    ("product", "base"),
    [
        (2 * s, 2.0),
        (8 * ms, 0.008),
        (250 * us, 0.00025),
        (3 * kB, 3_000),
        (3 * MB, 3_000_000),
        (3 * GB, 3_000_000_000),
        (3 * KiB, 3_072),
        (3 * MiB, 3_145_728),
        (3 * GiB, 3_221_225_472),
    ],
)
def test_a_number_times_its_unit_is_in_base_units(product, base):
    assert product == pytest.approx(base)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "s", "0 ns"),
        (3e-9, "s", "3 ns"),
        (4.2e-7, "s", "420 ns"),
        (1.234e-6, "s", "1.23 µs"),
        (0.000999, "s", "999 µs"),
        (0.001, "s", "1 ms"),
        (0.008, "s", "8 ms"),
        (0.0123456, "s", "12.3 ms"),
        (1.0, "s", "1 s"),
        (59.94, "s", "59.9 s"),
        (3600, "s", "3600 s"),
        (-0.0123, "s", "-12.3 ms"),
        (0, "bytes", "0 B"),
        (12, "bytes", "12 B"),
        (999, "bytes", "999 B"),
        (1000, "bytes", "1 kB"),
        (1_234_567, "bytes", "1.23 MB"),
        (50e6, "bytes", "50 MB"),
        (7.25e9, "bytes", "7.25 GB"),
        (2.5e12, "bytes", "2500 GB"),
        (-3_000_000, "bytes", "-3 MB"),
        (2, "x", "2x"),
        (1.6249, "x", "1.62x"),
        (0.5, "x", "0.5x"),
        (1234.5, "x", "1234x"),
        (0.000123, "x", "0.000123x"),
        (0.95, "proportion", "95.00 %"),
        (1, "proportion", "100.00 %"),
        (0.12345, "proportion", "12.35 %"),
        (0, "proportion", "0.00 %"),
        (0.5, "ratio", "0.5"),
        (1.0, "ratio", "1"),
        (0.94736, "ratio", "0.947"),
        (1.0511, "ratio", "1.051"),
        (3.14159, "J", "3.14 J"),
        (3.14159, "", "3.14"),
        (96.04, "tokens/s", "96 tokens/s"),
        (3171.6, "tokens/s", "3172 tokens/s"),
        (0.012345, "nats", "0.0123 nats"),
        (0.0012345, "nats", "0.0012 nats"),
        (0, "nats", "0 nats"),
    ],
)
def test_a_value_is_shown_with_three_digits_in_the_unit_that_suits_it(value, unit, text):
    assert show(value, unit) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (14.2183, "ppl", "14.22"),
        (115.5671, "ppl", "115.6"),
        (131072.4, "ppl", "131072"),
        (1.0, "ppl", "1"),
        (0.98765, "bits/byte", "0.9877 bits/byte"),
    ],
)
def test_perplexity_and_bits_a_byte_have_a_digit_more(value, unit, text):
    assert show(value, unit) == text


def test_a_divergence_of_rounding_errors_is_not_shown_as_none():
    assert show(1.23e-7, "nats") == "1.2e-7 nats"
    assert show(4e-12, "nats") == "4.0e-12 nats"


@pytest.mark.parametrize(
    "unit", ["s", "bytes", "x", "proportion", "ratio", "J", "ppl", "nats", "bits/byte", "tokens/s"]
)
@pytest.mark.parametrize(("value", "text"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")])
def test_what_is_not_finite_is_shown_as_such(value, text, unit):
    assert show(value, unit) == text


@pytest.mark.parametrize("unit", ["s", "bytes", "x", "ratio", "J", "ppl"])
def test_no_value_is_shown_with_an_exponent(unit):
    values = [mantissa * 10.0**power for power in range(-9, 13) for mantissa in (1, 9.994, 9.996, 9.9999)]

    texts = [show(value, unit) for value in values]

    assert not any("e" in text for text in texts)


@pytest.mark.parametrize("unit", ["s", "x", "ratio"])
def test_what_is_shown_is_within_half_a_percent_of_the_value(unit):
    sizes = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}
    for value in (0.00123, 0.0999, 0.5, 1.0, 9.994, 42.42, 999.5, 12_345.6):
        number, _, sign = show(value, unit).removesuffix("x").partition(" ")

        assert float(number) * sizes.get(sign, 1.0) == pytest.approx(value, rel=0.005)


def test_kinds_are_counted_the_most_frequent_first_and_the_rare_ones_together() -> None:
    kinds = {"Relu": 2, "Conv": 3, "Add": 2} | {f"Rare{number}": 1 for number in range(7)}

    assert counted(kinds) == "3 Conv, 2 Add, 2 Relu, 1 Rare0, 1 Rare1, 1 Rare2, 1 Rare3, 1 Rare4, 2 others"
    assert counted({}) == ""
