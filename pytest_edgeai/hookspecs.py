"""Hooks: what a third party (and every built-in) implements.

Two families. A *plugin module* (registered by dotted name, because workers must be able to import it) implements the
``edge_`` hooks; a *conftest* implements the ``pytest_edge_`` hooks. The names of plugin modules come from the entry-point group
``pytest_edgeai`` and from ``pytest_edge_plugins``.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from pytest_edgeai.protocols import Framework, Metric
    from pytest_edgeai.records import Target

PROJECT = "pytest_edgeai"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class PluginHooks:
    """Implemented by plugin modules, with ``from pytest_edgeai import hookimpl``."""

    @hookspec
    def edge_frameworks(self) -> "Iterable[Framework]":
        """The engines that this module brings."""
        raise AssertionError("a specification is never called")

    @hookspec
    def edge_metrics(self) -> "Iterable[Metric]":
        """The sensors that this module brings."""
        raise AssertionError("a specification is never called")

    @hookspec
    def edge_targets(self) -> "Iterable[Target]":
        """The targets that this module brings."""
        raise AssertionError("a specification is never called")


class ConftestHooks:
    """Implemented by an initial ``conftest.py``; pytest finds them by name."""

    def pytest_edge_plugins(self, config: Any) -> Iterable[str]:
        """Dotted names of plugin modules to register."""
        raise AssertionError("a specification is never called")

    def pytest_edge_models(self, config: Any) -> Mapping[str, Any]:
        """Name -> the keyword arguments of an ``edge_model`` marker: models to use where nothing else declares one."""
        raise AssertionError("a specification is never called")
