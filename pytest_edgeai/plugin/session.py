"""The session: the plugin's state in one pytest process, and the run behind it."""

import dataclasses
import functools
import traceback
from datetime import UTC, datetime
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

import pytest

from pytest_edgeai.plugin import options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_edgeai.errors import EdgeError
    from pytest_edgeai.judge.claims import Claim
    from pytest_edgeai.judge.quantities import Subject
    from pytest_edgeai.pipeline import Declaration, Run, Study
    from pytest_edgeai.progress import Progress
    from pytest_edgeai.records import Figure, Outcome, Verdict


class EdgeSession:
    """Made at configuration and cheap; everything else is made when a test needs it."""

    def __init__(self, config: pytest.Config, folder: Path) -> None:
        self.config = config
        self.folder = folder
        self.settings = options.read(config)
        self.started = datetime.now(UTC)
        self.worker_input: dict[str, Any] | None = getattr(config, "workerinput", None)
        self.verdicts: list[Verdict] = []
        """Of the running test, in the order in which they were asked for."""
        self.claims = 0
        """How many it made so far, its fixtures included."""
        self.problem: EdgeError | None = None
        """What stopped the collection of edge tests."""
        self.unwritten = ""
        """Why there is no report."""

    @functools.cached_property
    def run(self) -> "Run":
        """Raises EdgeError for an unknown target or a wrong plugin."""
        from pytest_edgeai.errors import UsageError
        from pytest_edgeai.pipeline import Run

        who = self.worker_input["workerid"] if self.worker_input is not None else "main"
        plugins: list[str] = []
        for names in self._asked("pytest_edge_plugins"):
            if not isinstance(names, list | tuple | NoneType) or not all(isinstance(name, str) for name in names or ()):
                raise UsageError(f"pytest_edge_plugins gives a list of modules' names, not {names!r}.")
            plugins += names or ()
        return Run(self.settings, plugins, self.folder, who, self.progress)

    @functools.cached_property
    def progress(self) -> "Progress":
        """Where this process shows long work."""
        from pytest_edgeai.plugin import console

        return console.progress(self.config, self.folder)

    @functools.cached_property
    def models(self) -> dict[str, "Declaration"]:
        """What ``pytest_edge_models`` of conftests supplies, by name. Not asked before a test needs it."""
        from pytest_edgeai.errors import UsageError

        found: dict[str, Declaration] = {}
        for models in self._asked("pytest_edge_models"):
            if not isinstance(models or {}, dict) or not all(isinstance(one, dict) for one in (models or {}).values()):
                raise UsageError(f"pytest_edge_models gives {{name: {{'path': ..., 'dataset': ...}}}}, not {models!r}.")
            for name, arguments in (models or {}).items():
                where = f"The model '{name}' of pytest_edge_models"
                found[name] = self._declared(where, self.config.rootpath, **arguments)
        return found

    def declaration(self, node: pytest.Item | pytest.Function | Any, name: str | None = None) -> "Declaration | None":
        """The model of a test: by option, else its marker, else the ini key, else the hook's model called ``name``."""
        from pytest_edgeai import tasks
        from pytest_edgeai.pipeline import Declaration

        settings = self.settings
        marker = node.get_closest_marker("edge_model")
        if marker is not None:
            return self._declared(f"The marker of {node.nodeid}", node.path.parent, *marker.args, **marker.kwargs)
        if settings.model:
            dataset = tasks.dataset(settings.dataset, Path()) if settings.dataset else None
            return Declaration(Path(settings.model), dataset, settings.score, settings.population)
        if name is not None:
            return self.models[name]
        return next(iter(self.models.values())) if len(self.models) == 1 else None

    def study(self, declaration: "Declaration | None") -> "Study":
        """Raises EdgeError."""
        from pytest_edgeai.errors import UsageError

        if declaration is None:
            raise UsageError(
                "No model is declared for this test. Give --edge-model FILE, or mark it: @pytest.mark.edge_model('model.onnx', dataset='items.npz')."
            )
        return self.run.study(declaration)

    def subject(self, study: "Study", name: str, node: pytest.Item, *, is_choice: bool = False) -> "Subject":
        """A variant whose comparisons are registered with the running test."""
        from pytest_edgeai.errors import UsageError, unknown
        from pytest_edgeai.judge.rules import RIGOR

        marker = node.get_closest_marker("edge_rigor")
        rigor = marker.args[0] if marker and marker.args else self.settings.rigor
        if rigor not in RIGOR:
            raise UsageError(unknown("rigor", rigor, RIGOR))
        return study.subject(name, _Listening(study, self), rigor, is_choice=is_choice)

    def verdict(self, outcome: "Outcome", claim: str, text: str) -> "Verdict":
        """A verdict on a test that got no further than ``text``."""
        from pytest_edgeai.records import Verdict

        return Verdict(
            outcome=outcome,
            claim=claim,
            subject="",
            quantity="",
            operator="",
            limit=0,
            unit="",
            device=self.run.here,
            target=self.run.target.name,
            notes=tuple(text.splitlines()),
        )

    def _asked(self, hook: str) -> "list[Any]":
        """What conftests answer. Raises UsageError, naming the line, for whatever they raise."""
        from pytest_edgeai.errors import EdgeError, UsageError

        try:
            return list(getattr(self.config.hook, hook)(config=self.config))
        except EdgeError:
            raise
        except Exception as error:  # a conftest's own, whatever it is
            last = traceback.extract_tb(error.__traceback__)[-1]
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise UsageError(f"{hook} failed ({last.filename}:{last.lineno}): {reason}") from error

    def _declared(self, where: str, folder: Path, *given: Any, **named: Any) -> "Declaration":
        """``given`` and ``named``: the arguments of an ``edge_model`` marker. Raises UsageError."""
        from pytest_edgeai import tasks
        from pytest_edgeai.errors import UsageError, unknown
        from pytest_edgeai.pipeline import Declaration

        try:
            path, dataset, score, population, limits = _edge_model(*given, **named)
        except TypeError as error:
            raise UsageError(f"{where}: {str(error).removeprefix('_')}.") from None
        settings, option = self.settings, self.config.getoption
        model, items = folder / path, tasks.dataset(str(dataset), folder) if dataset else None
        if option("edge_model") and settings.model:
            model = Path(settings.model)
        if option("edge_dataset") and settings.dataset:
            items = tasks.dataset(settings.dataset, Path())
        population = option("edge_population") or population or settings.population
        if population not in ("unseen", "dataset"):
            raise UsageError(f"{where}: {unknown('population', population, ('unseen', 'dataset'))}")
        return Declaration(model, items, option("edge_score") or score or settings.score, population, limits)


def _edge_model(
    path: str, dataset: str | None = None, score: Any = None, population: str | None = None, limits: str = ""
) -> tuple[str, str | None, Any, str | None, str]:
    """The marker's signature."""
    return path, dataset, score, population, limits


class _Listening:
    """A decider that writes down what it decided. Satisfies :class:`pytest_edgeai.judge.quantities.Decider`."""

    def __init__(self, study: "Study", session: EdgeSession) -> None:
        self._study, self._session = study, session

    @property
    def units(self) -> "Mapping[str, str]":
        """As the study does."""
        return self._study.units

    def decide(self, claim: "Claim") -> "Verdict":
        """As the study does."""
        verdict = self._study.decide(dataclasses.replace(claim, place=self._session.claims + 1))
        if verdict not in self._session.verdicts:
            self._session.claims += 1
            self._session.verdicts.append(verdict)
        return verdict

    def figure(self, subject: str, quantity: str) -> "Figure":
        """As the study does."""
        return self._study.figure(subject, quantity)
