"""Outcomes: what a verdict or an error becomes in pytest."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from pytest_edgeai.errors import EdgeError, Undecided, UnsupportedError

if TYPE_CHECKING:
    from pytest_edgeai.plugin.session import EdgeSession


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
    except (TypeError, AttributeError) as error:
        _without_our_frames(error)
        raise
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


def _without_our_frames(error: BaseException) -> None:
    """Let the traceback of a quantity that was used in a wrong way end at the line that did it."""
    end = trace = error.__traceback__
    while trace is not None:
        if not str(trace.tb_frame.f_globals.get("__name__")).startswith("pytest_edgeai."):
            end = trace
        last, trace = trace, trace.tb_next
    if end is not None and last.tb_frame.f_globals.get("__name__") == "pytest_edgeai.judge.quantities":
        end.tb_next = None


def _one_line(text: str) -> str:
    return "; ".join(line.strip() for line in text.splitlines())
