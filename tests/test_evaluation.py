"""The evaluation: outputs that workers wrote, scored item by item against labels that stay here."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_edgeai import arrays, scoring
from pytest_edgeai.dataset import CALIBRATION, CONFIRMATION, EVALUATION, SELECTION, WHOLE, Dataset, ItemFiles, split
from pytest_edgeai.errors import DatasetError, ModelError, UsageError, WorkerError
from pytest_edgeai.evaluation import Evaluation
from pytest_edgeai.judge.claims import Claim
from pytest_edgeai.judge.rules import RIGOR
from pytest_edgeai.records import Assessment, Outcome, TensorSpec

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


# Claims ----------------------------------------------------------------------------------------------------------------------

KEPT = Claim("variant", "accuracy", ">=", 0.95, other="reference")
REACHED = Claim("variant", "accuracy", ">=", 0.9)


@pytest.fixture
def claimed(tmp_path: Path) -> Callable[..., Evaluation]:
    """An evaluation of items whose class is their number modulo four; ``groups`` of so many items each."""

    def made(
        workers: Workers, items: int = 400, score: Any = "top1", labels: Any = "right", groups: int = 0, **named: Any
    ) -> Evaluation:
        numbers, folder = np.arange(items), tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        if isinstance(labels, str):
            labels = numbers % CLASSES
        digests = [f"{number * 2654435761 % 2**60:015x}" for number in numbers.tolist()]
        data = Dataset(
            inputs={"x": numbers.astype(np.float32).reshape(-1, 1)},
            labels=labels,
            parts=split([digests[number // groups * groups] for number in numbers] if groups else digests),
            digests=digests,
            groups=numbers // groups if groups else None,
            path="small.npz",
        )
        assessment = Assessment(
            digest="", bytes=1, parameters=1, macs=1, architecture="dense", ops={}, inputs=(), outputs=(), opset=17
        )
        outputs = [TensorSpec(name="logits", dtype="float32", shape=("batch", CLASSES))]
        rule = scoring.rule(score, outputs, labels, batched=["logits"])
        return Evaluation(data, ItemFiles(folder, data, assessment), rule, "reference", workers, **named)

    return made


def often_wrong(x: np.ndarray) -> dict[str, np.ndarray]:
    """On every fifth item."""
    return wrong_on(*range(0, 400, 5))(x)


def test_a_claim_is_decided_on_the_items_of_its_part(claimed):
    found = claimed(Workers({"variant": right, "reference": right}))

    everything = found.find(KEPT, RIGOR["quick"])
    fresh = found.find(Claim("variant", "accuracy", ">=", 0.95, other="reference", fresh=True), RIGOR["quick"])

    assert (everything.outcome, fresh.outcome) == (Outcome.PASS, Outcome.PASS)
    assert 0 < fresh.samples < everything.samples < 400


def test_what_too_few_items_can_never_prove_is_told_before_anything_is_scored(claimed):
    workers = Workers({"variant": right, "reference": right})
    found = claimed(workers, items=30)

    findings = [found.find(claim, RIGOR["quick"]) for claim in (KEPT, REACHED)]

    assert [finding.outcome for finding in findings] == [Outcome.INCONCLUSIVE] * 2
    assert "items can't prove it even without one error; it needs at least 59" in findings[0].notes[0]
    assert "it needs at least 29" in findings[1].notes[0]
    assert workers.asked == []


def test_agreement_can_never_be_more_than_the_references_with_itself(claimed):
    workers = Workers({"variant": right, "reference": right})
    better = Claim("variant", "accuracy", ">=", 1.0, other="reference")

    finding = claimed(workers, labels=None).find(better, RIGOR["quick"])

    assert finding.outcome is Outcome.INCONCLUSIVE
    assert "no number of items proves 100.00 %" in finding.notes[0]
    assert workers.asked == []


@pytest.mark.parametrize("population", ["unseen", "dataset"])
def test_a_reference_that_guesses_is_an_error(claimed, population):
    def guessing(x: np.ndarray) -> dict[str, np.ndarray]:
        return {"logits": logits(np.random.default_rng(0).integers(0, CLASSES, len(x)))}

    evaluation = claimed(Workers({"variant": guessing, "reference": guessing}), population=population)

    finding = evaluation.find(KEPT, RIGOR["quick"])

    assert finding.outcome is Outcome.ERROR
    assert "it may be no better than chance" in finding.notes[0]


def test_a_constant_answer_may_be_right_often_where_classes_are_uneven(claimed):
    uneven = np.where(np.arange(400) % 10 == 0, 1, 0)
    constant_but_seldom: Model = lambda x: {"logits": logits(x[:, 0] % 37 == 0)}  # noqa: E731
    workers = Workers({"variant": constant_but_seldom, "reference": constant_but_seldom})

    finding = claimed(workers, labels=uneven).find(KEPT, RIGOR["quick"])

    assert finding.outcome is Outcome.ERROR
    assert "a constant answer on" in finding.notes[0]


def test_agreement_with_the_reference_has_no_level_of_chance(claimed):
    steady: Model = lambda x: {"logits": logits(x[:, 0] % 37 == 0)}  # noqa: E731

    finding = claimed(Workers({"variant": steady, "reference": steady}), labels=None).find(KEPT, RIGOR["quick"])

    assert finding.outcome is Outcome.PASS


@pytest.mark.parametrize("claim", [KEPT, REACHED], ids=["against the reference", "against a number"])
@pytest.mark.parametrize("population", ["unseen", "dataset"])
def test_labels_that_are_all_the_same_are_a_dataset_error(claimed, claim, population):
    workers = Workers({"variant": right, "reference": right})

    with pytest.raises(DatasetError, match=r"The labels of all \d+ \w+ items are the same \(2\): a constant answer"):
        claimed(workers, labels=np.full(400, 2), population=population).find(claim, RIGOR["quick"])
    assert workers.asked == []


def test_an_empty_part_is_a_dataset_error_that_says_how_items_are_split(claimed):
    with pytest.raises(DatasetError, match=r"The dataset small\.npz has no evaluation items: 1 items are too few"):
        claimed(Workers({}), items=1).find(KEPT, RIGOR["quick"])


# Groups


def test_grouped_items_are_judged_by_groups(claimed):
    workers = Workers({"variant": right, "reference": right})

    single = claimed(workers, items=1000).find(KEPT, RIGOR["quick"])
    grouped = claimed(workers, items=1000, groups=4).find(KEPT, RIGOR["quick"])
    few = claimed(workers, items=1000, groups=50).find(KEPT, RIGOR["quick"])

    assert [one.outcome for one in (single, grouped, few)] == [Outcome.PASS, Outcome.PASS, Outcome.INCONCLUSIVE]
    assert "groups" in grouped.method
    assert few.notes[0].endswith("groups can't prove it even without one error; it needs at least 89")


def test_the_figure_of_grouped_items_is_wider_than_that_of_single_ones(claimed):
    workers = Workers({"variant": lambda x: {"logits": logits((x[:, 0] + (x[:, 0] // 20 % 4 == 0)) % CLASSES)}})

    single = claimed(workers).figure("variant", EVALUATION)
    grouped = claimed(workers, groups=20).figure("variant", EVALUATION)

    assert grouped.high - grouped.low > 1.5 * (single.high - single.low)


# All items at once


@scoring.corpus_score
def macro_f1(outputs: Mapping[str, np.ndarray], labels: np.ndarray) -> float:
    answers = outputs["logits"].argmax(1)
    of_classes = [
        2 * np.sum((answers == one) & (labels == one)) / max(np.sum(answers == one) + np.sum(labels == one), 1)
        for one in range(CLASSES)
    ]
    return float(np.mean(of_classes))


@scoring.corpus_score
def all_agree(outputs: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]) -> float:
    return float(np.mean(outputs["logits"].argmax(1) == labels["logits"].argmax(1)))


def test_a_score_of_all_items_gets_them_at_once_and_is_judged(claimed):
    workers = Workers({"variant": right, "reference": right, "other": often_wrong})
    found = claimed(workers, score=macro_f1)

    kept = found.find(KEPT, RIGOR["quick"])
    lost = found.find(Claim("other", "accuracy", ">=", 0.95, other="reference"), RIGOR["quick"])

    assert (kept.outcome, lost.outcome) == (Outcome.PASS, Outcome.FAIL)
    assert kept.method == "paired bootstrap"
    assert lost.estimate == pytest.approx(0.8, abs=0.03)
    assert found.figure("other", EVALUATION).estimate == lost.estimate


def test_without_labels_a_score_of_all_items_gets_the_references_outputs(claimed):
    workers = Workers({"variant": often_wrong, "reference": right})

    finding = claimed(workers, score=all_agree, labels=None).find(KEPT, RIGOR["quick"])

    assert finding.outcome is Outcome.FAIL
    assert finding.estimate == pytest.approx(0.8, abs=0.03)


def test_a_score_of_all_items_is_not_held_against_a_number(claimed):
    finding = claimed(Workers({"variant": right}), score=macro_f1).find(REACHED, RIGOR["quick"])

    assert finding.outcome is Outcome.UNSUPPORTED
    assert "reference.accuracy" in finding.notes[0]


def test_a_score_of_all_items_that_fails_is_told_as_any_other(claimed):
    @scoring.corpus_score
    def broken(outputs: Mapping[str, np.ndarray], labels: np.ndarray) -> float:
        return 1 / 0

    with pytest.raises(UsageError, match=r"The score 'broken' failed on the outputs of .*: ZeroDivisionError"):
        claimed(Workers({"variant": right, "reference": right}), score=broken).find(KEPT, RIGOR["quick"])


# Exactly this dataset


def test_a_claim_on_exactly_this_dataset_is_about_every_item_and_has_no_sampling_error(claimed):
    workers = Workers({"variant": wrong_on(*range(40)), "reference": right})
    found = claimed(workers, population="dataset")

    kept = [
        found.find(Claim("variant", "accuracy", ">=", limit, other="reference"), RIGOR["quick"])
        for limit in (0.9, 0.901)
    ]
    reached = [found.find(Claim("variant", "accuracy", ">=", limit), RIGOR["quick"]) for limit in (0.9, 0.901)]

    assert [one.outcome for one in kept + reached] == [Outcome.PASS, Outcome.FAIL] * 2
    assert {one.spent for one in kept + reached} == {"exactly this dataset: 400 items, 2 runs"}
    assert kept[0].notes == ["40 items got worse, 0 got better: 10.00 % flipped (McNemar p = 1.8e-12)"]
    assert found.figure("variant", WHOLE).confidence == 1
    assert len(workers.given[0]["x"]) == 400


def test_a_few_items_prove_what_is_claimed_of_them_alone(claimed):
    found = claimed(Workers({"variant": right, "reference": right}), items=12, population="dataset")

    assert found.find(Claim("variant", "accuracy", ">=", 1.0), RIGOR["quick"]).outcome is Outcome.PASS


def test_scores_of_all_items_are_exact_for_exactly_these(claimed):
    found = claimed(Workers({"variant": right, "reference": right}), score=macro_f1, population="dataset")

    assert found.find(Claim("variant", "accuracy", ">=", 1.0), RIGOR["quick"]).outcome is Outcome.PASS


def test_a_runtime_that_answers_differently_each_time_leaves_an_exact_claim_open(claimed):
    runs = iter([(), (1, 2, 3)])

    def wavering(x: np.ndarray) -> Mapping[str, np.ndarray]:
        return wrong_on(*next(runs))(x)

    workers = Workers({"variant": wavering, "reference": right})

    finding = claimed(workers, population="dataset").find(Claim("variant", "accuracy", ">=", 0.995), RIGOR["quick"])

    assert finding.outcome is Outcome.INCONCLUSIVE
    assert finding.notes[0].startswith("runs lie on both sides of the limit")
