"""The pipeline: the program in the order of its data. Read this first.

::

    target, device ─┐
    model ─ assess ─┴─ strategy ─ plan of recipes ─ build ─ variants ─ measure ─ samples ─ judge ─ verdicts ─ journal ─ report
    dataset ────────────────────────────────────────────────────────────┘

Everything is lazy: a stage runs when a test asks for what it makes, and only once in a run. :class:`Run` holds what is common to all
models, :class:`Study` takes one model through the stages from top to bottom.
"""

import contextlib
import dataclasses
import functools
import importlib.metadata
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import filelock
import msgspec

from pytest_edgeai import assess as assessing
from pytest_edgeai import build as building
from pytest_edgeai import choosing, folders, frontier, guidance, objectives, registry, scoring, screening, strategy
from pytest_edgeai import corpus as corpora
from pytest_edgeai import device as devices
from pytest_edgeai.assess import files as model_files
from pytest_edgeai.conversion import Workshop
from pytest_edgeai.corpus import Corpus, TextFiles
from pytest_edgeai.dataset import (
    CALIBRATION,
    EVALUATION,
    SELECTION,
    Dataset,
    ItemFiles,
    batched_outputs,
    given_sizes,
)
from pytest_edgeai.dataset import read as read_dataset
from pytest_edgeai.errors import EdgeError, ModelError, UnsupportedError, UsageError, hinted
from pytest_edgeai.evaluation import Evaluation
from pytest_edgeai.journal import Journal
from pytest_edgeai.judge import claims, figures, quantities
from pytest_edgeai.judge.claims import Claim
from pytest_edgeai.judge.finding import Finding, exact
from pytest_edgeai.judge.quantities import Decider, Subject
from pytest_edgeai.judge.rules import RIGOR, Rules
from pytest_edgeai.measure import pace
from pytest_edgeai.measure.bench import Bench, Setup
from pytest_edgeai.measure.hostlock import HostLock
from pytest_edgeai.measure.process import run_task
from pytest_edgeai.objectives import Objective
from pytest_edgeai.precedents import Precedent, Precedents
from pytest_edgeai.progress import Progress
from pytest_edgeai.protocols import Choosy, Placing
from pytest_edgeai.reading import Reading
from pytest_edgeai.records import (
    SCHEMA,
    Assessment,
    Choice,
    Conversion,
    Device,
    EngineDevice,
    Figure,
    Front,
    LanguageFacts,
    Model,
    ModelKind,
    ModelResult,
    Outcome,
    Plan,
    Recipe,
    Refusal,
    Search,
    Target,
    Variant,
    VariantResult,
    Verdict,
    digest_of,
    digest_of_file,
)
from pytest_edgeai.sampling import Sampling, load_of
from pytest_edgeai.settings import Settings
from pytest_edgeai.targets import limits
from pytest_edgeai.tasks import Tasks

DEVICES_TIMEOUT = 120.0
"""Seconds to import an engine and to list its devices."""
SCORE_TIMEOUT = 3600.0
"""Seconds to run every evaluation item through one variant."""
_EARLIER = "an earlier run proved it for the same variants on this machine (--edge-continue)"


@dataclasses.dataclass(frozen=True, slots=True)
class Declaration:
    """A model as a test declares it."""

    path: Path
    dataset: Path | Tasks | None
    """A file, or tasks of lm-evaluation-harness."""
    score: str | Callable[..., float]
    population: str = "unseen"
    """What claims on accuracy are about: ``unseen`` items like these, or exactly this ``dataset``."""
    limits: str = ""
    """In place of the target's own for this model; the user's go before them (``--edge-limit``)."""

    @property
    def kind(self) -> ModelKind:
        """By the file's name, or because it is a folder. Raises UsageError."""
        kind = model_files.kind_of(self.path)
        if kind is None and not self.path.exists():
            raise UsageError(f"There is no model at {self.path}. Is the path right, seen from {Path.cwd()}?")
        if kind is None:
            raise UsageError(str(model_files.unknown(self.path)))
        return kind

    @property
    def is_language(self) -> bool:
        """Whether it is a language model. Raises UsageError."""
        return self.kind in strategy.LANGUAGE_KINDS


class Run:
    """What one invocation shares between its models."""

    def __init__(self, settings: Settings, plugins: Iterable[str], folder: Path, who: str, progress: Progress) -> None:
        self.settings = settings
        self.folder = folder
        self.say = progress.say
        self.working = progress.working
        self.gates = 1
        """Tests that were selected to decide gates; alike in all processes of a run."""
        self.journal = Journal(folder, who)
        self.registry = registry.find(plugins)
        self._detected = devices.detect()
        self._plain_target = self._named(settings.target)
        self.target = self.with_limits("")
        self.required = guidance.requirements(settings.require)
        """Requirements that the user named; UsageError for one that is not known."""
        self.preferred = objectives.preferences(settings.prefer)
        """Objective -> its share in the choice, as the user said; UsageError for what can't be read."""
        standing = devices.standing(self._detected, self.target)
        self._may_stand_in = standing == "stand-in"
        self.standing = "foreign" if self._may_stand_in and not settings.stand_in else standing
        """What the device is to the target; a stand-in only when the user accepts it."""
        self._asked: set[str] = set()
        self._engines: dict[str, tuple[EngineDevice, ...]] = {}
        """Framework -> what it lists, of those that were asked and answered."""
        self._studies: dict[Declaration, Study] = {}

    @property
    def device(self) -> Device:
        """As detected, with what the frameworks that were asked so far list themselves."""
        return msgspec.structs.replace(self._detected, engines=dict(self._engines))

    def answers(self, name: str) -> bool:
        """Whether a framework is installed and lists its devices; asked once, in a worker of its own."""
        if name not in self._asked:
            self._asked.add(name)
            framework = self.registry.framework(name)
            if registry.versions(framework) is not None:
                arguments = {"modules": list(self.registry.modules), "framework": name}
                try:
                    listed = run_task("devices", arguments, subject=name, timeout=DEVICES_TIMEOUT)
                    self._engines[name] = tuple(msgspec.convert(one, EngineDevice) for one in listed)
                except (EdgeError, msgspec.ValidationError) as error:  # the others go on without it
                    self.say(f"{name} can't be used here, see `edgeai doctor`: {error}")
        return name in self._engines

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
    def workshop(self) -> Workshop:
        """Where models of PyTorch become ONNX files."""
        return Workshop(self.cache, self.folder, run_task, self.lock.building, self.working, self.say)

    @functools.cached_property
    def precedents(self) -> Precedents:
        """What earlier runs on this machine found out."""
        return Precedents(self.cache.root / "precedents", self._detected)

    @functools.cached_property
    def lock(self) -> HostLock:
        """This machine's."""
        return HostLock(self.working)

    def rules(self, claim: Claim) -> Rules:
        """Error rates and effort of a comparison.

        All gates of the run together have one error rate of a false FAIL: each of m tests an equal part, of which its first claim has
        1/2, its second one 1/6, its third one 1/12, and so on (1 / (j (j + 1)), which sums up to 1).
        """
        rules = RIGOR[claim.rigor]
        budget = rules.budget if self.settings.budget is None else self.settings.budget
        share = 1 / (self.gates * claim.place * (claim.place + 1))
        return dataclasses.replace(rules, budget=budget, share=share, turned=claim.turned)

    @property
    def here(self) -> str:
        """The device's name, and whether it stands in for the target's."""
        return self._detected.name + (f" (standing in for {self.target.name})" if self.standing == "stand-in" else "")

    def why_not_measured(self, recipe: Recipe | None = None) -> str | None:
        """Why this device can't show speed and memory for the target (by this recipe); ``None`` where it can."""
        accelerators = self.target.hardware.accelerators
        engine: object = self.registry.framework(recipe.framework) if recipe is not None else None
        unmeasured = engine.unmeasured(self.device) if isinstance(engine, Choosy) else None
        if accelerators and recipe is not None and not self._runs_on(accelerators, recipe):
            place = self.place(recipe)
            where = "the CPU" if place == "CPU" else f"{place}, which is another"
            told = f"speed and memory on {self.target.name} are shown only on {' or '.join(accelerators)}; {recipe.name} runs on {where}."
            return f"{told} {unmeasured}" if unmeasured else told
        if self.standing != "foreign":
            return unmeasured
        accept = " Or accept it as a stand-in: --edge-stand-in." if self._may_stand_in else ""
        return (
            f"speed and memory are shown only by a device of the target {self.target.name} ({self.target.title}); "
            f"this is {self._detected.cpu} ({self._detected.system} {self._detected.architecture}).{accept}"
        )

    def _runs_on(self, accelerators: Sequence[str], recipe: Recipe) -> bool:
        """Whether the recipe asks for a device other than the CPU, and its engine lists one of the accelerators' makers."""
        listed = [f"{one.name} {one.title}".casefold() for one in self.device.engines.get(recipe.framework, ())]
        # "gpu:nvidia h200" is a prefix of a device's name; engines tell the maker alone.
        makers = [(prefix.partition(":")[2] or prefix).casefold().split()[0] for prefix in accelerators]
        return self.place(recipe) != "CPU" and any(maker in text for maker in makers for text in listed)

    def may_run(self, recipe: Recipe) -> bool:
        """Whether the recipe's variant could run on the target: where that is an accelerator, an engine runs there or says that a build of it does."""
        accelerators = [one.casefold() for one in self.target.hardware.accelerators]
        own = tuple(getattr(self.registry.framework(recipe.framework), "accelerators", ()))
        return (
            not accelerators or self._runs_on(accelerators, recipe) or any(one.startswith(own) for one in accelerators)
        )

    def place(self, recipe: Recipe) -> str:
        """The kind of device that the recipe's variant runs on."""
        framework: object = self.registry.framework(recipe.framework)
        return framework.place(recipe, self.device) if isinstance(framework, Placing) else recipe.device

    def catalogue(self, kind: ModelKind) -> list[Recipe]:
        """Recipes that could be asked for, by name alone: nothing is read or detected."""
        return strategy.catalogue(self.registry.frameworks.values(), self.target, kind, self.settings.recipe)

    def demand_known(self, globs: Sequence[str], where: str) -> None:
        """Raises UsageError for a glob of ``where`` that no recipe's name matches, whatever the target and the kind of model."""
        strategy.demand_known(globs, self.registry.frameworks.values(), self.registry.targets.values(), where)

    def study(self, declaration: Declaration) -> "Study":
        """The one study of a declared model."""
        if declaration not in self._studies:
            namesake = any(known.path.stem == declaration.path.stem for known in self._studies)
            exactly = ", exactly this dataset" if declaration.population == "dataset" else ""
            exactly += f", limits {declaration.limits}" if declaration.limits else ""
            told = f" ({declaration.dataset.name if declaration.dataset else 'no data'}{exactly}, {declaration.path})"
            self._studies[declaration] = Study(
                self, declaration, _shown(declaration.path.stem + (told if namesake else ""))
            )
        return self._studies[declaration]

    def with_limits(self, limits_of_model: str) -> Target:
        """The target with a model's own limits, and the user's before them. Raises UsageError."""
        told = (limits_of_model, self.settings.limit or "")
        changed = functools.reduce(limits.changed, told, self._plain_target.limits)
        return msgspec.structs.replace(self._plain_target, limits=changed)

    def _named(self, name: str) -> Target:
        """Raises UsageError."""
        if name != "auto":
            return self.registry.target(name)
        return devices.most_specific(self._detected, self.registry.targets.values())


class Study:
    """One model, with its dataset and score, through all the stages. Satisfies :class:`pytest_edgeai.judge.quantities.Decider`."""

    def __init__(self, run: Run, declaration: Declaration, name: str) -> None:
        self.run = run
        self._name = name
        self.declaration = declaration
        self._built: dict[str, Variant | EdgeError] = {}
        self._figures: dict[str, dict[str, Figure]] = {}
        self._verdicts: dict[Claim, Verdict] = {}
        self.build_seconds: float | None = None
        """That one build may take; ``None``: as long as any."""
        self._admitted: dict[str, Recipe] = {}
        self._bench: Bench | None = None
        self._compressed: dict[str, int] = {}
        """Key of a variant -> bytes; it takes a second for some 40 MB, so it is counted where somebody asks."""
        self._unsupported: dict[str, str] = {}
        """Key of an artifact -> why the engine can not make it; variants that are only loaded otherwise share it."""
        self._seed = int(digest_of([run.folder.name, str(declaration.path)])[:8], 16)

    @functools.cached_property
    def target(self) -> Target:
        """What is deployed to, with the limits of this model. Raises UsageError."""
        return self.run.with_limits(self.declaration.limits)

    # 1. What is there: model, assessment, dataset --------------------------------------------------------------------------

    @property
    def conversion(self) -> Conversion | None:
        """Of a model that comes from PyTorch: how it became the ONNX file that is studied. Raises EdgeError."""
        return self.run.workshop.onnx_of(self.declaration.path)[1]

    @functools.cached_property
    def _source(self) -> Model:
        """The named file, or the ONNX file that it became, digested but not parsed. Raises EdgeError."""
        return assessing.digest_model(self.run.workshop.onnx_of(self.declaration.path)[0])

    @functools.cached_property
    def model(self) -> Model:
        """The source, with the digest of all its files. Raises EdgeError."""
        return msgspec.structs.replace(self._source, name=self._name, digest=self.assessment.digest)

    @functools.cached_property
    def key(self) -> str:
        """Tells this study's facts from those of the same model with other data, alike in all processes of a run."""
        declared = self.declaration
        score = declared.score
        # Not a function's own text, which has its address in this process.
        told = score if isinstance(score, str) else f"{score.__module__}:{getattr(score, '__qualname__', score)}"
        return digest_of([self.model.digest, str(declared.dataset), told, declared.population, declared.limits])[:16]

    @functools.cached_property
    def assessment(self) -> Assessment:
        """Read in a worker once, then kept by digest. Raises ModelError or WorkerError."""
        source = self._source
        # It says what this version can make of a model.
        version = importlib.metadata.version("pytest-edgeai")
        kept = self.run.cache.root / "assessments" / f"{source.digest}-{SCHEMA}-{version}.json"
        try:
            return msgspec.json.decode(kept.read_bytes(), type=Assessment)
        except (OSError, msgspec.DecodeError):
            found = assessing.assess(source, run_task)
        if found.digest == source.digest:  # else it has weights in other files, which may change under the same name
            try:
                publish(kept, msgspec.json.encode(found))
            except OSError as error:
                self.run.say(f"the assessment can't be kept in {kept.parent}: {error.strerror or error}")
        return found

    @functools.cached_property
    def dataset(self) -> Dataset | Corpus | None:
        """The items, or the texts of a language model. Raises DatasetError."""
        given = self.declaration.dataset
        if given is None:
            return None
        if isinstance(given, Tasks):
            if not self._language:
                raise UsageError(f"{given.name} is for language models, and {self.model.name} is none: give a file.")
            if isinstance(self._of_tasks, EdgeError):
                raise self._of_tasks
            return self._of_tasks
        return corpora.read(given) if self._language else read_dataset(given, self.assessment, self._given_sizes)

    @functools.cached_property
    def _of_tasks(self) -> Corpus | EdgeError:
        """A failure is told again each time it is asked for: finding out that nothing can be downloaded takes half a minute."""
        assert isinstance(self.declaration.dataset, Tasks)
        try:
            return corpora.of_tasks(self.declaration.dataset, self._items_folder, self._harness)
        except EdgeError as error:
            return error

    def _harness(self, task: str, arguments: Mapping[str, Any], *, subject: str, timeout: float) -> Any:
        """A worker that may load data from Hugging Face's hub. Satisfies :class:`pytest_edgeai.protocols.Task`."""
        with self.run.lock.building(), self.run.working(f"consulting {subject}"):
            return run_task(task, arguments, subject=subject, timeout=timeout, hub=True)

    @functools.cached_property
    def _given_sizes(self) -> dict[str, int]:
        """Dynamic axis -> size, as the user said; of a language model, the tokens of a timed call. Raises UsageError."""
        told, facts = self.run.settings.shape, self._language
        return corpora.given_sizes(told, facts) if facts else given_sizes(told, self.assessment)

    @functools.cached_property
    def _language(self) -> LanguageFacts | None:
        """Of a language model. Raises ModelError."""
        if not self.declaration.is_language:
            return None
        facts = self.assessment.language
        if facts is None:
            raise ModelError(
                f"{self.declaration.path} is no language model, which is what is read from a folder or a GGUF file."
            )
        return facts

    @functools.cached_property
    def _rule(self) -> scoring.Rule | None:
        """How items are scored; ``None`` without data, and for texts. Raises UsageError."""
        data, outputs = self.dataset, self.assessment.outputs
        if not isinstance(data, Dataset):
            return None
        score, batched = self.declaration.score, self._batched_outputs
        return scoring.rule(score, outputs, data.labels, batched=batched, sizes=data.sizes)

    # 2. What to make of it: plan --------------------------------------------------------------------------------------------

    @functools.cached_property
    def plan(self) -> Plan:
        """Recipes with their reasons and refusals with their sentences."""
        frameworks, kind = self.run.registry.frameworks, self.model.kind
        if self._language:
            _ = self._given_sizes  # what is wrong with them is told before anything is built
            if self.declaration.score != Settings().score:
                self.run.say(
                    f"{self.model.name} is a language model, which no score is for: '{self.declaration.score}' is not used"
                )
        recipes = strategy.catalogue(frameworks.values(), self.run.target, kind, self.run.settings.recipe)
        baseline = strategy.baseline_of(frameworks.values(), self.run.target, kind, self.run.answers)
        installed = {recipe.framework for recipe in recipes if self.run.answers(recipe.framework)}
        plan = strategy.plan(
            recipes,
            baseline,
            frameworks,
            installed,
            self.assessment,
            self.run.target,
            self.run.device,
            self.model.name,
            self._calibration_items,
            self.run.settings.prefer_route,
            self.run.required,
            kind,
            strategy.baselines_of([frameworks[name] for name in sorted(installed)], kind),
        )
        self.note("study", self._header(plan))
        return plan

    def refusal(self, recipe: str) -> str | None:
        """Why there is no variant of this name, as far as is known before it is built; ``None`` where there may be one."""
        return next((refusal.reason for refusal in self.plan.refusals if refusal.recipe == recipe), None)

    def admit(self, recipe: Recipe) -> str | None:
        """Let a recipe be built that the plan doesn't have; where it can't be, why, in a sentence."""
        run, frameworks = self.run, self.run.registry.frameworks
        reason = strategy.refusal_of(
            recipe,
            frameworks[recipe.framework],
            {recipe.framework} if run.answers(recipe.framework) else (),
            self.assessment,
            run.target,
            run.device,
            self._calibration_items,
            self.model.kind,
        )
        if reason is None:
            self._admitted[recipe.name] = recipe
        return reason

    def adopt(self, variant: Variant) -> None:
        """A variant that was made elsewhere: it is loaded, scored and measured as those that are built here are."""
        self._admitted[variant.name] = variant.recipe
        self._built[variant.name] = variant

    @property
    def _calibration_items(self) -> int:
        return len(self.dataset.indexes(CALIBRATION)) if isinstance(self.dataset, Dataset) else 0

    @functools.cached_property
    def units(self) -> dict[str, str]:
        """Quantity -> unit, of every quantity that a gate can be about."""
        return quantities.units(self.run.registry.metrics.values(), language=self.declaration.is_language)

    # 3. Making it: variants -------------------------------------------------------------------------------------------------

    def variant(self, name: str) -> Variant:
        """Built or from the cache; a failure is told again each time it is asked for. Raises EdgeError."""
        if name not in self._built:
            recipe = self.recipe(name)
            try:
                self._built[name], cached = self._build(recipe)
            except EdgeError as error:
                self._fail(recipe, error)
            else:
                self._note_variant(recipe, "cached" if cached else "built", built=self._built[name])
        built = self._built[name]
        if isinstance(built, EdgeError):
            raise built
        return built

    def bytes_of(self, name: str, quantity: str) -> int:
        """Of the artifact, as it is or compressed. Raises EdgeError."""
        variant = self.variant(name)
        if quantity == "size":
            return variant.bytes
        if variant.key not in self._compressed:
            self._compressed[variant.key] = building.compressed_bytes(variant)
        return self._compressed[variant.key]

    def _fail(self, recipe: Recipe, error: EdgeError) -> None:
        """Keep why there is no such variant. What an engine can't do with this model is a refusal, told late."""
        self._built[recipe.name] = error
        if isinstance(error, UnsupportedError):
            reason = str(error).removeprefix(f"{recipe.name}: ")
            self.note("refusal", Refusal(recipe=recipe.name, reason=reason))
        else:
            self._note_variant(recipe, "failed", str(error))

    def _build(self, recipe: Recipe) -> tuple[Variant, bool]:
        data = self.dataset if recipe.calibrated else None
        calibration = self._items.part(CALIBRATION) if isinstance(self._items, ItemFiles) and data is not None else None
        framework = self.run.registry.framework(recipe.framework)
        ingredients = building.Ingredients(
            recipe=recipe,
            model=self.model,
            versions=registry.versions(framework, self.assessment) or {},
            modules=self.run.registry.modules,
            sample=self._items.sample(),
            calibration=calibration,
            calibration_digest=data.digest(data.indexes(CALIBRATION)) if isinstance(data, Dataset) else "",
            at_load=frozenset(getattr(framework, "at_load", ())),
            at_most=self.build_seconds,
        )
        if ingredients.key in self._unsupported:
            raise UnsupportedError(self._unsupported[ingredients.key])
        try:
            return building.build(ingredients, self.run.cache, run_task, self.run.lock.building, self.run.working)
        except EdgeError as error:
            if isinstance(error, UnsupportedError) and recipe == ingredients.built:
                self._unsupported[ingredients.key] = str(error).removeprefix(f"{recipe.name}: ")
            if self._items.hint:
                raise hinted(error, self._items.hint) from error
            raise

    # 4. Measuring it: samples -----------------------------------------------------------------------------------------------

    @functools.cached_property
    def setup(self) -> Setup:
        return Setup(
            modules=self.run.registry.modules,
            threads=self.run.device.cores,
            inputs=self._items.timed(),
            offline=self.target.limits.offline,
            hint=self._items.hint,
            pace=pace.file_of(self.run.cache.root, self.run.device, self.run.device.cores),
            place=self.run.place,
        )

    @property
    def prompts(self) -> Path:
        """The file with the inputs that calls are timed on. Raises EdgeError."""
        return self._items.timed()

    @functools.cached_property
    def sampling(self) -> Sampling:
        return Sampling(
            registry=self.run.registry,
            units=self.units,
            setup=self.setup,
            variant=self.variant,
            language=self._language is not None,
            seed=self.next_seed,
            note=self.note,
            note_figure=self.note_figure,
        )

    @functools.cached_property
    def evaluation(self) -> Evaluation | Reading:
        """Raises UnsupportedError where there is nothing to score."""
        data, rule, population = self.dataset, self._rule, self.declaration.population
        reference = self.plan.baseline.name
        if isinstance(data, Corpus):
            assert isinstance(self._items, TextFiles)
            return Reading(data, self._items, reference, self._read, population)
        if data is None:
            what = "how well texts are predicted needs texts" if self._language else "accuracy needs items to score"
            raise UnsupportedError(f"{what}: give a dataset with --edge-dataset.")
        assert rule is not None
        assert isinstance(self._items, ItemFiles)
        return Evaluation(data, self._items, rule, reference, self._answer, population)

    def _answer(self, name: str, items: Path, outputs: Path) -> list[int]:
        with self._scoring(name) as bench:
            return bench.score(items, outputs, self._batched_outputs, timeout=SCORE_TIMEOUT)

    def _read(self, name: str, files: Mapping[str, Any]) -> dict[str, Any]:
        with self._scoring(name) as bench:
            return bench.read(files, timeout=SCORE_TIMEOUT)

    @contextlib.contextmanager
    def scored_by(self, bench: Bench) -> Iterator[None]:
        """Score its variant in this process meanwhile, in place of one of its own."""
        self._bench = bench
        try:
            yield
        finally:
            self._bench = None

    @contextlib.contextmanager
    def _scoring(self, name: str) -> Iterator[Bench]:
        if self._bench is not None and self._bench.variant.name == name:
            yield self._bench
            return
        variant = self.variant(name)
        with (
            self.run.lock.building(),
            self.run.working(f"scoring {name}"),
            Bench(variant, self.setup) as bench,
        ):
            yield bench

    @functools.cached_property
    def _batched_outputs(self) -> list[str]:
        """Outputs whose first axis is the batch."""
        assert isinstance(self.dataset, Dataset)
        return batched_outputs(self.assessment, self.dataset)

    def quality(self, name: str, part: str) -> dict[str, Figure]:
        """Quantity -> estimate, of a part of the dataset. Raises EdgeError."""
        found = self.evaluation.figures(name, part)
        # The report compares all variants on the same items.
        for quantity, figure in self.evaluation.figures(name, self.evaluation.scored_part).items():
            self.note_figure(name, quantity, figure)
        return found

    # 5. Choosing: screening -------------------------------------------------------------------------------------------------

    @functools.cached_property
    def choice(self) -> Choice:
        """The recommended variant: screened once in a run, on selection items and samples of its own."""
        if not self.plan.offers:
            raise UnsupportedError(strategy.nothing(self.plan))
        unoptimized, recipes = self.unoptimized(), [offer.recipe for offer in self.plan.offers]
        for name in [*unoptimized, *(recipe.name for recipe in recipes)]:
            _told(self.variant, name)  # building needs the lock in its other mode
        kept = self.shared / f"{self.key}-screening.json"
        with self.run.lock.measuring():
            if kept.is_file():  # another process of this run was faster
                screened = msgspec.json.decode(kept.read_bytes(), type=dict[str, dict[str, Figure]])
            else:
                self._demand_one_of(recipes)
                screened = self.screen([*unoptimized, *(recipe.name for recipe in recipes)])
                publish(kept, msgspec.json.encode(screened))
                self.note("front", self.front([recipe.name for recipe in recipes if recipe.name in screened]))
        if not screened.keys() - set(unoptimized):
            self._demand_one_of(recipes)
            raise ModelError(f"No variant of {self.model.name} could be screened by another process of this run.")
        choice = self.choose_from(screened, recipes)
        self.note("choice", choice)
        return choice

    @property
    def recommended(self) -> str:
        """The recipe that a search of this run found, else the choice among the plan's. Raises EdgeError."""
        if not self.was_searched:
            return self.choice.recipe
        found = msgspec.json.decode(self.searched.read_bytes(), type=Search)  # perhaps of another process
        for trial in found.trials:
            if trial.name == found.choice.recipe:
                self.admit(trial.recipe)
        return found.choice.recipe

    @property
    def searched(self) -> Path:
        """Where a run's processes keep what their search found."""
        return self.shared / f"{self.key}-search.json"

    @property
    def was_searched(self) -> bool:
        """Whether this run searched for the best variant."""
        return self.searched.is_file()

    def choose_from(self, found: Mapping[str, dict[str, Figure]], recipes: Sequence[Recipe]) -> Choice:
        """The best of variants that were screened, at least one, together with the unoptimized models; ``recipes`` in order of preference."""
        unoptimized, screened = self.unoptimized(), dict(found)
        baselines = {name: screened.pop(name) for name in unoptimized if name in screened}
        reference = baselines[unoptimized[0]]
        scored = {
            quantity: reference[quantity] for quantity in reference if quantity.partition(".")[0] in claims.SCORED
        }
        fit = {name: found for name, found in screened.items() if self.run.may_run(self.recipe(name))}
        is_restricted = 0 < len(fit) < len(screened)
        screened = fit or screened
        compared = {name: baselines[self.baseline_of(name)] | scored for name in screened}
        choice = choosing.choose(screened, recipes, compared, self.target, self.plan.preferences, self.run.preferred)
        if is_restricted:
            only = f"only what may run on {' or '.join(self.target.hardware.accelerators)} is chosen"
            choice = msgspec.structs.replace(choice, reason=f"{choice.reason}; {only}")
        return choice

    def front(self, names: Sequence[str]) -> Front:
        """Of variants that were screened, on all items that are scored: it tells, and decides nothing."""
        known = {name: self._figures[name] for name in names}
        shown = functools.partial(self.shown, part=None)
        return frontier.front(known, objectives.measured(known.values()), shown, self.is_same)

    def forget(self, name: str) -> None:
        """That a variant could not be built, so that it is tried again where somebody asks for it."""
        self._built.pop(name, None)

    def is_built(self, name: str) -> bool:
        """Whether this process has built the variant, or tried to."""
        return name in self._built

    def is_same(self, one: str, other: str) -> bool:
        """Whether two variants are one artifact, as far as is known."""
        mine, its = self._built.get(one), self._built.get(other)
        if not (isinstance(mine, Variant) and isinstance(its, Variant)):
            return False
        # What it computes in and where changes its answers.
        tuned = [(variant.recipe.device, variant.recipe.tuning.get("precision")) for variant in (mine, its)]
        return mine.key == its.key and tuned[0] == tuned[1]

    def shown(self, one: str, other: str, objective: Objective, better: bool, part: str | None) -> bool:
        """Whether scores of the same items (of a part, else all) show that ``one`` is better, or else no worse than by what is equal in practice."""
        margin = 0.0 if better else objective.alike
        operator, limit = (">=", 1 - margin) if objective.more else ("<=", 1 + margin)
        claim = Claim(one, objective.quantity, operator, limit, other, unit="ratio")
        try:
            known = one in self.evaluation and other in self.evaluation
            return known and self.evaluation.find(claim, RIGOR["quick"], part).outcome is Outcome.PASS
        except EdgeError:  # too few items, or other tokens: then it isn't shown
            return False

    def _demand_one_of(self, recipes: Sequence[Recipe]) -> None:
        """Raises ModelError where every variant failed, UnsupportedError where every one was refused."""
        failures = [error for recipe in recipes if isinstance(error := self._built.get(recipe.name), EdgeError)]
        if len(failures) < len(recipes):
            return
        refused = all(isinstance(error, UnsupportedError) for error in failures)
        told = f"There is no variant of {self.model.name} for {self.run.target.name} to choose."
        raise (UnsupportedError if refused else ModelError)(" ".join([told, *map(str, failures)]))

    def screen(self, names: Sequence[str]) -> dict[str, dict[str, Figure]]:
        """Variant -> its estimates; without those that fail, or whose baseline does. The first one is the reference, which must not."""
        names = [name for name in names if not isinstance(self._built.get(name), EdgeError) or name == names[0]]
        screened: dict[str, dict[str, Figure]] = {}
        with self.run.working("screening", total=len(names)) as step:
            for name in names:
                step(name)
                try:
                    screened[name] = self.screen_one(name, screened)
                except EdgeError as error:
                    if name == names[0]:
                        raise
                    self._fail(self.recipe(name), error)
        return screened

    def screen_one(self, name: str, screened: Mapping[str, Mapping[str, Figure]]) -> dict[str, Figure]:
        """Estimates of every quantity; ``screened``: of those that were screened before. Raises EdgeError."""
        variant, baseline = self.variant(name), self.baseline_of(name)
        self.variant(baseline)  # what can't be compared is no candidate
        found = screening.Screened()
        if self.run.why_not_measured(variant.recipe) is None:
            found = self.sampling.screen(name, baseline, self.target.limits.speedup)
            found.figures |= self._energy(name)
            if self._language and baseline != name:
                of_baseline = screened.get(baseline) or self._figures.get(baseline, {})
                found.figures |= screening.compare(found.figures, of_baseline)
        found.figures["size"] = figures.exact(variant.bytes, "bytes")
        # Zeros show in a download, not in the files.
        if any(recipe.sparsity for recipe in (*self._admitted.values(), *(offer.recipe for offer in self.plan.offers))):
            found.figures["compressed_size"] = figures.exact(self.bytes_of(name, "compressed_size"), "bytes")
        for quantity, figure in found.figures.items():
            self.note_figure(name, quantity, figure)
        if self.dataset is not None:
            # Only selection items have a say in the choice; gates on it are decided on the others.
            found.figures |= self.quality(name, SELECTION)
        return found.figures

    def _energy(self, name: str) -> dict[str, Figure]:
        """Where it is preferred, for it takes a minute, and a sensor can be read: else it has no say, which the choice tells."""
        quantity = "energy.per_token" if self._language else "energy.per_call"
        if not self.run.preferred.get("energy"):
            return {}
        try:
            self.sampling.estimate(name, quantity)
        except UnsupportedError:
            return {}
        return {quantity: self._figures[name][quantity]}

    def unoptimized(self) -> list[str]:
        """The reference of quality, then every other baseline."""
        return [recipe.name for recipe in self.plan.unoptimized]

    def baseline_of(self, name: str) -> str:
        """What the speed and memory of a variant are compared with; a baseline itself has none but itself."""
        return name if name in self.unoptimized() else self.plan.baseline_of(self.recipe(name)).name

    # 6. Judging it: verdicts ------------------------------------------------------------------------------------------------

    def subject(self, name: str, decider: Decider, rigor: str, *, is_choice: bool = False) -> Subject:
        """A variant (or the baseline) as a test sees it. ``decider`` passes its questions on to this study."""
        known = {one.name: Subject(one.name, one, decider, rigor) for one in self.plan.unoptimized}
        if name in known:
            return known[name]
        baseline, reference = known[self.baseline_of(name)], known[self.plan.baseline.name]
        return Subject(name, self.recipe(name), decider, rigor, baseline, reference=reference, is_choice=is_choice)

    def decide(self, claim: Claim) -> Verdict:
        """The verdict on a claim, decided once in a run."""
        if claim not in self._verdicts:
            batch = self._batch(claim.subject, claim.other)
            wanted, turned = claims.canonical(claim, self._baseline_between(claim), batch)
            if wanted not in self._verdicts:
                self._verdicts[wanted] = self._decided_once(wanted)
            if claim != wanted:
                self._verdicts[claim] = claims.as_claimed(self._verdicts[wanted], claim, turned)
        return self._verdicts[claim]

    def _batch(self, *names: str | None) -> int | None:
        """Items that these variants take in a call; ``None`` where they differ."""
        found = {self.recipe(name).batch for name in names if name is not None}
        return found.pop() if len(found) == 1 else None

    def _decided_once(self, claim: Claim) -> Verdict:
        """Among all processes of a run, too: the first one decides, the others take its word."""
        _ = self.plan  # told here, where an error is the study's and not the claim's
        word = self.shared / f"{self.key}-{digest_of(claim.identity)[:16]}.json"
        with filelock.FileLock(word.with_suffix(".lock")):
            if word.is_file():
                return msgspec.json.decode(word.read_bytes(), type=Verdict)
            verdict = self._decided(claim)
            publish(word, msgspec.json.encode(verdict))
            return verdict

    def _decided(self, claim: Claim) -> Verdict:
        try:
            unoptimized = self.plan.baseline.name if claim.family in claims.SCORED else self.baseline_of(claim.subject)
            variants = [self.variant(name) for name in filter(None, (unoptimized, claim.subject, claim.other))]
            finding = self._find_out(claim, variants)
        except UnsupportedError as reason:
            finding = Finding(Outcome.UNSUPPORTED, None, notes=[str(reason)])
        except EdgeError as error:
            finding = Finding(Outcome.ERROR, None, notes=str(error).splitlines())
        figure = figures.of_finding(finding, claim.unit)
        if figure is not None and claim.other is None and claim.family not in claims.SIZES | claims.SCORED:
            self.note_figure(claim.subject, claim.quantity, figure)
        notes = finding.notes + self._explanation(claim, finding)
        outcome = finding.outcome
        if outcome is Outcome.FAIL and claim.is_ratio_of_times and self._lacks(claim.subject):
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
            other=claim.other or "",
            estimate=finding.estimate,
            low=_finite(finding.low),
            high=_finite(finding.high),
            confidence=finding.confidence,
            method=finding.method,
            spent=finding.spent,
            seconds=finding.seconds,
            notes=tuple(notes),
        )

    def _find_out(self, claim: Claim, variants: Sequence[Variant]) -> Finding:
        """Measure as much as the claim needs."""
        rules, recipe = self.run.rules(claim), self.recipe(claim.subject)
        missing = self.run.why_not_measured(recipe) if claim.family not in claims.EXACT | claims.SCORED else None
        if missing:
            raise UnsupportedError(missing)
        if claim.family in claims.SIZES:
            over = self.bytes_of(claim.other, claim.quantity) if claim.other else 1
            return exact(self.bytes_of(claim.subject, claim.quantity) / over, claim.operator, claim.limit)
        if claim.family in claims.SCORED:
            finding = self.evaluation.find(claim, rules)
            for name in filter(self.evaluation.__contains__, filter(None, (claim.subject, claim.other))):
                self.quality(name, EVALUATION)
            return finding
        if claim.family == "offline":
            with self.run.lock.building(), self.run.working(f"deciding {claim}"):
                return self.sampling.offline(claim.subject)
        self._demand_comparable(claim)
        with self.run.lock.measuring(), self.run.working(f"deciding {claim}"):
            return self._go_on(claim, variants, rules)

    def _go_on(self, claim: Claim, variants: Sequence[Variant], rules: Rules) -> Finding:
        """Sample; with ``--edge-continue`` from where the last run stopped. What is found is kept for the next one."""
        # Of everything that could change what is found.
        made_of = [
            claim.identity,
            claim.turned,
            # Variants that are only loaded otherwise have one artifact, hence one key.
            [(variant.key, variant.name) for variant in variants],
            digest_of_file(self._items.timed()),
            self.run.registry.modules,
            self.run.target.name,
            # What it was compiled for, where an engine says so.
            {variant.recipe.framework: self.run.device.engines.get(variant.recipe.framework) for variant in variants},
            importlib.metadata.version("pytest-edgeai"),
        ]
        key = digest_of(made_of)
        precedent = self.run.precedents.find(key) if self.run.settings.continue_ else None
        if precedent is not None and precedent.holds(rules):
            return dataclasses.replace(precedent.finding, notes=[*precedent.finding.notes, _EARLIER])
        before = precedent.finding.evidence if precedent is not None else ()
        finding = self.sampling.find(claim, self.baseline_of(claim.subject), rules, before)
        if finding.evidence:
            try:
                self.run.precedents.keep(key, Precedent(finding, rules.share))
            except OSError as error:
                self.run.say(f"what was found can't be kept for --edge-continue: {error.strerror or error}")
        return finding

    def _demand_comparable(self, claim: Claim) -> None:
        """Raises UnsupportedError where the numbers would be of two things, or of none."""
        mine = self.recipe(claim.subject)
        against = self.baseline_of(claim.subject) if claim.is_ratio_of_times else claim.other
        other = self.recipe(against) if against else mine
        here, there = self.run.place(mine), self.run.place(other)
        if claim.family == "memory" and {here, there} != {"CPU"}:
            raise UnsupportedError("what a model takes of another device's memory is not read, only the host's.")
        if here != there:
            raise UnsupportedError(
                f"{mine.name} runs on {here} and {other.name} on {there}: a ratio would compare the devices."
            )
        if claim.family == "latency" and mine.batch != other.batch:
            raise UnsupportedError(
                f"a call of {mine.name} has {mine.batch} items and one of {other.name} has {other.batch}: "
                "compare speedup or throughput, which are of an item."
            )
        batch = load_of(claim.quantity).batch if claim.family == "throughput" else 1
        if batch > 1 and (tuned := next((one for one in (mine, other) if one.batch > 1), None)):
            raise UnsupportedError(f"a call of {tuned.name} has {tuned.batch} items already: leave the batch out.")
        if batch > 1 and (why := self.assessment.why_no_batches):
            raise UnsupportedError(f"{batch} items a call: {why}")

    def figure(self, subject: str, quantity: str) -> Figure:
        """The quantity's estimate with its interval; screened when it isn't known yet. Raises EdgeError."""
        if quantity not in self._figures.get(subject, {}):
            variant = self.variant(subject)
            if quantity in claims.SIZES:
                self.note_figure(subject, quantity, figures.exact(self.bytes_of(subject, quantity), "bytes"))
            elif quantity in claims.SCORED:
                self.quality(subject, EVALUATION)
            elif why := self.run.why_not_measured(variant.recipe):
                raise UnsupportedError(f"{subject} {quantity}: {why}")
            elif quantity.partition(".")[0] in self.run.registry.metrics_per("block"):
                with self.run.lock.measuring():
                    self.sampling.estimate(subject, quantity)
            else:
                baseline = self.baseline_of(subject)
                self.variant(baseline)
                with self.run.lock.measuring():
                    if self._language and baseline != subject and "tpot.p50" not in self._figures.get(baseline, {}):
                        self.screen_one(baseline, {})
                    self.screen_one(subject, {})
        found = self._figures[subject].get(quantity)
        if found is None:
            raise UnsupportedError(
                f"{subject} {quantity} is not estimated on its own (too few calls, or no sensor); compare it with a limit."
            )
        return found

    def _lacks(self, name: str) -> bool:
        """Whether the CPU has none of the instruction-set extensions that the variant's recipe needs to be fast."""
        recipe, device = self.recipe(name), self.run.device
        known = device.environment.get("isa") != "not readable" and self.run.place(recipe) == "CPU"
        return bool(recipe.needs) and known and not set(recipe.needs) & set(device.features)

    def _explanation(self, claim: Claim, finding: Finding) -> list[str]:
        if not claim.is_ratio_of_times or finding.outcome is not Outcome.FAIL or not self._lacks(claim.subject):
            return []
        recipe, device = self.recipe(claim.subject), self.run.device
        return [
            f"{recipe.precision} is fast only with one of {', '.join(recipe.needs)}; this CPU has {', '.join(device.features) or 'none that is known'}",
            "measure on a device of the target that has one",
        ]

    def _baseline_between(self, claim: Claim) -> str:
        """The one of the claim's two sides that is the other one's baseline, or the subject's; empty where both are baselines."""
        original, other = claim.subject in self.unoptimized(), claim.other
        if original and other in self.unoptimized() and other != claim.subject:
            return ""
        return self.baseline_of(other if original and other else claim.subject)

    # Items on disk, facts in the journal -------------------------------------------------------------------------------------

    @functools.cached_property
    def _folder(self) -> Path:
        """For this process alone."""
        return Path(tempfile.mkdtemp(prefix=f"{self.key}-", dir=_made(self.run.folder)))

    @property
    def shared(self) -> Path:
        """For all processes of a run."""
        return self._folder.parent

    @functools.cached_property
    def _items_folder(self) -> Path:
        return _made(self._folder / "items")

    @functools.cached_property
    def _items(self) -> ItemFiles | TextFiles:
        folder, data = self._items_folder, self.dataset
        if self._language:
            texts, modules = data if isinstance(data, Corpus) else None, self.run.registry.modules
            return TextFiles(folder, texts, self.model, self._language, self._given_sizes, modules, run_task)
        return ItemFiles(folder, data if isinstance(data, Dataset) else None, self.assessment, self._given_sizes)

    def figures_of(self, name: str) -> dict[str, Figure]:
        """What is known of a variant so far, by quantity."""
        return self._figures.get(name, {})

    @functools.cached_property
    def data_digest(self) -> str:
        """Of all items or texts; empty without data. Raises DatasetError."""
        data = self.dataset
        if data is None:
            return ""
        labels = data.labels if isinstance(data, Dataset) else None
        told = (
            [*data.digests, *map(str, labels if labels is not None else ())]
            if isinstance(data, Dataset)
            else data.texts
        )
        return digest_of(told)

    def next_seed(self) -> int:
        """Another one, alike in every run of the same folder."""
        self._seed += 1
        return self._seed

    def recipe(self, name: str) -> Recipe:
        """By its name. Raises UsageError."""
        known = {one.name: one for one in [*self.plan.unoptimized, *(offer.recipe for offer in self.plan.offers)]}
        known |= self._admitted
        if name not in known:
            raise UsageError(self.refusal(name) or f"There is no variant named {name}.")
        return known[name]

    def note(self, kind: str, fact: Any) -> None:
        """Write a fact about this model into the journal."""
        self.run.journal.write(kind, self.key, fact)

    def note_found_before(self, recipe: Recipe, size: int) -> None:
        """An earlier run built this variant, and this one needs no more of it than is known."""
        self._note_variant(recipe, "cached", size=size)

    def note_figure(self, name: str, quantity: str, figure: Figure) -> None:
        """Keep a variant's figure, and write it into the journal."""
        self._figures.setdefault(name, {})[quantity] = figure
        self.note("figure", {"variant": name, "quantity": quantity, "figure": figure})

    def _note_variant(
        self,
        recipe: Recipe,
        state: Literal["built", "cached", "failed"],
        reason: str = "",
        built: Any = None,
        size: int | None = None,
    ) -> None:
        reasons = {offer.recipe.name: offer.reason for offer in self.plan.offers}
        reasons |= dict.fromkeys(self.unoptimized(), "the unoptimized model")
        planned = reasons.get(recipe.name, "tried by the search")
        self.note(
            "variant",
            VariantResult(
                name=recipe.name,
                framework=recipe.framework,
                precision=recipe.precision,
                role="baseline" if recipe.name in self.unoptimized() else "variant",
                state=state,
                reason=reason or planned,
                bytes=built.bytes if built else size,
                build_seconds=built.build_seconds if built else None,
                key=built.key if built else "",
                recipe=recipe,
                versions=built.versions if built else {},
            ),
        )

    def _header(self, plan: Plan) -> ModelResult:
        data, items = self.dataset, {}
        if isinstance(data, Corpus):
            items = {part: len(data.documents[part]) + len(data.gaps[part]) for part in corpora.SHARES}
        elif data is not None:
            items = {name: len(indexes) for name, indexes in data.parts.items()}
        return ModelResult(
            model=self.model,
            score=data.title if isinstance(data, Corpus) else self._rule.title if self._rule is not None else "",
            reference=plan.baseline.name,
            limits=self.target.limits,
            items=items,
            assessment=self.assessment,
            conversion=self.conversion,
            preferences=plan.preferences,
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


def publish(path: Path, data: bytes) -> None:
    """Readers see the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _finite(value: float | None) -> float | None:
    """JSON has no infinity; an open bound is none."""
    return value if value is not None and math.isfinite(value) else None


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
