"""The reading: what language models say about texts in workers, judged here: how well they predict documents, and how many gaps they fill."""

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai import arrays
from pytest_edgeai.corpus import Corpus, TextFiles
from pytest_edgeai.dataset import CONFIRMATION, EVALUATION, WHOLE
from pytest_edgeai.errors import DatasetError, EdgeError, ModelError, UnsupportedError, UsageError
from pytest_edgeai.judge import figures, likelihoods, scores
from pytest_edgeai.judge.claims import Claim
from pytest_edgeai.judge.finding import Finding, exact
from pytest_edgeai.judge.rules import Rules
from pytest_edgeai.language.text import Gap, Query
from pytest_edgeai.records import Figure

Answer = Callable[[str, Mapping[str, Any]], dict[str, Any]]
"""(variant, arguments of :func:`pytest_edgeai.measure.texts.read`) -> its answer; runs a worker."""

Sums = NDArray[np.float64]
COMPARED: Final = ("kl_divergence", "agreement")
"""Families that need what the reference says of the same tokens."""
OF_DOCUMENTS: Final = ("perplexity", "bits_per_byte", *COMPARED)
UNITS: Final = {"perplexity": "ppl", "bits_per_byte": "bits/byte", "kl_divergence": "nats"}


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """What one variant said about all texts."""

    likelihood: Sums
    """Of each document: negative log-likelihood of its tokens, in nats."""
    tokens: Sums
    """Of each document, those that were predicted."""
    divergence: Sums
    """Of each document that was compared with the reference: sum over its tokens, in nats."""
    agrees: list[Sums]
    """Of each of these: one number a token, whether the same one is the likeliest."""
    filled: Sums
    """Of each gap, whether the right choice was found the likeliest; of a task's document, its metric."""
    other_tokens: bool
    """Whether it has other tokens than the source."""


class Reading:
    """What every variant says about the texts, read once each. ``reference``: the variant that all are compared with.

    ``population``: what claims are about; ``unseen`` texts like these, or exactly this ``dataset``.
    """

    families: Final[tuple[str, ...]] = (*OF_DOCUMENTS, "accuracy")

    def __init__(self, corpus: Corpus, files: TextFiles, reference: str, answer: Answer, population: str = "unseen"):
        self._corpus, self._files, self._reference, self._answer = corpus, files, reference, answer
        self._exactly = population == "dataset"
        self.scored_part = WHOLE if self._exactly else EVALUATION
        """Of the texts: what is scored of every variant."""
        self._said: dict[str, Said | EdgeError] = {}

    def __contains__(self, variant: str) -> bool:
        """Whether the variant has been scored."""
        return isinstance(self._said.get(variant), Said)

    def find(self, claim: Claim, rules: Rules, part: str | None = None) -> Finding:
        """What a claim on one of the families comes to, on a part of the texts: the one that it is to be decided on, unless it is told. Raises EdgeError."""
        claim = dataclasses.replace(claim, operator=">=" if claim.operator[0] == ">" else "<=")
        if claim.family in COMPARED and claim.other is not None:
            raise UsageError(f"{claim.family} compares with the reference already: give a limit, as in <= 0.1.")
        if claim.family == "accuracy" and claim.limit > 1 and claim.other is None:
            raise UsageError(f"accuracy is a share from 0 to 1, not {claim.limit:g}: write 0.95 for 95 %.")
        part = WHOLE if self._exactly else part or (CONFIRMATION if claim.fresh else EVALUATION)
        places = self._places(claim.family, part)
        if self._exactly and claim.family in COMPARED and len(places) < len(self._places("perplexity", part)):
            raise UnsupportedError(
                f"{claim.family} of exactly this dataset would take distributions of more than 2 GB: give fewer texts."
            )
        mine = self._one(claim.subject)
        other = self._one(claim.other) if claim.other else None
        self._demand_same_tokens(claim)
        if self._exactly:
            one = _value(claim.family, mine, places, self._sizes)
            over = _value(claim.family, other, places, self._sizes) if other else 1.0
            if over <= 0:
                raise ModelError(f"the reference's {claim.family} is 0: a ratio to it means nothing.")
            found = exact(one / over, claim.operator, claim.limit)
            what = "gaps" if claim.family == "accuracy" and not self._corpus.harness else "documents"
            return dataclasses.replace(found, spent=f"exactly this dataset: {len(places)} {what}", samples=len(places))
        if claim.family == "accuracy":
            return self._filled(claim, rules, places, mine.filled[places], other.filled[places] if other else None)
        operator, limit = claim.operator, claim.limit
        units = self._documents(places)
        if claim.family == "agreement":
            groups = np.repeat(units, [len(mine.agrees[place]) for place in places])
            agrees = np.concatenate([mine.agrees[place] for place in places])
            found = scores.proportion(agrees, operator, limit, rules, groups=groups)
            return self._noted(found, claim.family, part)
        # Documents of one name are one.
        tokens, likelihood = (scores.totals(sums[places], units) for sums in (mine.tokens, mine.likelihood))
        if claim.family == "kl_divergence":
            divergence = scores.totals(mine.divergence[places], units)
            found = likelihoods.divergence(divergence, tokens, operator, limit, rules)
            return self._noted(found, claim.family, part)
        others = scores.totals(other.likelihood[places], units) if other else None
        if claim.family == "bits_per_byte":
            sizes = scores.totals(self._sizes[places], units)
            return likelihoods.bits_per_byte(likelihood, others, sizes, operator, limit, rules)
        return likelihoods.perplexity(likelihood, others, tokens, operator, limit, rules)

    def _noted(self, found: Finding, family: str, part: str) -> Finding:
        """With how many documents were compared, where not all of a part were."""
        compared, everything = len(self._places(family, part)), len(self._places("perplexity", part))
        if compared < everything:
            found.notes.append(
                f"{compared} of {everything} documents were compared with the reference, the first ones of the file: its distributions take no more than 2 GB"
            )
        return found

    def figures(self, variant: str, part: str) -> dict[str, Figure]:
        """Every family's estimate over a part of the texts, of those that can be had. Raises EdgeError."""
        said, found = self._one(variant), dict[str, Figure]()
        for family in self.families:
            if said.other_tokens and family != "bits_per_byte":
                continue
            try:
                places = self._places(family, part)
            except UnsupportedError:
                continue
            if family == "accuracy":
                found[family] = figures.of_scores(said.filled[places], self._groups(places))
                continue
            units = self._documents(places)
            if family == "agreement":
                groups = np.repeat(units, [len(said.agrees[place]) for place in places])
                found[family] = figures.of_scores(np.concatenate([said.agrees[place] for place in places]), groups)
            else:
                found[family] = _figure(family, said, places, self._sizes, units)
        return found

    def _filled(
        self, claim: Claim, rules: Rules, places: NDArray[np.int64], mine: Sums, others: Sums | None
    ) -> Finding:
        groups = self._groups(places)
        units = len(places) if groups is None else len(np.unique(groups))
        refused = scores.too_few(
            units,
            claim.operator,
            claim.limit,
            rules,
            grouped=groups is not None,
            at_most=1 if others is None else np.inf,
        )
        if refused is not None:
            return refused
        if others is None:
            return scores.proportion(mine, claim.operator, claim.limit, rules, groups=groups)
        return scores.accuracy_ratio(
            mine, others, claim.operator, claim.limit, rules, chance=self._chance(places), groups=groups
        )

    def _places(self, family: str, part: str) -> NDArray[np.int64]:
        """Of the documents or gaps of a part that a family is about. Raises UnsupportedError where there are none."""
        kind = "gaps" if family == "accuracy" else "documents"
        places = self._corpus.places(kind, part)
        if kind == "documents":
            reference = self._one(self._reference)
            predicted = reference.tokens > 0 if not reference.other_tokens else np.ones(len(reference.tokens), bool)
            places = places[predicted[places]]
            if family in COMPARED:
                places = places[places < len(reference.agrees)]
        if len(places):
            return places
        if kind == "gaps":
            raise UnsupportedError(
                f"accuracy needs prompts that go on in a right way, and {self._corpus.path} has none"
                f'{" among those for " + part if part == CONFIRMATION else ""}: JSON lines like {{"prompt": ..., "completion": ...}} or '
                '{"prompt": ..., "choices": [...], "answer": 0}. How well documents are predicted is perplexity, kl_divergence and agreement.'
            )
        raise UnsupportedError(
            f"{family} needs documents of two tokens or more, and {self._corpus.path} has none among those for {part}: give some with --edge-dataset."
        )

    @property
    def _sizes(self) -> Sums:
        """Bytes of each document."""
        return np.array([len(one.text.encode()) for one in self._corpus.texts.documents], np.float64)

    def _documents(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of each one's unit: documents of one name are one."""
        return _units([one.name for one in self._corpus.texts.documents], places)

    def _groups(self, places: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """The number of each gap's group; ``None`` where every one stands alone."""
        units = _units([one.name for one in self._corpus.texts.gaps], places)
        return units if len(np.unique(units)) < len(units) else None

    def _chance(self, places: NDArray[np.int64]) -> float:
        """The share of gaps that one and the same completion, and one and the same number of a choice, get right.

        Of tasks, whose right choice may have the same number by design, what any choice gets right.
        """
        gaps = [self._corpus.texts.gaps[place] for place in places]
        completions = Counter(gap.pairs[0][1] for gap in gaps if len(gap.pairs) == 1)
        choices = [gap for gap in gaps if len(gap.pairs) > 1]
        numbers = Counter(gap.answer for gap in choices if isinstance(gap, Gap))
        best = sum(max(counted.values(), default=0) for counted in (completions, numbers))
        return float(best + sum(np.mean(gap.rewards) for gap in choices if isinstance(gap, Query))) / len(gaps)

    def _demand_same_tokens(self, claim: Claim) -> None:
        """Raises ModelError where likelihoods of other tokens would be compared."""
        if claim.family == "bits_per_byte":
            return
        for name in filter(None, (claim.subject, claim.other)):
            if self._one(name).other_tokens:
                raise ModelError(
                    f"{name} turns these texts into other tokens than its source does, so its {claim.family} compares with nothing; bits_per_byte is of the "
                    "same bytes."
                )

    def _one(self, variant: str) -> Said:
        if variant not in self._said:
            try:
                if variant != self._reference:
                    self._one(self._reference)
                self._said[variant] = self._read(variant)
            except EdgeError as error:
                self._said[variant] = error
        found = self._said[variant]
        if isinstance(found, EdgeError):
            raise found
        return found

    def _read(self, variant: str) -> Said:
        folder, tokens = self._files.folder, self._files.tokens()
        kept, outputs = folder / "reference.npy", folder / f"said-{len(self._said)}.npz"
        is_reference = variant == self._reference
        found = self._answer(
            variant,
            {
                "tokens": str(tokens),
                "texts": str(self._files.texts()),
                "outputs": str(outputs),
                "vocabulary": self._files.vocabulary,
                "window": self._files.window,
                "reference": str(kept) if kept.exists() and not is_reference else None,
                "keep": str(kept) if is_reference else None,
            },
        )
        return _said(arrays.read(tokens), arrays.read(outputs), self._corpus, found, is_reference)


def _units(names: Sequence[str], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of each one's group; those without a name stand alone."""
    numbered = [names[place] or f"\0{place}" for place in places]
    return np.unique(numbered, return_inverse=True)[1].astype(np.int64)


def _said(
    tokens: Mapping[str, NDArray[Any]],
    outputs: Mapping[str, NDArray[Any]],
    corpus: Corpus,
    found: Mapping[str, Any],
    is_reference: bool,
) -> Said:
    """What the worker wrote, by documents and gaps."""
    own, documents = bool(found["other_tokens"]), len(corpus.texts.documents)
    lengths, of = (
        (outputs["own.lengths"], outputs["own.of"]) if own else (tokens["documents.lengths"], tokens["documents.of"])
    )
    predicted = np.maximum(lengths - 1, 0)
    logs = np.concatenate([outputs["documents:log_probability"], outputs["documents.rest:log_probability"]])
    document = np.repeat(of, predicted)
    compared = int(predicted[: found["compared"]].sum())
    of_compared = document[:compared]
    # A document of which some windows were not compared was not.
    whole = int(of[found["compared"]]) if found["compared"] < len(of) else documents
    whole = 0 if own else whole
    divergence, agrees = (
        (np.zeros(compared), np.ones(compared))
        if is_reference
        else (np.maximum(outputs["documents:divergence"], 0.0), outputs["documents:agrees"])
    )
    return Said(
        likelihood=_sums(document, -logs, documents),
        tokens=_sums(document, np.ones(len(document)), documents),
        divergence=_sums(of_compared, divergence, documents)[:whole],
        agrees=[agrees[of_compared == number] for number in range(whole)],
        filled=np.empty(0) if own else corpus.judge(_answers(tokens, outputs, corpus.texts.gaps)),
        other_tokens=own,
    )


def _sums(of: NDArray[np.int64], values: Sums, count: int) -> Sums:
    return np.bincount(of, weights=values, minlength=count).astype(np.float64)


def _answers(
    tokens: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]], gaps: tuple[Gap | Query, ...]
) -> list[list[tuple[float, bool]]]:
    """Of each gap's pairs: the logarithm of the choice's probability, and whether each of its tokens is the likeliest."""
    lengths = tokens["gaps.lengths"]
    ends = np.cumsum(np.maximum(lengths - 1, 0))
    found = []
    for end, length, begin in zip(ends, lengths, tokens["gaps.begins"], strict=True):
        # The prediction of token number k is the one before it.
        rows = slice(end - (length - max(1, begin)), end)
        if rows.start >= rows.stop:
            raise DatasetError(
                "a prompt and what it goes on with are one token together, so nothing is predicted: give a longer prompt."
            )
        total = float(outputs["gaps:log_probability"][rows].sum())
        found.append((total, bool(outputs["gaps:likeliest"][rows].all())))
    answers = iter(found)
    return [list(itertools.islice(answers, len(gap.pairs))) for gap in gaps]


def _value(family: str, said: Said, places: NDArray[np.int64], sizes: Sums) -> float:
    """A family's value over these documents or gaps."""
    if family == "accuracy":
        return float(said.filled[places].mean())
    if family == "agreement":
        return float(np.concatenate([said.agrees[place] for place in places]).mean())
    if family == "kl_divergence":
        return float(said.divergence[places].sum() / said.tokens[places].sum())
    total = said.likelihood[places].sum()
    if family == "bits_per_byte":
        return float(total / math.log(2) / sizes[places].sum())
    return math.exp(total / said.tokens[places].sum())


def _figure(family: str, said: Said, places: NDArray[np.int64], sizes: Sums, units: NDArray[np.int64]) -> Figure:
    """With the range that documents like these would give in 95 of 100 cases, by Student's t of sums over documents."""
    value, unit = _value(family, said, places, sizes), UNITS[family]
    sums = said.divergence[places] if family == "kl_divergence" else said.likelihood[places]
    counts = sizes[places] * math.log(2) if family == "bits_per_byte" else said.tokens[places]
    sums, counts = scores.totals(sums, units), scores.totals(counts, units)
    return figures.of_sums(value, sums, counts, unit, math.exp if family == "perplexity" else None)
