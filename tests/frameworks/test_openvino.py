"""OpenVINO: catalogue, refusals, builds and compiled models, on small real models."""

import os
import re
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

from pytest_edgeai.assess import read_model
from pytest_edgeai.errors import BuildError, EdgeError, UnsupportedError
from pytest_edgeai.frameworks import openvino as module
from pytest_edgeai.frameworks.openvino import OpenVino, edge_frameworks
from pytest_edgeai.protocols import Framework
from pytest_edgeai.records import Assessment, Device, EngineDevice, Recipe, Target
from tests.machines import OLD, VNNI

ENGINE = OpenVino()
TARGET = Target(name="intel", title="Intel", frameworks=("openvino",))
DEVICE = msgspec.structs.replace(VNNI, features=("avx2", "avx512_bf16", "avx512_vnni"))
BF16, FP16, FP32, INT4_WEIGHTS, INT8, ACCURACY, PERFORMANCE, INT8_WEIGHTS = ENGINE.catalogue(TARGET, "onnx")
HAS_BF16 = any("bf16" in device.capabilities for device in ENGINE.devices() if device.name == "CPU")

Items = list[dict[str, NDArray[Any]]]


def convolutional(folder: Path, batch: int | str = "batch", side: int | str = 16, loud: float = 1) -> Path:
    """Two 3x3 convolutions, pooling, ten classes; two outputs. It expects the first channel to be so much louder than the others."""
    random = np.random.default_rng(7)
    first = (random.normal(size=(16, 3, 3, 3)) * np.sqrt(2 / 27)).astype(np.float32)
    first[:, 0] /= loud

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
            helper.make_node("Flatten", ["pooled"], ["features"]),
            helper.make_node("Gemm", ["features", "classes"], ["logits"], transB=1),
        ],
        "convolutional",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, side, side])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, size])
            for name, size in (("logits", 10), ("features", 32))
        ],
        [
            numpy_helper.from_array(first, "k1"),
            weight("b1", 16),
            weight("k2", 32, 16, 3, 3),
            weight("b2", 32),
            weight("classes", 10, 32),
        ],
    )
    path = folder / "convolutional.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def images(count: int, seed: int = 1, loud: float = 1) -> Items:
    random = np.random.default_rng(seed)
    scale = np.float32([loud, 1, 1]).reshape(3, 1, 1)
    return [{"image": random.normal(size=(1, 3, 16, 16)).astype(np.float32) * scale} for _ in range(count)]


def batch_of(items: Items) -> dict[str, NDArray[Any]]:
    return {"image": np.concatenate([item["image"] for item in items])}


def reference(model: Path, item: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What ONNX Runtime says."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return dict(zip(("logits", "features"), session.run(["logits", "features"], item), strict=True))


def built(recipe: Recipe, model: Path, folder: Path, calibration: Items | None = None) -> Path:
    artifact = folder / recipe.name
    artifact.mkdir()
    ENGINE.build(recipe, model, artifact, calibration or [])
    return artifact


def tuned(recipe: Recipe, **tuning: str | int) -> Recipe:
    return msgspec.structs.replace(recipe, tuning=tuning)


def cosine(left: NDArray[Any], right: NDArray[Any]) -> float:
    left, right = left.ravel(), right.ravel()
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))


def nothing(folder: Path) -> Path:
    """A network with neither weights nor work."""
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "nothing",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])],
    )
    path = folder / "nothing.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def vectors(count: int, seed: int = 1) -> Items:
    """For :func:`models.dense`."""
    random = np.random.default_rng(seed)
    return [{"x": random.normal(size=(1, 64)).astype(np.float32)} for _ in range(count)]


def agreement(model: Path, runner: Any, items: Items) -> float:
    """The coefficient of determination of the runner's answers with ONNX Runtime's."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    expected = np.concatenate([session.run(None, item)[0] for item in items])
    answers = np.concatenate([next(iter(runner(item).values())) for item in items])
    return float(1 - ((expected - answers) ** 2).sum() / ((expected - expected.mean()) ** 2).sum())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convolutional(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def assessment(model: Path) -> Assessment:
    return read_model(str(model))


@pytest.fixture(scope="module")
def int8(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(INT8, model, tmp_path_factory.mktemp("int8"), images(32))


@pytest.fixture(scope="module")
def fp32(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(FP32, model, tmp_path_factory.mktemp("fp32"))


# The catalogue ---------------------------------------------------------------------------------------------------------------


def test_the_engine_is_found_by_the_hook() -> None:
    (found,) = edge_frameworks()

    assert isinstance(found, Framework)
    assert (found.name, found.distributions, found.baseline("onnx")) == ("openvino", ("openvino", "nncf"), None)


def test_the_catalogue_is_sorted_and_the_same_whenever_it_is_asked() -> None:
    names = [recipe.name for recipe in ENGINE.catalogue(TARGET, "onnx")]

    assert names == sorted(names)
    assert {"openvino-bf16", "openvino-fp32", "openvino-int8"} <= set(names)
    assert ENGINE.catalogue(TARGET, "onnx") == OpenVino().catalogue(TARGET, "onnx")


def test_only_int8_activations_are_calibrated() -> None:
    calibrated = [recipe.name for recipe in ENGINE.catalogue(TARGET, "onnx") if recipe.calibrated]

    assert calibrated == ["openvino-int8", "openvino-int8-accuracy", "openvino-int8-performance"]


def test_asking_for_recipes_imports_no_engine() -> None:
    program = (
        "import sys\n"
        "from pytest_edgeai.frameworks.openvino import edge_frameworks\n"
        "from pytest_edgeai.records import Target\n"
        "edge_frameworks()[0].catalogue(Target(name='t', title='t', frameworks=()), 'onnx')\n"
        "print(*sys.modules)"
    )

    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()

    assert not {"openvino", "nncf", "onnx", "openvino_telemetry", "scipy", "pytest"} & set(loaded)


def test_importing_and_building_leaves_nothing_in_the_home_folder_and_on_stdout(model: Path, tmp_path: Path) -> None:
    home, artifact = tmp_path / "home", tmp_path / "artifact"
    home.mkdir()
    artifact.mkdir()
    program = (
        "import os, pathlib, numpy as np\n"
        "from pytest_edgeai.frameworks.openvino import OpenVino\n"
        "engine = OpenVino()\n"
        "engine.devices()\n"
        "recipe = engine.catalogue(None, 'onnx')[4]\n"
        f"engine.build(recipe, pathlib.Path({str(model)!r}), pathlib.Path({str(artifact)!r}), [{{'image': np.ones((1, 3, 16, 16), np.float32)}}] * 3)\n"
        "assert 'CI' not in os.environ"
    )
    environment = {"PATH": "", "HOME": str(home), "PYTHONPATH": ":".join(sys.path)}

    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment)

    assert (done.stdout, list(home.iterdir())) == ("", [])


# Reasons and refusals --------------------------------------------------------------------------------------------------------


def test_every_recipe_is_offered_with_the_work_and_the_instruction_set(assessment: Assessment) -> None:
    work = "99 % of 406 k multiply-accumulates are in 2 convolutions"

    assert [ENGINE.refusal(recipe, assessment, DEVICE) for recipe in (BF16, FP32, INT8)] == [None, None, None]
    assert [ENGINE.reason(recipe, assessment, DEVICE) for recipe in (BF16, FP32, INT8)] == [
        f"{work}; the CPU has avx512_bf16, and bfloat16 needs no calibration.",
        f"{work}; OpenVINO's kernels may run them faster at the same precision.",
        f"{work}; the CPU has avx512_vnni.",
    ]


def test_bf16_is_refused_with_what_was_detected_where_the_cpu_lacks_it(assessment: Assessment) -> None:
    refused = ENGINE.refusal(BF16, assessment, OLD)

    assert refused == "The CPU has no bfloat16 arithmetic (none of avx512_bf16, amx_bf16, bf16; detected: avx2, fma)."


def test_what_openvino_lists_decides_on_bf16_before_the_cpus_features(assessment: Assessment) -> None:
    def with_capabilities(device: Device, *capabilities: str) -> Device:
        return msgspec.structs.replace(
            device, engines={"openvino": (EngineDevice(name="CPU", capabilities=capabilities),)}
        )

    assert ENGINE.refusal(BF16, assessment, with_capabilities(OLD, "bf16", "fp32")) is None
    assert ENGINE.refusal(BF16, assessment, with_capabilities(DEVICE, "fp32")) is not None


def test_what_is_for_matrix_products_is_refused_for_convolutions(assessment: Assessment, tmp_path: Path) -> None:
    transformer = read_model(str(models.transformer(tmp_path / "transformer.onnx")))

    for recipe in (PERFORMANCE, INT8_WEIGHTS):
        assert "openvino-int8 is " in str(ENGINE.refusal(recipe, assessment, DEVICE))
        assert ENGINE.refusal(recipe, transformer, DEVICE) is None
    assert ENGINE.reason(PERFORMANCE, transformer, DEVICE).endswith("which saves memory.")


def test_a_quantized_model_is_refused_for_every_precision(assessment: Assessment) -> None:
    text = "the model is already quantized"
    quantized = msgspec.structs.replace(
        assessment,
        weight_dtypes=("int8", "float32"),
        precisions={
            name: msgspec.structs.replace(verdict, possible=False, reason=text)
            for name, verdict in assessment.precisions.items()
        },
    )

    assert ENGINE.refusal(INT8, quantized, DEVICE) == "The model is already quantized."
    assert ENGINE.refusal(BF16, quantized, DEVICE) == "The model is already quantized."
    assert (
        ENGINE.refusal(FP32, quantized, DEVICE)
        == "The model is already quantized (it has weights in int8), so there is no fp32 variant of it."
    )


def test_fp16_is_offered_with_what_the_device_computes_in(assessment: Assessment) -> None:
    def with_capabilities(*capabilities: str) -> Device:
        return msgspec.structs.replace(
            DEVICE, engines={"openvino": (EngineDevice(name="CPU", capabilities=capabilities),)}
        )

    told = [ENGINE.reason(FP16, assessment, with_capabilities("fp32", *more)) for more in ((), ("fp16",))]

    assert [sentence.partition("half the space, and ")[2] for sentence in told] == [
        "this device has no such arithmetic and computes in f32.",
        "this device computes with it.",
    ]


def test_compressed_weights_are_refused_for_convolutions_and_offered_for_matrix_products(
    assessment: Assessment, tmp_path: Path
) -> None:
    dense = read_model(str(models.dense(tmp_path / "dense.onnx")))

    refused = ENGINE.refusal(INT8_WEIGHTS, assessment, DEVICE)

    assert str(refused).startswith("99 % of 406 k multiply-accumulates are in 2 convolutions, and OpenVINO keeps")
    assert [ENGINE.refusal(recipe, dense, DEVICE) for recipe in (INT8_WEIGHTS, INT4_WEIGHTS)] == [None, None]
    assert "the CPU has avx512_vnni for activations in int8" in ENGINE.reason(INT8_WEIGHTS, dense, DEVICE)


def test_trees_are_refused_before_anything_is_built(tmp_path: Path) -> None:
    assessment = read_model(str(models.trees(tmp_path / "trees.onnx")))

    refused = {ENGINE.refusal(recipe, assessment, DEVICE) for recipe in ENGINE.catalogue(TARGET, "onnx")}

    (sentence,) = refused
    assert str(sentence).startswith("OpenVINO has no operators for trees (the model has TreeEnsembleClassifier); ONNX ")


def test_double_precision_is_refused(tmp_path: Path) -> None:
    assessment = read_model(str(models.dense(tmp_path / "double.onnx", dtype=TensorProto.DOUBLE)))

    assert ENGINE.refusal(FP32, assessment, DEVICE) == (
        "OpenVINO computes in float32 at most, and the input x is float64: export the model in float32."
    )


@pytest.mark.parametrize(
    ("tuning", "sentence"),
    [
        ({"threads": 2, "hint": "throughput", "batch": 8}, None),
        ({"threads": 3}, "3 threads are more than the 2 cores that this device lets a process use."),
        ({"device": "CPU"}, None),
        ({"device": "GPU"}, None),
        ({"device": "NPU"}, "OpenVINO lists no NPU here (it lists CPU, GPU.0)."),
        ({"device": "AUTO"}, None),
        ({"device": "GPU", "threads": 1}, "Threads are the CPU's, and it was asked for on GPU."),
        ({"precision": "bf16"}, None),
        ({"precision": "f16"}, "The CPU has no float16 arithmetic: OpenVINO would compute in f32."),
        ({"precision": "f16", "device": "GPU"}, None),
        ({"precision": "bf16", "device": "GPU"}, "The GPU has no bfloat16 arithmetic."),
        ({"precision": "int8"}, "No precision to compute in named 'int8'. Known: bf16, f16, f32."),
        (
            {"graph": "all"},
            "OpenVINO has no levels of graph optimization: it compiles every graph for the device that runs it; ask for it without graph.",
        ),
        (
            {"treads": 2},
            "No tuning of openvino named 'treads'. Did you mean 'threads'? Known: batch, device, hint, precision, threads.",
        ),
    ],
)
def test_tuning_that_can_not_be_had_is_refused(
    tuning: dict[str, str | int], sentence: str | None, assessment: Assessment
) -> None:
    listed = (
        EngineDevice(name="CPU", capabilities=("bf16", "fp32", "int8")),
        EngineDevice(name="GPU.0", capabilities=("fp16", "fp32", "int8")),
    )
    device = msgspec.structs.replace(DEVICE, engines={"openvino": listed})

    assert ENGINE.refusal(tuned(INT8, **tuning), assessment, device) == sentence


def test_auto_is_refused_where_there_is_nothing_to_choose_from(assessment: Assessment) -> None:
    device = msgspec.structs.replace(DEVICE, engines={"openvino": (EngineDevice(name="CPU"),)})

    refused = ENGINE.refusal(tuned(FP32, device="AUTO"), assessment, device)

    assert refused == "OpenVINO lists no device but the CPU here, so AUTO would be the CPU by another name."


# Building and running --------------------------------------------------------------------------------------------------------


def test_fp32_gives_what_onnx_runtime_gives_under_the_same_names(model: Path, fp32: Path) -> None:
    runner = ENGINE.load(FP32, fp32, threads=2)

    for item in images(4):
        outputs, expected = runner(item), reference(model, item)
        assert list(outputs) == ["logits", "features"]
        for name, array in outputs.items():
            np.testing.assert_allclose(array, expected[name], rtol=1e-4, atol=1e-5)


def test_fp32_is_not_bf16_in_disguise(fp32: Path) -> None:
    placement = ENGINE.load(FP32, fp32, threads=1).placement()

    operators = placement.pop("operators")

    assert placement == {"device": "CPU", "precision": "f32", "threads": "1"}
    assert re.match(r"CPU: .*\d Convolution f32", operators)


@pytest.mark.skipif(not HAS_BF16, reason="this CPU has no bfloat16 arithmetic")
def test_bf16_computes_in_bf16_and_answers_in_float32(model: Path, tmp_path: Path) -> None:
    runner = ENGINE.load(BF16, built(BF16, model, tmp_path), threads=1)
    (item,) = images(1)

    logits = runner(item)["logits"]

    assert runner.placement()["precision"] == "bf16"
    assert logits.dtype == np.float32
    assert cosine(logits, reference(model, item)["logits"]) > 0.999
    assert not np.allclose(logits, reference(model, item)["logits"], rtol=1e-6, atol=1e-6)


@pytest.mark.skipif(HAS_BF16, reason="this CPU has bfloat16 arithmetic")
def test_bf16_that_is_not_there_is_an_error_and_not_fp32(model: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="asked to compute openvino-bf16 in bf16, and uses f32"):
        ENGINE.load(BF16, built(BF16, model, tmp_path), threads=1)


def test_int8_is_smaller_points_the_same_way_and_runs_in_int8(model: Path, int8: Path, fp32: Path) -> None:
    runner = ENGINE.load(INT8, int8, threads=1)

    similar = [cosine(runner(item)["logits"], reference(model, item)["logits"]) for item in images(8, seed=2)]

    assert min(similar) > 0.99
    assert runner.placement()["precision"] == "i8"
    assert list(runner(images(1)[0])) == ["logits", "features"]
    assert (int8 / "model.bin").stat().st_size < 0.3 * (fp32 / "model.bin").stat().st_size


def test_an_artifact_is_the_representation_and_its_weights(fp32: Path, int8: Path) -> None:
    for artifact in (fp32, int8):
        assert sorted(file.name for file in artifact.iterdir()) == ["model.bin", "model.xml"]


def test_a_larger_batch_is_computed_too_and_one_item_afterwards(model: Path, fp32: Path) -> None:
    runner = ENGINE.load(FP32, fp32, threads=1)
    items = images(3)
    single = runner(items[0])["logits"]

    several = runner(batch_of(items))["logits"]

    np.testing.assert_allclose(several, reference(model, batch_of(items))["logits"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(runner(items[0])["logits"], single, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("batch", "side"), [(1, 16), ("batch", "side"), (1, "side")])
def test_static_and_wholly_dynamic_models_run_as_they_are(batch: int | str, side: int | str, tmp_path: Path) -> None:
    model = convolutional(tmp_path, batch, side)
    runner = ENGINE.load(FP32, built(FP32, model, tmp_path), threads=1)
    (item,) = images(1)

    np.testing.assert_allclose(runner(item)["logits"], reference(model, item)["logits"], rtol=1e-4, atol=1e-5)


def test_outputs_stay_what_they_were_when_the_next_call_is_made(fp32: Path) -> None:
    runner = ENGINE.load(FP32, fp32, threads=1)
    first, second = images(2)
    kept = runner(first)["logits"]
    copy = kept.copy()

    runner(second)

    np.testing.assert_array_equal(kept, copy)


def test_inputs_are_read_again_in_every_call(fp32: Path) -> None:
    runner = ENGINE.load(FP32, fp32, threads=1)
    first, second = images(2)
    buffer = {"image": first["image"].copy()}
    before = runner(buffer)["logits"]
    buffer["image"][...] = second["image"]

    after = runner(buffer)["logits"]

    np.testing.assert_array_equal(after, runner(second)["logits"])
    assert not np.array_equal(after, before)


def test_a_large_array_is_looked_at_where_it_is_and_never_written_to(model: Path, fp32: Path) -> None:
    runner = ENGINE.load(FP32, fp32, threads=1)
    items = images(64)
    large, copy = batch_of(items), batch_of(items)

    answers = [runner(inputs)["logits"] for inputs in (large, items[0], large, items[1])]

    np.testing.assert_array_equal(large["image"], copy["image"])
    for answer, inputs in zip(answers, (large, items[0], large, items[1]), strict=True):
        np.testing.assert_allclose(answer, reference(model, inputs)["logits"], rtol=1e-4, atol=1e-5)


def test_an_array_that_may_not_be_written_to_is_read(fp32: Path) -> None:
    runner = ENGINE.load(FP32, fp32, threads=1)
    (item,) = images(1)
    locked = item["image"].copy()
    locked.setflags(write=False)

    answer = runner({"image": locked})["logits"]

    np.testing.assert_array_equal(answer, runner(item)["logits"])


def test_weights_kept_outside_the_model_come_along(model: Path, tmp_path: Path) -> None:
    onnx.save(
        onnx.load(model), tmp_path / "apart.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    runner = ENGINE.load(FP32, built(FP32, tmp_path / "apart.onnx", tmp_path), threads=1)
    (item,) = images(1)

    np.testing.assert_allclose(runner(item)["logits"], reference(model, item)["logits"], rtol=1e-4, atol=1e-5)


def test_the_cpu_is_among_the_devices_with_lower_case_capabilities() -> None:
    (cpu,) = [device for device in ENGINE.devices() if device.name == "CPU"]

    assert "fp32" in cpu.capabilities
    assert cpu.title


def test_fp16_takes_half_the_space_and_tells_what_it_computes_in(model: Path, fp32: Path, tmp_path: Path) -> None:
    artifact = built(FP16, model, tmp_path)
    runner = ENGINE.load(FP16, artifact, threads=1)
    (item,) = images(1)
    (cpu,) = [device for device in ENGINE.devices() if device.name == "CPU"]

    logits, computes = runner(item)["logits"], "f16" if "fp16" in cpu.capabilities else "f32"

    assert (artifact / "model.bin").stat().st_size < 0.6 * (fp32 / "model.bin").stat().st_size
    assert runner.placement()["precision"].startswith(f"{computes}, weights f16")
    assert cosine(logits, reference(model, item)["logits"]) > 0.9999


@pytest.mark.parametrize(
    ("recipe", "share"), [(INT8_WEIGHTS, 0.35), (INT4_WEIGHTS, 0.25)], ids=lambda value: str(value)[:4]
)
def test_compressed_weights_stay_compressed_and_point_the_same_way(
    recipe: Recipe, share: float, tmp_path: Path
) -> None:
    model, texts = models.transformer(tmp_path / "transformer.onnx"), models.sentences(4)
    single = built(FP32, model, tmp_path)
    artifact = built(recipe, model, tmp_path)

    runner, whole = ENGINE.load(recipe, artifact, threads=1), ENGINE.load(FP32, single, threads=1)

    assert (artifact / "model.bin").stat().st_size < share * (single / "model.bin").stat().st_size
    assert min(cosine(runner(text)["logits"], whole(text)["logits"]) for text in texts) > 0.98
    placement = runner.placement()
    assert placement["precision"].startswith("f32, weights i")
    assert placement["activations"] == "int8 in groups of 32 where that is faster"


def test_a_network_without_weights_to_compress_is_not_supported(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="NNCF found no weights to store in int8"):
        built(INT8_WEIGHTS, nothing(tmp_path), tmp_path)


def test_networks_of_matrix_products_are_told_from_convolutional_ones(model: Path, tmp_path: Path) -> None:
    import openvino

    core = openvino.Core()
    networks = [core.read_model(file) for file in (models.transformer(tmp_path / "t.onnx"), model)]

    assert [module._is_of_products(network) for network in networks] == [True, False]


@pytest.mark.parametrize("recipe", [INT8, PERFORMANCE], ids=lambda recipe: recipe.name)
def test_a_transformer_is_quantized_from_texts_of_different_lengths(recipe: Recipe, tmp_path: Path) -> None:
    model, texts = models.transformer(tmp_path / "transformer.onnx"), models.sentences(16)
    single = ENGINE.load(FP32, built(FP32, model, tmp_path), threads=1)

    runner = ENGINE.load(recipe, built(recipe, model, tmp_path, texts), threads=1)

    assert min(cosine(runner(text)["logits"], single(text)["logits"]) for text in texts) > 0.99
    assert runner.placement()["precision"].startswith("i8")


def test_accuracy_is_controlled_by_agreement_with_the_source(tmp_path: Path) -> None:
    model, items = convolutional(tmp_path, loud=400), images(24, loud=400)
    recipe = msgspec.structs.replace(ACCURACY, options=ACCURACY.options | {"gives_up_below": -10})
    controlled, plain = built(recipe, model, tmp_path, items), built(INT8, model, tmp_path, items)
    runner = ENGINE.load(recipe, controlled, threads=1)

    kept, without = agreement(model, runner, items), agreement(model, ENGINE.load(INT8, plain, 1), items)

    assert kept >= 0.99 > without
    assert runner.placement()["precision"] == "i8 (2), f32 (1)"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"max_drop": 0.0, "gives_up_below": -10},
            r"With \d of 3 convolutions and matrix products taken back .* \(100% are wanted",
        ),
        ({}, r"In int8 the network keeps -?\d+\.\d% .*, too far from 99%"),
        ({"seconds": 0}, "After 0 s NNCF was still looking for operators"),
    ],
)
def test_accuracy_that_can_not_be_kept_in_int8_is_not_supported(
    options: dict[str, float], sentence: str, tmp_path: Path
) -> None:
    recipe = msgspec.structs.replace(ACCURACY, options=ACCURACY.options | options)

    with pytest.raises(UnsupportedError, match=sentence):
        built(recipe, convolutional(tmp_path, loud=400), tmp_path, images(24, loud=400))


@pytest.mark.parametrize("tuning", [{"threads": 1}, {"hint": "throughput"}], ids=str)
def test_int8_is_right_where_a_stream_has_one_thread(tuning: dict[str, str | int], tmp_path: Path) -> None:
    model, recipe = models.dense(tmp_path / "dense.onnx"), tuned(INT8, **tuning)
    items = vectors(24)
    runner = ENGINE.load(recipe, built(recipe, model, tmp_path, items), threads=2)

    assert agreement(model, runner, items) > 0.98
    assert agreement(model, runner.parallel(2)[0], items) > 0.98  # type: ignore[attr-defined] # not every runner has it
    assert runner.placement()["precision"] == "i8"


def test_a_batch_that_was_asked_for_is_fixed_and_another_one_is_computed_too(model: Path, fp32: Path) -> None:
    runner = ENGINE.load(tuned(FP32, batch=3), fp32, threads=1)
    items = images(3)

    together, alone = runner(batch_of(items))["logits"], np.concatenate([runner(item)["logits"] for item in items])

    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)
    assert runner.placement()["batch"] == "3"


def test_threads_and_hint_are_used_as_asked_for(fp32: Path) -> None:
    placement = ENGINE.load(tuned(FP32, threads=1, hint="throughput"), fp32, threads=2).placement()

    del placement["operators"]

    assert placement == {"device": "CPU", "precision": "f32", "threads": "1", "hint": "throughput"}


def test_threads_that_the_plugin_does_not_take_are_an_error(fp32: Path) -> None:
    cores = len(os.sched_getaffinity(0))

    with pytest.raises(EdgeError, match=f"with INFERENCE_NUM_THREADS = {cores + 7}, and uses "):
        ENGINE.load(tuned(FP32, threads=cores + 7), fp32, threads=1)


@pytest.mark.skipif(not HAS_BF16, reason="this CPU has no bfloat16 arithmetic")
def test_the_precision_that_was_asked_for_is_computed_in(fp32: Path) -> None:
    assert ENGINE.load(tuned(FP32, precision="bf16"), fp32, threads=1).placement()["precision"] == "bf16"


def test_a_device_that_is_not_there_is_an_error(fp32: Path) -> None:
    with pytest.raises(EdgeError, match="OpenVINO can't load openvino-fp32@device=NPU: "):
        ENGINE.load(tuned(FP32, device="NPU"), fp32, threads=1)


@pytest.mark.skipif(len(ENGINE.devices()) > 1, reason="there is more than the CPU to choose from")
def test_a_choice_that_comes_back_to_the_cpu_is_an_error(fp32: Path) -> None:
    with pytest.raises(
        EdgeError, match="was asked to run openvino-fp32@device=AUTO on AUTO, and uses CPU; such a fallback"
    ):
        ENGINE.load(tuned(FP32, device="AUTO"), fp32, threads=1)


def test_parallel_requests_each_get_their_own_answers(model: Path, fp32: Path) -> None:
    items = images(32)
    requests = ENGINE.load(FP32, fp32, threads=2).parallel(4)  # type: ignore[attr-defined] # not every runner has it

    with ThreadPoolExecutor(4) as pool:
        shares = [
            pool.submit(lambda r, part: [r(item) for item in part], r, items[k::4]) for k, r in enumerate(requests)
        ]
        answers = [share.result() for share in shares]

    assert len(requests) == 4
    for first, share in enumerate(answers):
        for item, answer in zip(items[first::4], share, strict=True):
            np.testing.assert_allclose(answer["logits"], reference(model, item)["logits"], rtol=1e-4, atol=1e-5)


def test_parallel_requests_with_another_batch_share_one_more_network(model: Path, fp32: Path) -> None:
    items = images(6)
    requests = ENGINE.load(FP32, fp32, threads=2).parallel(2)  # type: ignore[attr-defined] # not every runner has it

    with ThreadPoolExecutor(2) as pool:
        halves = list(
            pool.map(lambda pair: pair[0](batch_of(pair[1])), zip(requests, (items[:3], items[3:]), strict=True))
        )

    together = np.concatenate([half["logits"] for half in halves])
    np.testing.assert_allclose(together, reference(model, batch_of(items))["logits"], rtol=1e-4, atol=1e-5)


# Errors ----------------------------------------------------------------------------------------------------------------------


def test_int8_without_items_is_an_error(model: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="openvino-int8 needs calibration items, and there are none"):
        built(INT8, model, tmp_path)


def test_a_build_of_something_else_names_recipe_and_file(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08\x0a")

    with pytest.raises(BuildError, match=r"OpenVINO can't build openvino-fp32 of broken\.onnx: "):
        built(FP32, broken, tmp_path)


def test_a_quantization_that_quantizes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="NNCF found nothing to quantize"):
        built(INT8, nothing(tmp_path), tmp_path, [{"x": np.ones((1, 64), np.float32)}])


def test_operators_that_openvino_lacks_are_not_supported_and_named(tmp_path: Path) -> None:
    with pytest.raises(
        UnsupportedError, match=r"OpenVINO lacks operators of this model: ai\.onnx\.ml\.TreeEnsembleClassifier\."
    ):
        built(FP32, models.trees(tmp_path / "trees.onnx"), tmp_path)


def test_an_artifact_that_computes_in_another_precision_is_an_error(fp32: Path) -> None:
    runner = ENGINE.load(INT8, fp32, threads=1)

    with pytest.raises(
        EdgeError, match=r"runs 0 of 3 convolutions and matrix products of openvino-int8 in i8 \(it uses f32\)"
    ):
        runner.placement()


def test_an_artifact_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="OpenVINO can't load openvino-fp32: "):
        ENGINE.load(FP32, tmp_path, threads=1)


@pytest.mark.parametrize(
    ("inputs", "given"),
    [
        ({}, "none"),
        ({"picture": np.zeros((1, 3, 16, 16), np.float32)}, "picture: float32"),
        ({"image": np.zeros((1, 3, 16, 16), np.float64)}, "image: float64"),
    ],
)
def test_inputs_that_openvino_would_take_in_silence_are_an_error(
    inputs: dict[str, NDArray[Any]], given: str, fp32: Path
) -> None:
    runner = ENGINE.load(FP32, fp32, threads=1)

    with pytest.raises(EdgeError, match=f"it takes image: float32, and was given {given}"):
        runner(inputs)


def test_a_shape_that_does_not_fit_is_an_error(fp32: Path) -> None:
    runner = ENGINE.load(FP32, fp32, threads=1)

    with pytest.raises(EdgeError, match="OpenVINO can't run the model on these inputs: "):
        runner({"image": np.zeros((1, 1, 16, 16), np.float32)})


def test_after_a_shape_that_does_not_fit_the_next_call_is_right(model: Path, fp32: Path) -> None:
    runner = ENGINE.load(FP32, fp32, threads=1)
    first, second = images(2)
    runner(first)
    with pytest.raises(EdgeError):
        runner({"image": np.zeros((1, 1, 16, 16), np.float32)})

    answer = runner(second)["logits"]

    np.testing.assert_allclose(answer, reference(model, second)["logits"], rtol=1e-4, atol=1e-5)
