"""MLX: language models built, held against their source, quantized and asked, on small checkpoints."""

import json
from pathlib import Path

import numpy as np
import pytest

from pytest_edgeai.errors import BuildError, UnsupportedError
from pytest_edgeai.frameworks.mlx import Mlx
from pytest_edgeai.language import agreement
from pytest_edgeai.language.checkpoint import Checkpoint
from pytest_edgeai.protocols import Generator
from pytest_edgeai.records import Recipe
from tests.language import checkpoints, generators
from tests.machines import VNNI

pytest.importorskip("mlx.core")
pytest.importorskip("mlx_lm")

ENGINE = Mlx()
FP16 = ENGINE.baseline("huggingface")
assert FP16 is not None
INT8, INT4_G64, INT4_G32 = ENGINE.catalogue(generators.TARGET, "huggingface")
ALL = {recipe.name: recipe for recipe in (FP16, INT8, INT4_G64, INT4_G32)}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generators.source(tmp_path_factory.mktemp("source") / "llama", intermediate_size=128)


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {name: tmp_path_factory.mktemp(name) for name in ALL}
    for name, recipe in ALL.items():
        ENGINE.build(recipe, source, folders[name], [])
    return folders


def loaded(recipe: Recipe, folder: Path) -> Generator:
    generator = ENGINE.load(recipe, folder, 1)
    assert isinstance(generator, Generator)
    return generator


def test_names_are_those_of_what_is_stored() -> None:
    assert list(ALL) == ["mlx-fp16", "mlx-int8-g64", "mlx-int4-g64", "mlx-int4-g32"]
    assert (ENGINE.catalogue(generators.TARGET, "onnx"), ENGINE.baseline("onnx")) == ((), None)
    assert (ENGINE.catalogue(generators.TARGET, "gguf"), ENGINE.baseline("gguf")) == ((), None)


@pytest.mark.parametrize("name", ["mlx-fp16", "mlx-int4-g64"])
def test_it_generates_what_its_logits_find_likeliest(name: str, built: dict[str, Path]) -> None:
    generators.demand_contract(loaded(ALL[name], built[name]), ties=0.1)


def test_quantized_weights_say_a_little_else_than_their_source(source: Path, built: dict[str, Path]) -> None:
    fp16, int8, int4_g64, int4_g32 = (
        generators.mean_divergence(source, loaded(recipe, built[name])) for name, recipe in ALL.items()
    )

    assert fp16 < 1e-4
    assert fp16 < int8 < 0.005
    assert 0.005 < int4_g32 < int4_g64 < 0.5


def test_it_tells_what_it_uses(built: dict[str, Path]) -> None:
    told = {name: loaded(recipe, built[name]).placement() for name, recipe in ALL.items()}

    assert told["mlx-fp16"]["precision"] == "float16, computed in float32"
    assert (
        told["mlx-int4-g32"]["precision"]
        == "4 bits, groups of 32, dequantized where texts are read, computed in float32"
    )
    assert {one["device"] for one in told.values()} == {device.name for device in ENGINE.devices()}


def test_fewer_bits_are_smaller_files(built: dict[str, Path]) -> None:
    sizes = [(folder / "model.safetensors").stat().st_size for folder in built.values()]

    assert sizes[2] < sizes[3] < sizes[1] < sizes[0]


def test_an_end_of_text_ends_nothing(built: dict[str, Path]) -> None:
    generator = loaded(FP16, built["mlx-fp16"])
    end = json.loads((built["mlx-fp16"] / "config.json").read_text())["eos_token_id"]

    generated = list(generator.generate(generators.PROMPT, 6))

    assert (generated[0], len(generated)) == (end, 6)


def test_what_cannot_be_asked_is_told(built: dict[str, Path]) -> None:
    generators.demand_refusals(loaded(FP16, built["mlx-fp16"]))


def test_the_tokenizer_lies_beside_the_weights(source: Path, built: dict[str, Path]) -> None:
    for folder in built.values():
        assert (folder / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()


@pytest.mark.parametrize(("kind", "dtype"), [("llama-biases", "BF16"), ("qwen3", "F16"), ("llama-llama3", "F32")])
def test_other_families_pass_the_check_of_their_conversion(kind: str, dtype: str, tmp_path: Path) -> None:
    config = checkpoints.CONFIGS[kind]
    folder = checkpoints.save(tmp_path / "source", config, checkpoints.weights_of(config), dtype)
    (tmp_path / "built").mkdir()

    ENGINE.build(FP16, folder, tmp_path / "built", [])

    tokens = np.arange(30)
    expected = agreement.log_probabilities(Checkpoint(folder), tokens)
    found = generators.logs(loaded(FP16, tmp_path / "built"), tokens, 7)
    assert agreement.divergence(expected, found).max() < agreement.MOST


@pytest.mark.parametrize("change", [{"rope_theta": 500.0}, {"rms_norm_eps": 0.3}], ids=str)
def test_a_wrong_conversion_is_noticed(change: dict[str, float], source: Path, tmp_path: Path) -> None:
    ENGINE.build(FP16, source, tmp_path, [])
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))

    with pytest.raises(
        BuildError, match=r"^mlx-fp16: asked about a text as a whole, .* diverges from its source by up"
    ):
        agreement.demand(agreement.answers(Checkpoint(source)), loaded(FP16, tmp_path), FP16.name)


@pytest.mark.parametrize(
    ("recipe", "verdict", "told"),
    [
        (FP16, {"fp16": "its weights are quantized already (q4_k)"}, "Its weights are quantized already (q4_k)."),
        (INT8, {"int4-g64": "mixture is a mixture of experts"}, "Mixture is a mixture of experts."),
        (INT4_G64, {"int4-g64": "its rows are of 96"}, "Its rows are of 96."),
        (INT4_G32, {"int4-g32": "its rows are of 48"}, "Its rows are of 48."),
        (INT4_G32, {"int4-g64": "its rows are of 96"}, None),
    ],
)
def test_what_does_not_fit_is_refused(recipe: Recipe, verdict: dict[str, str], told: str | None) -> None:
    assert ENGINE.refusal(recipe, generators.assessment(verdict), VNNI) == told


def test_a_reason_names_the_bits() -> None:
    assert "they have 4 bits" in ENGINE.reason(INT4_G32, generators.assessment(), VNNI)
    assert "float16" in ENGINE.reason(FP16, generators.assessment(), VNNI)


def test_another_family_is_refused(tmp_path: Path) -> None:
    folder = checkpoints.make(tmp_path / "gemma", "llama", model_type="gemma2")

    with pytest.raises(
        UnsupportedError, match=r"^gemma is of the family 'gemma2'; what is converted here are dense models of llama"
    ):
        ENGINE.build(INT8, folder, tmp_path, [])


def test_what_mlx_cannot_read_is_one_sentence(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "renamed"
    folder.mkdir()
    (folder / "config.json").write_bytes((source / "config.json").read_bytes())
    (folder / "weights.safetensors").write_bytes((source / "model.safetensors").read_bytes())

    with pytest.raises(BuildError, match=r"^MLX can't build mlx-fp16 of renamed \(FileNotFoundError: "):
        ENGINE.build(FP16, folder, tmp_path, [])
