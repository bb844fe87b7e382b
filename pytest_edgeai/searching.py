"""Searching: the best variant of a model among recipes that are pruned and tuned in many ways; cheap facts first, and the best ones measured closely."""

import contextlib
import functools
import importlib.metadata
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import filelock
import msgspec

from pytest_edgeai import choosing, frontier, objectives, pruning, registry, search, strategy
from pytest_edgeai.dataset import SELECTION
from pytest_edgeai.errors import EdgeError, UnsupportedError
from pytest_edgeai.judge import figures
from pytest_edgeai.judge.claims import Claim
from pytest_edgeai.judge.rules import RIGOR
from pytest_edgeai.measure.bench import Bench
from pytest_edgeai.objectives import Objective
from pytest_edgeai.pipeline import Study, publish
from pytest_edgeai.protocols import Accelerated
from pytest_edgeai.records import SCHEMA, Choice, Figure, Outcome, Recipe, Search, Trial, Variant, digest_of
from pytest_edgeai.screening import Contest
from pytest_edgeai.search import Closing, Explorer, Space
from pytest_edgeai.units import show

FINALISTS: Final = 4
"""Variants that are screened when everything was tried, to choose between them."""
ALIKE: Final = 2
"""Of them, those of one recipe at most."""
CLOSING: Final = 0.3
CLOSING_SECONDS: Final = 45.0
"""Share of the budget that is kept for that, and the most of it."""
BUILD: Final = 0.25
"""Share of the budget that one build may take: what takes longer is cut."""
_QUALITY: Final = ("accuracy", "perplexity", "bits_per_byte")
"""What is compared with the reference, whatever the engine."""


def search_for(study: Study, trials: int, seconds: float, storage: str = "", seed: int = 0) -> Search:
    """Try recipes until there are so many trials or as many seconds have passed, and choose; all of it is noted in the run's journal.

    A search of the same model, data, target, limits, device and versions goes on where the last one stopped, and repeats none of its trials;
    ``storage`` is where they are kept, as Optuna takes it (default: a file in the cache). Raises EdgeError where there is nothing to search, or nothing
    that was tried could be measured.
    """
    return _Searching(study).run(trials, seconds, storage, seed)


def space_of(study: Study) -> Space:
    """What can be tried of a model: the plan's recipes and its baseline, pruned and tuned. Raises UnsupportedError where there is nothing."""
    plan, assessment, run = study.plan, study.assessment, study.run
    if not plan.offers:
        raise UnsupportedError(strategy.nothing(plan))
    offered = [msgspec.structs.replace(offer.recipe, sparsity=0.0, tuning={}) for offer in plan.offers]
    known = {recipe.name: recipe for recipe in offered}
    if study.declaration.is_language:
        return Space(tuple(known.values()))
    if not run.settings.recipe:
        known[plan.baseline.name] = plan.baseline
    pruned = msgspec.structs.replace(plan.baseline, sparsity=search.SPARSITIES[-1])
    prunes = pruning.refusal(pruned, study.model.kind, assessment) is None
    tunings: dict[str, Mapping[str, Sequence[str | int]]] = {}
    for name in dict.fromkeys(recipe.framework for recipe in known.values()):
        framework = run.registry.framework(name)
        if isinstance(framework, Accelerated):
            worth = registry.ask(framework, "accelerations", assessment, run.device)
            # A ratio to the baseline on another device would compare the devices, and no gate decides that.
            tunings[name] = {key: values for key, values in worth.items() if key != "device"}
    changed = [offer.recipe for offer in plan.offers if offer.recipe.sparsity or offer.recipe.tuning]
    asked = [recipe for recipe in changed if set(recipe.tuning) <= tunings.get(recipe.framework, {}).keys()]
    for recipe in asked:
        for key, value in recipe.tuning.items():
            worth = tunings[recipe.framework]
            tunings[recipe.framework] = {**worth, key: tuple(dict.fromkeys((*worth[key], value)))}
    sparsities = {*search.SPARSITIES, *(recipe.sparsity for recipe in asked)} if prunes else {0.0}
    return Space(
        recipes=tuple(known.values()),
        sparsities=tuple(sorted(sparsities)),
        tunings=tunings,
        but=frozenset({plan.baseline.name}),
        asked=tuple(asked),
    )


def search_once(study: Study, trials: int, seconds: float) -> Search:
    """As :func:`search_for`, by the first of a run's processes that asks for it; the others take its word."""
    word = study.searched
    with filelock.FileLock(word.with_suffix(".lock")):
        if word.is_file():
            found = msgspec.json.decode(word.read_bytes(), type=Search)
            for trial in found.trials:
                study.admit(trial.recipe)
            return found
        found = search_for(study, trials, seconds)
        publish(word, msgspec.json.encode(found))
        return found


class _Searching:
    """One search."""

    def __init__(self, study: Study) -> None:
        self._study, self._run = study, study.run
        self._spent: defaultdict[str, float] = defaultdict(float)
        """What was done -> seconds."""
        self._known: dict[str, dict[str, Figure]] = {}
        """Variant -> its figures, of those that were measured, the unoptimized model included."""
        self._adopted: set[str] = set()
        """Trials that this process knows of."""
        self._compared: tuple[Objective, ...] = ()
        self._contest: Contest | None = None
        """Where variants are timed; none for language models and on devices that can't show speed."""

    def run(self, trials: int, seconds: float, storage: str, seed: int) -> Search:
        begin, study = time.monotonic(), self._study
        space = space_of(study)
        try:
            self._measure_the_unoptimized()
            study.build_seconds = BUILD * seconds
            name = self._name(space)
            explorer = Explorer(space, [one.name for one in self._compared], storage or self._kept(name), name, seed)
            before = explorer.tried()
            with self._run.working("searching", total=trials) as step:

                def evaluate(recipe: Recipe, number: int, tried: Sequence[Trial]) -> Trial:
                    self._adopt(tried)
                    step(recipe.name + self._so_far(tried, begin + seconds - time.monotonic()))
                    return self._evaluated(recipe, number)

                kept = min(CLOSING * seconds, CLOSING_SECONDS)
                stopped = explorer.explore(evaluate, trials, seconds - kept - (time.monotonic() - begin))
        finally:
            study.build_seconds = None
            if self._contest is not None:
                self._contest.close()
        tried = explorer.tried()
        self._adopt(tried)
        finalists = self._finalists(tried)
        closing = explorer.closing()
        screened = self._screened(explorer, finalists, closing)
        choice = self._choice(finalists, screened)
        front = closing.front if closing.trials == len(tried) else None
        front = front or study.front([trial.name for trial in tried if trial.state == "measured"])
        explorer.close(Closing(screened=screened, front=front, trials=len(tried)))
        found = Search(
            study=name,
            storage=search.without_password(storage) if storage else f"the cache, searches/{_file(name)}",
            points=space.size,
            stopped=stopped or f"the budget of {seconds:g} s",
            trials=tuple(tried),
            resumed=len(before),
            finalists=tuple(finalists),
            closely={name: screened[name] for name in finalists if name in screened},
            choice=choice,
            front=front,
            seconds={**self._spent, "total": time.monotonic() - begin},
        )
        study.note("search", found)
        return found

    # What everything is compared with --------------------------------------------------------------------------------------

    @property
    def _reference(self) -> str:
        return self._study.plan.baseline.name

    def _measure_the_unoptimized(self) -> None:
        """Raises EdgeError."""
        study, name = self._study, self._reference
        with self._phase("build"):
            variant = study.variant(name)
        with self._run.lock.measuring():
            if study.declaration.is_language:
                with self._phase("measure"):
                    self._known[name] = study.screen_one(name, {})
            else:
                self._contest = Contest(variant, study.setup, self._run.registry)
                self._known[name] = self._looked_at(variant)
        self._compared = objectives.measured(self._known.values())

    def _name(self, space: Space) -> str:
        """Of the study: everything that its trials' figures depend on is in it."""
        study, run = self._study, self._run
        device, declared = run.device, study.declaration
        versions = {
            offer.recipe.framework: registry.versions(run.registry.framework(offer.recipe.framework))
            for offer in study.plan.offers
        }
        made_of = [
            SCHEMA,
            importlib.metadata.version("pytest-edgeai"),
            study.model.digest,
            study.data_digest,
            declared.score if isinstance(declared.score, str) else getattr(declared.score, "__qualname__", ""),
            declared.population,
            run.settings.shape,
            study.target,
            [device.name, device.cpu, device.features, device.cores, device.accelerators, device.engines],
            sorted(recipe.name for recipe in space.recipes),
            [space.sparsities, space.tunings],
            versions,
            [one.quantity for one in self._compared],
        ]
        return f"{study.model.name[:60]} for {run.target.name} {digest_of(made_of)[:16]}"

    def _kept(self, name: str) -> str:
        folder = self._run.cache.root / "searches"
        folder.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{folder / _file(name)}"

    # One trial -------------------------------------------------------------------------------------------------------------

    def _evaluated(self, recipe: Recipe, number: int) -> Trial:
        study = self._study
        before = dict(self._spent)
        try:
            trial = self._tried(recipe, number)
        except UnsupportedError as reason:
            trial = Trial(number=number, recipe=recipe, state="refused", evidence=_sentence(reason, recipe))
        except EdgeError as error:
            trial = Trial(number=number, recipe=recipe, state="failed", evidence=_sentence(error, recipe))
            # What ended it was the time.
            if study.build_seconds and self._spent["build"] - before.get("build", 0.0) >= study.build_seconds:
                why = f"building it took more than {study.build_seconds:.0f} s, a quarter of the budget"
                trial = Trial(number=number, recipe=recipe, state="cut", missed=1.0, evidence=why)
                study.forget(recipe.name)  # whoever has the time for it may build it
        return msgspec.structs.replace(
            trial,
            seconds={
                name: total - before.get(name, 0.0)
                for name, total in self._spent.items()
                if total > before.get(name, 0.0)
            },
        )

    def _tried(self, recipe: Recipe, number: int) -> Trial:
        """Cheap facts first: whether it is refused, what it weighs, how good it is, and only then how fast. Raises EdgeError."""
        study = self._study
        reason = study.admit(recipe)
        if reason is not None:
            return Trial(number=number, recipe=recipe, state="refused", evidence=reason)
        with self._phase("build"):
            variant = study.variant(recipe.name)
        with self._run.lock.measuring():
            if study.declaration.is_language:
                found, why = self._read_and_timed(variant)
            else:
                found, why = self._weighed_and_timed(variant)
        broken = choosing.shortfalls(found, self._compared_with(recipe.name), study.target.limits)
        sentences = tuple(sentence for _, sentence in broken)
        measured = all(one.quantity in found for one in self._compared)
        missing = [one.word for one in self._compared if one.quantity not in found]
        cut = (
            f"{'; '.join(sentences)} ({why}), so its speed was not measured"
            if why
            else f"its {' and '.join(missing)} could not be read"
        )
        return Trial(
            number=number,
            recipe=recipe,
            state="measured" if measured else "cut",
            figures=found,
            gains=self._gains(found) if measured else {},
            missed=sum(short for short, _ in broken),
            breaks=sentences,
            evidence=why if measured else cut,
        )

    def _read_and_timed(self, variant: Variant) -> tuple[dict[str, Figure], str]:
        """Of a language model."""
        study, name = self._study, variant.name
        found = self._kept_figures(name, self._sizes(variant))
        if why := self._breaks(name, found):
            return found, why
        if study.dataset is not None:
            with self._phase("score"):
                found |= study.quality(name, SELECTION)
            if why := self._breaks(name, found):
                return found, why
        with self._phase("measure"):
            baseline = study.baseline_of(name)
            if baseline != self._reference and "decode.throughput" not in study.figures_of(baseline):
                study.screen_one(baseline, {})  # what its speed and memory are compared with
            return study.screen_one(name, {}), ""

    def _weighed_and_timed(self, variant: Variant) -> tuple[dict[str, Figure], str]:
        """Of a model of tensors, in one process."""
        assert self._contest is not None
        name, study = variant.name, self._study
        found = self._sizes(variant)
        if why := self._breaks(name, found):
            return self._kept_figures(name, found), why
        with contextlib.ExitStack() as stack:
            with self._phase("measure"):
                bench = stack.enter_context(self._contest.enter(variant))
            found |= self._look_at(bench)
            if why := self._breaks(name, found):
                return self._kept_figures(name, found), why
            if "speedup" in self._known[self._reference]:
                enough = _Enough(study, name, found, self._known, self._compared)
                with self._phase("measure"):
                    limit = study.target.limits.speedup
                    found["speedup"], samples = self._contest.compare(bench, limit, study.next_seed(), enough)
                study.note("measurement", samples)
                why = enough.why
            study.note("placement", {"variant": name, "placement": bench.placement})
        return self._kept_figures(name, found), why

    def _looked_at(self, variant: Variant) -> dict[str, Figure]:
        """Of the unoptimized model. Raises EdgeError."""
        assert self._contest is not None
        with self._phase("measure"), self._contest.enter(variant) as bench:
            found = self._sizes(variant) | self._look_at(bench)
        if self._run.why_not_measured(variant.recipe) is None:
            found["speedup"] = figures.exact(1, "x", "by definition")
        return self._kept_figures(variant.name, found)

    def _sizes(self, variant: Variant) -> dict[str, Figure]:
        asked = ["size"] if self._study.declaration.is_language else ["size", "compressed_size"]
        with self._phase("measure"):
            return {name: figures.exact(self._study.bytes_of(variant.name, name), "bytes") for name in asked}

    def _look_at(self, bench: Bench) -> dict[str, Figure]:
        """How good it is, and what its process takes."""
        study, found = self._study, dict[str, Figure]()
        if study.dataset is not None:
            with self._phase("score"), study.scored_by(bench):
                found |= study.quality(bench.variant.name, SELECTION)
        if self._run.why_not_measured(bench.variant.recipe) is None:
            assert self._contest is not None
            found |= self._contest.read(bench)
        return found

    def _breaks(self, name: str, found: Mapping[str, Figure]) -> str:
        """How it is known that the variant surely breaks a limit; empty where it may not."""
        study, limits = self._study, self._study.target.limits
        if limits.package is not None and found["size"].estimate > limits.package:
            return "counted"
        quality = next((one for one in self._compared if one.name == "accuracy" and one.quantity in found), None)
        if quality is None or quality.quantity not in ("accuracy", "perplexity"):
            return ""
        operator, limit = (">=", limits.accuracy_kept) if quality.more else ("<=", limits.perplexity)
        claim = Claim(name, quality.quantity, operator, limit, self._reference)
        with contextlib.suppress(EdgeError):  # what can't be compared isn't shown
            finding = study.evaluation.find(claim, RIGOR["quick"], SELECTION)
            if finding.outcome is Outcome.FAIL:
                return f"shown at 99 % by {finding.spent} of the selection part"
        return ""

    def _kept_figures(self, name: str, found: dict[str, Figure]) -> dict[str, Figure]:
        for quantity, figure in found.items():
            if quantity not in _QUALITY:  # those of all scored items are there already
                self._study.note_figure(name, quantity, figure)
        return found

    def _compared_with(self, name: str) -> dict[str, Figure]:
        """What limits on the variant are shares of: memory of its own baseline, quality of the reference."""
        reference, baseline = self._known[self._reference], self._study.baseline_of(name)
        own = reference if baseline == self._reference else self._study.figures_of(baseline)
        return own | {quantity: reference[quantity] for quantity in _QUALITY if quantity in reference}

    def _gains(self, found: Mapping[str, Figure]) -> dict[str, float]:
        origin, limits = self._known[self._reference], self._study.target.limits
        return {
            one.name: objectives.gain(one, found[one.quantity].estimate, origin[one.quantity].estimate, limits)
            for one in self._compared
        }

    # All of them -----------------------------------------------------------------------------------------------------------

    def _adopt(self, tried: Sequence[Trial]) -> None:
        """What this search, an earlier one or another process found out."""
        study = self._study
        for trial in tried:
            if trial.name in self._adopted or not trial.figures or study.admit(trial.recipe) is not None:
                continue
            self._adopted.add(trial.name)
            if trial.state == "measured":
                self._known.setdefault(trial.name, dict(trial.figures))
            if not study.is_built(trial.name):
                study.note_found_before(trial.recipe, int(trial.figures["size"].estimate))
            for quantity, figure in trial.figures.items():
                if quantity not in study.figures_of(trial.name):
                    study.note_figure(trial.name, quantity, figure)

    def _so_far(self, tried: Sequence[Trial], left: float) -> str:
        best = self._finalists(tried)[:1]
        told = f"; best so far {best[0]}{self._speed(best[0])}" if best else ""
        return f"{told}; {max(left, 0):.0f} s of the budget left"

    def _speed(self, name: str) -> str:
        found = next((self._known[name][one] for one in choosing.SPEEDS if one in self._known[name]), None)
        return f" ({show(found.estimate, found.unit)})" if found is not None else ""

    def _finalists(self, tried: Sequence[Trial]) -> list[str]:
        """The best of what meets the limits, else the nearest to them; of one recipe, pruned and tuned in several ways, at most two."""
        measured = [trial for trial in tried if trial.state == "measured" and trial.name in self._known]
        meeting = {trial.name: trial.gains for trial in measured if not trial.breaks}
        if meeting:
            shares = choosing.shares(self._compared, meeting, self._run.preferred)
            worth = {name: sum(shares[one] * gains[one] for one in shares) for name, gains in meeting.items()}
        else:
            worth = {trial.name: -trial.missed for trial in measured}
        chosen: list[str] = []
        kinds: Counter[tuple[str, str, str]] = Counter()
        for name in sorted(worth, key=lambda name: -worth[name]):
            recipe = self._study.recipe(name)
            kind = (recipe.framework, recipe.precision, recipe.method)
            if kinds[kind] < ALIKE and len(chosen) < FINALISTS:
                chosen.append(name)
                kinds[kind] += 1
        return chosen

    def _screened(self, explorer: Explorer, finalists: Sequence[str], closing: Closing) -> dict[str, dict[str, Figure]]:
        """Figures of the finalists and of what they are compared with, measured unless an earlier search did. Raises UnsupportedError without finalists."""
        study = self._study
        if not explorer.tried():
            raise UnsupportedError(
                f"The budget was spent on measuring the unoptimized model ({self._reference}) before anything was tried: give more (--budget)."
            )
        if not finalists:
            told = " ".join(f"{trial.name}: {trial.evidence}" for trial in explorer.tried()[:3])
            raise UnsupportedError(f"Nothing that was tried of {study.model.name} could be measured. {told}")
        screened = dict(closing.screened)
        if study.declaration.is_language:  # whose trials are as close a look already
            screened |= {name: self._known[name] for name in (self._reference, *finalists) if name in self._known}
            baselines = (study.baseline_of(name) for name in finalists)
            screened |= {
                name: dict(found) for name in baselines if "decode.throughput" in (found := study.figures_of(name))
            }
        unoptimized = dict.fromkeys([self._reference, *map(study.baseline_of, finalists)])
        missing = [name for name in (*unoptimized, *finalists) if name not in screened]
        if missing:
            with self._run.lock.measuring(), self._phase("screen"):
                screened |= study.screen(list(dict.fromkeys([self._reference, *missing])))
        for name in (self._reference, *finalists):
            # What was counted once need not be counted again.
            exact = {one: self._known[name][one] for one in ("size", "compressed_size") if one in self._known[name]}
            if name in screened:
                screened[name] = exact | screened[name]
        for name in finalists:
            for quantity, figure in screened.get(name, {}).items():
                if quantity not in _QUALITY:
                    study.note_figure(name, quantity, figure)
        return screened

    def _choice(self, finalists: Sequence[str], screened: Mapping[str, dict[str, Figure]]) -> Choice:
        """Between the finalists."""
        study, places = self._study, [preference.framework for preference in self._study.plan.preferences]
        recipes = sorted(
            (study.recipe(name) for name in finalists if name in screened and study.baseline_of(name) in screened),
            # What is plain goes before what is changed, where both are as good.
            key=lambda one: (places.index(one.framework), one.sparsity, len(one.tuning), one.name),
        )
        if not recipes:
            raise UnsupportedError(
                f"None of the best that were tried could be measured closely: {', '.join(finalists)}."
            )
        unoptimized = dict.fromkeys([self._reference, *map(study.baseline_of, finalists)])
        names = (*unoptimized, *(one.name for one in recipes))
        return study.choose_from({name: screened[name] for name in names if name in screened}, recipes)

    @contextlib.contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        """What is done inside of another phase counts for itself alone."""
        begin, others = time.monotonic(), sum(self._spent.values())
        try:
            yield
        finally:
            self._spent[name] += time.monotonic() - begin - (sum(self._spent.values()) - others)


class _Enough:
    """Whether a few rounds say enough of a variant's speed: that it breaks the limit, or that another variant beats it. ``why`` is the evidence."""

    def __init__(
        self,
        study: Study,
        name: str,
        found: Mapping[str, Figure],
        known: Mapping[str, Mapping[str, Figure]],
        compared: Sequence[Objective],
    ) -> None:
        self._study, self._name, self._found, self._known, self._compared = study, name, found, known, compared
        self.why = ""

    def __call__(self, speed: Figure) -> bool:
        if not speed.confidence:
            return False
        limit = self._study.target.limits.speedup
        if speed.high < limit:
            self.why = f"surely slower than {show(limit, 'x')} after {speed.n} rounds"
            return True
        mine = {**self._found, "speedup": speed}
        others = {name: figures for name, figures in self._known.items() if name != self._study.plan.baseline.name}
        shown = functools.partial(self._study.shown, part=SELECTION)
        known = {**others, self._name: mine}
        beaten = frontier.beaten(self._name, known, self._compared, shown, self._study.is_same)
        self.why = f"beaten by {beaten.by} ({'; '.join(beaten.evidence)})" if beaten is not None else ""
        return beaten is not None


def _file(name: str) -> str:
    """Of a study's own storage."""
    return f"{digest_of(name)[:32]}.db"


def _sentence(error: EdgeError, recipe: Recipe) -> str:
    return " ".join(str(error).split()).removeprefix(f"{recipe.name}: ")[:400]
