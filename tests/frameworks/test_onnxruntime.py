"""ONNX Runtime: catalogue, refusals, builds and sessions, on small real models."""

import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import models
import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from pytest_edgeai.assess import read_model
from pytest_edgeai.errors import BuildError, EdgeError, UnsupportedError
from pytest_edgeai.frameworks import onnxruntime as module
from pytest_edgeai.frameworks.onnxruntime import OnnxRuntime, edge_frameworks
from pytest_edgeai.ort import sessions
from pytest_edgeai.protocols import Framework
from pytest_edgeai.records import Assessment, Device, EngineDevice, Recipe, Target
from tests.machines import OLD, VNNI

ENGINE = OnnxRuntime()
TARGET = Target(name="cross", title="Any", frameworks=("onnxruntime",))
FP16, SINGLE, DYNAMIC, STATIC = ENGINE.catalogue(TARGET, "onnx")
BASELINE = Recipe(framework="onnxruntime", precision="fp32")

Items = list[dict[str, NDArray[Any]]]


def convolutional(folder: Path) -> Path:
    """Two 3x3 convolutions on 3x16x16 with a dynamic batch, pooling, ten classes."""
    random = np.random.default_rng(7)

    def weight(name: str, *shape: int) -> TensorProto:
        scale = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.1
        return numpy_helper.from_array((random.normal(size=shape) * scale).astype(np.float32), name)

    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "k1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c1"], ["r1"]),
            helper.make_node("Conv", ["r1", "k2", "b2"], ["c2"], pads=[1, 1, 1, 1], strides=[2, 2]),
            helper.make_node("Relu", ["c2"], ["r2"]),
            helper.make_node("GlobalAveragePool", ["r2"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("Gemm", ["flat", "classes"], ["logits"], transB=1),
        ],
        "convolutional",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        [
            weight("k1", 16, 3, 3, 3),
            weight("b1", 16),
            weight("k2", 32, 16, 3, 3),
            weight("b2", 32),
            weight("classes", 10, 32),
        ],
    )
    return saved(graph, folder / "convolutional.onnx")


def dense(folder: Path) -> Path:
    """64 -> 128 -> 10."""
    random = np.random.default_rng(8)
    weights = [
        numpy_helper.from_array((random.normal(size=shape) / 8).astype(np.float32), name)
        for name, shape in (("w1", (64, 128)), ("w2", (128, 10)))
    ]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w1"], ["h"]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("MatMul", ["r", "w2"], ["y"]),
        ],
        "dense",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
        weights,
    )
    return saved(graph, folder / "dense.onnx")


def saved(graph: onnx.GraphProto, path: Path) -> Path:
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def images(count: int, seed: int = 1) -> Items:
    random = np.random.default_rng(seed)
    return [{"image": random.normal(size=(1, 3, 16, 16)).astype(np.float32)} for _ in range(count)]


def vectors(count: int, seed: int = 1) -> Items:
    random = np.random.default_rng(seed)
    return [{"x": random.normal(size=(1, 64)).astype(np.float32)} for _ in range(count)]


def direct(model: Path, item: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """What ONNX Runtime itself says, without this package."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    result: NDArray[Any] = session.run(None, item)[0]
    return result


def built(recipe: Recipe, model: Path, folder: Path, calibration: Items | None = None) -> Path:
    artifact = folder / recipe.name
    artifact.mkdir()
    ENGINE.build(recipe, model, artifact, calibration or [])
    return artifact


@pytest.fixture(scope="module")
def assessed(tmp_path_factory: pytest.TempPathFactory) -> Assessment:
    return read_model(str(convolutional(tmp_path_factory.mktemp("assessed"))))


def tuned(recipe: Recipe, **tuning: str | int) -> Recipe:
    return msgspec.structs.replace(recipe, tuning=tuning)


def cosine(left: NDArray[Any], right: NDArray[Any]) -> float:
    left, right = left.ravel(), right.ravel()
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))


# The catalogue ---------------------------------------------------------------------------------------------------------------


def test_the_engine_is_found_by_the_hook() -> None:
    (found,) = edge_frameworks()

    assert isinstance(found, Framework)
    assert (found.name, found.distributions) == ("onnxruntime", ("onnxruntime", "onnx"))


def test_the_catalogue_is_sorted_and_the_same_whenever_it_is_asked() -> None:
    names = [recipe.name for recipe in ENGINE.catalogue(TARGET, "onnx")]

    assert names == sorted(names)
    assert names[0] == "onnxruntime-fp16"
    assert names[-2:] == ["onnxruntime-int8-dynamic", "onnxruntime-int8-static"]
    assert ENGINE.catalogue(TARGET, "onnx") == OnnxRuntime().catalogue(TARGET, "onnx")


def test_the_baseline_is_not_in_the_catalogue() -> None:
    baseline = ENGINE.baseline("onnx")

    assert baseline == BASELINE
    assert baseline not in ENGINE.catalogue(TARGET, "onnx")


def test_only_static_quantization_is_calibrated() -> None:
    assert (STATIC.calibrated, DYNAMIC.calibrated, BASELINE.calibrated) == (True, False, False)


def test_asking_for_recipes_imports_no_engine() -> None:
    program = (
        "import sys\n"
        "from pytest_edgeai.frameworks.onnxruntime import edge_frameworks\n"
        "from pytest_edgeai.records import Target\n"
        "edge_frameworks()[0].catalogue(Target(name='t', title='t', frameworks=()), 'onnx')\n"
        "print(*sys.modules)"
    )

    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()

    assert not {"onnxruntime", "onnx", "archspec", "scipy", "pytest"} & set(loaded)


# Reasons and refusals --------------------------------------------------------------------------------------------------------


def test_static_int8_is_offered_with_the_work_and_the_instruction_set(tmp_path: Path) -> None:
    assessment = read_model(str(convolutional(tmp_path)))

    assert ENGINE.refusal(STATIC, assessment, VNNI) is None
    assert (
        ENGINE.reason(STATIC, assessment, VNNI)
        == "99 % of 406 k multiply-accumulates are in 2 convolutions; the CPU has avx512_vnni."
    )


def test_a_cpu_without_fast_int8_is_told_in_the_reason(tmp_path: Path) -> None:
    assessment = read_model(str(convolutional(tmp_path)))

    assert ENGINE.refusal(STATIC, assessment, OLD) is None
    assert ENGINE.reason(STATIC, assessment, OLD).endswith(
        "but the CPU has none of avx512_vnni, avx_vnni, amx_int8, asimddp, i8mm."
    )


def test_dynamic_int8_is_refused_for_convolutions_in_one_sentence(tmp_path: Path) -> None:
    refused = ENGINE.refusal(DYNAMIC, read_model(str(convolutional(tmp_path))), VNNI)

    assert refused == (
        "99 % of 406 k multiply-accumulates are in 2 convolutions, and dynamic quantization is for matrix products: "
        "a convolution would find its activations' scale anew in every call, which costs about what int8 saves."
    )


def test_dynamic_int8_is_offered_for_matrix_products(tmp_path: Path) -> None:
    assessment = read_model(str(dense(tmp_path)))

    assert ENGINE.refusal(DYNAMIC, assessment, VNNI) is None
    assert (
        ENGINE.reason(DYNAMIC, assessment, VNNI)
        == "All of 9.47 k multiply-accumulates are in 2 matrix products; the CPU has avx512_vnni."
    )


def test_a_quantized_model_is_refused_for_int8_but_is_a_baseline(tmp_path: Path) -> None:
    artifact = built(STATIC, convolutional(tmp_path), tmp_path, images(4))
    assessment = read_model(str(artifact / "model.onnx"))

    assert str(ENGINE.refusal(STATIC, assessment, VNNI)).startswith("The model is already quantized (it has")
    assert ENGINE.refusal(BASELINE, assessment, VNNI) is None


def test_fp16_is_offered_where_there_are_kernels_for_it_and_refused_on_x86(tmp_path: Path) -> None:
    assessment = read_model(str(convolutional(tmp_path)))
    arm = msgspec.structs.replace(OLD, architecture="arm64", features=("asimddp", "asimdhp", "neon"))

    assert ENGINE.refusal(FP16, assessment, arm) is None
    assert "the CPU has half-precision arithmetic" in ENGINE.reason(FP16, assessment, arm)
    assert "no half-precision kernels for this CPU (a CPU, x86_64)" in str(ENGINE.refusal(FP16, assessment, VNNI))


def test_trees_are_offered_one_thread_and_nothing_else(tmp_path: Path) -> None:
    assessment = read_model(str(models.trees(tmp_path / "trees.onnx")))

    refused = {recipe.name: ENGINE.refusal(recipe, assessment, VNNI) for recipe in ENGINE.catalogue(TARGET, "onnx")}

    assert [name for name, sentence in refused.items() if sentence is None] == ["onnxruntime-fp32-single"]
    assert refused["onnxruntime-int8-static"] == (
        "Its work is in 1 TreeEnsembleClassifier, for which ONNX Runtime has kernels in full precision alone, so there is nothing to bring "
        "to int8. What may help such a model is one thread: onnxruntime-fp32-single."
    )


def test_one_thread_is_refused_for_what_has_no_trees(tmp_path: Path) -> None:
    refused = ENGINE.refusal(SINGLE, read_model(str(dense(tmp_path))), VNNI)

    assert str(refused).startswith("It is for ensembles of trees")


@pytest.mark.parametrize(
    ("tuning", "sentence"),
    [
        ({"threads": 2}, None),
        ({"threads": 3}, "3 threads are more than the 2 cores that this device lets a process use."),
        ({"batch": 8}, None),
        ({"device": "CPU"}, None),
        ({"device": "GPU"}, "ONNX Runtime has no provider for GPU here (it has CPUExecutionProvider)."),
        ({"device": "gpu"}, "No device for ONNX Runtime named 'gpu'. Known: CPU, GPU, NPU."),
        ({"device": "NPU"}, "ONNX Runtime has no provider for NPU here (it has CPUExecutionProvider)."),
        ({"graph": "extended"}, None),
        (
            {"graph": "basic"},
            "ONNX Runtime makes its int8 kernels of a statically quantized file when it optimizes the graph at the level extended or above: ",
        ),
        (
            {"graph": "al"},
            "No graph optimization level of ONNX Runtime named 'al'. Did you mean 'all'? Known: all, basic, extended, none.",
        ),
        ({"hint": "throughput"}, "ONNX Runtime has no performance hints: "),
        ({"precision": "bf16"}, "ONNX Runtime computes in what the model's file says: "),
        (
            {"threds": 2},
            "No tuning of onnxruntime named 'threds'. Did you mean 'threads'? Known: batch, device, graph, threads.",
        ),
    ],
)
def test_tuning_that_can_not_be_had_is_refused(tuning: dict[str, Any], sentence: str | None, tmp_path: Path) -> None:
    listed = {"onnxruntime": (EngineDevice(name="CPUExecutionProvider"),)}
    device = msgspec.structs.replace(VNNI, engines=listed)
    recipe = msgspec.structs.replace(STATIC, tuning=tuning)

    refused = ENGINE.refusal(recipe, read_model(str(convolutional(tmp_path))), device)

    assert (refused or "").startswith(sentence or "")
    assert (refused is None) == (sentence is None)


def test_a_gpu_is_used_where_the_build_has_a_provider_for_it(tmp_path: Path) -> None:
    listed = {"onnxruntime": tuple(EngineDevice(name=f"{name}ExecutionProvider") for name in ("CUDA", "CPU"))}
    device = msgspec.structs.replace(OLD, engines=listed)
    recipe = msgspec.structs.replace(FP16, tuning={"device": "GPU"})
    assessment = read_model(str(convolutional(tmp_path)))

    assert ENGINE.refusal(recipe, assessment, device) is None
    assert "GPUs have half-precision arithmetic" in ENGINE.reason(recipe, assessment, device)


def test_a_batch_is_refused_where_the_model_has_a_fixed_one(assessed: Assessment, tmp_path: Path) -> None:
    fixed = msgspec.structs.replace(
        assessed, inputs=tuple(msgspec.structs.replace(spec, shape=(1, *spec.shape[1:])) for spec in assessed.inputs)
    )

    refused = ENGINE.refusal(msgspec.structs.replace(STATIC, tuning={"batch": 8}), fixed, VNNI)

    assert refused == (
        "The model's input 'image' [1, 3, 16, 16] has no batch of any size as its first axis; export it with a dynamic batch axis."
    )


# Building and running --------------------------------------------------------------------------------------------------------


def test_the_baseline_gives_what_onnx_runtime_gives(tmp_path: Path) -> None:
    model = convolutional(tmp_path)
    runner = ENGINE.load(BASELINE, built(BASELINE, model, tmp_path), threads=2)
    (item,) = images(1)

    outputs = runner(item)

    assert list(outputs) == ["logits"]
    np.testing.assert_allclose(outputs["logits"], direct(model, item), rtol=1e-5, atol=1e-6)


def test_static_int8_is_smaller_and_points_the_same_way(tmp_path: Path) -> None:
    model = convolutional(tmp_path)
    artifact = built(STATIC, model, tmp_path, images(32))
    runner = ENGINE.load(STATIC, artifact, threads=1)

    similar = [cosine(runner(item)["logits"], direct(model, item)) for item in images(8, seed=2)]

    assert min(similar) > 0.99
    assert [file.name for file in artifact.iterdir()] == ["model.onnx"]
    assert read_model(str(artifact / "model.onnx")).weight_dtypes[0] == "int8"


def deep(folder: Path, *, shared: bool = False) -> Path:
    """Six convolutions and ReLUs of 16 channels, as one map. ``shared``: all of them have the same bias."""
    random = np.random.default_rng(9)
    nodes, weights, given = [], {"same": random.normal(size=16) / 10}, "image"
    for layer in range(6):
        channels = 16 if layer else 3
        bias = "same" if shared else f"b{layer}"
        weights[f"k{layer}"] = random.normal(size=(16, channels, 3, 3)) * np.sqrt(2 / (9 * channels))
        weights[bias] = weights["same"]
        nodes += [
            helper.make_node("Conv", [given, f"k{layer}", bias], [f"c{layer}"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]),
        ]
        given = f"r{layer}"
    graph = helper.make_graph(
        nodes,
        "deep",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info(given, TensorProto.FLOAT, [1, 16, 16, 16])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    return saved(graph, folder / "deep.onnx")


def plainly_quantized(model: Path, folder: Path, calibration: Items) -> Path:
    """By ONNX Runtime alone."""

    class Reader(CalibrationDataReader):  # type: ignore[misc] # of a package without types
        def __init__(self) -> None:
            self._items = iter(calibration)

        def get_next(self) -> Any:
            return next(self._items, None)

    prepared, plain = folder / "prepared.onnx", folder / "plain.onnx"
    quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
    quantize_static(str(prepared), str(plain), Reader(), per_channel=True, activation_type=QuantType.QUInt8)
    return plain


def test_biases_make_good_what_the_weights_lose_on_average(tmp_path: Path) -> None:
    model = deep(tmp_path)
    plain = plainly_quantized(model, tmp_path, images(32))
    ours = built(STATIC, model, tmp_path, images(32)) / "model.onnx"

    def shift(quantized: Path) -> float:
        """Of a channel's mean on items that were not calibrated with, in root mean square."""
        off = [direct(quantized, item) - direct(model, item) for item in images(32, seed=2)]
        return float(np.sqrt((np.mean(off, axis=(0, 1, 3, 4)) ** 2).mean()))

    assert shift(ours) < shift(plain) / 2


def test_a_bias_that_layers_share_is_left_as_it_is(tmp_path: Path) -> None:
    model = deep(tmp_path, shared=True)
    plain = plainly_quantized(model, tmp_path, images(8))
    ours = built(STATIC, model, tmp_path, images(8)) / "model.onnx"

    def weights(file: Path) -> dict[str, bytes]:
        return {one.name: numpy_helper.to_array(one).tobytes() for one in onnx.load(file).graph.initializer}

    assert weights(ours) == weights(plain)


def test_what_lies_between_the_matrix_products_of_a_transformer_stays_in_full_precision(tmp_path: Path) -> None:
    models.transformer(tmp_path / "transformer.onnx")
    artifact = built(STATIC, tmp_path / "transformer.onnx", tmp_path, models.sentences(8))

    nodes = onnx.load(artifact / "model.onnx").graph.node
    made = {output: node.op_type for node in nodes for output in node.output}
    from_int8 = {node.op_type for node in nodes if "DequantizeLinear" in [made.get(name) for name in node.input]}
    to_int8 = {made.get(node.input[0], "input") for node in nodes if node.op_type == "QuantizeLinear"}

    assert "MatMul" in from_int8
    assert not from_int8 & {"Softmax", "LayerNormalization", "Relu"}
    assert not to_int8 & {"MatMul", "Gemm"}


def test_dense_layers_without_attention_are_quantized_with_what_lies_between_them(tmp_path: Path) -> None:
    model = models.two_towers(tmp_path / "towers.onnx")

    graph = onnx.load(built(STATIC, model, tmp_path, models.pairs(8)) / "model.onnx").graph

    made = {output: node.op_type for node in graph.node for output in node.output}
    to_int8 = {made.get(node.input[0], "input") for node in graph.node if node.op_type == "QuantizeLinear"}
    assert "MatMul" in to_int8


def test_dynamic_int8_quantizes_matrix_products(tmp_path: Path) -> None:
    model = dense(tmp_path)
    artifact = built(DYNAMIC, model, tmp_path)
    runner = ENGINE.load(DYNAMIC, artifact, threads=1)

    similar = [cosine(runner(item)["y"], direct(model, item)) for item in vectors(8)]

    assert min(similar) > 0.99
    assert (artifact / "model.onnx").stat().st_size < 0.5 * model.stat().st_size


def test_a_batch_can_be_given_where_the_model_has_one(tmp_path: Path) -> None:
    model = convolutional(tmp_path)
    runner = ENGINE.load(BASELINE, built(BASELINE, model, tmp_path), threads=1)
    batch = {"image": np.concatenate([item["image"] for item in images(3)])}

    assert runner(batch)["logits"].shape == (3, 10)


def test_outputs_stay_what_they_were_when_the_next_call_is_made(tmp_path: Path) -> None:
    runner = ENGINE.load(BASELINE, built(BASELINE, convolutional(tmp_path), tmp_path), threads=1)
    first, second = images(2)
    kept = runner(first)["logits"]
    copy = kept.copy()

    runner(second)

    np.testing.assert_array_equal(kept, copy)


def test_placement_tells_provider_threads_and_precision(tmp_path: Path) -> None:
    runner = ENGINE.load(BASELINE, built(BASELINE, convolutional(tmp_path), tmp_path), threads=2)

    assert runner.placement() == {
        "provider": "CPUExecutionProvider",
        "device": "CPU",
        "precision": "fp32",
        "threads": "2",
        "operators": "CPUExecutionProvider: 2 Conv, 2 Relu, 1 Flatten, 1 Gemm, 1 GlobalAveragePool",
    }


def test_operators_are_not_told_where_this_version_has_no_word_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = ENGINE.load(BASELINE, built(BASELINE, convolutional(tmp_path), tmp_path), threads=1)
    monkeypatch.delattr(onnxruntime.InferenceSession.__bases__[0], "get_provider_graph_assignment_info")

    assert "operators" not in runner.placement()


def test_a_graph_that_is_not_optimized_gives_the_same_answers(tmp_path: Path) -> None:
    model = convolutional(tmp_path)
    artifact, recipe = built(BASELINE, model, tmp_path), tuned(BASELINE, graph="none")
    (item,) = images(1)

    runner = ENGINE.load(recipe, artifact, threads=1)

    assert runner.placement()["graph"] == "none"
    np.testing.assert_allclose(runner(item)["logits"], direct(model, item), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("device", "refused"), [(VNNI, False), (OLD, True)], ids=["VNNI", "none"])
def test_products_that_would_saturate_need_an_optimized_graph(device: Device, refused: bool, tmp_path: Path) -> None:
    sentence = ENGINE.refusal(tuned(DYNAMIC, graph="none"), read_model(str(dense(tmp_path))), device)

    assert str(sentence).startswith("This CPU has no VNNI, so products in int8 would saturate" if refused else "None")


def test_weights_become_unsigned_where_signed_ones_would_saturate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = built(STATIC, convolutional(tmp_path), tmp_path, images(8))
    (item,) = images(1, seed=3)
    usual = ENGINE.load(STATIC, artifact, threads=1)(item)["logits"]
    monkeypatch.setattr(sessions, "saturates", lambda: True)

    runner = ENGINE.load(STATIC, artifact, threads=1)

    assert runner.placement()["precision"] == "int8, weights unsigned (no VNNI)"
    assert cosine(runner(item)["logits"], usual) > 0.99


def test_weights_kept_outside_the_model_come_along(tmp_path: Path) -> None:
    whole, apart = convolutional(tmp_path), tmp_path / "apart"
    apart.mkdir()
    onnx.save(
        onnx.load(whole), apart / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    (item,) = images(1)

    artifact = built(BASELINE, apart / "model.onnx", tmp_path)
    quantized = built(STATIC, apart / "model.onnx", tmp_path, images(8))

    assert sorted(file.name for file in artifact.iterdir()) == ["model.onnx", "model.onnx.data"]
    np.testing.assert_allclose(
        ENGINE.load(BASELINE, artifact, 1)(item)["logits"], direct(whole, item), rtol=1e-5, atol=1e-6
    )
    assert cosine(ENGINE.load(STATIC, quantized, 1)(item)["logits"], direct(whole, item)) > 0.99


def test_the_cpu_is_among_the_devices() -> None:
    assert any(device.name == "CPUExecutionProvider" and "fp32" in device.capabilities for device in ENGINE.devices())


def test_a_batch_that_was_asked_for_is_fixed_and_another_one_is_computed_too(tmp_path: Path) -> None:
    model, recipe = convolutional(tmp_path), tuned(STATIC, batch=3)
    items = images(3)
    runner = ENGINE.load(recipe, built(recipe, model, tmp_path, images(8)), threads=1)
    batch = {"image": np.concatenate([item["image"] for item in items])}

    together, alone = runner(batch)["logits"], np.concatenate([runner(item)["logits"] for item in items])

    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert runner.placement()["batch"] == "3"


def test_a_batch_that_the_session_does_not_have_is_an_error(tmp_path: Path) -> None:
    unmarked = built(BASELINE, convolutional(tmp_path), tmp_path)

    with pytest.raises(EdgeError, match="was asked to fix the batch of onnxruntime-fp32@batch=3 at 3, and it is batch"):
        ENGINE.load(tuned(BASELINE, batch=3), unmarked, threads=1)


def test_threads_that_were_asked_for_are_used_whatever_the_bench_says(tmp_path: Path) -> None:
    recipe = tuned(BASELINE, threads=3)

    runner = ENGINE.load(recipe, built(recipe, convolutional(tmp_path), tmp_path), threads=1)

    assert runner.placement()["threads"] == "3"


def test_other_threads_than_asked_for_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = built(BASELINE, convolutional(tmp_path), tmp_path)
    counts = iter([5, 5])
    monkeypatch.setattr(sessions, "_threads_there", lambda: next(counts))

    with pytest.raises(EdgeError, match="was asked to run onnxruntime-fp32@threads=2 in 2 threads, and uses 1"):
        ENGINE.load(tuned(BASELINE, threads=2), artifact, threads=1)


def test_a_provider_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    artifact = built(BASELINE, convolutional(tmp_path), tmp_path)

    with pytest.raises(EdgeError, match="this build of ONNX Runtime has no provider for NPU"):
        ENGINE.load(tuned(BASELINE, device="NPU"), artifact, threads=1)


def test_parallel_requests_each_get_their_own_answers(tmp_path: Path) -> None:
    model = convolutional(tmp_path)
    runner = ENGINE.load(BASELINE, built(BASELINE, model, tmp_path), threads=2)
    items = images(32)
    requests = runner.parallel(4)  # type: ignore[attr-defined] # not every runner has it

    with ThreadPoolExecutor(4) as pool:
        shares = [
            pool.submit(lambda r, part: [r(item) for item in part], r, items[k::4]) for k, r in enumerate(requests)
        ]
        answers = [share.result() for share in shares]

    for first, share in enumerate(answers):
        for item, answer in zip(items[first::4], share, strict=True):
            np.testing.assert_allclose(answer["logits"], direct(model, item), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opset", [7, 11, 12])
@pytest.mark.parametrize("recipe", [DYNAMIC, STATIC], ids=lambda recipe: recipe.name)
def test_models_of_old_opsets_are_converted_and_quantized(recipe: Recipe, opset: int, tmp_path: Path) -> None:
    model = models.dense(tmp_path / "old.onnx", opset=opset)
    items = vectors(8)

    runner = ENGINE.load(recipe, built(recipe, model, tmp_path, items), threads=1)

    assert min(cosine(runner(item)["y"], direct(model, item)) for item in items) > 0.99


def test_an_opset_that_can_not_be_converted_is_not_supported(tmp_path: Path) -> None:
    # This form of normalization went away with opset 9.
    graph = helper.make_graph(
        [
            helper.make_node("BatchNormalization", ["x", "one", "zero", "zero", "one"], ["h"], spatial=0),
            helper.make_node("MatMul", ["h", "w"], ["y"]),
        ],
        "old",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8])],
        [
            numpy_helper.from_array(values.astype(np.float32), name)
            for name, values in (("one", np.ones(8)), ("zero", np.zeros(8)), ("w", np.eye(8)))
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 7)], ir_version=8), tmp_path / "old.onnx")

    with pytest.raises(
        UnsupportedError,
        match=r"opset 7, int8 needs 13, and it can't be converted \(Attribute spatial must have value 1\)\. Export it with opset 13",
    ):
        built(DYNAMIC, tmp_path / "old.onnx", tmp_path)


def test_dynamic_int8_of_an_lstm_points_the_same_way(tmp_path: Path) -> None:
    model = models.recurrent(tmp_path / "lstm.onnx")
    random = np.random.default_rng(3)
    items = [{"series": random.normal(size=(20, 1, 8)).astype(np.float32)} for _ in range(4)]

    runner = ENGINE.load(DYNAMIC, built(DYNAMIC, model, tmp_path), threads=1)

    assert min(cosine(runner(item)["y"], direct(model, item)) for item in items) > 0.99


def test_inputs_of_other_types_and_several_outputs_are_quantized(tmp_path: Path) -> None:
    texts, model = models.sentences(16), models.transformer(tmp_path / "transformer.onnx")
    towers, both = models.pairs(16), models.two_towers(tmp_path / "two.onnx")
    text_folder, tower_folder = tmp_path / "texts", tmp_path / "towers"
    text_folder.mkdir()
    tower_folder.mkdir()

    reader = ENGINE.load(STATIC, built(STATIC, model, text_folder, texts), threads=1)
    viewer = ENGINE.load(STATIC, built(STATIC, both, tower_folder, towers), threads=1)

    assert min(cosine(reader(item)["logits"], direct(model, item)) for item in texts) > 0.99
    assert list(viewer(towers[0])) == ["class", "amount"]
    assert min(cosine(viewer(item)["class"], direct(both, item)) for item in towers) > 0.98


def test_halves_are_stored_in_half_precision_and_answer_in_single(tmp_path: Path) -> None:
    model, halves = convolutional(tmp_path), tmp_path / "halves.onnx"
    # For a GPU, so that this CPU is not asked for kernels that it may not have.
    module._halve(tuned(FP16, device="GPU"), model, halves, tmp_path)

    assert read_model(str(halves)).weight_dtypes == ("float16",)
    (item,) = images(1)
    assert direct(halves, item).dtype == np.float32
    assert cosine(direct(halves, item), direct(model, item)) > 0.999


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="other CPUs may have kernels in half precision"
)
def test_halves_that_become_single_again_are_not_supported(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="turns every weight back into fp32"):
        built(FP16, convolutional(tmp_path), tmp_path)


# Errors ----------------------------------------------------------------------------------------------------------------------


def test_static_int8_without_items_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="onnxruntime-int8-static needs calibration items, and there are none"):
        built(STATIC, convolutional(tmp_path), tmp_path)


def test_a_build_of_something_else_names_recipe_and_file(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08\x0a")

    with pytest.raises(BuildError, match=r"ONNX Runtime can't build onnxruntime-int8-static of broken\.onnx: "):
        built(STATIC, broken, tmp_path, images(2))


def test_a_quantization_that_quantizes_nothing_is_an_error(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Erf", ["x"], ["y"])],
        "nothing",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])],
    )
    nothing = saved(graph, tmp_path / "nothing.onnx")

    with pytest.raises(BuildError, match="no operator runs in int8, so this variant would be fp32 by another name"):
        built(DYNAMIC, nothing, tmp_path)


def test_an_operator_that_the_engine_lacks_is_not_supported_and_named(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Zorro", ["h"], ["y"], domain="nobody")],
        "unknown",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])],
        [numpy_helper.from_array(np.eye(64, dtype=np.float32), "w")],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("nobody", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "unknown.onnx")

    with pytest.raises(UnsupportedError, match="ONNX Runtime lacks an operator of this model: nobody:Zorro"):
        built(DYNAMIC, tmp_path / "unknown.onnx", tmp_path)


def test_an_artifact_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="ONNX Runtime can't load onnxruntime-fp32: "):
        ENGINE.load(BASELINE, tmp_path, threads=1)


def test_inputs_that_do_not_fit_are_an_error_that_says_how(tmp_path: Path) -> None:
    runner = ENGINE.load(BASELINE, built(BASELINE, convolutional(tmp_path), tmp_path), threads=1)

    with pytest.raises(EdgeError, match=r"can't run the model on these inputs: .*Got: 1 Expected: 3"):
        runner({"image": np.zeros((1, 1, 16, 16), np.float32)})


def test_what_is_worth_trying_is_what_the_device_has(tmp_path: Path) -> None:
    cores = msgspec.structs.replace(VNNI, cores=4, engines={})

    found = ENGINE.accelerations(read_model(str(convolutional(tmp_path))), cores)

    assert dict(found) == {"graph": ("extended",), "threads": (1, 2)}
