"""llama.cpp: checkpoints converted, held against their source, quantized and asked; GGUF files as they are."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from pytest_edgeai.errors import BuildError, ModelError, UnsupportedError
from pytest_edgeai.frameworks import llamacpp
from pytest_edgeai.frameworks.llamacpp import LlamaCpp
from pytest_edgeai.language import agreement, gguf_file
from pytest_edgeai.language.checkpoint import Checkpoint
from pytest_edgeai.language.tokens import Tokenizer
from pytest_edgeai.protocols import Generator
from pytest_edgeai.records import Recipe
from tests.language import checkpoints, generators
from tests.machines import VNNI

pytest.importorskip("llama_cpp")
tokenizers = pytest.importorskip("tokenizers")
gguf = pytest.importorskip("gguf")

ENGINE = LlamaCpp()
F16, AS_IT_IS = ENGINE.baseline("huggingface"), ENGINE.baseline("gguf")
assert F16 is not None
assert AS_IT_IS is not None
QUANTIZED = {recipe.precision: recipe for recipe in ENGINE.catalogue(generators.TARGET, "huggingface")}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generators.source(tmp_path_factory.mktemp("source") / "llama", **generators.WIDE)


@pytest.fixture(scope="module")
def f16(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("f16")
    ENGINE.build(F16, source, folder, [])
    return folder


@pytest.fixture(scope="module")
def quantized(f16: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of a GGUF file, which is the way of a checkpoint but for its conversion."""
    folders = {precision: tmp_path_factory.mktemp(precision) for precision in QUANTIZED}
    for precision, recipe in QUANTIZED.items():
        ENGINE.build(recipe, f16 / llamacpp.FILE, folders[precision], [])
    return folders


def loaded(recipe: Recipe, folder: Path, threads: int = 1) -> Generator:
    generator = ENGINE.load(recipe, folder, threads)
    assert isinstance(generator, Generator)
    return generator


def test_names_are_those_of_what_is_stored() -> None:
    assert (F16.name, AS_IT_IS.name) == ("llamacpp-f16", "llamacpp-gguf")
    assert list(QUANTIZED) == ["q8_0", "q6_k", "q5_k_m", "q4_k_m"]
    assert ENGINE.catalogue(generators.TARGET, "gguf") == tuple(QUANTIZED.values())
    assert (ENGINE.catalogue(generators.TARGET, "onnx"), ENGINE.baseline("onnx")) == ((), None)


@pytest.mark.parametrize("threads", [1, 2])
def test_it_generates_what_its_logits_find_likeliest(threads: int, f16: Path) -> None:
    generators.demand_contract(loaded(F16, f16, threads), ties=0.1)


def test_a_quantized_model_does_so_too(quantized: dict[str, Path]) -> None:
    generators.demand_contract(loaded(QUANTIZED["q4_k_m"], quantized["q4_k_m"]), ties=0.3)


def test_quantized_weights_say_a_little_else_than_their_source(
    source: Path, f16: Path, quantized: dict[str, Path]
) -> None:
    found = [generators.mean_divergence(source, loaded(F16, f16))]
    found += [generators.mean_divergence(source, loaded(recipe, quantized[key])) for key, recipe in QUANTIZED.items()]

    assert found[0] < 1e-4
    assert found == sorted(found)
    assert 0.003 < found[-1] < 0.2


def test_a_checkpoint_is_quantized_in_one_step(source: Path, quantized: dict[str, Path], tmp_path: Path) -> None:
    ENGINE.build(QUANTIZED["q8_0"], source, tmp_path, [])

    assert (tmp_path / llamacpp.FILE).read_bytes() == (quantized["q8_0"] / llamacpp.FILE).read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [llamacpp.FILE]


def test_a_gguf_file_is_taken_as_it_is(f16: Path, tmp_path: Path) -> None:
    ENGINE.build(AS_IT_IS, f16 / llamacpp.FILE, tmp_path, [])

    assert (tmp_path / llamacpp.FILE).read_bytes() == (f16 / llamacpp.FILE).read_bytes()


def test_it_tells_what_it_uses(f16: Path, quantized: dict[str, Path]) -> None:
    told = loaded(QUANTIZED["q4_k_m"], quantized["q4_k_m"], 2).placement()

    assert "Q4_K - Medium" in told.pop("precision")
    assert told == {"device": "CPU", "threads": "2", "context": "128 of 128 tokens"}
    assert "F16" in loaded(F16, f16).placement()["precision"]


def test_more_context_than_there_is_memory_for_is_not_taken(tmp_path: Path) -> None:
    folder = generators.source(tmp_path / "long", max_position_embeddings=100_000)
    ENGINE.build(F16, folder, tmp_path, [])

    generator = loaded(F16, tmp_path)

    assert generator.context == llamacpp.CONTEXT
    assert generator.placement()["context"] == "2048 of 100000 tokens"


def test_an_end_of_text_ends_nothing(source: Path, f16: Path) -> None:
    generated = list(loaded(F16, f16).generate(generators.PROMPT, 6))

    assert generated[0] == json.loads((source / "config.json").read_text())["eos_token_id"]
    assert len(generated) == 6


def test_what_cannot_be_asked_is_told(f16: Path) -> None:
    generators.demand_refusals(loaded(F16, f16))


def test_a_prompt_longer_than_a_batch_is_computed_in_parts(tmp_path: Path) -> None:
    folder = generators.source(tmp_path / "long", max_position_embeddings=1024)
    ENGINE.build(F16, folder, tmp_path, [])
    generator = loaded(F16, tmp_path, 2)
    prompt = np.random.default_rng(3).integers(0, generators.VOCABULARY, llamacpp.BATCH + 9)

    token = next(generator.generate(prompt, 1))

    last = [np.array(part) for part in generator.logits(prompt, 2048)][-1][-1]
    assert last[token] > last.max() - 0.1


def test_its_tokens_are_the_sources(source: Path, f16: Path) -> None:
    generator = ENGINE.load(F16, f16, 1)
    text = "hello <|end|> wörld\n\n  99% 'it's' 12345"

    tokens = generator.encode(text)

    assert tokens.dtype == np.int32
    assert tokens.tolist() == Tokenizer(source).encode(text).tolist()  # of what looks like a special token, too
    text = text.replace("<|end|>", "")
    assert generator.encode(text).tolist() == Tokenizer(source).encode(text).tolist()


@pytest.mark.parametrize("kind", ["llama-biases", "qwen3", "llama-llama3", "llama-linear", "qwen2", "llama-tied"])
def test_other_families_pass_the_check_of_their_conversion(kind: str, tmp_path: Path) -> None:
    folder = generators.source(tmp_path / "source", kind)

    ENGINE.build(F16, folder, tmp_path, [])

    assert generators.mean_divergence(folder, loaded(F16, tmp_path)) < 1e-3


def unturned(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Whose rows of queries, once they are written in llama.cpp's order, are in that of transformers."""
    name, size = "model.layers.1.self_attn.q_proj.weight", checkpoints.HEAD_SIZE
    rows = weights[name].reshape(checkpoints.HEADS, size // 2, 2, -1)
    return {**weights, name: rows.swapaxes(1, 2).reshape(weights[name].shape)}


@pytest.mark.parametrize("what", ["order of rows", "biases", "positions"])
def test_a_wrong_conversion_is_noticed(what: str, tmp_path: Path) -> None:
    config = {**checkpoints.CONFIGS["llama-biases"], "vocab_size": generators.VOCABULARY}
    weights = checkpoints.weights_of(config)
    changed, other = config, weights
    if what == "order of rows":
        other = unturned(weights)
    elif what == "biases":
        other = {name: array * (not name.endswith("k_proj.bias")) for name, array in weights.items()}
    else:
        changed = {**config, "rope_scaling": checkpoints.STRETCHED}
    right = checkpoints.save(tmp_path / "right", config, weights)
    wrong = checkpoints.save(tmp_path / "wrong", changed, other)
    checkpoints.add_tokenizer(wrong, whole=True)
    gguf_file.write(Checkpoint(wrong), tmp_path / llamacpp.FILE, "gpt-2")

    with pytest.raises(
        BuildError, match=r"^llamacpp-f16: asked about a text as a whole, .* diverges from its source by"
    ):
        agreement.demand(agreement.answers(Checkpoint(right)), loaded(F16, tmp_path), F16.name)


def test_a_tokenizer_that_llamacpp_does_not_have_is_noticed(tmp_path: Path) -> None:
    folder = generators.source(tmp_path / "shouting")
    checkpoints.add_tokenizer(folder, whole=True, normalizer=tokenizers.normalizers.Lowercase())

    with pytest.raises(BuildError, match=r"^llamacpp-f16: no way that llama\.cpp has to split a text gives the tokens"):
        ENGINE.build(F16, folder, tmp_path, [])


@pytest.mark.parametrize("marks", [True, False])
def test_what_marks_the_begin_of_a_text_is_the_sources_own(marks: bool, tmp_path: Path) -> None:
    folder = generators.source(tmp_path / "marked", bos_token_id=5)
    if marks:
        tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.add_special_tokens([token := tokenizer.id_to_token(7)])
        tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
            single=f"{token} $A", special_tokens=[(token, 7)]
        )
        tokenizer.save(str(folder / "tokenizer.json"))
    (tmp_path / "built").mkdir()

    ENGINE.build(F16, folder, tmp_path / "built", [])

    own = ENGINE.tokenizer(tmp_path / "built" / llamacpp.FILE)
    begins = [list(one.begin) for one in (Tokenizer(folder), own, loaded(F16, tmp_path / "built"))]
    assert begins == [[7] if marks else []] * 3


def test_a_folder_without_a_tokenizer_is_told(tmp_path: Path) -> None:
    folder = checkpoints.make(tmp_path / "mute", "llama")

    with pytest.raises(ModelError, match=r"mute has no tokenizer\.json, so texts can't be turned into tokens"):
        ENGINE.build(F16, folder, tmp_path, [])


def test_another_family_is_refused(tmp_path: Path) -> None:
    folder = checkpoints.make(tmp_path / "gemma", "llama", model_type="gemma2")
    checkpoints.add_tokenizer(folder)

    with pytest.raises(
        UnsupportedError, match=r"^gemma is of the family 'gemma2'; .* A GGUF file of it, .*, is taken as it is\.$"
    ):
        ENGINE.build(F16, folder, tmp_path, [])


def test_a_file_says_what_stands_before_texts(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add = gguf.GGUFWriter.add_add_bos_token
    for put in (False, True):
        monkeypatch.setattr(gguf.GGUFWriter, "add_add_bos_token", lambda writer, _, put=put: add(writer, put))
        gguf_file.write(Checkpoint(source), tmp_path / f"{put}.gguf", "gpt-2", vocabulary_only=True)

    silent, speaking = (ENGINE.tokenizer(tmp_path / f"{put}.gguf") for put in (False, True))

    bos = Checkpoint(source).config["bos_token_id"]
    assert (silent.begin, speaking.begin) == ((), (bos,))
    assert (silent.mark, speaking.mark) == (bos, bos)
    assert silent.size == speaking.size
    assert (
        silent.encode("hello").tolist()
        == speaking.encode("hello").tolist()
        == Tokenizer(source).encode("hello").tolist()
    )


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda content: content[:-2000], "data is not within the file bounds"),
        (lambda content: content[:300], "failed to read"),
        (lambda content: b"GGUF" + b"\xff" * 400, ""),
        (lambda content: b"PK" + content[2:], "invalid magic"),
    ],
    ids=["truncated weights", "truncated header", "broken header", "another format"],
)
@pytest.mark.parametrize("recipe", [AS_IT_IS, QUANTIZED["q8_0"]], ids=["as it is", "q8_0"])
def test_a_damaged_file_is_one_sentence(
    damage: object, told: str, recipe: Recipe, f16: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(damage((f16 / llamacpp.FILE).read_bytes()))  # type: ignore[operator]

    (tmp_path / "built").mkdir()

    def use() -> None:
        ENGINE.build(recipe, file, tmp_path / "built", [])
        ENGINE.load(recipe, tmp_path / "built", 1)

    with pytest.raises(BuildError, match=rf"llama\.cpp can't (load|quantize) .*{told}.*\.$") as caught:
        use()
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_nothing_is_said_on_the_terminal(f16: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ENGINE.build(QUANTIZED["q4_k_m"], f16 / llamacpp.FILE, tmp_path, [])
    list(loaded(QUANTIZED["q4_k_m"], tmp_path).generate(generators.PROMPT, 2))

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("precision", "verdict", "told"),
    [
        ("q8_0", {"q8_0": "its rows are of 48"}, "Its rows are of 48."),
        ("q4_k_m", {"k-quants": "its rows are of 64"}, "Its rows are of 64."),
        ("q6_k", {"q8_0": "its rows are of 48"}, None),
    ],
)
def test_what_does_not_fit_is_refused(precision: str, verdict: dict[str, str], told: str | None) -> None:
    assert ENGINE.refusal(QUANTIZED[precision], generators.assessment(verdict), VNNI) == told


def test_a_reason_names_the_bits() -> None:
    assert "they have 4 bits" in ENGINE.reason(QUANTIZED["q4_k_m"], generators.assessment(), VNNI)
    assert "as it is" in ENGINE.reason(AS_IT_IS, generators.assessment(), VNNI)


def test_it_lists_the_cpu_and_what_it_was_built_for() -> None:
    (device,) = ENGINE.devices()

    assert device.name == "CPU"
    assert all(feature == feature.strip().lower() for feature in device.capabilities)


@pytest.mark.parametrize(
    ("backends", "place", "title"),
    [
        (b"", "CPU", None),
        (b"CUDA : ARCHS = 750,900 | USE_GRAPHS = 1 | ", "GPU", "NVIDIA (CUDA)"),
        (b"Vulkan : X = 1 | ", "GPU", "Vulkan"),
        (b"Metal : EMBED_LIBRARY = 1 | ", "CPU", "Apple (Metal)"),  # whose memory is the host's
        (b"MTL : EMBED_LIBRARY = 1 | BLAS : X = 1 | ", "CPU", "Apple (Metal), BLAS"),
    ],
)
def test_it_runs_on_what_it_was_compiled_for(
    backends: bytes, place: str, title: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import llama_cpp

    monkeypatch.setattr(
        llama_cpp, "llama_print_system_info", lambda: backends + b"CPU : AVX2 = 1 | BMI2 = 0 | FMA = 1 | "
    )
    monkeypatch.setattr(llama_cpp, "llama_supports_gpu_offload", lambda: title is not None)

    cpu, *gpus = ENGINE.devices()

    assert (cpu.name, cpu.capabilities) == ("CPU", ("avx2", "fma"))
    assert [gpu.title for gpu in gpus] == [title] * (title is not None)
    here = msgspec.structs.replace(VNNI, engines={"llamacpp": (cpu, *gpus)})
    assert ENGINE.place(F16, here) == place
