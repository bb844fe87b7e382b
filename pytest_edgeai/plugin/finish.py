"""The finish: what all processes found is gathered, written as a report, and summed up on the terminal."""

import shlex
import shutil
from pathlib import Path

import pytest

from pytest_edgeai import folders, interrupts, journal
from pytest_edgeai.measure import process
from pytest_edgeai.plugin import state
from pytest_edgeai.plugin.session import EdgeSession
from pytest_edgeai.plugin.termination import Termination
from pytest_edgeai.records import Outcome, Results

# What makes results and reports is imported where it is needed: an interrupted run ends without it.


def finish(session: pytest.Session, termination: object) -> Results | None:
    """Leave nothing behind but the report; ``None`` when there is none, because no edge test was selected or somebody interrupted the run.

    Raises pytest.UsageError for what stopped the collection in the processes of pytest-xdist.
    """
    edge = state.session(session.config)
    process.close_all()
    if edge.worker_input is not None:
        return None
    try:
        if isinstance(termination, Termination) and termination.interrupted:
            return None  # what is half measured replaces no report of a whole run
        return _gather(session, edge)
    finally:
        with interrupts.held():
            shutil.rmtree(edge.folder, ignore_errors=True)
        folders.sweep()


def _gather(session: pytest.Session, edge: EdgeSession) -> Results | None:
    """A run that selected edge tests and decided no gate is not green, whatever pytest says."""
    from pytest_edgeai import report, results

    problem = next((fact for kind, _, fact in journal.read(edge.folder) if kind == "problem"), None)
    if problem is not None:
        raise pytest.UsageError(problem)
    if not results.selected(edge.folder):
        return None
    run = edge.run
    for framework in results.frameworks(edge.folder):  # that processes of pytest-xdist have used
        run.answers(framework)
    found = results.gather(
        edge.folder,
        settings=edge.settings,
        registry_=run.registry,
        target=run.target,
        device=run.device,
        standing=run.standing,
        started=edge.started,
        command=shlex.join(["pytest", *session.config.invocation_params.args]),
    )
    if not _decided(found) and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    try:
        report.write(found, Path(edge.settings.report))
    except OSError as error:
        edge.unwritten = (
            f"The report can't be written to {edge.settings.report}: {error.strerror or error}. "
            "Choose another folder with --edge-report."
        )
    return found


def summarize(reporter: pytest.TerminalReporter, config: pytest.Config, found: Results) -> None:
    """A section in pytest's terminal summary."""
    from pytest_edgeai.report import terminal

    reporter.section("edgeai")
    writer = reporter._tw
    encoding = (getattr(writer._file, "encoding", None) or "ascii").lower()
    for markup, text in terminal.summary(found, writer.fullwidth, ascii_only="utf" not in encoding):
        reporter.write_line(text, **({markup: True} if markup else {}))
    session = state.session(config)
    if session.unwritten:
        reporter.write_line(session.unwritten, red=True)
    else:
        reporter.write_line(f"report: {Path(session.settings.report) / 'index.html'}")
    if not _decided(found):
        reporter.write_line("No gate was decided, so nothing is proven: the run fails.", red=True)


def _decided(found: Results) -> bool:
    return any(gate.verdict.outcome in (Outcome.PASS, Outcome.FAIL) for gate in found.gates)
