"""Is our search better than what there is? ``python -m benchmarks.search [--budget SECONDS] [MODEL ...]``, or ``make search-bench``.

Each side has the same time for the same model, with the same calibration and selection items and an empty cache: ours, Olive's workflow with its own search, NNCF's
default and ONNX Runtime's default quantization (which take what they take). What each puts out is then measured alike, in one process after the other, on items
that none of them has seen, and compared by the hypervolume of (speed-up, accuracy, memory) and by the best variant that meets the limits: of ours the one that it
chose, of the others the best that they have.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from benchmarks import tables
from benchmarks.tables import Table
from fixtures.zoo import make_zoo
from pytest_edgeai import choosing, objectives
from pytest_edgeai.dataset import CALIBRATION, CONFIRMATION, SELECTION, Dataset
from pytest_edgeai.errors import EdgeError
from pytest_edgeai.judge import figures
from pytest_edgeai.pipeline import Declaration, Run, Study
from pytest_edgeai.progress import Progress
from pytest_edgeai.records import Figure, Recipe, Search, Variant
from pytest_edgeai.searching import search_for
from pytest_edgeai.settings import Settings
from pytest_edgeai.stats import pareto
from pytest_edgeai.units import show

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "search.md"
MODELS = ["digits", "minilm", "mobilenet"]
BUDGET = 150
"""Seconds for each side and model."""
LIMITS = "accuracy=0.95 speedup=1.5 footprint=1"
REFERENCE = (0.0, -1.0, -1.0)
"""What a variant must be better than to count: as fast as the baseline, all of the accuracy lost that the limits allow, twice the baseline's memory."""
AXES = ("latency", "accuracy", "memory")
"""Of the hypervolume."""
PREFER = "latency=3,accuracy=2,memory=1,size=1"
"""What the best variant is to be the best in."""
PASSES = 3
"""Times that those which may be the best are measured again, one after the other each time, because identical files were up to 15 % apart in one pass."""
RIVALS = {
    "Olive's search": ("olive", "onnxruntime"),
    "NNCF's default": ("nncf", "openvino"),
    "ONNX Runtime's default": ("onnxruntime", "onnxruntime"),
}


@dataclass
class Side:
    """What one of the rivals came to."""

    name: str
    seconds: float
    variants: list[str]
    chosen: str = ""
    """Which of them is to be shipped; empty: it doesn't say."""


def measure(budget: int, names: list[str], folder: Path) -> list[Table]:
    """All sides on these models; with all models, also where the time of a search goes."""
    found = [_compared(name, _sample(name, folder), budget, folder / name) for name in names]
    return found if names != MODELS else [*found, _profile(folder / "profile")]


def _sample(name: str, folder: Path) -> make_zoo.Sample:
    if name == "digits":
        return make_zoo.Sample(
            ROOT / "fixtures" / "digits" / "digits.onnx", ROOT / "fixtures" / "digits" / "digits.npz"
        )
    return make_zoo.make(folder / "models", [name])[name]


def _study(model: Path, dataset: Path, folder: Path) -> Study:
    folder.mkdir(parents=True, exist_ok=True)
    settings = Settings(target="cross", limit=LIMITS, prefer=PREFER, cache=str(folder / "cache"))
    run = Run(settings, [], folder / f"run on {dataset.stem}", "bench", Progress(_say))
    return run.study(Declaration(model, dataset, "auto"))


def _compared(name: str, sample: make_zoo.Sample, budget: int, folder: Path) -> Table:
    study = _study(sample.model, sample.dataset, folder)
    begin = time.monotonic()
    search = search_for(study, 1000, budget)
    ours = Side("ours", time.monotonic() - begin, _best(search), search.choice.recipe)
    items = _items(study, folder / "items.npz")
    sides = [ours, *(_rival(rival, *how, sample.model, items, folder, budget, study) for rival, how in RIVALS.items())]
    names = list(dict.fromkeys(variant for side in sides for variant in side.variants))
    judge = study
    if sample.unseen is not None:
        judge = _study(sample.model, sample.unseen, folder)
        for variant in names:
            judge.adopt(study.variant(variant))
    known = _measured(judge, names)
    _measure_again(judge, known, [name for side in sides for name in _candidates(side, judge, known)])
    rows = [_row(side, judge, known) for side in sides]
    assert isinstance(judge.dataset, Dataset)
    note = (
        f"{len(search.trials)} of {search.points} recipes tried by ours. {show(judge.assessment.bytes, 'bytes')}, "
        f"{judge.assessment.parameters / 1e6:.1f} M parameters; measured on {len(judge.dataset.indexes(CONFIRMATION))} items "
        "that no side had seen."
    )
    columns = [
        "",
        "took",
        "variants",
        "hypervolume",
        "best within the limits",
        "speed-up",
        "accuracy",
        "memory",
        "download",
        "worth",
    ]
    return Table(name, columns, rows, note)


def _best(search: Search) -> list[str]:
    ranked = [one.recipe for one in search.choice.ranking]
    return list(dict.fromkeys([*ranked, *search.finalists, *search.front.members]))


def _items(study: Study, path: Path) -> Path:
    data = study.dataset
    assert isinstance(data, Dataset)
    assert data.labels is not None
    parts = {"calibration": data.indexes(CALIBRATION), "selection": data.indexes(SELECTION)}
    arrays = {f"{part}/{name}": array[places] for part, places in parts.items() for name, array in data.inputs.items()}
    np.savez(path, **arrays, labels=data.labels[parts["selection"]], classes=len(np.unique(data.labels)))
    return path


def _rival(
    title: str, name: str, framework: str, model: Path, items: Path, folder: Path, budget: int, study: Study
) -> Side:
    out = folder / name
    out.mkdir()
    begin = time.monotonic()
    words = [sys.executable, "-m", "benchmarks.rivals", name, str(model), str(items), str(out), str(budget)]
    _say(f"{title}: at work")
    ended = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    if ended.returncode:
        _say(f"{title} failed: {ended.stderr[-2000:]}")
    seconds, variants = time.monotonic() - begin, []
    for place in sorted(out.iterdir()):
        variant = _adopted(place, framework, name)
        study.adopt(variant)
        variants.append(variant.name)
    return Side(title, seconds, variants)


def _adopted(folder: Path, framework: str, name: str) -> Variant:
    """A rival's artifact, as our engines load it."""
    files = sorted(folder.iterdir())
    digests = {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in files}
    return Variant(
        recipe=Recipe(framework=framework, precision="int8", method=f"{name}{folder.name}"),
        model_digest="",
        key=hashlib.sha256(repr(sorted(digests.items())).encode()).hexdigest(),
        folder=str(folder),
        files=digests,
        bytes=sum(one.stat().st_size for one in files),
        versions={},
        build_seconds=0,
    )


def _measured(study: Study, names: list[str]) -> dict[str, dict[str, Figure]]:
    """Each alike, one after the other; those that can't be loaded are left out, and said."""
    baseline, known = study.plan.baseline.name, dict[str, dict[str, Figure]]()
    for name in (baseline, *names):
        try:
            with study.run.lock.measuring():
                known[name] = study.screen_one(name, {}) | study.quality(name, CONFIRMATION)
            known[name]["compressed_size"] = figures.exact(study.bytes_of(name, "compressed_size"), "bytes")
        except EdgeError as error:
            _say(f"{name}: {error}")
        else:
            told = ", ".join(
                f"{one.word} {known[name][one.quantity].estimate:.4g}"
                for one in objectives.TENSOR
                if one.quantity in known[name]
            )
            _say(f"{name}: {told}")
    known[baseline]["speedup"] = figures.exact(1, "x")
    return known


def _measure_again(study: Study, known: dict[str, dict[str, Figure]], names: Sequence[str]) -> None:
    """Medians of what is timed and of memory, over all passes."""
    passes = [{name: known[name] for name in names}]
    for _ in range(PASSES):
        with study.run.lock.measuring():
            passes.append({name: study.screen_one(name, {}) for name in names})
    for name in names:
        for quantity in ("speedup", "memory.footprint"):
            estimates = [found[name][quantity].estimate for found in passes]
            _say(f"{name}: {quantity} {', '.join(f'{one:.4g}' for one in estimates)}")
            figure = msgspec.structs.replace(known[name][quantity], estimate=float(np.median(estimates)))
            known[name] = {**known[name], quantity: figure}


def _candidates(side: Side, study: Study, known: Mapping[str, Mapping[str, Figure]]) -> list[str]:
    """What may be a side's best: what it chose, or whatever meets the limits."""
    baseline, limits = known[study.plan.baseline.name], study.target.limits
    asked = [side.chosen] if side.chosen in known else [name for name in side.variants if name in known]
    return [name for name in asked if not choosing.shortfalls(known[name], baseline, limits)]


def _row(side: Side, study: Study, known: Mapping[str, Mapping[str, Figure]]) -> list[str]:
    baseline, limits = known[study.plan.baseline.name], study.target.limits
    wanted = {one.name: one for one in objectives.measured(known.values())}

    def gains(name: str, axes: Iterable[str]) -> list[float]:
        asked = [wanted[axis] for axis in axes]
        return [
            objectives.gain(one, known[name][one.quantity].estimate, baseline[one.quantity].estimate, limits)
            for one in asked
        ]

    there = [name for name in side.variants if name in known]
    volume = pareto.hypervolume([gains(name, AXES) for name in there], REFERENCE)
    meeting = _candidates(side, study, known)
    cells = [side.name, show(side.seconds, "s"), str(len(there)), f"{volume:.3f}"]
    if not meeting:
        missed = {name: choosing.shortfalls(known[name], baseline, limits) for name in there}
        nearest = min(missed, key=lambda name: sum(short for short, _ in missed[name]), default="")
        told = f"none; {nearest} {'; '.join(sentence for _, sentence in missed[nearest])}" if nearest else "none"
        return [*cells, told, "", "", "", "", ""]
    weights = objectives.preferences(PREFER)

    def worth(name: str) -> float:
        return sum(weights[axis] * gained for axis, gained in zip(weights, gains(name, weights), strict=True))

    best = max(meeting, key=worth)
    found = known[best]
    kept = found["accuracy"].estimate / baseline["accuracy"].estimate
    memory = found["memory.footprint"].estimate / baseline["memory.footprint"].estimate
    numbers = [
        show(found["speedup"].estimate, "x"),
        f"{kept:.1%}",
        f"{memory:.0%}",
        show(found["compressed_size"].estimate, "bytes"),
    ]
    return [*cells, best, *numbers, f"{worth(best):.2f}"]


def _profile(folder: Path) -> Table:
    """Where the time of a search of 40 trials goes, from an empty cache."""
    begin = time.monotonic()
    sample = _sample("digits", folder)
    study = _study(sample.model, sample.dataset, folder)
    search = search_for(study, 40, 300)
    total = time.monotonic() - begin
    told = {
        "build": "building variants",
        "score": "running the selection and confirmation items",
        "measure": "starting workers, loading, taking turns",
        "screen": "measuring the finalists closely",
    }
    rows = [
        [told[what], show(spent, "s"), f"{spent / total:.0%}"] for what, spent in search.seconds.items() if what in told
    ]
    rest = total - sum(spent for what, spent in search.seconds.items() if what in told)
    rows += [["everything else: assessing, planning, Optuna, the storage", show(rest, "s"), f"{rest / total:.0%}"]]
    rows += [["**all of it**", show(total, "s"), "100%"]]
    states = {
        state: sum(trial.state == state for trial in search.trials)
        for state in ("measured", "cut", "refused", "failed")
    }
    note = f"{len(search.trials)} trials on digits, from an empty cache: {', '.join(f'{count} {state}' for state, count in states.items() if count)}."
    return Table("Where the time of 40 trials goes", ["", "time", "share"], rows, note)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--budget", type=int, default=BUDGET)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edge-search-") as scratch:
        made = measure(arguments.budget, arguments.models, Path(scratch))
    print(*made, sep="\n")
    if arguments.models == MODELS:
        tables.publish(
            PAGE,
            made,
            mark="<!-- What follows is written by `make search-bench`. -->",
            more=("nncf", "olive-ai", "optuna"),
        )
        _say(f"{PAGE} is written.")
