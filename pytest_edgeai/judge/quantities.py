"""Quantities: what an assertion sees. Live: comparing one decides how much is measured."""

import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, Protocol, Self

from pytest_edgeai.errors import UnsupportedError, UsageError, unknown
from pytest_edgeai.judge.claims import MIRRORED, Claim
from pytest_edgeai.language.generation import of_tokens
from pytest_edgeai.protocols import Metric
from pytest_edgeai.records import Figure, Recipe, Verdict

OWN = {"speedup": "x", "throughput": "items/s", "size": "bytes", "compressed_size": "bytes", "accuracy": "proportion"}
"""Quantity -> unit, of those that no single sensor reads."""
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
"""What is asked of a metric that is read at every call, beside its ``jitter``."""
PHASES = {
    "ttft": ("p50", "speedup"),
    "prefill": ("throughput", "speedup"),
    "tpot": ("p50",),
    "itl": ("p50",),
    "decode": ("throughput", "speedup"),
    "end_to_end": ("p50", "speedup"),
}
"""Of a language model's call: part of it -> what is asked of it; ``p50`` stands for all of :data:`PERCENTILES`, and ``jitter``."""
LANGUAGE = {
    "size": "bytes",
    "compressed_size": "bytes",
    "perplexity": "ppl",
    "bits_per_byte": "bits/byte",
    "kl_divergence": "nats",
    "agreement": "proportion",
    "accuracy": "proportion",
}
"""As :data:`OWN`, of a language model."""
INSTEAD = {
    "speedup": "decode.speedup, ttft.speedup, prefill.speedup or end_to_end.speedup",
    "latency": "ttft, tpot, itl or end_to_end",
    "throughput": "decode.throughput or prefill.throughput",
}
"""What a language model's call has none of, for it has phases; and what to ask for."""
SETTINGS = {"throughput": ("batch", "requests")}
"""Quantity -> what it can be asked at: ``throughput.at(batch=8)``."""


def units(metrics: Iterable[Metric], *, language: bool = False) -> dict[str, str]:
    """Quantity -> unit, of every quantity that can be asked for; of a language model, whose calls have phases, others than of one of tensors.

    A metric that is read at every call is asked for by percentile (``latency.p95``) and by its relative spread (``latency.jitter``); another
    one by its own name (``cold_start``) or by its parts (``memory.peak``).
    """
    known = LANGUAGE | _of_phases() if language else dict(OWN)
    for metric in metrics:
        if language and metric.name in INSTEAD:
            continue
        for part, unit in metric.units.items():
            name = metric.name if part == metric.name else f"{metric.name}.{part}"
            if metric.per == "call":
                known |= {f"{name}.{p}": unit for p in PERCENTILES} | {f"{name}.jitter": "proportion"}
            else:
                known[of_tokens(name) if language else name] = unit
    return known


def _of_phases() -> dict[str, str]:
    known: dict[str, str] = {}
    for phase, asked in PHASES.items():
        for name in asked:
            if name == "p50":
                known |= {f"{phase}.{p}": "s" for p in PERCENTILES} | {f"{phase}.jitter": "proportion"}
            else:
                known[f"{phase}.{name}"] = "x" if name == "speedup" else "tokens/s"
    return known


class Decider(Protocol):
    """Whoever measures and judges."""

    @property
    def units(self) -> Mapping[str, str]:
        """Quantity -> unit, of every quantity that can be asked for."""
        ...

    def decide(self, claim: Claim) -> Verdict:
        """The verdict on a claim; the same one whenever it is asked again in a run."""
        ...

    def figure(self, subject: str, quantity: str) -> Figure:
        """The quantity's estimate with its interval; measured when it isn't known yet."""
        ...


class Quantity:
    """A quantity of a subject, perhaps scaled, perhaps divided by another's. Compare it with a number of its unit, or with a scaled one.

    Comparisons return a frozen :class:`~pytest_edgeai.records.Verdict`.
    """

    __slots__ = ("_decider", "_factor", "_other", "name", "subject")
    __hash__ = None  # type: ignore[assignment] # there is no equality to go with it

    def __init__(
        self, subject: "Subject", name: str, decider: Decider, factor: float = 1.0, other: "Subject | None" = None
    ) -> None:
        self.subject, self.name = subject, name
        self._decider, self._factor, self._other = decider, factor, other

    @property
    def unit(self) -> str:
        """``s``, ``bytes``, ``x``, ``proportion``, ..., or ``ratio`` after a division."""
        return "ratio" if self._other else self._decider.units[self.name.partition("@")[0]]

    def at(self, **setting: Any) -> "Quantity":
        """The quantity at a setting: ``throughput.at(batch=8, requests=2)`` is of calls with 8 items each, 2 calls at a time."""
        base = self.name.partition("@")[0]
        known = SETTINGS.get(base, ())
        if wrong := [name for name in setting if name not in known]:
            can = f"It can be asked at {' and '.join(known)}." if known else "It has no settings."
            raise TypeError(f"{self!r} can't be asked at {', '.join(wrong)}. {can}")
        for name, value in setting.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise TypeError(f"{self!r}: {name} must be a whole number of at least 1, not {value!r}.")
        told = ",".join(f"{name}={setting[name]}" for name in known if setting.get(name, 1) != 1)
        return Quantity(self.subject, f"{base}@{told}" if told else base, self._decider, self._factor, self._other)

    @property
    def estimate(self) -> float:
        """The plain number, measured when it isn't known yet. Not a proof of anything."""
        one = self._decider.figure(self.subject.name, self.name).estimate
        return self._factor * one / (self._decider.figure(self._other.name, self.name).estimate if self._other else 1.0)

    def __float__(self) -> float:
        """Raises TypeError: a number that is measured at once would prove nothing, and look like a proof."""
        raise TypeError(f"{self!r} is compared, not converted; its plain number, which proves nothing, is .estimate.")

    def __repr__(self) -> str:
        scale = "" if self._factor == 1 else f"{self._factor:.12g} * "
        over = f" / {self._other.name} {self.name}" if self._other else ""
        return f"<{scale}{self.subject.name} {self.name}{over}>"

    def __mul__(self, factor: object) -> "Quantity":
        number = _number(factor)
        if number is None:
            return NotImplemented
        if not 0 < number < math.inf:
            raise TypeError(f"{self!r} can only be scaled by a positive number, not by {factor}.")
        return Quantity(self.subject, self.name, self._decider, self._factor * number, self._other)

    __rmul__ = __mul__

    def __truediv__(self, other: "float | Quantity") -> "Quantity":
        if isinstance(other, Quantity):
            if other.name != self.name or self._other or other._other:
                raise TypeError(
                    f"{self!r} can't be divided by {other!r}: only the same plain quantity of two variants can be divided."
                )
            return Quantity(self.subject, self.name, self._decider, self._factor / other._factor, other.subject)
        number = _number(other)
        if number is None:
            return NotImplemented
        if not 0 < number < math.inf:
            raise TypeError(f"{self!r} can only be divided by a positive number, not by {other}.")
        return self * (1 / number)

    def __rtruediv__(self, other: object) -> NoReturn:
        raise TypeError(f"A number can't be divided by {self!r}; write the limit on the other side.")

    def _no_sums(self, _: object) -> NoReturn:
        raise TypeError(
            f"{self!r} can be scaled and divided, not added to or subtracted from: write a ratio, as in >= 0.99 * {self!r}."
        )

    __add__ = __radd__ = __sub__ = __rsub__ = _no_sums

    def __ge__(self, other: "float | Quantity") -> Verdict:
        return self._compare(">=", other)

    def __le__(self, other: "float | Quantity") -> Verdict:
        return self._compare("<=", other)

    def __gt__(self, other: "float | Quantity") -> Verdict:
        return self._compare(">", other)

    def __lt__(self, other: "float | Quantity") -> Verdict:
        return self._compare("<", other)

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError(
            f"{self!r} is measured, so it equals nothing exactly. Write >= or <= with a limit, or use .estimate."
        )

    def __ne__(self, other: object) -> NoReturn:
        self.__eq__(other)

    def __bool__(self) -> NoReturn:
        raise TypeError(f"{self!r} has no truth value. Compare it with a limit, or use .estimate.")

    def verdict(self, operator: str, other: "float | Quantity") -> Verdict:
        """The verdict that a comparison returned."""
        return self._compare(operator, other)

    def _compare(self, operator: str, other: object) -> Verdict:
        if isinstance(other, Quantity):
            return self._compare_with(operator, other)
        if other is None:
            raise UnsupportedError(
                f"{self.subject.name} {self.name}: no limit is stated, so there is nothing to decide; --edge-limit states one."
            )
        limit = _number(other)
        if limit is None:
            raise TypeError(
                f"{self!r} can be compared with a number of {self.unit!r} or with a quantity, not with {type(other).__name__}."
            )
        return self._decider.decide(self._claim(operator, limit / self._factor, self._other))

    def _compare_with(self, operator: str, other: "Quantity") -> Verdict:
        if other.name != self.name or self._other or other._other:
            raise TypeError(
                f"{self!r} can't be compared with {other!r}: only the same plain quantity of two variants can be."
            )
        if not (self.subject.stands_beside(other.subject) or other.subject.stands_beside(self.subject)):
            # max() and sorted() end up here: a ranking made of verdicts would flatter its winner.
            raise TypeError(
                f"{self!r} and {other!r} belong to two variants. To rank variants, write sorted(variants, key=lambda v: v.{self.name}.estimate); "
                f"to prove a ratio, divide: a.{self.name} / b.{self.name} <= 0.9."
            )
        if self.subject.is_original and not other.subject.is_original:
            return other._compare_with(
                MIRRORED[operator], self
            )  # `0.5 * baseline >= variant`: the variant is what is judged
        return self._decider.decide(self._claim(operator, other._factor / self._factor, other.subject))

    def _claim(self, operator: str, limit: float, other: "Subject | None") -> Claim:
        if not math.isfinite(limit) or limit <= 0:
            raise TypeError(f"{self!r} needs a positive, finite limit, not {limit}.")
        subject = self.subject
        fresh = subject.is_choice or (other is not None and other.is_choice)
        name, unit = (other.name, "ratio") if other else (None, self.unit)
        return Claim(subject.name, self.name, operator, limit, name, fresh, subject.rigor, unit)


def _number(value: object) -> float | None:
    """A real number, one of numpy's included; a truth value is none."""
    return None if isinstance(value, bool) or not isinstance(value, numbers.Real) else float(value)


class _Group:
    """Quantities of one metric: ``latency.p95``."""

    def __init__(self, subject: "Subject", prefix: str, decider: Decider) -> None:
        self._subject, self._prefix, self._decider = subject, prefix, decider

    def __getattr__(self, part: str) -> Any:
        found = _reached(self._subject, f"{self._prefix}.{part}", self._decider)
        if found is None:
            raise AttributeError(f"There is no quantity {self._prefix}.{part}. There are: {', '.join(self._known())}.")
        return found

    def _known(self) -> list[str]:
        return [known for known in self._decider.units if known.startswith(f"{self._prefix}.")]

    def _refuse(self, *_: Any) -> NoReturn:
        raise TypeError(f"{self._prefix} is several quantities. Write {' or '.join(self._known())}.")

    __ge__ = __le__ = __gt__ = __lt__ = __mul__ = __rmul__ = __truediv__ = __bool__ = _refuse
    __eq__ = __ne__ = _refuse
    __hash__ = None  # type: ignore[assignment] # there is no equality to go with it


def _reached(subject: "Subject", name: str, decider: Decider) -> Quantity | _Group | None:
    """The quantity of this name, or those whose names begin with it; ``None`` where there is neither."""
    if name in decider.units:
        return Quantity(subject, name, decider)
    return _Group(subject, name, decider) if any(known.startswith(f"{name}.") for known in decider.units) else None


def _families(decider: Decider) -> list[str]:
    """What can be asked of a subject, by the first part of its name."""
    return list(dict.fromkeys(quantity.partition(".")[0] for quantity in decider.units))


class Subject:
    """A variant (or the baseline) as a test sees it: its quantities are attributes, those of metrics from plugins too."""

    def __init__(
        self,
        name: str,
        recipe: Recipe,
        decider: Decider,
        rigor: str,
        baseline: "Subject | None" = None,
        *,
        reference: "Subject | None" = None,
        is_choice: bool = False,
    ) -> None:
        self.name = name
        """The recipe's name: ``openvino-int8``."""
        self.recipe = recipe
        self.rigor = rigor
        self.is_choice = is_choice
        self._decider = decider
        self._baseline, self._reference = baseline, reference

    @property
    def is_original(self) -> bool:
        """Whether this is the unoptimized model."""
        return self._baseline is None

    @property
    def baseline(self) -> Self:
        """The unoptimized model on this device: what speed and memory are compared with."""
        return self._baseline or self  # type: ignore[return-value] # never subclassed

    @property
    def reference(self) -> Self:
        """The model that quality is compared with."""
        return self._reference or self.baseline  # type: ignore[return-value] # never subclassed

    @property
    def speedup(self) -> Quantity:
        """The baseline's latency over this one's, measured in turns."""
        return self._single("speedup")

    @property
    def throughput(self) -> Quantity:
        """Items a second: one call after the other at batch 1, or ``throughput.at(batch=8, requests=2)``."""
        return self._single("throughput")

    @property
    def latency(self) -> Any:
        """``.p50``, ``.p90``, ``.p95``, ``.p99``, ``.p999`` (p99.9) in seconds, ``.jitter`` (rMAD over median), of calls alone."""
        return self._own("latency")

    @property
    def ttft(self) -> Any:
        """Of a language model, time to first token: as ``latency``, and ``.speedup``."""
        return self._own("ttft")

    @property
    def tpot(self) -> Any:
        """Of a language model, time per output token (the mean of a call's tokens after the first one): as ``latency``."""
        return self._own("tpot")

    @property
    def itl(self) -> Any:
        """Of a language model, inter-token latency (each token's own time after the one before): as ``latency``."""
        return self._own("itl")

    @property
    def end_to_end(self) -> Any:
        """Of a language model, whole calls: as ``latency``, and ``.speedup``."""
        return self._own("end_to_end")

    @property
    def prefill(self) -> Any:
        """Of a language model, the work on the prompt: ``.throughput`` in tokens a second, and ``.speedup``."""
        return self._own("prefill")

    @property
    def decode(self) -> Any:
        """Of a language model, the tokens after the first one: ``.throughput`` in tokens a second, and ``.speedup``."""
        return self._own("decode")

    @property
    def memory(self) -> Any:
        """In bytes: ``.footprint`` (the model's own), ``.peak`` (the process'); ``.anonymous``, ``.mapped``, ``.inactive`` (kinds of pages)."""
        return self._own("memory")

    @property
    def energy(self) -> Any:
        """``.per_call`` (of a language model ``.per_token``) in joules, ``.power`` in watts, and what of it is idle; where sensors can be read."""
        return self._own("energy")

    @property
    def cold_start(self) -> Quantity:
        """Seconds from the imported engine to the first answer."""
        return self._single("cold_start")

    @property
    def size(self) -> Quantity:
        """Bytes of the artifact."""
        return self._single("size")

    @property
    def compressed_size(self) -> Quantity:
        """Bytes of the artifact's files as a zip archive holds them: what is downloaded. Zeros take next to none."""
        return self._single("compressed_size")

    @property
    def accuracy(self) -> Quantity:
        """Mean score over the evaluated items; of a language model, the share of completions and choices that it gets right."""
        return self._single("accuracy")

    @property
    def perplexity(self) -> Quantity:
        """Of a language model, over all predicted tokens of the documents."""
        return self._single("perplexity")

    @property
    def bits_per_byte(self) -> Quantity:
        """Of a language model, as perplexity, but the same for models with other tokens."""
        return self._single("bits_per_byte")

    @property
    def kl_divergence(self) -> Quantity:
        """Of a language model, from the reference, in nats a token."""
        return self._single("kl_divergence")

    @property
    def agreement(self) -> Quantity:
        """Of a language model, the share of tokens for which it finds the same one likeliest as the reference does."""
        return self._single("agreement")

    @property
    def offline(self) -> Verdict:
        """Whether it loads and answers in a process that has no network: a verdict to assert."""
        return self._decider.decide(Claim(self.name, "offline", ">=", 1.0, rigor=self.rigor, unit=""))

    def _single(self, name: str) -> Quantity:
        found = self._own(name)
        assert isinstance(found, Quantity)
        return found

    def _own(self, name: str) -> "Quantity | _Group":
        """Raises UsageError where a model of this kind has no such quantity."""
        found = _reached(self, name, self._decider)
        if found is None:
            has = INSTEAD.get(name) if "decode.speedup" in self._decider.units else None
            if has:
                raise UsageError(
                    f"{self.name}: a language model has no {name} as such, for its calls have phases: write {has}."
                )
            raise UsageError(f"{self.name} has no {name}: {unknown('quantity', name, _families(self._decider))}")
        return found

    def __getattr__(self, name: str) -> Any:
        """A quantity, or the group of quantities, of a metric that a plugin brings."""
        found = None if name.startswith("_") else _reached(self, name, self._decider)
        if found is None:
            raise AttributeError(unknown("quantity", name, _families(self._decider)))
        return found

    def stands_beside(self, other: "Subject") -> bool:
        """Whether the other one is what this one is naturally compared with."""
        return other.name in (self.name, self.baseline.name, self.reference.name)

    def __repr__(self) -> str:
        return f"<{'choice' if self.is_choice else 'variant'} {self.name}>"
