"""The bank: rounds of a real int8 model in real worker processes, pair by pair, and whole live runs, kept in files that grow from run to run."""

import hashlib
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.rigor.hogs import Hogs
from benchmarks.rigor.rounds import Rounds
from benchmarks.rigor.rows import ARMS, ROWS, Arm
from pytest_edgeai import arrays, device
from pytest_edgeai.judge import ratios
from pytest_edgeai.measure.bench import Setup
from pytest_edgeai.measure.quiet import Quiet
from pytest_edgeai.measure.turns import Turns
from pytest_edgeai.pipeline import Declaration, Run
from pytest_edgeai.progress import Progress
from pytest_edgeai.records import Variant
from pytest_edgeai.settings import Settings

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).with_name("banked")
TIMED_ITEMS = 32
QUIET_SHARE = 0.8
"""Of the rounds of a quiet pair or run that must have begun with free cores; else the machine was not what it is called, and it is left out."""
AT_A_TIME = 3
"""Pairs of processes that take turns, as in a gate: each waits for the others, and finds the caches as they left them."""
MEASURING = (
    "measure/bench.py",
    "measure/pinning.py",
    "measure/process.py",
    "measure/turns.py",
    "measure/worker.py",
    "ort/sessions.py",
    "stats/steady.py",
)
"""What takes rounds: those that other code took are not kept."""
DECIDING = (
    "judge/ratios.py",
    "judge/rules.py",
    "measure/quiet.py",
    "stats/sequential.py",
    "stats/student.py",
)
"""What decides a live run, beside what takes its rounds: runs of other code are not counted."""


@dataclass(frozen=True, slots=True)
class Live:
    """One whole live run, from asking to the verdict."""

    row: str
    condition: str
    code: str
    day: str
    outcome: str
    rounds: int
    pairs: int
    seconds: float
    """Of sampling."""
    started: float
    """Seconds until the first processes were warm."""
    waited: float
    """Seconds for free cores."""
    whole: float
    """Seconds in all."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The variants of the model, built by the pipeline."""

    setup: Setup
    variants: dict[str, Variant]

    def turns(self, arm: Arm, limit: float, pairs: int, seed: int, patience: float = 0.0) -> Turns:
        """Worker processes that are warmed up."""
        variants = self.variants["plain"], self.variants[arm.variant]
        return Turns(*variants, self.setup, limit=limit, pairs=pairs, seed=seed, patience=patience)


def machine() -> str:
    """``amd-epyc-2-cores``: a bank is of one machine."""
    here = device.detect()
    return re.sub(r"[^a-z0-9]+", "-", f"{here.cpu} {here.cores} cores".lower()).strip("-")


def folder() -> Path:
    """Of this machine's bank."""
    return FOLDER / machine()


def file_of(arm: str, condition: str) -> Path:
    """Its rounds."""
    return folder() / f"{arm}-{condition}.npz"


def read(arm: str, condition: str) -> Rounds | None:
    """What was banked so far; ``None`` where nothing was, or other code took it."""
    file = file_of(arm, condition)
    rounds = Rounds.read(file) if file.exists() else None
    return rounds if rounds and rounds.code == digest(MEASURING) else None


def digest(names: Sequence[str]) -> str:
    """Of some modules of the package."""
    package = ROOT / "pytest_edgeai"
    return hashlib.sha256(b"\0".join((package / name).read_bytes() for name in names)).hexdigest()[:12]


def code() -> str:
    """A digest of all that a live run comes to its verdict by."""
    return digest((*MEASURING, *DECIDING))


def live_runs() -> list[Live]:
    """All that were kept, of whatever code."""
    file = folder() / "live.jsonl"
    return [Live(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


@contextmanager
def workload(say: Callable[[str], None]) -> Iterator[Workload]:
    """A small int8 convolutional network of the tests, whose engine comes through the public hooks as any third party's does."""
    tests = str(ROOT / "tests")
    if tests not in sys.path:
        sys.path.insert(0, tests)  # the workers' path is this one
    import models
    import slow_engine

    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        model = models.convolutional(here / "small.onnx", channels=32)
        data = models.items(here / "small.npz", model)
        settings = Settings(target="cross", cache=str(here / "cache"))
        run = Run(settings, ["slow_engine"], here, "rigor", Progress(say))
        study = run.study(Declaration(model, data, "top1"))
        methods = {"plain", *(arm.variant for arm in ARMS.values())}
        variants = {
            method: study.variant(f"slow-int8-{method}") for method in slow_engine.INFERENCES if method in methods
        }
        inputs = here / "timed.npz"
        with np.load(data) as items:
            arrays.write(inputs, {"image": items["image"][:TIMED_ITEMS, np.newaxis]})
        with run.lock.measuring():
            yield Workload(Setup(modules=run.registry.modules, threads=run.device.cores, inputs=inputs), variants)


def take_pairs(work: Workload, arm: Arm, seed: int) -> Rounds:
    """Fresh pairs of processes, warmed up, that take turns."""
    with work.turns(arm, arm.limit, AT_A_TIME, seed) as turns:
        at, took = [], []
        begin = time.perf_counter()
        for _ in range(arm.rounds):
            for pair in range(AT_A_TIME):
                at.append(time.perf_counter() - begin)
                before = turns.seconds()
                turns.round(pair)
                took.append(turns.seconds() - before)
        samples = turns.measurement("gate").samples
    columns = {name: samples[name] for name in ("pair", "baseline_first", "free", "baseline", "variant")}
    return Rounds.of_columns({**columns, "took": took, "at": at}, digest(MEASURING))


def run_live(work: Workload, name: str, condition: str, seed: int) -> Live | None:
    """One run as a gate makes it; ``None`` when the machine was not quiet though it should have been."""
    row = ROWS[name]
    begin = time.perf_counter()
    with work.turns(ARMS[row.arm], row.limit, row.rules.pairs, seed, patience=row.rules.budget) as turns:
        started = time.perf_counter() - begin
        found = ratios.speedup(turns, ">=", row.limit, row.rules)
        whole = time.perf_counter() - begin
        measured = turns.measurement("gate")
    if _disturbed(condition, float(np.mean(measured.samples["free"]))):
        return None
    return Live(
        row=name,
        condition=condition,
        code=code(),
        day=time.strftime("%Y-%m-%d"),
        outcome=found.outcome.value,
        rounds=found.samples,
        pairs=turns.pairs,
        seconds=round(found.seconds, 4),
        started=round(started, 4),
        waited=round(measured.noise["waited_s"], 4),
        whole=round(whole, 4),
    )


@dataclass(frozen=True, slots=True)
class Job:
    """Something to take: a pair of an arm, or a live run of a row."""

    kind: str
    name: str
    condition: str
    wanted: int


def jobs() -> list[Job]:
    """All of them."""
    pairs = [Job("pair", name, condition, arm.pairs) for name, arm in ARMS.items() for condition in arm.conditions]
    runs = [Job("run", name, condition, count) for name, row in ROWS.items() for condition, count in row.live.items()]
    return pairs + runs


def fill(work: Workload, until: float, say: Callable[[str], None]) -> None:
    """Take what is furthest from what is wanted, one after the other, until ``time.monotonic()`` says ``until``, and keep each at once."""
    have = {job: _have(job) for job in jobs()}
    tries = dict(have)  # what fails again and again must not keep the others waiting
    cost = {job: _guess(job) for job in tries}
    while fitting := [job for job in tries if time.monotonic() + cost[job] < until]:
        job = min(fitting, key=lambda job: tries[job] / job.wanted)
        at_once = AT_A_TIME if job.kind == "pair" else 1
        tries[job] += at_once
        seed = int.from_bytes(hashlib.sha256(f"{job} {tries[job]} {time.time()}".encode()).digest()[:4])
        begin = time.monotonic()
        told = None
        if job.condition != "quiet" or _is_quiet(work.setup.threads):
            with Hogs(job.condition, seed):
                told = _take_pair(work, job, seed) if job.kind == "pair" else _take_run(work, job, seed)
            cost[job] = time.monotonic() - begin
        if told is None:
            say(f"{job.condition}: a {job.kind} of {job.name} is left out, because other programs ran on the cores")
            continue
        have[job] += at_once
        say(f"{job.condition}: {job.kind} {have[job]} of {job.wanted} of {job.name}, {told}, {cost[job]:.1f} s")


def _have(job: Job) -> int:
    if job.kind == "pair":
        bank = read(job.name, job.condition)
        return bank.pairs if bank else 0
    now = code()
    return sum((run.row, run.condition, run.code) == (job.name, job.condition, now) for run in live_runs())


def _guess(job: Job) -> float:
    """Seconds, before it was done once: a comparison near its limit takes all that it may."""
    near = job.kind == "run" and not ROWS[job.name].seconds
    return ratios.EXTENDED * ROWS[job.name].rules.budget if near else 10.0


def _take_pair(work: Workload, job: Job, seed: int) -> str | None:
    taken = take_pairs(work, ARMS[job.name], seed)
    if _disturbed(job.condition, float(taken.free.mean())):
        return None
    bank = read(job.name, job.condition)
    (bank.joined(taken) if bank else taken).write(file_of(job.name, job.condition))
    ratio = float(np.median(taken.baseline / taken.variant))
    return f"speed-up {ratio:.4f}, a round {1e3 * float(np.median(taken.took)):.1f} ms"


def _take_run(work: Workload, job: Job, seed: int) -> str | None:
    run = run_live(work, job.name, job.condition, seed)
    if run is None:
        return None
    folder().mkdir(parents=True, exist_ok=True)
    with (folder() / "live.jsonl").open("a") as file:
        file.write(json.dumps(asdict(run)) + "\n")
    return f"{run.outcome} after {run.rounds} rounds"


def _is_quiet(threads: int) -> bool:
    """Half a second tells most machines that aren't."""
    quiet = Quiet(threads, 0.0)
    free = 0
    for _ in range(50):
        time.sleep(0.01)
        free += quiet.free()
    return not _disturbed("quiet", free / 50)


def _disturbed(condition: str, free: float) -> bool:
    return condition == "quiet" and free < QUIET_SHARE
