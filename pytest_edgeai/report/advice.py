"""Advice: what to ship of a model, and what stands against it. The page and the terminal say the same."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from pytest_edgeai.records import GateResult, ModelResult, Outcome, Results
from pytest_edgeai.report.text import plain

Kind = Literal["ship", "hold", "unproven", "nearest", "none"]

ORDER = (Outcome.FAIL, Outcome.ERROR, Outcome.INCONCLUSIVE, Outcome.UNSUPPORTED, Outcome.PASS)
"""What needs attention first."""


@dataclasses.dataclass(frozen=True)
class Advice:
    """One headline and its reasons."""

    kind: Kind
    name: str
    """The variant, or nothing."""
    headline: str
    reasons: tuple[str, ...]
    breaks: tuple[str, ...] = ()
    """Limits of the target that the variant breaks."""


def advise(results: Results, model: ModelResult) -> Advice:
    """A choice is called shippable only where its own gates were decided, and all of them passed.

    The choice itself comes from screening estimates; the gates on it are what was proven.
    """
    choice = model.choice
    if choice is None:
        return Advice("none", "", "No recommendation", (_why_none(model),))
    name = plain(choice.recipe, 60)
    reason = (choice.reason,) if choice.reason else ()
    found = counts([gate for gate in results.gates if _concerns(gate, model)])
    if not choice.meets_limits:
        headline = f"Nothing meets the limits; {name} comes nearest"
        if found[Outcome.PASS] == sum(found.values()) > 0:
            passed = f"{_gates(found[Outcome.PASS])} on it passed, at limits of their own; --edge-limit states other limits to choose by"
            reason = (*reason, passed)
        return Advice("nearest", name, headline, reason, choice.breaks)
    failed, errors = found[Outcome.FAIL], found[Outcome.ERROR]
    if failed or errors:
        parts = [f"{_gates(failed)} on it failed"] if failed else []
        parts += [f"{_gates(errors)} on it ended in an error"] if errors else []
        return Advice("hold", name, f"Do not ship {name} yet: {' and '.join(parts)}", reason)
    if found[Outcome.INCONCLUSIVE]:
        headline = f"{name} is not proven yet: {_gates(found[Outcome.INCONCLUSIVE])} on it inconclusive"
        return Advice("unproven", name, headline, reason)
    if not found[Outcome.PASS]:
        headline = f"{name} looks best, but no gate on it was decided"
        return Advice("unproven", name, headline, reason)
    if found[Outcome.UNSUPPORTED]:
        headline = f"{name} passed what could be decided here; {_gates(found[Outcome.UNSUPPORTED])} on it could not"
        return Advice("unproven", name, headline, reason)
    passed = f"{_gates(found[Outcome.PASS])} on it passed."
    return Advice("ship", name, f"Ship {name}", (*reason, passed))


def counts(gates: Sequence[GateResult]) -> dict[Outcome, int]:
    """How many verdicts of each outcome, without those that their tests tolerated."""
    insisted = [gate.verdict.outcome for gate in gates if not gate.tolerated]
    return {outcome: insisted.count(outcome) for outcome in Outcome}


def tolerated(gates: Sequence[GateResult]) -> str:
    """What to say of the others; empty where there are none."""
    count = sum(gate.tolerated for gate in gates)
    return f"{count} FAIL in {'a test' if count == 1 else 'tests'} that passed all the same" if count else ""


def _concerns(gate: GateResult, model: ModelResult) -> bool:
    verdict = gate.verdict
    return (
        model.choice is not None and verdict.subject == model.choice.recipe and verdict.model in ("", model.model.name)
    )


def _gates(count: int) -> str:
    return "1 gate" if count == 1 else f"{count} gates"


def _why_none(model: ModelResult) -> str:
    variants = [variant for variant in model.variants if variant.role == "variant"]
    if not variants:
        return "No variant was built."
    if all(variant.state == "failed" for variant in variants):
        return "Every variant failed to build."
    return "No variant was chosen in this run: a test that takes edge_choice has all of them screened."
