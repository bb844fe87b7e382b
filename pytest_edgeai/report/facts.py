"""Facts: what is known of a model, in words. The page, the plan and the command ``edgeai assess`` say the same."""

from collections.abc import Iterator

from pytest_edgeai.records import Conversion, LanguageFacts
from pytest_edgeai.units import show


def language_facts(found: LanguageFacts) -> Iterator[tuple[str, str]]:
    """(label, text) pairs."""
    shared = f", which share {found.kv_heads} of keys and values" if found.kv_heads != found.heads else ""
    yield (
        "architecture",
        f"{found.family}, {found.layers} layers of {found.hidden} numbers, {found.heads} heads{shared}",
    )
    if found.experts:
        yield (
            "experts",
            f"{found.experts} a layer, {found.experts_used} for each token; {count(found.active_parameters)} parameters work on it",
        )
    tied = ", whose embeddings make the logits, too" if found.tied else ""
    tokenizer = f"tokenizer: {found.tokenizer}" if found.tokenizer else "no tokenizer"
    yield "vocabulary", f"{found.vocabulary:,} tokens{tied}; {tokenizer}"
    yield "context", f"{found.context:,} tokens"
    if found.unconverted:
        yield "conversion", f"{found.unconverted} Engines that take it another way are in its plan."


def conversion_fact(found: Conversion) -> str:
    """What a model of PyTorch was, how it became an ONNX file, and how far the two are apart."""
    what = f"{found.architecture} of {found.source}" if found.architecture else found.source
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    sizes = sorted({size for size in found.batches if size})
    calls = f", in calls of {' and '.join(map(str, sizes))} items" if sizes else ""
    checked = f"off by {found.difference:.2g} of the range of '{found.output}' at most{calls} (limit {found.limit:g})"
    axes = f"dynamic axes: {', '.join(found.axes) or 'none'}"
    fixed = [f"{axis} is fixed, because {why}" for axis, why in found.fixed.items()]
    return "; ".join([f"{what}, by {found.exporter}, opset {found.opset}", checked, axes, *fixed, versions])


def count(number: int) -> str:
    """``1.24 G``"""
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{show(number / size, '')} {sign}"
    return str(number)
