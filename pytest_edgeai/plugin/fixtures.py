"""Fixtures: what a test can ask for."""

import dataclasses
from typing import TYPE_CHECKING

import pytest

from pytest_edgeai.errors import EdgeError, UnsupportedError
from pytest_edgeai.plugin import collection, state

if TYPE_CHECKING:
    from pytest_edgeai.corpus import Corpus
    from pytest_edgeai.dataset import Dataset
    from pytest_edgeai.judge.quantities import Quantity, Subject
    from pytest_edgeai.pipeline import Study
    from pytest_edgeai.records import Assessment, Device, Model, Search, Stage, Target


@pytest.fixture
def edge_target(request: pytest.FixtureRequest) -> "Target":
    """The class of hardware that this run is for, with the limits of this test's model where it has one."""
    if "_edge_study" in request.fixturenames:
        study: Study = request.getfixturevalue("_edge_study")
        return study.target
    return state.session(request.config).run.target


@pytest.fixture
def edge_device(request: pytest.FixtureRequest) -> "Device":
    """The machine that this run is on."""
    run = state.session(request.config).run
    frameworks = set(run.registry.frameworks)
    if "_edge_study" in request.fixturenames:  # those that make something of its model
        study: Study = request.getfixturevalue("_edge_study")
        frameworks = {recipe.framework for recipe in [*study.plan.unoptimized, *run.catalogue(study.declaration.kind)]}
    for framework in sorted(frameworks):
        run.answers(framework)
    return run.device


@pytest.fixture
def _edge_study(request: pytest.FixtureRequest) -> "Study":
    session = state.session(request.config)
    return session.study(session.declaration(request.node, getattr(request, "param", None)))


@pytest.fixture
def edge_model(_edge_study: "Study") -> "Model":
    """The model that this test declares (``--edge-model``, the marker, the ini key, or the hook)."""
    return _edge_study.model


@pytest.fixture
def edge_dataset(_edge_study: "Study") -> "Dataset | Corpus | None":
    """The items of this test's model, or its texts; ``None`` when it has none."""
    return _edge_study.dataset


@pytest.fixture
def edge_assessment(_edge_study: "Study") -> "Assessment":
    """What is known of the model before it is optimized."""
    return _edge_study.assessment


@pytest.fixture
def edge_variant(request: pytest.FixtureRequest, _edge_study: "Study") -> "Subject":
    """One optimized variant; the test runs once for each that the target's catalogue has. Skips what makes no sense for the model."""
    name = request.param
    globs = collection.wanted(request.node)
    if name is None and globs:
        tuned = " ".join(glob for glob in globs if "@" in glob)
        how = f" A run has tuned recipes where the option asks for them: --edge-recipe '{tuned}'." if tuned else ""
        raise UnsupportedError(f"No variant of this run matches {' or '.join(globs)} (edge_recipe).{how}")
    run = _edge_study.run
    if name is None and run.settings.recipe:
        raise UnsupportedError(
            f"No variant of {_edge_study.model.name} for {run.target.name} is named {run.settings.recipe} (--edge-recipe); `--edge-plan` without that option names all."
        )
    if name is None:
        raise UnsupportedError(f"No installed framework makes variants of this kind of model for {run.target.name}.")
    refusal = _edge_study.refusal(name)
    if refusal is not None:
        raise UnsupportedError(f"{name}: {refusal}")
    _edge_study.variant(name)
    return state.session(request.config).subject(_edge_study, name, request.node)


@pytest.fixture
def edge_variants(request: pytest.FixtureRequest, _edge_study: "Study") -> "list[Subject]":
    """All variants that could be built, in the target's order of preference."""
    session, built = state.session(request.config), []
    for offer in _edge_study.plan.offers:
        try:
            _edge_study.variant(offer.recipe.name)
        except EdgeError as error:
            session.progress.say(str(error))
            continue
        built.append(session.subject(_edge_study, offer.recipe.name, request.node))
    if not built:
        raise UnsupportedError(
            f"No variant of {_edge_study.model.name} could be built for {_edge_study.run.target.name}."
        )
    return built


@pytest.fixture
def edge_choice(request: pytest.FixtureRequest, _edge_study: "Study") -> "Subject":
    """The recommended variant: found on selection items, judged on confirmation items and fresh samples."""
    choice = _edge_study.choice
    return state.session(request.config).subject(_edge_study, choice.recipe, request.node, is_choice=True)


@dataclasses.dataclass(frozen=True)
class Searched:
    """What a search came to, as a test sees it."""

    choice: "Subject"
    """The best variant that was found: judged on confirmation items and fresh samples."""
    second: "Subject | None"
    """The next best."""
    front: "list[Subject]"
    """Those that nothing is shown to beat, of all that were measured."""
    record: "Search"
    """Every trial with its figures and its evidence."""


@pytest.fixture
def edge_search(request: pytest.FixtureRequest, _edge_study: "Study") -> Searched:
    """The best variant among recipes that are pruned and tuned in many ways (``--edge-search-trials``, ``--edge-search-budget``)."""
    from pytest_edgeai import searching

    session = state.session(request.config)
    settings = session.settings
    found = searching.search_once(_edge_study, settings.search_trials, settings.search_budget)

    def subject(name: str) -> "Subject":
        return session.subject(_edge_study, name, request.node, is_choice=True)

    return Searched(
        choice=subject(found.choice.recipe),
        second=subject(found.choice.second) if found.choice.second else None,
        front=[subject(name) for name in found.front.members],
        record=found,
    )


@dataclasses.dataclass(frozen=True)
class StageView:
    """One stage of progressive optimization, as a test sees it."""

    name: str
    """``baseline``, ``conversion``, ``pruning``, ``quantization``, ``hardware acceleration``, ``production validation``."""
    variant: "Subject"
    """What it made, or what went through it unchanged."""
    before: "Subject | None"
    """What the stage before made; ``None`` for the first one."""
    record: "Stage"
    """What was done, and what was measured."""
    of_language: bool
    """Whether it is a language model, whose speed is its decoding."""

    @property
    def speedup(self) -> "Quantity":
        """How many times as fast as the stage before, to be compared with a number. Raises UnsupportedError where the stage changed nothing."""
        if self.before is None or not self.record.changed:
            raise UnsupportedError(f"The stage {self.name} changed nothing: {self.record.text}")
        mine, its = self.variant, self.before
        if self.of_language:
            mine, its = mine.decode, its.decode
        ratio: Quantity = mine.throughput / its.throughput
        return ratio


@pytest.fixture
def edge_progression(request: pytest.FixtureRequest, _edge_study: "Study") -> list[StageView]:
    """The stages that led to the choice (of a search, where a test before asked for one), each measured against the one before."""
    from pytest_edgeai import progression

    session = state.session(request.config)
    name = _edge_study.recommended
    stages = progression.progression_of(_edge_study, name, session.settings.rigor)

    def subject(recipe: str) -> "Subject":
        return session.subject(_edge_study, recipe, request.node, is_choice=recipe == name)

    language = _edge_study.declaration.is_language
    return [
        StageView(one.name, subject(one.recipe), subject(one.before) if one.before else None, one, language)
        for one in stages
    ]
