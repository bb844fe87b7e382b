"""Texts as tokens, and what a language model says about them: cut into windows, scored, compared with the reference."""

import json
from pathlib import Path

import numpy as np
import pytest

from pytest_edgeai import arrays
from pytest_edgeai.errors import DatasetError, ModelError
from pytest_edgeai.measure import texts

VOCABULARY = 16


class Certain:
    """Finds the next number likelier than the others by ``margin`` nats."""

    vocabulary, context = VOCABULARY, 64

    def __init__(self, margin: float) -> None:
        self.margin = margin

    def generate(self, prompt, count):
        yield from range(count)

    def logits(self, tokens, chunk):
        for first in range(0, len(tokens), chunk):
            yield np.eye(VOCABULARY, dtype=np.float32)[(tokens[first : first + chunk] + 1) % VOCABULARY] * self.margin

    def placement(self):
        return {}


class Own(Certain):
    """Has a tokenizer that makes a token of every two letters."""

    begin = ()

    def encode(self, text):
        return np.arange(len(text) // 2, dtype=np.int32) % VOCABULARY


@pytest.fixture
def files(tmp_path: Path):
    """Writes documents and gaps as a run does, and reads what a generator says of them."""

    def read(generator, documents, gaps=(), window=8, reference=None, keep=None):
        tokens, told, outputs = tmp_path / "tokens.npz", tmp_path / "texts.json", tmp_path / "outputs.npz"
        texts.write(tokens, [np.array(ids, np.int32) for ids in documents], gaps, window)
        told.write_text(json.dumps({"documents": ["ab" * len(ids) for ids in documents], "gaps": [], "requests": []}))
        found = texts.read(generator, str(tokens), str(told), str(outputs), VOCABULARY, window, reference, keep)
        return found, arrays.read(tokens), arrays.read(outputs)

    return read


def test_long_documents_are_cut_into_windows(files) -> None:
    _, tokens, outputs = files(Certain(3), [range(10), range(3)])

    assert tokens["documents"].tolist() == [*range(8), 7, 8, 9, *range(3)]
    assert tokens["documents.lengths"].tolist() == [8, 3, 3]
    assert tokens["documents.of"].tolist() == [0, 0, 1]
    assert len(outputs["documents:log_probability"]) == 7 + 2 + 2  # of every token but the first one of a document


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 15, 16, 22])
def test_every_token_is_predicted_once(length: int, tmp_path: Path) -> None:
    ids, mark = np.arange(length, dtype=np.int32), [90]
    for name, begin in (("plain", []), ("marked", mark)):
        texts.write(tmp_path / f"{name}.npz", [ids], [], 8, begin)

    plain, marked = (
        texts.sequences_of(arrays.read(tmp_path / f"{name}.npz"), "documents") for name in ("plain", "marked")
    )

    assert [token for piece in plain for token in piece[1:]] == list(range(1, length))
    assert [token for piece in marked for token in piece[1:]] == list(range(length))
    assert {piece[0] for piece in marked} <= set(mark)
    assert all(len(piece) <= 8 for piece in (*plain, *marked))


def test_a_gap_has_what_marks_its_begin_however_long_it_is(tmp_path: Path) -> None:
    gaps = [(np.array([90, *range(count)], np.int32), count - 1) for count in (4, 12)]

    texts.write(tmp_path / "tokens.npz", [], gaps, 8, [90])

    tokens = arrays.read(tmp_path / "tokens.npz")
    short, long = texts.sequences_of(tokens, "gaps")
    assert (short.tolist(), long.tolist()) == ([90, 0, 1, 2, 3], [90, *range(5, 12)])
    assert [piece[start] for piece, start in zip((short, long), tokens["gaps.begins"], strict=True)] == [2, 10]


def test_a_gap_keeps_its_end_when_it_is_too_long(files) -> None:
    _, tokens, outputs = files(Certain(3), [range(4)], [(np.arange(12, dtype=np.int32), 10)])

    assert tokens["gaps"].tolist() == list(range(4, 12))
    assert tokens["gaps.begins"].tolist() == [6]
    assert outputs["gaps:likeliest"].all()


def test_the_reference_is_kept_and_others_diverge_from_it(files, tmp_path: Path) -> None:
    kept = str(tmp_path / "kept.npy")
    files(Certain(3), [range(8)], keep=kept)

    _, _, outputs = files(Certain(2), [range(8)], reference=kept)

    p, q = (np.exp([margin, *[0] * 15]) / np.exp([margin, *[0] * 15]).sum() for margin in (3, 2))
    assert outputs["documents:divergence"] == pytest.approx(np.full(7, np.sum(p * np.log(p / q))), abs=1e-6)
    assert outputs["documents:agrees"].all()


def test_documents_beyond_what_can_be_kept_are_scored_but_not_compared(files, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(texts, "KEPT_BYTES", 10 * VOCABULARY * 4)

    found, _, outputs = files(Certain(3), [range(8), range(8)], keep=str(tmp_path / "kept.npy"))

    assert found == {"other_tokens": False, "compared": 1}
    assert len(outputs["documents:log_probability"]) == len(outputs["documents.rest:log_probability"]) == 7


def test_a_model_with_other_tokens_is_scored_by_its_own_and_compared_with_nothing(files) -> None:
    found, _, outputs = files(Own(3), [[5, 6, 7]])

    assert found == {"other_tokens": True, "compared": 0}
    assert len(outputs["documents.rest:log_probability"]) == 2
    assert outputs["own.lengths"].tolist() == [3]


def test_a_model_whose_own_tokens_are_the_same_is_compared(files) -> None:
    found, _, _ = files(Own(3), [range(3)])

    assert found == {"other_tokens": False, "compared": 1}


@pytest.mark.parametrize(
    "told", [{"gaps": [["abab", ["ab"]]], "requests": []}, {"gaps": [], "requests": [["abab", "ab"]]}]
)
@pytest.mark.parametrize(("ids", "others"), [(range(3), False), ([5, 6, 7], True)])
def test_other_tokens_are_noticed_where_there_are_no_documents(told, ids, others: bool, tmp_path: Path) -> None:
    tokens, given = tmp_path / "tokens.npz", tmp_path / "texts.json"
    texts.write(tokens, [], [(np.array(ids, np.int32), 2)], 8)
    given.write_text(json.dumps({"documents": [], **told}))

    found = texts.read(Own(3), str(tokens), str(given), str(tmp_path / "out.npz"), VOCABULARY, 8, None, None)

    assert found == {"other_tokens": others, "compared": 0}


def test_what_stands_for_no_context_is_the_sources_and_no_other_token(tmp_path: Path) -> None:
    tokens, given = tmp_path / "tokens.npz", tmp_path / "texts.json"
    texts.write(tokens, [], [(np.array([9, 0, 1], np.int32), 1)], 8)
    given.write_text(json.dumps({"documents": [], "gaps": [], "requests": [["", "abab"]]}))

    found = texts.read(Own(3), str(tokens), str(given), str(tmp_path / "out.npz"), VOCABULARY, 8, None, None)

    assert found["other_tokens"] is False


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder with a tokenizer of words that are one or two letters."""
    vocabulary = {"a": 0, "b": 1, "ab": 2, "c": 3}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [["a", "b"]], "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "ignore_merges": False},
    }  # fmt: skip
    (tmp_path / "model").mkdir()
    (tmp_path / "model/tokenizer.json").write_text(json.dumps(tokenizer))
    return tmp_path / "model"


def tokenized(folder: Path, documents: list[str], gaps: list[tuple[str, list[str]]], requests=()):
    told, tokens = folder.parent / "texts.json", folder.parent / "tokens.npz"
    told.write_text(json.dumps({"documents": documents, "gaps": gaps, "requests": requests}))
    found = texts.tokenize([], str(folder), str(told), str(tokens), 64)
    return found, arrays.read(tokens)


def test_texts_become_tokens_by_the_models_own_tokenizer(folder: Path) -> None:
    found, tokens = tokenized(folder, ["abc", "cb"], [])

    assert found == {"vocabulary": 4}
    assert tokens["documents"].tolist() == [2, 3, 3, 1]


def test_each_text_begins_with_what_the_tokenizer_marks_it_with(folder: Path) -> None:
    file = folder / "tokenizer.json"
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "c", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"c": {"id": "c", "ids": [3], "tokens": ["c"]}},
    }
    file.write_text(json.dumps(json.loads(file.read_text()) | {"post_processor": template}))

    _, tokens = tokenized(folder, ["aba"], [("a", ["ab"])])

    assert (tokens["documents"].tolist(), tokens["gaps"].tolist()) == ([3, 2, 0], [3, 0, 2])
    assert tokens["gaps.begins"].tolist() == [2]


def test_a_choice_begins_where_its_tokens_differ_from_the_prompts_own(folder: Path) -> None:
    _, tokens = tokenized(folder, [], [("ca", ["b"]), ("c", ["ab"])])

    assert tokens["gaps"].tolist() == [3, 2, 3, 2]  # "ca" + "b" is "c" + "ab"
    assert tokens["gaps.begins"].tolist() == [1, 1]


def test_choices_begin_at_one_token_also_where_their_prompt_is_cut(folder: Path) -> None:
    _, tokens = tokenized(folder, [], [("c" * 70, ["a", "ac"])])

    assert tokens["gaps.lengths"].tolist() == [64, 64]
    assert tokens["gaps.begins"].tolist() == [63, 62]


def test_a_request_has_the_tokens_that_the_harness_gives_it(folder: Path) -> None:
    _, tokens = tokenized(folder, [], [], [("ca", "bc"), ("c", "ab")])

    # "ca" + "bc" is "c", "ab", "c", of which the harness takes what comes after two tokens.
    assert tokens["gaps"].tolist() == [3, 0, 3, 3, 2]
    assert tokens["gaps.begins"].tolist() == [2, 1]


def test_what_stands_before_a_request_is_what_the_tokenizer_puts_there_or_a_mark(folder: Path) -> None:
    with pytest.raises(ModelError, match="names no token that marks a text's begin or end"):
        tokenized(folder, [], [], [("", "b")])
    told = json.loads((folder / "tokenizer.json").read_text())
    mark = {"id": "c", "ids": [3], "tokens": ["c"]}
    told["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "c", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"c": mark},
    }
    (folder / "tokenizer.json").write_text(json.dumps(told))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": {"content": "b"}}))

    _, tokens = tokenized(folder, ["a"], [], [("a", "c"), ("", "c")])

    assert tokens["documents"].tolist() == [3, 0]
    assert tokens["gaps"].tolist() == [3, 0, 3, 1, 3]
    assert tokens["gaps.begins"].tolist() == [2, 1]


def test_a_request_of_which_nothing_is_left_to_be_predicted_is_told(folder: Path) -> None:
    with pytest.raises(DatasetError, match="'b' becomes one token with the end of its context"):
        tokenized(folder, [], [], [("ca", "b")])


def test_a_folder_without_a_tokenizer_is_told(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()

    with pytest.raises(ModelError, match=r"has no tokenizer\.json"):
        tokenized(folder, ["abc"], [])


def test_a_choice_that_does_not_fit_into_the_window_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="goes on with 10 tokens, and the model attends to 8"):
        texts.write(tmp_path / "tokens.npz", [], [(np.arange(12, dtype=np.int32), 2)], 8)
