"""Hooks: what pytest calls, in the order in which it does."""

import shutil
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any

import pytest

from pytest_edgeai.errors import EdgeError
from pytest_edgeai.plugin import options
from pytest_edgeai.plugin.state import SESSION

if TYPE_CHECKING:
    from pytest_edgeai.records import Results

MARKERS = (
    "edge_model(path, dataset=None, score='top1'): the model of these tests; paths are relative to the test file.",
    "edge_target(name, ...): run these tests only for these targets.",
    "edge_recipe(glob): run these tests only for variants whose name matches.",
    "edge_rigor(name): effort of these tests' comparisons, 'quick' or 'strict'.",
)
_RESULTS: "pytest.StashKey[Results]" = pytest.StashKey()
_UNDECIDED_RUN = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    options.declare(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    from pytest_edgeai.hookspecs import ConftestHooks

    pluginmanager.add_hookspecs(ConftestHooks)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    from pytest_edgeai.plugin.session import EdgeSession

    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    session = config.stash[SESSION] = EdgeSession(config)
    if session.settings.plan:
        # Nothing runs, so there is nothing to share out between processes (pytest-xdist reads this after us).
        config.option.dist = "no"
    if session.worker_input is None and _explicit(config):
        with _usage_errors():
            _ = session.run


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """pytest-xdist: tell a worker where the run's facts are gathered."""
    node.workerinput["edge_folder"] = str(node.config.stash[SESSION].folder)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "_edge_study" not in metafunc.fixturenames:
        return
    session = metafunc.config.stash[SESSION]
    try:
        declared = session.declaration(metafunc.definition)
        if declared is None and session.models:
            declared = next(iter(session.models.values()))
            if len(session.models) > 1:
                metafunc.parametrize("_edge_study", list(session.models), ids=list(session.models), indirect=True)
        if "edge_variant" in metafunc.fixturenames:
            names: list[str | None] = [*_variants(metafunc, declared)] or [None]
            metafunc.parametrize("edge_variant", names, ids=[name or "none" for name in names], indirect=True)
    except EdgeError as error:
        session.problem = error
        if "edge_variant" in metafunc.fixturenames:
            metafunc.parametrize("edge_variant", [None], indirect=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    from pytest_edgeai.plugin.session import GATES

    session = config.stash[SESSION]
    with _usage_errors():
        if session.problem is not None:
            raise session.problem
        selected = [item for item in items if GATES & set(getattr(item, "fixturenames", ()))]
        if not selected:
            return
        for item in selected:
            for marker in item.iter_markers("edge_target"):
                for name in marker.args:
                    session.run.registry.target(name)
        if not config.option.collectonly and not session.settings.plan:
            session.run.journal.write("selected", "", len(selected))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    edge = session.config.stash[SESSION]
    if not edge.settings.plan:
        return None
    _print_plans(session, session.items)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    if not _is_ours(item):
        return (yield)
    from pytest_edgeai.plugin.outcomes import translated

    session = item.config.stash[SESSION]
    session.verdicts.clear()
    session.negated.clear()
    wanted = {name for marker in item.iter_markers("edge_target") for name in marker.args}
    if wanted and session.run.target.name not in wanted:
        pytest.skip(f"for the target {' or '.join(sorted(wanted))}; this run is for {session.run.target.name}")
    with translated(session, item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    if not _is_ours(item):
        return (yield)
    from pytest_edgeai.plugin.outcomes import translated

    with translated(item.config.stash[SESSION], item):
        return (yield)


def pytest_assertrepr_compare(config: pytest.Config, left: object, right: object) -> list[str] | None:
    from pytest_edgeai.plugin.outcomes import explained

    session = config.stash[SESSION]
    if not session.verdicts:
        return None
    from pytest_edgeai.judge.quantities import Quantity

    if not isinstance(left, Quantity | int | float) or not (isinstance(left, Quantity) or isinstance(right, Quantity)):
        return None
    verdict = session.verdicts[-1]  # the comparison that failed is the last one that was made
    if verdict.outcome == "PASS":
        session.negated.append(verdict)
    return explained(verdict)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if not _is_ours(item) or call.when == "teardown":
        return report
    session = item.config.stash[SESSION]
    if not session.verdicts:
        return report
    from pytest_edgeai.plugin.outcomes import explained
    from pytest_edgeai.records import GateResult, Outcome

    failed = call.excinfo is not None and call.excinfo.errisinstance(AssertionError)
    if failed:
        # Without assertion rewriting (--assert=plain, helper modules) the assertion can't tell which way it wanted it.
        silent = not session.negated and all(verdict.outcome is Outcome.PASS for verdict in session.verdicts)
        told = [verdict for verdict in session.verdicts if verdict.outcome is not Outcome.PASS] or session.verdicts[-1:]
        text = "\n".join(line for verdict in told for line in (explained(verdict) if silent else verdict.lines()))
        if text.splitlines()[0] not in report.longreprtext:
            report.sections.append(("edgeai verdict", text))
        if silent and not str(call.excinfo.value if call.excinfo else ""):
            session.negated.append(session.verdicts[-1])
    for verdict in session.verdicts:
        session.run.journal.write(
            "gate", "", GateResult(test=item.nodeid, verdict=_as_asserted(verdict, session.negated))
        )
    session.verdicts.clear()
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Gather what all processes found, write the report, and refuse to call a run green that decided nothing."""
    config = session.config
    edge = config.stash[SESSION]
    if edge.worker_input is not None or "folder" not in vars(edge) or not edge.folder.is_dir():
        return
    import shlex

    from pytest_edgeai import report, results
    from pytest_edgeai.records import Outcome

    if results.selected(edge.folder):
        run = edge.run
        found = config.stash[_RESULTS] = results.gather(
            edge.folder,
            settings=edge.settings,
            registry_=run.registry,
            target=run.target,
            device=run.device,
            standing=run.standing,
            started=edge.started,
            command=shlex.join(["pytest", *config.invocation_params.args]),
        )
        decided = any(gate.verdict.outcome in (Outcome.PASS, Outcome.FAIL) for gate in found.gates)
        config.stash[_UNDECIDED_RUN] = not decided
        if not decided and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        try:
            from pathlib import Path

            report.write(found, Path(edge.settings.report))
        except OSError as error:
            edge.say(
                f"the report can't be written to {edge.settings.report}: {error.strerror or error}. Choose another folder with --edge-report."
            )
    shutil.rmtree(edge.folder, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if _RESULTS not in config.stash:
        return
    from pathlib import Path

    from pytest_edgeai.report import terminal

    session, results = config.stash[SESSION], config.stash[_RESULTS]
    terminalreporter.section("edgeai")
    encoding = (getattr(terminalreporter._tw._file, "encoding", None) or "ascii").lower()
    for markup, text in terminal.summary(results, terminalreporter._tw.fullwidth, ascii_only="utf" not in encoding):
        terminalreporter.write_line(text, **({markup: True} if markup else {}))
    page = Path(session.settings.report) / "index.html"
    if page.is_file():
        terminalreporter.write_line(f"report: {page}")
    if config.stash[_UNDECIDED_RUN]:
        terminalreporter.write_line("No gate was decided, so nothing is proven: the run fails.", red=True)


def _explicit(config: pytest.Config) -> bool:
    """Whether the command line names what can be wrong: told at once, before anything is collected."""
    return config.getoption("edge_target") is not None


class _usage_errors:  # noqa: N801 - a context manager, used like a function
    """Our errors as pytest's usage errors: one line, exit status 4."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, EdgeError):
            raise pytest.UsageError(str(error)) from None


def _is_ours(item: pytest.Item) -> bool:
    return any(name.startswith(("edge_", "_edge_")) for name in getattr(item, "fixturenames", ()))


def _variants(metafunc: pytest.Metafunc, declared: Any) -> list[str]:
    """Names of the variants that a test runs for, from the catalogue alone."""
    if declared is None:
        return []
    import fnmatch

    from pytest_edgeai.errors import UsageError

    session = metafunc.config.stash[SESSION]
    names = [recipe.name for recipe in session.run.catalogue(declared.kind)]
    if not names and session.settings.recipe:
        raise UsageError(f"No recipe's name matches --edge-recipe {session.settings.recipe}.")
    globs = [glob for marker in metafunc.definition.iter_markers("edge_recipe") for glob in marker.args]
    return [name for name in names if not globs or any(fnmatch.fnmatchcase(name, glob) for glob in globs)]


def _as_asserted(verdict: Any, negated: Iterable[Any]) -> Any:
    """The verdict on what the test wanted: a proven claim whose opposite was asserted is a FAIL."""
    import msgspec

    from pytest_edgeai.records import Outcome

    if verdict not in negated:
        return verdict
    return msgspec.structs.replace(verdict, outcome=Outcome.FAIL, claim=f"not {verdict.claim}")


def _print_plans(session: pytest.Session, items: Iterable[pytest.Item]) -> None:
    from pytest_edgeai import strategy

    edge = session.config.stash[SESSION]
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    declared: dict[Any, None] = {}
    for item in items:
        if _is_ours(item):
            callspec = getattr(item, "callspec", None)
            found = edge.declaration(item, callspec.params.get("_edge_study") if callspec else None)
            declared[found] = None
    for declaration in declared:
        try:
            run = edge.run
            lines = strategy.lines(edge.study(declaration).plan, run.target, run.here, run.why_not_measured())
        except EdgeError as error:
            raise pytest.UsageError(str(error)) from None
        for line in lines:
            if reporter is not None:
                reporter.write_line(line)
