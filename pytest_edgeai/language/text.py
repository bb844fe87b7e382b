"""Texts: what a language model is judged by, read from a file: documents to be predicted, and gaps to be filled."""

import json
from pathlib import Path
from typing import Any, Final

from pytest_edgeai.errors import DatasetError
from pytest_edgeai.records import Record

SUFFIXES: Final = (".txt", ".md", ".jsonl")
MOST_BYTES: Final = 64 * 2**20
"""Of a file: many times what can be scored in an hour."""
FIELDS: Final = (
    "{'text': ...}, {'prompt': ..., 'completion': ...} or {'prompt': ..., 'choices': [...], 'answer': NUMBER}"
)


class Document(Record, frozen=True, kw_only=True):
    """A text whose tokens are predicted, each from those before."""

    name: str = ""
    """Of the group that it belongs to: texts of one name may be alike; empty: it stands alone."""
    text: str


class Gap(Record, frozen=True, kw_only=True):
    """A prompt and how it may go on; right is the model that finds the one at ``answer`` likelier than the others.

    With one choice alone: that finds each of its tokens the likeliest of all.
    """

    name: str = ""
    """As a document's."""
    prompt: str
    choices: tuple[str, ...]
    answer: int = 0

    @property
    def key(self) -> str | list[Any]:
        """What tells it from others, for the split."""
        return self.name or [self.prompt, self.choices]

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """What a model is asked about: a text, and what it may go on with."""
        return tuple((self.prompt, choice) for choice in self.choices)

    @property
    def rewards(self) -> tuple[float, ...]:
        """What is scored where the pair of this number is the likeliest."""
        return tuple(float(place == self.answer) for place in range(len(self.choices)))


class Query(Record, frozen=True, kw_only=True):
    """What a task of lm-evaluation-harness asks about one of its documents; what the answers are worth, the task says."""

    name: str
    """Digest of the document, without what a prompt has of others: what several tasks ask about one belongs together."""
    pairs: tuple[tuple[str, str], ...]
    """The task's requests: a context and its continuation."""
    rewards: tuple[float, ...]
    """As a gap's."""

    @property
    def key(self) -> str:
        """As a gap's."""
        return self.name


class Texts(Record, frozen=True, kw_only=True):
    """All of a file, or of tasks."""

    documents: tuple[Document, ...]
    gaps: tuple[Gap | Query, ...]
    """Of one kind."""


def read(path: Path) -> Texts:
    """A text file, which is one document for each of its parts between lines of dashes, or JSON lines. Raises DatasetError."""
    if path.suffix.lower() not in SUFFIXES:
        raise DatasetError(f"{path} is no evaluation text: its name must end in {', '.join(SUFFIXES)}.")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DatasetError(f"{path} has more than {MOST_BYTES // 2**20} MB; give a sample of it.")
        content = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise DatasetError(f"There is no evaluation text at {path}.") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not in UTF-8 (byte {error.start}): convert it.") from error
    except OSError as error:
        raise DatasetError(f"{path} can't be read ({error.strerror or error}).") from error
    if path.suffix.lower() == ".jsonl":
        items = [
            _item(line, f"{path}, line {number}") for number, line in enumerate(content.split("\n"), 1) if line.strip()
        ]
    else:
        items = [Document(text=part) for part in _parts(content)]
    found = Texts(
        documents=tuple(item for item in items if isinstance(item, Document)),
        gaps=tuple(item for item in items if isinstance(item, Gap)),
    )
    if not items:
        raise DatasetError(f"{path} is empty: there is nothing to score.")
    return found


def _parts(content: str) -> list[str]:
    """Between lines of three dashes or more; those without a word are none."""
    parts: list[list[str]] = [[]]
    for line in content.splitlines(keepends=True):
        if line.strip() and not line.strip().strip("-") and len(line.strip()) >= 3:
            parts.append([])
        else:
            parts[-1].append(line)
    return [text for text in map("".join, parts) if text.strip()]


def _item(line: str, where: str) -> Document | Gap:
    try:
        given: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{where}: this is no JSON ({error}).") from error
    if not isinstance(given, dict):
        raise DatasetError(f"{where}: this is no object. A line is one of {FIELDS}.")
    name = str(given.get("name", ""))
    if set(given) - {"name"} == {"text"} and _is_text(given["text"]):
        return Document(name=name, text=given["text"])
    if set(given) - {"name"} == {"prompt", "completion"} and all(
        _is_text(given[key]) for key in ("prompt", "completion")
    ):
        return Gap(name=name, prompt=given["prompt"], choices=(given["completion"],))
    if set(given) - {"name"} == {"prompt", "choices", "answer"} and _is_text(given["prompt"]):
        choices, answer = given["choices"], given["answer"]
        right = (
            isinstance(choices, list)
            and len(choices) > 1
            and all(map(_is_text, choices))
            and len(set(choices)) == len(choices)
        )
        if right and isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
            return Gap(name=name, prompt=given["prompt"], choices=tuple(choices), answer=answer)
        raise DatasetError(
            f"{where}: 'choices' must be two or more different texts, and 'answer' the number of one of them, from 0 on."
        )
    raise DatasetError(
        f"{where}: a line is one of {FIELDS} (each may have a 'name'), with texts that aren't empty; this one has {', '.join(sorted(map(str, given))) or 'nothing'}."
    )


def _is_text(value: Any) -> bool:
    if not isinstance(value, str) or not value.strip():
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a pair of surrogates
        return False
    return True
