"""Results: what the processes of a run wrote into its journal, put together."""

import importlib.metadata
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from pytest_edgeai import registry, strategy
from pytest_edgeai.journal import read
from pytest_edgeai.records import (
    SCHEMA,
    Choice,
    Device,
    Figure,
    Front,
    GateResult,
    Measurement,
    ModelResult,
    Refusal,
    Results,
    Search,
    Stage,
    Target,
    VariantResult,
)
from pytest_edgeai.registry import Registry
from pytest_edgeai.settings import PATHS, Settings
from pytest_edgeai.tasks import PREFIX


class _Findings:
    """What the journal says about one model."""

    def __init__(self) -> None:
        self.header: ModelResult | None = None
        self.variants: dict[str, VariantResult] = {}
        self.figures: dict[str, dict[str, Figure]] = {}
        self.placements: dict[str, dict[str, str]] = {}
        self.measurements: list[Measurement] = []
        self.refusals: dict[str, Refusal] = {}
        """By engines that turned out not to take the model when they were to build it."""
        self.choice: Choice | None = None
        self.front: Front | None = None
        self.search: Search | None = None
        self.progression: tuple[Stage, ...] = ()

    def add(self, kind: str, fact: Any) -> None:
        match kind:
            case "study":
                self.header = msgspec.convert(fact, ModelResult)
            case "variant":
                found = msgspec.convert(fact, VariantResult)
                seen = self.variants.get(found.name)
                # With several processes one builds a variant and the others find it in the cache.
                if seen is None or found.state == "failed" or seen.state == "cached":
                    self.variants[found.name] = found
            case "figure":
                self.figures.setdefault(fact["variant"], {})[fact["quantity"]] = msgspec.convert(fact["figure"], Figure)
            case "placement":
                self.placements[fact["variant"]] = fact["placement"]
            case "measurement":
                self.measurements.append(msgspec.convert(fact, Measurement))
            case "refusal":
                found_late = msgspec.convert(fact, Refusal)
                self.refusals.setdefault(found_late.recipe, found_late)
            case "progression":
                self.progression = msgspec.convert(fact, tuple[Stage, ...])
            case "search":
                self.search = msgspec.convert(fact, Search)
            case "front":
                self.front = msgspec.convert(fact, Front)
            case "choice":
                self.choice = msgspec.convert(fact, Choice)
            case _:
                raise ValueError(f"The journal has a fact of an unknown kind: {kind}.")

    def result(self, header: ModelResult, target: Target) -> ModelResult:
        # The baseline first, then in the target's order of preference.
        kind = header.model.kind
        known = sorted(self.variants.values(), key=lambda v: (v.role, strategy.rank(target, v.framework, kind), v.name))
        variants = (
            msgspec.structs.replace(v, figures=self.figures.get(v.name, {}), placement=self.placements.get(v.name, {}))
            for v in known
        )
        model = msgspec.structs.replace(header.model, path=_from_here(header.model.path))
        return msgspec.structs.replace(
            header,
            model=model,
            refusals=(*header.refusals, *self.refusals.values()),
            variants=tuple(variants),
            # What a search chose goes before what edge_choice did, which chose among fewer.
            choice=self.search.choice if self.search is not None else self.choice,
            front=self.search.front if self.search is not None else self.front,
            search=self.search,
            progression=self.progression,
            measurements=tuple(self.measurements),
        )


def gather(
    folder: Path,
    *,
    settings: Settings,
    registry_: Registry,
    target: Target,
    device: Device,
    standing: Literal["native", "stand-in", "foreign"],
    started: datetime,
    command: str,
) -> Results:
    """Everything that a run found out; ``folder`` is where its processes wrote their journals."""
    models: dict[str, _Findings] = {}
    gates: list[GateResult] = []
    for kind, model, fact in read(folder):
        if kind == "gate":
            gates.append(msgspec.convert(fact, GateResult))
        elif model:
            models.setdefault(model, _Findings()).add(kind, fact)
    return Results(
        schema=SCHEMA,
        tool=importlib.metadata.version("pytest-edgeai"),
        run=folder.name,
        release=settings.release or "",
        started=started.isoformat(timespec="seconds"),
        seconds=(datetime.now(UTC) - started).total_seconds(),
        command=command,
        target=target,
        device=device,
        standing=standing,
        versions=_versions(registry_),
        settings={name: _portable(name, getattr(settings, name)) for name in settings.__slots__},
        models=tuple(found.result(found.header, target) for found in models.values() if found.header is not None),
        gates=tuple(gates),
    )


def frameworks(folder: Path) -> list[str]:
    """Those that something was to be built with."""
    return sorted({fact["framework"] for kind, _, fact in read(folder) if kind == "variant"})


def selected(folder: Path) -> int:
    """How many tests that are expected to decide gates were selected."""
    return max((fact for kind, _, fact in read(folder) if kind == "selected"), default=0)


def _portable(name: str, value: Any) -> Any:
    return _from_here(value) if name in PATHS and value else value


def _from_here(path: str) -> str:
    """Relative to the working folder where it lies there: a report that is passed on should not tell of somebody's folders."""
    if path.startswith(PREFIX):  # which may name several files
        return path.replace(f"{Path.cwd()}{os.sep}", "")
    return Path(path).relative_to(Path.cwd()).as_posix() if Path(path).is_relative_to(Path.cwd()) else path


def _versions(found: Registry) -> dict[str, str]:
    own = ("pytest-edgeai", "pytest", "numpy", "scipy")
    versions = {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in own}
    for framework in found.frameworks.values():
        versions |= registry.versions(framework) or {}
    return versions
