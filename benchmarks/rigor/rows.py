"""Rows: what is promised about which comparison, under which condition."""

import dataclasses
import math
from dataclasses import dataclass, field

from pytest_edgeai.judge.rules import RIGOR, Rules

CONDITIONS = {
    "quiet": "no load of ours beside it",
    "hogs": "two neighbours that burn a core each, on and off for 0.2 to 3 s",
    "drift": "two neighbours whose share of a core rises from 0 to 80 % within 10 s and falls again",
}
FIVE, TWO = 1 / 1.05, 1 / 1.02
"""Speed-ups that are the limits of "at most 5 % slower" and "at most 2 % slower"."""


@dataclass(frozen=True, slots=True)
class Arm:
    """Two methods of ``tests/slow_engine.py`` that take turns."""

    variant: str
    """The other side is always ``plain``."""
    speedup: float
    """True, by the work that is done."""
    limit: float
    """What the slots are made for."""
    rounds: int
    """Of each pair of processes."""
    pairs: int
    """That a bank should have."""
    conditions: tuple[str, ...] = ("quiet", "hogs", "drift")


ARMS = {
    "identical": Arm("plain", 1.0, FIVE, rounds=400, pairs=40),
    "plus5": Arm("plus5", 40 / 42, FIVE, rounds=240, pairs=20, conditions=("quiet", "hogs")),
    "plus10": Arm("plus10", 40 / 44, FIVE, rounds=120, pairs=20),
    "half": Arm("half", 2.0, 2.0, rounds=240, pairs=20, conditions=("quiet", "hogs")),
    "fifths": Arm("fifths", 2.5, 2.0, rounds=120, pairs=20, conditions=("quiet", "hogs")),
}


@dataclass(frozen=True, slots=True)
class Target:
    """A rate that is promised."""

    told: str
    outcome: str
    limits: dict[str, float]
    """Condition -> rate."""
    at_most: bool
    within: float = math.inf
    """Seconds of sampling after which an outcome doesn't count."""


@dataclass(frozen=True, slots=True)
class Row:
    """A comparison. Speed-ups are claimed to be at least ``limit``."""

    title: str
    arm: str
    limit: float
    targets: tuple[Target, ...]
    rigor: str = "quick"
    faster: float = 1.0
    """Replays only: a factor on the arm's speed-up."""
    gates: int = 1
    """In one run, whose error rate of a false FAIL they share."""
    live: dict[str, int] = field(default_factory=dict)
    """Condition -> whole runs that are wanted; only of arms as they are."""
    rounds: float = math.inf
    """That the median run may take at most."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Condition -> seconds of sampling that the median run may take at most."""

    @property
    def conditions(self) -> tuple[str, ...]:
        """Of the arm."""
        return ARMS[self.arm].conditions

    @property
    def rules(self) -> Rules:
        """As the plugin sets them for the first claim of each gate: its k-th one has the share 1 / (k * (k + 1)) of its gate's."""
        return dataclasses.replace(RIGOR[self.rigor], share=1 / (self.gates * 1 * 2))


ALWAYS = dict.fromkeys(CONDITIONS, 0.01)
FALSE_PASS, FALSE_FAIL = (
    Target("false PASS", "PASS", ALWAYS, at_most=True),
    Target("false FAIL", "FAIL", ALWAYS, at_most=True),
)


def _found(outcome: str, quiet: float, hogs: float, within: float = math.inf) -> Target:
    told = outcome if within == math.inf else f"{outcome} within {within:g} s of sampling"
    return Target(told, outcome, {"quiet": quiet, "hogs": hogs}, at_most=False, within=within)


SEVERAL, FEW = {"quiet": 30, "hogs": 30}, {"quiet": 3, "hogs": 3}
"""Live runs; a comparison near its limit takes the whole budget."""
SOON = {"quiet": 0.5, "hogs": 1.0}
"""Seconds of sampling for a clear case."""

ROWS = {
    "identical": Row(
        "identical code, at most 5 % slower",
        "identical",
        FIVE,
        (FALSE_FAIL, _found("PASS", 0.99, 0.95, within=10.0)),
        live={**SEVERAL, "drift": 30},
        seconds=SOON,
    ),
    "plus10": Row(
        "10 % more work, at most 5 % slower",
        "plus10",
        FIVE,
        (_found("FAIL", 0.99, 0.95), FALSE_PASS),
        live=SEVERAL,
        seconds=SOON,
    ),
    "plus10-scaled": Row(
        "identical code scaled by 1.10, at most 5 % slower",
        "identical",
        FIVE,
        (_found("FAIL", 0.99, 0.95), FALSE_PASS),
        faster=1 / 1.10,
    ),
    "plus5": Row(
        "5 % more work, at most 2 % slower, strict",
        "plus5",
        TWO,
        (_found("FAIL", 0.95, 0.90), FALSE_PASS),
        rigor="strict",
        live=FEW,
    ),
    "plus5-scaled": Row(
        "identical code scaled by 1.05, at most 2 % slower, strict",
        "identical",
        TWO,
        (_found("FAIL", 0.95, 0.90), FALSE_PASS),
        rigor="strict",
        faster=1 / 1.05,
    ),
    "plus3-scaled": Row(
        "identical code scaled by 1.03, not slower at all, strict",
        "identical",
        1.0,
        (_found("FAIL", 0.90, 0.75), FALSE_PASS),
        rigor="strict",
        faster=1 / 1.03,
    ),
    "at-limit": Row(
        "5 % more work, at most 5 % slower: exactly at the limit", "plus5", FIVE, (FALSE_PASS, FALSE_FAIL), live=FEW
    ),
    "at-limit-scaled": Row(
        "identical code scaled by 1.05, at most 5 % slower: exactly at the limit",
        "identical",
        FIVE,
        (FALSE_PASS, FALSE_FAIL),
        faster=FIVE,
    ),
    "at-limit-strict": Row(
        "identical code scaled by 1.02, at most 2 % slower, strict: exactly at the limit",
        "identical",
        TWO,
        (FALSE_PASS, FALSE_FAIL),
        rigor="strict",
        faster=TWO,
    ),
    "fifths": Row(
        "2.5 times as fast, at least 2 times",
        "fifths",
        2.0,
        (_found("PASS", 0.99, 0.95),),
        live=SEVERAL,
        rounds=15,
        seconds=SOON,
    ),
    "half": Row(
        "exactly 2 times as fast, at least 2 times: exactly at the limit",
        "half",
        2.0,
        (FALSE_PASS, FALSE_FAIL),
        live=FEW,
    ),
    "below-two": Row(
        "2 times as fast scaled to 1.9, at least 2 times",
        "half",
        2.0,
        (_found("FAIL", 0.99, 0.95), FALSE_PASS),
        faster=0.95,
    ),
    "above-two": Row(
        "2 times as fast scaled to 2.1, at least 2 times",
        "half",
        2.0,
        (_found("PASS", 0.95, 0.90), FALSE_FAIL),
        faster=1.05,
    ),
    "gates": Row(
        "50 gates on identical code, at most 5 % slower, in one run",
        "identical",
        FIVE,
        (Target("runs with any FAIL", "FAIL", ALWAYS, at_most=True),),
        gates=50,
    ),
}
