"""The evaluation: what variants answer in workers is scored here, item by item, against labels that never leave this process."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai import arrays, scoring
from pytest_edgeai.dataset import CONFIRMATION, EVALUATION, WHOLE, Dataset, ItemFiles
from pytest_edgeai.errors import DatasetError, EdgeError, ModelError, UsageError
from pytest_edgeai.judge import figures, scores
from pytest_edgeai.judge.claims import Claim
from pytest_edgeai.judge.finding import Finding
from pytest_edgeai.judge.rules import Rules
from pytest_edgeai.judge.scores import Corpus, Groups, Scores
from pytest_edgeai.records import Figure
from pytest_edgeai.scoring import Rule

Answer = Callable[[str, Path, Path], list[int]]
"""(variant, items, where to write the outputs) -> indexes of items whose outputs are not finite; runs a worker."""


DIFFERENT = 8
"""Items of which no two are alike, from which on outputs that never change are an error."""
RESTORED = 0.5
"""The least share that must be right with shifted labels, before the labels are called off by one."""
PASSES = 2
"""Runs, in a process each, that a claim on exactly this dataset must hold in: a runtime may answer differently each time."""


class Evaluation:
    """Scores of every evaluation item, one run of each variant. Without labels, agreement with ``reference`` is scored.

    ``population``: what claims are about; ``unseen`` items like these, or exactly this ``dataset``, whose every item is scored then.
    """

    families: Final[tuple[str, ...]] = ("accuracy",)

    def __init__(
        self,
        dataset: Dataset,
        files: ItemFiles,
        rule: Rule,
        reference: str,
        answer: Answer,
        population: str = "unseen",
    ) -> None:
        self._dataset, self._files, self._answer, self._reference = dataset, files, answer, reference
        self._rule = rule
        self._exactly = population == "dataset"
        self.scored_part = WHOLE if self._exactly else EVALUATION
        """Of the dataset: what is scored of every variant."""
        self._scores: dict[tuple[str, int], Scores | Corpus] = {}
        self._failures: dict[tuple[str, int], EdgeError] = {}
        self._outputs: dict[tuple[str, int], Path] = {}

    def __contains__(self, variant: str) -> bool:
        """Whether the variant has been scored."""
        return (variant, 0) in self._scores

    def find(self, claim: Claim, rules: Rules, part: str | None = None) -> Finding:
        """What a claim on accuracy comes to, on a part of the items: the one that the claim is to be decided on, unless it is told. Raises EdgeError."""
        if self._exactly:
            return self._find_exactly(claim, rules)
        if claim.limit > 1 and claim.other is None and self._rule.corpus is None:
            raise UsageError(f"accuracy is a share from 0 to 1, not {claim.limit:g}: write 0.95 for 95 %.")
        # Equality has no chance among unseen items.
        claim = dataclasses.replace(claim, operator=">=" if claim.operator[0] == ">" else "<=")
        part = part or (CONFIRMATION if claim.fresh else EVALUATION)
        items, groups = len(self._indexes(part)), self._groups(part)
        # A share of right answers can't be more than 1, nor agreement more than the reference's with itself.
        bounded = self._rule.guesses > 0 and not (claim.other and self._rule.labelled)
        units = items if groups is None else len(np.unique(groups))
        grouped, at_most = groups is not None, 1 if bounded else np.inf
        refused = scores.too_few(units, claim.operator, claim.limit, rules, grouped=grouped, at_most=at_most)
        if refused is not None:
            return refused
        chance = self._chance(part)
        if claim.other is None:
            if self._rule.corpus is not None:
                return scores.needs_reference(self.figure(claim.subject, part).estimate, f"{items} items")
            return scores.proportion(
                self.scores(claim.subject, part), claim.operator, claim.limit, rules, groups=groups
            )
        if self._rule.corpus is not None:
            mine, others = self._corpus(claim.subject, part), self._corpus(claim.other, part)
            return scores.corpus_ratio(mine, others, items, claim.operator, claim.limit, rules, groups=groups)
        others_scores, my_scores = self.scores(claim.other, part), self.scores(claim.subject, part)
        return scores.accuracy_ratio(
            my_scores, others_scores, claim.operator, claim.limit, rules, chance=chance, groups=groups
        )

    def figures(self, variant: str, part: str) -> dict[str, Figure]:
        """Every family's estimate over a part of the dataset. Raises EdgeError."""
        return {"accuracy": self.figure(variant, part)}

    def figure(self, variant: str, part: str) -> Figure:
        """The mean score over a part of the dataset, or the score of the part. Raises EdgeError."""
        if self._rule.corpus is not None:
            items = len(self._indexes(part))
            return figures.of_corpus(self._corpus(variant, part)(np.arange(items)), items)
        if self._exactly:
            return figures.exact(float(self.scores(variant, part).mean()), "proportion", "exactly these items")
        return figures.of_scores(self.scores(variant, part), self._groups(part))

    def scores(self, variant: str, part: str, run: int = 0) -> Scores:
        """One score an item of ``part``, in the items' order. Raises EdgeError, the same one whenever it is asked again."""
        places, found = self._places(part), self._scored_once(variant, run)
        assert isinstance(found, np.ndarray), "a score of all items together has none of each"
        return found[places]

    def _corpus(self, variant: str, part: str, run: int = 0) -> Corpus:
        """The score of some of the part's items, by their places in it."""
        places, found = self._places(part), self._scored_once(variant, run)
        assert not isinstance(found, np.ndarray)
        return lambda chosen: found(places[chosen])

    def _find_exactly(self, claim: Claim, rules: Rules) -> Finding:
        """Arithmetic: nothing is inferred to items that were not scored."""
        chance, items = self._chance(WHOLE), len(self._indexes(WHOLE))

        def values(variant: str) -> list[float]:
            if self._rule.corpus is not None:
                return [self._corpus(variant, WHOLE, run)(np.arange(items)) for run in range(PASSES)]
            return [float(self.scores(variant, WHOLE, run).mean()) for run in range(PASSES)]

        others = values(claim.other) if claim.other else None
        if claim.other and chance is not None:
            guessed = scores.by_chance(self.scores(claim.other, WHOLE), chance, self._groups(WHOLE), rules)
            if guessed is not None:
                return guessed
        found = scores.exactly(values(claim.subject), others, claim.operator, claim.limit, items)
        if claim.other and self._rule.corpus is None:
            mine, its = self.scores(claim.subject, WHOLE), self.scores(claim.other, WHOLE)
            if scores.is_binary(mine) and scores.is_binary(its):
                found.notes.insert(0, scores.flips(mine, its))
        return found

    def _indexes(self, part: str) -> NDArray[np.int64]:
        """Raises DatasetError where the part is empty."""
        indexes = self._dataset.indexes(part)
        if len(indexes) == 0:
            raise DatasetError(
                f"The dataset {self._dataset.path} has no {part} items: {len(self._dataset)} items are too few. "
                "Each item goes by its content (or by its group) into calibration (20 %), selection (30 %) or confirmation (50 %)."
            )
        return indexes

    def _places(self, part: str) -> NDArray[np.int64]:
        """Of a part's items among those that are scored."""
        return np.flatnonzero(np.isin(self._dataset.indexes(self.scored_part), self._indexes(part)))

    def _groups(self, part: str) -> Groups | None:
        groups = self._dataset.groups
        return None if groups is None else groups[self._indexes(part)]

    def _chance(self, part: str) -> float | None:
        """The share of a part's items that a constant answer gets right; ``None`` where a label is no class.

        Raises DatasetError where it gets all of them right, which any model can do, then.
        """
        labels = self._dataset.labels
        if labels is None or not self._rule.guesses or np.size(labels[0]) > 1:
            return None
        known, counts = np.unique(labels[self._indexes(part)], return_counts=True)
        right = int(np.sort(counts)[-self._rule.guesses :].sum())
        if right == counts.sum():
            told = (
                f"are the same ({known[0]})"
                if len(known) == 1
                else f"are among {len(known)} classes, all of which {self._rule.name} may name"
            )
            raise DatasetError(
                f"The labels of all {right} {part} items {told}: a constant answer is right on every one, so nothing is shown. Give items of other classes."
            )
        return right / int(counts.sum())

    def _scored_once(self, variant: str, run: int) -> Scores | Corpus:
        if (variant, run) in self._failures:
            raise self._failures[variant, run]
        if (variant, run) not in self._scores:
            try:
                self._scores[variant, run] = self._scored(variant, run)
            except EdgeError as error:
                self._failures[variant, run] = error
                raise
        return self._scores[variant, run]

    def _scored(self, variant: str, run: int) -> Scores | Corpus:
        outputs = self._answers(variant, run)
        count, items = len(next(iter(outputs.values()))), len(self._indexes(self.scored_part))
        if count != items:
            raise ModelError(f"{variant}: {count} outputs came back for {items} items.")
        if self._rule.output is not None and self._rule.output not in outputs:
            has = ", ".join(f"'{output}'" for output in outputs)
            raise ModelError(
                f"{variant} has no output named '{self._rule.output}', as the model has, but {has}: they can't be compared."
            )
        self._demand_answers(variant, outputs)
        if self._rule.corpus is not None:
            return self._of_all(self._rule.corpus, variant, outputs)
        rows, labels = _rows(outputs), self._labels()
        scored = np.array(self._own(variant, lambda: self._rule.scores(rows, labels)), dtype=np.float64)
        self._demand_right_numbers(rows, labels, float(scored.mean()))
        return scored

    def _of_all(
        self, score: Callable[[Mapping[str, NDArray[Any]], Any], float], variant: str, outputs: dict[str, NDArray[Any]]
    ) -> Corpus:
        labels = self._dataset.labels
        known = labels[self._indexes(self.scored_part)] if labels is not None else self._answers(self._reference, 0)

        def of(places: NDArray[np.int64]) -> float:
            chosen = (
                {name: array[places] for name, array in known.items()} if isinstance(known, dict) else known[places]
            )
            given = {name: array[places] for name, array in outputs.items()}
            return self._own(variant, lambda: [score(given, chosen)])[0]

        return of

    def _own(self, variant: str, score: Callable[[], Sequence[float]]) -> list[float]:
        """What a score, which may be a user's own, gives. Raises UsageError for whatever it raises, and for what is no finite number."""
        name = self._rule.name
        try:
            found = [float(value) for value in score()]
        except Exception as error:  # a user's own, whatever it is
            told = f"{type(error).__name__}: {error}" if not isinstance(error, ValueError) else str(error)
            raise UsageError(f"The score '{name}' failed on the outputs of {variant}: {told}") from error
        if not np.isfinite(found).all():
            raise UsageError(f"The score '{name}' gave NaN or infinity on the outputs of {variant}.")
        outside = next((value for value in found if not 0 <= value <= 1), None)
        if outside is not None and self._rule.corpus is None and name not in scoring.BUILT_IN:
            raise UsageError(
                f"The score '{name}' gave {outside:g} on the outputs of {variant}; an item's score lies between 0 (wrong) and 1 (right)."
            )
        return found

    def _demand_answers(self, variant: str, outputs: Mapping[str, NDArray[Any]]) -> None:
        """A model that gives the same real numbers whatever it is given is broken, not bad. Raises ModelError."""
        digests = [self._dataset.digests[index] for index in self._dataset.indexes(self.scored_part)]
        real = [array for array in outputs.values() if array.dtype.kind == "f" and array.size]
        if real and len(set(digests)) >= DIFFERENT and all((array == array[:1]).all() for array in real):
            raise ModelError(
                f"{variant}: its outputs are the same for all {len(digests)} items (a degenerate output), so there is nothing to score. "
                "Is the dataset scaled as the model expects it?"
            )

    def _demand_right_numbers(self, rows: list[scoring.Outputs], labels: Sequence[Any], right: float) -> None:
        """Labels that count the classes from another number than the model does look like a bad model. Raises DatasetError."""
        if self._dataset.labels is None or not self._rule.guesses or np.size(labels[0]) > 1:
            return
        for shift in (1, -1):
            shifted = float(np.mean(self._rule.scores(rows, [np.asarray(label) + shift for label in labels])))
            if shifted >= RESTORED and right < shifted / 5:
                raise DatasetError(
                    f"The labels seem to be off by one: {self._rule.name} is {right:.1%} with the labels as they are and {shifted:.1%} with "
                    f"labels {'+' if shift > 0 else '-'} 1. Does the model have a class for the background? Number the labels as the model's outputs are."
                )

    def _answers(self, variant: str, run: int) -> dict[str, NDArray[Any]]:
        if (variant, run) not in self._outputs:
            path = self._files.folder / f"outputs-{len(self._outputs)}.npz"
            spoilt = self._answer(variant, self._files.part(self.scored_part), path)
            if spoilt:
                indexes = self._dataset.indexes(self.scored_part)
                raise ModelError(
                    f"{variant}: the outputs of {len(spoilt)} of {len(indexes)} items are not finite (NaN or infinity); "
                    f"the first is item {indexes[spoilt[0]]}."
                )
            self._outputs[variant, run] = path
        return arrays.read(self._outputs[variant, run])

    def _labels(self) -> Sequence[Any]:
        labels = self._dataset.labels
        if labels is not None:
            return list(labels[self._dataset.indexes(self.scored_part)])
        return [self._rule.label_of(row) for row in _rows(self._answers(self._reference, 0))]


def _rows(outputs: Mapping[str, NDArray[Any]]) -> list[scoring.Outputs]:
    """One mapping an item."""
    count = len(next(iter(outputs.values())))
    return [{name: np.asarray(array[index]) for name, array in outputs.items()} for index in range(count)]
