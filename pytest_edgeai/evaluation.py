"""The evaluation: what variants answer in workers is scored here, item by item, against labels that never leave this process."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai import arrays, scoring
from pytest_edgeai.dataset import EVALUATION, Dataset, ItemFiles
from pytest_edgeai.errors import EdgeError, ModelError, UsageError

Answer = Callable[[str, Path, Path], list[int]]
"""(variant, items, where to write the outputs) -> indexes of items whose outputs are not finite; runs a worker."""


class Evaluation:
    """Scores of every evaluation item, one run of each variant. Without labels, agreement with ``reference`` is scored."""

    def __init__(
        self, dataset: Dataset, files: ItemFiles, score: str | scoring.Score, reference: str, answer: Answer
    ) -> None:
        self._dataset, self._files, self._answer, self._reference = dataset, files, answer, reference
        self._name = score
        self._score = scoring.find(score)
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
        count, name = len(next(iter(outputs.values()))), scoring.title(self._name, labelled=True)
        if count != len(labels):
            raise ModelError(f"{variant}: {count} outputs came back for {len(labels)} items.")
        rows = ({output: array[i] for output, array in outputs.items()} for i in range(count))
        try:
            scores = np.array([float(self._score(row, label)) for row, label in zip(rows, labels, strict=True)])
        except Exception as error:  # a user's own, whatever it is
            told = f"{type(error).__name__}: {error}"
            raise UsageError(f"The score '{name}' failed on the outputs of {variant}: {told}") from error
        if not np.isfinite(scores).all():
            raise UsageError(f"The score '{name}' gave NaN or infinity on the outputs of {variant}.")
        return scores

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
        outputs = self._answers(self._reference)
        count = len(next(iter(outputs.values())))
        return [scoring.label_of(self._name, {name: array[i] for name, array in outputs.items()}) for i in range(count)]
