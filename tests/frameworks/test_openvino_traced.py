"""OpenVINO by way of PyTorch: families that aren't put together here are recorded, held against transformers, compressed and asked; and what is refused."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_edgeai import registry, strategy
from pytest_edgeai.assess.language import read_folder
from pytest_edgeai.errors import BuildError, ModelError, UnsupportedError
from pytest_edgeai.frameworks.llamacpp import LlamaCpp
from pytest_edgeai.frameworks.mlx import Mlx
from pytest_edgeai.frameworks.openvino import OpenVino, language, traced
from pytest_edgeai.language import agreement
from pytest_edgeai.language.checkpoint import Checkpoint
from pytest_edgeai.protocols import Generator
from pytest_edgeai.records import Recipe
from tests.language import foreign, generators
from tests.machines import VNNI

openvino = pytest.importorskip("openvino")
pytest.importorskip("torch")
pytest.importorskip("transformers")

ENGINE = OpenVino()
FP32 = ENGINE.baseline("huggingface")
assert FP32 is not None
INT8, INT4 = ENGINE.catalogue(generators.TARGET, "huggingface")
FAMILIES = ("gemma2", "gpt2", "gpt_neox", "granite", "mistral", "olmo2", "phi3")
INPUTS = ["input_ids", "attention_mask", "position_ids", "beam_idx"]
Make = Callable[..., Path]
Build = Callable[[Recipe, Path], Path]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """PyTorch's pool waits on cores that other tests run on; models this small gain nothing by it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Checkpoints; each is made once."""
    found: dict[str, Path] = {}

    def make(family: str, dtype: str = "float32", **changes: Any) -> Path:
        key = repr((family, dtype, changes))
        if key not in found:
            found[key] = foreign.make(tmp_path_factory.mktemp("source") / family, family, dtype, **changes)
        return found[key]

    return make


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Folders of variants; each is built once."""
    found: dict[tuple[str, Path], Path] = {}

    def build(recipe: Recipe, source: Path) -> Path:
        if (recipe.name, source) not in found:
            folder = tmp_path_factory.mktemp(recipe.name)
            ENGINE.build(recipe, source, folder, [])
            found[recipe.name, source] = folder
        return found[recipe.name, source]

    return build


def loaded(recipe: Recipe, folder: Path) -> Generator:
    generator = ENGINE.load(recipe, folder, 1)
    assert isinstance(generator, Generator)
    return generator


@pytest.mark.parametrize("family", [*FAMILIES, "gemma3", "smollm3"])
def test_a_recorded_model_says_what_transformers_say(family: str, made: Make, built: Build) -> None:
    expected = foreign.logs(made(family), generators.TOKENS)

    generator = loaded(FP32, built(FP32, made(family)))

    for chunk in (len(generators.TOKENS), 16, 1):
        assert np.abs(generators.logs(generator, generators.TOKENS, chunk) - expected).max() < 1e-4
    generators.demand_contract(generator, 1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_its_weights_are_compressed(family: str, made: Make, built: Build) -> None:
    expected = foreign.logs(made(family), generators.TOKENS)

    for recipe, most in ((INT8, 0.01), (INT4, 0.5)):
        generator = loaded(recipe, built(recipe, made(family)))
        assert len(list(generator.generate(generators.PROMPT, 4))) == 4
        found = agreement.divergence(expected, generators.logs(generator, generators.TOKENS, 16)).mean()
        assert 1e-8 < found < most
        assert f"{recipe.precision[0]}{recipe.precision[3]}" in generator.placement()["precision"].replace("u", "i")


def test_the_folder_is_as_optimum_exports_one_and_keeps_the_sources_16_bits(made: Make, built: Build) -> None:
    source = made("granite", "bfloat16")

    folder = built(FP32, source)

    network, generator = openvino.Core().read_model(folder / language.FILE), loaded(FP32, folder)
    assert [port.get_any_name() for port in network.inputs] == INPUTS
    assert [port.get_any_name() for port in network.outputs] == ["logits"]
    assert "past_key_values.1.valuepresent.1.value" in {one.info.variable_id for one in network.get_variables()}
    assert generator.placement()["precision"] == "f32, weights bf16"
    weights = (source / "model.safetensors").stat().st_size
    assert (folder / "openvino_model.bin").stat().st_size < 1.2 * weights
    expected = foreign.logs(source, generators.TOKENS)
    assert np.abs(generators.logs(generator, generators.TOKENS, 7) - expected).max() < 1e-4


@pytest.mark.parametrize("family", ["gemma2", "granite", "gpt2"])
def test_logits_are_made_of_the_last_tokens_alone(family: str, made: Make, built: Build) -> None:
    network = openvino.Core().read_model(built(FP32, made(family)) / language.FILE)

    language._count_logits(network)

    count = next(one for one in network.get_parameters() if one.get_friendly_name() == "logits_to_keep")
    (negative,) = [one.get_node() for one in count.output(0).get_target_inputs()]
    (sliced,) = [one.get_node() for one in negative.output(0).get_target_inputs()]
    (user,) = [one.get_node() for one in sliced.output(0).get_target_inputs()]
    assert user.get_type_name() == "MatMul"
    assert user.output(0).get_partial_shape()[2].get_length() == generators.VOCABULARY


def test_attention_in_several_kernels_is_told_to_keep_float32(made: Make, built: Build) -> None:
    several, one = (loaded(INT8, built(INT8, made(family))).placement() for family in ("gemma2", "granite"))

    assert (several["keys and values"], one["keys and values"]) == ("f32", "u8")


# The check -------------------------------------------------------------------------------------------------------------------


def held(source: Path, spoil: Callable[[Any], None] = lambda network: None) -> agreement.Answers:
    """What the check of a build is given, after it passed; ``spoil`` changes the network before it."""
    seen = []

    def check(expected: agreement.Answers, network: Any) -> None:
        spoil(network)
        seen.append(expected)
        model = language._Model(network, FP32, Checkpoint(source).config, threads=1)
        agreement.demand(expected, model, FP32.name)

    traced.checked(Checkpoint(source), check)
    return seen[0]


def test_a_state_that_is_another_ones_is_noticed_token_by_token(made: Make) -> None:
    def swap(network: Any) -> None:
        first, second = (one for one in network.get_sinks() if ".key" in one.get_variable_id())
        one, other = first.input_value(0), second.input_value(0)
        first.input(0).replace_source_output(other)
        second.input(0).replace_source_output(one)

    with pytest.raises(BuildError, match=r"^openvino-fp32: asked token by token, .* diverges from its source"):
        held(made("granite"), swap)


def test_a_norm_that_is_another_one_is_noticed(made: Make) -> None:
    def scale(network: Any) -> None:
        mean = next(one for one in network.get_ops() if one.get_type_name() == "ReduceMean")
        users = mean.output(0).get_target_inputs()
        for user in users:
            user.replace_source_output(openvino.opset13.multiply(mean, np.float32(9.0)).output(0))

    with pytest.raises(BuildError, match=r"^openvino-fp32: asked about a text as a whole, .* diverges from its source"):
        held(made("granite"), scale)


def test_a_window_longer_than_the_text_is_shortened_for_the_check_alone(made: Make, built: Build) -> None:
    windowed, source = held(made("mistral", sliding_window=100)), made("mistral", sliding_window=100)
    whole = held(made("mistral", sliding_window=None))
    tokens = np.random.default_rng(9).integers(0, generators.VOCABULARY, 120)

    apart = np.abs(windowed.logarithms - whole.logarithms).max(-1)
    assert apart[: agreement.TOKENS // 2].max() < 1e-5
    assert apart[agreement.TOKENS // 2 + 5 :].min() > 1e-3
    generator = loaded(FP32, built(FP32, source))
    assert np.abs(generators.logs(generator, tokens, 16) - foreign.logs(source, tokens)).max() < 1e-4


# What is refused -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "told"),
    [
        ("mixtral", r"^mixtral is a mixture of experts, of which .* A GGUF file of it, .*, is taken as it is\.$"),
        ("lfm2", r"^lfm2 is 'lfm2', whose layers keep something else .* A GGUF file of it"),
        ("mamba", r"^mamba is 'mamba', whose layers keep something else .* A GGUF file of it"),
    ],
)
def test_what_keeps_more_than_keys_and_values_is_refused(family: str, told: str, made: Make, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=told):
        ENGINE.build(FP32, made(family), tmp_path, [])


@pytest.mark.parametrize(
    "positions",
    [
        {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [4.0] * 8},
        {"rope_type": "dynamic", "factor": 2.0},
    ],
    ids=["longrope", "dynamic"],
)
def test_positions_that_change_with_the_length_are_refused(
    positions: dict[str, Any], made: Make, tmp_path: Path
) -> None:
    more = {"rope_theta": 10000.0, "original_max_position_embeddings": 64}
    source = made("granite", rope_parameters={**positions, **more})

    with pytest.raises(UnsupportedError, match=f"has positions of the kind '{positions['rope_type']}', which change"):
        ENGINE.build(FP32, source, tmp_path, [])


def changed(source: Path, folder: Path, **config: Any) -> Path:
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**told, **config}))
    return folder


def test_a_family_that_transformers_do_not_know_is_refused_and_its_code_not_run(made: Make, tmp_path: Path) -> None:
    auto = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    source = changed(made("phi3"), tmp_path / "own", model_type="homemade", auto_map=auto)
    (source / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")

    with pytest.raises(
        UnsupportedError, match=r"^own is 'homemade', which transformers .* know as no language model\."
    ):
        ENGINE.build(FP32, source, tmp_path, [])
    assert not (tmp_path / "ran").exists()


def test_weights_that_are_missing_are_not_made_up(made: Make, tmp_path: Path) -> None:
    source = changed(made("phi3"), tmp_path / "more", num_hidden_layers=3)

    with pytest.raises(ModelError, match=r"the weight model\.layers\.2\.\S+ is missing, or of another shape"):
        ENGINE.build(FP32, source, tmp_path, [])


def test_without_pytorch_it_says_what_to_install(made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced, "DISTRIBUTIONS", ("torch", "a_torch_that_is_not_there"))
    install = r"a_torch_that_is_not_there is not installed: pip install 'pytest-edgeai\[openvino-torch\]'\.$"

    refused = ENGINE.refusal(INT8, read_folder(made("gpt2")), VNNI)

    with pytest.raises(UnsupportedError, match=install):
        ENGINE.build(FP32, made("gpt2"), tmp_path, [])
    with pytest.raises(AssertionError, match=install):
        raise AssertionError(refused)


# Assessed and planned --------------------------------------------------------------------------------------------------------


def test_it_is_assessed_without_pytorch(made: Make) -> None:
    program = (
        "import sys; from pathlib import Path; from pytest_edgeai.assess.language import read_folder; "
        f"print(read_folder(Path({str(made('gpt2'))!r})).language.unconverted); assert 'torch' not in sys.modules"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    facts = read_folder(made("gpt2")).language
    assert facts is not None

    assert ended.stdout.startswith("gpt2 is of the family 'gpt2'; what is converted here are dense models of llama, ")
    assert (facts.layers, facts.hidden, facts.heads, facts.vocabulary, facts.context) == (2, 64, 4, 320, 128)


@pytest.mark.parametrize(
    ("family", "told"),
    [
        ("mixtral", "mixtral is a mixture of experts; what is converted here are"),
        ("lfm2", "its layers of the kind conv keep something else than keys and values."),
    ],
)
def test_what_is_known_to_fail_is_refused_before_it_is_built(family: str, told: str, made: Make) -> None:
    assert told in str(ENGINE.refusal(FP32, read_folder(made(family)), VNNI))


def test_a_plan_says_which_engine_takes_it(made: Make) -> None:
    engines = {engine.name: engine for engine in (ENGINE, LlamaCpp(), Mlx())}
    recipes = strategy.catalogue(engines.values(), generators.TARGET, "huggingface")

    plan = strategy.plan(
        recipes,
        strategy.baseline_of(engines.values(), generators.TARGET, "huggingface"),
        engines,  # type: ignore[arg-type]
        set(engines),
        read_folder(made("gemma2")),
        generators.TARGET,
        VNNI,
        "gemma2",
        0,
        kind="huggingface",
        baselines=strategy.baselines_of(engines.values(), "huggingface"),
    )

    assert [offer.recipe.name for offer in plan.offers] == ["openvino-int4", "openvino-int8"]
    assert all("'gemma2' is built by way of PyTorch and transformers." in offer.reason for offer in plan.offers)
    assert (plan.baseline, plan.baselines) == (FP32, {"openvino": FP32})
    assert {reason.partition(";")[0] for reason, _ in strategy.refusals(plan)} == {"gemma2 is of the family 'gemma2'"}


def test_its_variants_are_told_apart_by_the_versions_of_what_recorded_them(made: Make) -> None:
    recorded = registry.versions(ENGINE, read_folder(made("gpt2")))

    assert recorded is not None
    assert {"torch", "transformers"} <= recorded.keys()
    assert registry.versions(ENGINE, generators.assessment()) == registry.versions(ENGINE)
