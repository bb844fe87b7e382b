"""The evaluation: what variants answer in workers is scored here, item by item, against labels that never leave this process."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai import arrays, scoring
from pytest_edgeai.dataset import EVALUATION, Dataset, ItemFiles
from pytest_edgeai.errors import DatasetError, EdgeError, ModelError, UsageError
from pytest_edgeai.scoring import Rule

Answer = Callable[[str, Path, Path], list[int]]
"""(variant, items, where to write the outputs) -> indexes of items whose outputs are not finite; runs a worker."""


DIFFERENT = 8
"""Items of which no two are alike, from which on outputs that never change are an error."""
RESTORED = 0.5
"""The least share that must be right with shifted labels, before the labels are called off by one."""


class Evaluation:
    """Scores of every evaluation item, one run of each variant. Without labels, agreement with ``reference`` is scored."""

    def __init__(self, dataset: Dataset, files: ItemFiles, rule: Rule, reference: str, answer: Answer) -> None:
        self._dataset, self._files, self._answer, self._reference = dataset, files, answer, reference
        self._rule = rule
        self._scores: dict[str, NDArray[np.float64]] = {}
        self._failures: dict[str, EdgeError] = {}
        self._outputs: dict[str, Path] = {}

    def __contains__(self, variant: str) -> bool:
        """Whether the variant has been scored."""
        return variant in self._scores

    def scores(self, variant: str, part: str) -> NDArray[np.float64]:
        """One score an item of ``part``, in the items' order. Raises EdgeError, the same one whenever it is asked again."""
        if variant in self._failures:
            raise self._failures[variant]
        if variant not in self._scores:
            try:
                self._scores[variant] = self._scored(variant)
            except EdgeError as error:
                self._failures[variant] = error
                raise
        everything = self._dataset.indexes(EVALUATION)
        return self._scores[variant][np.isin(everything, self._dataset.indexes(part))]

    def _scored(self, variant: str) -> NDArray[np.float64]:
        outputs, labels = self._answers(variant), self._labels()
        count, name = len(next(iter(outputs.values()))), self._rule.name
        if count != len(labels):
            raise ModelError(f"{variant}: {count} outputs came back for {len(labels)} items.")
        if self._rule.output is not None and self._rule.output not in outputs:
            has = ", ".join(f"'{output}'" for output in outputs)
            raise ModelError(
                f"{variant} has no output named '{self._rule.output}', as the model has, but {has}: they can't be compared."
            )
        rows = _rows(outputs)
        self._demand_answers(variant, outputs)
        try:
            scores = np.array(self._rule.scores(rows, labels), dtype=np.float64)
        except Exception as error:  # a user's own, whatever it is
            told = f"{type(error).__name__}: {error}" if not isinstance(error, ValueError) else str(error)
            raise UsageError(f"The score '{name}' failed on the outputs of {variant}: {told}") from error
        if not np.isfinite(scores).all():
            raise UsageError(f"The score '{name}' gave NaN or infinity on the outputs of {variant}.")
        self._demand_right_numbers(rows, labels, float(scores.mean()))
        return scores

    def _demand_answers(self, variant: str, outputs: Mapping[str, NDArray[Any]]) -> None:
        """A model that gives the same real numbers whatever it is given is broken, not bad. Raises ModelError."""
        digests = [self._dataset.digests[index] for index in self._dataset.indexes(EVALUATION)]
        real = [array for array in outputs.values() if array.dtype.kind == "f" and array.size]
        if real and len(set(digests)) >= DIFFERENT and all((array == array[:1]).all() for array in real):
            raise ModelError(
                f"{variant}: its outputs are the same for all {len(digests)} items (a degenerate output), so there is nothing to score. "
                "Is the dataset scaled as the model expects it?"
            )

    def _demand_right_numbers(self, rows: list[scoring.Outputs], labels: Sequence[Any], right: float) -> None:
        """Labels that count the classes from another number than the model does look like a bad model. Raises DatasetError."""
        if self._dataset.labels is None or not self._rule.counts_classes or np.size(labels[0]) > 1:
            return
        for shift in (1, -1):
            shifted = float(np.mean(self._rule.scores(rows, [np.asarray(label) + shift for label in labels])))
            if shifted >= RESTORED and right < shifted / 5:
                raise DatasetError(
                    f"The labels seem to be off by one: {self._rule.name} is {right:.1%} with the labels as they are and {shifted:.1%} with "
                    f"labels {'+' if shift > 0 else '-'} 1. Does the model have a class for the background? Number the labels as the model's outputs are."
                )

    def _answers(self, variant: str) -> dict[str, NDArray[Any]]:
        if variant not in self._outputs:
            path = self._files.folder / f"outputs-{len(self._outputs)}.npz"
            spoilt = self._answer(variant, self._files.part(EVALUATION), path)
            if spoilt:
                indexes = self._dataset.indexes(EVALUATION)
                raise ModelError(
                    f"{variant}: the outputs of {len(spoilt)} of {len(indexes)} items are not finite (NaN or infinity); "
                    f"the first is item {indexes[spoilt[0]]}."
                )
            self._outputs[variant] = path
        return arrays.read(self._outputs[variant])

    def _labels(self) -> Sequence[Any]:
        labels = self._dataset.labels
        if labels is not None:
            return list(labels[self._dataset.indexes(EVALUATION)])
        return [self._rule.label_of(row) for row in _rows(self._answers(self._reference))]


def _rows(outputs: Mapping[str, NDArray[Any]]) -> list[scoring.Outputs]:
    """One mapping an item."""
    count = len(next(iter(outputs.values())))
    return [{name: np.asarray(array[index]) for name, array in outputs.items()} for index in range(count)]
