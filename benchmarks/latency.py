"""Latency as it is reported, beside a bare loop and beside OpenVINO's benchmark_app.

``python -m benchmarks.latency``. For each variant of the sample model: a worker as a gate's samples are taken with (:class:`pytest_edgeai.measure.solo.Solo`)
and a bare loop (``bare.py``) take turns, one go of calls each, in fresh pairs of processes; before and after each pair, benchmark_app.
"""

import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

import numpy as np

from benchmarks.medians import Median
from benchmarks.tables import Table
from pytest_edgeai import arrays
from pytest_edgeai.dataset import TIMED_ITEMS
from pytest_edgeai.judge import figures
from pytest_edgeai.measure.bench import Setup
from pytest_edgeai.measure.quiet import Quiet
from pytest_edgeai.measure.solo import CANARIES, CHUNK, WARM_UP_SECONDS, Solo
from pytest_edgeai.pipeline import Declaration, Run
from pytest_edgeai.progress import Progress
from pytest_edgeai.records import Variant
from pytest_edgeai.settings import Settings

ROOT: Final = Path(__file__).parents[1]
DIGITS: Final = ROOT / "fixtures" / "digits"
VARIANTS: Final = ("onnxruntime-fp32", "onnxruntime-int8-static", "openvino-fp32", "openvino-int8")
PAIRS, GOES = 7, 8
"""Pairs of processes a variant, and goes of CHUNK calls on each side of a pair."""
PATIENCE = 5.0
"""Seconds that a pair may wait for free cores."""
BARE_LIMIT, APP_LIMIT = 0.02, 0.03
"""Shares by which the reported p50 may differ."""
_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
# What the package's OpenVINO engine sets, too; as the bare loop and benchmark_app spell it.
_PROPERTIES: Final = ("PERFORMANCE_HINT=LATENCY", "INFERENCE_PRECISION_HINT=f32")
_OPTIONS: Final = (
    "-api",
    "sync",
    "-hint",
    "none",
    "-nstreams",
    "1",
    "-infer_precision",
    "f32",
    "-ip",
    "f32",
    "-t",
    "1",
)
# Without these, the spinning of an idle session would strike the other side, and int8 would be another computation on a CPU without VNNI.
_CONFIG: Final = ("session.force_spinning_stop=1",)
_NO_VNNI: Final = "session.x64quantprecision=1"


class Sample(NamedTuple):
    """One pair of processes; medians in seconds."""

    ours: float
    bare: float
    engine: float
    """By the engine's own clock in the bare loop; NaN where it has none."""
    app: float
    """By benchmark_app, mean of the run before and the one after; NaN where it is not OpenVINO."""
    free: int
    """Goes that began when nothing else ran on the cores."""


class Bare:
    """A bare loop in a process of its own, warmed up as a worker is; a context manager."""

    def __init__(self, engine: str, file: Path, setup: Setup, config: Sequence[str]) -> None:
        command = [sys.executable, str(Path(__file__).with_name("bare.py")), engine, str(file), str(setup.inputs)]
        self._process = subprocess.Popen(
            [*command, str(setup.threads), *config],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            text=True,
        )
        self._item = 0
        begin = time.perf_counter()
        self._go(0, 1, 0)
        calls = 1
        while time.perf_counter() - begin < WARM_UP_SECONDS:
            self._go(calls, CHUNK, 1)
            calls += CHUNK

    def go(self) -> tuple[list[float], list[float]]:
        """Seconds of the next calls, by our clock and by the engine's."""
        seconds, engine = self._go(self._item, CHUNK, CANARIES)
        self._item += CHUNK
        return seconds, engine

    def _go(self, first: int, calls: int, canaries: int) -> tuple[list[float], list[float]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(first, calls, canaries, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("The bare loop ended; its error is above.")
        seconds, engine = json.loads(line)
        return seconds, engine

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process:  # closes its standard input, which ends it
            pass


def environment() -> dict[str, str]:
    """What keeps OpenVINO from sending telemetry, and lets the bare loop find the package."""
    return {**os.environ, "CI": "true", "PYTHONPATH": str(ROOT)}


def median_of(output: str) -> float:
    """Seconds of the median latency in what benchmark_app prints. Raises ValueError when there is none."""
    found = re.search(r"Median:\s+([\d.]+) (us|ms|s)\b", output)
    if found is None:
        raise ValueError(f"benchmark_app told no median latency: {output[-500:]}")
    return float(found[1]) * _UNITS[found[2]]


def app(file: Path, setup: Setup, items: Sequence[Path], shape: Sequence[int]) -> float:
    """Seconds of the median call by benchmark_app, on the same items in the same order."""
    program = (
        "from openvino.tools.benchmark.main import main; main()"  # the console script needs an installed environment
    )
    command = [sys.executable, "-c", program, "-m", str(file), *_OPTIONS, "-nthreads", str(setup.threads)]
    inputs = [
        "-i",
        f"image:{','.join(map(str, items))}",
        "-shape",
        str(list(shape)).replace(" ", ""),
        "-inference_only",
        "false",
    ]
    ended = subprocess.run([*command, *inputs], capture_output=True, text=True, env=environment(), check=False)
    return median_of(ended.stdout + ended.stderr)


def pair(variant: Variant, setup: Setup, coin: random.Random) -> Sample:
    """One worker and one bare loop."""
    engine = variant.recipe.framework
    file = artifact(variant)
    quiet = Quiet(setup.threads, PATIENCE)
    ours: list[float] = []
    bare: list[float] = []
    own: list[float] = []
    free = 0
    with Solo(variant, setup) as solo:
        config = _PROPERTIES
        if engine == "onnxruntime":
            config = (*_CONFIG, _NO_VNNI) if "no VNNI" in solo.bench.placement["precision"] else _CONFIG
        with Bare(engine, file, setup, config) as loop:
            for _ in range(GOES):
                free += quiet.wait()
                for side in coin.sample(("ours", "bare"), 2):
                    if side == "ours":
                        ours += solo.more(CHUNK).tolist()
                    else:
                        seconds, by_engine = loop.go()
                        bare += seconds
                        own += by_engine
    reported = figures.of_percentile(np.array(ours), 0.5, "s").estimate
    clock = float(np.median(own)) if own else math.nan
    return Sample(reported, float(np.median(bare)), clock, math.nan, free)


def artifact(variant: Variant) -> Path:
    """The file that the engine loads."""
    return Path(variant.folder) / ("model.xml" if variant.recipe.framework == "openvino" else "model.onnx")


def samples(variant: Variant, setup: Setup, pairs: int, folder: Path) -> list[Sample]:
    """All pairs of one variant."""
    coin = random.Random(variant.name)
    items = arrays.read_items(setup.inputs)
    files = [folder / f"{number}.npy" for number in range(len(items))]
    for file, item in zip(files, items, strict=True):
        np.save(file, item["image"])
    found = []
    for _ in range(pairs):
        if variant.recipe.framework == "openvino":
            before = app(artifact(variant), setup, files, items[0]["image"].shape)
            sample = pair(variant, setup, coin)
            after = app(artifact(variant), setup, files, items[0]["image"].shape)
            found.append(sample._replace(app=(before + after) / 2))
        else:
            found.append(pair(variant, setup, coin))
    return found


def measure(pairs: int = PAIRS) -> list[Table]:
    """Every variant; builds what is not in the cache."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = Run(
            Settings(target="cross"), [], folder, "benchmark", Progress(lambda told: print(told, file=sys.stderr))
        )
        study = run.study(Declaration(DIGITS / "digits.onnx", DIGITS / "digits.npz", "top1"))
        inputs = folder / "timed.npz"
        with np.load(DIGITS / "digits.npz") as data:
            arrays.write(inputs, {"image": data["image"][:TIMED_ITEMS, np.newaxis]})
        setup = Setup(modules=run.registry.modules, threads=run.device.cores, inputs=inputs)
        variants = [study.variant(name) for name in VARIANTS]
        with run.lock.measuring():
            found = {variant.name: samples(variant, setup, pairs, folder) for variant in variants}
    return [
        _beside_bare(found, setup.threads),
        _beside_app({name: s for name, s in found.items() if "openvino" in name}),
    ]


def _beside_bare(found: dict[str, list[Sample]], threads: int) -> Table:
    rows = []
    for name, pairs in found.items():
        ratio = Median.of([sample.ours / sample.bare for sample in pairs])
        times = [_ms([sample.bare for sample in pairs]), _ms([sample.ours for sample in pairs])]
        rows.append([name, *times, f"{ratio:.4f}", ratio.within(BARE_LIMIT)])
    pairs = len(next(iter(found.values())))
    note = (
        f"`latency.p50` of the sample model as it is reported, beside the leanest loop over the same session that the engine's Python interface allows. "
        f"{threads} threads, {pairs} fresh pairs of processes, {GOES} goes of {CHUNK} calls of each in turns and random order, the same items and the same "
        "constant work between the goes. Medians of the processes' medians; the ratio is the median of the pairs' ratios, in brackets the bounds of the "
        f"true one (95 %). {sum(sample.free for pairs in found.values() for sample in pairs)} of {len(found) * pairs * GOES} goes began when nothing "
        "else ran on the cores."
    )
    columns = ["variant", "bare loop", "as reported", "ratio", f"within {BARE_LIMIT:.0%}"]
    return Table("The reported median beside a bare loop", columns, rows, note)


def _beside_app(found: dict[str, list[Sample]]) -> Table:
    rows = []
    for name, pairs in found.items():
        ratio = Median.of([sample.ours / sample.app for sample in pairs])
        around = Median.of([(sample.ours - sample.engine) * 1e6 for sample in pairs])
        share = Median.of([1 - sample.engine / sample.ours for sample in pairs])
        columns = [
            [sample.app for sample in pairs],
            [sample.engine for sample in pairs],
            [sample.ours for sample in pairs],
        ]
        times = [_ms(column) for column in columns]
        rows.append(
            [name, *times, f"{ratio:.4f}", ratio.within(APP_LIMIT), f"{around.value:.0f} us, {share.value:.1%}"]
        )
    note = (
        "`benchmark_app -api sync`, one stream, the same threads and precision, on the same items in the same order, 1 s before and 1 s after each pair "
        "of processes of the table above (of both, the mean). It reads the engine's own clock, which leaves out what a call costs in Python: that is the "
        "last column, as reported less the engine's own clock in the bare loop."
    )
    columns = [
        "variant",
        "benchmark_app",
        "engine's own clock",
        "as reported",
        "ratio",
        f"within {APP_LIMIT:.0%}",
        "Python around the engine",
    ]
    return Table("The reported median beside OpenVINO's benchmark_app", columns, rows, note)


def _ms(seconds: Sequence[float]) -> str:
    return f"{float(np.median(seconds)) * 1e3:.3f} ms"


if __name__ == "__main__":
    for table in measure(*map(int, sys.argv[1:])):
        print(table)
