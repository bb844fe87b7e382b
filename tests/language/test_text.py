"""Texts: files of documents and gaps are read, and what can't be is told with its line."""

from pathlib import Path

import pytest

from pytest_edgeai.errors import DatasetError
from pytest_edgeai.language import text
from pytest_edgeai.language.text import Document, Gap


def written(folder: Path, content: str | bytes, name: str = "eval.jsonl") -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def test_lines_are_documents_and_gaps(tmp_path: Path) -> None:
    lines = [
        '{"name": "a", "text": "Once upon"}',
        '{"prompt": "to be or not", "completion": " to be"}',
        "",
        '{"name": "b", "prompt": "2 + 2 =", "choices": [" 5", " 4"], "answer": 1}',
    ]

    found = text.read(written(tmp_path, "\n".join(lines)))

    assert found.documents == (Document(name="a", text="Once upon"),)
    assert found.gaps == (
        Gap(prompt="to be or not", choices=(" to be",)),
        Gap(name="b", prompt="2 + 2 =", choices=(" 5", " 4"), answer=1),
    )


def test_a_text_is_cut_at_lines_of_dashes(tmp_path: Path) -> None:
    found = text.read(written(tmp_path, "one\ntwo - dash\n---\n\n-----\nthree\n--\n", "eval.txt"))

    assert [document.text for document in found.documents] == ["one\ntwo - dash\n", "three\n--\n"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "line 1: this is no JSON"),
        ("[1]", "line 1: this is no object"),
        ('{"text": ""}', "texts that aren't empty"),
        ('{"text": 3}', "this one has text"),
        ("{}", "this one has nothing"),
        ('{"text": "a", "label": "b"}', "this one has label, text"),
        ('{"prompt": "a", "choices": ["b"], "answer": 0}', "two or more different texts"),
        ('{"prompt": "a", "choices": ["b", "b"], "answer": 0}', "two or more different texts"),
        ('{"prompt": "a", "choices": ["b", "c"], "answer": 2}', "the number of one of them"),
        ('{"prompt": "a", "choices": ["b", "c"], "answer": true}', "the number of one of them"),
    ],
)
def test_a_line_that_is_none_of_them_is_told(line: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=told):
        text.read(written(tmp_path, line))


@pytest.mark.parametrize(("content", "name"), [("", "eval.jsonl"), (" \n\n", "eval.txt"), ("---\n", "eval.md")])
def test_a_file_without_a_word_is_told(content: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is empty: there is nothing to score"):
        text.read(written(tmp_path, content, name))


def test_what_is_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"must end in \.txt"):
        text.read(written(tmp_path, "a", "eval.csv"))
    with pytest.raises(DatasetError, match=r"not in UTF-8 \(byte 1\)"):
        text.read(written(tmp_path, b"a\xff", "eval.txt"))
    with pytest.raises(DatasetError, match="There is no evaluation text"):
        text.read(tmp_path / "absent.txt")
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(DatasetError, match="can't be read"):
        text.read(tmp_path / "folder.txt")
