"""Charts: what the page's script draws with Plotly, as plain data; no colour and no size is decided here."""

import dataclasses
import html
from typing import Any

from pytest_edgeai.records import Figure, ModelResult, VariantResult
from pytest_edgeai.report.figures import figure, interval, interval_name, shown, uncertain
from pytest_edgeai.report.pareto import front
from pytest_edgeai.report.text import plain

COSTS = (
    ("latency", "latency.p50", "Latency (p50)"),
    ("memory", "memory.footprint", "Own memory footprint"),
    ("size", "size", "Size"),
)
"""(short name, figure, title) of the costs that accuracy is traded against."""

_SCALES = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "bytes": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")),
    "proportion": ((0.01, "%"),),
}

_WIDE = 40.0
"""From this ratio of the largest cost to the smallest, the axis is logarithmic."""

SERIES = 6
"""How many colours the style sheet has."""

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "hexagram")
"""By Plotly's names. Of another length than the colours, so that pairs repeat late."""


@dataclasses.dataclass(frozen=True)
class Chart:
    """Accuracy against one cost."""

    key: str
    title: str
    spoken: str
    """What a screen reader says in place of the picture."""
    missing: str
    """Which variants are not shown and why, or why there is no chart at all; empty where all are there."""
    data: dict[str, Any] | None
    """``None``: there is nothing to draw."""


def charts(model: ModelResult, series: dict[str, int]) -> tuple[Chart, ...]:
    """One chart for each of the costs. ``series`` gives each framework its number."""
    return tuple(_chart(model, series, *cost) for cost in COSTS)


def fronts(model: ModelResult) -> dict[str, tuple[str, ...]]:
    """Variant name -> the short names of the costs on whose front it is."""
    found: dict[str, list[str]] = {}
    for key, name, _ in COSTS:
        for variant in _on_front(_measured(model, name)):
            found.setdefault(variant.name, []).append(key)
    return {name: tuple(keys) for name, keys in found.items()}


def _measured(model: ModelResult, name: str) -> list[tuple[VariantResult, Figure, Figure]]:
    """Variants with both an accuracy and that cost."""
    found = []
    for variant in model.variants:
        accuracy, cost = figure(variant, "accuracy"), figure(variant, name)
        if variant.state != "failed" and accuracy is not None and cost is not None:
            found.append((variant, accuracy, cost))
    return found


def _on_front(measured: list[tuple[VariantResult, Figure, Figure]]) -> list[VariantResult]:
    indices = front([(accuracy.estimate, cost.estimate) for _, accuracy, cost in measured])
    return [measured[i][0] for i in indices]


def _chart(model: ModelResult, series: dict[str, int], key: str, name: str, title: str) -> Chart:
    measured = _measured(model, name)
    missing = _missing(model, name, key)
    if not measured:
        return Chart(key, title, "", _nothing(model, name, key), None)
    best = _on_front(measured)
    x, y = _Scale([cost for _, _, cost in measured]), _Scale([accuracy for _, accuracy, _ in measured])
    points = [
        {
            "x": x(cost),
            "y": y(accuracy),
            "label": _escaped(variant.name, 40),
            "note": _note(model, variant),
            "hover": _hover(variant, key, accuracy, cost, on_front=variant in best),
            "series": series[variant.framework] % SERIES,
            "symbol": SYMBOLS[series[variant.framework] % len(SYMBOLS)],
            "front": variant in best,
            "role": "choice" if _chosen(model, variant) else variant.role,
        }
        for variant, accuracy, cost in measured
    ]
    costs = [cost.estimate for _, _, cost in measured]
    names = ", ".join(plain(variant.name, 60) for variant in best)
    return Chart(
        key,
        title,
        f"Chart of accuracy against {key} for {len(points)} variants. On the Pareto front: {names}. "
        "The table of variants has the numbers.",
        f"Not shown: {missing}" if missing else "",
        {
            "x": {
                "title": f"{title} ({x.sign})" if x.sign else title,
                "log": min(costs) > 0 and max(costs) / min(costs) > _WIDE,
            },
            "y": {"title": f"Accuracy ({y.sign})" if y.sign else "Accuracy"},
            "points": points,
        },
    )


class _Scale:
    """Numbers in the unit that suits the largest estimate of an axis."""

    def __init__(self, figures: list[Figure]) -> None:
        scales = _SCALES.get(figures[0].unit, ((1.0, "" if figures[0].unit == "ratio" else figures[0].unit),))
        top = max(abs(f.estimate) for f in figures)
        self.size, self.sign = next((scale for scale in scales if top >= scale[0]), scales[-1])
        self.sign = _escaped(self.sign, 12)

    def __call__(self, figure: Figure) -> list[float]:
        """Estimate, low, high."""
        ends = (figure.low, figure.high) if uncertain(figure) else (figure.estimate, figure.estimate)
        return [value / self.size for value in (figure.estimate, *ends)]


def _chosen(model: ModelResult, variant: VariantResult) -> bool:
    return model.choice is not None and variant.role == "variant" and model.choice.recipe == variant.name


def _note(model: ModelResult, variant: VariantResult) -> str:
    if variant.role == "baseline":
        return "(baseline)"
    if _chosen(model, variant) and model.choice is not None:
        return "(choice)" if model.choice.meets_limits else "(nearest)"
    return ""


def _hover(variant: VariantResult, key: str, accuracy: Figure, cost: Figure, *, on_front: bool) -> str:
    lines = [f"<b>{_escaped(variant.name, 60)}</b>"]
    for title, found in (("accuracy", accuracy), (key, cost)):
        ends = interval(found)
        line = f"{title} {shown(found.estimate, found.unit)}"
        lines.append(_escaped(line + (f" ({interval_name(found)} {ends})" if ends else ""), 120))
    lines.append("on the Pareto front" if on_front else "not on the Pareto front")
    if variant.role == "baseline":
        lines.append("the baseline")
    return "<br>".join(lines)


def _escaped(text: str, limit: int) -> str:
    """Plotly reads a few HTML tags in its texts, links among them."""
    return html.escape(plain(text, limit), quote=False)


def _nothing(model: ModelResult, name: str, key: str) -> str:
    """Why there is no chart."""
    built = [variant for variant in model.variants if variant.state != "failed"]
    if not built:
        return "No chart: there is no variant."
    lacks = [
        title for title, wanted in (("accuracy", "accuracy"), (key, name)) if not any(figure(v, wanted) for v in built)
    ]
    return f"No chart: no variant has a measured {' or '.join(lacks or ['accuracy together with ' + key])}."


def _missing(model: ModelResult, name: str, key: str) -> str:
    """One sentence on the variants that can't be in the chart, grouped by what they lack."""
    groups: dict[str, list[str]] = {}
    for variant in model.variants:
        lacks = [
            title
            for title, found in (("accuracy", figure(variant, "accuracy")), (key, figure(variant, name)))
            if found is None
        ]
        if variant.state == "failed":
            groups.setdefault("failed", []).append(plain(variant.name, 60))
        elif lacks:
            groups.setdefault(f"without {' and '.join(lacks)}", []).append(plain(variant.name, 60))
    parts = [
        f"{', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''} ({why})"
        for why, names in groups.items()
    ]
    return "; ".join(parts) + "." if parts else ""
