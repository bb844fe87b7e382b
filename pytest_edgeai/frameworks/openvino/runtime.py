"""OpenVINO's runtime: imported without telemetry and progress bars, and what it says when it fails, in one line."""

import contextlib
import io
import os
from collections.abc import Iterator
from typing import Any


def imported() -> Any:
    """The package."""
    with quiet():
        import openvino
    return openvino


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing on stdout, where rich draws NNCF's progress bars, and no telemetry.

    ``import openvino`` and ``import nncf`` write to the home folder and send an event, unless they believe to run in a CI job; no
    other variable keeps them from it without leaving a file.
    """
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before


def said(error: Exception) -> str:
    """What an exception says, in one line, without the places in OpenVINO's source."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(("Exception from src", "Check '"))]
    return " ".join(told or lines)[:400].rstrip(".") or type(error).__name__
