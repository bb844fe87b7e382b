"""Collection: which variants a test runs for. Known from names alone: no model is read, nothing is detected but the device."""

import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_edgeai.errors import EdgeError, UsageError, unknown
from pytest_edgeai.plugin import state

if TYPE_CHECKING:
    from pytest_edgeai.pipeline import Declaration
    from pytest_edgeai.plugin.session import EdgeSession


SHIPPED = Path(__file__).parents[1] / "suites"
"""Gates that come with an installed package, where no conftest can supply a model."""


FAMILIES = {"tensor": "models of tensors", "language": "language models"}
"""What an ``edge_kind`` marker may name."""


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
            supplied = [name for name, one in session.models.items() if other_family(metafunc.definition, one) is None]
            declared = session.models[supplied[0]] if supplied else None
            if len(session.models) > 1 and supplied:
                metafunc.parametrize("_edge_study", supplied, ids=supplied, indirect=True)
        if "edge_variant" in metafunc.fixturenames:
            # An empty list would be an empty parametrization; the fixture skips None with the reason.
            names: list[str | None] = [*_variants(metafunc, session, declared)] or [None]
            metafunc.parametrize("edge_variant", names, ids=[name or "none" for name in names], indirect=True)
    except EdgeError as error:
        session.problem = error  # told once, when all is collected
        if "edge_variant" in metafunc.fixturenames:
            metafunc.parametrize("edge_variant", [None], indirect=True)


def _variants(metafunc: pytest.Metafunc, session: "EdgeSession", declared: "Declaration | None") -> list[str]:
    if declared is None or other_family(metafunc.definition, declared):
        return []
    names = [recipe.name for recipe in session.run.catalogue(declared.kind)]
    globs = wanted(metafunc.definition)
    session.run.demand_known(globs, metafunc.definition.nodeid)
    return [name for name in names if not globs or any(fnmatch.fnmatchcase(name, glob) for glob in globs)]


def other_family(node: pytest.Item | pytest.Function, declared: "Declaration") -> str | None:
    """Why a test isn't for this model, by its ``edge_kind`` marker; ``None`` where it is. Raises UsageError."""
    marker = node.get_closest_marker("edge_kind")
    if marker is None:
        return None
    family = marker.args[0] if marker.args else ""
    if family not in FAMILIES:
        raise UsageError(f"The edge_kind marker of {node.nodeid}: {unknown('family of models', str(family), FAMILIES)}")
    own = "language" if declared.is_language else "tensor"
    return None if own == family else f"for {FAMILIES[family]}; {declared.path.name} is one of the {FAMILIES[own]}"


def wanted(node: pytest.Item) -> list[str]:
    """The globs over recipes' names that the test's ``edge_recipe`` markers hold: each argument is a list, separated by spaces."""
    return [glob for marker in node.iter_markers("edge_recipe") for text in marker.args for glob in text.split()]
