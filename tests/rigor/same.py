"""A program that judges the same samples anew and prints the verdicts as they are kept, a line each."""

import random
from collections.abc import Iterator

import msgspec
import numpy as np

from benchmarks.rigor.replay import Replay
from pytest_edgeai.judge import ratios, scores, series
from pytest_edgeai.judge.finding import Finding
from pytest_edgeai.judge.rules import RIGOR
from pytest_edgeai.records import Verdict
from tests.rigor.machines import Calls, Tailed, deck

QUICK = RIGOR["quick"]


def findings() -> Iterator[Finding]:
    """Of every kind of comparison that works on samples, and of every outcome."""
    for condition in ("quiet", "hogs"):
        for limit in (0.95, 1.0, 1.05):
            yield ratios.speedup(Replay(deck(condition), random.Random(1), layout=0.005), ">=", limit, QUICK)
        yield series.jitter(Calls(condition, 1), "<=", 0.2, QUICK)
    for factor in (0.5, 1.0, 2.0):
        yield series.percentile(Tailed(1), 0.99, "<=", factor * Tailed.percentile(0.99), QUICK)
    rng = np.random.default_rng(1)
    reference = rng.uniform(0.5, 1.0, 400)
    for loss in (0.02, 0.05, 0.20):
        variant = reference * rng.normal(1 - loss, 0.05, 400)
        yield scores.accuracy_ratio(variant, reference, ">=", 0.95, QUICK)
        yield scores.accuracy_ratio(np.round(variant), np.round(reference), ">=", 0.95, QUICK)


def lines() -> list[str]:
    """The verdicts as JSON."""
    told = {
        "claim": "?",
        "subject": "?",
        "quantity": "?",
        "operator": "?",
        "limit": 1.0,
        "unit": "?",
        "device": "?",
        "target": "?",
    }
    found = [(finding, set(Verdict.__struct_fields__) - set(told)) for finding in findings()]
    return [
        msgspec.json.encode(Verdict(**told, **{n: getattr(f, n) for n in names if hasattr(f, n)})).decode()
        for f, names in found
    ]


if __name__ == "__main__":
    print(*lines(), sep="\n")
