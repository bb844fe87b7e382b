"""The evaluation: outputs that workers wrote, scored item by item against labels that stay here."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_edgeai import arrays, scoring
from pytest_edgeai.dataset import CALIBRATION, CONFIRMATION, EVALUATION, SELECTION, Dataset, ItemFiles
from pytest_edgeai.errors import DatasetError, ModelError, UsageError, WorkerError
from pytest_edgeai.evaluation import Evaluation
from pytest_edgeai.records import Assessment, TensorSpec

ITEMS, CLASSES = 10, 4
LABELS = np.arange(ITEMS) % CLASSES
PARTS = {CALIBRATION: np.array([0, 5]), SELECTION: np.array([1, 4, 7]), CONFIRMATION: np.array([2, 3, 6, 8, 9])}
EVALUATED = [1, 2, 3, 4, 6, 7, 8, 9]
Model = Callable[[np.ndarray], Mapping[str, np.ndarray]]


def logits(classes: np.ndarray) -> np.ndarray:
    return np.eye(CLASSES, dtype=np.float32)[classes.astype(int)]


def right(x: np.ndarray) -> dict[str, np.ndarray]:
    """Every item's input is its number; its class is that modulo four."""
    return {"logits": logits(x[:, 0] % CLASSES)}


def wrong_on(*items: int) -> Model:
    return lambda x: {"logits": logits((x[:, 0] + np.isin(x[:, 0], items)) % CLASSES)}


class Workers:
    """Answers as models do; notes who was asked for what."""

    def __init__(self, models: Mapping[str, Model], spoilt: Mapping[str, list[int]] | None = None) -> None:
        self.models, self.spoilt = models, spoilt or {}
        self.asked: list[str] = []
        self.given: list[dict[str, np.ndarray]] = []

    def __call__(self, variant: str, items: Path, outputs: Path) -> list[int]:
        self.asked.append(variant)
        self.given.append(arrays.read(items))
        arrays.write(outputs, self.models[variant](self.given[-1]["x"][:, 0]))
        return self.spoilt.get(variant, [])


@pytest.fixture
def evaluation(tmp_path: Path) -> Callable[..., Evaluation]:
    def made(workers: Workers, score: Any = "top1", labels: np.ndarray | None = LABELS) -> Evaluation:
        inputs = {"x": np.arange(ITEMS, dtype=np.float32).reshape(-1, 1)}
        data = Dataset(inputs=inputs, labels=labels, parts=PARTS, digests=[str(item) for item in range(ITEMS)])
        assessment = Assessment(
            digest="", bytes=1, parameters=1, macs=1, architecture="dense", ops={}, inputs=(), outputs=(), opset=17
        )
        outputs = [TensorSpec(name=name, dtype="float32", shape=("batch", CLASSES)) for name in ("logits", "out")]
        rule = scoring.rule(score, outputs, labels, batched=["logits", "out"])
        return Evaluation(data, ItemFiles(tmp_path, data, assessment), rule, "reference", workers)

    return made


def test_every_evaluation_item_is_scored_in_order(evaluation):
    workers = Workers({"variant": wrong_on(2, 7)})

    scores = evaluation(workers).scores("variant", EVALUATION)

    assert dict(zip(EVALUATED, scores, strict=True)) == {1: 1, 2: 0, 3: 1, 4: 1, 6: 1, 7: 0, 8: 1, 9: 1}


def test_a_part_has_the_scores_of_its_own_items(evaluation):
    found = evaluation(Workers({"variant": wrong_on(2, 7)}))

    assert found.scores("variant", SELECTION).tolist() == [1, 1, 0]
    assert found.scores("variant", CONFIRMATION).tolist() == [0, 1, 1, 1, 1]


def test_calibration_items_are_never_evaluated(evaluation):
    workers = Workers({"variant": right})

    evaluation(workers).scores("variant", EVALUATION)

    assert workers.given[0]["x"][:, 0, 0].tolist() == EVALUATED


def test_labels_are_not_among_what_workers_are_given(evaluation):
    workers = Workers({"variant": right})

    evaluation(workers).scores("variant", EVALUATION)

    assert list(workers.given[0]) == ["x"]


def test_each_variant_is_run_once_whatever_is_asked_of_it(evaluation):
    workers = Workers({"variant": right, "reference": right})
    found = evaluation(workers)

    for _ in range(2):
        for part in (SELECTION, CONFIRMATION, EVALUATION):
            found.scores("variant", part)
            found.scores("reference", part)

    assert workers.asked == ["variant", "reference"]
    assert "variant" in found
    assert "another" not in found


def test_without_labels_agreement_with_the_reference_is_scored(evaluation):
    workers = Workers({"variant": wrong_on(2, 7), "reference": wrong_on(2)})

    found = evaluation(workers, labels=None)

    assert found.scores("variant", EVALUATION).tolist() == [1, 1, 1, 1, 1, 0, 1, 1]
    assert found.scores("reference", EVALUATION).tolist() == [1] * 8
    assert sorted(workers.asked) == ["reference", "variant"]


def cosine_of_out(outputs: Mapping[str, np.ndarray], label: Mapping[str, np.ndarray]) -> float:
    return scoring.cosine(outputs["out"], label["out"])


def test_without_labels_cosine_compares_with_the_references_output(evaluation):
    workers = Workers({"variant": lambda x: {"out": np.c_[x, x]}, "reference": lambda x: {"out": np.c_[x, 0 * x]}})

    scores = evaluation(workers, score=cosine_of_out, labels=None).scores("variant", EVALUATION)

    assert scores == pytest.approx([0.5**0.5] * 8)


def test_several_outputs_reach_a_score_by_name_without_a_batch_axis(evaluation):
    def score(outputs: Mapping[str, np.ndarray], label: int) -> float:
        assert outputs["logits"].shape == (CLASSES,)
        return float(outputs["margin"])

    model = lambda x: {"logits": logits(x[:, 0] % CLASSES), "margin": x[:, 0] / 10}  # noqa: E731

    scores = evaluation(Workers({"variant": model}), score=score).scores("variant", SELECTION)

    assert scores == pytest.approx([0.1, 0.4, 0.7])


def test_outputs_that_are_not_finite_are_a_model_error_that_names_the_first_item(evaluation):
    workers = Workers({"variant": right}, spoilt={"variant": [2, 5]})

    with pytest.raises(ModelError) as error:
        evaluation(workers).scores("variant", EVALUATION)

    assert str(error.value) == (
        "variant: the outputs of 2 of 8 items are not finite (NaN or infinity); the first is item 3."
    )


@pytest.mark.parametrize("count", [0, 7, 9])
def test_outputs_for_another_number_of_items_are_a_model_error(evaluation, count):
    workers = Workers({"variant": lambda x: {"logits": logits(np.zeros(count))}})

    with pytest.raises(ModelError, match=f"variant: {count} outputs came back for 8 items"):
        evaluation(workers).scores("variant", EVALUATION)


def test_without_labels_another_number_of_items_than_the_references_is_a_model_error(evaluation):
    workers = Workers({"variant": lambda x: {"logits": logits(np.zeros(7))}, "reference": right})

    with pytest.raises(ModelError, match="variant: 7 outputs came back for 8 items"):
        evaluation(workers, labels=None).scores("variant", EVALUATION)


def test_a_variant_without_the_output_that_is_scored_is_a_model_error(evaluation):
    workers = Workers({"variant": lambda x: {"logits_0": right(x)["logits"]}})

    with pytest.raises(ModelError, match="variant has no output named 'logits', as the model has, but 'logits_0'"):
        evaluation(workers).scores("variant", EVALUATION)


def no_licence(outputs: Mapping[str, np.ndarray], label: int) -> float:
    raise RuntimeError("no licence")


FAILING = {
    "ZeroDivisionError: division by zero": lambda outputs, label: 1 / 0,
    "KeyError: 'boxes'": lambda outputs, label: outputs["boxes"],
    "AttributeError": lambda outputs, label: label.no_such_thing,
    "TypeError": lambda outputs, label: None,
    "RuntimeError: no licence": no_licence,
}


@pytest.mark.parametrize(("words", "score"), FAILING.items(), ids=[words.partition(":")[0] for words in FAILING])
def test_a_score_that_fails_is_a_usage_error_that_names_it_and_the_variant(evaluation, words, score):
    with pytest.raises(UsageError) as error:
        evaluation(Workers({"variant": right}), score=score).scores("variant", EVALUATION)

    name = score.__name__
    assert str(error.value).startswith(
        f"The score '{name}' failed on the outputs of variant: {words.partition(':')[0]}"
    )
    assert words in str(error.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_a_usage_error(evaluation, value):
    def odd(outputs: Mapping[str, np.ndarray], label: int) -> float:
        return value if label == 3 else 1.0

    with pytest.raises(UsageError, match="The score 'odd' gave NaN or infinity on the outputs of variant"):
        evaluation(Workers({"variant": right}), score=odd).scores("variant", SELECTION)


def test_an_unknown_score_is_told_before_any_worker_runs(evaluation):
    workers = Workers({"variant": right})

    with pytest.raises(UsageError, match="No score named 'top3'"):
        evaluation(workers, score="top3")
    assert workers.asked == []


def test_a_worker_that_fails_is_told_as_it_is_and_not_asked_again(evaluation):
    def dies(x: np.ndarray) -> dict[str, np.ndarray]:
        raise WorkerError("variant", "score", "killed by SIGSEGV")

    workers = Workers({"variant": dies, "other": right})
    found = evaluation(workers)

    for _ in range(2):
        with pytest.raises(WorkerError, match="killed by SIGSEGV"):
            found.scores("variant", EVALUATION)
    assert found.scores("other", EVALUATION).tolist() == [1] * 8
    assert workers.asked == ["variant", "other"]


# What looks like a bad model and is something else ---------------------------------------------------------------------------


def test_outputs_that_are_the_same_for_all_items_are_a_model_error(evaluation):
    workers = Workers({"variant": lambda x: {"logits": logits(np.zeros(len(x)))}})

    with pytest.raises(ModelError, match=r"variant: its outputs are the same for all 8 items \(a degenerate output\)"):
        evaluation(workers).scores("variant", EVALUATION)


def test_one_output_that_changes_is_enough(evaluation):
    workers = Workers({"variant": lambda x: {"logits": logits(np.zeros(len(x))), "margin": x[:, 0]}})

    assert evaluation(workers).scores("variant", EVALUATION).mean() == pytest.approx(2 / 8)


@pytest.mark.parametrize("shift", [1, -1])
def test_labels_that_are_off_by_one_are_a_dataset_error_that_says_so(evaluation, shift):
    workers = Workers({"variant": right})
    told = rf"off by one: top1 .* is 0\.0% with the labels as they are and \d+\.\d% with labels \{'+' if shift < 0 else '-'} 1"

    with pytest.raises(DatasetError, match=told):
        evaluation(workers, labels=LABELS + shift).scores("variant", EVALUATION)


def test_a_model_that_is_merely_bad_is_scored(evaluation):
    workers = Workers({"variant": lambda x: {"logits": logits((x[:, 0] + (x[:, 0] % 3)) % CLASSES)}})

    assert evaluation(workers).scores("variant", EVALUATION).mean() == pytest.approx(3 / 8)
