"""Protocols: the seams. Whatever has these methods fits; nothing has to inherit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.records import Assessment, Device, EngineDevice, ModelKind, Recipe, Target

Arrays = Mapping[str, NDArray[Any]]
"""Named arrays: inputs or outputs of one call, batch axis included."""


class Runner(Protocol):
    """A loaded variant: named arrays in, named arrays out. Lives in a worker."""

    def __call__(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """One inference, finished when it returns (asynchronous engines wait)."""
        ...

    def placement(self) -> dict[str, str]:
        """What the runtime really uses: ``device``, ``precision``, ``threads``, ``provider``.

        ``operators``, where the runtime tells: how many of which kind run where, short enough for a table's cell.
        """
        ...


@runtime_checkable
class ParallelRunner(Protocol):
    """A runner that can answer several calls at a time."""

    def parallel(self, requests: int) -> Sequence[Callable[[Arrays], dict[str, NDArray[Any]]]]:
        """So many callables, each for one thread, that share the weights."""
        ...


@runtime_checkable
class Generator(Protocol):
    """A loaded language model: tokens in, tokens or logits out. Lives in a worker."""

    vocabulary: int
    """Tokens that logits are given for."""
    context: int
    """Tokens that it can attend to."""

    def generate(self, prompt: NDArray[np.integer[Any]], count: int) -> Iterator[int]:
        """``count`` tokens after the prompt, from a fresh state, always the likeliest one; ends of texts end nothing.

        A token is handed out as soon as the host knows it; what computes the next one may run already.
        """
        ...

    def logits(self, tokens: NDArray[np.integer[Any]], chunk: int) -> Iterator[NDArray[np.float32]]:
        """Of the token after each one, from a fresh state: float32 ``[up to chunk, vocabulary]``, computed ``chunk`` tokens at a time.

        A part is good until the next one is asked for.
        """
        ...

    def placement(self) -> dict[str, str]:
        """As a :class:`Runner`'s."""
        ...


@runtime_checkable
class Encoding(Protocol):
    """What turns texts into tokens; a generator may do so itself."""

    @property
    def begin(self) -> Sequence[int]:
        """Tokens that are put before every text: the one that marks its begin, where the model was trained with one; else none."""
        ...

    def encode(self, text: str) -> NDArray[np.int32]:
        """The text's tokens, without any that mark its begin or end."""
        ...


@runtime_checkable
class ParallelReader(Protocol):
    """A generator that computes the logits of several texts at a time, each in a thread of its own."""

    readers: int
    """How many."""


@runtime_checkable
class Framework(Protocol):
    """An engine that builds and runs variants.

    ``name`` is the first part of its recipes' names. ``distributions`` are what must be installed for it, the engine first; their
    versions are part of every cache key. ``catalogue``, ``baseline`` and ``refusal`` run in the pytest process and import nothing
    heavy; ``devices``, ``build`` and ``load`` run in a worker.

    Optional attributes: ``accelerators``, prefixes of those (``gpu:nvidia``) that some build of the engine runs on by itself: a variant of an engine
    without them is not chosen for such a target. ``replaces``: distributions that must go before it is installed.

    An engine that heeds ``recipe.tuning`` says so by ``tunes = True``: it refuses in ``refusal`` the keys and values that it doesn't
    have, and raises an EdgeError when it is loaded and uses something else. Tuned recipes of other engines are refused for them.
    ``at_load``, a set of keys: those that change nothing of the artifact. What ``build`` is given, and what the cache's key is made of, is the recipe
    without them, so variants that differ in nothing else share one artifact; ``load`` is given the whole recipe.
    """

    name: str
    distributions: tuple[str, ...]

    def catalogue(self, target: Target, kind: ModelKind) -> Sequence[Recipe]:
        """Every recipe that could be asked for: pure, cheap, and the same on every machine."""
        ...

    def baseline(self, kind: ModelKind) -> Recipe | None:
        """The recipe of the unoptimized model at source precision, where this engine runs it."""
        ...

    def refusal(self, recipe: Recipe, assessment: Assessment, device: Device) -> str | None:
        """Why ``recipe`` makes no sense for this model on this device, in one sentence; ``None`` where it does."""
        ...

    def reason(self, recipe: Recipe, assessment: Assessment, device: Device) -> str:
        """Why ``recipe`` is worth trying, in one sentence that names the facts."""
        ...

    def devices(self) -> Sequence[EngineDevice]:
        """The devices that the engine itself lists, its CPU included."""
        ...

    def build(self, recipe: Recipe, model: Path, folder: Path, calibration: Sequence[Arrays]) -> None:
        """Make the variant of ``model`` in the empty ``folder``. ``calibration``: one mapping an item, batch of one.

        Raises UnsupportedError when the engine can't take this model (it lacks an operator), BuildError when it should have.
        """
        ...

    def load(self, recipe: Recipe, folder: Path, threads: int) -> Runner | Generator:
        """Open the variant in ``folder`` for ``threads`` inference threads."""
        ...


@runtime_checkable
class Choosy(Protocol):
    """A framework whose speed and memory say something on some devices alone."""

    def unmeasured(self, device: Device) -> str | None:
        """Why they say nothing on this device, in one sentence; ``None`` where they do."""
        ...


@runtime_checkable
class Accelerated(Protocol):
    """A framework that knows which tunings are worth trying."""

    def accelerations(self, assessment: Assessment, device: Device) -> Mapping[str, Sequence[str | int]]:
        """Tuning key -> values that may make variants of this model faster or leaner on this device, beside what the engine chooses itself."""
        ...


@runtime_checkable
class Helped(Protocol):
    """A framework that builds some models with distributions that others do without."""

    def helpers(self, assessment: Assessment) -> Sequence[str]:
        """Distributions that this model is built with, beside those of the framework: their versions are part of its variants' cache keys."""
        ...


@runtime_checkable
class Placing(Protocol):
    """A framework that chooses itself where its variants run, whatever their recipes say."""

    def place(self, recipe: Recipe, device: Device) -> str:
        """The kind of device, as the framework lists it: ``CPU``, or ``GPU`` for one with memory of its own."""
        ...


@runtime_checkable
class Tokenizing(Protocol):
    """A framework that turns texts into the tokens of a model that comes in a form of its own (a GGUF file)."""

    def tokenizer(self, model: Path) -> "Tokenizer":
        """In a worker."""
        ...


class Tokenizer(Encoding, Protocol):
    """What turns texts into a model's tokens."""

    @property
    def size(self) -> int:
        """Numbers that tokens may have."""
        ...

    @property
    def mark(self) -> int | None:
        """The token that marks a text's begin, else its end; ``None`` where the model has neither."""
        ...


@runtime_checkable
class Metric(Protocol):
    """A sensor in the worker. Percentiles and intervals are made elsewhere, for every metric alike.

    ``units``: part -> unit of each number that it reads (``s``, ``bytes``, ``proportion``, ``ratio``, or any other sign); a metric of one
    number has its own name as its only part. ``per`` says when it is armed and read: "call" (around every call), "start" (just before
    loading, until the first call has returned), "process" (just before loading, until the first few calls have returned) or "block"
    (around seconds of calls, one after the other).
    """

    name: str
    units: Mapping[str, str]
    per: str

    def unsupported(self) -> str | None:
        """Why this sensor can't be read here, in one sentence; ``None`` where it can."""
        ...

    def arm(self) -> None:
        """Start."""
        ...

    def read(self, calls: int) -> Mapping[str, float]:
        """The numbers since ``arm``, by part: ``{"footprint": ..., "peak": ...}``; the runner was called ``calls`` times since.

        Raises UnsupportedError where it turns out that it can't tell for this variant.
        """
        ...


@runtime_checkable
class Settling(Protocol):
    """A "process" metric that tells the first call from later ones."""

    def settle(self) -> None:
        """The first call has returned."""
        ...


@runtime_checkable
class Sparing(Protocol):
    """A metric of which a share need not count. A claim on such a part is proven only when it holds with that share and without it."""

    spare: Mapping[str, str]
    """Part -> another of its parts, the share of it that a device might do without."""


@runtime_checkable
class Slow(Protocol):
    """A metric of blocks whose sensor needs them longer than usual."""

    block_seconds: float
    """How long each lasts at least."""


class Task(Protocol):
    """Runs one task in a fresh worker process and hands back its answer."""

    def __call__(self, task: str, arguments: Mapping[str, Any], *, subject: str, timeout: float) -> Any:
        """Raises WorkerError when the process fails, and the task's own EdgeError when the task refuses."""
        ...


class TurnSampler(Protocol):
    """Two sides that take turns, in pairs of processes."""

    @property
    def pairs(self) -> int:
        """How many pairs of processes there are."""
        ...

    def round(self, pair: int) -> float:
        """One more round of this pair, in random order: ln(baseline's seconds a call / variant's seconds a call)."""
        ...

    @property
    def free(self) -> bool:
        """Whether nothing else ran on the cores when the last round began."""
        ...

    def renew(self) -> int:
        """End the processes so far, start one further pair; its number."""
        ...

    def wait(self) -> bool:
        """Wait until nothing else runs on the cores; ``False`` when patience is spent."""
        ...

    def seconds(self) -> float:
        """Spent on sampling so far."""
        ...


class SeriesSampler(Protocol):
    """One variant, alone."""

    def more(self, count: int) -> NDArray[np.float64]:
        """``count`` more samples, one a call or a block of calls, in the order they were taken."""
        ...

    def noise(self) -> Mapping[str, float]:
        """What the machine did meanwhile, as in :attr:`pytest_edgeai.records.Measurement.noise`; facts that can't be read are absent."""
        ...

    def seconds(self) -> float:
        """Spent on sampling so far."""
        ...
