"""Scores of single items, and how one is found by its name."""

import sys
import textwrap

import numpy as np
import pytest

from pytest_edgeai import scoring
from pytest_edgeai.errors import UsageError

LOGITS = {"logits": np.array([0.1, 2.0, -1.0, 0.5, 0.3, 0.2, 0.0], dtype=np.float32)}


@pytest.mark.parametrize(("label", "score"), [(1, 1.0), (3, 0.0), (np.int64(1), 1.0), (np.array([1]), 1.0), (1.0, 1.0)])
def test_top1_is_right_when_the_greatest_output_is_the_labels(label, score):
    assert scoring.top1(LOGITS, label) == score


@pytest.mark.parametrize(("label", "score"), [(1, 1.0), (3, 1.0), (0, 1.0), (6, 0.0), (2, 0.0), (np.array([3]), 1.0)])
def test_top5_is_right_when_the_label_is_among_the_five_greatest(label, score):
    assert scoring.top5(LOGITS, label) == score


@pytest.mark.parametrize("score", [scoring.top1, scoring.top5])
def test_a_label_of_several_numbers_is_refused(score):
    one_hot = np.array([0, 1, 0, 0, 0])

    with pytest.raises(ValueError, match="a label is a class's number, not 5 numbers"):
        score(LOGITS, one_hot)


@pytest.mark.parametrize(
    ("label", "score"),
    [([2.0, 0.0], 1.0), ([-3.0, 0.0], -1.0), ([0.0, 5.0], 0.0), ([1.0, 1.0], 0.5**0.5), ([0.0, 0.0], 0.0)],
)
def test_cosine_is_that_of_the_angle_between_output_and_label(label, score):
    outputs = {"embedding": np.array([[4.0, 0.0]], dtype=np.float32)}

    assert scoring.cosine(outputs, np.array(label)) == pytest.approx(score)


def test_only_the_first_output_is_scored():
    outputs = LOGITS | {"other": np.array([9.0, 0.0])}

    assert scoring.top1(outputs, 1) == 1.0


@pytest.mark.parametrize("name", ["top1", "top5", "cosine"])
def test_a_built_in_score_is_found_by_its_name(name):
    assert scoring.find(name) is scoring.BUILT_IN[name]


def test_a_function_is_its_own_score():
    def own(outputs, label):
        return 1.0

    assert scoring.find(own) is own
    assert scoring.title(own, labelled=True) == "own"


def test_a_score_of_ones_own_is_found_by_module_and_function(tmp_path, monkeypatch):
    (tmp_path / "a_score_of_mine.py").write_text("def exact(outputs, label):\n    return 0.5\nnumber = 3\n")
    monkeypatch.syspath_prepend(tmp_path)

    found = scoring.find("a_score_of_mine:exact")

    assert found({}, None) == 0.5
    with pytest.raises(UsageError, match="The score 'a_score_of_mine:number' is not a function"):
        scoring.find("a_score_of_mine:number")
    del sys.modules["a_score_of_mine"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cosin", "No score named 'cosin'. Did you mean 'cosine'? Known: cosine, top1, top5."),
        ("top2", "A score of your own is written module:function."),
        ("no_such_module_at_all:f", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("json:no_such_function", "AttributeError: module 'json' has no attribute 'no_such_function'"),
        (":f", "The score ':f' can't be imported: ValueError"),
        ("json:", "The score 'json:' can't be imported: AttributeError"),
    ],
)
def test_a_score_that_is_not_there_is_a_usage_error(name, words):
    with pytest.raises(UsageError) as error:
        scoring.find(name)

    assert words in str(error.value)


@pytest.mark.parametrize("source", ["1 / 0", "def f(:", "raise RuntimeError('no licence')"])
def test_a_score_whose_module_fails_when_imported_is_a_usage_error(source, tmp_path, monkeypatch):
    (tmp_path / "a_broken_score.py").write_text(textwrap.dedent(source))
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(UsageError, match="The score 'a_broken_score:f' can't be imported: "):
        scoring.find("a_broken_score:f")


@pytest.mark.parametrize("name", ["top1", "top5", "cosine"])
def test_outputs_agree_perfectly_with_the_label_that_is_made_of_them(name):
    label = scoring.label_of(name, LOGITS)

    assert scoring.find(name)(LOGITS, label) == pytest.approx(1.0)


def test_without_labels_the_title_says_that_agreement_is_scored():
    assert scoring.title("top1", labelled=True) == "top1"
    assert scoring.title("top1", labelled=False) == "agreement with the reference (top1)"
