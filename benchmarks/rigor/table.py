"""The page ``docs/rigor.md``: what is promised, what was found by replays and by live runs, and what other tools say on the same machine."""

import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks import tables
from benchmarks.rigor import peers
from benchmarks.rigor.bank import QUIET_SHARE, Live
from benchmarks.rigor.rates import CONFIDENCE, SURELY, Rate, percent
from benchmarks.rigor.rounds import Rounds
from benchmarks.rigor.rows import ARMS, CONDITIONS, ROWS, Row, Target
from benchmarks.rigor.simulate import LEAST_FREE, Found
from benchmarks.tables import Table
from pytest_edgeai.measure.turns import calls_a_slot

PAGE = Path(__file__).parents[2] / "docs" / "rigor.md"
NONE = "-"
WINDOWS = (1.0, 10.0)
"""Seconds of timed work a side that the peers are given: pytest-benchmark's default, and what a run of benchstat takes."""
LEAST_COMPARISONS = 5
"""That a bank must be long enough for."""
AT_ONCE = 10.0
"""Seconds of sampling and waiting."""
SLOWER = 1.10
"""What the peers shall find: the variant's seconds are multiplied by it."""

REAL = (
    "Simulated: runs whose rounds are replayed from the bank below, whole pairs of processes drawn at random (those with fewer than "
    f"{LEAST_FREE} rounds on free cores are not), each mirrored by a coin about the speed-up of its work, so that this is exactly the truth; when the cores are "
    "free is what one pair of the bank saw, then another one, and it is the same for all pairs of a run. Live: whole runs in fresh processes. In brackets the bounds of the "
    f'true rate ({100 * CONFIDENCE:g} %, Clopper-Pearson), which for replays don\'t know how few pairs the bank has. Kept: by the simulation, "probably" where the bounds '
    f"enclose the target; a live rate contradicts a target only when its bounds do, and is not as simulated where its bounds at {100 * SURELY:g} % leave "
    "the simulated one out."
)
SCALED = "Simulated from the same rounds, with the variant's seconds multiplied by a factor, so that the truth is known exactly. For the rest as above."

INTRODUCTION = """# The proof

A verdict is PASS or FAIL only when it is proven at the declared error rate, whatever the noise during its run; the rest is INCONCLUSIVE and says what it would take
([](concepts/verdicts.md)). Here is how often that was right on a machine with two cores, quiet and noisy, beside the rules of tools that compare two
runs taken one after the other.

## What was found

"""


def page(found: dict[tuple[str, str], Found], live: Sequence[Live], banks: dict[tuple[str, str], Rounds]) -> str:
    """``found``: of replays; ``live``: runs of the code as it is; ``banks``: (arm, condition) -> rounds."""
    lived = {key: _of_live([run for run in live if (run.row, run.condition) == key]) for key in _keys()}
    drawn = [
        _promises("Real work", found, lived, scaled=False),
        _promises("Scaled seconds", found, lived, scaled=True),
        _outcomes(found, lived),
        _durations(found, lived, live),
        *[_peers(found, banks, seconds) for seconds in WINDOWS],
        _banks(banks),
    ]
    if not banks:
        return INTRODUCTION + "Nothing was banked yet.\n" + _again(live)
    return INTRODUCTION + "\n".join(str(one) for one in drawn if one.rows and len(one.columns) > 1) + _again(live)


def _promises(
    title: str, found: dict[tuple[str, str], Found], lived: dict[tuple[str, str], Found], *, scaled: bool
) -> Table:
    rows = []
    for (name, condition), row in _rows(found, lived):
        if (row.faster != 1.0) == scaled:
            both = found.get((name, condition)), lived[name, condition]
            rows += [
                [row.title, condition, *_promise(target, target.limits[condition], *both)]
                for target in row.targets
                if condition in target.limits
            ]
            of_medians = (
                (row.rounds, "rounds", "rounds"),
                (row.seconds.get(condition, math.inf), "seconds", "s of sampling"),
            )
            rows += [
                [row.title, condition, f"median of at most {limit:g} {unit}", *_median(limit, column, *both)]
                for limit, column, unit in of_medians
                if limit < math.inf
            ]
    note = SCALED if scaled else REAL
    return Table(title, ["comparison", "machine", "target", "simulated", "kept", "live"], rows, note)


def _rows(
    found: dict[tuple[str, str], Found], lived: dict[tuple[str, str], Found]
) -> Iterator[tuple[tuple[str, str], Row]]:
    """All that something was found about."""
    for name, row in ROWS.items():
        for condition in row.conditions:
            if (name, condition) in found or lived[name, condition].outcomes:
                yield (name, condition), row


def _promise(target: Target, limit: float, simulated: Found | None, lived: Found) -> list[str]:
    told = f"{target.told} {'at most' if target.at_most else 'at least'} {100 * limit:g} %"
    kept, seen, alive = NONE, NONE, NONE
    if simulated:
        rate = _rate(simulated, target)
        seen, kept = str(rate), rate.keeps(limit, at_most=target.at_most)
    if lived.outcomes:
        rate = _rate(lived, target)
        against = ", **contradicts**" if rate.contradicts(limit, at_most=target.at_most) else ""
        apart = ", **not as simulated**" if simulated and not rate.allows(_rate(simulated, target).value) else ""
        alive = f"{rate.count} of {rate.total}{against}{apart}"
    return [told, seen, kept, alive]


def _median(limit: float, column: str, simulated: Found | None, lived: Found) -> list[str]:
    seen, alive = (
        statistics.median(getattr(one, column)) if one and one.outcomes else None for one in (simulated, lived)
    )
    kept = NONE if seen is None else "yes" if seen <= limit else "**no**"
    over = ", **above**" if alive is not None and alive > limit else ""
    return [NONE if seen is None else f"{seen:.3g}", kept, NONE if alive is None else f"{alive:.3g}{over}"]


def _rate(found: Found, target: Target) -> Rate:
    pairs = zip(found.outcomes, found.seconds, strict=True)
    count = sum(outcome == target.outcome and seconds <= target.within for outcome, seconds in pairs)
    return Rate(count, len(found.outcomes))


def _outcomes(found: dict[tuple[str, str], Found], lived: dict[tuple[str, str], Found]) -> Table:
    rows = [[row.title, key[1], *_shares(found.get(key)), _counts(lived[key])] for key, row in _rows(found, lived)]
    note = "All that the same runs came to. Nothing but PASS is green."
    columns = ["comparison", "machine", "runs", "PASS", "FAIL", "INCONCLUSIVE", "live: PASS, FAIL, INCONCLUSIVE"]
    return Table("Verdicts", columns, rows, note)


def _shares(found: Found | None) -> list[str]:
    if found is None:
        return [NONE] * 4
    total = len(found.outcomes)
    return [
        f"{total:,}",
        *[f"{percent(found.outcomes.count(outcome) / total)} %" for outcome in ("PASS", "FAIL", "INCONCLUSIVE")],
    ]


def _counts(found: Found) -> str:
    if not found.outcomes:
        return NONE
    return ", ".join(str(found.outcomes.count(outcome)) for outcome in ("PASS", "FAIL", "INCONCLUSIVE"))


def _durations(found: dict[tuple[str, str], Found], lived: dict[tuple[str, str], Found], live: Sequence[Live]) -> Table:
    rows = []
    for key, row in _rows(found, lived):
        simulated, alive = found.get(key), lived[key]
        runs = [run for run in live if (run.row, run.condition) == key]
        whole = [_median_of(values, " s") for values in ([run.whole for run in runs], [run.started for run in runs])]
        both = [
            cell
            for one in (simulated or Found(), alive)
            for cell in (
                _median_of(one.rounds, ""),
                _median_of(one.seconds, " s"),
                _median_of(one.waited, " s"),
                _soon(one),
            )
        ]
        rows.append([row.title, key[1], *both, *whole])
    note = (
        "Medians. Sampling is rounds alone, and waiting is for free cores. Soon: the share of runs decided within 10 s of sampling and waiting together. The time from "
        "asking to the verdict is that of live runs, with the start of the first worker processes (warming up included) told apart."
    )
    columns = [
        "comparison",
        "machine",
        "rounds",
        "sampling",
        "waiting",
        "soon",
        "live: rounds",
        "sampling",
        "waiting",
        "soon",
        "from asking to verdict",
        "start of workers",
    ]
    return Table("How long it takes", columns, rows, note)


def _soon(found: Found) -> str:
    if not found.outcomes:
        return NONE
    whole = zip(found.outcomes, found.seconds, found.waited, strict=True)
    decided = sum(outcome != "INCONCLUSIVE" and seconds + waited <= AT_ONCE for outcome, seconds, waited in whole)
    return f"{percent(decided / len(found.outcomes))} %"


def _median_of(values: Sequence[float], unit: str) -> str:
    return f"{statistics.median(values):.3g}{unit}" if values else NONE


def _peers(found: dict[tuple[str, str], Found], banks: dict[tuple[str, str], Rounds], seconds: float) -> Table:
    there = [condition for condition in CONDITIONS if ("identical", condition) in banks]
    taken = {
        condition: list(peers.windows(banks["identical", condition], seconds, _calls(banks["identical", condition])))
        for condition in there
    }
    there = [condition for condition in there if len(taken[condition]) >= LEAST_COMPARISONS]
    rows = [
        [name, *[_alarms(rule, taken[condition], factor) for factor in (1.0, SLOWER) for condition in there]]
        for name, rule in peers.RULES.items()
    ]
    ours = [
        str(_rate(found[row, condition], Target("", "FAIL", {}, at_most=True))) if (row, condition) in found else NONE
        for row in ("identical", "plus10-scaled")
        for condition in there
    ]
    rows.append([f"ours, {_took(found, there)} of sampling", *ours])
    counts = ", ".join(f"{condition} {len(taken[condition])}" for condition in there) or "the bank is too short for any"
    note = (
        f'How often a rule says "slower" about identical code, and about the same scaled by {SLOWER:g}. Each side has {seconds:g} s of timed work, the baseline first, '
        "then the variant, in the slots of the bank of identical code as they were taken one after the other; no slot is used twice. "
        f"Comparisons: {counts}. A sample is the mean of a slot of some calls. Bounds as above."
    )
    columns = ["rule"] + [f"{told}, {condition}" for told in ("identical", "10 % slower") for condition in there]
    return Table(f"Other tools, {seconds:g} s a side", columns, rows, note)


def _alarms(rule: peers.Rule, taken: Sequence[tuple[peers.Samples, peers.Samples]], factor: float) -> str:
    return str(Rate(sum(rule(baseline, factor * variant) for baseline, variant in taken), len(taken)))


def _took(found: dict[tuple[str, str], Found], conditions: Sequence[str]) -> str:
    return (
        " / ".join(
            _median_of(found["identical", one].seconds, " s") for one in conditions if ("identical", one) in found
        )
        or NONE
    )


def _calls(rounds: Rounds) -> int:
    """Calls a slot, as its turns chose them."""
    return calls_a_slot(float(np.median(rounds.baseline)), float(np.median(rounds.variant)), 1.0)[0]


def _banks(banks: dict[tuple[str, str], Rounds]) -> Table:
    rows = []
    for (arm, condition), rounds in banks.items():
        logs = np.log(rounds.baseline.astype(np.float64) / rounds.variant)
        medians = np.array([np.median(logs[rounds.pair == pair]) for pair in range(rounds.pairs)])
        noise = 1.4826 * float(np.median(np.abs(logs - medians[rounds.pair])))
        between = f"{100 * float(np.std(medians, ddof=1)):.2f} %" if rounds.pairs > 1 else NONE
        rows.append(
            [
                f"{ARMS[arm].variant} beside plain",
                condition,
                f"{rounds.pairs}",
                f"{len(logs):,}",
                f"{1e3 * float(np.median(rounds.baseline)):.2f} ms",
                f"{1e3 * float(np.median(rounds.took)):.1f} ms",
                f"{ARMS[arm].speedup:.4f}",
                f"{math.exp(float(np.median(medians))):.4f}",
                f"{100 * noise:.1f} %",
                between,
                f"{100 * float(rounds.free.mean()):.0f} %",
            ]
        )
    note = (
        "A small convolutional network in int8, built by the pipeline and run by ONNX Runtime with as many threads as there are cores, through a framework plugin "
        "(`tests/slow_engine.py`) whose one call is a known number of inferences: so extra work is real and exact. "
        + "; ".join(f"{name}: {told}" for name, told in CONDITIONS.items())
        + ". "
        "Noise is the spread of rounds (1.4826 MAD of ln), and between pairs the standard deviation of their medians. Free: share of rounds that began when nothing else ran on "
        f"the cores; a quiet pair or run with less than {100 * QUIET_SHARE:g} % of them is left out."
    )
    columns = [
        "sides",
        "machine",
        "pairs of processes",
        "rounds",
        "call",
        "round",
        "speed-up by work",
        "seen",
        "noise",
        "between pairs",
        "free",
    ]
    return Table("The bank", columns, rows, note)


def _again(live: Sequence[Live]) -> str:
    days = sorted({run.day for run in live})
    when = f" Live runs are of {days[0]} to {days[-1]}." if days else ""
    return f"""
## On what, and how to run it again

{tables.circumstances()}{when}

`make rigor` goes on with the bank of this machine (`benchmarks/rigor/banked/`), starts its neighbours itself, and writes this page; `ARGS="--minutes 3"` makes it
short. A machine that does something else meanwhile shows it in the column "free". Live runs count only while the code that decides them is the same.
"""


def _of_live(runs: Sequence[Live]) -> Found:
    return Found(*[[getattr(run, name) for run in runs] for name in ("outcome", "rounds", "seconds", "waited")])


def _keys() -> list[tuple[str, str]]:
    return [(name, condition) for name, row in ROWS.items() for condition in row.conditions]
