"""Optimization: what is recommended for a model and on what evidence, what it costs, how to deploy it, and what to watch once it is deployed."""

import math
from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec

from pytest_edgeai.records import (
    Beaten,
    Figure,
    GateResult,
    ModelResult,
    Outcome,
    Record,
    Results,
    Stage,
    VariantResult,
    Verdict,
)
from pytest_edgeai.report.advice import ORDER, advise
from pytest_edgeai.report.figures import figure, shown
from pytest_edgeai.report.headings import headings_of, quality_of
from pytest_edgeai.report.roles import baseline_of, is_choice
from pytest_edgeai.units import show

SCHEMA: Final = 1
"""Version of ``optimization.json``."""


class Tradeoff(Record, frozen=True, kw_only=True):
    """Another variant, beside the recommended one."""

    variant: str
    differences: tuple[str, ...]
    """What it has more and less of: ``1.2x as fast``, ``2.2x the memory``."""
    relation: str
    """``second best``, ``beaten by openvino-int8``, ``perhaps beaten by ...``, ``breaks limits``, or empty."""
    notes: tuple[str, ...] = ()


class Step(Record, frozen=True, kw_only=True):
    """One piece of deployment guidance."""

    topic: str
    """``Ship``, ``Runtime``, ``Options``, ``Device``, ``Memory``, ``Network``, ``Before``."""
    text: str


class Monitor(Record, frozen=True, kw_only=True):
    """A metric to watch on deployed devices, with the limit from which on somebody must look."""

    metric: str
    """As the quantities of gates are called: ``latency.p50``."""
    how: str
    alert: str
    """``above 0.7 ms``."""
    limit: float
    unit: str
    seen: str
    """What was measured before it was shipped."""
    source: str
    """The claim that the limit comes from."""
    outcome: Outcome


class Optimization(Record, frozen=True, kw_only=True):
    """The optimization report of one model."""

    model: str
    target: str
    device: str
    standing: Literal["native", "stand-in", "foreign"]
    kind: str
    """``ship``, ``hold``, ``unproven``, ``nearest`` or ``none``, as in the page's headline."""
    variant: str
    """The recommended one; empty where there is none."""
    headline: str
    reasons: tuple[str, ...]
    evidence: tuple[Verdict, ...]
    """Verdicts on it, what needs attention first."""
    breaks: tuple[str, ...]
    second: str
    changes: tuple[str, ...]
    """What it would take for the second best to be recommended."""
    tradeoffs: tuple[Tradeoff, ...]
    stages: tuple[Stage, ...]
    deployment: tuple[Step, ...]
    monitoring: tuple[Monitor, ...]


class Report(Record, frozen=True, kw_only=True):
    """``optimization.json``."""

    schema: int
    tool: str
    release: str
    started: str
    models: tuple[Optimization, ...]


def report(results: Results) -> Report:
    """What is recommended for each model of a run."""
    return Report(
        schema=SCHEMA,
        tool=results.tool,
        release=results.release,
        started=results.started,
        models=tuple(optimization(results, model) for model in results.models),
    )


def optimization(results: Results, model: ModelResult) -> Optimization:
    """What is recommended for one model."""
    advice, choice = advise(results, model), model.choice
    chosen = next((variant for variant in model.variants if is_choice(model, variant)), None)
    verdicts = _evidence(results.gates, model, chosen)
    return Optimization(
        model=model.model.name,
        target=results.target.name,
        device=results.device.name,
        standing=results.standing,
        kind=advice.kind,
        variant=chosen.name if chosen is not None else "",
        headline=advice.headline,
        reasons=advice.reasons,
        evidence=verdicts,
        breaks=advice.breaks,
        second=choice.second if choice is not None else "",
        changes=choice.changes if choice is not None else (),
        tradeoffs=tuple(_tradeoffs(model, chosen)) if chosen is not None else (),
        stages=model.progression,
        deployment=tuple(_deployment(results, model, chosen)) if chosen is not None else (),
        monitoring=tuple(_monitoring(model, chosen, verdicts)) if chosen is not None else (),
    )


def _evidence(gates: Sequence[GateResult], model: ModelResult, chosen: VariantResult | None) -> tuple[Verdict, ...]:
    """Verdicts of tests, and of production validation, each claim once."""
    if chosen is None:
        return ()
    of_tests = [
        gate.verdict
        for gate in gates
        if not gate.tolerated and gate.verdict.subject == chosen.name and gate.verdict.model in ("", model.model.name)
    ]
    of_stages = [verdict for stage in model.progression for verdict in stage.verdicts if verdict.subject == chosen.name]
    found = {verdict.claim: verdict for verdict in (*of_stages, *of_tests)}
    return tuple(sorted(found.values(), key=lambda verdict: ORDER.index(verdict.outcome)))


# Trade-offs ------------------------------------------------------------------------------------------------------------------


def _tradeoffs(model: ModelResult, chosen: VariantResult) -> Iterator[Tradeoff]:
    """Every variant that was ranked, or is on the front; the best first."""
    choice, front = model.choice, model.front
    ranked = {one.recipe: one for one in choice.ranking} if choice is not None else {}
    beaten = {one.recipe: one for one in front.beaten} if front is not None else {}
    undecided = {one.recipe: one for one in front.undecided} if front is not None else {}
    members = front.members if front is not None else ()
    known = {variant.name: variant for variant in model.variants if variant.state != "failed"}
    for name in dict.fromkeys((*ranked, *members, *beaten)):
        variant = known.get(name)
        if variant is None or variant is chosen:
            continue
        broken = ranked[name].breaks if name in ranked else ()
        yield Tradeoff(
            variant=name,
            differences=tuple(_differences(model, variant, chosen)),
            relation=_relation(name, choice.second if choice is not None else "", beaten, undecided, broken),
            notes=broken or (beaten[name].evidence if name in beaten else ()),
        )


def _relation(
    name: str, second: str, beaten: dict[str, Beaten], undecided: dict[str, Beaten], broken: Sequence[str]
) -> str:
    told = ["second best"] if name == second else []
    told += ["breaks limits"] if broken else []
    told += [f"beaten by {beaten[name].by}"] if name in beaten else []
    told += [f"perhaps beaten by {undecided[name].by}"] if name in undecided else []
    return ", ".join(told)


def _differences(model: ModelResult, variant: VariantResult, chosen: VariantResult) -> Iterator[str]:
    axes = (quality_of(model), *headings_of(model).costs)
    words = {"latency": "the time a call", "memory": "the memory", "size": "the size", "speed": "the decode speed"}
    for axis in axes:
        name = axis.name
        mine, its = figure(variant, name), figure(chosen, name)
        if axis.key == "latency" and (figure(variant, "speedup") and figure(chosen, "speedup")):
            # Measured in turns, which calls alone are not.
            mine, its = _inverse(figure(variant, "speedup")), _inverse(figure(chosen, "speedup"))
        if mine is None or its is None or its.estimate <= 0:
            continue
        if axis.name == "accuracy":
            points = 100 * (mine.estimate - its.estimate)
            yield f"{points:+.2f} points of accuracy" if abs(points) >= 0.005 else "the same accuracy"
        else:
            ratio = mine.estimate / its.estimate
            yield f"{ratio:.3g}x {words.get(axis.key, axis.word)}"


def _inverse(found: Figure | None) -> Figure | None:
    if found is None or found.estimate <= 0:
        return None
    return msgspec.structs.replace(found, estimate=1 / found.estimate)


# Deployment ------------------------------------------------------------------------------------------------------------------


def _deployment(results: Results, model: ModelResult, chosen: VariantResult) -> Iterator[Step]:
    target, limits = results.target, model.limits or results.target.limits
    size, compressed = figure(chosen, "size"), figure(chosen, "compressed_size")
    if size is not None:
        download = f" ({show(compressed.estimate, 'bytes')} compressed)" if compressed is not None else ""
        key = f", in the cache as variants/{chosen.key[:2]}/{chosen.key}/artifact" if chosen.key else ""
        yield Step(topic="Ship", text=f"The files of {chosen.name}, {show(size.estimate, 'bytes')}{download}{key}.")
    recipe = chosen.recipe
    versions = ", ".join(f"{name} {version}" for name, version in chosen.versions.items())
    if versions:
        yield Step(
            topic="Runtime",
            text=f"{versions}: what it was built and measured with. Another version is another variant; judge it again.",
        )
    if chosen.placement:
        told = ", ".join(f"{key} {value}" for key, value in chosen.placement.items() if key != "operators")
        asked = (
            f" Set what the recipe asks for: {', '.join(f'{key}={value}' for key, value in recipe.tuning.items())}."
            if recipe is not None and recipe.tuning
            else ""
        )
        yield Step(topic="Options", text=f"The runtime ran it so: {told}.{asked}")
    if recipe is not None and recipe.needs:
        has = [name for name in recipe.needs if name in results.device.features]
        here = f" (this device has {', '.join(has)})" if has else " (this device has none of them)"
        yield Step(
            topic="Device",
            text=f"{recipe.precision} is fast only on a CPU with one of {', '.join(recipe.needs)}{here}: check what you deploy to, as edgeai doctor does.",
        )
    footprint, peak = figure(chosen, "memory.footprint"), figure(chosen, "memory.peak")
    if footprint is not None:
        whole = f"; the whole process peaked at {show(peak.high, 'bytes')}" if peak is not None else ""
        yield Step(topic="Memory", text=f"Leave {show(footprint.high, 'bytes')} for the model itself{whole}.")
    start = figure(chosen, "cold_start")
    if start is not None:
        yield Step(
            topic="Start",
            text=f"The first answer took {show(start.high, 's')} from a started engine; warm it up with a call before it serves.",
        )
    if limits.offline:
        yield Step(topic="Network", text="The target has none when it runs: the files must be on the device.")
    if results.standing != "native":
        yield Step(
            topic="Before",
            text=f"Run the same gates on a device of {target.title}: {results.device.name} {'stands in for it' if results.standing == 'stand-in' else 'is none'}.",
        )


# Monitoring ------------------------------------------------------------------------------------------------------------------


_HOW: Final = {
    "latency": "time calls on the device, a few minutes' worth, and take this percentile",
    "throughput": "count items a second while the device is busy",
    "accuracy": "score a sample with labels, or have the unoptimized model answer a sample and compare",
    "perplexity": "predict a fixed set of texts with each release, and compare with the reference's",
    "kl_divergence": "compare with the reference's probabilities on a sample of texts",
    "memory": "read the process' own high-water mark after it has served for a while",
    "cold_start": "time from start to first answer, at each start",
    "size": "compare at each release, before it is rolled out",
    "compressed_size": "compare at each release, before it is rolled out",
    "energy": "read the device's sensor over minutes of calls",
    "ttft": "time from a prompt to its first token",
    "decode": "count tokens a second after the first one",
    "offline": "load it without a network at each release",
}


def _monitoring(model: ModelResult, chosen: VariantResult, verdicts: Sequence[Verdict]) -> Iterator[Monitor]:
    """One for each claim on the recommended variant that held, or was left open: its limit as a number that can be watched on a device."""
    seen: set[str] = set()
    for verdict in verdicts:
        if verdict.outcome not in (Outcome.PASS, Outcome.INCONCLUSIVE) or verdict.operator not in (
            ">=",
            "<=",
            ">",
            "<",
        ):
            continue
        found = _watched(model, chosen, verdict)
        if found is not None and found.metric not in seen:
            seen.add(found.metric)
            yield found


def _watched(model: ModelResult, chosen: VariantResult, verdict: Verdict) -> Monitor | None:
    """A claim on a ratio is about the number that it makes of what it is compared with."""
    metric, limit, unit, more = verdict.quantity, verdict.limit, verdict.unit, verdict.operator[0] == ">"
    family = metric.partition("@")[0].partition(".")[0]
    if metric == "offline" or (family not in _HOW and not metric.endswith("speedup")):
        return None
    if metric.endswith("speedup"):
        metric = {"speedup": "latency.p50", "decode.speedup": "decode.throughput", "ttft.speedup": "ttft.p50"}.get(
            metric, ""
        )
        baseline = baseline_of(model, chosen)
        found = figure(baseline, metric) if baseline is not None and metric else None
        if found is None:
            return None
        of_rate = metric.endswith("throughput")
        limit, unit, more = found.estimate * limit if of_rate else found.estimate / limit, found.unit, of_rate
    elif verdict.other:
        other = next((variant for variant in model.variants if variant.name == verdict.other), None)
        found = figure(other, metric) if other is not None else None
        if found is None:
            return None
        limit, unit = found.estimate * limit, found.unit
    mine = figure(chosen, metric)
    if not math.isfinite(limit) or unit == "ratio":
        return None
    return Monitor(
        metric=metric,
        how=_HOW[metric.partition("@")[0].partition(".")[0]],
        alert=f"{'below' if more else 'above'} {shown(limit, unit)}",
        limit=limit,
        unit=unit,
        seen=shown(mine.estimate, mine.unit) if mine is not None else "",
        source=verdict.claim,
        outcome=verdict.outcome,
    )
