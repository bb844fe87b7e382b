"""Collection: which variants a test runs for. Known from names alone: no model is read, nothing is detected but the device."""

import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_edgeai.errors import EdgeError, UsageError
from pytest_edgeai.plugin import state

if TYPE_CHECKING:
    from pytest_edgeai.pipeline import Declaration
    from pytest_edgeai.plugin.session import EdgeSession


SHIPPED = Path(__file__).parents[1] / "suites"
"""Gates that come with an installed package, where no conftest can supply a model."""


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Over the models where conftests supply several, and over the catalogue's variants."""
    if "_edge_study" not in metafunc.fixturenames:
        return
    session = state.session(metafunc.config)
    try:
        declared = session.declaration(metafunc.definition)
        if declared is None and not session.models and metafunc.definition.path.is_relative_to(SHIPPED):
            raise UsageError(
                "The shipped gates need a model: give --edge-model FILE, and with --edge-dataset FILE items to score."
            )
        if declared is None and session.models:
            declared = next(iter(session.models.values()))
            if len(session.models) > 1:
                metafunc.parametrize("_edge_study", list(session.models), ids=list(session.models), indirect=True)
        if "edge_variant" in metafunc.fixturenames:
            # An empty list would be an empty parametrization; the fixture skips None with the reason.
            names: list[str | None] = [*_variants(metafunc, session, declared)] or [None]
            metafunc.parametrize("edge_variant", names, ids=[name or "none" for name in names], indirect=True)
    except EdgeError as error:
        session.problem = error  # told once, when all is collected
        if "edge_variant" in metafunc.fixturenames:
            metafunc.parametrize("edge_variant", [None], indirect=True)


def _variants(metafunc: pytest.Metafunc, session: "EdgeSession", declared: "Declaration | None") -> list[str]:
    if declared is None:
        return []
    names = [recipe.name for recipe in session.run.catalogue(declared.kind)]
    if not names and session.settings.recipe:
        raise UsageError(f"No recipe's name matches --edge-recipe {session.settings.recipe}.")
    globs = wanted(metafunc.definition)
    return [name for name in names if not globs or any(fnmatch.fnmatchcase(name, glob) for glob in globs)]


def wanted(node: pytest.Item) -> list[str]:
    """The globs over recipes' names that the test's ``edge_recipe`` markers hold: each argument is a list, separated by spaces."""
    return [glob for marker in node.iter_markers("edge_recipe") for text in marker.args for glob in text.split()]
