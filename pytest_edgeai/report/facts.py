"""Facts: what is known of a language model, in words. The page and the command ``edgeai assess`` say the same."""

from collections.abc import Iterator

from pytest_edgeai.records import LanguageFacts
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


def count(number: int) -> str:
    """``1.24 G``"""
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{show(number / size, '')} {sign}"
    return str(number)
