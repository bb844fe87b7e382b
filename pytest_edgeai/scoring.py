"""Scores: how right a model's outputs are, item by item; functions of (outputs, label)."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.errors import UsageError, unknown

Score = Callable[[Mapping[str, NDArray[Any]], Any], float]
"""(outputs of one item without a batch axis, its label) -> a number, higher is better; 0 or 1 for right or wrong."""


def top1(outputs: Mapping[str, NDArray[Any]], label: Any) -> float:
    """1 when the greatest of the first output's numbers is at the label's place."""
    return float(_first(outputs).argmax() == _place(label))


def top5(outputs: Mapping[str, NDArray[Any]], label: Any) -> float:
    """1 when the label's place is among the five greatest of the first output's numbers."""
    return float(_place(label) in np.argsort(_first(outputs))[-5:])


def cosine(outputs: Mapping[str, NDArray[Any]], label: Any) -> float:
    """Cosine similarity of the first output with the label."""
    one, other = _first(outputs).astype(np.float64), np.asarray(label, dtype=np.float64).ravel()
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length else 0.0


BUILT_IN: dict[str, Score] = {"top1": top1, "top5": top5, "cosine": cosine}


def find(name: str | Score) -> Score:
    """A score by its name, as ``module:function``, or itself. Raises UsageError."""
    if callable(name):
        return name
    if name in BUILT_IN:
        return BUILT_IN[name]
    module, colon, function = name.partition(":")
    if not colon:
        raise UsageError(unknown("score", name, BUILT_IN) + " A score of your own is written module:function.")
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:  # whatever the user's module does when it is imported
        raise UsageError(f"The score '{name}' can't be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise UsageError(f"The score '{name}' is not a function.")
    return found  # type: ignore[no-any-return] # whatever the user's function is


def label_of(name: str | Score, outputs: Mapping[str, NDArray[Any]]) -> Any:
    """The label that makes ``outputs`` perfectly right: what agreement with a reference is scored against."""
    return _first(outputs) if name == "cosine" else int(_first(outputs).argmax())


def title(name: str | Score, labelled: bool) -> str:
    """How the score is called in texts."""
    own = name if isinstance(name, str) else getattr(name, "__name__", "score")
    return own if labelled else f"agreement with the reference ({own})"


def _place(label: Any) -> Any:
    if np.size(label) != 1:
        raise ValueError(f"a label is a class's number, not {np.size(label)} numbers")
    return np.asarray(label).item()


def _first(outputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    return np.asarray(next(iter(outputs.values()))).ravel()
