"""Hooks of running edge tests: registered when the first one is collected."""

import ast
import re
import textwrap
from collections.abc import Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from pytest_edgeai import strategy
from pytest_edgeai.errors import EdgeError
from pytest_edgeai.journal import Journal
from pytest_edgeai.judge.claims import MIRRORED
from pytest_edgeai.judge.quantities import Quantity
from pytest_edgeai.plugin import collection, state
from pytest_edgeai.plugin.outcomes import translated
from pytest_edgeai.records import GateResult, Outcome, Verdict

if TYPE_CHECKING:
    from pytest_edgeai.pipeline import Declaration
    from pytest_edgeai.plugin.session import EdgeSession

GATES = frozenset({"edge_variant", "edge_variants", "edge_choice", "edge_search", "edge_progression"})
"""Fixtures whose users are expected to decide gates."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    session = state.session(config)
    try:
        if session.problem is not None:
            raise session.problem
        for item in filter(_is_ours, items):
            _skip_for_other_targets(session, item)
            _skip_for_other_families(session, item)
    except EdgeError as error:
        if session.worker_input is None:
            raise pytest.UsageError(str(error)) from None
        # pytest-xdist would show it as an internal error: the controller tells it instead.
        Journal(session.folder, session.worker_input["workerid"]).write("problem", "", str(error))
        items.clear()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    edge, option = state.session(session.config), session.config.option
    if not edge.settings.plan:
        selected = [item for item in session.items if GATES & set(getattr(item, "fixturenames", ()))]
        if selected and not (option.collectonly or getattr(option, "setuponly", False)):
            edge.run.gates = sum(map(_is_ours, session.items))  # any of them may make a claim
            edge.run.journal.write("selected", "", len(selected))
        return None
    _print_plans(session.config, session.items)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    if not _is_ours(item):
        return (yield)
    session = state.session(item.config)
    session.verdicts.clear()
    session.claims = 0
    with translated(session, item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    if not _is_ours(item):
        return (yield)
    with translated(state.session(item.config), item):
        return (yield)


def pytest_assertrepr_compare(op: str, left: Any, right: Any) -> list[str] | None:
    # The verdict that this very comparison came to is asked for again: an assertion may hold several.
    if op in MIRRORED and isinstance(left, Quantity):
        return left.verdict(op, right).lines()
    if op in MIRRORED and isinstance(right, Quantity):
        return right.verdict(MIRRORED[op], left).lines()
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if not _is_ours(item) or call.when == "teardown":
        return report
    session, verdicts = state.session(item.config), state.session(item.config).verdicts
    if verdicts and call.excinfo is not None and call.excinfo.errisinstance(AssertionError):
        negated = _negated(verdicts, call.excinfo)
        verdicts = [_as_asserted(verdict, negated) for verdict in verdicts]
        told = [verdict.lines() for verdict in verdicts if verdict.outcome is not Outcome.PASS]
        text = "\n".join(line for lines in told if lines[0] not in report.longreprtext for line in lines)
        if text:
            report.sections.append(("edgeai verdict", text))
    passed = call.when == "call" and call.excinfo is None
    for verdict in verdicts:
        tolerated = passed and verdict.outcome is Outcome.FAIL
        session.run.journal.write("gate", "", GateResult(test=item.nodeid, verdict=verdict, tolerated=tolerated))
        # --junitxml and reports of other plugins show it, too.
        item.user_properties.append(("edgeai", "; ".join(line.strip() for line in verdict.lines())))
    session.verdicts.clear()
    return report


def _is_ours(item: pytest.Item) -> bool:
    return any(name.startswith("edge_") for name in getattr(item, "fixturenames", ()))


def _skip_for_other_targets(session: "EdgeSession", item: pytest.Item) -> None:
    """Raises UsageError for a target that is not known, PluginError for a wrong plugin."""
    run, wanted = session.run, sorted({name for marker in item.iter_markers("edge_target") for name in marker.args})
    for name in wanted:
        run.registry.target(name)
    if wanted and run.target.name not in wanted:
        reason = f"for the target {' or '.join(wanted)}; this run is for {run.target.name}"
        item.add_marker(pytest.mark.skip(reason=reason))


def _skip_for_other_families(session: "EdgeSession", item: pytest.Item) -> None:
    """Raises UsageError for a family that is not known."""
    callspec = getattr(item, "callspec", None)
    declared = session.declaration(item, callspec.params.get("_edge_study") if callspec else None)
    reason = collection.other_family(item, declared) if declared is not None else None
    if reason is not None:
        item.add_marker(pytest.mark.skip(reason=reason))


def _negated(verdicts: Sequence[Verdict], failure: "pytest.ExceptionInfo[BaseException]") -> list[Verdict]:
    """The proven claims whose opposite a failed assertion wanted: its text shows them behind a "not"."""
    message = str(failure.value)
    if any(verdict.lines()[0] in message for verdict in verdicts):
        behind = (rf"\bnot \(*{re.escape(verdict.lines()[0])}" for verdict in verdicts)
        found = [verdict for verdict, pattern in zip(verdicts, behind, strict=True) if re.search(pattern, message)]
    else:  # nobody rewrote it (--assert=plain, helper modules): its source is all there is
        found = [*verdicts[-1:]] if _wants_opposite(failure) else []
    return [verdict for verdict in found if verdict.outcome is Outcome.PASS]


def _wants_opposite(failure: "pytest.ExceptionInfo[BaseException]") -> bool:
    """Whether the statement that failed has a ``not`` in front of a comparison or of a call that may have made one."""
    try:
        tree = ast.parse(textwrap.dedent(str(failure.traceback[-1].statement)))
    except (AttributeError, IndexError, OSError, SyntaxError):  # it has no source, or not a whole statement
        return False
    negations = (node for node in ast.walk(tree) if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not))
    return any(isinstance(part, ast.Compare | ast.Call) for node in negations for part in ast.walk(node.operand))


def _as_asserted(verdict: Verdict, negated: Iterable[Verdict]) -> Verdict:
    """The verdict on what the test wanted: a proven claim whose opposite was asserted is a FAIL."""
    if verdict not in negated:
        return verdict
    return msgspec.structs.replace(verdict, outcome=Outcome.FAIL, claim=f"not {verdict.claim}")


def _print_plans(config: pytest.Config, items: Iterable[pytest.Item]) -> None:
    from pytest_edgeai.report.facts import conversion_fact

    session = state.session(config)
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    declared: dict[Declaration | None, None] = {}
    for item in items:
        if _is_ours(item):
            callspec = getattr(item, "callspec", None)
            declared[session.declaration(item, callspec.params.get("_edge_study") if callspec else None)] = None
    for declaration in declared:
        try:
            study, run = session.study(declaration), session.run
            plan, conversion = study.plan, study.conversion
        except EdgeError as error:
            raise pytest.UsageError(str(error)) from None
        converted = conversion_fact(conversion) if conversion is not None else ""
        for line in strategy.lines(plan, run.target, run.here, run.why_not_measured(), converted):
            if reporter is not None:
                reporter.write_line(line)
