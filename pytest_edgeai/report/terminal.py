"""Terminal: the report in a few lines, for the end of pytest's output."""

import textwrap
from collections.abc import Iterator
from typing import Literal

from pytest_edgeai import device as devices
from pytest_edgeai.records import ModelResult, Outcome, Results, VariantResult
from pytest_edgeai.report.advice import Advice, advise, counts, tolerated
from pytest_edgeai.report.charts import fronts
from pytest_edgeai.report.figures import below, figure
from pytest_edgeai.report.headings import Column, headings_of
from pytest_edgeai.report.roles import badges, is_choice
from pytest_edgeai.report.text import ascii_of, cause, clip, columns_of, plain

Markup = Literal["", "green", "red", "yellow", "bold"]

ROWS = 20
"""At most so many variants a model; the page has all of them."""

_GAP = "  "
_LEAST_NAME = 27

_COLORS: dict[str, Markup] = {
    "ship": "green",
    "hold": "red",
    "unproven": "yellow",
    "nearest": "yellow",
    "none": "yellow",
}


def summary(results: Results, width: int, ascii_only: bool = False) -> list[tuple[Markup, str]]:
    """(markup, line) pairs, no line wider than ``width`` columns: variants, counts of verdicts, and the choice with its reason."""
    width = max(width, 20)
    lines: list[tuple[Markup, str]] = []
    for model in results.models:
        if len(results.models) > 1:
            lines.append(("bold", plain(model.model.name, 200)))
        lines += _table(model, width, ascii_only)
    lines += _standing(results)
    lines.append(_verdicts(results))
    for model in results.models:
        lines += _advice(advise(results, model), model if len(results.models) > 1 else None, width)
    return [(markup, text) for markup, line in lines for text in _fitted(line, width, ascii_only)]


def _fitted(line: str, width: int, ascii_only: bool) -> Iterator[str]:
    """The line wrapped at words, further lines indented as the first one is."""
    line = ascii_of(line) if ascii_only else line
    indent = " " * (len(line) - len(line.lstrip(" ")) + (2 if line.lstrip(" ").startswith(("* ", "- ")) else 0))
    if columns_of(line) <= width:
        yield line.rstrip()
        return
    for part in textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False, drop_whitespace=True):
        yield clip(part, width, "..." if ascii_only else "…")


def _table(model: ModelResult, width: int, ascii_only: bool) -> Iterator[tuple[Markup, str]]:
    variants = _shown(model)
    if not variants:
        return
    columns = [column for column in headings_of(model).lines if any(figure(v, column.name) for v in variants)]
    cells = {column: [_cell(variant, column, ascii_only) for variant in variants] for column in columns}
    sizes = {column: max(len(column.title), *map(columns_of, cells[column])) for column in columns}
    names = [_name(model, variant) for variant in variants]
    longest = max(columns_of("variant"), *map(columns_of, names))

    def room() -> int:
        return width - 2 - sum(len(_GAP) + sizes[column] for column in columns)

    while columns and room() < min(longest, _LEAST_NAME):
        del columns[0]
    space = min(longest, room())
    head = "".join(_GAP + column.title.rjust(sizes[column]) for column in columns)
    yield "bold", f"  {'variant'.ljust(space)}{head}"
    for i, variant in enumerate(variants):
        chosen = is_choice(model, variant)
        start = f"{'*' if chosen else ' '} {_padded(clip(names[i], space, '...' if ascii_only else '…'), space)}"
        if variant.state == "failed":
            reason = plain(cause(variant.reason, variant.name), 400)
            text = f"{start}{_GAP}failed: {reason}" if reason else f"{start}{_GAP}failed"
            yield "red", clip(ascii_of(text) if ascii_only else text, width, "..." if ascii_only else "…")
            continue
        numbers = "".join(_GAP + _padded(cells[column][i], sizes[column], right=True) for column in columns)
        yield "bold" if chosen else "", start + numbers
    if len(model.variants) > len(variants):
        yield "", f"  and {len(model.variants) - len(variants)} more in the report"


def _shown(model: ModelResult) -> list[VariantResult]:
    """All of them, or the ones that matter most, in the plan's order."""
    best = fronts(model)

    def rank(variant: VariantResult) -> int:
        if is_choice(model, variant) or variant.role == "baseline":
            return 0
        return 1 if variant.name in best else 2

    numbered = sorted(enumerate(model.variants), key=lambda pair: rank(pair[1]))[:ROWS]
    return [variant for _, variant in sorted(numbered, key=lambda pair: pair[0])]


def _name(model: ModelResult, variant: VariantResult) -> str:
    name = plain(variant.name, 200)
    return f"{name} ({badges(model, variant)[-1]})" if variant.role == "baseline" else name


def _cell(variant: VariantResult, column: Column, ascii_only: bool) -> str:
    found = figure(variant, column.name)
    text = below(found, column.unit) if found is not None else "-"
    return ascii_of(text) if ascii_only else text


def _padded(text: str, columns: int, *, right: bool = False) -> str:
    fill = " " * (columns - columns_of(text))
    return fill + text if right else text + fill


def _standing(results: Results) -> Iterator[tuple[Markup, str]]:
    device, target = plain(results.device.name, 60), plain(results.target.title, 60)
    if results.standing == "stand-in":
        yield "yellow", f"Measured on {device}, which stands in for {target}."
    elif results.standing == "foreign":
        may = devices.standing(results.device, results.target) == "stand-in"
        accept = " Accept it as a stand-in: --edge-stand-in." if may else ""
        yield "yellow", f"{device} is no device of {target}: speed, memory and energy were not decided.{accept}"


def _verdicts(results: Results) -> tuple[Markup, str]:
    found = {outcome: count for outcome, count in counts(results.gates).items() if count}
    if not results.gates:
        return "yellow", "Verdicts: none; no gate was decided."
    told = [*(f"{found[outcome]} {outcome}" for outcome in found), tolerated(results.gates)]
    text = "Verdicts: " + ", ".join(filter(None, told))
    if Outcome.FAIL in found or Outcome.ERROR in found:
        return "red", text
    return "yellow" if Outcome.INCONCLUSIVE in found or Outcome.PASS not in found else "green", text


def _advice(advice: Advice, model: ModelResult | None, width: int) -> Iterator[tuple[Markup, str]]:
    of = f" ({plain(model.model.name, 40)})" if model is not None else ""
    yield _COLORS[advice.kind], f"* {advice.headline}{of}" if advice.name else f"{advice.headline}{of}"
    for reason in advice.reasons:
        yield "", f"  {plain(reason, 4 * width)}"
    for limit in advice.breaks[:4]:
        yield "yellow", f"  - {plain(limit, 2 * width)}"
