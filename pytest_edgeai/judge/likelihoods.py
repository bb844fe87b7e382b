"""Likelihoods: what a language model says about documents, against a limit or against what the reference says about the same ones.

A document is what was drawn, and its tokens belong together: bounds are of sums over documents. They know no document that is unlike all of these, and a
likelihood can fall without end; so no number of documents shows that there is none on which a model fails altogether.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.judge.finding import Finding
from pytest_edgeai.judge.rules import Rules
from pytest_edgeai.judge.scores import LEAST_UNITS, error_rates, more_items, ratio_bounds
from pytest_edgeai.records import Outcome

Sums = NDArray[np.float64]
"""One number a document."""


def perplexity(
    variant: Sums, reference: Sums | None, tokens: Sums, operator: str, limit: float, rules: Rules
) -> Finding:
    """exp of the mean negative log-likelihood of a token, or the ratio of two: exp of the mean difference.

    ``variant`` and ``reference``: negative log-likelihoods of documents, in nats; ``tokens``: how many were predicted of each.
    """
    differences = variant - (0 if reference is None else reference)
    return _against(differences, tokens, operator, limit, rules, _spent(tokens), math.exp, math.log)


def bits_per_byte(
    variant: Sums, reference: Sums | None, sizes: Sums, operator: str, limit: float, rules: Rules
) -> Finding:
    """Negative log-likelihood in bits over the documents' ``sizes`` in bytes, or the ratio of two."""
    over = sizes * math.log(2) if reference is None else reference
    return _against(variant, over, operator, limit, rules, f"{len(sizes)} documents, {sizes.sum():.0f} bytes in all")


def divergence(variant: Sums, tokens: Sums, operator: str, limit: float, rules: Rules) -> Finding:
    """Mean Kullback-Leibler divergence of a token's distribution from the reference's, in nats; ``variant``: sums of documents."""
    return _against(variant, tokens, operator, limit, rules, _spent(tokens))


def _spent(tokens: Sums) -> str:
    return f"{len(tokens)} documents, {tokens.sum():.0f} tokens in all"


def _same(value: float) -> float:
    return value


def _against(
    sums: Sums,
    counts: Sums,
    operator: str,
    limit: float,
    rules: Rules,
    spent: str,
    shown: Callable[[float], float] = _same,
    known: Callable[[float], float] = _same,
) -> Finding:
    """sum(sums) / sum(counts) against ``known(limit)``; ``shown`` makes it the quantity that is claimed."""
    documents = len(sums)
    above, below = error_rates(operator, rules)
    estimate, at = float(sums.sum() / counts.sum()), known(limit)
    low, high = ratio_bounds(sums, counts, above, below) if documents >= LEAST_UNITS else (-math.inf, math.inf)
    side = ">=" if low >= at else "<=" if high <= at else None
    outcome = Outcome.INCONCLUSIVE if side is None else Outcome.PASS if side == operator else Outcome.FAIL
    notes = []
    if documents < LEAST_UNITS:
        notes.append(
            f"{documents} document{'s' * (documents != 1)} can't prove anything; it needs at least {LEAST_UNITS}, with --edge-dataset"
        )
    elif side is None:
        notes.append(more_items(low, high, estimate, at, documents, "documents"))
    left, right = (shown(end) if math.isfinite(end) else end for end in (low, high))
    method = "paired bootstrap over documents"
    return Finding(outcome, shown(estimate), left, right, 1 - max(above, below), method, spent, 0.0, documents, notes)
