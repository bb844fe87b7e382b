"""The workshop: what is converted, and when it is found in the cache; with a task that is a plain function, without PyTorch."""

import contextlib
import json
import threading
from pathlib import Path

import msgspec
import pytest

from pytest_edgeai import conversion as module
from pytest_edgeai.assess import digest_model, files
from pytest_edgeai.build import Cache
from pytest_edgeai.conversion import FILE, RECORD, Workshop
from pytest_edgeai.errors import ModelError, UnsupportedError
from pytest_edgeai.records import Conversion

FOUND = Conversion(
    source="",
    origin="program",
    architecture="",
    exporter="fake",
    opset=20,
    versions={},
    difference=0.0,
    output="y",
    limit=1.0,
    batches=(1, 2),
)


class Exporter:
    """Stands for the worker: writes a file that says what it was made of, and counts."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.content = b"graph"
        self.found, self.error = FOUND, None

    def __call__(self, task: str, arguments, *, subject: str, timeout: float) -> None:
        self.asked.append(dict(arguments))
        if self.error is not None:
            raise self.error
        (Path(arguments["folder"]) / FILE).write_bytes(self.content)
        (Path(arguments["folder"]) / RECORD).write_bytes(msgspec.json.encode(self.found))


@pytest.fixture(autouse=True)
def everything_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DISTRIBUTIONS", dict.fromkeys(module.DISTRIBUTIONS, ("numpy",)))
    monkeypatch.setattr(module, "RUNTIMES", ("numpy",))


@pytest.fixture
def exporter() -> Exporter:
    return Exporter()


@pytest.fixture
def opened(tmp_path: Path, exporter: Exporter):
    """A workshop as a process of a run has it."""

    def open_(run: str = "run", said: list[str] | None = None) -> Workshop:
        say = (said if said is not None else []).append
        cache, working = Cache(tmp_path / "cache", say, fallback=tmp_path / "fallback"), contextlib.nullcontext
        return Workshop(cache, tmp_path / run, exporter, contextlib.nullcontext, lambda _: working(), say)

    return open_


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "model.pt2").write_bytes(b"program")
    return tmp_path / "model.pt2"


@pytest.fixture
def function(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").touch()
    return tmp_path / "nets.py:make"


def folder(path: Path, **config) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    (path / "model.safetensors").write_bytes(b"weights")
    return path


# What is converted -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "origin", "kind"),
    [
        ("ViTForImageClassification", "transformers", "onnx"),
        ("BertForMaskedLM", "transformers", "onnx"),
        ("LlamaForSequenceClassification", "transformers", "onnx"),
        ("LlamaForCausalLM", None, "huggingface"),
        ("Qwen2_5_VLForConditionalGeneration", None, "huggingface"),
        ("GPT2LMHeadModel", None, "huggingface"),
        ("LlamaModel", None, "huggingface"),
    ],
)
def test_an_architecture_that_is_named_after_another_task_than_writing_is_a_model_of_tensors(
    tmp_path: Path, architecture: str, origin, kind: str
) -> None:
    model = folder(tmp_path / "model", architectures=[architecture])

    assert (files.origin_of(model), files.kind_of(model)) == (origin, kind)


@pytest.mark.parametrize("config", ["", "[]", '{"architectures": 3}', '{"architectures": []}', "[" * 100_000])
def test_a_configuration_that_says_no_architecture_leaves_a_folder_to_those_who_read_it(tmp_path, config: str) -> None:
    model = folder(tmp_path / "model")
    (model / "config.json").write_text(config)

    assert (files.origin_of(model), files.kind_of(model)) == (None, "huggingface")


def test_an_onnx_file_stays_as_it_is(opened, exporter: Exporter, tmp_path: Path) -> None:
    assert opened().onnx_of(tmp_path / "model.onnx") == (tmp_path / "model.onnx", None)
    assert exporter.asked == []


def test_the_worker_is_told_the_folder_that_the_user_works_in(
    opened, exporter, function, monkeypatch, tmp_path
) -> None:
    monkeypatch.chdir(tmp_path)

    path, found = opened().onnx_of(Path("nets.py:make"))

    assert path.read_bytes() == b"graph"
    assert found.source == str(function)
    asked = exporter.asked[0]
    assert (asked["path"], asked["origin"], asked["working"]) == (str(function), "function", str(tmp_path))


def test_a_batch_that_is_fixed_is_said_once_in_a_run(opened, exporter: Exporter, program: Path) -> None:
    said: list[str] = []
    workshop, exporter.found = opened(said=said), msgspec.structs.replace(FOUND, fixed={"batch": "the code says 3"})

    workshop.onnx_of(program)
    workshop.onnx_of(program)

    assert said == ["model.pt2: its batch is fixed, because the code says 3"]


# The cache -------------------------------------------------------------------------------------------------------------------


def test_a_folder_is_converted_once_for_each_content(opened, exporter: Exporter, tmp_path: Path) -> None:
    model = folder(tmp_path / "model", architectures=["ViTForImageClassification"])
    first, _ = opened("monday").onnx_of(model)
    (model / "README.md").write_text("no part of the model")
    same, _ = opened("tuesday").onnx_of(model)
    (model / "model.safetensors").write_bytes(b"other weights")
    other, _ = opened("wednesday").onnx_of(model)

    assert first == same != other
    assert [asked["origin"] for asked in exporter.asked] == ["transformers"] * 2


def test_a_program_is_converted_once_whatever_it_is_called(opened, exporter: Exporter, program: Path) -> None:
    first, _ = opened("monday").onnx_of(program)
    moved = program.rename(program.with_name("other.pt2"))
    second, found = opened("tuesday").onnx_of(moved)

    assert (first, len(exporter.asked), found.source) == (second, 1, str(moved))


@pytest.mark.parametrize("change", ["bytes", "version"])
def test_another_content_or_version_is_converted_anew(opened, exporter, program: Path, monkeypatch, change) -> None:
    first, _ = opened().onnx_of(program)
    if change == "bytes":
        program.write_bytes(b"another")
    else:
        monkeypatch.setattr(module, "DISTRIBUTIONS", {"program": ("scipy",)})
    second, _ = opened().onnx_of(program)

    assert first != second
    assert len(exporter.asked) == 2


def test_a_file_that_was_changed_in_the_cache_is_made_anew(opened, exporter: Exporter, program: Path) -> None:
    path, _ = opened().onnx_of(program)
    path.write_bytes(b"something else")
    said: list[str] = []

    again, _ = opened(said=said).onnx_of(program)

    assert again.read_bytes() == b"graph"
    assert "model.onnx changed on disk" in said[0]


def test_a_function_is_called_once_in_a_run_and_anew_in_the_next(opened, exporter: Exporter, function: Path) -> None:
    first, _ = opened("monday").onnx_of(function)
    exporter.content = b"another graph"  # as of random weights
    beside, _ = opened("monday").onnx_of(function)
    after, _ = opened("tuesday").onnx_of(function)

    assert first == beside != after
    assert len(exporter.asked) == 2


def test_a_function_that_makes_the_same_is_the_same_entry(opened, exporter: Exporter, function: Path) -> None:
    first, _ = opened("monday").onnx_of(function)
    second, _ = opened("tuesday").onnx_of(function)

    assert first == second
    assert digest_model(first).digest == digest_model(second).digest
    assert len(exporter.asked) == 2


@pytest.mark.parametrize("model", ["program", "function"])
def test_processes_that_convert_at_once_share_one_file(opened, exporter, request, model: str) -> None:
    path, found, begin = request.getfixturevalue(model), [], threading.Barrier(4)

    def convert(workshop: Workshop) -> None:
        begin.wait()
        found.append(workshop.onnx_of(path)[0])

    threads = [threading.Thread(target=convert, args=(opened(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 4
    assert len(set(found)) == 1
    assert len(exporter.asked) == 1


# Failures --------------------------------------------------------------------------------------------------------------------


def test_a_failure_is_told_again_and_not_tried_again(opened, exporter: Exporter, program: Path) -> None:
    workshop, exporter.error = opened(), ModelError("it differs")

    for _ in range(2):
        with pytest.raises(ModelError, match="it differs"):
            workshop.onnx_of(program)

    assert len(exporter.asked) == 1


@pytest.mark.parametrize(
    ("lacking", "extras"), [("DISTRIBUTIONS", "torch"), ("RUNTIMES", "onnxruntime"), ("both", "torch,onnxruntime")]
)
def test_without_pytorch_or_onnx_runtime_it_says_what_to_install(opened, program, monkeypatch, lacking, extras) -> None:
    if lacking != "RUNTIMES":
        monkeypatch.setattr(module, "DISTRIBUTIONS", {"program": ("torch_that_is_not_there",)})
    if lacking != "DISTRIBUTIONS":
        monkeypatch.setattr(module, "RUNTIMES", ("runtime_that_is_not_there",))

    with pytest.raises(
        UnsupportedError,
        match=rf"model\.pt2 comes from PyTorch .* not installed: pip install 'pytest-edgeai\[{extras}\]'\.$",
    ):
        opened().onnx_of(program)


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "pytorch_model.bin"])
def test_a_pickle_is_refused_with_the_reason_and_two_ways_out(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"pickle")

    with pytest.raises(ModelError, match=r"runs whatever code .* torch\.export\.save.* FILE\.py:FUNCTION\.$"):
        digest_model(tmp_path / name)
