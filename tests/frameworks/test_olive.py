"""Olive's language models: checkpoints become ONNX in a process of their own, as in a worker, and ONNX Runtime GenAI says and generates what they say."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import psutil
import pytest
import tokenizers
from numpy.typing import NDArray

from pytest_edgeai.assess import read_model
from pytest_edgeai.errors import BuildError, ModelError, UnsupportedError
from pytest_edgeai.frameworks.olive import Olive, OliveCuda, edge_frameworks, language
from pytest_edgeai.language import agreement
from pytest_edgeai.language.checkpoint import Checkpoint
from pytest_edgeai.language.decoder import log_probabilities
from pytest_edgeai.protocols import Framework, Generator
from pytest_edgeai.records import EngineDevice, Hardware, Recipe, Target
from pytest_edgeai.registry import versions
from tests import as_worker
from tests.language import checkpoints
from tests.machines import VNNI

ENGINE, CUDA = Olive(), OliveCuda()
if versions(ENGINE) is None:
    pytest.skip(f"{', '.join(ENGINE.distributions)} are not all installed", allow_module_level=True)

TARGET = Target(name="cross", title="Any", frameworks=("olive",))
CARDS = Target(name="cards", title="Cards", frameworks=(), hardware=Hardware(accelerators=("gpu:nvidia",)))
DEVICE = msgspec.structs.replace(VNNI, features=())
(INT4,) = ENGINE.catalogue(TARGET, "huggingface")
FP32 = Recipe(framework="olive", precision="fp32")
(INT4_CUDA,) = CUDA.catalogue(CARDS, "huggingface")
FP16 = Recipe(framework="olive-cuda", precision="fp16")
MADE: dict[str, dict[str, Any]] = {
    **checkpoints.CONFIGS,
    "ending": {**checkpoints.LLAMA, "eos_token_id": list(range(checkpoints.VOCABULARY))},
    "uneven": {**checkpoints.LLAMA, "hidden_size": 72, "intermediate_size": 88},
    # Olive's builder takes a matrix with as many rows as there are tokens for the one that makes logits.
    "mistaken": {**checkpoints.LLAMA, "intermediate_size": checkpoints.VOCABULARY},
    "endless": {
        **checkpoints.LLAMA,
        "eos_token_id": None,
        "auto_map": {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"},
    },
}
"""Name -> configuration. ``endless`` has code beside its weights, and wants to be sampled from."""
ROUNDED = ("qwen3", "uneven")
HALVED = ("llama", "qwen3")
BUILDS = [
    *((name, "olive-fp32") for name in MADE if name != "mistaken"),
    *((name, "olive-int4") for name in (*ROUNDED, "mistaken")),
    *((name, "olive-cuda-fp16") for name in HALVED),
    ("qwen3", "olive-cuda-int4"),
]
BUILDER = """
import json, sys
from pathlib import Path
from pytest_edgeai.errors import EdgeError
from pytest_edgeai.frameworks.olive import edge_frameworks
from pytest_edgeai.records import Hardware, Target

target = Target(name="t", title="t", frameworks=(), hardware=Hardware(accelerators=("gpu:nvidia",)))
engines = {
    recipe.name: (engine, recipe)
    for engine in edge_frameworks()
    for recipe in (engine.baseline("huggingface"), *engine.catalogue(target, "huggingface"))
}
told = {}
for name, wanted in json.load(sys.stdin):
    engine, recipe = engines[wanted]
    folder = Path("built", f"{name}-{wanted}")
    folder.mkdir(parents=True)
    try:
        engine.build(recipe, Path("models", name), folder, [])
    except EdgeError as error:
        told[folder.name] = [type(error).__name__, str(error)]

from olive.hardware.accelerator import AcceleratorSpec
from olive.model import HfModelHandler
from olive.passes.olive_pass import create_pass_from_dict
from olive.passes.onnx.model_builder import ModelBuilder

wanted = {"precision": "int4", "int4_block_size": 32, "int4_is_symmetric": True}
for spec, more, folder in (
    (None, {"int4_accuracy_level": 4}, "built/at-once"),
    (AcceleratorSpec("gpu", "CUDAExecutionProvider"), {}, "built/at-once-cuda"),
):
    create_pass_from_dict(ModelBuilder, wanted | more, True, spec).run(HfModelHandler("models/qwen3"), folder)
Path("told.json").write_text(json.dumps(told))
"""
TOKENS = np.random.default_rng(7).integers(0, checkpoints.VOCABULARY, 60)


class Built:
    """What builds left behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: dict[str, list[str]] = json.loads((folder / "told.json").read_text())

    def load(self, name: str, recipe: Recipe = FP32, threads: int = 1) -> Generator:
        assert f"{name}-{recipe.name}" not in self.told
        engine = CUDA if recipe.framework == CUDA.name else ENGINE
        return engine.load(recipe, self.artifact(name, recipe), threads)

    def artifact(self, name: str, recipe: Recipe = FP32) -> Path:
        return self.folder / "built" / f"{name}-{recipe.name}"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """All at once: importing Olive takes longer than most of them."""
    folder = tmp_path_factory.mktemp("olive")
    words = {"<unk>": 0, **{f"w{number}": number for number in range(1, checkpoints.VOCABULARY)}}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    for name, config in MADE.items():
        model = checkpoints.save(folder / "models" / name, config, checkpoints.weights_of(config))
        tokenizer.save(str(model / "tokenizer.json"))
    special = folder / "models" / "endless"
    (special / "code.py").write_text("open('it_ran', 'w').close()\nclass Config: ...\nclass Model: ...\n")
    (special / "generation_config.json").write_text('{"do_sample": true, "temperature": 5.0, "top_k": 40}')
    as_worker.run(BUILDER, folder, json.dumps(BUILDS))
    return Built(folder)


def logits_of(generator: Generator, tokens: NDArray[Any], chunk: int) -> NDArray[np.float64]:
    return np.concatenate([np.array(part, np.float64) for part in generator.logits(tokens, chunk)])


def generated(generator: Generator, count: int) -> list[int]:
    return list(generator.generate(TOKENS, count))


# The catalogue ---------------------------------------------------------------------------------------------------------------


def test_the_engine_is_found_by_the_hook() -> None:
    found = edge_frameworks()

    assert [isinstance(one, Framework) for one in found] == [True, True]
    assert [one.name for one in found] == ["olive", "olive-cuda"]
    assert [one.distributions[0] for one in found] == ["olive-ai", "olive-ai"]


def test_folders_have_a_recipe_and_a_baseline_and_gguf_files_have_neither() -> None:
    assert INT4.name == "olive-int4"
    assert ENGINE.baseline("huggingface") == FP32
    assert FP32.name == "olive-fp32"
    assert ENGINE.catalogue(TARGET, "gguf") == ()
    assert [ENGINE.baseline(kind) for kind in ("onnx", "gguf")] == [None, None]


def test_asking_for_recipes_and_devices_imports_no_olive() -> None:
    program = (
        "import sys\n"
        "from pytest_edgeai.frameworks.olive import edge_frameworks\n"
        "from pytest_edgeai.records import Target\n"
        "engine, cuda = edge_frameworks()\n"
        "engine.catalogue(Target(name='t', title='t', frameworks=()), 'huggingface')\n"
        "assert 'onnxruntime_genai' not in sys.modules\n"
        "print([device.name for device in engine.devices()], 'olive' in sys.modules, 'torch' in sys.modules)\n"
        "assert cuda.devices() is not None\n"
        "assert 'olive' not in sys.modules and 'torch' not in sys.modules\n"
    )

    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout

    assert told == "['CPU'] False False\n"


def test_a_model_of_a_known_family_is_offered_and_another_one_refused(tmp_path: Path) -> None:
    known = read_model(str(checkpoints.make(tmp_path / "known", "llama")))
    weights = checkpoints.weights_of(checkpoints.LLAMA)
    foreign = read_model(
        str(checkpoints.save(tmp_path / "foreign", {**checkpoints.LLAMA, "model_type": "gemma3"}, weights))
    )

    assert [ENGINE.refusal(recipe, known, DEVICE) for recipe in (FP32, INT4)] == [None, None]
    assert all(
        "foreign is of the family 'gemma3'" in str(ENGINE.refusal(recipe, foreign, DEVICE)) for recipe in (FP32, INT4)
    )


def test_the_reason_says_what_is_saved(tmp_path: Path) -> None:
    known = read_model(str(checkpoints.make(tmp_path / "known", "llama")))

    assert "4 bits instead of 32" in ENGINE.reason(INT4, known, DEVICE)
    assert "float32" in ENGINE.reason(FP32, known, DEVICE)


def test_a_language_model_can_not_be_tuned(tmp_path: Path) -> None:
    known = read_model(str(checkpoints.make(tmp_path / "known", "llama")))

    refused = ENGINE.refusal(msgspec.structs.replace(INT4, tuning={"threads": 1}), known, DEVICE)

    assert refused == (
        "ONNX Runtime GenAI runs olive's language models, and isn't tuned: ask for olive-int4 without @threads=1."
    )


# Builds ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", checkpoints.CONFIGS)
def test_what_was_built_says_what_its_source_says(kind: str, built: Built) -> None:
    expected = log_probabilities(Checkpoint(built.folder / "models" / kind), TOKENS)
    generator = built.load(kind)

    assert (generator.vocabulary, generator.context) == (checkpoints.VOCABULARY, checkpoints.CONTEXT)
    for chunk in (len(TOKENS), 16, 1):
        assert np.abs(agreement.normalized(logits_of(generator, TOKENS, chunk)) - expected).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "recipe"), [*((kind, FP32) for kind in checkpoints.CONFIGS), *((kind, INT4) for kind in ROUNDED)]
)
def test_it_generates_what_its_own_logits_find_likeliest(name: str, recipe: Recipe, built: Built) -> None:
    generator = built.load(name, recipe)
    tokens = generated(generator, 40)
    logits = logits_of(generator, np.array([*TOKENS, *tokens]), 1)[len(TOKENS) - 1 : -1]

    assert len(tokens) == 40
    assert np.abs(logits.max(1) - logits[range(40), tokens]).max() < 1e-4


@pytest.mark.parametrize("name", ROUNDED)
def test_four_bits_are_less_and_almost_the_same(name: str, built: Built) -> None:
    whole, rounded = (agreement.normalized(logits_of(built.load(name, recipe), TOKENS, 16)) for recipe in (FP32, INT4))
    sizes = [(built.artifact(name, recipe) / "model.onnx.data").stat().st_size for recipe in (FP32, INT4)]

    assert 1e-3 < agreement.divergence(whole, rounded).mean() < 0.2
    assert sizes[1] < 0.6 * sizes[0]


@pytest.mark.parametrize("name", ROUNDED)
def test_all_matrix_products_are_rounded_and_embeddings_are_not(name: str, built: Built) -> None:
    graph = onnx.load(built.artifact(name, INT4) / "model.onnx", load_external_data=False).graph
    operators = {node.op_type for node in graph.node}
    (table,) = [node.input[0] for node in graph.node if node.input and node.input[-1] == "input_ids"]

    assert "MatMulNBits" in operators
    assert "MatMul" not in operators
    assert [one.data_type for one in graph.initializer if one.name == table] == [onnx.TensorProto.FLOAT]


@pytest.mark.parametrize(("recipe", "folder"), [(INT4, "at-once"), (INT4_CUDA, "at-once-cuda")])
def test_the_builder_itself_would_round_to_the_same_numbers(recipe: Recipe, folder: str, built: Built) -> None:
    ours, theirs = (
        onnx.load(folder / "model.onnx").graph
        for folder in (built.artifact("qwen3", recipe), built.folder / "built" / folder)
    )
    numbers = [
        {one.name: onnx.numpy_helper.to_array(one).tobytes() for one in graph.initializer} for graph in (ours, theirs)
    ]

    assert sorted(node.op_type for node in ours.node) == sorted(node.op_type for node in theirs.node)
    assert numbers[0] == numbers[1]


def test_a_wrong_conversion_is_noticed_and_nothing_is_made_of_it(built: Built) -> None:
    kind, told = built.told["mistaken-olive-int4"]

    assert kind == "BuildError"
    assert told.startswith("olive-int4: asked about a text as a whole, the converted model diverges from its source")
    assert list(built.artifact("mistaken", INT4).iterdir()) == []


def test_code_that_lies_in_a_checkpoint_is_not_run(built: Built) -> None:
    assert "endless-olive-fp32" not in built.told
    assert not (built.folder / "it_ran").exists()


def test_nothing_is_written_into_the_home_folder(built: Built) -> None:
    assert list((built.folder / "home").rglob("*")) == []


def test_what_can_not_be_built_is_told_before_anything_is_imported(tmp_path: Path) -> None:
    weights = checkpoints.weights_of(checkpoints.LLAMA)
    foreign = checkpoints.save(tmp_path / "foreign", {**checkpoints.LLAMA, "model_type": "gemma3"}, weights)
    bare = checkpoints.make(tmp_path / "bare", "llama")

    with pytest.raises(UnsupportedError, match="foreign is of the family 'gemma3'; what is converted here are"):
        ENGINE.build(INT4, foreign, tmp_path, [])
    with pytest.raises(ModelError, match=r"bare has no tokenizer\.json"):
        ENGINE.build(INT4, bare, tmp_path, [])
    assert "olive" not in sys.modules


# Generators ------------------------------------------------------------------------------------------------------------------


def test_ends_of_texts_end_nothing(built: Built) -> None:
    assert generated(built.load("ending"), 40) == generated(built.load("llama"), 40)


def test_a_model_that_names_no_end_and_wants_to_be_sampled_from_gives_the_likeliest(built: Built) -> None:
    config = json.loads((built.artifact("endless") / "genai_config.json").read_text())

    assert "eos_token_id" not in config["model"]
    assert config["search"]["do_sample"]
    assert generated(built.load("endless"), 40) == generated(built.load("llama"), 40)


def test_each_generation_and_each_text_begins_anew(built: Built) -> None:
    generator = built.load("mistral")
    first, logits = generated(generator, 10), logits_of(generator, TOKENS, 16)

    assert generated(generator, 10) == first
    assert np.array_equal(logits_of(generator, TOKENS, 16), logits)


def test_a_context_is_used_to_its_end_and_not_beyond(built: Built) -> None:
    generator = built.load("llama")
    room = checkpoints.CONTEXT - len(TOKENS)

    assert len(generated(generator, room)) == room
    with pytest.raises(ModelError, match="60 tokens and 69 more are more than the 128 that this model attends to"):
        generated(generator, room + 1)
    with pytest.raises(ModelError, match="129 tokens"):
        logits_of(generator, np.zeros(129, np.int64), 16)
    with pytest.raises(ModelError, match=f"has no token number {checkpoints.VOCABULARY}"):
        logits_of(generator, np.array([0, checkpoints.VOCABULARY]), 16)


def test_it_runs_in_as_many_threads_as_it_was_told(built: Built) -> None:
    process, started = psutil.Process(), []
    for threads in (1, 3):
        before = process.num_threads()
        generator = built.load("llama", threads=threads)
        generated(generator, 2)
        started.append(process.num_threads() - before)

        assert generator.placement() == {"device": "CPU", "precision": "float32", "threads": str(threads)}
        del generator
    assert started[1] - started[0] == 2


def test_a_damaged_variant_is_an_error_in_a_sentence(built: Built, tmp_path: Path) -> None:
    shutil.copytree(built.artifact("llama"), tmp_path / "damaged")
    (tmp_path / "damaged" / "model.onnx").write_bytes(b"no model")

    with pytest.raises(BuildError, match="ONNX Runtime GenAI can't load olive-fp32"):
        ENGINE.load(FP32, tmp_path / "damaged", 1)


# For NVIDIA GPUs: the graphs are computed by the CPU here ---------------------------------------------------------------------

GPU = EngineDevice(name="GPU", title="NVIDIA (CUDA)")


def test_they_are_offered_where_such_a_gpu_is_the_target() -> None:
    assert (CUDA.baseline("huggingface"), INT4_CUDA.name) == (FP16, "olive-cuda-int4")
    assert CUDA.catalogue(TARGET, "huggingface") == ()
    assert CUDA.catalogue(CARDS, "onnx") == ()


def test_a_target_may_name_the_gpu_more_closely() -> None:
    closer = Hardware(accelerators=("tpu:coral", "gpu:NVIDIA H200"))

    assert CUDA.catalogue(msgspec.structs.replace(CARDS, hardware=closer), "huggingface") == (INT4_CUDA,)


def test_they_run_on_the_gpu_where_one_is_listed() -> None:
    cpu = EngineDevice(name="CPU")
    there = msgspec.structs.replace(DEVICE, engines={"olive-cuda": (cpu, GPU)})
    elsewhere = msgspec.structs.replace(DEVICE, engines={"olive-cuda": (cpu,), "llamacpp": (GPU,)})

    assert [CUDA.place(FP16, device) for device in (there, elsewhere, DEVICE)] == ["GPU", "CPU", "CPU"]
    assert CUDA.unmeasured(there) is None
    told = str(CUDA.unmeasured(elsewhere))
    assert "onnxruntime-genai-cuda is not installed (pip uninstall onnxruntime-genai onnxruntime; pip install " in told


@pytest.mark.parametrize("name", HALVED)
def test_in_half_precision_it_says_what_its_source_says(name: str, built: Built) -> None:
    expected = log_probabilities(Checkpoint(built.folder / "models" / name), TOKENS)
    generator = built.load(name, FP16)

    assert generator.placement() == {"device": "CPU", "precision": "float16, computed in float32", "threads": "1"}
    for chunk in (len(TOKENS), 16, 1):
        logits = logits_of(generator, TOKENS, chunk)
        assert agreement.divergence(expected, agreement.normalized(logits)).max() < 1e-3
    assert len(generated(generator, 40)) == 40


def test_all_between_its_inputs_and_its_logits_is_half_precision(built: Built) -> None:
    for recipe in (FP16, INT4_CUDA):
        graph = onnx.load(built.artifact("qwen3", recipe) / "model.onnx", load_external_data=False).graph
        types = {one.name: one.type.tensor_type.elem_type for one in (*graph.input, *graph.output)}

        assert types["logits"] == types["past_key_values.0.key"] == onnx.TensorProto.FLOAT16
        assert "GroupQueryAttention" in {node.op_type for node in graph.node}


class CudaBuild:
    """GenAI and ONNX Runtime as they are compiled for CUDA, on a machine where it runs or doesn't."""

    def __init__(self, problem: str | None, *, compiled: bool = True) -> None:
        self.problem, self.compiled, self.loaded = problem, compiled, False
        self.OrtValue = self

    def is_cuda_available(self) -> bool:
        return self.compiled

    def preload_dlls(self) -> None:
        self.loaded = True

    def ortvalue_from_numpy(self, value: NDArray[Any], device: str, number: int) -> None:
        assert self.loaded
        assert (value.shape, device, number) == ((1,), "cuda", 0)
        if self.problem:
            raise RuntimeError(self.problem)


@pytest.mark.parametrize(
    ("build", "listed"),
    [
        (CudaBuild(None), ["CPU", "GPU"]),
        (CudaBuild("CUDA driver version is insufficient for CUDA runtime version"), ["CPU"]),
        (CudaBuild(None, compiled=False), ["CPU"]),
    ],
)
def test_the_gpu_is_listed_where_cuda_runs(build: CudaBuild, listed: list[str], monkeypatch) -> None:
    for module in ("onnxruntime_genai", "onnxruntime"):
        monkeypatch.setitem(sys.modules, module, build)

    assert [device.name for device in CUDA.devices()] == listed


def test_where_cuda_should_run_and_does_not_nothing_else_does_it(built: Built, monkeypatch) -> None:
    monkeypatch.setattr(language, "cuda_runs", lambda: True)

    with pytest.raises(BuildError, match=r"GenAI can't load olive-cuda-fp16 .*Cuda interface not available"):
        built.load("llama", FP16)
