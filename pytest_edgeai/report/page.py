"""Page: the report as one HTML file that opens anywhere, offline, and runs no script but its own."""

import base64
import dataclasses
import datetime as dt
import functools
import gzip
import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pytest_edgeai.records import (
    Figure,
    GateResult,
    Limits,
    ModelResult,
    Outcome,
    Results,
    Stage,
    Target,
    TensorSpec,
    Trial,
    VariantResult,
    Verdict,
)
from pytest_edgeai.report.advice import ORDER, Advice, advise, counts, tolerated
from pytest_edgeai.report.charts import SERIES, SYMBOLS, Chart, charts, fronts, waterfall
from pytest_edgeai.report.facts import conversion_fact, language_facts
from pytest_edgeai.report.figures import bare_interval, below, figure, interval, interval_name, shown, span, uncertain
from pytest_edgeai.report.headings import QUALITY, Column, columns_of, headings_of, quality_of
from pytest_edgeai.report.optimization import Optimization, optimization
from pytest_edgeai.report.roles import badges, baseline_of, baselines, is_choice, reference_of
from pytest_edgeai.report.text import cause, plain
from pytest_edgeai.units import show

if TYPE_CHECKING:
    from jinja2 import Environment

TRIALS = 200
"""At most so many trials of a search are on the page; ``results.json`` has all of them."""

SHOWN = 2000
"""At most so many verdicts are on the page, those that need attention first; ``results.json`` has all of them."""

NAMED = 8
"""At most so many failures of a kind are named on the first screen."""

_SIGNS = {
    Outcome.PASS: "✓",
    Outcome.FAIL: "✗",
    Outcome.INCONCLUSIVE: "?",
    Outcome.ERROR: "!",
    Outcome.UNSUPPORTED: "–",
}


def render(results: Results) -> str:
    """The report. Equal results make equal pages."""
    environment = _environment()
    style, script = (_source(environment, name) for name in ("style.css", "page.js"))
    library, library_hash = _plotly()
    series = _series(results)
    views = [_model_view(results, model, number, series) for number, model in enumerate(results.models, 1)]
    all_charts = [
        (view.number, chart) for view in views for chart in (*view.charts, view.waterfall) if chart is not None
    ]
    drawn = {f"chart-{number}-{chart.key}": chart.data for number, chart in all_charts if chart.data}
    verdicts, hidden = _verdicts(results.gates)
    found = counts(results.gates)
    return environment.get_template("index.html.j2").render(
        results=results,
        title=_title(results, views),
        models=views,
        counts=found,
        tolerated=tolerated(results.gates),
        groups=_grouped(verdicts),
        hidden=hidden,
        attention=_attention(verdicts, found),
        broken=[
            (model.model.name, variant)
            for model in results.models
            for variant in model.variants
            if variant.state == "failed"
        ],
        legend=[
            (framework, number % SERIES, SYMBOLS[number % len(SYMBOLS)])
            for framework, number in series.items()
            if any(variant.framework == framework for model in results.models for variant in model.variants)
        ],
        no_bars=list(dict.fromkeys(view.no_bars for view in views if view.no_bars)),
        confidences=_confidences(results),
        limits=_limits(results.target.limits, language=any(_is_language(model) for model in results.models)),
        signs=_SIGNS,
        drawn=drawn,
        style=style,
        script=script,
        library=library if drawn else "",
        policy="; ".join(
            (
                "default-src 'none'",
                f"script-src '{_hash(script)}' '{library_hash}'",
                "style-src 'unsafe-inline'",  # Plotly sets style attributes
                "img-src data: blob:",  # a chart saved as a picture
                "base-uri 'none'",
                "form-action 'none'",
            )
        ),
    )


# Parts that are alike on every page -------------------------------------------------------------------------------------------


@functools.cache  # compiling the template takes ten times as long as filling it
def _environment() -> "Environment":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pytest_edgeai.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "plain": plain,
        "cause": cause,
        "name": functools.partial(plain, limit=80),
        "sentence": functools.partial(plain, limit=600),
        "show": shown,
        "duration": _duration,
        "moment": moment,
        "spec": _spec,
    }
    return environment


def _finalized(value: Any) -> Any:
    """What every expression of a template goes through: no text gets onto the page with characters that act."""
    return plain(value, 4000) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _source(environment: "Environment", name: str) -> Any:
    """A template's text as it is, with the line ends that an HTML parser makes of it: its hash depends on them."""
    import markupsafe

    assert environment.loader is not None
    text, _, _ = environment.loader.get_source(environment, name)
    return markupsafe.Markup(text.replace("\r\n", "\n"))  # noqa: S704 - our own file


@functools.cache
def _plotly() -> tuple[Any, str]:
    """Plotly's script, compressed (a page of 2 MB instead of 5), and the hash by which the policy lets it run."""
    import markupsafe
    from plotly.offline import get_plotlyjs

    source: str = get_plotlyjs()
    packed = base64.b64encode(gzip.compress(source.encode(), 9, mtime=0)).decode("ascii")
    return markupsafe.Markup(packed), _hash(source)  # noqa: S704 - base64


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


# The models ------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Cell:
    """One number of a table."""

    text: str
    detail: str = ""
    """The interval."""
    sort: str = ""
    """Empty sorts last."""
    hint: str = ""


@dataclasses.dataclass(frozen=True)
class Row:
    """One variant in the table."""

    variant: VariantResult
    badges: tuple[str, ...]
    series: int
    shape: str
    cells: tuple[Cell, ...]
    fronts: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class StageRow:
    """One stage in its table."""

    stage: Stage
    gained: Cell
    cells: tuple[Cell, ...]


@dataclasses.dataclass(frozen=True)
class TrialRow:
    """One trial of a search in its table."""

    trial: Trial
    cells: tuple[Cell, ...]


@dataclasses.dataclass(frozen=True)
class Tile:
    """One number on the first screen."""

    title: str
    text: str
    details: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class ModelView:
    """One model on the page."""

    number: int
    result: ModelResult
    advice: Advice
    tiles: tuple[Tile, ...]
    charts: tuple[Chart, ...]
    optimization: Optimization
    waterfall: Chart | None
    """Of the stages; ``None``: they weren't followed."""
    stages: tuple["StageRow", ...]
    trials: tuple["TrialRow", ...]
    """Of a search, the first ones."""
    stage_columns: tuple[Column, ...]
    """Of the tables of stages and trials: the figures on the first screen."""
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    scored: bool
    """Whether the table has an accuracy."""
    no_bars: str
    """The quality whose intervals the charts leave out, within a sentence; empty where they leave out none."""
    language: tuple[tuple[str, str], ...]
    """What is known of a language model."""
    converted: str
    """What a model of PyTorch was before it became an ONNX file; empty for others."""
    limits: str
    """What is demanded of it other than what the target demands."""


def _model_view(results: Results, model: ModelResult, number: int, series: dict[str, int]) -> ModelView:
    best = fronts(model)
    drawn = charts(model, series, _why_not_measured(results))
    columns, quality = columns_of(model), quality_of(model)
    found = model.assessment.language if model.assessment is not None else None
    return ModelView(
        number=number,
        result=model,
        advice=advise(results, model),
        tiles=_tiles(model),
        charts=drawn,
        optimization=optimization(results, model),
        waterfall=waterfall(model),
        stages=tuple(
            StageRow(
                stage,
                _of_figure(stage.speedup, None, "", ""),
                tuple(_of_figure(stage.figures.get(one.name), None, one.unit, "") for one in headings_of(model).tiles),
            )
            for stage in model.progression
        ),
        trials=tuple(
            TrialRow(
                trial,
                tuple(_of_figure(trial.figures.get(one.name), None, one.unit, "") for one in headings_of(model).tiles),
            )
            for trial in (model.search.trials[:TRIALS] if model.search is not None else ())
        ),
        stage_columns=headings_of(model).tiles,
        columns=columns,
        rows=tuple(
            Row(
                variant,
                badges(model, variant),
                series[variant.framework] % SERIES,
                SYMBOLS[series[variant.framework] % len(SYMBOLS)],
                tuple(_cell(variant, column) for column in columns),
                ("all",) if len(best.get(variant.name, ())) == len(drawn) > 1 else best.get(variant.name, ()),
            )
            for variant in model.variants
        ),
        scored="accuracy" in {column.name for column in columns},
        no_bars="" if quality.bars else quality.word,
        language=tuple(language_facts(found)) if found is not None else (),
        converted=conversion_fact(model.conversion) if model.conversion is not None else "",
        limits=_own_limits(model, results.target),
    )


def _is_language(model: ModelResult) -> bool:
    return model.assessment is not None and model.assessment.language is not None


def _own_limits(model: ModelResult, target: Target) -> str:
    """What is demanded of this model other than what the target demands; empty where nothing is."""
    if model.limits is None:
        return ""
    own, plain_ = (_limits(limits, language=_is_language(model)) for limits in (model.limits, target.limits))
    return "; ".join(f"{label.lower()} {text}" for label, text in own if (label, text) not in plain_)


def _why_not_measured(results: Results) -> str:
    if results.standing != "foreign":
        return ""
    return f"{plain(results.device.name, 60)} is no device of {plain(results.target.title, 60)}, where speed and memory are measured."


def _series(results: Results) -> dict[str, int]:
    """A number for each framework: the target's order first, so that colours stay the same from release to release."""
    target = results.target
    others = sorted({variant.framework for model in results.models for variant in model.variants})
    names = dict.fromkeys((*target.frameworks, *target.language_frameworks, *others))
    return {name: number for number, name in enumerate(names)}


def _cell(variant: VariantResult, column: Column) -> Cell:
    return _of_figure(figure(variant, column.name), figure(variant, column.tail), column.unit, column.tail)


def _of_figure(found: Figure | None, tail: Figure | None, unit: str, tail_name: str) -> Cell:
    """A number with its interval, or with another figure below it; empty where it wasn't measured."""
    if found is None:
        return Cell("")
    parts = [interval_name(found)] if uncertain(found) else []
    parts += [f"{found.n} samples"] if found.n > 1 else []
    parts += [plain(found.method, 80)] if found.method else []
    detail = bare_interval(found)
    if tail is not None:
        detail = f"{tail_name.rpartition('.')[2]} {shown(tail.estimate, tail.unit)}"
    return Cell(below(found, unit), detail, repr(float(found.estimate)), ", ".join(parts))


def _tiles(model: ModelResult) -> tuple[Tile, ...]:
    choice = next((variant for variant in model.variants if is_choice(model, variant)), None)
    if choice is None:
        return ()
    tiles = []
    for column in headings_of(model).tiles:
        found = figure(choice, column.name)
        if found is None:
            continue
        ends = bare_interval(found) if column.unit else interval(found)
        details = [ends] if ends else []
        tiles.append(Tile(column.title, below(found, column.unit), (*details, *_against(model, choice, column))))
    return tuple(tiles)


def _against(model: ModelResult, choice: VariantResult, column: Column) -> Iterable[str]:
    """What the figure is compared with."""
    several = len(baselines(model)) > 1
    title, other = (
        ("reference", reference_of(model))
        if several and column.name in QUALITY
        else ("baseline", baseline_of(model, choice))
    )
    if other is None:
        return
    if column.name.rpartition(".")[2] == "speedup":
        if several:
            yield f"over {plain(other.name, 40)}"
    elif (found := figure(other, column.name)) is not None:
        yield f"{title} {below(found, column.unit)}"


def _title(results: Results, views: Sequence[ModelView]) -> str:
    if len(views) == 1:
        return f"{plain(views[0].result.model.name, 60)}: {views[0].advice.headline}"
    return f"{len(views) or 'No'} models for {plain(results.target.title, 60)}"


# The verdicts ----------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Strip:
    """Where the bounds lie to the limit, each from 0 (left) to 100 (right)."""

    low: float
    high: float
    estimate: float
    limit: float
    holds: tuple[float, float]
    """The side on which the claim is true."""


@dataclasses.dataclass(frozen=True)
class VerdictView:
    """One verdict on the page."""

    number: int
    test: str
    verdict: Verdict
    lines: tuple[str, ...]
    measured: str
    asked: str
    bounds: str
    tolerated: bool
    open: bool
    strip: Strip | None


def _verdicts(gates: Sequence[GateResult]) -> tuple[list[VerdictView], int]:
    """Those to show, in the run's order, and how many are left out."""
    numbered = list(enumerate(gates, 1))
    urgent = sorted(numbered, key=lambda pair: ORDER.index(pair[1].verdict.outcome))[:SHOWN]
    return [_verdict(*pair) for pair in sorted(urgent, key=lambda pair: pair[0])], len(numbered) - len(urgent)


def _verdict(number: int, gate: GateResult) -> VerdictView:
    verdict = gate.verdict
    lines = verdict.lines()
    said = len(lines) - 1 - (verdict.estimate is not None)
    lines += [f"  {note}" for note in verdict.notes[said:]]
    bounds = ""
    if verdict.low is not None and verdict.high is not None and verdict.low != verdict.high:
        bounds = span(verdict.low, verdict.high, verdict.unit)
        if verdict.confidence is not None and verdict.confidence < 1:
            bounds += f" (each bound holds at {100 * verdict.confidence:g} %)"
    return VerdictView(
        number=number,
        test=gate.test,
        verdict=verdict,
        lines=tuple(part for line in lines for part in line.split("\n"))[:60],
        measured=shown(verdict.estimate, verdict.unit) if verdict.estimate is not None else "",
        asked=plain(verdict.claim.removeprefix(f"{verdict.subject} "), 160),
        bounds=bounds,
        tolerated=gate.tolerated,
        open=not gate.tolerated and verdict.outcome in (Outcome.FAIL, Outcome.ERROR, Outcome.INCONCLUSIVE),
        strip=_strip(verdict),
    )


def _strip(verdict: Verdict) -> Strip | None:
    estimate = verdict.estimate
    if estimate is None:
        return None
    low = estimate if verdict.low is None else verdict.low
    high = estimate if verdict.high is None else verdict.high
    ends = (low, high, estimate, verdict.limit)
    if not all(map(math.isfinite, ends)):
        return None
    start, width = min(ends), max(ends) - min(ends)
    if not width > 0 or not math.isfinite(width):
        return None

    def place(value: float) -> float:
        return round(12 + 76 * (value - start) / width, 2)

    limit = place(verdict.limit)
    holds = {"<": (0.0, limit), "<=": (0.0, limit), ">": (limit, 100.0), ">=": (limit, 100.0)}
    if verdict.operator not in holds:
        return None
    return Strip(place(low), place(high), place(estimate), limit, holds[verdict.operator])


def _grouped(verdicts: Iterable[VerdictView]) -> list[tuple[str, list[VerdictView]]]:
    """By test function: the parameters say what each claim says again."""
    groups: dict[str, list[VerdictView]] = {}
    for view in verdicts:
        groups.setdefault(_function(view.test), []).append(view)
    return list(groups.items())


def _function(test: str) -> str:
    """``test_gates.py::test_is_fast`` of ``test_gates.py::test_is_fast[openvino-int8]``."""
    file, colons, name = test.partition("::")
    return file + colons + name.partition("[")[0] if colons else test


def _attention(
    verdicts: Sequence[VerdictView], count: dict[Outcome, int]
) -> list[tuple[Outcome, list[VerdictView], int]]:
    """FAIL, ERROR and INCONCLUSIVE: the first few of each, and how many more there are."""
    named = []
    for outcome in ORDER[:3]:
        if count[outcome]:
            views = [view for view in verdicts if view.verdict.outcome is outcome and not view.tolerated][:NAMED]
            named.append((outcome, views, count[outcome] - len(views)))
    return named


# Facts -----------------------------------------------------------------------------------------------------------------------


def _confidences(results: Results) -> tuple[str, str]:
    """Of the intervals of figures, and of the bounds of verdicts: ``99 %``, ``95 % to 99 %``, or nothing."""
    figures = {
        found.confidence
        for model in results.models
        for variant in model.variants
        for found in variant.figures.values()
        if uncertain(found) and found.confidence < 1
    }
    verdicts = {
        gate.verdict.confidence
        for gate in results.gates
        if gate.verdict.confidence is not None and gate.verdict.confidence < 1
    }
    return _extent(figures), _extent(verdicts)


def _extent(values: set[float]) -> str:
    ends = sorted(value for value in values if math.isfinite(value))
    texts = dict.fromkeys(f"{100 * value:g} %" for value in (*ends[:1], *ends[-1:]))
    return " to ".join(texts)


def _limits(limits: Limits, *, language: bool) -> list[tuple[str, str]]:
    found = [
        ("Accuracy", f"at least {100 * limits.accuracy_kept:g} % of the reference's"),
        ("Speed", f"at least {show(limits.speedup, 'x')} the baseline's"),
        ("Own memory", f"at most {100 * limits.footprint:g} % of the baseline's"),
    ]
    if language:
        found += [
            ("Perplexity", f"at most {show(limits.perplexity, 'x')} the reference's"),
            ("KL divergence", f"at most {show(limits.kl_divergence, 'nats')} from the reference"),
        ]
        found += [("First token", f"after at most {show(limits.ttft, 's')}")] if limits.ttft else []
    found += [("Package", f"at most {show(limits.package, 'bytes')}")] if limits.package else []
    found += [("Memory", f"at most {show(limits.memory_bytes, 'bytes')}")] if limits.memory_bytes else []
    found += [("Power", f"at most {show(limits.power_watts, 'W')}")] if limits.power_watts else []
    return found + ([("Network", "none while it runs")] if limits.offline else [])


def moment(text: str) -> str:
    """``2026-11-23 14:03 UTC``; anything else as it is."""
    try:
        moment = dt.datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            moment = moment.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return text
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds) or seconds < 60:
        return show(seconds, "s")
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _spec(spec: TensorSpec) -> str:
    shape = " × ".join(plain(axis, 24) for axis in spec.shape)
    return f"{plain(spec.name, 40)}: {plain(spec.dtype, 16)}, {shape or 'scalar'}"
