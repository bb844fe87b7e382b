"""Errors: each is one clear sentence (what, why, what next) that may be shown to a user as it is.

::

    EdgeError
    ├── UsageError        an option, a marker or a name is wrong
    ├── ModelError        the model can't be read or can't be used as asked
    ├── DatasetError      the dataset can't be read or doesn't fit the model
    ├── BuildError        a recipe didn't produce a variant
    ├── WorkerError       a worker process died, hung, or answered nonsense
    ├── PluginError       a framework, metric or target plugin is wrong
    └── UnsupportedError  what is asked can't be had for this model or on this device

    Undecided             not an error: the verdict that a comparison came to is neither PASS nor FAIL
"""

import difflib
from collections.abc import Iterable
from typing import Any


class EdgeError(Exception):
    """The root of all errors that this package raises on purpose."""


class UsageError(EdgeError):
    """An option, a marker or a name is wrong."""


class ModelError(EdgeError):
    """The model can't be read, or can't be used as asked."""


class DatasetError(EdgeError):
    """The dataset can't be read, or doesn't fit the model."""


class BuildError(EdgeError):
    """A recipe didn't produce a variant."""


class PluginError(EdgeError):
    """A framework, metric or target plugin is wrong."""


class UnsupportedError(EdgeError):
    """What is asked can't be had for this model or on this device: a skip, not a failure."""


class WorkerError(EdgeError):
    """A worker process died, hung, or answered nonsense.

    ``phase`` is what the worker was asked to do ("start", "assess", "build", "load", "infer", "score", ...), ``cause`` the
    reason in words ("killed by SIGSEGV", "no answer within 60 s"), ``log`` the last lines that it wrote.
    """

    def __init__(self, subject: str, phase: str, cause: str, log: str = "") -> None:
        self.subject, self.phase, self.cause, self.log = subject, phase, cause, log
        tail = "".join(f"\n  | {line}" for line in log.strip().splitlines()[-12:])
        super().__init__(f"{subject}: the worker failed in phase '{phase}': {cause}.{tail}")


def hinted(error: EdgeError, hint: str) -> EdgeError:
    """The same error, with a sentence more."""
    if isinstance(error, WorkerError):
        return WorkerError(error.subject, error.phase, f"{error.cause.rstrip('.')}. {hint.rstrip('.')}", error.log)
    return type(error)(f"{error} {hint}")


class Undecided(BaseException):
    """Carries a verdict that has no truth value (INCONCLUSIVE, ERROR or UNSUPPORTED) out of a test.

    ``verdict`` is a :class:`pytest_edgeai.records.Verdict`.
    """

    def __init__(self, verdict: Any) -> None:
        self.verdict = verdict
        super().__init__(str(verdict))


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The sentence for a name that isn't known, with a guess at what was meant."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f" Did you mean '{close[0]}'?" if close else ""
    return f"No {what} named '{name}'.{guess} Known: {', '.join(known) or 'none'}."
