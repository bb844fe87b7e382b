"""Charts: what the page's script draws with Plotly, as plain data; no colour and no size is decided here."""

import dataclasses
import html
from typing import Any

from pytest_edgeai.records import Figure, ModelResult, VariantResult
from pytest_edgeai.report.figures import figure, interval, interval_name, shown, uncertain
from pytest_edgeai.report.headings import Axis, headings_of, quality_of
from pytest_edgeai.report.roles import badges, is_choice
from pytest_edgeai.report.text import plain
from pytest_edgeai.stats.pareto import front

_SCALES = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "bytes": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")),
    "proportion": ((0.01, "%"),),
    "ratio": ((1.0, ""),),
    "ppl": ((1.0, ""),),
}

_WIDE = 40.0
"""From this ratio of its largest figure to the smallest, an axis is logarithmic; but not one of shares, which end at 100 %."""

SERIES = 6
"""How many colours the style sheet has."""

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "hexagram")
"""By Plotly's names. Of another length than the colours, so that pairs repeat late."""


Measured = tuple[VariantResult, Figure, Figure]
"""A variant, its quality, its cost."""


@dataclasses.dataclass(frozen=True)
class Chart:
    """Quality against one cost."""

    key: str
    title: str
    """``Accuracy against latency (p50)``."""
    spoken: str
    """What a screen reader says in place of the picture."""
    missing: str
    """Which variants are not shown and why, or why there is no chart at all; empty where all are there."""
    data: dict[str, Any] | None
    """``None``: there is nothing to draw."""


def charts(model: ModelResult, series: dict[str, int], not_measured: str = "") -> tuple[Chart, ...]:
    """One chart for each of the costs. ``series`` gives each framework its number; ``not_measured`` says why speed and memory are unknown."""
    quality = quality_of(model)
    return tuple(_chart(model, series, quality, cost, not_measured) for cost in headings_of(model).costs)


def fronts(model: ModelResult) -> dict[str, tuple[str, ...]]:
    """Variant name -> the short names of the costs on whose front it is."""
    found: dict[str, list[str]] = {}
    quality = quality_of(model)
    for cost in headings_of(model).costs:
        for variant in _on_front(_measured(model, quality, cost), quality, cost):
            found.setdefault(variant.name, []).append(cost.key)
    return {name: tuple(keys) for name, keys in found.items()}


def _measured(model: ModelResult, quality: Axis, cost: Axis) -> list[Measured]:
    """Variants with both."""
    found = []
    for variant in model.variants:
        good, spent = figure(variant, quality.name), figure(variant, cost.name)
        if variant.state != "failed" and good is not None and spent is not None:
            found.append((variant, good, spent))
    return found


def _on_front(measured: list[Measured], quality: Axis, cost: Axis) -> list[VariantResult]:
    """By the estimates; what is better when it is less is turned."""
    up, right = 1 if quality.more else -1, 1 if cost.more else -1
    indices = front([(up * good.estimate, right * spent.estimate) for _, good, spent in measured])
    return [measured[i][0] for i in indices]


def _chart(model: ModelResult, series: dict[str, int], quality: Axis, cost: Axis, not_measured: str) -> Chart:
    title = f"{quality.title} against {cost.title.lower()}"
    measured = _measured(model, quality, cost)
    missing = _missing(model, quality, cost)
    if not measured:
        return Chart(cost.key, title, "", _nothing(model, quality, cost, not_measured), None)
    best = _on_front(measured, quality, cost)
    y, x = _Scale(quality, [good for _, good, _ in measured]), _Scale(cost, [spent for _, _, spent in measured])
    points = [
        {
            "x": x(spent),
            "y": y(good),
            "label": _escaped(variant.name, 40),
            "note": _note(model, variant),
            "hover": _hover(model, variant, [(quality, good), (cost, spent)], on_front=variant in best),
            "series": series[variant.framework] % SERIES,
            "symbol": SYMBOLS[series[variant.framework] % len(SYMBOLS)],
            "front": variant in best,
            "role": "choice" if is_choice(model, variant) else variant.role,
        }
        for variant, good, spent in measured
    ]
    names = ", ".join(plain(variant.name, 60) for variant in best)
    return Chart(
        cost.key,
        title,
        f"Chart of {quality.word} against {cost.word} for {len(points)} variants. On the Pareto front: {names}. "
        "The table of variants has the numbers.",
        f"Not shown: {missing}" if missing else "",
        {"x": x.data, "y": y.data, "points": points},
    )


def waterfall(model: ModelResult) -> Chart | None:
    """How each stage of progressive optimization changed a call's time, from the unoptimized model to the choice; its size where no time was measured.

    ``None`` where the stages weren't followed. Times are the first stage's, divided by what each stage gained in turns.
    """
    stages = [stage for stage in model.progression if stage.changed]
    if len(stages) < 2:
        return None
    time = "tpot.p50" if "tpot.p50" in stages[0].figures else "latency.p50"
    timed = time in stages[0].figures and all(stage.speedup is not None for stage in stages[1:])
    if timed:
        values = [stages[0].figures[time].estimate]
        for stage in stages[1:]:
            assert stage.speedup is not None
            values.append(values[-1] / stage.speedup.estimate)
        word, what = ("time per token" if time.startswith("tpot") else "latency"), "s"
    elif all("size" in stage.figures for stage in stages):
        values, word, what = [stage.figures["size"].estimate for stage in stages], "size", "bytes"
    else:
        return None
    size, sign = next((scale for scale in _SCALES[what] if max(values) >= scale[0]), _SCALES[what][-1])
    steps = [
        {
            "label": _escaped(stage.name.capitalize(), 40),
            "from": before / size,
            "to": after / size,
            "hover": f"<b>{_escaped(stage.recipe, 60)}</b><br>{_escaped(f'{word} {shown(after, what)}', 80)}",
        }
        for stage, before, after in zip(stages, [0.0, *values], values, strict=False)
    ]
    steps.append(
        {
            "label": "Shipped",
            "from": 0.0,
            "to": values[-1] / size,
            "hover": f"<b>{_escaped(stages[-1].recipe, 60)}</b><br>{_escaped(f'{word} {shown(values[-1], what)}', 80)}",
        }
    )
    told = ", ".join(f"{stage.name} {shown(value, what)}" for stage, value in zip(stages, values, strict=True))
    return Chart(
        "stages",
        f"{word.capitalize()}, stage by stage",
        f"Waterfall of the {word} through the stages: {told}. The table of stages has the numbers.",
        "" if timed else "Speed was not measured, so it is the size.",
        {"steps": steps, "y": {"title": f"{word.capitalize()} ({sign})"}},
    )


class _Scale:
    """Numbers in the unit that suits the largest estimate of an axis."""

    def __init__(self, axis: Axis, figures: list[Figure]) -> None:
        self.axis = axis
        ends = [f(found.estimate for found in figures) for f in (min, max)]
        scales = _SCALES.get(figures[0].unit, ((1.0, figures[0].unit),))
        top = max(map(abs, ends))
        self.size, sign = next((scale for scale in scales if top >= scale[0]), scales[-1])
        sign = _escaped(sign, 12)
        self.data = {
            "title": f"{axis.title} ({sign})" if sign else axis.title,
            "log": figures[0].unit != "proportion" and ends[0] > 0 and ends[1] / ends[0] > _WIDE,
            "more": axis.more,
        }

    def __call__(self, figure: Figure) -> list[float]:
        """Estimate, low, high."""
        drawn = self.axis.bars and uncertain(figure)
        ends = (figure.low, figure.high) if drawn else (figure.estimate, figure.estimate)
        return [value / self.size for value in (figure.estimate, *ends)]


def _note(model: ModelResult, variant: VariantResult) -> str:
    roles = badges(model, variant)
    return f"({roles[-1]})" if roles else ""


def _hover(model: ModelResult, variant: VariantResult, measured: list[tuple[Axis, Figure]], *, on_front: bool) -> str:
    lines = [f"<b>{_escaped(variant.name, 60)}</b>"]
    for axis, found in measured:
        ends = interval(found)
        line = f"{axis.word} {shown(found.estimate, found.unit)}"
        lines.append(_escaped(line + (f" ({interval_name(found)} {ends})" if ends else ""), 120))
    lines.append("on the Pareto front" if on_front else "not on the Pareto front")
    if variant.role == "baseline":
        lines.append(f"the {badges(model, variant)[-1]}")
    return "<br>".join(lines)


def _escaped(text: str, limit: int) -> str:
    """Plotly reads a few HTML tags in its texts, links among them, and takes what stands between two dollar signs for TeX."""
    return html.escape(plain(text, limit), quote=False).replace("$", "&#36;")


def _nothing(model: ModelResult, quality: Axis, cost: Axis, not_measured: str) -> str:
    """Why there is no chart."""
    built = [variant for variant in model.variants if variant.state != "failed"]
    if not built:
        return "No chart: there is no variant."
    lacks = [axis.word for axis in (quality, cost) if not any(figure(variant, axis.name) for variant in built)]
    told = f"No chart: no variant has a measured {' or '.join(lacks or [f'{quality.word} together with {cost.word}'])}."
    return f"{told} {not_measured}" if not_measured and cost.name != "size" else told


def _missing(model: ModelResult, quality: Axis, cost: Axis) -> str:
    """One sentence on the variants that can't be in the chart, grouped by what they lack."""
    groups: dict[str, list[str]] = {}
    for variant in model.variants:
        lacks = [axis.word for axis in (quality, cost) if figure(variant, axis.name) is None]
        if variant.state == "failed":
            groups.setdefault("failed", []).append(plain(variant.name, 60))
        elif lacks:
            groups.setdefault(f"without {' and '.join(lacks)}", []).append(plain(variant.name, 60))
    parts = [
        f"{', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''} ({why})"
        for why, names in groups.items()
    ]
    return "; ".join(parts) + "." if parts else ""
