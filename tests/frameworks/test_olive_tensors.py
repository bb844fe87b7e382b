"""Olive's tensor models: workflows run in a process of their own, as in a worker, and what they make runs in a session of ONNX Runtime."""

import json
import os
import pickle
from pathlib import Path
from typing import Any, cast

import models
import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from pytest_edgeai.assess import read_model
from pytest_edgeai.errors import BuildError, EdgeError
from pytest_edgeai.frameworks.olive import Olive, tensors
from pytest_edgeai.frameworks.onnxruntime import OnnxRuntime
from pytest_edgeai.protocols import Runner
from pytest_edgeai.records import EngineDevice, Recipe, Target
from pytest_edgeai.registry import versions
from tests import as_worker
from tests.machines import VNNI

ENGINE = Olive()
if versions(ENGINE) is None:
    pytest.skip(f"{', '.join(ENGINE.distributions)} are not all installed", allow_module_level=True)

TARGET = Target(name="cross", title="Any", frameworks=("olive",))
DEVICE = msgspec.structs.replace(VNNI, engines={"olive": (EngineDevice(name="CPU"),)})
ARM = msgspec.structs.replace(DEVICE, architecture="arm64", features=("asimddp", "asimdhp"))
FP16, MIXED, TUNED, DYNAMIC, STATIC = ENGINE.catalogue(TARGET, "onnx")
ON_GPU = {recipe.name: msgspec.structs.replace(recipe, tuning={"device": "GPU"}) for recipe in (FP16, MIXED)}
"""What is built in half precision where this CPU has no kernels for it."""
BUILDS = [
    ("convolutional", STATIC),
    ("convolutional", TUNED),
    ("convolutional", ON_GPU[FP16.name]),
    ("convolutional", FP16),
    ("transformer", STATIC),
    ("transformer", DYNAMIC),
    ("transformer", ON_GPU[MIXED.name]),
    ("towers", STATIC),
    ("old", DYNAMIC),
    ("apart", STATIC),
    ("lstm", DYNAMIC),
    ("broken", ON_GPU[FP16.name]),
    ("foreign", TUNED),
    ("nothing", DYNAMIC),
]
BUILDER = """
import json, pickle, sys
from pathlib import Path
import msgspec
from pytest_edgeai.errors import EdgeError
from pytest_edgeai.frameworks.olive import Olive
from pytest_edgeai.records import Recipe

told = {}
items = pickle.loads(Path("items.pickle").read_bytes())
for name, wanted in json.load(sys.stdin):
    recipe = msgspec.convert(wanted, Recipe)
    folder = Path("built", f"{name}-{recipe.name}").absolute()
    folder.mkdir(parents=True)
    try:
        Olive().build(recipe, Path("models", name, "model.onnx").absolute(), folder, items.get(name, []))
    except EdgeError as error:
        told[folder.name] = [type(error).__name__, str(error)]
Path("told.json").write_text(json.dumps(told))
"""

Items = list[dict[str, NDArray[Any]]]


def images(count: int) -> Items:
    random = np.random.default_rng(1)
    return [{"image": random.normal(size=(1, 1, 16, 16)).astype(np.float32)} for _ in range(count)]


ITEMS: dict[str, Items] = {
    "convolutional": images(16),
    "transformer": models.sentences(16),
    "towers": models.pairs(16),
    "apart": images(16),
    "foreign": [{"x": np.zeros((1, 64), np.float32)}],
}


class Reader(CalibrationDataReader):  # type: ignore[misc] # of a package without types
    """Calibration items as ONNX Runtime wants to read them."""

    def __init__(self, items: Items) -> None:
        self._items = iter(items)

    def get_next(self) -> Any:
        return next(self._items, None)


class Built:
    """What builds left behind."""

    def __init__(self, folder: Path, printed: str) -> None:
        self.folder, self.printed = folder, printed
        self.told: dict[str, list[str]] = json.loads((folder / "told.json").read_text())

    def model(self, name: str) -> Path:
        return self.folder / "models" / name / "model.onnx"

    def artifact(self, name: str, recipe: Recipe) -> Path:
        assert f"{name}-{recipe.name}" not in self.told, self.told[f"{name}-{recipe.name}"]
        return self.folder / "built" / f"{name}-{recipe.name}"

    def load(self, name: str, recipe: Recipe) -> Runner:
        here = msgspec.structs.replace(recipe, tuning={})  # a GPU's graph is computed by the CPU as well
        return cast("Runner", ENGINE.load(here, self.artifact(name, recipe), threads=1))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """All at once: importing Olive takes longer than any of them."""
    folder = tmp_path_factory.mktemp("olive")
    for name in ("convolutional", "transformer", "towers", "old", "apart", "lstm", "broken", "foreign", "nothing"):
        (folder / "models" / name).mkdir(parents=True)
    file = {path.name: path / "model.onnx" for path in (folder / "models").iterdir()}
    models.convolutional(file["convolutional"])
    models.transformer(file["transformer"])
    models.two_towers(file["towers"])
    models.dense(file["old"], opset=11)
    models.recurrent(file["lstm"])
    onnx.save(
        onnx.load(file["convolutional"]), file["apart"], save_as_external_data=True, location="w.bin", size_threshold=0
    )
    file["broken"].write_bytes(b"no model")
    for name, node in (("nothing", "Erf"), ("foreign", "Zorro")):
        file[name].write_bytes(alone(node).SerializeToString())
    (folder / "items.pickle").write_bytes(pickle.dumps(ITEMS))
    (folder / "here").mkdir()
    printed = as_worker.run(
        BUILDER, folder, json.dumps([(name, msgspec.to_builtins(recipe)) for name, recipe in BUILDS])
    )
    return Built(folder, printed)


def alone(operator: str) -> onnx.ModelProto:
    """A model of one operator; what ONNX doesn't know is of the domain ``nobody``."""
    numbers = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 64]) for name in ("x", "y")]
    domain = "" if onnx.defs.has(operator) else "nobody"
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operator, ["x"], ["y"], domain=domain)], operator, numbers[:1], numbers[1:]
    )
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("nobody", 1)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)


def direct(model: Path, item: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What ONNX Runtime itself says of the source, without this package."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, item), strict=True))


def cosine(left: NDArray[Any], right: NDArray[Any]) -> float:
    left, right = left.ravel(), right.ravel()
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))


def contents(file: Path) -> tuple[list[Any], dict[str, bytes]]:
    """Nodes with their wiring, and weights by name."""
    graph = onnx.load(file).graph
    nodes = [(node.op_type, list(node.input), list(node.output)) for node in graph.node]
    return nodes, {one.name: onnx.numpy_helper.to_array(one).tobytes() for one in graph.initializer}


# The catalogue ---------------------------------------------------------------------------------------------------------------


def test_tensor_models_have_five_recipes_sorted_and_no_baseline() -> None:
    names = [recipe.name for recipe in ENGINE.catalogue(TARGET, "onnx")]

    assert names == sorted(names)
    assert names == ["olive-fp16", "olive-fp16-mixed", "olive-fp32-tuned", "olive-int8-dynamic", "olive-int8-static"]
    assert ENGINE.baseline("onnx") is None


def test_half_precision_is_refused_where_there_are_no_kernels_for_it_and_offered_on_arm(tmp_path: Path) -> None:
    assessment = read_model(str(models.convolutional(tmp_path / "model.onnx")))

    for recipe in (FP16, MIXED):
        assert "no half-precision kernels for this CPU (a CPU, x86_64)" in str(
            ENGINE.refusal(recipe, assessment, DEVICE)
        )
        assert ENGINE.refusal(recipe, assessment, ARM) is None
    assert ENGINE.reason(MIXED, assessment, ARM).endswith("what loses most by half precision stays in float32.")


def test_trees_are_offered_a_tuned_session_and_nothing_else(tmp_path: Path) -> None:
    assessment = read_model(str(models.trees(tmp_path / "trees.onnx")))

    offered = [recipe for recipe in ENGINE.catalogue(TARGET, "onnx") if ENGINE.refusal(recipe, assessment, ARM) is None]

    assert offered == [TUNED]


def test_dynamic_int8_is_refused_for_convolutions_and_static_is_offered_with_the_facts(tmp_path: Path) -> None:
    assessment = read_model(str(models.convolutional(tmp_path / "model.onnx")))

    assert "dynamic quantization is for matrix products" in str(ENGINE.refusal(DYNAMIC, assessment, DEVICE))
    assert ENGINE.refusal(STATIC, assessment, DEVICE) is None
    assert ENGINE.reason(STATIC, assessment, DEVICE).endswith("convolutions; the CPU has avx512_vnni.")


@pytest.mark.parametrize(
    ("recipe", "tuning", "sentence"),
    [
        (STATIC, {"threads": 1, "graph": "extended", "batch": 4}, None),
        (STATIC, {"device": "NPU"}, "ONNX Runtime has no provider for NPU here (it has CPU)."),
        (FP16, {"device": "GPU"}, "ONNX Runtime has no provider for GPU here (it has CPU)."),
        (STATIC, {"graph": "none"}, "ONNX Runtime makes its int8 kernels of a statically quantized file when"),
        (
            TUNED,
            {"threads": 1},
            "Olive finds the session options of olive-fp32-tuned itself: to choose them, ask for onnxruntime-fp32@threads=1.",
        ),
    ],
)
def test_tuning_that_can_not_be_had_is_refused(
    recipe: Recipe, tuning: dict[str, str | int], sentence: str | None, tmp_path: Path
) -> None:
    assessment = read_model(str(models.convolutional(tmp_path / "model.onnx")))

    refused = ENGINE.refusal(msgspec.structs.replace(recipe, tuning=tuning), assessment, DEVICE)

    assert str(refused).startswith(str(sentence))


# Builds ----------------------------------------------------------------------------------------------------------------------


def test_dynamic_int8_is_what_onnx_runtimes_own_recipe_is(built: Built, tmp_path: Path) -> None:
    own = OnnxRuntime()
    (same,) = [one for one in own.catalogue(TARGET, "onnx") if one.method == "dynamic"]

    own.build(same, built.model("transformer"), tmp_path, ITEMS["transformer"])

    assert contents(built.artifact("transformer", DYNAMIC) / "model.onnx") == contents(tmp_path / "model.onnx")


@pytest.mark.parametrize("name", ["convolutional", "transformer", "towers"])
def test_static_int8_is_what_onnx_runtimes_quantizer_makes(name: str, built: Built, tmp_path: Path) -> None:
    prepared, plain = tmp_path / "prepared.onnx", tmp_path / "plain.onnx"
    quant_pre_process(str(built.model(name)), str(prepared), skip_symbolic_shape=True)
    quantize_static(str(prepared), str(plain), Reader(ITEMS[name]), per_channel=True, activation_type=QuantType.QUInt8)

    assert contents(built.artifact(name, STATIC) / "model.onnx") == contents(plain)


@pytest.mark.parametrize(
    ("name", "recipe", "least"),
    [
        ("convolutional", STATIC, 0.99),
        ("convolutional", TUNED, 0.999999),
        ("convolutional", ON_GPU[FP16.name], 0.999),
        ("transformer", DYNAMIC, 0.99),
        ("transformer", ON_GPU[MIXED.name], 0.999),
        ("towers", STATIC, 0.97),
        ("apart", STATIC, 0.99),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_what_was_built_answers_as_its_source_does(name: str, recipe: Recipe, least: float, built: Built) -> None:
    runner = built.load(name, recipe)

    for item in ITEMS[name]:
        found, expected = runner(item), direct(built.model(name), item)
        assert {key: array.dtype for key, array in found.items()} == {
            key: array.dtype for key, array in expected.items()
        }
        assert min(cosine(found[key], expected[key]) for key in expected) > least


def test_an_old_opset_is_converted_and_an_lstm_is_quantized(built: Built) -> None:
    weights = [
        read_model(str(built.artifact(name, DYNAMIC) / "model.onnx")).weight_dtypes[0] for name in ("old", "lstm")
    ]

    assert weights == ["int8", "int8"]


def test_mixed_precision_keeps_what_loses_most_in_float32(built: Built) -> None:
    graph = onnx.load(built.artifact("transformer", ON_GPU[MIXED.name]) / "model.onnx").graph
    halves = {one.name for one in graph.initializer if one.data_type == onnx.TensorProto.FLOAT16}
    takes_halves = {node.op_type for node in graph.node if halves & set(node.input)}

    assert "MatMul" in takes_halves
    assert "LayerNormalization" not in takes_halves


def test_weights_that_lay_outside_lie_in_one_file_beside_the_model(built: Built) -> None:
    assert sorted(path.name for path in built.artifact("apart", STATIC).iterdir()) == ["model.onnx", "model.onnx.data"]
    assert [path.name for path in built.artifact("convolutional", STATIC).iterdir()] == ["model.onnx"]


def test_a_tuned_session_has_what_was_found_and_says_so(built: Built) -> None:
    found = json.loads((built.artifact("convolutional", TUNED) / tensors.FOUND).read_text())

    placement = built.load("convolutional", TUNED).placement()

    assert set(found) == {"cpu", "cores", "threads", "graph", "branches"}
    assert placement["threads"] == str(found["threads"])
    assert placement.get("graph", "all") == found["graph"]
    assert placement.get("branches", "1") == str(found["branches"])


def test_a_session_that_was_tuned_elsewhere_is_not_loaded(built: Built, tmp_path: Path) -> None:
    found = json.loads((built.artifact("convolutional", TUNED) / tensors.FOUND).read_text())
    (tmp_path / tensors.FOUND).write_text(json.dumps(found | {"cpu": "another CPU"}))

    with pytest.raises(EdgeError, match=r"was tuned on .* cores of another CPU, and here are .*: build it here"):
        ENGINE.load(TUNED, tmp_path, threads=1)


def test_nothing_is_printed_and_nothing_is_left(built: Built) -> None:
    assert built.printed == ""
    assert [list((built.folder / name).rglob("*")) for name in ("home", "here")] == [[], []]
    assert not [path for path in built.folder.rglob("*") if ".olive-cache" in path.name]
    assert sorted(path.name for path in built.folder.iterdir()) == [
        "built", "here", "home", "items.pickle", "models", "told.json", "worker",
    ]  # fmt: skip
    assert not [path for path in (built.folder / "worker").rglob("*") if path.is_file()]


# Errors ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="other CPUs may have kernels in half precision")
def test_halves_that_become_single_again_are_not_supported(built: Built) -> None:
    kind, told = built.told["convolutional-olive-fp16"]

    assert kind == "UnsupportedError"
    assert "turns every weight back into fp32" in told


def test_what_olive_logs_in_the_place_of_raising_is_told_in_one_sentence(built: Built) -> None:
    kind, told = built.told["broken-olive-fp16@device=GPU"]

    assert kind == "BuildError"
    assert told.startswith("Olive can't build olive-fp16@device=GPU of model.onnx: ")
    assert "ModelProto" in told
    assert "\n" not in told


def test_an_operator_that_the_engine_lacks_is_not_supported_and_named(built: Built) -> None:
    kind, told = built.told["foreign-olive-fp32-tuned"]

    assert kind == "UnsupportedError"
    assert told.startswith("ONNX Runtime lacks an operator of this model: nobody:Zorro.")


def test_a_quantization_that_quantizes_nothing_is_an_error(built: Built) -> None:
    _, told = built.told["nothing-olive-int8-dynamic"]

    assert "no operator runs in int8, so this variant would be fp32 by another name" in told


@pytest.mark.parametrize("recipe", [STATIC, TUNED], ids=lambda recipe: recipe.name)
def test_what_needs_items_and_has_none_is_an_error(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=f"{recipe.name} needs calibration items, and there are none"):
        ENGINE.build(recipe, models.convolutional(tmp_path / "model.onnx"), tmp_path, [])
