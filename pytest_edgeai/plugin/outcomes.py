"""Outcomes: what a verdict or an error becomes in pytest."""

import contextlib
import linecache
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from pytest_edgeai.errors import EdgeError, Undecided, UnsupportedError

if TYPE_CHECKING:
    from pytest_edgeai.plugin.session import EdgeSession

_OURS: Final = re.compile(r"pytest_edgeai(\.(?!suites\b)|$)|_?pytest\b|pluggy\b|contextlib$|functools$")
"""Modules whose lines say nothing to the author of a test."""


@contextlib.contextmanager
def translated(session: "EdgeSession", item: pytest.Item) -> Iterator[None]:
    """Our errors and undecided verdicts as pytest's outcomes: text alone, without a traceback of ours."""
    from pytest_edgeai.records import Outcome

    try:
        yield
    except Undecided as undecided:
        outcome, text, where = undecided.verdict.outcome, str(undecided.verdict), _line_of_test(undecided, item)
    except EdgeError as error:
        outcome, text = (Outcome.UNSUPPORTED if isinstance(error, UnsupportedError) else Outcome.ERROR), str(error)
        where = _line_of_test(error, item)
        session.verdicts.append(session.verdict(outcome, item.name, text))
    except (TypeError, AttributeError) as error:
        _without_our_frames(error)
        raise
    else:
        return
    if outcome is Outcome.UNSUPPORTED or (outcome is Outcome.INCONCLUSIVE and session.settings.inconclusive == "skip"):
        raise pytest.skip.Exception(_one_line(text), _use_item_location=True) from None
    raise pytest.fail.Exception("\n\n".join(filter(None, (text, where))), pytrace=False) from None


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


def _line_of_test(error: BaseException, item: pytest.Item) -> str:
    """``test_gates.py:7: assert edge_choice.speedup >= 2``: the last line that is neither ours nor pytest's; nothing where a fixture of ours failed."""
    lines = [
        (Path(frame.f_code.co_filename), number)
        for frame, number in traceback.walk_tb(error.__traceback__)
        if not _OURS.match(str(frame.f_globals.get("__name__")))
    ]
    if not lines:
        return ""
    file, number = lines[-1]
    here = item.config.invocation_params.dir
    shown = file.relative_to(here) if file.is_relative_to(here) else file
    return f"{shown}:{number}: {linecache.getline(str(file), number).strip()}"


def _one_line(text: str) -> str:
    return "; ".join(line.strip() for line in text.splitlines())
