"""Scores: how right a model's outputs are, item by item; functions of (outputs, label).

===========  ====================================================================================================================
``top1``     1 when the greatest of the class scores is at the label's place, else 0; the mean over the positions where a model
             scores every token or pixel (a label below 0 is a position that doesn't count, as PyTorch's ``ignore_index``)
``top5``     the same for the five greatest
``cosine``   cosine of the angle between the output and the label
``r2``       share of the labels' variance that the output explains: 1 - (output - label)^2 / variance of the labels, whose mean over
             the items is the coefficient of determination. 1 is perfect, 0 is what the labels' mean would get
``auto``     ``top1`` for classes, ``r2`` for one real number an item, ``cosine`` for anything else; see :func:`rule`
===========  ====================================================================================================================
"""

import importlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.errors import UsageError, unknown
from pytest_edgeai.records import TensorSpec

Outputs = Mapping[str, NDArray[Any]]
"""Of one item, without a batch axis."""
Score = Callable[[Any, Any], float]
"""A user's own: (outputs of one item, its label) -> a number, higher is better; 0 or 1 for right or wrong. Without labels, ``label`` is the
reference's outputs. Or of all items at once, see :func:`corpus_score`."""

AUTO: Final = "auto"
BUILT_IN: Final = ("top1", "top5", "cosine", "r2")
_OWN: Final = "a function of your own: --edge-score module:function"
_CLASS: Final = ("label", "class", "pred")
"""What the names of outputs that are a class's number say."""
_SCORES: Final = ("logit", "prob", "score", "softmax", *_CLASS)
"""What the names of outputs with a number for each class say."""
_FEATURES: Final = ("embed", "hidden", "feature", "pool", "state")
"""What the names of outputs that describe an item say."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How the items of one model are scored."""

    name: str
    """``top1``, or ``top1 of 'logits'`` where there are several outputs."""
    scores: Callable[[Sequence[Outputs], Sequence[Any]], list[float]]
    """(outputs, labels), one of each an item -> one score an item. Raises whatever a user's own function raises."""
    label_of: Callable[[Outputs], Any]
    """The label that makes these outputs perfectly right: what agreement with the reference is scored against."""
    labelled: bool = True
    output: str | None = None
    """The one output that is read; ``None`` where all are."""
    guesses: int = 0
    """Where a label is a class's number: how many classes a model may name, as ``top5`` names five."""
    corpus: Callable[[Mapping[str, NDArray[Any]], Any], float] | None = None
    """(outputs stacked over items, their labels) -> one score of all of them; ``scores`` is empty then."""

    @property
    def title(self) -> str:
        """For texts: what is scored, and against what."""
        return self.name if self.labelled else f"agreement with the reference ({self.name})"


def corpus_score(function: Score) -> Score:
    """Mark a score of your own as one of all items at once, such as an F1 or a word error rate.

    It gets (outputs stacked over the items, their labels) and returns one number, higher is better. Without labels, ``labels`` are the
    reference's outputs, stacked likewise.
    """
    function.corpus = True  # type: ignore[attr-defined] # a mark on the user's function
    return function


def rule(
    name: str | Score,
    outputs: Sequence[TensorSpec],
    labels: NDArray[Any] | None,
    *,
    batched: Collection[str] = (),
    sizes: Mapping[str, int] | None = None,
) -> Rule:
    """The rule for a score's name, ``module:function``, or a function; ``labels`` are all items', ``batched`` names the outputs whose first axis is cut.

    A built-in score reads one output. For ``top1``, an integer output that is named like a class (``label``) is the class itself; else a
    float output of two numbers or more has the classes' scores, those named like it (``logits``, ``probabilities``) first, then those with
    one axis more than the labels (without labels: with the fewest axes); else an integer output is the class itself.

    ``auto`` is ``top1`` where labels are whole numbers and there is such an output, ``r2`` where the output or the label is one real number,
    else ``cosine``. Without labels, ``top1`` needs an output of one axis that isn't named like features (``embedding``, ``last_hidden_state``), or one
    named like scores.

    Raises UsageError, where the name is unknown and where the model has no output that this score can read.
    """
    labelled = labels is not None
    if callable(name) or (name not in BUILT_IN and name != AUTO):
        own = name if callable(name) else _imported(name)
        title = name if isinstance(name, str) else getattr(name, "__name__", "score")
        if getattr(own, "corpus", False):
            return Rule(title, lambda _, __: [], lambda row: row, labelled, corpus=own)
        return Rule(
            title,
            lambda rows, known: [float(own(row, label)) for row, label in zip(rows, known, strict=True)],
            lambda row: row,
            labelled,
        )
    if labels is not None and labels.dtype.kind not in "iubf":
        raise UsageError(
            f"The labels are {labels.dtype}, and {name} needs numbers: number the classes, or choose {_OWN}."
        )
    found = [_Output.of(spec, spec.name in batched, sizes or {}) for spec in outputs]
    rank = sum(size > 1 for size in labels.shape[1:]) if labels is not None else None
    if name == AUTO:
        name = _automatic(found, labels, rank)
    output = _read_by(name, found, rank)
    what = f"{name} of '{output}'" if len(outputs) > 1 else name
    if name == "r2":
        return Rule(
            what,
            lambda rows, known: r2([row[output] for row in rows], known),
            lambda row: row[output],
            labelled,
            output,
        )
    score = {"top1": top1, "top5": top5, "cosine": cosine}[name]
    return Rule(
        what,
        lambda rows, known: [score(row[output], label) for row, label in zip(rows, known, strict=True)],
        (lambda row: row[output]) if name == "cosine" else (lambda row: _class(row[output])),
        labelled,
        output,
        guesses={"top1": 1, "top5": 5, "cosine": 0}[name],
    )


# Scores ----------------------------------------------------------------------------------------------------------------------


def top1(answer: NDArray[Any], label: Any) -> float:
    """Share of positions whose greatest score is at the label's place; whole numbers are classes themselves. Raises ValueError."""
    wanted = np.asarray(label)
    if answer.dtype.kind in "iub":
        if answer.size != wanted.size:
            raise ValueError(f"the output is {answer.size} classes, and the label is {wanted.size} numbers")
        return _share(answer.ravel() == wanted.ravel(), wanted)
    return _share(answer.argmax(_axis(answer, wanted)).ravel() == wanted.ravel(), wanted)


def top5(answer: NDArray[Any], label: Any) -> float:
    """Share of positions whose five greatest scores have the label's place among them. Raises ValueError."""
    wanted = np.asarray(label)
    axis = _axis(answer, wanted)
    if answer.shape[axis] <= 5:
        raise ValueError(f"the five greatest of {answer.shape[axis]} classes are always right; choose top1")
    best = np.moveaxis(np.argsort(answer, axis=axis), axis, -1)[..., -5:]
    return _share((best.reshape(wanted.size, -1) == wanted.reshape(-1, 1)).any(1), wanted)


def cosine(answer: NDArray[Any], label: Any) -> float:
    """Cosine of the angle between the output and the label, both as one long vector; 0 where one has no length. Raises ValueError."""
    one, other = answer.astype(np.float64).ravel(), np.asarray(label, dtype=np.float64).ravel()
    if one.size < 2:
        raise ValueError("the cosine of a single number is always 1 or -1; choose r2")
    _demand_same_size(one, other)
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length else 0.0


def r2(answers: Sequence[NDArray[Any]], labels: Sequence[Any]) -> list[float]:
    """1 - |output - label|^2 / mean of |label - mean label|^2, for each item. Raises ValueError."""
    wanted = [np.asarray(label, dtype=np.float64).ravel() for label in labels]
    spread = float(np.mean(np.sum((np.array(wanted) - np.mean(wanted, axis=0)) ** 2, axis=-1)))
    if spread == 0:
        raise ValueError("all labels are alike, so there is no variance to explain")
    scores = []
    for answer, label in zip(answers, wanted, strict=True):
        given = answer.astype(np.float64).ravel()
        _demand_same_size(given, label)
        scores.append(1 - float(np.sum((given - label) ** 2)) / spread)
    return scores


def _demand_same_size(given: NDArray[Any], label: NDArray[Any]) -> None:
    if given.size != label.size:
        raise ValueError(f"the output is {given.size} numbers, and the label is {label.size}")


def _share(right: NDArray[np.bool_], labels: NDArray[Any]) -> float:
    counted = labels.ravel() >= 0 if labels.size > 1 else np.ones(labels.size, dtype=np.bool_)
    if not counted.any():
        raise ValueError("every position's label is below 0, so none counts")
    return float(right[counted].mean())


def _axis(answer: NDArray[Any], labels: NDArray[Any]) -> int:
    """The axis of the classes: the one that the labels lack."""
    wanted = [size for size in labels.shape if size > 1]
    usual = _usual_axis(answer)
    for axis in (usual, *(other for other in range(answer.ndim) if other != usual)):
        others = [size for size in np.delete(answer.shape, axis) if size > 1]
        if others == wanted and answer.shape[axis] > 1:
            return axis
    if labels.size > 1:
        raise ValueError(
            f"a label is a class's number, not {labels.size} numbers, unless each position of the output has one; "
            f"the output has the shape {list(answer.shape)}"
        )
    raise ValueError(f"the output has the shape {list(answer.shape)}, which is not one number for each class")


def _usual_axis(answer: NDArray[Any]) -> int:
    """Where the classes are when nothing else tells: first in what is like an image, last elsewhere."""
    return 0 if answer.ndim > 2 and answer.shape[0] > 1 else max(answer.ndim - 1, 0)


def _class(answer: NDArray[Any]) -> NDArray[Any]:
    if answer.dtype.kind in "iub":
        return answer
    found: NDArray[Any] = np.asarray(answer.argmax(_usual_axis(answer)))
    return found


# Which output ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Output:
    """What is known of an output before it is computed."""

    name: str
    kind: str
    """numpy's letter: ``f``, ``i``, ``u``, ``b``."""
    axes: int | None
    """Of one item, without those of length 1; those of unknown length count. ``None``: unknown."""

    @classmethod
    def of(cls, spec: TensorSpec, batched: bool, sizes: Mapping[str, int]) -> "_Output":
        shape = spec.shape[1:] if batched else spec.shape
        axes = sum((sizes.get(axis) if isinstance(axis, str) else axis) != 1 for axis in shape)
        return cls(spec.name, np.dtype(spec.dtype).kind, None if "..." in spec.shape else axes)

    @property
    def real(self) -> bool:
        return self.kind == "f"

    @property
    def several(self) -> bool:
        """Whether an item has more than one number."""
        return self.axes != 0

    def named(self, hints: Sequence[str]) -> bool:
        return any(hint in self.name.lower() for hint in hints)


def _automatic(outputs: Sequence[_Output], labels: NDArray[Any] | None, rank: int | None) -> str:
    classes = [output for output in outputs if output.kind in "iub" or (output.real and output.several)]
    if labels is not None:
        whole = labels.dtype.kind in "iub" or bool((labels == np.round(labels)).all())
        if whole and any(output.axes in ((rank or 0) + output.real, None) for output in classes):
            return "top1"
        if not rank and any(output.real and not output.several for output in outputs):
            return "r2"
        return "top1" if whole and classes else "cosine" if rank else "r2"
    for output in classes:
        if not output.real or output.named(_SCORES) or (output.axes == 1 and not output.named(_FEATURES)):
            return "top1"
    return "cosine" if any(output.real and output.several for output in outputs) else "r2"


def _read_by(name: str, outputs: Sequence[_Output], rank: int | None) -> str:
    """The output that the built-in score reads. Raises UsageError."""
    if name in ("top1", "top5"):
        themselves = [output for output in outputs if output.kind in "iub" and name == "top1"]
        scores = [output for output in outputs if output.real and output.several]
        named = [output for output in themselves if output.named(_CLASS) and output.axes in (rank or 0, None)]
        wanted = [output for output in scores if rank is not None and output.axes in (rank + 1, None)]
        fitting = named or sorted(wanted or scores, key=lambda o: (not o.named(_SCORES), o.axes or 0)) or themselves
        lacks = "an output with a number for each class"
    elif name == "cosine":
        several = [output for output in outputs if output.real and output.several]
        fitting = [output for output in several if output.axes == rank] or several
        lacks = "an output of several numbers (the cosine of a single one is always 1 or -1)"
    else:
        real = [output for output in outputs if output.real]
        fitting = [output for output in real if output.axes == (rank or 0)] or real
        lacks = "an output of real numbers"
    if not fitting:
        has = ", ".join(
            f"'{o.name}' ({'whole numbers' if not o.real else 'a single number' if not o.several else 'real numbers'} an item)"
            for o in outputs
        )
        other = "r2, or " if name != "r2" and any(output.real for output in outputs) else ""
        raise UsageError(f"The score {name} needs {lacks}, and the model's are {has}: choose {other}{_OWN}.")
    return fitting[0].name


def _imported(name: str) -> Score:
    module, colon, function = name.partition(":")
    if not colon:
        raise UsageError(unknown("score", name, (AUTO, *BUILT_IN)) + " A score of your own is written module:function.")
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:  # whatever the user's module does when it is imported
        raise UsageError(f"The score '{name}' can't be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise UsageError(f"The score '{name}' is not a function.")
    return found  # type: ignore[no-any-return] # whatever the user's function is
