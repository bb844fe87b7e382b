"""Texts: as tokens, and what a language model says about them, token by token; in a worker, files in and files out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pytest_edgeai import arrays, registry
from pytest_edgeai.errors import ModelError
from pytest_edgeai.measure import likelihood
from pytest_edgeai.protocols import Encoding, Generator, Tokenizing

DOCUMENTS: Final = "documents"
GAPS: Final = "gaps"
"""Kinds of sequences: texts to be predicted, whose distributions are compared; and prompts with a choice after them."""
KEPT_BYTES: Final = 2 * 2**30
"""That the reference's distributions may take on disk; the documents beyond are not compared with it."""


def tokenize(modules: list[str], model: str, texts: str, tokens: str, window: int) -> dict[str, int]:
    """Turn the texts of the file ``texts`` into sequences of at most ``window`` tokens, in the file ``tokens``; says how many tokens there are.

    A document that is longer is cut into as many windows as it takes. Each begins with what marks the begin of a text for this model, if anything does.
    """
    given = msgspec.json.decode(Path(texts).read_bytes())
    tokenizer, size = _tokenizer(modules, Path(model))
    documents = [tokenizer.encode(text) for text in given[DOCUMENTS]]
    gaps = []
    for prompt, choice in given[GAPS]:
        head, whole = tokenizer.encode(prompt), tokenizer.encode(prompt + choice)
        # Where the border falls into a token, the choice's tokens begin with that one.
        same = np.flatnonzero(head[: len(whole)] != whole[: len(head)])
        gaps.append((whole, int(same[0]) if len(same) else min(len(head), len(whole) - 1)))
    write(Path(tokens), documents, gaps, window, tokenizer.begin)
    return {"vocabulary": size}


def write(
    path: Path,
    documents: Sequence[NDArray[np.int32]],
    gaps: Sequence[tuple[NDArray[np.int32], int]],
    window: int,
    begin: Sequence[int] = (),
) -> None:
    """``documents``: the tokens of each; ``gaps``: those of each prompt with a choice, and where the choice begins; ``begin``: tokens put before each.

    Arrays: ``documents`` and ``gaps`` (all tokens, one sequence after the other), ``documents.lengths`` and ``gaps.lengths``, ``documents.of`` (the
    document of each sequence), ``gaps.begins``. A gap that doesn't fit into the window loses the begin of its prompt.
    """
    mark = np.array(begin, np.int32)
    pieces = [(number, piece) for number, ids in enumerate(documents) for piece in _windows(ids, window, mark)]
    room = max(1, window - len(mark))
    cut = [(np.concatenate([mark, ids[-room:]]), len(mark) + start - max(0, len(ids) - room)) for ids, start in gaps]
    found: dict[str, NDArray[Any]] = {}
    for kind, sequences in ((DOCUMENTS, [ids for _, ids in pieces]), (GAPS, [ids for ids, _ in cut])):
        found[kind] = np.concatenate(sequences).astype(np.int32) if sequences else np.empty(0, np.int32)
        found[f"{kind}.lengths"] = np.array([len(ids) for ids in sequences], np.int64)
    found[f"{DOCUMENTS}.of"] = np.array([number for number, _ in pieces], np.int64)
    found[f"{GAPS}.begins"] = np.array([begin for _, begin in cut], np.int64)
    arrays.write(path, found)


def _windows(ids: NDArray[np.int32], window: int, mark: NDArray[np.int32]) -> list[NDArray[np.int32]]:
    """Pieces in which each token is predicted once, but for the first one of all where no mark is before it: then a piece begins with the last one of
    the piece before.
    """
    if len(mark):
        room = max(1, window - len(mark))
        return [np.concatenate([mark, ids[first : first + room]]) for first in range(0, len(ids), room)]
    starts = range(0, max(min(1, len(ids)), len(ids) - 1), max(1, window - 1))
    return [ids[first : first + window] for first in starts]


def sequences_of(tokens: dict[str, NDArray[Any]], kind: str) -> list[NDArray[np.int32]]:
    """Of the file that :func:`tokenize` wrote."""
    return list(np.split(tokens[kind], np.cumsum(tokens[f"{kind}.lengths"])[:-1])) if len(tokens[kind]) else []


def read(
    generator: Generator,
    tokens: str,
    texts: str,
    outputs: str,
    vocabulary: int,
    window: int,
    reference: str | None,
    keep: str | None,
) -> dict[str, Any]:
    """Score the sequences of ``tokens`` into the ``.npz`` file ``outputs``: the columns of :mod:`pytest_edgeai.measure.likelihood` by kind.

    ``reference`` and ``keep``: files of distributions, see :func:`pytest_edgeai.measure.likelihood.score`. Says whether the model has other tokens than the
    source for these texts; then the documents are scored with its own, and nothing is compared with the reference.
    """
    given = arrays.read(Path(tokens))
    own = _own_tokens(generator, given, Path(texts), window)
    documents = sequences_of(own or given, DOCUMENTS)
    compared = () if own else _fitting(documents, vocabulary)
    other, kept = (Path(name) if name and not own else None for name in (reference, keep))
    found: dict[str, NDArray[Any]] = {}
    for kind, sequences, expected, into in (
        (DOCUMENTS, documents[: len(compared)], other, kept),
        (f"{DOCUMENTS}.rest", documents[len(compared) :], None, None),
        (GAPS, () if own else sequences_of(given, GAPS), None, None),
    ):
        size = generator.vocabulary if own else vocabulary
        columns = likelihood.score(generator, sequences, size, expected, into)
        found |= {f"{kind}:{name}": values for name, values in columns.items()}
    if own:
        found |= {"own.lengths": own[f"{DOCUMENTS}.lengths"], "own.of": own[f"{DOCUMENTS}.of"]}
    arrays.write(Path(outputs), found)
    return {"other_tokens": own is not None, "compared": len(compared)}


def _fitting(documents: Sequence[NDArray[np.int32]], vocabulary: int) -> Sequence[NDArray[np.int32]]:
    """The first ones, whose distributions fit into the file that may be kept."""
    rows = np.cumsum([max(0, len(ids) - 1) for ids in documents])
    return documents[: int(np.searchsorted(rows * vocabulary * 4, KEPT_BYTES, side="right"))]


def _own_tokens(
    generator: Generator, given: dict[str, NDArray[Any]], texts: Path, window: int
) -> dict[str, NDArray[Any]] | None:
    """The documents in the model's own tokens, where it has a tokenizer that gives others; else ``None``."""
    if not isinstance(generator, Encoding):
        return None
    path = texts.with_suffix(".own.npz")
    write(
        path,
        [generator.encode(text) for text in msgspec.json.decode(texts.read_bytes())[DOCUMENTS]],
        (),
        window,
        generator.begin,
    )
    own = arrays.read(path)
    same = all(np.array_equal(own[name], given[name]) for name in (DOCUMENTS, f"{DOCUMENTS}.lengths"))
    return None if same else own


def _tokenizer(modules: list[str], model: Path) -> tuple[Encoding, int]:
    """The model's own, and how many tokens there are. Raises ModelError."""
    if model.is_dir():
        from pytest_edgeai.language.tokens import Tokenizer

        tokenizer = Tokenizer(model)
        return tokenizer, tokenizer.size
    for framework in registry.load(modules).frameworks.values():
        if isinstance(framework, Tokenizing) and registry.versions(framework) is not None:
            return framework.tokenizer(model)
    raise ModelError(
        f"{model.name}: no framework that is installed turns texts into its tokens (pip install 'pytest-edgeai[llamacpp]')."
    )
