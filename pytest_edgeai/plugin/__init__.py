"""The pytest plugin: options, markers, fixtures. The only importer of pytest.

What is here is loaded at every start of pytest, so it is little and imports nothing that costs time; the hooks of running edge tests are
registered when the first one is collected.
"""

from typing import TYPE_CHECKING, Any

import pytest

from pytest_edgeai.plugin import options, state
from pytest_edgeai.plugin.fixtures import (
    _edge_study,
    edge_assessment,
    edge_choice,
    edge_dataset,
    edge_device,
    edge_model,
    edge_progression,
    edge_search,
    edge_target,
    edge_variant,
    edge_variants,
)

if TYPE_CHECKING:
    from pytest_edgeai.records import Results

__all__ = [
    "_edge_study",
    "edge_assessment",
    "edge_choice",
    "edge_dataset",
    "edge_device",
    "edge_model",
    "edge_progression",
    "edge_search",
    "edge_target",
    "edge_variant",
    "edge_variants",
]

MARKERS = (
    "edge_model(path, dataset=None, score='auto', population='unseen', limits=''): the model of these tests; paths are relative to the test file.",
    "edge_target(name, ...): run these tests only for these targets.",
    "edge_kind(family): run these tests only for models of this family, 'tensor' or 'language'.",
    "edge_recipe(*globs): run these tests only for variants whose name matches one of the globs, separated by spaces.",
    "edge_rigor(name): effort of these tests' comparisons, 'quick' or 'strict'.",
)
_RESULTS: "pytest.StashKey[Results]" = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    options.declare(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    from pytest_edgeai.hookspecs import ConftestHooks

    pluginmanager.add_hookspecs(ConftestHooks)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    options.read(config)  # a wrong value in the ini file is told at once, too
    if config.getoption("edge_plan"):
        # Nothing runs, so there is nothing to share out between processes (pytest-xdist reads this after us).
        config.option.dist = "no"
        _register_hooks(config)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    config = session.config
    if config.getoption("edge_target") and not hasattr(config, "workerinput"):
        from pytest_edgeai.plugin.outcomes import usage_errors

        with usage_errors():  # told at once, before anything is collected
            _ = state.session(config).run


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """pytest-xdist: tell a worker where the run's facts are gathered."""
    from pytest_edgeai.plugin.console import Following

    config, folder = node.config, state.run_folder(node.config)
    node.workerinput["edge_folder"] = str(folder)
    if not config.pluginmanager.has_plugin("edgeai-following"):
        config.pluginmanager.register(Following(config, folder), "edgeai-following")
        _register_termination(config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if any(name.startswith("edge_") for name in metafunc.fixturenames):
        _register_hooks(metafunc.config)
        from pytest_edgeai.plugin import collection

        collection.parametrize(metafunc)


def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    if not state.run_folder(config).is_dir():
        return
    from pytest_edgeai.plugin import finish

    results = finish.finish(session, config.pluginmanager.get_plugin("edgeai-termination"))
    if results is not None:
        config.stash[_RESULTS] = results


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if _RESULTS in config.stash:
        from pytest_edgeai.plugin import finish

        finish.summarize(terminalreporter, config, config.stash[_RESULTS])


def _register_hooks(config: pytest.Config) -> None:
    from pytest_edgeai.plugin import running

    if not config.pluginmanager.is_registered(running):
        config.pluginmanager.register(running, "edgeai-running")
        _register_termination(config)


def _register_termination(config: pytest.Config) -> None:
    from pytest_edgeai.plugin.termination import Stopping, Termination

    folder = state.run_folder(config)
    plugin = Stopping(folder) if hasattr(config, "workerinput") else Termination(folder)
    config.pluginmanager.register(plugin, "edgeai-termination")
