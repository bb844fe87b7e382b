"""Outcomes: what a verdict or an error becomes in pytest."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from pytest_edgeai.errors import EdgeError, Undecided, UnsupportedError

if TYPE_CHECKING:
    from pytest_edgeai.plugin.session import EdgeSession
    from pytest_edgeai.records import Verdict


@contextlib.contextmanager
def translated(session: "EdgeSession", item: pytest.Item) -> Iterator[None]:
    """Our errors and undecided verdicts as pytest's outcomes: text alone, without a traceback of ours."""
    from pytest_edgeai.records import Outcome

    try:
        yield
    except Undecided as undecided:
        outcome, text = undecided.verdict.outcome, str(undecided.verdict)
    except EdgeError as error:
        outcome, text = (Outcome.UNSUPPORTED if isinstance(error, UnsupportedError) else Outcome.ERROR), str(error)
        session.verdicts.append(session.verdict(outcome, item.name, text))
    else:
        return
    if outcome is Outcome.UNSUPPORTED or (outcome is Outcome.INCONCLUSIVE and session.settings.inconclusive == "skip"):
        raise pytest.skip.Exception(_one_line(text), _use_item_location=True) from None
    raise pytest.fail.Exception(text, pytrace=False) from None


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """Our errors as pytest's usage errors: one line, exit status 4."""
    try:
        yield
    except EdgeError as error:
        raise pytest.UsageError(str(error)) from None


def explained(verdict: "Verdict") -> list[str]:
    """The lines for an assertion that failed on this verdict."""
    lines = verdict.lines()
    return (
        [*lines, "  this is proven, and the assertion wants the opposite: FAIL"] if verdict.outcome == "PASS" else lines
    )


def _one_line(text: str) -> str:
    return "; ".join(line.strip() for line in text.splitlines())
