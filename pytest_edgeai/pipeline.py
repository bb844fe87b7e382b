"""The pipeline: the program in the order of its data. Read this first.

::

    target, device ─┐
    model ─ assess ─┴─ strategy ─ plan of recipes ─ build ─ variants ─ measure ─ samples ─ judge ─ verdicts ─ journal ─ report
    dataset ────────────────────────────────────────────────────────────┘

Everything is lazy: a stage runs when a test asks for what it makes, and only once in a run. :class:`Run` holds what is common to all
models, :class:`Study` takes one model through the stages from top to bottom.
"""

import dataclasses
import functools
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import filelock
import msgspec
import numpy as np
from numpy.typing import NDArray

from pytest_edgeai import assess as assessing
from pytest_edgeai import build as building
from pytest_edgeai import device as devices
from pytest_edgeai import folders, registry, scoring, screening, strategy
from pytest_edgeai.dataset import CALIBRATION, CONFIRMATION, EVALUATION, SELECTION, Dataset, ItemFiles
from pytest_edgeai.dataset import read as read_dataset
from pytest_edgeai.errors import DatasetError, EdgeError, ModelError, UnsupportedError, UsageError
from pytest_edgeai.evaluation import Evaluation
from pytest_edgeai.journal import Journal
from pytest_edgeai.judge import comparisons, figures
from pytest_edgeai.judge.comparisons import Finding
from pytest_edgeai.judge.quantities import UNITS, Claim, Decider, Subject
from pytest_edgeai.judge.rules import RIGOR, Rules
from pytest_edgeai.measure.bench import Bench, Setup, readings
from pytest_edgeai.measure.hostlock import HostLock
from pytest_edgeai.measure.process import run_task
from pytest_edgeai.measure.solo import Solo
from pytest_edgeai.measure.turns import Turns
from pytest_edgeai.progress import Progress
from pytest_edgeai.records import (
    SCHEMA,
    Assessment,
    Choice,
    Device,
    EngineDevice,
    Figure,
    Model,
    ModelKind,
    ModelResult,
    Outcome,
    Plan,
    Recipe,
    Target,
    Variant,
    VariantResult,
    Verdict,
    digest_of,
)
from pytest_edgeai.settings import Settings

KINDS: dict[str, ModelKind] = {".onnx": "onnx"}
"""File suffix -> kind of model."""
SCORE_TIMEOUT = 3600.0
"""Seconds to run every evaluation item through one variant."""
PROCESSES = 5
"""Fresh processes for a gate on a quantity that is one number a process."""
_DEVICE_BOUND = ("latency", "speedup", "memory", "cold_start")
"""Quantities that only a device of the target can show."""


@dataclasses.dataclass(frozen=True, slots=True)
class Declaration:
    """A model as a test declares it."""

    path: Path
    dataset: Path | None
    score: str | Callable[..., float]

    @property
    def kind(self) -> ModelKind:
        """By the file's name alone. Raises UsageError."""
        if self.path.suffix not in KINDS:
            known = ", ".join(KINDS)
            raise UsageError(f"The model {self.path} is of no kind that is known by its name's ending ({known}).")
        return KINDS[self.path.suffix]


class Run:
    """What one invocation shares between its models."""

    def __init__(self, settings: Settings, plugins: Iterable[str], folder: Path, who: str, progress: Progress) -> None:
        self.settings = settings
        self.folder = folder
        self.say = progress.say
        self.working = progress.working
        self.journal = Journal(folder, who)
        self.registry = registry.find(plugins)
        self._detected = devices.detect()
        self.target = self._target(settings.target)
        standing = devices.standing(self._detected, self.target)
        self._may_stand_in = standing == "stand-in"
        self.standing = "foreign" if self._may_stand_in and not settings.stand_in else standing
        """What the device is to the target; a stand-in only when the user accepts it."""
        self._studies: dict[Declaration, Study] = {}

    @functools.cached_property
    def device(self) -> Device:
        """As detected, with what the installed frameworks list themselves (asked in a worker)."""
        listed = run_task("devices", {"modules": list(self.registry.modules)}, subject="device lists", timeout=300)
        broken = {name: problem for name, problem in listed.items() if isinstance(problem, str)}
        for name, problem in broken.items():
            self.say(f"{name} can't be used here: {problem}")
        engines = {
            name: tuple(msgspec.convert(d, EngineDevice) for d in found)
            for name, found in listed.items()
            if name not in broken
        }
        return msgspec.structs.replace(self._detected, engines=engines)

    @functools.cached_property
    def installed(self) -> set[str]:
        """Names of the frameworks that are installed and answer."""
        return set(self.device.engines)

    @functools.cached_property
    def cache(self) -> building.Cache:
        """Variants on disk."""
        fallback = self.folder / "cache"
        root = Path(self.settings.cache) if self.settings.cache else folders.cache()
        if root is None:
            self.say(
                "this user has no home folder, so this run keeps no variants; --edge-cache names a folder for them"
            )
        return building.Cache(root or fallback, self.say, fallback=fallback)

    @functools.cached_property
    def lock(self) -> HostLock:
        """This machine's."""
        return HostLock(self.working)

    def rules(self, rigor: str) -> Rules:
        """Error rates and effort of a comparison."""
        rules = RIGOR[rigor]
        return rules if self.settings.budget is None else dataclasses.replace(rules, budget=self.settings.budget)

    @property
    def here(self) -> str:
        """The device's name, and whether it stands in for the target's."""
        return self._detected.name + (f" (standing in for {self.target.name})" if self.standing == "stand-in" else "")

    def why_not_measured(self, recipe: Recipe | None = None) -> str | None:
        """Why this device can't show speed and memory for the target (by this recipe); ``None`` where it can."""
        accelerators = self.target.hardware.accelerators
        if accelerators and recipe is not None and recipe.options.get("device", "CPU") == "CPU":
            return f"speed and memory on {self.target.name} are shown only on {' or '.join(accelerators)}; {recipe.name} runs on the CPU."
        if self.standing != "foreign":
            return None
        accept = " Or accept it as a stand-in: --edge-stand-in." if self._may_stand_in else ""
        return (
            f"speed and memory are shown only by a device of the target {self.target.name} ({self.target.title}); "
            f"this is {self._detected.cpu} ({self._detected.system} {self._detected.architecture}).{accept}"
        )

    def catalogue(self, kind: ModelKind) -> list[Recipe]:
        """Recipes that could be asked for, by name alone: nothing is read or detected."""
        return strategy.catalogue(self.registry.frameworks.values(), self.target, kind, self.settings.recipe)

    def study(self, declaration: Declaration) -> "Study":
        """The one study of a declared model."""
        if declaration not in self._studies:
            namesake = any(known.path.stem == declaration.path.stem for known in self._studies)
            told = f" ({declaration.dataset.name if declaration.dataset else 'no data'}, {declaration.path})"
            self._studies[declaration] = Study(
                self, declaration, _shown(declaration.path.stem + (told if namesake else ""))
            )
        return self._studies[declaration]

    def _target(self, name: str) -> Target:
        if name != "auto":
            return self.registry.target(name)
        fitting = [t for t in self.registry.targets.values() if devices.standing(self._detected, t) == "native"]
        return max(fitting, key=lambda target: target.specificity)


class Study:
    """One model, with its dataset and score, through all the stages. Satisfies :class:`pytest_edgeai.judge.quantities.Decider`."""

    def __init__(self, run: Run, declaration: Declaration, name: str) -> None:
        self.run = run
        self._name = name
        self.declaration = declaration
        self._built: dict[str, Variant | EdgeError] = {}
        self._processes: dict[str, dict[str, list[float]]] = {}
        self._figures: dict[str, dict[str, Figure]] = {}
        self._verdicts: dict[Claim, Verdict] = {}
        self._seed = int(digest_of([run.folder.name, str(declaration.path)])[:8], 16)

    # 1. What is there: model, assessment, dataset --------------------------------------------------------------------------

    @functools.cached_property
    def _source(self) -> Model:
        """The named file, digested but not parsed. Raises ModelError."""
        return assessing.digest_model(self.declaration.path)

    @functools.cached_property
    def model(self) -> Model:
        """The source, with the digest of all its files. Raises EdgeError."""
        return msgspec.structs.replace(self._source, name=self._name, digest=self.assessment.digest)

    @functools.cached_property
    def _key(self) -> str:
        """Tells this study's facts from those of the same model with other data, alike in all processes of a run."""
        declared = self.declaration
        return digest_of([self.model.digest, str(declared.dataset), str(declared.score)])[:16]

    @functools.cached_property
    def assessment(self) -> Assessment:
        """Read in a worker once, then kept by digest. Raises ModelError or WorkerError."""
        source = self._source
        kept = self.run.cache.root / "assessments" / f"{source.digest}-{SCHEMA}.json"
        try:
            return msgspec.json.decode(kept.read_bytes(), type=Assessment)
        except (OSError, msgspec.DecodeError):
            found = assessing.assess(source, run_task)
        if found.digest == source.digest:  # else it has weights in other files, which may change under the same name
            try:
                _publish(kept, msgspec.json.encode(found))
            except OSError as error:
                self.run.say(f"the assessment can't be kept in {kept.parent}: {error.strerror or error}")
        return found

    @functools.cached_property
    def dataset(self) -> Dataset | None:
        """The items. Raises DatasetError."""
        path = self.declaration.dataset
        return read_dataset(path, self.assessment) if path else None

    # 2. What to make of it: plan --------------------------------------------------------------------------------------------

    @functools.cached_property
    def plan(self) -> Plan:
        """Recipes with their reasons and refusals with their sentences."""
        frameworks, kind = self.run.registry.frameworks, self.model.kind
        recipes = strategy.catalogue(frameworks.values(), self.run.target, kind, self.run.settings.recipe)
        plan = strategy.plan(
            recipes,
            strategy.baseline_of(
                [f for f in frameworks.values() if f.name in self.run.installed], self.run.target, kind
            ),
            frameworks,
            self.run.installed,
            self.assessment,
            self.run.target,
            self.run.device,
            self.model.name,
            len(self.dataset.indexes(CALIBRATION)) if self.dataset is not None else 0,
        )
        self._note("study", self._header(plan))
        return plan

    def refusal(self, recipe: str) -> str | None:
        """Why there is no variant of this name; ``None`` where there is one."""
        return next((refusal.reason for refusal in self.plan.refusals if refusal.recipe == recipe), None)

    # 3. Making it: variants -------------------------------------------------------------------------------------------------

    def variant(self, name: str) -> Variant:
        """Built or from the cache; a failure is told again each time it is asked for. Raises EdgeError."""
        if name not in self._built:
            recipe = self._recipe(name)
            try:
                self._built[name], cached = self._build(recipe)
            except EdgeError as error:
                self._built[name] = error
                self._note_variant(recipe, "failed", str(error))
            else:
                self._note_variant(recipe, "cached" if cached else "built", built=self._built[name])
        built = self._built[name]
        if isinstance(built, EdgeError):
            raise built
        return built

    def _build(self, recipe: Recipe) -> tuple[Variant, bool]:
        data = self.dataset if recipe.calibrated else None
        ingredients = building.Ingredients(
            recipe=recipe,
            model=self.model,
            versions=registry.versions(self.run.registry.framework(recipe.framework)) or {},
            modules=self.run.registry.modules,
            sample=self._items.timed(),
            calibration=self._items.part(CALIBRATION) if data is not None else None,
            calibration_digest=data.digest(data.indexes(CALIBRATION)) if data is not None else "",
        )
        return building.build(ingredients, self.run.cache, run_task, self.run.lock.building, self.run.working)

    # 4. Measuring it: samples -----------------------------------------------------------------------------------------------

    @functools.cached_property
    def _setup(self) -> Setup:
        return Setup(modules=self.run.registry.modules, threads=self.run.device.cores, inputs=self._items.timed())

    def processes(self, name: str, quantity: str) -> list[float]:
        """A quantity that is one number a process, from fresh processes. Raises UnsupportedError where it can't be read."""
        if name not in self._processes:
            columns: dict[str, list[float]] = {}
            begin = time.perf_counter()
            for _ in range(PROCESSES):
                with Bench(self.variant(name), self._setup, screening.METRICS) as bench:
                    for part, values in readings([bench]).items():
                        columns.setdefault(part, []).extend(values)
            self._processes[name] = columns
            self._note("measurement", screening.processes(name, columns, "gate", time.perf_counter() - begin))
            for part, values in columns.items():
                self._note_figure(name, part, figures.of_processes(values, UNITS[part]))
        columns = self._processes[name]
        if quantity not in columns:
            raise UnsupportedError(f"{quantity} can't be read on this machine.")
        return columns[quantity]

    @functools.cached_property
    def _evaluation(self) -> Evaluation:
        data = self._data()
        return Evaluation(data, self._items, self.declaration.score, self.plan.baseline.name, self._answer)

    def _answer(self, name: str, items: Path, outputs: Path) -> list[int]:
        with (
            self.run.lock.building(),
            self.run.working(f"scoring {name}"),
            Bench(self.variant(name), self._setup) as bench,
        ):
            return bench.score(items, outputs, self._batched_outputs, timeout=SCORE_TIMEOUT)

    @functools.cached_property
    def _batched_outputs(self) -> list[str]:
        """Outputs whose first axis is the inputs' first axis, or of length 1 as they are fed."""
        batch = {1, *(spec.shape[0] for spec in self.assessment.inputs if spec.shape)}
        return [spec.name for spec in self.assessment.outputs if spec.shape and spec.shape[0] in batch]

    def scores(self, name: str, part: str) -> NDArray[np.float64]:
        """One score an item of a part of the dataset, in its order. Raises EdgeError."""
        if len(self._data().indexes(part)) == 0:
            raise DatasetError(
                f"The dataset {self.declaration.dataset} has no {part} items: {len(self._data())} items are too few. "
                "Each item goes by its content into calibration (20 %), selection (30 %) or confirmation (50 %)."
            )
        if name not in self._evaluation:
            # The report compares all variants on the same items.
            self._note_figure(name, "accuracy", figures.of_scores(self._evaluation.scores(name, EVALUATION)))
        return self._evaluation.scores(name, part)

    # 5. Choosing: screening -------------------------------------------------------------------------------------------------

    @functools.cached_property
    def choice(self) -> Choice:
        """The recommended variant: screened once in a run, on selection items and samples of its own."""
        if not self.plan.offers:
            raise UsageError(
                f"No recipe is offered for {self.model.name} on {self.run.target.name}: "
                + "; ".join(r.reason for r in self.plan.refusals)
            )
        names = [offer.recipe.name for offer in self.plan.offers]
        for name in [self.plan.baseline.name, *names]:
            _told(self.variant, name)  # building needs the lock in its other mode
        kept = self._folder.parent / f"{self._key}-screening.json"
        with self.run.lock.measuring():
            if kept.is_file():  # another process of this run was faster
                screened = msgspec.json.decode(kept.read_bytes(), type=dict[str, dict[str, Figure]])
            else:
                screened = self._screen([self.plan.baseline.name, *names])
                _publish(kept, msgspec.json.encode(screened))
        baseline = screened.pop(self.plan.baseline.name)
        if not screened:
            told = "; ".join(str(self._built[name]) for name in names if isinstance(self._built.get(name), EdgeError))
            raise ModelError(f"No variant of {self.model.name} could be measured: {told}")
        recipes = [offer.recipe for offer in self.plan.offers]
        choice = strategy.choose(screened, recipes, baseline, self.run.target)
        self._note("choice", choice)
        return choice

    def _screen(self, names: Sequence[str]) -> dict[str, dict[str, Figure]]:
        """Variant -> its estimates; without those that fail. The first one is the baseline, which must not."""
        names = [name for name in names if not isinstance(self._built.get(name), EdgeError) or name == names[0]]
        screened = {}
        with self.run.working("screening", total=len(names)) as step:
            for name in names:
                step(name)
                try:
                    screened[name] = self._screen_one(name)
                except EdgeError as error:
                    if name == names[0]:
                        raise
                    self._built[name] = error
                    self._note_variant(self._recipe(name), "failed", str(error))
        return screened

    def _screen_one(self, name: str) -> dict[str, Figure]:
        variant = self.variant(name)
        found = screening.Screened()
        if self.run.why_not_measured(variant.recipe) is None:
            baseline, limit = self.variant(self.plan.baseline.name), self.run.target.limits.speedup
            found = screening.screen(variant, baseline, self._setup, limit=limit, seed=self._next_seed())
            self._note("placement", {"variant": name, "placement": found.placement})
        found.figures["size"] = figures.exact(variant.bytes, "bytes")
        for quantity, figure in found.figures.items():
            self._note_figure(name, quantity, figure)
        for measurement in found.measurements:
            self._note("measurement", measurement)
        if self.dataset is not None:
            # Only selection items have a say in the choice; gates on it are decided on the others.
            found.figures["accuracy"] = figures.of_scores(self.scores(name, SELECTION))
        return found.figures

    # 6. Judging it: verdicts ------------------------------------------------------------------------------------------------

    def subject(self, name: str, decider: Decider, rigor: str, *, is_choice: bool = False) -> Subject:
        """A variant (or the baseline) as a test sees it. ``decider`` passes its questions on to this study."""
        baseline = Subject(self.plan.baseline.name, self.plan.baseline, decider, rigor)
        return (
            baseline
            if name == baseline.name
            else Subject(name, self._recipe(name), decider, rigor, baseline, is_choice=is_choice)
        )

    def decide(self, claim: Claim) -> Verdict:
        """The verdict on a claim, decided once in a run."""
        if claim not in self._verdicts:
            canonical, turned = _canonical(claim, self.plan.baseline.name)
            if canonical not in self._verdicts:
                self._verdicts[canonical] = self._decided_once(canonical)
            if claim != canonical:
                self._verdicts[claim] = _as_claimed(self._verdicts[canonical], claim, turned)
        return self._verdicts[claim]

    def _decided_once(self, claim: Claim) -> Verdict:
        """Among all processes of a run, too: the first one decides, the others take its word."""
        _ = self.plan  # told here, where an error is the study's and not the claim's
        word = self._folder.parent / f"{self._key}-{digest_of(dataclasses.astuple(claim))[:16]}.json"
        with filelock.FileLock(word.with_suffix(".lock")):
            if word.is_file():
                return msgspec.json.decode(word.read_bytes(), type=Verdict)
            verdict = self._decided(claim)
            _publish(word, msgspec.json.encode(verdict))
            return verdict

    def _decided(self, claim: Claim) -> Verdict:
        family = claim.quantity.partition(".")[0]
        try:
            for name in filter(None, (self.plan.baseline.name, claim.subject, claim.other)):
                self.variant(name)
            finding = self._find_out(claim)
        except UnsupportedError as reason:
            finding = Finding(Outcome.UNSUPPORTED, None, notes=[str(reason)])
        except EdgeError as error:
            finding = Finding(Outcome.ERROR, None, notes=str(error).splitlines())
        figure = figures.of_finding(finding, claim.unit)
        if figure is not None and claim.other is None and family in ("latency", "speedup"):
            self._note_figure(claim.subject, claim.quantity, figure)
        notes = finding.notes + self._explanation(claim, finding)
        outcome = finding.outcome
        if outcome is Outcome.FAIL and claim.quantity == "speedup" and self._lacks(claim.subject):
            outcome = Outcome.UNSUPPORTED
        return Verdict(
            outcome=outcome,
            claim=str(claim),
            subject=claim.subject,
            quantity=claim.quantity,
            operator=claim.operator,
            limit=claim.limit,
            unit=claim.unit,
            device=self.run.here,
            target=self.run.target.name,
            model=self.model.name,
            estimate=finding.estimate,
            low=_finite(finding.low),
            high=_finite(finding.high),
            confidence=finding.confidence,
            method=finding.method,
            spent=finding.spent,
            seconds=finding.seconds,
            notes=tuple(notes),
        )

    def _find_out(self, claim: Claim) -> Finding:
        """Measure as much as the claim needs."""
        family, _, part = claim.quantity.partition(".")
        rules, operator, limit = self.run.rules(claim.rigor), claim.operator, claim.limit
        missing = self.run.why_not_measured(self._recipe(claim.subject)) if family in _DEVICE_BOUND else None
        if missing:
            raise UnsupportedError(missing)
        if family == "size":
            over = self.variant(claim.other).bytes if claim.other else 1
            return comparisons.exact(self.variant(claim.subject).bytes / over, operator, limit)
        if family == "accuracy":
            return self._find_accuracy(claim)
        if family == "latency" and claim.other and part != "p50":
            raise UnsupportedError(
                "two variants are timed in turns, which shows the ratio of their medians: compare latency.p50, or speedup."
            )
        if family == "speedup" and claim.other:
            raise UnsupportedError("a speed-up is a ratio already: compare it with a number.")
        with self.run.lock.measuring(), self.run.working(f"deciding {claim}"):
            if family == "speedup":
                return self._find_speedup(claim.subject, self.plan.baseline.name, operator, limit, rules)
            if family == "latency" and claim.other:
                # variant / other <= limit says that the variant is at least 1 / limit times as fast.
                mirrored = {"<=": ">=", ">=": "<="}[operator]
                return _inverted(self._find_speedup(claim.subject, claim.other, mirrored, 1 / limit, rules))
            if family == "latency":
                with Solo(self.variant(claim.subject), self._setup, patience=rules.budget) as solo:
                    found = (
                        comparisons.jitter(solo, operator, limit, rules)
                        if part == "jitter"
                        else comparisons.percentile(solo, float(part[1:]) / 100, operator, limit, rules)
                    )
                    self._note("measurement", solo.measurement("gate"))
                    return found
            begin = time.perf_counter()
            baseline = self.processes(claim.other, claim.quantity) if claim.other else None
            variant = self.processes(claim.subject, claim.quantity)
            return comparisons.extremes(variant, operator, limit, baseline, time.perf_counter() - begin)

    def _find_speedup(self, variant: str, baseline: str, operator: str, limit: float, rules: Rules) -> Finding:
        sides = self.variant(baseline), self.variant(variant)
        with Turns(
            *sides,
            self._setup,
            limit=limit,
            pairs=rules.pairs,
            seed=self._next_seed(),
            patience=rules.budget,
        ) as turns:
            found = comparisons.speedup(turns, operator, limit, rules)
            self._note("measurement", turns.measurement("gate"))
        return found

    def _find_accuracy(self, claim: Claim) -> Finding:
        part = CONFIRMATION if claim.fresh else EVALUATION
        variant, rules = self.scores(claim.subject, part), self.run.rules(claim.rigor)
        if claim.other is None:
            return comparisons.proportion(variant, claim.operator, claim.limit, rules)
        return comparisons.accuracy_ratio(variant, self.scores(claim.other, part), claim.operator, claim.limit, rules)

    def figure(self, subject: str, quantity: str) -> Figure:
        """The quantity's estimate with its interval; screened when it isn't known yet. Raises EdgeError."""
        if quantity not in self._figures.get(subject, {}):
            variant = self.variant(subject)
            if quantity == "size":
                self._note_figure(subject, quantity, figures.exact(variant.bytes, "bytes"))
            elif quantity == "accuracy":
                self.scores(subject, EVALUATION)
            elif why := self.run.why_not_measured(variant.recipe):
                raise UnsupportedError(f"{subject} {quantity}: {why}")
            elif quantity == "latency.p99":
                raise UsageError(
                    f"{screening.CALLS} calls are too few to estimate p99; compare it with a limit instead."
                )
            else:
                self.variant(self.plan.baseline.name)
                with self.run.lock.measuring():
                    self._screen_one(subject)
        found = self._figures[subject].get(quantity)
        if found is None:
            raise UnsupportedError(f"{subject} {quantity} can't be read on this machine.")
        return found

    def _lacks(self, name: str) -> bool:
        """Whether the CPU has none of the instruction-set extensions that the variant's recipe needs to be fast."""
        needs, device = self._recipe(name).needs, self.run.device
        known = device.environment.get("isa") != "not readable"
        return bool(needs) and known and not set(needs) & set(device.features)

    def _explanation(self, claim: Claim, finding: Finding) -> list[str]:
        if claim.quantity != "speedup" or finding.outcome is not Outcome.FAIL or not self._lacks(claim.subject):
            return []
        recipe, device = self._recipe(claim.subject), self.run.device
        return [
            f"{recipe.precision} is fast only with one of {', '.join(recipe.needs)}; this CPU has {', '.join(device.features) or 'none that is known'}",
            "measure on a device of the target that has one",
        ]

    # Items on disk, facts in the journal -------------------------------------------------------------------------------------

    @functools.cached_property
    def _folder(self) -> Path:
        """For this process alone."""
        return Path(tempfile.mkdtemp(prefix=f"{self._key}-", dir=_made(self.run.folder)))

    @functools.cached_property
    def _items(self) -> ItemFiles:
        return ItemFiles(_made(self._folder / "items"), self.dataset, self.assessment)

    def _data(self) -> Dataset:
        if self.dataset is None:
            raise UnsupportedError("accuracy needs items to score: give a dataset with --edge-dataset.")
        return self.dataset

    def _next_seed(self) -> int:
        self._seed += 1
        return self._seed

    def _recipe(self, name: str) -> Recipe:
        known = {recipe.name: recipe for recipe in [self.plan.baseline, *(offer.recipe for offer in self.plan.offers)]}
        if name not in known:
            raise UsageError(self.refusal(name) or f"There is no variant named {name}.")
        return known[name]

    def _note(self, kind: str, fact: Any) -> None:
        self.run.journal.write(kind, self._key, fact)

    def _note_figure(self, name: str, quantity: str, figure: Figure) -> None:
        self._figures.setdefault(name, {})[quantity] = figure
        self._note("figure", {"variant": name, "quantity": quantity, "figure": figure})

    def _note_variant(
        self, recipe: Recipe, state: Literal["built", "cached", "failed"], reason: str = "", built: Any = None
    ) -> None:
        planned = next((offer.reason for offer in self.plan.offers if offer.recipe == recipe), "the unoptimized model")
        self._note(
            "variant",
            VariantResult(
                name=recipe.name,
                framework=recipe.framework,
                precision=recipe.precision,
                role="baseline" if recipe == self.plan.baseline else "variant",
                state=state,
                reason=reason or planned,
                bytes=built.bytes if built else None,
                build_seconds=built.build_seconds if built else None,
                key=built.key if built else "",
            ),
        )

    def _header(self, plan: Plan) -> ModelResult:
        data = self.dataset
        return ModelResult(
            model=self.model,
            score=scoring.title(self.declaration.score, labelled=data.labels is not None) if data is not None else "",
            items={name: len(indexes) for name, indexes in data.parts.items()} if data is not None else {},
            assessment=self.assessment,
            refusals=plan.refusals,
            variants=(),
            choice=None,
            measurements=(),
        )


def _shown(name: str) -> str:
    """A file's name as text, whatever the locale's encoding makes of it."""
    return os.fsencode(name).decode("utf-8", "replace")


def _told(action: Callable[[str], object], name: str) -> None:
    """Do it; its failure is kept by the study and told where the variant is used."""
    try:
        action(name)
    except EdgeError:
        return


_OPPOSITE = {">=": "<=", ">": "<=", "<=": ">=", "<": ">="}


def _canonical(claim: Claim, baseline: str) -> tuple[Claim, bool]:
    """The one claim that is decided for all phrasings of a question about speed, and whether its verdict must be turned round.

    So no phrasing buys a second draw. Other quantities can be equal to a limit, or have error rates that depend on the side: there
    only ``<`` and ``>`` are turned, into the opposites of ``>=`` and ``<=``, and what is known exactly is left alone.
    """
    family = claim.quantity.partition(".")[0]
    if family != "accuracy":
        claim = dataclasses.replace(claim, fresh=False)  # only items can be used up
    if claim.quantity == "latency.p50" and claim.other == baseline:
        operator = {"<=": ">=", "<": ">", ">=": "<=", ">": "<"}[claim.operator]
        speed = dataclasses.replace(claim, quantity="speedup", other=None, operator=operator, limit=1 / claim.limit)
        return _canonical(speed, baseline)
    if family in ("speedup", "latency"):
        wanted = ">=" if family == "speedup" else "<="
        return dataclasses.replace(claim, operator=wanted), claim.operator[0] != wanted[0]
    if claim.operator in ("<", ">") and family != "size":
        return dataclasses.replace(claim, operator=_OPPOSITE[claim.operator]), True
    return claim, False


def _as_claimed(verdict: Verdict, claim: Claim, turned: bool) -> Verdict:
    """The verdict on a canonical claim in the words of the one that was made."""
    outcome = verdict.outcome
    if turned:
        outcome = {Outcome.PASS: Outcome.FAIL, Outcome.FAIL: Outcome.PASS}.get(outcome, outcome)
    words: dict[str, Any] = {
        "outcome": outcome,
        "claim": str(claim),
        "quantity": claim.quantity,
        "operator": claim.operator,
    }
    if claim.other is not None and verdict.quantity == "speedup":
        ends = {"estimate": verdict.estimate, "low": verdict.high, "high": verdict.low}
        words |= {name: None if end is None else 1 / end for name, end in ends.items()}
    return msgspec.structs.replace(verdict, **words, limit=claim.limit, unit=claim.unit)


def _publish(path: Path, data: bytes) -> None:
    """Readers see the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _inverted(found: Finding) -> Finding:
    """A finding on baseline / variant as one on variant / baseline."""

    def one_over(value: float | None) -> float | None:
        return None if value is None else (1 / value if value else math.inf)

    return dataclasses.replace(
        found, estimate=one_over(found.estimate), low=one_over(found.high), high=one_over(found.low)
    )


def _finite(value: float | None) -> float | None:
    """JSON has no infinity; an open bound is none."""
    return value if value is not None and math.isfinite(value) else None


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
