"""Texts: as tokens, and what a language model says about them, token by token; in a worker, files in and files out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pytest_edgeai import arrays, registry
from pytest_edgeai.errors import DatasetError, ModelError
from pytest_edgeai.language import tokens as checkpoint_tokens
from pytest_edgeai.measure import likelihood
from pytest_edgeai.protocols import Encoding, Generator, Tokenizer, Tokenizing

DOCUMENTS: Final = "documents"
GAPS: Final = "gaps"
"""Kinds of sequences: texts to be predicted, whose distributions are compared; and prompts with a choice after them."""
REQUESTS: Final = "requests"
"""Gaps of lm-evaluation-harness: each pair for itself, with the tokens that the harness gives it."""
KEPT_BYTES: Final = 2 * 2**30
"""That the reference's distributions may take on disk; the documents beyond are not compared with it."""


def tokenize(modules: list[str], model: str, texts: str, tokens: str, window: int) -> dict[str, int]:
    """Turn the texts of the file ``texts`` into sequences of at most ``window`` tokens, in the file ``tokens``; says how many tokens there are.

    A document that is longer is cut into as many windows as it takes. Each begins with what marks the begin of a text for this model, if anything does.
    """
    given = msgspec.json.decode(Path(texts).read_bytes())
    tokenizer = _tokenizer(modules, Path(model))
    documents = [tokenizer.encode(text) for text in given[DOCUMENTS]]
    gaps = [found for prompt, choices in given[GAPS] for found in _gap(tokenizer, prompt, choices)]
    requests = [_request(tokenizer, tokenizer.mark, *pair) for pair in given[REQUESTS]]
    write(Path(tokens), documents, gaps + requests, window, tokenizer.begin)
    return {"vocabulary": tokenizer.size}


def _gap(tokenizer: Encoding, prompt: str, choices: Sequence[str]) -> list[tuple[NDArray[np.int32], int]]:
    """The tokens of the prompt with each choice, and where they begin to be compared, the same for all choices."""
    head, *wholes = (
        _marked(tokenizer.begin, tokenizer.encode(text)) for text in (prompt, *(prompt + choice for choice in choices))
    )
    begin = min(_border(head, whole) for whole in wholes)
    return [(whole, begin) for whole in wholes]


def _border(head: NDArray[np.int32], whole: NDArray[np.int32]) -> int:
    """Where a choice's tokens begin: where the border falls into a token, with that one."""
    same = np.flatnonzero(head[: len(whole)] != whole[: len(head)])
    return int(same[0]) if len(same) else min(len(head), len(whole) - 1)


def _request(tokenizer: Encoding, mark: int | None, context: str, continuation: str) -> tuple[NDArray[np.int32], int]:
    """As ``lm_eval.api.model.TemplateLM`` and ``lm_eval.models.huggingface.HFLM`` do it. Raises ModelError and DatasetError.

    Blanks at the context's end belong to the continuation; what the tokenizer puts before texts is there; and where there is no context, the token that
    marks a text's begin, ``mark``, stands for it.
    """
    border = len(context.rstrip()) if context else 0
    context, continuation = context[:border], context[border:] + continuation
    begin = tuple(tokenizer.begin)
    if not context:
        if mark is None:
            raise ModelError(
                "a task asks how likely a text is that has no context, and the model's tokenizer names no token that marks a text's begin or end, to stand for one."
            )
        begin = (mark,)
    head, whole = (_marked(begin, tokenizer.encode(text)) for text in (context, context + continuation))
    if len(whole) <= len(head):
        raise DatasetError(
            f"{continuation!r} becomes one token with the end of its context ({context[-20:]!r}), so nothing is left to be predicted (lm-evaluation-harness "
            "fails there, too): let the task's target_delimiter be a blank."
        )
    # Not the whole's own: where a token spans the border, the harness asks about the context's tokens, and the whole's from that place on.
    return np.concatenate([head, whole[len(head) :]]), len(head)


def write(
    path: Path,
    documents: Sequence[NDArray[np.int32]],
    gaps: Sequence[tuple[NDArray[np.int32], int]],
    window: int,
    begin: Sequence[int] = (),
) -> None:
    """``documents``: the tokens of each, to be put after ``begin``; ``gaps``: those of each prompt with a choice, begin and all, and where the choice begins.

    Arrays: ``documents`` and ``gaps`` (all tokens, one sequence after the other), ``documents.lengths`` and ``gaps.lengths``, ``documents.of`` (the
    document of each sequence), ``gaps.begins``. A gap that doesn't fit into the window loses what its prompt has after ``begin``.
    """
    pieces = [(number, piece) for number, ids in enumerate(documents) for piece in _windows(ids, window, begin)]
    cut = [_cut(ids, start, window, begin) for ids, start in gaps]
    found: dict[str, NDArray[Any]] = {}
    for kind, sequences in ((DOCUMENTS, [ids for _, ids in pieces]), (GAPS, [ids for ids, _ in cut])):
        found[kind] = np.concatenate(sequences).astype(np.int32) if sequences else np.empty(0, np.int32)
        found[f"{kind}.lengths"] = np.array([len(ids) for ids in sequences], np.int64)
    found[f"{DOCUMENTS}.of"] = np.array([number for number, _ in pieces], np.int64)
    found[f"{GAPS}.begins"] = np.array([begin for _, begin in cut], np.int64)
    arrays.write(path, found)


def _cut(ids: NDArray[np.int32], start: int, window: int, begin: Sequence[int]) -> tuple[NDArray[np.int32], int]:
    """A gap without the tokens after ``begin`` that don't fit. Raises DatasetError where its choice doesn't."""
    over = len(ids) - window
    if over <= 0:
        return ids, start
    if start - over < max(1, len(begin)):
        raise DatasetError(
            f"a prompt goes on with {len(ids) - start} tokens, and the model attends to {window}: give shorter completions or choices."
        )
    return np.concatenate([ids[: len(begin)], ids[len(begin) + over :]]), start - over


def _marked(begin: Sequence[int], ids: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.concatenate([np.array(begin, np.int32), ids])


def _windows(ids: NDArray[np.int32], window: int, begin: Sequence[int]) -> list[NDArray[np.int32]]:
    """Pieces in which each token is predicted once, but for the first one of all where nothing is before it: then a piece begins with the last one of
    the piece before.
    """
    if begin:
        rest = max(1, window - len(begin))
        return [_marked(begin, ids[first : first + rest]) for first in range(0, len(ids), rest)]
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
    """The documents in the model's own tokens, where it has a tokenizer that gives others for any of the texts; else ``None``."""
    if not isinstance(generator, Encoding):
        return None
    told, path = msgspec.json.decode(texts.read_bytes()), texts.with_suffix(".own.npz")
    documents = [generator.encode(text) for text in told[DOCUMENTS]]
    gaps = [found for prompt, choices in told[GAPS] for found in _gap(generator, prompt, choices)]
    # What stands for no context is the source's to choose, and comes first.
    marks = [int(ids[0]) for ids in sequences_of(given, GAPS)[len(gaps) :]]
    gaps += [_request(generator, mark, *pair) for mark, pair in zip(marks, told[REQUESTS], strict=True)]
    write(path, documents, gaps, window, generator.begin)
    own = arrays.read(path)
    compared = [name for kind in (DOCUMENTS, GAPS) for name in (kind, f"{kind}.lengths")]
    return None if all(np.array_equal(own[name], given[name]) for name in compared) else own


def _tokenizer(modules: list[str], model: Path) -> Tokenizer:
    """Raises ModelError."""
    if model.is_dir():
        return checkpoint_tokens.Tokenizer(model)
    for framework in registry.load(modules).frameworks.values():
        if isinstance(framework, Tokenizing) and registry.versions(framework) is not None:
            return framework.tokenizer(model)
    raise ModelError(
        f"{model.name}: no framework that is installed turns texts into its tokens (pip install 'pytest-edgeai[llamacpp]')."
    )
