"""Hooks of running edge tests: registered when the first one is collected."""

from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING

import msgspec
import pytest

from pytest_edgeai import strategy
from pytest_edgeai.errors import EdgeError
from pytest_edgeai.judge.quantities import Quantity
from pytest_edgeai.plugin import state
from pytest_edgeai.plugin.outcomes import explained, translated, usage_errors
from pytest_edgeai.records import GateResult, Outcome, Verdict

if TYPE_CHECKING:
    from pytest_edgeai.pipeline import Declaration

GATES = frozenset({"edge_variant", "edge_variants", "edge_choice"})
"""Fixtures whose users are expected to decide gates."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    session = state.session(config)
    with usage_errors():
        if session.problem is not None:
            raise session.problem
        selected = [item for item in items if GATES & set(getattr(item, "fixturenames", ()))]
        for item in selected:
            for marker in item.iter_markers("edge_target"):
                for name in marker.args:
                    session.run.registry.target(name)
    if selected and not config.option.collectonly and not session.settings.plan:
        session.run.journal.write("selected", "", len(selected))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    if not state.session(session.config).settings.plan:
        return None
    _print_plans(session.config, session.items)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    if not _is_ours(item):
        return (yield)
    session = state.session(item.config)
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
    with translated(state.session(item.config), item):
        return (yield)


def pytest_assertrepr_compare(config: pytest.Config, left: object, right: object) -> list[str] | None:
    session = state.session(config)
    if not session.verdicts or not (isinstance(left, Quantity) or isinstance(right, Quantity)):
        return None
    verdict = session.verdicts[-1]  # the comparison that failed is the last one that was made
    if verdict.outcome is Outcome.PASS:
        session.negated.append(verdict)
    return explained(verdict)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if not _is_ours(item) or call.when == "teardown":
        return report
    session = state.session(item.config)
    if session.verdicts and call.excinfo is not None and call.excinfo.errisinstance(AssertionError):
        # Without assertion rewriting (--assert=plain, helper modules) nobody told which way the assertion wanted it.
        silent = not session.negated and all(verdict.outcome is Outcome.PASS for verdict in session.verdicts)
        if silent and not str(call.excinfo.value):
            session.negated.append(session.verdicts[-1])
        told = [verdict for verdict in session.verdicts if verdict.outcome is not Outcome.PASS] or session.verdicts[-1:]
        text = "\n".join(line for verdict in told for line in (explained(verdict) if silent else verdict.lines()))
        if text.splitlines()[0] not in report.longreprtext:
            report.sections.append(("edgeai verdict", text))
    for verdict in session.verdicts:
        gate = GateResult(test=item.nodeid, verdict=_as_asserted(verdict, session.negated))
        session.run.journal.write("gate", "", gate)
    session.verdicts.clear()
    return report


def _is_ours(item: pytest.Item) -> bool:
    return any(name.startswith("edge_") for name in getattr(item, "fixturenames", ()))


def _as_asserted(verdict: Verdict, negated: Iterable[Verdict]) -> Verdict:
    """The verdict on what the test wanted: a proven claim whose opposite was asserted is a FAIL."""
    if verdict not in negated:
        return verdict
    return msgspec.structs.replace(verdict, outcome=Outcome.FAIL, claim=f"not {verdict.claim}")


def _print_plans(config: pytest.Config, items: Iterable[pytest.Item]) -> None:
    session = state.session(config)
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    declared: dict[Declaration | None, None] = {}
    for item in items:
        if _is_ours(item):
            callspec = getattr(item, "callspec", None)
            declared[session.declaration(item, callspec.params.get("_edge_study") if callspec else None)] = None
    for declaration in declared:
        try:
            plan, run = session.study(declaration).plan, session.run
        except EdgeError as error:
            raise pytest.UsageError(str(error)) from None
        for line in strategy.lines(plan, run.target, run.here, run.why_not_measured()):
            if reporter is not None:
                reporter.write_line(line)
