"""Report: what a run found out, for people (``index.html``, ``optimization.md``, the terminal) and for programs (``results.json``, ``optimization.json``)."""

import os
import secrets
from pathlib import Path
from typing import Any

import msgspec

from pytest_edgeai.records import Results
from pytest_edgeai.report import markdown, optimization
from pytest_edgeai.report.page import render
from pytest_edgeai.report.terminal import summary

__all__ = ["encode", "render", "summary", "write"]


def write(results: Results, folder: Path) -> Path:
    """Put ``results.json``, ``index.html``, ``optimization.json`` and ``optimization.md`` into ``folder`` and return the page's path.

    A reader sees the old file or the new one, never half of one. The data comes first: a page that can't be made loses nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _publish(folder / "results.json", encode(results))
    recommended = optimization.report(results)
    _publish(folder / "optimization.json", encode(recommended))
    _publish(folder / "optimization.md", markdown.render(recommended).encode("utf-8", "backslashreplace"))
    page = folder / "index.html"
    _publish(page, render(results).encode("utf-8", "backslashreplace"))
    return page


def encode(results: Results | optimization.Report) -> bytes:
    """``results.json`` and the like: the records' own field names, indented. NaN and infinity, which JSON doesn't have, are null."""
    try:
        data = msgspec.json.encode(results, enc_hook=str)
    except UnicodeEncodeError:  # a file's name that is not UTF-8
        data = msgspec.json.encode(_utf8(msgspec.to_builtins(results, enc_hook=str)))
    return msgspec.json.format(data, indent=2) + b"\n"


def _utf8(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_utf8(key): _utf8(item) for key, item in value.items()}
        case list() | tuple():
            return [_utf8(item) for item in value]
        case _:
            return value


def _publish(path: Path, data: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with draft.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
