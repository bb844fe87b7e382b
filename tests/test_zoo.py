"""Five kinds of models from ``fixtures/zoo``: each is read, its dataset fits, it runs, and its outputs are scored."""

from pathlib import Path

import numpy as np
import pytest

from fixtures.zoo import make_zoo
from pytest_edgeai import arrays, scoring
from pytest_edgeai.assess import read_model
from pytest_edgeai.dataset import EVALUATION, Dataset, ItemFiles, batched_outputs, made_up, read
from pytest_edgeai.frameworks.onnxruntime import OnnxRuntime
from pytest_edgeai.records import Assessment, Recipe

pytest.importorskip("skl2onnx")
BASELINE = Recipe(framework="onnxruntime", precision="fp32")
FITTED = 150
"""Items that the last layers are fitted to here: enough to be better than chance."""

ARCHITECTURES = {
    "encoder": "transformer",
    "mobile": "convolutional",
    "two_towers": "convolutional",
    "lstm": "recurrent",
    "trees": "trees",
}
MODALITIES = {
    "encoder": ("text",),
    "mobile": ("image",),
    "two_towers": ("image", "tabular"),
    "lstm": ("sequence",),
    "trees": ("tabular",),
}
RULES = {
    "encoder": "top1",
    "mobile": "top1",
    "two_towers": "agreement with the reference (top1 of 'logits')",
    "lstm": "top1",
    "trees": "top1 of 'label'",
}
CLASSES = {"encoder": 4, "mobile": 10, "two_towers": 8, "lstm": 6, "trees": 10}
WHOLE = {"lstm": {"signal"}}

Animal = tuple[str, Path, Assessment, Dataset]


@pytest.fixture(scope="module", params=list(make_zoo.ZOO))
def animal(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Animal:
    """(name, folder, assessment, dataset)"""
    folder = tmp_path_factory.mktemp("zoo")
    (sample,) = make_zoo.make(folder, [request.param], FITTED).values()
    assessment = read_model(str(sample.model))
    return request.param, folder, assessment, read(sample.dataset, assessment)


def answers(animal: Animal, calls: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    """As a worker gives them."""
    name, folder, assessment, data = animal
    built = folder / "built"
    if not built.is_dir():
        built.mkdir()
        OnnxRuntime().build(BASELINE, folder / f"{name}.onnx", built, [])
    runner, batched = OnnxRuntime().load(BASELINE, built, threads=1), batched_outputs(assessment, data)
    return [
        {output: array[0] if output in batched else array for output, array in runner(call).items()} for call in calls
    ]


def test_it_is_known_for_what_it_is(animal: Animal) -> None:
    name, _, assessment, data = animal

    assert assessment.architecture == ARCHITECTURES[name]
    assert assessment.modalities == MODALITIES[name]
    assert data.whole == WHOLE.get(name, set())


def test_its_items_are_scored_better_than_by_chance(animal: Animal, tmp_path: Path) -> None:
    name, _, assessment, data = animal
    calls = arrays.read_items(ItemFiles(tmp_path, data, assessment).part(EVALUATION))[:60]
    rows = answers(animal, calls)

    rule = scoring.rule(
        "auto", assessment.outputs, data.labels, batched=batched_outputs(assessment, data), sizes=data.sizes
    )
    known = data.labels[data.indexes(EVALUATION)] if data.labels is not None else [rule.label_of(row) for row in rows]
    scores = rule.scores(rows, known[:60])

    assert rule.title == RULES[name]
    assert np.mean(scores) > 1.5 / CLASSES[name]
    assert set(scores) <= {0, 1}


def test_it_runs_on_inputs_that_are_made_up(animal: Animal) -> None:
    rows = made_up(animal[2], items=1)

    (answer,) = answers(animal, [{name: array[0] for name, array in rows.items()}])

    assert arrays.not_finite(answer) is None
    assert set(answer) == {spec.name for spec in animal[2].outputs}
