"""Scores of single items, which output they read, and how one is found by its name."""

import sys
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from pytest_edgeai import scoring
from pytest_edgeai.errors import UsageError
from pytest_edgeai.records import TensorSpec

SCORES = np.array([0.1, 2.0, -1.0, 0.5, 0.3, 0.2, 0.0], dtype=np.float32)


def output(name: str, *shape: int | str, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=("batch", *shape))


LOGITS, HIDDEN = output("logits", 7), output("last_hidden_state", "seq", 32)
VALUE, LABEL = output("value", 1), output("label", dtype="int64")
PROBABILITIES = output("probabilities", 10)
CLASSES, NUMBERS = np.arange(9) % 3, np.linspace(0, 1, 9)
TOKENS, VECTORS = np.zeros((9, 5), dtype=np.int64), np.full((9, 32), 0.5)


def rule(name: Any, *outputs: TensorSpec, labels: np.ndarray | None = CLASSES, **more: Any) -> scoring.Rule:
    return scoring.rule(name, outputs, labels, batched=[spec.name for spec in outputs], **more)


# One item --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("label", "score"), [(1, 1.0), (3, 0.0), (np.int64(1), 1.0), (np.array([1]), 1.0), (1.0, 1.0)])
def test_top1_is_right_when_the_greatest_score_is_the_labels(label, score):
    assert scoring.top1(SCORES, label) == score


@pytest.mark.parametrize("answer", [SCORES[None], SCORES[:, None, None], SCORES.astype(np.float16)])
def test_axes_of_length_one_do_not_matter(answer):
    assert scoring.top1(answer, 1) == 1.0
    assert scoring.top5(answer, 2) == 0.0


@pytest.mark.parametrize(("label", "score"), [(1, 1.0), (3, 1.0), (0, 1.0), (6, 0.0), (2, 0.0), (np.array([3]), 1.0)])
def test_top5_is_right_when_the_label_is_among_the_five_greatest(label, score):
    assert scoring.top5(SCORES, label) == score


@pytest.mark.parametrize(("answer", "score"), [(np.int64(3), 1.0), (np.array([3]), 1.0), (np.array(2), 0.0)])
def test_a_whole_number_is_the_class_itself(answer, score):
    assert scoring.top1(np.asarray(answer), 3) == score


def test_every_position_that_has_a_label_counts():
    tokens = np.eye(4)[[0, 1, 2, 3, 3, 3]]

    assert scoring.top1(tokens, np.array([0, 1, 2, 0, -100, -100])) == 0.75
    assert scoring.top5(np.eye(9)[[0, 1]], np.array([8, 1])) == 1.0


@pytest.mark.parametrize("axis", [0, 2], ids=["channels first", "channels last"])
def test_the_classes_of_a_segmentation_lie_along_the_axis_that_the_labels_lack(axis):
    mask = np.arange(20).reshape(4, 5) % 3
    answer = np.moveaxis(np.eye(3)[mask], -1, axis)

    assert scoring.top1(answer, mask) == 1.0
    assert scoring.top1(answer, np.where(mask == 2, 0, mask)) == pytest.approx(14 / 20)


def test_classes_of_every_position_are_compared_one_by_one():
    assert scoring.top1(np.array([1, 2, 3, 4]), np.array([1, 2, 0, -1])) == pytest.approx(2 / 3)


@pytest.mark.parametrize("score", [scoring.top1, scoring.top5])
def test_a_label_of_several_numbers_is_refused(score):
    with pytest.raises(ValueError, match="a label is a class's number, not 5 numbers"):
        score(SCORES, np.array([0, 1, 0, 0, 0]))


def test_a_single_number_has_no_greatest():
    with pytest.raises(ValueError, match=r"has the shape \[1\], which is not one number for each class"):
        scoring.top1(np.array([0.3]), 0)


def test_positions_of_which_none_counts_are_refused():
    with pytest.raises(ValueError, match="so none counts"):
        scoring.top1(np.eye(3), np.full(3, -100))


@pytest.mark.parametrize(
    ("label", "score"),
    [([2.0, 0.0], 1.0), ([-3.0, 0.0], -1.0), ([0.0, 5.0], 0.0), ([1.0, 1.0], 0.5**0.5), ([0.0, 0.0], 0.0)],
)
def test_cosine_is_that_of_the_angle_between_output_and_label(label, score):
    embedding = np.array([[4.0, 0.0]], dtype=np.float32)

    assert scoring.cosine(embedding, np.array(label)) == pytest.approx(score)


def test_the_cosine_of_a_single_number_proves_nothing():
    with pytest.raises(ValueError, match="always 1 or -1; choose r2"):
        scoring.cosine(np.array([3.0]), 2.0)


def test_r2_is_the_coefficient_of_determination():
    rng = np.random.default_rng(0)
    labels = rng.standard_normal(50)
    answers = labels + 0.3 * rng.standard_normal(50)

    scores = scoring.r2(list(answers[:, None]), list(labels))

    expected = 1 - np.sum((answers - labels) ** 2) / np.sum((labels - labels.mean()) ** 2)
    assert np.mean(scores) == pytest.approx(expected)


def test_r2_is_0_for_the_mean_and_1_for_the_labels_themselves():
    labels = [np.array([1.0, 10.0]), np.array([3.0, 20.0]), np.array([8.0, 0.0])]

    assert np.mean(scoring.r2([np.mean(labels, axis=0)] * 3, labels)) == pytest.approx(0)
    assert scoring.r2(labels, labels) == [1, 1, 1]


def test_r2_of_labels_that_are_alike_is_refused():
    with pytest.raises(ValueError, match="all labels are alike"):
        scoring.r2([np.array([1.0])] * 3, [2.0] * 3)


@pytest.mark.parametrize("score", [scoring.cosine, lambda answer, label: scoring.r2([answer] * 2, [label, 0 * label])])
def test_outputs_and_labels_of_different_sizes_are_refused(score):
    with pytest.raises(ValueError, match="the output is 7 numbers, and the label is 3"):
        score(SCORES, np.ones(3))


# Which output, and which score -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outputs", "labels", "read"),
    [
        ([VALUE, LOGITS], CLASSES, "logits"),
        ([VALUE, LOGITS], None, "logits"),
        ([HIDDEN, LOGITS], CLASSES, "logits"),
        ([HIDDEN, LOGITS], None, "logits"),
        ([HIDDEN, output("out", 7)], CLASSES, "out"),
        ([LOGITS, output("tags", "seq", 5)], TOKENS, "tags"),
        ([LABEL, PROBABILITIES], CLASSES, "label"),
        ([output("count", dtype="int64"), PROBABILITIES], CLASSES, "probabilities"),
        ([VALUE, output("count", dtype="int64")], CLASSES, "count"),
        ([output("boxes", 4, 4), output("scores", 9)], None, "scores"),
    ],
)
def test_top1_reads_the_output_that_has_classes(outputs, labels, read):
    assert rule("top1", *outputs, labels=labels).name == f"top1 of '{read}'"


def test_top5_needs_scores_where_top1_takes_the_class():
    assert rule("top5", LABEL, PROBABILITIES).name == "top5 of 'probabilities'"


@pytest.mark.parametrize(
    ("outputs", "labels", "name"),
    [
        ([LOGITS], CLASSES, "top1"),
        ([LOGITS], CLASSES.astype(np.float64), "top1"),
        ([LOGITS], None, "top1"),
        ([LABEL, PROBABILITIES], None, "top1 of 'label'"),
        ([VALUE], NUMBERS, "r2"),
        ([VALUE], CLASSES, "r2"),
        ([VALUE], None, "r2"),
        ([VALUE, LOGITS], NUMBERS, "r2 of 'value'"),
        ([VALUE, LOGITS], CLASSES, "top1 of 'logits'"),
        ([VALUE, HIDDEN], CLASSES, "r2 of 'value'"),
        ([output("embedding", 32)], None, "cosine"),
        ([output("embedding", 32)], VECTORS, "cosine"),
        ([HIDDEN], None, "cosine"),
        ([output("tags", "seq", 5)], TOKENS, "top1"),
        ([output("picture", 3, 64, 64)], None, "cosine"),
        ([output("class_map", 3, 64, 64)], None, "top1"),
    ],
)
def test_auto_is_what_one_would_expect_of_the_model_and_its_labels(outputs, labels, name):
    assert rule("auto", *outputs, labels=labels).name == name


def test_in_whole_calls_the_batch_of_one_is_no_axis():
    found = scoring.rule("auto", [output("out", 7)], None, sizes={"batch": 1})

    assert found.name == "top1"


@pytest.mark.parametrize(
    ("name", "outputs", "words"),
    [
        (
            "top1",
            [VALUE],
            (
                "The score top1 needs an output with a number for each class, and the model's are 'value' (a single number an item): "
                "choose r2, or a function of your own: --edge-score module:function."
            ),
        ),
        ("top5", [VALUE, LABEL], "'label' (whole numbers an item): choose r2, or a function"),
        ("cosine", [VALUE], "(the cosine of a single one is always 1 or -1), and the model's are 'value'"),
        (
            "r2",
            [LABEL],
            "needs an output of real numbers, and the model's are 'label' (whole numbers an item): choose a function",
        ),
    ],
)
def test_a_score_that_the_model_has_no_output_for_is_a_usage_error(name, outputs, words):
    with pytest.raises(UsageError) as error:
        rule(name, *outputs)

    assert words in str(error.value)


@pytest.mark.parametrize("name", ["auto", *scoring.BUILT_IN])
def test_labels_that_are_text_are_refused(name):
    with pytest.raises(UsageError, match=r"The labels are <U3, and .* needs numbers: number the classes"):
        rule(name, LOGITS, labels=np.array(["cat", "dog"]))


# Agreement -------------------------------------------------------------------------------------------------------------------

AGREEING: dict[str, tuple[str, TensorSpec, np.ndarray]] = {
    "top1": ("top1", LOGITS, SCORES),
    "top1 of tokens": ("top1", output("tags", 7, 7), np.random.default_rng(0).random((7, 7))),
    "top1 of pixels": ("top1", output("mask_logits", 5, 5, 5), np.random.default_rng(0).random((5, 5, 5))),
    "top1 of a class": ("top1", LABEL, np.array(3)),
    "top5": ("top5", LOGITS, SCORES),
    "cosine": ("cosine", LOGITS, SCORES),
}


@pytest.mark.parametrize(("name", "spec", "answer"), AGREEING.values(), ids=AGREEING.keys())
def test_outputs_agree_perfectly_with_the_label_that_is_made_of_them(name, spec, answer):
    found = rule(name, spec, labels=None)
    row = {spec.name: answer}

    assert found.scores([row], [found.label_of(row)]) == [pytest.approx(1.0)]


def test_real_numbers_agree_by_the_variance_that_they_reproduce():
    found = rule("r2", VALUE, labels=None)
    reference = [{"value": np.array([number])} for number in (1.0, 2.0, 3.0)]
    labels = [found.label_of(row) for row in reference]

    assert found.scores(reference, labels) == [1, 1, 1]
    assert np.mean(found.scores([{"value": np.array([2.0])}] * 3, labels)) == pytest.approx(0)


def test_a_function_of_ones_own_gets_the_references_outputs_where_there_are_no_labels():
    def own(outputs: Mapping[str, np.ndarray], label: Any) -> float:
        return float(outputs["value"] == label["value"])

    found = rule(own, VALUE, LOGITS, labels=None)
    row = {"value": np.array(1.0), "logits": SCORES}

    assert found.scores([row], [found.label_of(row)]) == [1.0]
    assert found.title == "agreement with the reference (own)"


def test_without_labels_the_title_says_that_agreement_is_scored():
    assert rule("top1", LOGITS).title == "top1"
    assert rule("top1", LOGITS, labels=None).title == "agreement with the reference (top1)"


# Names -----------------------------------------------------------------------------------------------------------------------


def test_a_score_of_ones_own_is_found_by_module_and_function(tmp_path, monkeypatch):
    (tmp_path / "a_score_of_mine.py").write_text("def exact(outputs, label):\n    return 0.5\nnumber = 3\n")
    monkeypatch.syspath_prepend(tmp_path)

    found = rule("a_score_of_mine:exact", LOGITS)

    assert found.scores([{}], [None]) == [0.5]
    assert found.title == "a_score_of_mine:exact"
    with pytest.raises(UsageError, match="The score 'a_score_of_mine:number' is not a function"):
        rule("a_score_of_mine:number", LOGITS)
    del sys.modules["a_score_of_mine"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cosin", "No score named 'cosin'. Did you mean 'cosine'? Known: auto, cosine, r2, top1, top5."),
        ("top2", "A score of your own is written module:function."),
        ("no_such_module_at_all:f", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("json:no_such_function", "AttributeError: module 'json' has no attribute 'no_such_function'"),
        (":f", "The score ':f' can't be imported: ValueError"),
        ("json:", "The score 'json:' can't be imported: AttributeError"),
    ],
)
def test_a_score_that_is_not_there_is_a_usage_error(name, words):
    with pytest.raises(UsageError) as error:
        rule(name, LOGITS)

    assert words in str(error.value)


@pytest.mark.parametrize("source", ["1 / 0", "def f(:", "raise RuntimeError('no licence')"])
def test_a_score_whose_module_fails_when_imported_is_a_usage_error(source, tmp_path, monkeypatch):
    (tmp_path / "a_broken_score.py").write_text(textwrap.dedent(source))
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(UsageError, match="The score 'a_broken_score:f' can't be imported: "):
        rule("a_broken_score:f", LOGITS)
