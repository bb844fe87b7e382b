"""Models and datasets that are wrong: one clear sentence each in pytest's output, and a run that fails."""

import html
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import models
import msgspec
import numpy as np
import pytest

from pytest_edgeai import dataset
from pytest_edgeai.assess import read_model
from pytest_edgeai.records import GateResult, Outcome, Results

RECIPE = "onnxruntime-int8-static"


@dataclass(frozen=True)
class Told:
    """What a run said about wrong input."""

    status: int
    text: str
    gates: dict[str, GateResult]


# Models ----------------------------------------------------------------------------------------------------------------------


def truncated(path: Path, model: Path) -> None:
    path.write_bytes(model.read_bytes()[:-5000])


def garbage(path: Path, model: Path) -> None:
    path.write_bytes(np.random.default_rng(3).bytes(5000))


def zero_bytes(path: Path, model: Path) -> None:
    path.touch()


def directory(path: Path, model: Path) -> None:
    path.mkdir()


def missing(path: Path, model: Path) -> None:
    return


def fifo(path: Path, model: Path) -> None:
    os.mkfifo(path)


MODELS: dict[Callable[[Path, Path], None], str] = {
    truncated: "{path} (14.7 kB) can't be decoded: it is truncated, damaged or of another format. Export or download it again.",
    garbage: "{path} (5 kB) can't be decoded: it is truncated, damaged or of another format. Export or download it again.",
    zero_bytes: "{path} is empty (0 bytes), so its export or download didn't finish. Make or fetch it again.",
    directory: "{path} is a folder, not a regular file; a model is an .onnx, .gguf or .pt2 file",
    missing: "There is no model at {path}. Is the path right, seen from ",
    fifo: "{path} is a FIFO, not a regular file; a model is an .onnx, .gguf or .pt2 file, a function as FILE.py:FUNCTION, or a folder as Hugging Face saves models.",
}
"""How to make a wrong model -> what is said of it."""


# Datasets --------------------------------------------------------------------------------------------------------------------


def wrong_shape(path: Path, image: np.ndarray, labels: np.ndarray) -> None:
    np.savez(path, image=image[:, :, :8], labels=labels)


def wrong_rank(path: Path, image: np.ndarray, labels: np.ndarray) -> None:
    np.savez(path, image=image[:, 0], labels=labels)


def wrong_dtype(path: Path, image: np.ndarray, labels: np.ndarray) -> None:
    np.savez(path, image=image.astype(np.float64), labels=labels)


def wrong_name(path: Path, image: np.ndarray, labels: np.ndarray) -> None:
    np.savez(path, images=image, labels=labels)


def not_finite(path: Path, image: np.ndarray, labels: np.ndarray) -> None:
    image = image.copy()
    image[3, 0, 0, 0] = np.nan
    np.savez(path, image=image, labels=labels)


def no_items(path: Path, image: np.ndarray, labels: np.ndarray) -> None:
    np.savez(path, image=image[:0], labels=labels[:0])


def fewer_labels(path: Path, image: np.ndarray, labels: np.ndarray) -> None:
    np.savez(path, image=image, labels=labels[1:])


def one_label(path: Path, image: np.ndarray, labels: np.ndarray) -> None:
    np.savez(path, image=image, labels=np.int64(3))


def not_an_npz(path: Path, image: np.ndarray, labels: np.ndarray) -> None:
    path.write_text("a table, of course\n1, 2, 3\n")


def one_array(path: Path, image: np.ndarray, labels: np.ndarray) -> None:
    with path.open("wb") as stream:
        np.save(stream, image)


def other_files_inside(path: Path, image: np.ndarray, labels: np.ndarray) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("image", "not an array")


def cut_short(path: Path, image: np.ndarray, labels: np.ndarray) -> None:
    np.savez(path, image=image, labels=labels)
    path.write_bytes(path.read_bytes()[:-2000])


def pickled(path: Path, image: np.ndarray, labels: np.ndarray) -> None:
    np.savez(path, image=image, labels=np.array([{"a": 1}] * len(labels), dtype=object))


def nowhere(path: Path, image: np.ndarray, labels: np.ndarray) -> None:
    return


def folder(path: Path, image: np.ndarray, labels: np.ndarray) -> None:
    path.mkdir()


def pipe(path: Path, image: np.ndarray, labels: np.ndarray) -> None:
    os.mkfifo(path)


INPUT = "the model's input 'image' takes float32 [batch, 1, 16, 16]"
DATASETS: dict[Callable[[Path, np.ndarray, np.ndarray], None], str] = {
    wrong_shape: f"The dataset {{path}}: {INPUT}, but the array 'image' has the shape [20, 1, 8, 16]. Give ",
    wrong_rank: f"The dataset {{path}}: {INPUT}, but the array 'image' has the shape [20, 16, 16]. Give ",
    wrong_dtype: f"The dataset {{path}}: {INPUT}, but the array 'image' is float64. Convert it with astype.",
    wrong_name: f"The dataset {{path}} has no array 'image', but {INPUT}. Its arrays: 'images'.",
    not_finite: "The dataset {path}: the array 'image' holds NaN or infinity.",
    no_items: "The dataset {path} is empty: its arrays have 0 items.",
    fewer_labels: "The dataset {path} has 19 labels for 20 items; there must be one for each, in the same order.",
    one_label: "The dataset {path} has 1 labels for 20 items; there must be one for each, in the same order.",
    not_an_npz: "The dataset {path} can't be read as an .npz file ",
    one_array: "The dataset {path} can't be read as an .npz file ",
    other_files_inside: "The dataset {path} can't be read as an .npz file ",
    cut_short: "The dataset {path} can't be read as an .npz file ",
    pickled: "The dataset {path} can't be read as an .npz file (Object arrays cannot be loaded when allow_pickle=False). "
    "Write it with numpy.savez, without Python objects.",
    nowhere: "The dataset {path} doesn't exist. Give an .npz file with one array per model input.",
    folder: "The dataset {path} can't be read as an .npz file ",
    pipe: "The dataset {path} can't be read as an .npz file ",
}
"""How to make a wrong dataset -> what is said of it."""


@pytest.fixture(scope="module")
def kept() -> list[Told]:
    """The one run that the tests of wrong input look at."""
    return []


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the wrong files."""
    return tmp_path_factory.mktemp("wrong")


@pytest.fixture
def told(edge, kept: list[Told], wrong: Path) -> Told:
    if not kept:
        with np.load(edge.sample.dataset) as file:
            image, labels = file["image"][:20], file["labels"][:20]
        tests = []
        for make in MODELS:
            path = wrong / f"{make.__name__}.onnx"
            make(path, edge.sample.model)
            tests.append(_test(f"model_{make.__name__}", path, edge.sample.dataset))
        for make in DATASETS:
            path = wrong / f"{make.__name__}.npz"
            make(path, image, labels)
            tests.append(_test(f"dataset_{make.__name__}", edge.sample.model, path))
        edge.write("\n".join(tests))
        run = edge.run(f"--edge-recipe={RECIPE}")
        results = msgspec.json.decode((edge.report / "results.json").read_bytes(), type=Results)
        gates = {gate.test.partition("::test_")[2].partition("[")[0]: gate for gate in results.gates}
        kept.append(Told(run.ret, run.stdout.str() + run.stderr.str(), gates))
    return kept[0]


def _test(name: str, model: Path, dataset: Path) -> str:
    return (
        f"@pytest.mark.edge_model({str(model)!r}, dataset={str(dataset)!r})\n"
        f"def test_{name}(edge_variant):\n    assert edge_variant.size <= 10 * 2**20\n"
    )


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_a_model_that_cannot_be_used_is_one_sentence_with_its_path_and_what_to_do(
    told: Told, wrong: Path, make
) -> None:
    sentence = MODELS[make].format(path=wrong / f"{make.__name__}.onnx")

    verdict = told.gates[f"model_{make.__name__}"].verdict

    assert verdict.outcome is Outcome.ERROR
    assert len(verdict.notes) == 1
    assert sentence in verdict.notes[0]
    assert verdict.notes[0] in told.text


@pytest.mark.parametrize("make", DATASETS, ids=lambda make: make.__name__)
def test_a_dataset_that_cannot_be_used_is_one_sentence_with_its_path_and_what_is_wrong(
    told: Told, wrong: Path, make
) -> None:
    sentence = DATASETS[make].format(path=wrong / f"{make.__name__}.npz")

    verdict = told.gates[f"dataset_{make.__name__}"].verdict

    assert verdict.outcome is Outcome.ERROR
    assert len(verdict.notes) == 1
    assert verdict.notes[0].startswith(sentence)
    assert verdict.notes[0].endswith(".")
    assert verdict.notes[0] in told.text


def test_wrong_input_fails_the_run_without_a_traceback(told: Told) -> None:
    assert told.status == pytest.ExitCode.TESTS_FAILED
    assert len(told.gates) == len(MODELS) + len(DATASETS)
    assert "Traceback" not in told.text
    assert "INTERNALERROR" not in told.text
    assert "pytest_edgeai/" not in told.text


@pytest.fixture
def only(edge, tmp_path: Path) -> Callable[[str], Path]:
    """Makes a dataset of the sample's items of one part."""

    def make(part: str) -> Path:
        with np.load(edge.sample.dataset) as file:
            image, labels = file["image"], file["labels"]
        found = dataset.read(edge.sample.dataset, read_model(str(edge.sample.model)))
        path = tmp_path / "few.npz"
        np.savez(path, image=image[found.parts[part]], labels=labels[found.parts[part]])
        return path

    return make


@pytest.mark.parametrize(
    ("test", "part", "lacks"), [("variant", "calibration", "evaluation"), ("choice", "calibration", "selection")]
)
def test_a_dataset_without_items_to_judge_on_is_an_error_that_says_so(
    edge, only: Callable[[str], Path], test: str, part: str, lacks: str
) -> None:
    edge.write(
        f"def test_it(edge_{test}):\n    assert edge_{test}.accuracy >= 0.5 * edge_{test}.reference.accuracy\n",
        fake=True,
    )

    run = edge.run(f"--edge-dataset={only(part)}", "--edge-recipe=fake-fp32-plain")

    assert run.ret == pytest.ExitCode.TESTS_FAILED
    run.stdout.fnmatch_lines([f"*few.npz has no {lacks} items*"])
    assert "pytest_edgeai/" not in run.stdout.str()


def test_figures_of_two_datasets_are_never_put_side_by_side(edge, tmp_path: Path) -> None:
    with np.load(edge.sample.dataset) as file:
        np.savez(tmp_path / "other.npz", image=file["image"], labels=(file["labels"] + 2) % 4)
    other = f"@pytest.mark.edge_model({str(edge.sample.model)!r}, dataset={str(tmp_path / 'other.npz')!r})"
    edge.write(
        "def test_one(edge_variant):\n    assert edge_variant.accuracy >= 0.5 * edge_variant.reference.accuracy\n\n"
        f"{other}\ndef test_other(edge_variant):\n    assert edge_variant.accuracy <= 0.5\n",
        fake=True,
    )

    run = edge.run("--edge-recipe=fake-fp32-plain")

    results = msgspec.json.decode((edge.report / "results.json").read_bytes(), type=Results)
    found = [
        {variant.figures["accuracy"].estimate for variant in model.variants if "accuracy" in variant.figures}
        for model in results.models
    ]
    run.assert_outcomes(passed=2)
    assert all(len(accuracies) == 1 for accuracies in found), "the variant is the baseline, and so must be its accuracy"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "model.tflite",
            "is of no kind that is known: a model is an .onnx, .gguf or .pt2 file, a function*or a folder*",
        ),
        ("model.pth", "is a pickle by its name, and a pickle runs whatever code*torch.export.save*FILE.py:FUNCTION."),
    ],
)
def test_a_model_of_an_unknown_kind_is_a_usage_error(edge, tmp_path: Path, name: str, words: str) -> None:
    edge.write("def test_it(edge_variant):\n    assert edge_variant.size <= 1\n")
    (tmp_path / name).touch()

    run = edge.run(f"--edge-model={tmp_path / name}")

    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines([f"ERROR: The model {tmp_path / name} {words}"])


# Names -----------------------------------------------------------------------------------------------------------------------


class Scripts(HTMLParser):
    """Finds the scripts of a page and every tag's name."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.tags: set[str] = set()
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[-1] += data


def test_a_path_with_spaces_quotes_and_markup_works_and_is_escaped_in_the_report(edge, tmp_path: Path) -> None:
    place = tmp_path / 'a "quoted" & spaced <' / "script><script>alert(1)<"
    (place / "script>").mkdir(parents=True)
    model = models.convolutional(place / "script>" / "it's <blink>&amp; {{ 7*7 }}.onnx", seed=5)
    items = models.items(place / "items of <mine>.npz", model)
    edge.write(
        "def test_it(edge_variant):\n    assert edge_variant.accuracy >= 0.5 * edge_variant.reference.accuracy\n"
    )

    run = edge.run(f"--edge-model={model}", f"--edge-dataset={items}", f"--edge-recipe={RECIPE}")

    page = (edge.report / "index.html").read_text()
    parser = Scripts()
    parser.feed(page)
    run.assert_outcomes(passed=1)
    assert "blink" not in parser.tags
    assert not any(script.lstrip().startswith("alert(1)") for script in parser.scripts)
    assert "<script>alert(1)" not in page
    assert "it's <blink>&amp; {{ 7*7 }}" in html.unescape(page)
    assert json.loads((edge.report / "results.json").read_text())["models"][0]["model"]["path"] == str(model)
