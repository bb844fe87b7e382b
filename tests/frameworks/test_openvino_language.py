"""OpenVINO's language models: built, held against their source, compressed and asked, on small checkpoints."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from pytest_edgeai.errors import BuildError, EdgeError, UnsupportedError
from pytest_edgeai.frameworks.openvino import OpenVino, decoder, language
from pytest_edgeai.language import agreement
from pytest_edgeai.language.checkpoint import Checkpoint
from pytest_edgeai.protocols import Generator
from pytest_edgeai.records import Recipe
from tests.language import checkpoints, generators
from tests.machines import VNNI

openvino = pytest.importorskip("openvino")

ENGINE = OpenVino()
FP32 = ENGINE.baseline("huggingface")
assert FP32 is not None
INT8, INT4 = ENGINE.catalogue(generators.TARGET, "huggingface")
INPUTS = {"input_ids": "i64", "attention_mask": "i64", "position_ids": "i64", "beam_idx": "i32"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generators.source(tmp_path_factory.mktemp("source") / "llama", **generators.WIDE)


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {recipe.precision: tmp_path_factory.mktemp(recipe.name) for recipe in (FP32, INT8, INT4)}
    for recipe in (FP32, INT8, INT4):
        ENGINE.build(recipe, source, folders[recipe.precision], [])
    return folders


def loaded(recipe: Recipe, folder: Path, threads: int = 1) -> Generator:
    generator = ENGINE.load(recipe, folder, threads)
    assert isinstance(generator, Generator)
    return generator


def test_names_are_those_of_what_is_stored() -> None:
    assert [recipe.name for recipe in (FP32, INT8, INT4)] == ["openvino-fp32", "openvino-int8", "openvino-int4"]
    assert ENGINE.baseline("onnx") is None
    assert (ENGINE.catalogue(generators.TARGET, "gguf"), ENGINE.baseline("gguf")) == ((), None)


@pytest.mark.parametrize(("recipe", "ties"), [(FP32, 1e-3), (INT8, 0.3), (INT4, 0.3)], ids=["fp32", "int8", "int4"])
def test_it_generates_what_its_logits_find_likeliest(recipe: Recipe, ties: float, built: dict[str, Path]) -> None:
    generators.demand_contract(loaded(recipe, built[recipe.precision]), ties)


def test_compressed_weights_say_a_little_else_than_their_source(source: Path, built: dict[str, Path]) -> None:
    found = [
        generators.mean_divergence(source, loaded(recipe, built[recipe.precision])) for recipe in (FP32, INT8, INT4)
    ]

    assert found[0] < 1e-8
    assert 1e-6 < found[1] < 0.005
    assert 0.005 < found[2] < 0.2


def test_it_tells_what_the_plugin_uses(built: dict[str, Path]) -> None:
    baseline, int8, int4 = (loaded(one, built[one.precision], 2).placement() for one in (FP32, INT8, INT4))

    assert baseline == {"device": "CPU", "precision": "f32, weights f32", "threads": "2", "keys and values": "f32"}
    assert (int8["precision"], int8["keys and values"]) == ("f32, weights u8", "u8")
    assert int4["precision"].startswith("f32, weights i4 (14), u8 (1)")
    assert "groups of 32" in int8["activations"]


def test_an_end_of_text_ends_nothing(built: dict[str, Path]) -> None:
    generator = loaded(FP32, built["fp32"])
    end = json.loads((built["fp32"] / "config.json").read_text())["eos_token_id"]

    generated = list(generator.generate(generators.PROMPT, 6))

    assert (generated[0], len(generated)) == (end, 6)


def test_what_cannot_be_asked_is_told(built: dict[str, Path]) -> None:
    generators.demand_refusals(loaded(FP32, built["fp32"]))


def test_the_folder_is_as_optimum_exports_one(source: Path, built: dict[str, Path]) -> None:
    for folder in built.values():
        network = openvino.Core().read_model(folder / "openvino_model.xml")
        inputs = {port.get_any_name(): port.get_element_type().get_type_name() for port in network.inputs}
        states = {one.info.variable_id for one in network.get_variables()}
        assert inputs == INPUTS
        assert [port.get_any_name() for port in network.outputs] == ["logits"]
        assert "past_key_values.0.keypresent.0.key" in states
        for name in ("config.json", "tokenizer.json"):
            assert (folder / name).read_bytes() == (source / name).read_bytes()


@pytest.mark.parametrize(("kind", "dtype"), [("llama-biases", "BF16"), ("qwen3", "F16"), ("llama-llama3", "F32")])
def test_the_baseline_has_its_sources_weights_and_computes_in_float32(kind: str, dtype: str, tmp_path: Path) -> None:
    config = checkpoints.CONFIGS[kind]
    folder = checkpoints.save(tmp_path / "source", config, checkpoints.weights_of(config), dtype)
    (tmp_path / "built").mkdir()

    ENGINE.build(FP32, folder, tmp_path / "built", [])

    generator = loaded(FP32, tmp_path / "built")
    tokens = np.arange(30)
    expected = agreement.log_probabilities(Checkpoint(folder), tokens)
    assert np.abs(generators.logs(generator, tokens, 7) - expected).max() < 1e-4
    assert generator.placement()["precision"] == f"f32, weights {dtype.lower()}"
    assert (tmp_path / "built" / "openvino_model.bin").stat().st_size < 1.05 * (
        folder / "model.safetensors"
    ).stat().st_size


@pytest.mark.parametrize(
    "changes",
    [{"rope_theta": 500.0}, {"rms_norm_eps": 0.3}, {"rope_scaling": checkpoints.STRETCHED}],
    ids=["positions", "norms", "stretched positions"],
)
def test_a_wrong_conversion_is_noticed(changes: dict[str, object], source: Path, tmp_path: Path) -> None:
    wrong = Checkpoint(generators.source(tmp_path / "wrong", **generators.WIDE, **changes))
    generator = language._Model(decoder.network(wrong), FP32, wrong.config, threads=1)

    with pytest.raises(BuildError, match=r"^openvino-fp32: asked about a text as a whole, .* diverges from its source"):
        agreement.demand(agreement.answers(Checkpoint(source)), generator, FP32.name)


@pytest.mark.parametrize(
    ("recipe", "verdict", "told"),
    [
        (FP32, {"fp16": "its weights are quantized already (q4_k)"}, "Its weights are quantized already (q4_k)."),
        (INT8, {"int8": "mixture is a mixture of experts"}, "Mixture is a mixture of experts."),
        (INT4, {"int4-g64": "its rows are of 96, no multiple of 64"}, "Its rows are of 96, no multiple of 64."),
        (INT4, {"int4-g32": "its rows are of 48"}, None),
    ],
)
def test_what_does_not_fit_is_refused(recipe: Recipe, verdict: dict[str, str], told: str | None) -> None:
    assert ENGINE.refusal(recipe, generators.assessment(verdict), VNNI) == told


@pytest.mark.parametrize(
    ("tuning", "told"),
    [
        ({"batch": 4}, "batch=4 can't be had"),
        ({"hint": "throughput"}, "hint=throughput can't be had"),
        ({"device": "GPU"}, "device=GPU can't be had"),
        ({"threads": 8}, "8 threads are more than the 2 cores"),
        ({"precision": "bf16"}, "The CPU has no bfloat16 arithmetic"),
        ({"precision": "f8"}, "No precision to compute in named 'f8'"),
    ],
)
def test_tuning_that_a_language_model_does_not_have_is_refused(tuning: dict[str, str | int], told: str) -> None:
    recipe = msgspec.structs.replace(INT8, tuning=tuning)

    assert told in str(ENGINE.refusal(recipe, generators.assessment(), VNNI))


def test_it_is_tuned_to_threads(built: dict[str, Path]) -> None:
    recipe = msgspec.structs.replace(INT8, tuning={"threads": 1})

    assert loaded(recipe, built["int8"], threads=2).placement()["threads"] == "1"


def test_a_reason_names_the_bits() -> None:
    assert "they have 4 bits" in ENGINE.reason(INT4, generators.assessment(), VNNI)
    assert "float32" in ENGINE.reason(FP32, generators.assessment(), VNNI)


def test_a_file_instead_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")

    with pytest.raises(UnsupportedError, match=r"^model\.gguf is one file; OpenVINO is given the folder"):
        ENGINE.build(INT8, tmp_path / "model.gguf", tmp_path, [])


def test_another_family_is_refused(tmp_path: Path) -> None:
    folder = checkpoints.make(tmp_path / "gemma", "llama", model_type="llama", num_local_experts=4)

    with pytest.raises(UnsupportedError, match="gemma is a mixture of experts"):
        ENGINE.build(FP32, folder, tmp_path, [])


def test_a_damaged_artifact_is_one_sentence(built: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / language.FILE).write_text((built["int8"] / language.FILE).read_text()[:3000])

    with pytest.raises(EdgeError, match=r"^OpenVINO can't load openvino-int8: .*\.$"):
        ENGINE.load(INT8, tmp_path, 1)
