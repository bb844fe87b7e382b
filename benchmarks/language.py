"""Rates of language models as they are reported, beside a bare loop over the same engine and beside mlx_lm's own benchmark.

``python -m benchmarks.language``. For each engine's baseline and one quantized variant of the sample model: a worker as a gate's samples are taken with
and a bare loop (``bare_language.py``) take turns, one go of calls each, in fresh pairs of processes.
"""

import json
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

import numpy as np

from benchmarks import tables
from benchmarks.latency import environment
from benchmarks.medians import Median
from benchmarks.tables import Table
from pytest_edgeai.measure.bench import Bench, Setup
from pytest_edgeai.measure.quiet import Quiet
from pytest_edgeai.pipeline import Declaration, Run
from pytest_edgeai.progress import Progress
from pytest_edgeai.records import Variant
from pytest_edgeai.settings import Settings

ROOT: Final = Path(__file__).parents[1]
TINY: Final = ROOT / "fixtures" / "tiny_lm"
VARIANTS: Final = (
    "llamacpp-f16",
    "llamacpp-q4_k_m",
    "openvino-fp32",
    "openvino-int8",
    "olive-fp32",
    "olive-int4",
    "mlx-fp16",
    "mlx-int4-g64",
)
# What the package's OpenVINO engine sets, too.
_PLAIN: Final = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "INFERENCE_PRECISION_HINT": "f32"}
PROPERTIES: Final = {
    "openvino-fp32": {**_PLAIN, "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"},
    "openvino-int8": {**_PLAIN, "KV_CACHE_PRECISION": "u8", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "32"},
}
PROMPT, OUTPUT = 128, 32
"""Tokens of a call."""
PAIRS, GOES, CALLS = 6, 6, 4
"""Pairs of processes a variant, goes on each side of a pair, and calls of a go."""
CANARIES = 10
PATIENCE = 5.0
LIMIT = 0.03
"""Share by which rates may differ."""
TRIALS = 5
"""Of mlx_lm's benchmark."""


class Rates(NamedTuple):
    """Tokens a second of one side of a pair, medians of its calls."""

    prefill: float
    decode: float


class Bare:
    """A bare loop in a process of its own; a context manager."""

    def __init__(self, variant: Variant, setup: Setup, options: dict[str, str]) -> None:
        script = str(Path(__file__).with_name("bare_language.py"))
        command = [
            sys.executable,
            script,
            variant.recipe.framework,
            variant.folder,
            str(setup.inputs),
            str(setup.threads),
            json.dumps(options),
        ]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(), text=True
        )

    def go(self, first: int, calls: int) -> tuple[list[float], list[float]]:
        """Tokens a second of prompts, and of the tokens after the first one."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(first, calls, CANARIES, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("The bare loop ended; its error is above.")
        prefill, decode = json.loads(line)
        return prefill, decode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # closes its standard input, which ends it
            pass


def pair(variant: Variant, setup: Setup, coin: random.Random) -> tuple[Rates, Rates]:
    """One worker and one bare loop in turns."""
    quiet = Quiet(setup.threads, PATIENCE)
    found: dict[str, tuple[list[float], list[float]]] = {"ours": ([], []), "bare": ([], [])}
    with Bench(variant, setup) as bench, Bare(variant, setup, PROPERTIES.get(variant.name, {})) as loop:
        for go in range(GOES + 1):
            quiet.wait()
            for side in coin.sample(sorted(found), 2):
                if side == "ours":
                    columns, _ = bench.phases(go * CALLS, CALLS, CANARIES)
                    prefill, decode = columns["prefill"], columns["decode"]
                else:
                    prefill, decode = loop.go(go * CALLS, CALLS)
                if go:  # the first one warms up
                    found[side][0].extend(prefill)
                    found[side][1].extend(decode)
    ours, bare = (Rates(*(float(np.median(rates)) for rates in found[side])) for side in ("ours", "bare"))
    return ours, bare


def by_mlx_lm(variant: Variant) -> Rates:
    """What mlx_lm's benchmark tells of a folder; it counts one token more than it times."""
    sizes = ["-p", str(PROMPT), "-g", str(OUTPUT), "-n", str(TRIALS)]
    command = [sys.executable, str(Path(__file__).with_name("mlx_benchmark.py")), "--model", variant.folder, *sizes]
    told = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True).stdout
    trials = [line for line in told.splitlines() if line.startswith("Trial ")]
    prompt, generation = (
        [float(found[1]) for line in trials if (found := re.search(rf"{name}=([\d.]+)", line))]
        for name in ("prompt_tps", "generation_tps")
    )
    return Rates(float(np.median(prompt)), float(np.median(generation)) * (OUTPUT - 1) / OUTPUT)


def measure(pairs: int = PAIRS, names: Sequence[str] = VARIANTS) -> list[Table]:
    """Every variant; builds what is not in the cache."""
    with tempfile.TemporaryDirectory() as name:
        settings = Settings(target="cross", shape=f"prompt={PROMPT},output={OUTPUT}")
        run = Run(settings, [], Path(name), "benchmark", Progress(lambda told: print(told, file=sys.stderr)))
        study = run.study(Declaration(TINY / "tiny-lm", TINY / "evaluation.jsonl", "auto"))
        variants = [study.variant(name) for name in names]
        setup = Setup(modules=run.registry.modules, threads=run.device.cores, inputs=study.prompts)
        beside, beside_mlx = [], []
        with run.lock.measuring():
            for variant in variants:
                coin = random.Random(variant.name)
                found, mlx = [], []
                for _ in range(pairs):
                    found.append(pair(variant, setup, coin))
                    if variant.recipe.framework == "mlx":
                        mlx.append((found[-1][0], by_mlx_lm(variant)))
                print(variant.name, found[-1], file=sys.stderr)
                beside += _rows(variant.name, found)
                beside_mlx += _rows(variant.name, mlx) if mlx else []
    schedule = (
        f"Prompts of {PROMPT} tokens, {OUTPUT} tokens after each, {setup.threads} threads, {pairs} fresh pairs of processes, {GOES} goes of {CALLS} calls of each in "
        "turns and random order. Medians of the processes' medians, in tokens a second; the ratio is the median of the pairs' ratios, in brackets the bounds of the true "
        "one (95 %)."
    )
    columns = ["variant", "phase", "bare loop", "as reported", "ratio", f"within {LIMIT:.0%}"]
    made = [Table("Rates of language models beside a bare loop", columns, beside, schedule)]
    if beside_mlx:
        note = (
            f"`mlx_lm benchmark` with the same lengths, {TRIALS} trials after each pair of the table above. It divides {OUTPUT} tokens by the time of the {OUTPUT - 1} after "
            "the first one; here they are divided by their own number."
        )
        columns = ["variant", "phase", "mlx_lm", *columns[3:]]
        made.append(Table("Rates of MLX beside mlx_lm's own benchmark", columns, beside_mlx, note))
    return made


def _rows(name: str, found: Sequence[tuple[Rates, Rates]]) -> list[list[str]]:
    rows = []
    for phase in Rates._fields:
        ours, others = ([getattr(side, phase) for side in sides] for sides in zip(*found, strict=True))
        ratio = Median.of([mine / other for mine, other in zip(ours, others, strict=True)])
        rates = [f"{np.median(others):.0f}", f"{np.median(ours):.0f}"]
        rows.append([name, phase, *rates, f"{ratio:.4f}", ratio.within(LIMIT)])
    return rows


if __name__ == "__main__":
    found = measure(*map(int, sys.argv[1:2]), *([sys.argv[2:]] if sys.argv[2:] else []))
    tables.publish(Path(__file__).with_suffix(".md"), found)
    print(*found, sep="\n")
