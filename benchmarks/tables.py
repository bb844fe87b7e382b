"""Tables: what was found, as Markdown, with the machine, the date and the versions that it was found with."""

import datetime as dt
import importlib.metadata
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_edgeai import device

LANGUAGE = ("onnxruntime-genai", "llama-cpp-python", "mlx-lm")
MARK = "<!-- What follows is written by `make bench`. -->"
VERSIONS = ("pytest-edgeai", "pytest", "numpy", "onnxruntime", "openvino", "msgspec", *LANGUAGE)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a heading."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str
    """What was done, in a sentence or two."""

    def __str__(self) -> str:
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        body = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        return f"### {self.title}\n\n{self.note}\n\n{body}\n"


def circumstances(more: Sequence[str] = ()) -> str:
    """One line: when, on what, with what; ``more``: distributions beside the usual ones."""
    here = device.detect()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in dict.fromkeys((*VERSIONS, *more)))
    load = f"; load average {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    day = dt.datetime.now(dt.UTC).date()
    return f"{day}, {here.cpu} ({here.cores} cores), {platform.system()} {platform.machine()}, Python {platform.python_version()}, {versions}{load}."


def publish(page: Path, tables: Sequence[Table], mark: str = MARK, more: Sequence[str] = ()) -> None:
    """Put the tables below the mark in the page, in place of what is there. Raises ValueError when the page has no mark."""
    above, found, _ = page.read_text(encoding="utf-8").partition(mark)
    if not found:
        raise ValueError(f"{page} has no line {mark!r}.")
    body = "\n".join(str(table) for table in tables)
    page.write_text(f"{above}{mark}\n\n{circumstances(more)}\n\n{body}", encoding="utf-8")
