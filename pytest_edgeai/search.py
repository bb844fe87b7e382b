"""Search: which recipe to try next, by Optuna; what was tried is kept in its storage, so that a search goes on where it was stopped.

Satisfied by whoever evaluates a recipe: nothing here builds or measures.
"""

import itertools
import logging
import math
import os
import platform
import random
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from pytest_edgeai.errors import UsageError
from pytest_edgeai.records import Figure, Front, Recipe, Record, Trial

if TYPE_CHECKING:
    import optuna

SPARSITIES: Final = (0.0, 0.1, 0.2, 0.3, 0.5)
"""Shares of the weights that may be pruned."""
REPEATED: Final = 3
"""Times in a row that the sampler may propose what was tried already, before a point is drawn that wasn't."""
ABANDONED: Final = 3600.0
"""Seconds after which a trial that another machine began is nobody's."""
_OWN: Final = "default"
"""A tuning key's value that leaves the choice to the engine."""
_FACT, _OWNER, _MISSED, _CLOSING = "edgeai", "edgeai-owner", "edgeai-missed", "edgeai-closing"

Value = str | int
Evaluate = Callable[[Recipe, int, Sequence[Trial]], Trial]
"""(recipe, number, what was tried before) -> what it came to; never raises for what a recipe or an engine does."""


@dataclass(frozen=True, slots=True)
class Space:
    """What can be tried: a recipe, pruned or not, tuned or not."""

    recipes: tuple[Recipe, ...]
    """Neither pruned nor tuned, in order of preference; the first trials are these."""
    sparsities: tuple[float, ...] = (0.0,)
    tunings: Mapping[str, Mapping[str, Sequence[Value]]] = field(default_factory=dict)
    """Framework -> key -> values to try beside what the engine chooses itself."""
    but: frozenset[str] = frozenset()
    """Names of recipes that are no points: the baseline, which everything is compared with."""
    asked: tuple[Recipe, ...] = ()
    """Points that somebody asked for by name, changed as they are; they are tried before all others."""

    def points(self) -> Iterator[Recipe]:
        """Every recipe, those that were asked for first, then those of the catalogue."""
        yield from self.asked
        yield from (recipe for recipe in self.recipes if recipe.name not in self.but)
        for recipe in self.recipes:
            keys = self.tunings.get(recipe.framework, {})
            tunings = [
                dict(zip(keys, values, strict=True))
                for values in itertools.product(*((_OWN, *keys[key]) for key in keys))
            ]
            for sparsity, tuning in itertools.product(self.sparsities, tunings):
                found = self._made(recipe, sparsity, tuning)
                if found != recipe and found not in self.asked:
                    yield found

    @property
    def size(self) -> int:
        """How many points there are."""
        return sum(1 for _ in self.points())

    def ask(self, trial: "optuna.Trial") -> Recipe:
        """The recipe that the sampler proposes."""
        known = {recipe.name: recipe for recipe in self.recipes}
        recipe = known[trial.suggest_categorical("recipe", sorted(known))]  # in one order, whatever is preferred
        sparsity = self.sparsities[0]
        if len(self.sparsities) > 1:
            sparsity = trial.suggest_categorical("sparsity", self.sparsities)
        tuning: dict[str, Value] = {}
        for key, values in self.tunings.get(recipe.framework, {}).items():
            tuning[key] = trial.suggest_categorical(f"{recipe.framework}:{key}", (_OWN, *values))
        return self._made(recipe, sparsity, tuning)

    def parameters(self, recipe: Recipe) -> dict[str, Any]:
        """The sampler's parameters of a point."""
        plain = msgspec.structs.replace(recipe, sparsity=0.0, tuning={})
        found: dict[str, Any] = {"recipe": plain.name}
        if len(self.sparsities) > 1:
            found["sparsity"] = recipe.sparsity
        for key in self.tunings.get(recipe.framework, {}):
            found[f"{recipe.framework}:{key}"] = recipe.tuning.get(key, _OWN)
        return found

    @staticmethod
    def _made(recipe: Recipe, sparsity: float, tuning: Mapping[str, Value]) -> Recipe:
        chosen = {key: value for key, value in sorted(tuning.items()) if value != _OWN}
        return msgspec.structs.replace(recipe, sparsity=sparsity, tuning=chosen)


class Closing(Record, frozen=True, kw_only=True):
    """What a search ends with."""

    screened: dict[str, dict[str, Figure]] = msgspec.field(default_factory=dict)
    """Variant -> figures, of those that were measured closely."""
    front: Front | None = None
    trials: int = 0
    """Of how many trials the front is."""


class Explorer:
    """A study in a storage. Raises UsageError where the storage can't be used.

    ``objectives``: names of the gains that every measured trial has, more of each is better; a study that was begun with others is another study, so
    they belong into ``name``. ``storage``: a URL as SQLAlchemy takes it, or the path of a journal file (``.log``).
    """

    def __init__(self, space: Space, objectives: Sequence[str], storage: str, name: str, seed: int) -> None:
        self.space, self._objectives = space, tuple(objectives)
        self._random = random.Random(seed)  # noqa: S311 - a proposal, not a secret
        self._study = _opened(storage, name, len(self._objectives), seed, len(space.recipes))
        self._adopt_abandoned()

    def tried(self) -> list[Trial]:
        """All that was found so far, by whichever process, in order."""
        facts = (trial.user_attrs.get(_FACT) for trial in self._study.get_trials(deepcopy=False))
        return [msgspec.json.decode(fact, type=Trial) for fact in facts if fact is not None]

    def explore(
        self,
        evaluate: Evaluate,
        trials: int,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> str:
        """Try until there are so many trials, or as many seconds have passed before the next one; why it ended, empty: for the time.

        The catalogue's recipes come first; then a multi-objective tree-structured Parzen estimator proposes (Ozaki et al. 2022), with what misses limits
        as infeasible.
        """
        end = clock() + seconds
        known = {trial.name for trial in self.tried()}
        plain = (recipe for recipe in self.space.recipes if recipe.name not in self.space.but)
        for recipe in (*self.space.asked, *plain):
            if recipe.name not in known:
                self._enqueue(self.space.parameters(recipe))
        repeated = 0
        while True:
            before = self.tried()
            if len(before) >= trials:
                return f"{trials} trials"
            if clock() >= end:
                return ""
            left = self._left(before)
            if not left:
                return "every point was tried"
            proposed = self._study.ask()
            proposed.set_user_attr(_OWNER, _owner())
            recipe = self.space.ask(proposed)
            if recipe not in left:
                # Known already: it would be paid for twice, and weigh twice.
                self._tell(proposed, failed=True)
                repeated += 1
                if repeated >= REPEATED:
                    self._enqueue(self.space.parameters(self._random.choice(left)))
                continue
            repeated = 0
            try:
                found = evaluate(recipe, proposed.number, before)
            except BaseException:
                self._tell(proposed, failed=True)
                raise
            self._keep(proposed, found)

    def closing(self) -> Closing:
        """What the last search of this study ended with; empty where none came to its end."""
        fact = self._study.user_attrs.get(_CLOSING)
        return msgspec.json.decode(fact, type=Closing) if fact is not None else Closing()

    def close(self, closing: Closing) -> None:
        """Keep it, so that a search that is asked for again measures nothing again."""
        self._study.set_user_attr(_CLOSING, msgspec.json.encode(closing).decode())

    def _keep(self, proposed: "optuna.Trial", found: Trial) -> None:
        if self._study.get_trials(deepcopy=False)[proposed.number].state.is_finished():
            return  # another machine took it for abandoned, and what that one finds counts
        proposed.set_user_attr(_MISSED, found.missed)
        proposed.set_user_attr(_FACT, msgspec.json.encode(found).decode())
        values = [-found.gains.get(name, math.nan) for name in self._objectives]
        if found.state == "measured" and all(map(math.isfinite, values)):
            self._tell(proposed, values)
        else:
            self._tell(proposed, failed=found.state in ("refused", "failed"))

    def _tell(
        self, trial: "optuna.Trial | int", values: Sequence[float] | None = None, *, failed: bool = False
    ) -> None:
        from optuna.trial import TrialState

        state = None if values is not None else TrialState.FAIL if failed else TrialState.PRUNED
        with _quiet():
            self._study.tell(trial, values, state=state)

    def _left(self, before: Sequence[Trial]) -> list[Recipe]:
        """Points that nobody tried, or is trying."""
        from optuna.trial import TrialState

        known = {trial.name for trial in before}
        running = [trial.params for trial in self._study.get_trials(deepcopy=False, states=[TrialState.RUNNING])]
        return [
            recipe
            for recipe in self.space.points()
            if recipe.name not in known and self.space.parameters(recipe) not in running
        ]

    def _adopt_abandoned(self) -> None:
        """Trials that a process began which is gone are tried again."""
        from optuna.trial import TrialState

        for trial in self._study.get_trials(states=[TrialState.RUNNING]):
            if _is_abandoned(trial.user_attrs.get(_OWNER, "")):
                self._tell(trial.number, failed=True)
                if trial.params:
                    self._enqueue(trial.params)

    def _enqueue(self, parameters: Mapping[str, Any]) -> None:
        """To be tried next, once."""
        from optuna.trial import TrialState

        waiting = self._study.get_trials(deepcopy=False, states=[TrialState.WAITING])
        if parameters not in [trial.system_attrs.get("fixed_params") for trial in waiting]:
            self._study.enqueue_trial(dict(parameters))


def without_password(storage: str) -> str:
    """A storage's URL for people and for files that are passed on."""
    hidden = re.sub(r"(://[^/@:]*):[^@]*@", r"\1:***@", storage)
    return re.sub(r"([?&]password=)[^&]*", r"\1***", hidden)


def _opened(storage: str, name: str, objectives: int, seed: int, recipes: int) -> "optuna.Study":
    try:
        import optuna
    except ImportError as error:
        raise UsageError("Searching needs Optuna: pip install 'pytest-edgeai[search]'.") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells each start of a storage
    try:
        with _quiet():
            sampler = optuna.samplers.TPESampler(
                seed=seed,
                n_startup_trials=recipes,
                multivariate=True,  # a tuning that suits one recipe may not suit another
                group=True,
                constant_liar=True,  # other machines may be at work
                constraints_func=lambda trial: (trial.user_attrs[_MISSED],),
            )
            return optuna.create_study(
                storage=_storage(storage),
                study_name=name,
                directions=["minimize"] * objectives,
                sampler=sampler,
                load_if_exists=True,
            )
    except Exception as error:  # SQLAlchemy's and Optuna's, whatever they are
        said = " ".join(str(error).replace(storage, "it").split())[:300] or type(error).__name__
        raise UsageError(
            f"The storage {without_password(storage)} can't be used for a search ({type(error).__name__}: {said}). Give a URL such as sqlite:///search.db or postgresql+psycopg://..., or a file that ends in .log."
        ) from error


def _storage(told: str) -> Any:
    from optuna.storages import JournalStorage, get_storage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(told)) if told.endswith(".log") else get_storage(told)


def _quiet() -> "warnings.catch_warnings[Any]":
    """Optuna calls some of what is used here experimental, for years now."""
    return warnings.catch_warnings(action="ignore")


def _owner() -> str:
    """This process, so that no other one is ever taken for it."""
    import psutil

    return f"{platform.node()} {os.getpid()} {psutil.Process().create_time()} {time.time()}"


def _is_abandoned(owner: str) -> bool:
    """Whether the process that began a trial is gone; of another machine's, whether it can't be at work any more."""
    import psutil

    host, pid, created, begun = (*owner.split(" "), "", "", "", "")[:4]
    if host == platform.node() and pid:
        try:
            return str(psutil.Process(int(pid)).create_time()) != created
        except psutil.NoSuchProcess:
            return True
    return bool(begun) and time.time() - float(begun) > ABANDONED
