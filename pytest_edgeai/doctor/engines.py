"""Engines: each framework that is known here, tried in workers with tiny models of known outputs."""

import functools
import importlib.metadata
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from pytest_edgeai import assess as assessing
from pytest_edgeai import registry
from pytest_edgeai.distributions import installed
from pytest_edgeai.doctor import language_probe, llamacpp, probe
from pytest_edgeai.doctor.remedies import mend
from pytest_edgeai.errors import EdgeError, WorkerError
from pytest_edgeai.measure.process import CRASHED
from pytest_edgeai.protocols import Choosy, Framework, Task
from pytest_edgeai.records import Assessment, Device, EngineDevice, ModelKind, Recipe, Record, Target
from pytest_edgeai.registry import Registry

TINY: Final[dict[ModelKind, str]] = {"onnx": probe.MODEL, "huggingface": language_probe.MODEL}
"""Kind -> the file or folder of its tiny model."""


class RecipeTrial(Record, frozen=True, kw_only=True):
    """What came of one recipe on a tiny model."""

    recipe: str
    kind: ModelKind
    """Of the model."""
    state: Literal["works", "fails", "refused"]
    error: float | None = None
    """Of the outputs: root mean square of the differences, as a share of the outputs' own."""
    seconds: float | None = None
    """To build, load and run it; without starting the worker."""
    placement: dict[str, str] = {}  # noqa: RUF012 - msgspec makes a new one for each
    problem: str = ""
    mend: str = ""


class Engine(Record, frozen=True, kw_only=True):
    """One framework that is known here."""

    name: str
    state: Literal["works", "fails", "absent"]
    """``works``: everything that was tried works; ``absent``: not installed."""
    versions: dict[str, str] = {}  # noqa: RUF012
    devices: tuple[EngineDevice, ...] = ()
    """That it lists itself."""
    trials: tuple[RecipeTrial, ...] = ()
    problem: str = ""
    mend: str = ""


def examine(
    found: Registry, device: Device, target: Target, task: Task, say: Callable[[str], None], timeout: float
) -> Iterator[Engine]:
    """One framework after the other, in the registry's order."""
    with tempfile.TemporaryDirectory(prefix="pytest-edgeai-") as folder:
        tiny = functools.cache(functools.partial(_tiny, Path(folder), task, timeout))
        for framework in found.frameworks.values():
            versions = registry.versions(framework)
            if versions is None:
                lacking = _lacking(framework)
                yield Engine(
                    name=framework.name,
                    state="absent",
                    problem=f"{' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not installed",
                    mend=_install(framework, lacking, device),
                )
                continue
            say(f"probing {framework.name}")
            patient = _Patient(framework, versions, found.modules, device, task, timeout)
            yield patient.examined(target, tiny)


class _Patient:
    """One installed framework; whatever it does, it is told in one line and the next one's turn comes."""

    def __init__(
        self,
        framework: Framework,
        versions: dict[str, str],
        modules: Sequence[str],
        device: Device,
        task: Task,
        timeout: float,
    ) -> None:
        self._framework, self._versions, self._modules = framework, versions, list(modules)
        self._device, self._task, self._timeout = device, task, timeout

    def examined(self, target: Target, tiny: "Callable[[ModelKind], _Model | str]") -> Engine:
        name = self._framework.name
        engine = Engine(name=name, state="works", versions=self._versions)
        try:
            listed = self._ask("devices", framework=name)
            own = tuple(msgspec.convert(one, EngineDevice) for one in listed)
        except (EdgeError, msgspec.ValidationError) as error:
            return self._failed(engine, f"it can't list its devices: {_told(error)}")
        engine = msgspec.structs.replace(engine, devices=own)
        here = msgspec.structs.replace(self._device, engines={name: own})
        try:
            trials: list[RecipeTrial] = []
            for kind in TINY:
                if recipes := _to_try(self._framework, target, kind):
                    if isinstance(model := tiny(kind), str):
                        return self._failed(engine, f"it can't be tried: {model}")
                    trials += self._trials(recipes, model, here)
        except Exception as error:  # noqa: BLE001 - a plugin's own code, called in this process
            return self._failed(engine, f"its plugin failed: {type(error).__name__}: {' '.join(str(error).split())}")
        if wanted := outside(self._versions, name):
            told = f"the versions that were tried are {' and '.join(wanted)}"
            how = f"pip install {' '.join(repr(one) for one in wanted)}"
            engine = msgspec.structs.replace(engine, problem=told, mend=how)
        elif isinstance(self._framework, Choosy) and (why := self._framework.unmeasured(here)):
            engine = msgspec.structs.replace(engine, problem=why.rstrip("."))
        state: Literal["works", "fails"] = "fails" if any(trial.state == "fails" for trial in trials) else "works"
        return msgspec.structs.replace(engine, state=state, trials=tuple(trials))

    def _trials(self, recipes: Iterable[Recipe], model: "_Model", here: Device) -> Iterator[RecipeTrial]:
        """The first recipe of every precision that is not refused; the refusals of precisions that have none."""
        tried: set[str] = set()
        refused: dict[str, RecipeTrial] = {}
        for recipe in recipes:
            if recipe.precision in tried:
                continue
            refusal = self._framework.refusal(recipe, model.assessment, here)
            if refusal is not None:
                trial = RecipeTrial(recipe=recipe.name, kind=model.kind, state="refused", problem=refusal)
                refused.setdefault(recipe.precision, trial)
                continue
            tried.add(recipe.precision)
            yield self._tried(recipe, model)
        yield from (trial for precision, trial in refused.items() if precision not in tried)

    def _tried(self, recipe: Recipe, model: "_Model") -> RecipeTrial:
        try:
            answer = self._ask("probe", recipe=msgspec.to_builtins(recipe), model=str(model.path))
            trial = msgspec.convert(answer, probe.Trial)
        except (EdgeError, msgspec.ValidationError) as error:
            problem = _told(error)
            return RecipeTrial(
                recipe=recipe.name, kind=model.kind, state="fails", problem=problem, mend=self._mend(problem)
            )
        return RecipeTrial(
            recipe=recipe.name,
            kind=model.kind,
            state="works",
            error=trial.error,
            seconds=trial.seconds,
            placement=trial.placement,
        )

    def _ask(self, task: str, **arguments: object) -> Any:
        return self._task(
            task, {"modules": self._modules, **arguments}, subject=self._framework.name, timeout=self._timeout
        )

    def _failed(self, engine: Engine, problem: str) -> Engine:
        return msgspec.structs.replace(engine, state="fails", problem=problem, mend=self._mend(problem))

    def _mend(self, problem: str) -> str:
        return mend(problem, self._device, self._framework.distributions)


def outside(versions: Mapping[str, str], extra: str) -> list[str]:
    """What this package's extra of this name asks for where an installed version is another: ``openvino>=2025.2``."""
    from packaging.requirements import Requirement

    asked = [Requirement(text) for text in importlib.metadata.requires("pytest-edgeai") or ()]
    return [
        f"{one.name}{one.specifier}"
        for one in asked
        if one.name in versions
        and (one.marker is None or one.marker.evaluate({"extra": extra}))
        and not one.specifier.contains(versions[one.name], prereleases=True)
    ]


class _Model(Record, frozen=True, kw_only=True):
    """A tiny one."""

    kind: ModelKind
    path: Path
    assessment: Assessment


def _tiny(folder: Path, task: Task, timeout: float, kind: ModelKind) -> _Model | str:
    """Made in ``folder``; or why there is none."""
    path = folder / TINY[kind]
    try:
        task("probe-model", {"path": str(path), "kind": kind}, subject="the tiny model", timeout=timeout)
        return _Model(kind=kind, path=path, assessment=assessing.assess(assessing.digest_model(path), task))
    except EdgeError as error:
        return f"the tiny model can't be made ({_told(error)})"


def _to_try(framework: Framework, target: Target, kind: ModelKind) -> list[Recipe]:
    baseline = framework.baseline(kind)
    catalogue = framework.catalogue(target, kind)
    # What needs no calibration first: it is the simplest, and tells an engine's ills apart from its quantizer's.
    return [*([baseline] if baseline else []), *sorted(catalogue, key=lambda recipe: recipe.calibrated)]


def _lacking(framework: Framework) -> list[str]:
    there = installed(framework.distributions)
    return [name for name in framework.distributions if name not in there]


def _install(framework: Framework, lacking: Sequence[str], device: Device) -> str:
    how = registry.installed_by(framework, lacking)
    return llamacpp.compiled(device, how) if llamacpp.DISTRIBUTION in lacking else how


def _told(error: Exception) -> str:
    """The cause in one line."""
    text = error.cause.removesuffix(CRASHED) if isinstance(error, WorkerError) else str(error)
    line = " ".join(text.split())
    return line if len(line) <= 400 else f"{line[:400]}..."
