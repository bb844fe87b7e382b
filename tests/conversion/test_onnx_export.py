"""Functions and programs of PyTorch as ONNX files: what they are called, which axes are dynamic, how far they are off, and what is refused."""

import io
import pickle
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from pytest_edgeai.assess import read_model  # noqa: E402
from pytest_edgeai.conversion import function, onnx_export  # noqa: E402
from pytest_edgeai.conversion.onnx_export import LIMIT, LIMIT_16, apart  # noqa: E402
from pytest_edgeai.errors import ModelError, UsageError  # noqa: E402
from tests.conversion import nets  # noqa: E402


def specs(path: Path) -> dict[str, tuple[str, tuple[int | str, ...]]]:
    found = read_model(str(path))
    return {spec.name: (spec.dtype, spec.shape) for spec in (*found.inputs, *found.outputs)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory):
    """A program of ``nets`` as a file."""

    def save(program, name: str = "small.pt2") -> Path:
        path = tmp_path_factory.mktemp("programs") / name
        torch.export.save(program, path)
        return path

    return save


@pytest.fixture(scope="module")
def program(saved) -> Path:
    torch.manual_seed(0)
    return saved(nets.program())


# What becomes of them --------------------------------------------------------------------------------------------------------


def test_inputs_have_the_arguments_names_and_any_number_of_items(convert) -> None:
    path, found = convert("small")

    assert specs(path) == {"image": ("float32", ("batch", 3, 16, 16)), "output": ("float32", ("batch", 4))}
    assert (found.architecture, found.axes, found.fixed) == ("Small", ("batch",), {})


def test_outputs_have_their_fields_names(convert) -> None:
    path, _ = convert("two")

    assert specs(path) == {
        "tokens": ("int64", ("batch", 7)),
        "extra": ("float32", ("batch", 3)),
        "logits": ("float32", ("batch", 2)),
        "label": ("int64", ("batch",)),
    }


def test_outputs_without_names_are_numbered(convert) -> None:
    path, _ = convert("several")

    assert list(specs(path)) == ["x", "output_0", "output_1_0"]


def test_an_input_that_is_not_used_stays(convert) -> None:
    path, _ = convert("one_is_not_used")

    assert list(specs(path)) == ["x", "other", "output"]


def test_weights_that_are_too_many_for_one_file_lie_in_another_beside_it(convert, monkeypatch) -> None:
    whole, _ = convert("two")
    monkeypatch.setattr(onnx_export, "LARGEST", 0)

    path, found = convert("two", again=True)

    assert [file.name for file in sorted(path.parent.iterdir())] == ["conversion.json", "model.onnx", "model.onnx.data"]
    assert found.difference < LIMIT
    assert read_model(str(path)).parameters == read_model(str(whole)).parameters


def test_dropout_is_left_out_though_the_module_was_in_training_mode(convert) -> None:
    path, _ = convert("small")
    session = onnxruntime.InferenceSession(path)
    image = {"image": np.ones((2, 3, 16, 16), np.float32)}

    answers = [session.run(None, image)[0] for _ in range(2)]

    assert np.array_equal(*answers)


def test_what_was_found_is_kept_beside_the_file(convert) -> None:
    _, found = convert("small")

    assert 0 < found.difference < LIMIT == found.limit
    assert (found.output, found.batches) == ("output", (2, 3))
    assert found.opset >= 18
    assert found.versions.keys() == {"torch", "onnxscript", "onnx", "onnxruntime"}


def test_the_same_model_is_the_same_file_which_says_nothing_of_where_it_was_made(convert) -> None:
    first, _ = convert("two")
    second, _ = convert("two", again=True)

    assert first.read_bytes() == second.read_bytes()
    assert str(Path(nets.__file__).parent).encode() not in first.read_bytes()


def test_half_precision_has_a_limit_of_its_own(convert) -> None:
    _, found = convert("half")

    assert found.difference <= found.limit == LIMIT_16


@pytest.mark.parametrize(("named", "items"), [("fixed_batch", 3), ("fixed_at_one", 1)])
def test_a_batch_that_the_code_takes_for_a_number_is_fixed_at_the_examples_and_told(convert, named, items) -> None:
    path, found = convert(named)

    assert specs(path)["x"] == ("float32", (items, 3))
    assert (found.axes, found.batches) == ((), (0, 0))
    assert re.fullmatch(r"the model's code takes it for \d|.*shape.*", found.fixed["batch"])


def test_a_program_keeps_the_axes_that_it_was_exported_with(convert, program) -> None:
    path, found = convert(program, "program")

    assert specs(path) == {"image": ("float32", ("batch", 3, 16, 16)), "output": ("float32", ("batch", 4))}
    assert (found.origin, found.architecture, found.axes) == ("program", "", ("batch",))


def test_a_function_may_give_a_program(convert) -> None:
    _, found = convert("program")

    assert (found.origin, found.axes) == ("function", ("batch",))


@pytest.mark.parametrize(
    ("named", "batches", "others"), [("twice_as_many", (3, 4), {"pairs": ("2*batch", 3)}), ("at_most_two", (2, 2), {})]
)
def test_a_program_is_called_with_sizes_that_it_takes(convert, named: str, batches, others) -> None:
    path, found = convert(named)
    shapes = {name: shape for name, (_, shape) in specs(path).items()}

    assert shapes == {"x": ("batch", 3), "output": ("batch", 3), **others}
    assert found.batches == batches


def test_a_program_that_was_exported_with_one_size_says_so(convert, saved) -> None:
    path, found = convert(saved(torch.export.export(nets.Small().eval(), (torch.randn(2, 3, 16, 16),))), "program")

    assert specs(path)["image"] == ("float32", (2, 3, 16, 16))
    assert found.fixed == {"batch": "the program was exported with a fixed one (see dynamic_shapes)"}


def test_the_users_code_finds_what_lies_beside_it_and_in_the_working_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    source, working = tmp_path / "source", tmp_path / "working"
    source.mkdir()
    working.mkdir()
    (source / "beside.py").write_text("SIZE = 3\n")
    (working / "at_work.py").write_text("SIZE = 2\n")
    (working / "weights.txt").write_text("0.5")
    (source / "model.py").write_text(
        "import pathlib, torch, beside, at_work\n\ndef make():\n    layer = torch.nn.Linear(beside.SIZE, at_work.SIZE)\n"
        "    layer.weight.data.fill_(float(pathlib.Path('weights.txt').read_text()))\n    return layer, (torch.ones(2, 3),)\n"
    )

    found = function.read(source / "model.py", "make", working)

    assert (found.module.module.weight == 0.5).all()


# What is refused -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("raises", r"it failed \(nets\.py:\d+\): ValueError: the weights are gone$"),
        ("exits", r"it failed \(nets\.py:\d+\): SystemExit: 3$"),
        ("a_number", r"it returned int\. Let it return \(module, example_inputs\), .* or a torch\.export\.ExportedProgram"),
        ("bare_inputs", r"it returned inputs of the type Tensor\. Let it return"),
        ("inputs_of_numbers", r"its input 'image' is a int, not a tensor\."),
        ("without_inputs", r"it has no inputs"),
        ("too_many_inputs", r"it can't be called on its example inputs \(image .*, input_1 \[2, 3\]\): TypeError"),
        ("gives_text", r"its output 'name' is of the type str, not a tensor\. Return a tensor, or"),
        ("gives_nothing", r"it returns no tensor"),
        ("another_formula", r"its output 'output' differs by up to 0\.\d+ % of that output's range, and 0\.005 % is rounding"),
        ("other_classes", r"its output 'output' has other whole numbers"),
        ("always_random", r"its output 'output' differs by up to \d+ % .* Is it random"),
        ("without_an_operator", r"it can't be exported to ONNX: No ONNX function found for .*bessel_j0.* Change it, or"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_told_in_one_sentence(convert, named: str, words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        convert(named)

    assert "\n" not in str(caught.value)


def test_a_function_that_is_not_there_is_guessed(convert) -> None:
    with pytest.raises(UsageError, match=r"No function in .*nets\.py named 'smal'\. Did you mean 'small'\?"):
        convert("smal")


def test_a_file_that_is_not_there_or_cannot_be_imported_is_told(convert, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("x = 1\nx.y\n")

    with pytest.raises(UsageError, match=r"there is no file .*/none\.py\. Is the path right\?"):
        convert(tmp_path / "none.py:make")
    with pytest.raises(ModelError, match=r"it can't be imported \(broken\.py:2\): AttributeError"):
        convert(tmp_path / "broken.py:make")


def test_a_file_that_is_no_program_is_told(convert, tmp_path: Path) -> None:
    (tmp_path / "text.pt2").write_text("this is no archive")

    with pytest.raises(ModelError, match=r"it is no \.pt2 file as torch\.export\.save writes it"):
        convert(tmp_path / "text.pt2", "program")


def test_a_program_with_an_operator_of_the_users_own_names_it_and_the_way_out(convert, tmp_path, program) -> None:
    path = tmp_path / "own.pt2"
    rewritten(program, path, {"models/model.json": lambda data: data.replace(b"ops.aten.conv2d.", b"ops.mine.conv2d.")})

    with pytest.raises(ModelError, match=r"mine\.conv2d.* name a function that makes the model, FILE\.py:FUNCTION\.$"):
        convert(path, "program")


def test_a_program_in_training_mode_is_refused(convert, saved) -> None:
    path = saved(torch.export.export(nets.Small().train(), (torch.randn(2, 3, 16, 16),)))

    with pytest.raises(ModelError, match=r"exported in training mode, so its dropout is random\. Call \.eval\(\)"):
        convert(path, "program")


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def rewritten(source: Path, target: Path, changes) -> None:
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as after:
        for info in before.infolist():
            change = next((one for end, one in changes.items() if info.filename.endswith(end)), lambda data: data)
            after.writestr(info.filename, change(before.read(info)))


def test_a_pickle_within_a_program_is_not_run(convert, tmp_path: Path, program) -> None:
    sprung, path, buffer = tmp_path / "sprung", tmp_path / "trap.pt2", io.BytesIO()
    torch.save(Trap(sprung), buffer)
    rewritten(program, path, {"sample_inputs/model.pt": lambda data: buffer.getvalue()})

    with pytest.raises(ModelError, match=r"it can't be read as a program"):
        convert(path, "program")
    assert not sprung.exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [("data/constants/opaque_obj_0", "a pickle runs whatever code is in it"), ("data/constants/custom_obj/../0", "a pickle runs whatever"), ("data/aotinductor/model/a.so", "compiled code")],
)  # fmt: skip
def test_a_program_with_more_than_tensors_is_refused(convert, tmp_path: Path, program, name: str, words: str) -> None:
    path = tmp_path / "more.pt2"
    rewritten(program, path, {})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"small/{name}", pickle.dumps(0))

    with pytest.raises(ModelError, match=words):
        convert(path, "program")


# How far two outputs are apart -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("got", "wanted", "share"),
    [
        ([0.0, 1.0], [0.0, 2.0], 0.5),
        ([2.0, 2.0], [4.0, 4.0], 0.5),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([np.nan, 1.0], [np.nan, 1.0], 0.0),
        ([1.0, 1.0], [np.nan, 1.0], np.inf),
        ([np.nan, 1.0], [0.0, 1.0], np.inf),
        ([1, 2], [1, 2], 0.0),
        ([1, 2], [1, 3], np.inf),
        ([[1.0]], [1.0], np.inf),
        ([], [], 0.0),
    ],
)
def test_a_difference_is_a_share_of_the_range(got, wanted, share: float) -> None:
    assert apart(np.array(got), np.array(wanted)) == share


def test_the_limit_tells_the_other_formula_of_gelu_from_rounding() -> None:
    numbers = torch.linspace(-3, 3, 1000)
    exact, other = (torch.nn.functional.gelu(numbers, approximate=one).numpy() for one in ("none", "tanh"))

    assert apart(other, exact) > onnx_export.LIMIT
