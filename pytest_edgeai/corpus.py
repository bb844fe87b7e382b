"""The corpus: texts that a language model is judged by, split by what is in them; and as tokens in files for workers."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pytest_edgeai import arrays
from pytest_edgeai.dataset import CONFIRMATION, EVALUATION, SELECTION, WHOLE, split
from pytest_edgeai.errors import DatasetError, ModelError, UsageError, unknown
from pytest_edgeai.language import text
from pytest_edgeai.language.generation import OUTPUT, PROMPT
from pytest_edgeai.language.text import Document, Gap, Query, Texts
from pytest_edgeai.protocols import Task
from pytest_edgeai.records import LanguageFacts, Model, Record, digest_of
from pytest_edgeai.tasks import Tasks

SHARES: Final = {SELECTION: 40, CONFIRMATION: 60}
"""Percent of the texts that a part gets. No recipe of a language model is calibrated, so no part is for that."""
WINDOW: Final = 1024
"""Tokens that are scored in one piece at most."""
SIZES: Final = {PROMPT: 128, OUTPUT: 32}
"""Tokens of a timed call, unless ``--edge-shape`` says others, or the model attends to fewer."""
MOST_TOKENS: Final = 2048
"""Of a timed call: engines that take memory for all tokens when they load are given room for so many."""
PROMPTS: Final = 8
"""Different ones that calls are timed on, one after the other."""
TOKENIZE_TIMEOUT: Final = 600.0
"""Seconds."""
TASKS_TIMEOUT: Final = 3600.0
"""Seconds to load tasks of lm-evaluation-harness, whose data may have to be downloaded; and to make their metrics."""

Answers = Sequence[Sequence[tuple[float, bool]]]
"""Of each gap's pairs: the logarithm of the choice's probability, and whether each of its tokens is the likeliest."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Texts, and which one is in which part."""

    texts: Texts
    documents: Mapping[str, NDArray[np.int64]]
    """Part -> places of its documents, ascending."""
    gaps: Mapping[str, NDArray[np.int64]]
    """The same of prompts that go on in one of several ways."""
    path: str
    harness: Callable[[Answers], Sequence[float]] | None = None
    """Makes the metric of each document, where the texts are of tasks of lm-evaluation-harness."""
    metric: str = ""
    """Its name."""

    def __len__(self) -> int:
        return len(self.texts.documents) + len(self.texts.gaps)

    @property
    def title(self) -> str:
        """What is scored, for people."""
        documents, gaps = len(self.texts.documents), len(self.texts.gaps)
        told = [f"{documents} documents predicted"] * bool(documents)
        if gaps:
            told.append(
                f"{self.metric} of {gaps} documents of {self.path}" if self.harness else f"{gaps} prompts completed"
            )
        return " and ".join(told)

    def judge(self, answers: Answers) -> NDArray[np.float64]:
        """What each gap's answers are worth, from 0 to 1: whether its right choice is the likeliest; of one alone, each of its tokens."""
        if self.harness is not None:
            return np.array(self.harness(answers), np.float64)
        filled = []
        for gap, said in zip(self.texts.gaps, answers, strict=True):
            alone = len(said) == 1
            filled.append(float(said[0][1]) if alone else gap.rewards[int(np.argmax([total for total, _ in said]))])
        return np.array(filled, np.float64)

    def places(self, kind: str, part: str) -> NDArray[np.int64]:
        """Of the ``documents`` or ``gaps`` of a part."""
        parts: Mapping[str, NDArray[np.int64]] = getattr(self, kind)
        if part in (WHOLE, EVALUATION):
            return np.arange(sum(map(len, parts.values())))
        return parts[part]


def read(path: Path) -> Corpus:
    """Raises DatasetError."""
    return _split(text.read(path), str(path))


class _Loaded(Record, frozen=True, kw_only=True):
    """What :func:`pytest_edgeai.measure.harness.load` writes."""

    documents: tuple[Document, ...]
    queries: tuple[Query, ...]
    metrics: tuple[str, ...]
    version: str


def of_tasks(tasks: Tasks, folder: Path, task: Task) -> Corpus:
    """The documents of tasks of lm-evaluation-harness. Raises DatasetError and WorkerError.

    ``folder``: where files for workers may lie. ``task``: runs workers that may load data from the network.
    """
    file, said = folder / "tasks.json", folder / "said.json"
    arguments = {"tasks": [dataclasses.asdict(one) for one in tasks.wanted], "loaded": str(file)}
    task("load-tasks", arguments, subject=tasks.name, timeout=TASKS_TIMEOUT)
    loaded = msgspec.json.decode(file.read_bytes(), type=_Loaded)

    def judge(answers: Answers) -> Sequence[float]:
        said.write_bytes(msgspec.json.encode(answers))
        found: list[float] = task(
            "judge-tasks", {**arguments, "said": str(said)}, subject=tasks.name, timeout=TASKS_TIMEOUT
        )
        return found

    texts = Texts(documents=loaded.documents, gaps=loaded.queries)
    found = _split(texts, f"{tasks.name} ({loaded.version})")
    return dataclasses.replace(found, harness=judge, metric=", ".join(loaded.metrics))


def _split(texts: Texts, path: str) -> Corpus:
    """Those of one name belong together."""
    return Corpus(
        texts=texts,
        documents=split([digest_of(one.name or one.text) for one in texts.documents], SHARES),
        gaps=split([digest_of(one.key) for one in texts.gaps], SHARES),
        path=path,
    )


def given_sizes(told: str | None, facts: LanguageFacts) -> dict[str, int]:
    """Tokens of a timed call's prompt and of its output, from ``--edge-shape``: ``prompt=128,output=32``. Raises UsageError."""
    room = min(facts.context or MOST_TOKENS, MOST_TOKENS)
    sizes = {PROMPT: max(1, min(SIZES[PROMPT], room // 2)), OUTPUT: max(2, min(SIZES[OUTPUT], room // 4))}
    for entry in filter(None, (part.strip() for part in re.split(r"[\s,]+", re.sub(r"\s*=\s*", "=", told or "")))):
        name, equals, number = entry.partition("=")
        if not equals or not number.isdecimal() or int(number) < 1:
            raise UsageError(
                f"--edge-shape of a language model is prompt=128,output=32, in tokens, at least 1 each; not '{entry}'."
            )
        if name not in sizes:
            raise UsageError(f"--edge-shape of a language model: {unknown('size', name, sizes)}")
        sizes[name] = int(number)
    if sizes[OUTPUT] < 2:
        raise UsageError("--edge-shape: output must be at least 2 tokens, or there is no decoding to be timed.")
    if sum(sizes.values()) > room:
        told = f"prompt={sizes[PROMPT]} and output={sizes[OUTPUT]} are {sum(sizes.values())} tokens"
        why = (
            f"calls of more than {MOST_TOKENS} are not timed"
            if room < facts.context
            else f"the model attends to {room}"
        )
        raise UsageError(f"--edge-shape: {told}, and {why}: ask for fewer.")
    return sizes


class TextFiles:
    """Texts and prompts as files in a folder, for workers; each written when it is first asked for.

    ``corpus`` is ``None`` where there is no data: then prompts are made up.
    """

    hint = ""
    """Any tokens will do for a call, made up or not."""

    def __init__(
        self,
        folder: Path,
        corpus: Corpus | None,
        model: Model,
        facts: LanguageFacts,
        sizes: Mapping[str, int],
        modules: tuple[str, ...],
        task: Task,
    ) -> None:
        self.folder = folder
        self._corpus, self._model, self._facts, self._sizes = corpus, model, facts, sizes
        self._modules, self._task = modules, task
        self.vocabulary = facts.vocabulary
        """Tokens that there are: of the tokenizer, once texts were turned into tokens."""

    @property
    def window(self) -> int:
        """Tokens that are scored in one piece: of tasks, whose prompts have examples in them, as many as engines have room for."""
        most = MOST_TOKENS if self._corpus is not None and self._corpus.harness else WINDOW
        return min(most, self._facts.context or most)

    def timed(self) -> Path:
        """The prompts that calls are timed on, one after the other. Raises EdgeError."""
        path = self.folder / "timed.npz"
        if not path.exists():
            length = self._sizes[PROMPT]
            prompts = np.resize(self._stream(), (PROMPTS, length)).astype(np.int32)
            arrays.write(path, {PROMPT: prompts, OUTPUT: np.full(PROMPTS, self._sizes[OUTPUT], np.int64)})
        return path

    def sample(self) -> Path:
        """A prompt that any model takes, to prove that a variant answers."""
        path = self.folder / "sample.npz"
        if not path.exists():
            arrays.write(path, {PROMPT: self._made_up()[None, : self._sizes[PROMPT]], OUTPUT: np.array([2])})
        return path

    def texts(self) -> Path:
        """All of them, as JSON. Raises DatasetError where there are none."""
        if self._corpus is None:
            raise DatasetError("There are no texts. Give some with --edge-dataset.")
        path = self.folder / "texts.json"
        if not path.exists():
            texts = self._corpus.texts
            told = {
                "documents": [one.text for one in texts.documents],
                "gaps": [(one.prompt, one.choices) for one in texts.gaps if isinstance(one, Gap)],
                "requests": [pair for one in texts.gaps if isinstance(one, Query) for pair in one.pairs],
            }
            path.write_bytes(msgspec.json.encode(told))
        return path

    def tokens(self) -> Path:
        """The same as tokens, see :func:`pytest_edgeai.measure.texts.write`. Raises EdgeError."""
        path = self.folder / "tokens.npz"
        if not path.exists():
            arguments = {
                "modules": list(self._modules),
                "model": self._model.path,
                "texts": str(self.texts()),
                "tokens": str(path),
                "window": self.window,
            }
            found = self._task("tokenize", arguments, subject=self._model.name, timeout=TOKENIZE_TIMEOUT)
            # The embeddings may have rows for more, and a token that was added later none.
            self.vocabulary = min(int(found["vocabulary"]), self._facts.vocabulary)
            ids = arrays.read(path)
            most = max((int(ids[kind].max()) for kind in ("documents", "gaps") if len(ids[kind])), default=0)
            if most >= self.vocabulary:
                path.unlink()
                raise ModelError(
                    f"{self._model.name}: its tokenizer gives the token number {most}, and the model has {self.vocabulary}: it is another model's."
                )
        return path

    def _stream(self) -> NDArray[Any]:
        """Tokens to take prompts from: of the texts where there are any, else at random."""
        if self._corpus is not None:
            found = arrays.read(self.tokens())
            stream = np.concatenate([found["documents"], found["gaps"]])
            if len(stream):
                return stream
        return self._made_up()

    def _made_up(self) -> NDArray[np.int32]:
        wanted = PROMPTS * self._sizes[PROMPT]
        return np.random.default_rng(0).integers(0, self._facts.vocabulary, wanted).astype(np.int32)
