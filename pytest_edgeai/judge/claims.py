"""Claims: what a gate asserts, and the one form in which all phrasings of a question are decided."""

import dataclasses
from typing import Any

import msgspec

from pytest_edgeai.records import Outcome, Verdict
from pytest_edgeai.units import show

MIRRORED = {">=": "<=", "<=": ">=", ">": "<", "<": ">"}
"""The same claim seen from the other side."""
SPEEDUPS = {
    "throughput": "speedup",
    "latency.p50": "speedup",
    "ttft.p50": "ttft.speedup",
    "prefill.throughput": "ttft.speedup",
    "tpot.p50": "decode.speedup",
    "decode.throughput": "decode.speedup",
    "end_to_end.p50": "end_to_end.speedup",
}
"""Quantity -> the speed-up that a ratio of two of it is. Tokens of a prompt a second are one over the time to first token."""
RATES = {"ttft.p50": "prefill.throughput", "tpot.p50": "decode.throughput"}
"""Times of a phase -> the rate that is one over them."""
SIZES = frozenset({"size", "compressed_size"})
EXACT = SIZES | {"offline"}
SCORED = frozenset({"accuracy", "agreement", "perplexity", "bits_per_byte", "kl_divergence"})
"""Families of quantities that are counted in bytes of files, that are known exactly, and that items or texts are scored for."""
_OPPOSITE = {">=": "<=", ">": "<=", "<=": ">=", "<": ">="}


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """``subject quantity [/ other's quantity] operator limit``, with the limit in the quantity's own unit (a ratio where there is another)."""

    subject: str
    quantity: str
    operator: str
    limit: float
    other: str | None = None
    """The subject whose same quantity is divided by."""
    fresh: bool = False
    """Decide on evidence that the choice of this subject has not seen."""
    rigor: str = "quick"
    unit: str = "ratio"
    """Of the limit."""
    turned: bool = dataclasses.field(default=False, compare=False)
    """Whether it stands for its opposite, which was claimed: then its PASS is what reddens the gate."""
    place: int = dataclasses.field(default=1, compare=False)
    """Among the claims of its test: 1 is the first one. It has no say in what is claimed, only in how sure a FAIL must be."""

    @property
    def identity(self) -> tuple[object, ...]:
        """What is claimed, as plain data: the same for all who claim it."""
        return tuple(getattr(self, field.name) for field in dataclasses.fields(self) if field.compare)

    @property
    def family(self) -> str:
        """What the quantity is a part or a setting of: ``latency`` of ``latency.p95``, ``throughput`` of ``throughput@batch=8``."""
        return self.quantity.partition("@")[0].partition(".")[0]

    @property
    def is_ratio_of_times(self) -> bool:
        """Whether it is a speed-up."""
        return self.quantity.endswith("speedup")

    def __str__(self) -> str:
        if self.quantity == "offline":
            return f"{self.subject} runs without a network"
        limit = f"{self.limit:.12g}" if self.unit == "x" else show(self.limit, self.unit)
        if self.unit == "proportion" and round(self.limit, 4) != self.limit:
            limit = f"{100 * self.limit:.12g} %"  # what is claimed is not rounded
        if self.other is None:
            return f"{self.subject} {self.quantity} {self.operator} {limit}"
        return f"{self.subject} {self.quantity} {self.operator} {limit} * {self.other} {self.quantity}"


def canonical(claim: Claim, baseline: str, batch: int | None = 1) -> tuple[Claim, bool]:
    """The one claim that is decided for all phrasings of a question, and whether its verdict must be turned round.

    So no phrasing buys a second draw. ``batch``: items in a call of all variants of the claim, ``None`` where they differ; then a ratio of
    latencies, which are of calls, is no speed-up, which is of items. What is one number a process can be equal to a limit: there only ``<`` and
    ``>`` are turned, into the opposites of ``>=`` and ``<=``. What is known exactly is left alone, and so is accuracy: its scores are the
    same however often they are asked for.
    """
    if claim.family not in SCORED:
        claim = dataclasses.replace(claim, fresh=False)  # only items can be used up
    if claim.family in EXACT | SCORED:
        return claim, False
    if claim.quantity == "prefill.speedup":
        claim = dataclasses.replace(claim, quantity="ttft.speedup")
    if claim.other is not None and claim.quantity in SPEEDUPS and (claim.quantity != "latency.p50" or batch):
        if claim.other == baseline:
            speed = claim if claim.quantity.endswith("throughput") else _mirrored(claim)
            quantity = SPEEDUPS[claim.quantity]
            return canonical(dataclasses.replace(speed, quantity=quantity, other=None, unit="x"), baseline)
        other = claim.other
        if claim.quantity in RATES:
            claim = dataclasses.replace(_mirrored(claim), quantity=RATES[claim.quantity])
        if claim.subject == baseline or other < claim.subject:  # of two variants the first one is the subject
            return canonical(dataclasses.replace(_mirrored(claim), subject=other, other=claim.subject), baseline, batch)
    wanted = _wanted(claim.quantity)
    if wanted is not None:
        turned = claim.operator[0] != wanted[0]
        return dataclasses.replace(claim, operator=wanted, turned=turned), turned
    if claim.operator in ("<", ">"):
        return dataclasses.replace(claim, operator=_OPPOSITE[claim.operator], turned=True), True
    return claim, False


def _wanted(quantity: str) -> str | None:
    """The side on which more speed is; ``None`` for what is one number a process."""
    name = quantity.partition("@")[0]
    if name.endswith(("speedup", "throughput")):
        return ">="
    return "<=" if name.partition(".")[0] in ("latency", "ttft", "tpot", "itl", "end_to_end") else None


def as_claimed(verdict: Verdict, claim: Claim, turned: bool) -> Verdict:
    """The verdict on a canonical claim in the words of the one that was made."""
    outcome = verdict.outcome
    if turned:
        outcome = {Outcome.PASS: Outcome.FAIL, Outcome.FAIL: Outcome.PASS}.get(outcome, outcome)
    words: dict[str, Any] = {
        "outcome": outcome,
        "claim": str(claim),
        "subject": claim.subject,
        "quantity": claim.quantity,
        "other": claim.other or "",
        "operator": claim.operator,
    }
    swapped = verdict.subject != claim.subject
    of_speed = verdict.quantity.endswith(("speedup", "throughput")) and claim.quantity.endswith(".p50")
    if swapped != of_speed:  # the ratio that was decided is the inverse of the one that was claimed
        ends = {"estimate": verdict.estimate, "low": verdict.high, "high": verdict.low}
        words |= {name: 1 / end if end else None for name, end in ends.items()}
    return msgspec.structs.replace(verdict, **words, limit=claim.limit, unit=claim.unit)


def _mirrored(claim: Claim) -> Claim:
    """The same claim about the inverse ratio."""
    return dataclasses.replace(claim, operator=MIRRORED[claim.operator], limit=1 / claim.limit)
