"""Headings: which figures of a model people see, what they are called, and which way is better."""

import dataclasses

from pytest_edgeai.records import ModelResult
from pytest_edgeai.report.figures import figure


@dataclasses.dataclass(frozen=True)
class Axis:
    """A figure as one side of a chart."""

    key: str
    """Short, for ids and for the fronts in the table."""
    name: str
    """Of the figure."""
    title: str
    word: str
    """Within a sentence."""
    more: bool = False
    """Whether more of it is better."""
    bars: bool = True
    """Whether its intervals tell variants apart. Those of a perplexity are about the text, which all variants share."""


@dataclasses.dataclass(frozen=True)
class Column:
    """A figure as a column of a table."""

    name: str
    title: str
    unit: str = ""
    """Said by the title already, so that the numbers below don't."""
    tail: str = ""
    """A figure that stands below this one in place of its interval."""


@dataclasses.dataclass(frozen=True)
class Headings:
    """What is shown of one kind of model."""

    qualities: tuple[Axis, ...]
    """For the charts; the first one that was measured."""
    costs: tuple[Axis, ...]
    """What quality is traded against, a chart each."""
    columns: tuple[Column, ...]
    """Of the table of variants, before those of metrics from plugins."""
    left_out: frozenset[str]
    """Figures that only ``results.json`` has: beside those above they tell little."""
    tiles: tuple[Column, ...]
    """Figures of the choice on the first screen."""
    lines: tuple[Column, ...]
    """In the terminal; where it is narrow the first ones are left out first."""


_ACCURACY = Axis("accuracy", "accuracy", "Accuracy", "accuracy", more=True)
_MEMORY = Axis("memory", "memory.footprint", "Own memory footprint", "memory")
_SIZE = Axis("size", "size", "Size", "size")
_LEFT_OUT = frozenset({"memory.anonymous", "memory.mapped", "memory.inactive", "energy.idle", "energy.idle_per_call"})

TENSOR = Headings(
    qualities=(_ACCURACY,),
    costs=(Axis("latency", "latency.p50", "Latency (p50)", "latency"), _MEMORY, _SIZE),
    columns=(
        Column("accuracy", "Accuracy"),
        Column("size", "Size"),
        Column("compressed_size", "Compressed"),
        Column("latency.p50", "Latency p50"),
        Column("latency.p95", "Latency p95"),
        Column("speedup", "Speed-up"),
        Column("throughput", "Throughput (items/s)", "items/s"),
        Column("memory.footprint", "Own memory"),
        Column("memory.peak", "Peak memory"),
        Column("cold_start", "Cold start"),
    ),
    left_out=_LEFT_OUT,
    tiles=(
        Column("speedup", "Speed-up"),
        Column("latency.p50", "Latency (p50)"),
        Column("memory.footprint", "Own memory"),
        Column("size", "Size"),
        Column("accuracy", "Accuracy"),
    ),
    lines=(
        Column("size", "size"),
        Column("memory.footprint", "own memory"),
        Column("latency.p50", "p50"),
        Column("speedup", "speed-up"),
        Column("accuracy", "accuracy"),
    ),
)

LANGUAGE = Headings(
    qualities=(
        Axis("perplexity", "perplexity", "Perplexity", "perplexity", bars=False),
        Axis("bits", "bits_per_byte", "Bits per byte", "bits per byte", bars=False),
        _ACCURACY,
    ),
    costs=(Axis("speed", "decode.throughput", "Decode speed", "decode speed", more=True), _MEMORY, _SIZE),
    columns=(
        Column("perplexity", "Perplexity"),
        Column("kl_divergence", "KL divergence (nats)", "nats"),
        Column("agreement", "Agreement"),
        Column("accuracy", "Accuracy"),
        Column("decode.throughput", "Decode (tokens/s)", "tokens/s"),
        Column("decode.speedup", "Decode speed-up"),
        Column("ttft.p50", "TTFT p50"),
        # Its median is one over the tokens a second, whose interval stands there.
        Column("tpot.p50", "TPOT p50", tail="tpot.p95"),
        Column("memory.footprint", "Own memory"),
        Column("size", "Size"),
        Column("cold_start", "Cold start"),
    ),
    left_out=_LEFT_OUT
    | {"prefill.throughput", "prefill.speedup", "ttft.speedup", "end_to_end.p50", "end_to_end.speedup", "memory.peak"}
    | {"itl.p50"},
    tiles=(
        Column("decode.speedup", "Decode speed-up"),
        Column("decode.throughput", "Decode (tokens/s)", "tokens/s"),
        Column("ttft.p50", "First token (p50)"),
        Column("memory.footprint", "Own memory"),
        Column("size", "Size"),
        Column("perplexity", "Perplexity"),
        Column("kl_divergence", "KL divergence (nats)", "nats"),
        Column("accuracy", "Accuracy"),
    ),
    lines=(
        Column("cold_start", "cold start"),
        Column("tpot.p95", "TPOT p95"),
        Column("agreement", "agreement"),
        Column("size", "size"),
        Column("memory.footprint", "own memory"),
        Column("ttft.p50", "TTFT"),
        Column("accuracy", "accuracy"),
        Column("kl_divergence", "KL (nats)", "nats"),
        Column("decode.throughput", "tokens/s", "tokens/s"),
        Column("decode.speedup", "speed-up"),
        Column("perplexity", "perplexity"),
    ),
)

QUALITY = frozenset({"perplexity", "bits_per_byte", "kl_divergence", "agreement", "accuracy"})
"""Figures that are compared with the reference; the others are compared with the baseline of the same engine."""


def headings_of(model: ModelResult) -> Headings:
    """By what kind of model it is."""
    return LANGUAGE if model.assessment is not None and model.assessment.language is not None else TENSOR


def quality_of(model: ModelResult) -> Axis:
    """What the charts take for quality: the first one that was measured of any variant."""
    axes = headings_of(model).qualities
    built = [variant for variant in model.variants if variant.state != "failed"]
    return next((axis for axis in axes if any(figure(variant, axis.name) for variant in built)), axes[0])


def columns_of(model: ModelResult) -> tuple[Column, ...]:
    """Of the table: the usual ones, then what else was measured, by its own name; without those of which no variant has a figure."""
    headings = headings_of(model)
    measured = {name for variant in model.variants for name in (*variant.figures, "size") if figure(variant, name)}
    if "perplexity" in measured:
        measured.discard("bits_per_byte")  # the same in another unit
    usual = [column for column in headings.columns if column.name in measured]
    others = sorted(measured - {column.name for column in headings.columns} - headings.left_out)
    # Of a metric's percentiles and spread the median is enough here.
    others = [name for name in others if name.rpartition(".")[2] not in ("p90", "p95", "p99", "p999", "jitter")]
    return (*usual, *(Column(name, name) for name in others))
