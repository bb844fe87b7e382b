"""Figures: the numbers of a variant, as the page and the terminal show them."""

import math

from pytest_edgeai.records import Figure, VariantResult
from pytest_edgeai.report.text import plain
from pytest_edgeai.units import show


def figure(variant: VariantResult, name: str) -> Figure | None:
    """The figure of that name, or ``None`` where it was not measured or is not a finite number."""
    found = variant.figures.get(name)
    if found is None and name == "size" and variant.bytes is not None:
        size = float(variant.bytes)
        found = Figure(estimate=size, low=size, high=size, unit="bytes", confidence=1.0, n=1, method="files")
    return found if found is not None and math.isfinite(found.estimate) else None


def shown(value: float, unit: str) -> str:
    """:func:`~pytest_edgeai.units.show`, with a unit of unknown origin made safe."""
    return show(value, plain(unit, 16))


def below(found: Figure, title_unit: str) -> str:
    """The estimate as it stands below a title that says this unit already; empty: it says none."""
    return shown(found.estimate, found.unit).removesuffix(f" {title_unit}")


def uncertain(figure: Figure) -> bool:
    """Whether there is an interval to show (or, at a confidence of 1, the whole range that was seen)."""
    return (
        figure.confidence > 0 and figure.low < figure.high and math.isfinite(figure.low) and math.isfinite(figure.high)
    )


def interval_name(figure: Figure) -> str:
    """What an interval is called: ``95 % interval``, ``range``."""
    return "range" if figure.confidence == 1 else f"{100 * figure.confidence:g} % interval"


def interval(figure: Figure) -> str:
    """``0.402 … 0.431 ms``, or nothing for what is known exactly."""
    return span(figure.low, figure.high, figure.unit) if uncertain(figure) else ""


def bare_interval(figure: Figure) -> str:
    """The same to stand below the estimate: without the unit's sign where it is the estimate's."""
    return span(figure.low, figure.high, figure.unit, beside=figure.estimate) if uncertain(figure) else ""


def span(low: float, high: float, unit: str, beside: float | None = None) -> str:
    """Both ends, with the unit's sign once where it is the same, and not at all where ``beside`` says it already."""
    (start, first), (end, last) = _parts(low, unit), _parts(high, unit)
    if first != last:
        return f"{shown(low, unit)} … {shown(high, unit)}"
    said = beside is not None and _parts(beside, unit)[1] == first
    space = "" if unit == "x" else " "
    return f"{start} … {end}{'' if said else space + last}".rstrip()


def _parts(value: float, unit: str) -> tuple[str, str]:
    """Number and sign."""
    text = shown(value, unit)
    if unit == "x":
        return text.removesuffix("x"), "x"
    number, _, sign = text.partition(" ")
    return number, sign
