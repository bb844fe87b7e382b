"""Texts as a corpus: parts, sizes of a timed call, prompts."""

import json
from pathlib import Path

import pytest

from pytest_edgeai import corpus
from pytest_edgeai.dataset import CONFIRMATION, EVALUATION, SELECTION
from pytest_edgeai.errors import UsageError
from pytest_edgeai.records import LanguageFacts


def facts(context: int) -> LanguageFacts:
    return LanguageFacts(
        family="llama", layers=2, hidden=8, heads=2, kv_heads=2, vocabulary=50, context=context, dtype="float32",
        active_parameters=100, tied=True,
    )  # fmt: skip


def written(path: Path, *items: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def test_texts_go_into_a_part_by_what_is_in_them(tmp_path: Path) -> None:
    items = [{"text": f"document {number}"} for number in range(100)]

    one = corpus.read(written(tmp_path / "one.jsonl", *items))
    other = corpus.read(written(tmp_path / "other.jsonl", {"text": "a further one"}, *items))

    selected = {one.texts.documents[place].text for place in one.places("documents", SELECTION)}
    assert 25 <= len(selected) <= 55
    assert selected <= {other.texts.documents[place].text for place in other.places("documents", SELECTION)}
    assert len(one.places("documents", EVALUATION)) == 100


def test_gaps_of_one_name_stay_together(tmp_path: Path) -> None:
    items = [{"name": f"file {number % 30}", "prompt": f"p {number}", "completion": " c"} for number in range(90)]

    found = corpus.read(written(tmp_path / "gaps.jsonl", *items))

    names = [
        {found.texts.gaps[place].name for place in found.places("gaps", part)} for part in (SELECTION, CONFIRMATION)
    ]
    assert not names[0] & names[1]
    assert found.title == "90 prompts completed"


@pytest.mark.parametrize(
    ("context", "told", "sizes"),
    [
        (2048, None, {"prompt": 128, "output": 32}),
        (64, None, {"prompt": 32, "output": 16}),
        (2048, "prompt = 500, output=8", {"prompt": 500, "output": 8}),
    ],
)
def test_a_timed_call_has_as_many_tokens_as_are_asked_for_or_fit(context: int, told: str | None, sizes) -> None:
    assert corpus.given_sizes(told, facts(context)) == sizes


def test_a_call_that_is_longer_than_the_context_is_refused() -> None:
    with pytest.raises(UsageError, match="prompt=60 and output=16 are 76 tokens, and the model attends to 64"):
        corpus.given_sizes("prompt=60", facts(64))


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ("output=1", "output must be at least 2 tokens"),
        ("seq=5", "No size named 'seq'"),
        ("prompt=many", "is prompt=128,output=32, in tokens"),
    ],
)
def test_sizes_that_are_none_are_told(shape: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        corpus.given_sizes(shape, facts(2048))
