"""Markdown: the optimization report as text that pull requests and wikis show."""

import functools
import re
from typing import TYPE_CHECKING

from pytest_edgeai.report.figures import shown
from pytest_edgeai.report.optimization import Report
from pytest_edgeai.report.page import moment
from pytest_edgeai.report.text import plain

if TYPE_CHECKING:
    from jinja2 import Environment

LONGEST = 600
"""Characters of one text."""


def render(report: Report) -> str:
    """The whole report. Texts from models and plugins can neither break a table nor become markup."""
    text = _environment().get_template("optimization.md.j2").render(report=report)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def escaped(text: object, limit: int = LONGEST) -> str:
    """One line in which nothing is markup: CommonMark lets any ASCII punctuation be escaped by a backslash."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&$!])", r"\\\1", " ".join(plain(text, limit).split()))


@functools.cache
def _environment() -> "Environment":
    import jinja2

    environment = jinja2.Environment(  # noqa: S701 - Markdown, escaped by the filters
        loader=jinja2.PackageLoader("pytest_edgeai.report", "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"line": escaped, "cell": escaped, "show": shown, "moment": moment}
    return environment
