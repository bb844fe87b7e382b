"""Language models through the plugin, with an engine in plain numpy: what is decided, what is refused, and what is told of what fails."""

import importlib.util
import json
from pathlib import Path

import fake_language
import msgspec
import numpy as np
import pytest
from language import checkpoints

from pytest_edgeai import device as devices
from pytest_edgeai.language import gguf_file
from pytest_edgeai.language.checkpoint import Checkpoint
from pytest_edgeai.records import Outcome, Results

CONFIG = {**checkpoints.LLAMA, "tie_word_embeddings": True}


def letters(draw: np.random.Generator, count: int) -> str:
    return "".join(draw.choice(list("abcdefghijklmno"), count))


def documents(count: int = 70) -> list[dict[str, str]]:
    """As many that more than thirty are for confirmation."""
    draw = np.random.default_rng(3)
    return [{"text": letters(draw, 12)} for _ in range(count)]


def gaps() -> list[dict[str, object]]:
    draw = np.random.default_rng(4)
    return [{"prompt": letters(draw, 6), "choices": [*"abcd"], "answer": place % 4} for place in range(40)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with its tokenizer."""
    made = checkpoints.save(tmp_path_factory.mktemp("lm") / "tiny", CONFIG, checkpoints.weights_of(CONFIG))
    (made / "tokenizer.json").write_text(fake_language.tokenizer(CONFIG["vocab_size"]))
    return made


@pytest.fixture
def run(edge, folder: Path, tmp_path: Path):
    """Runs tests of the fake engine's variants of the checkpoint."""

    def start(source: str, *arguments: str, model: Path | None = folder, texts: list[dict] | str | None = None):
        edge.pytester.makepyfile(test_edge=source)
        edge.pytester.makeconftest("def pytest_edge_plugins(config):\n    return ['fake_language']\n")
        given = [f"--edge-model={model}", "--edge-shape=prompt=6,output=3", *arguments]
        if texts is not None:
            path = tmp_path / "texts.jsonl"
            path.write_text(texts if isinstance(texts, str) else "".join(json.dumps(one) + "\n" for one in texts))
            given.append(f"--edge-dataset={path}")
        return edge.run(*given)

    return start


@pytest.fixture
def outcomes(edge):
    """(Variant, quantity) -> outcome, of the gates of the run before."""

    def read() -> dict[tuple[str, str], Outcome]:
        results = msgspec.json.decode((edge.report / "results.json").read_bytes(), type=Results)
        return {(gate.verdict.subject, gate.verdict.quantity): gate.verdict.outcome for gate in results.gates}

    return read


QUALITY = """
def test_perplexity(edge_variant):
    assert edge_variant.perplexity <= 1.5 * edge_variant.reference.perplexity
def test_bits(edge_variant):
    assert edge_variant.bits_per_byte <= 1.5 * edge_variant.reference.bits_per_byte
def test_divergence(edge_variant):
    assert edge_variant.kl_divergence <= 0.5
def test_agreement(edge_variant):
    assert edge_variant.agreement >= 0.5
def test_accuracy(edge_variant):
    assert edge_variant.accuracy >= 0.5 * edge_variant.reference.accuracy
"""
OF_DOCUMENTS = ("perplexity", "bits_per_byte", "kl_divergence", "agreement")


def test_what_variants_say_about_texts_is_judged_by_documents_and_gaps(run, outcomes) -> None:
    found = run(QUALITY, "--edge-recipe=lm-int8-coarse lm-int8-other", texts=[*documents(), *gaps()])

    coarse, other = (
        {quantity: outcome for (name, quantity), outcome in outcomes().items() if name == f"lm-int8-{one}"}
        for one in ("coarse", "other")
    )
    assert [coarse[quantity] for quantity in OF_DOCUMENTS] == [Outcome.PASS] * 4
    found.stdout.fnmatch_lines(["*it may be no better than chance*"])
    # Other tokens: only what is of the same bytes compares.
    assert other["bits_per_byte"] in (Outcome.PASS, Outcome.FAIL)
    assert {other[quantity] for quantity in other if quantity != "bits_per_byte"} == {Outcome.ERROR}
    found.stdout.fnmatch_lines(["*into other tokens than its source does*bits_per_byte is of the same bytes*"])


def test_a_claim_on_exactly_these_texts_is_arithmetic(run, outcomes) -> None:
    found = run(QUALITY, "--edge-recipe=lm-int8-coarse", "--edge-population=dataset", "-rs", texts=documents(5))

    found.assert_outcomes(passed=4, skipped=1)
    found.stdout.fnmatch_lines(["*accuracy needs prompts that go on in a right way*"])


UNTOLD = """
import pytest
@pytest.mark.edge_recipe("lm-int8-slow")
def test_quality(edge_variant):
    assert edge_variant.perplexity <= 100
@pytest.mark.edge_recipe("lm-int8-slow")
def test_decode(edge_variant):
    assert edge_variant.baseline.name == "lm-fp32"
    assert not edge_variant.decode.speedup >= 4
@pytest.mark.edge_recipe("lm-int8-slow")
def test_same_claim_in_other_words(edge_variant):
    assert not edge_variant.tpot.p50 <= 0.25 * edge_variant.baseline.tpot.p50
@pytest.mark.edge_recipe("lm-int8-slow")
def test_rate(edge_variant):
    assert edge_variant.decode.throughput >= 0.1
@pytest.mark.edge_recipe("lm-int8-slow")
def test_each_token(edge_variant):
    assert edge_variant.itl.p95 <= 5
@pytest.mark.edge_recipe("lm-int8-slow")
def test_each_token_beside_another(edge_variant):
    assert edge_variant.itl.p50 <= 9 * edge_variant.baseline.itl.p50
@pytest.mark.edge_recipe("lm-int8-slow")
@pytest.mark.parametrize("quantity", ["speedup", "latency", "throughput"])
def test_plain(edge_variant, quantity):
    getattr(edge_variant, quantity)
@pytest.mark.edge_recipe("lm-int8-s[et]*")
def test_first_token(edge_variant):
    assert edge_variant.ttft.p50 <= 5
"""


def test_phases_are_timed_and_what_fails_is_told_while_the_others_go_on(run, outcomes) -> None:
    found = run(UNTOLD, "--edge-recipe=lm-int8-s*", "-rs")

    found.assert_outcomes(passed=4, failed=4, errors=1, skipped=2)
    found.stdout.fnmatch_lines(["*shows the ratio of their medians: compare tpot.p50, or a speed-up*"])
    assert outcomes()["lm-int8-slow", "decode.speedup"] is outcomes()["lm-int8-slow", "tpot.p50"] is Outcome.FAIL
    found.stdout.fnmatch_lines(["*lm-int8-segv: the worker failed in phase 'build': killed by SIGSEGV*"])
    found.stdout.fnmatch_lines(["*what is timed is not what is*"])
    found.stdout.fnmatch_lines(["*needs texts: give a dataset with --edge-dataset*"])
    for name, told in (
        ("speedup", "decode.speedup, ttft.speedup, prefill.speedup or end_to_end.speedup"),
        ("latency", "ttft, tpot, itl or end_to_end"),
        ("throughput", "decode.throughput or prefill.throughput"),
    ):
        found.stdout.fnmatch_lines([f"*a language model has no {name} as such*write {told}*"])


def test_the_choice_is_the_fastest_decoder_that_keeps_to_the_limits(run, edge) -> None:
    source = "def test_it(edge_choice):\n    assert edge_choice.name == 'lm-int8-coarse'\n"
    limits = "--edge-limit=speedup=0.01 footprint=9 perplexity=2 kl_divergence=2"

    found = run(
        source + "    assert edge_choice.size <= 10**7\n",
        "--edge-recipe=lm-int8-slow lm-int8-coarse",
        limits,
        texts=documents(),
    )

    found.assert_outcomes(passed=1)
    found.stdout.fnmatch_lines(["*tokens/s*"])


def test_calls_that_are_longer_than_the_context_are_refused(run) -> None:
    source = "def test_it(edge_variant):\n    assert edge_variant.size <= 10**7\n"

    found = run(source, "--edge-shape=prompt=120,output=20", "--edge-recipe=lm-int8-coarse")

    found.assert_outcomes(errors=1)
    found.stdout.fnmatch_lines(["*are 140 tokens, and the model attends to 128*"])


def test_texts_that_are_none_are_told(run) -> None:
    found = run(QUALITY, "--edge-recipe=lm-int8-coarse", texts="")

    assert found.ret != 0
    found.stdout.fnmatch_lines(["*is empty: there is nothing to score*"])


def test_a_folder_without_a_tokenizer_is_told(run, folder: Path, tmp_path: Path) -> None:
    bare = checkpoints.save(tmp_path / "bare", CONFIG, checkpoints.weights_of(CONFIG))

    found = run(QUALITY, "--edge-recipe=lm-int8-coarse", model=bare, texts=documents())

    assert found.ret != 0
    found.stdout.fnmatch_lines(["*bare has no tokenizer.json*"])
    planned = run(QUALITY, "--edge-recipe=lm-int8-coarse", "--edge-plan", model=bare, texts=documents())
    assert "bare has no tokenizer.json" in planned.stdout.str() + planned.stderr.str()
    assert "  build " not in planned.stdout.str()


FAMILIES = """
import pytest
@pytest.mark.edge_kind("tensor")
def test_tensors(edge_variant):
    assert edge_variant.size <= 10**7
@pytest.mark.edge_kind("language")
def test_language(edge_variant):
    assert edge_variant.size <= 10**7
"""


def test_gates_for_another_family_of_models_are_skipped(run) -> None:
    found = run(FAMILIES, "--edge-recipe=lm-int8-coarse", "-rs")

    found.assert_outcomes(passed=1, skipped=1)
    found.stdout.fnmatch_lines(["*for models of tensors; tiny is one of the language models*"])


def test_a_family_that_is_not_known_is_told(run) -> None:
    found = run("import pytest\n@pytest.mark.edge_kind('sound')\ndef test_it(edge_variant): pass\n")

    assert found.ret == pytest.ExitCode.USAGE_ERROR
    found.stderr.fnmatch_lines(["*No family of models named 'sound'*"])


def test_each_suite_takes_the_model_that_it_is_for(edge, folder: Path) -> None:
    edge.pytester.makepyfile(test_edge=FAMILIES)
    edge.pytester.makeconftest(
        "def pytest_edge_plugins(config):\n    return ['fake_language', 'fake_engine']\n"
        "def pytest_edge_models(config):\n"
        f"    return {{'small': {{'path': {str(edge.sample.model)!r}}}, 'tiny': {{'path': {str(folder)!r}, 'limits': 'package=1MB'}}}}\n"
    )

    found = edge.run("--edge-recipe=lm-int8-coarse fake-fp32-plain", "--edge-shape=", "-v")

    found.assert_outcomes(passed=2)
    found.stdout.fnmatch_lines_random(["*test_tensors?small-fake-fp32-plain?*", "*test_language?tiny-lm-int8-coarse?*"])


CARD = """
import fake_language
from pytest_edgeai import hookimpl
from pytest_edgeai.records import EngineDevice, Hardware, Recipe, Target

class OnCard(fake_language.FakeLanguage):
    name = "card"
    def catalogue(self, target, kind):
        return [Recipe(framework="card", precision="int8")] * (kind == "huggingface")
    def baseline(self, kind):
        return Recipe(framework="card", precision="fp32") if kind == "huggingface" else None
    def devices(self):
        return (EngineDevice(name="CPU"), EngineDevice(name="GPU", title="NVIDIA (CUDA)"))
    def place(self, recipe, device):
        return "GPU"
    def load(self, recipe, folder, threads):
        loaded = super().load(recipe, folder, threads)
        loaded.placement = lambda: {"device": USED, "precision": "float32"}
        return loaded

@hookimpl
def edge_frameworks():
    return (fake_language.FakeLanguage(), OnCard())

@hookimpl
def edge_targets():
    return (Target(name="cards", title="Cards", frameworks=("lm", "card"), hardware=Hardware(accelerators=("gpu:nvidia",))),)
"""


@pytest.fixture
def on_card(edge, folder: Path, monkeypatch):
    """Runs tests of language models for an NVIDIA GPU, of an engine that runs there by itself; ``used``: what its runtime says."""
    here = devices.detect()

    def run(source: str, *arguments: str, used: str = "GPU", there: bool = True):
        accelerators = ("gpu:NVIDIA T4",) if there else ()
        monkeypatch.setattr(devices, "detect", lambda: msgspec.structs.replace(here, accelerators=accelerators))
        edge.pytester.makepyfile(on_card=f"{CARD}USED = {used!r}", test_edge=source)
        edge.pytester.makeconftest("def pytest_edge_plugins(config):\n    return ['on_card']\n")
        edge.pytester.syspathinsert()
        return edge.run(
            f"--edge-model={folder}", "--edge-shape=prompt=6,output=3", "--edge-target=cards", "-rs", *arguments
        )

    return run


FAST = "def test_speed(edge_variant):\n    assert edge_variant.decode.throughput >= 1e-6\n"
LIGHT = "def test_memory(edge_variant):\n    assert edge_variant.memory.footprint <= 1e12\n"


def test_an_engine_that_runs_on_an_accelerator_itself_is_timed_there_and_not_weighed(on_card, outcomes) -> None:
    found = on_card(FAST + LIGHT, "--edge-recipe=card-int8 lm-int8-coarse")

    found.assert_outcomes(passed=1, skipped=3)
    assert outcomes()["card-int8", "decode.throughput"] is Outcome.PASS
    assert outcomes()["lm-int8-coarse", "decode.throughput"] is Outcome.UNSUPPORTED
    found.stdout.fnmatch_lines_random(
        ["*shown only on gpu:nvidia; lm-int8-coarse runs on the CPU*", "*takes of another device's memory is not read*"]
    )


def test_what_can_not_run_on_the_target_is_not_chosen_for_it(on_card, results) -> None:
    source = "def test_choice(edge_choice):\n    assert edge_choice.size <= 1e9\n"

    on_card(source, "--edge-recipe=card-int8 lm-int8-coarse", there=False)

    choice = results().models[0].choice
    assert choice.recipe == "card-int8"
    assert choice.reason.endswith("; only what may run on gpu:nvidia is chosen")


def test_what_its_runtime_puts_on_the_cpu_instead_is_not_timed(on_card, outcomes) -> None:
    found = on_card(FAST, "--edge-recipe=card-int8", used="CPU")

    assert found.ret == 1
    assert outcomes()["card-int8", "decode.throughput"] is Outcome.ERROR
    found.stdout.fnmatch_lines(["*card-int8 was to run on the GPU, and its runtime has put it on the CPU*"])


# Not imported here: pytester forgets what was, and what llama_cpp leaves open is told as a warning of whatever runs then.
@pytest.mark.skipif(importlib.util.find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed")
def test_a_gguf_file_is_its_own_reference_and_its_own_tokenizer(run, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    gguf_file.write(Checkpoint(folder), file, "gpt-2")
    source = """
def test_it(edge_variant):
    assert edge_variant.reference.name == edge_variant.baseline.name == "llamacpp-gguf"
    assert edge_variant.perplexity <= 1.5 * edge_variant.reference.perplexity
"""

    found = run(source, "--edge-recipe=llamacpp-q8_0", model=file, texts=documents())

    found.assert_outcomes(passed=1)


def test_a_gguf_file_with_a_broken_header_is_told(run, tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes([3, 0, 0, 0]) + b"\xff" * 64)

    found = run(QUALITY, "--edge-recipe=llamacpp-q8_0", model=tmp_path / "broken.gguf", texts=documents())

    assert found.ret == pytest.ExitCode.TESTS_FAILED
    found.stdout.fnmatch_lines(["*broken.gguf*"])


def test_an_architecture_that_is_not_converted_is_refused_with_what_to_use(run, folder: Path, tmp_path: Path) -> None:
    config = {**CONFIG, "model_type": "lfm2", "layer_types": ["conv", "full_attention"]}
    other = checkpoints.save(tmp_path / "other", config, checkpoints.weights_of(CONFIG))
    (other / "tokenizer.json").write_text((folder / "tokenizer.json").read_text())

    found = run(
        "def test_it(edge_variant):\n    assert edge_variant.size <= 1\n",
        "--edge-recipe=openvino-int8",
        "-rs",
        model=other,
    )

    found.assert_outcomes(skipped=1)
    found.stdout.fnmatch_lines(["*'lfm2'*A GGUF file of it*its layers of the kind conv keep something else*"])


def test_too_long_a_call_is_told_before_anything_is_built(run) -> None:
    for arguments, told in (
        (["--edge-shape=prompt=5000"], "*prompt=5000 and output=* tokens, and the model attends to*"),
        (["--edge-shape=prmpt=5"], "*No size named 'prmpt'*Did you mean 'prompt'*"),
    ):
        planned = run(QUALITY, "--edge-recipe=lm-int8-coarse", *arguments, "--edge-plan", texts=documents())
        found = run(QUALITY, "--edge-recipe=lm-int8-coarse", *arguments, texts=documents())

        assert planned.ret == pytest.ExitCode.USAGE_ERROR
        planned.stderr.fnmatch_lines([told])
        found.stdout.fnmatch_lines([told])
        assert "failed to build" not in found.stdout.str()


def test_a_recipe_that_is_for_no_model_of_this_kind_is_told_as_that(run) -> None:
    found = run(QUALITY, "--edge-recipe=onnxruntime-int8-static", "-rs", texts=documents())

    found.stdout.fnmatch_lines(
        ["*No variant of tiny *onnxruntime-int8-static (--edge-recipe); `--edge-plan` without that option names all*"]
    )


def test_a_model_that_is_not_there_is_told(run, tmp_path: Path) -> None:
    found = run(QUALITY, model=tmp_path / "chatt")

    assert found.ret == pytest.ExitCode.USAGE_ERROR
    found.stderr.fnmatch_lines(["*There is no model at *chatt. Is the path right*"])


def test_a_score_for_a_language_model_is_told_to_be_for_nothing(run) -> None:
    found = run(QUALITY, "--edge-recipe=lm-int8-coarse", "--edge-score=top5", "-k", "perplexity", texts=documents())

    found.assert_outcomes(passed=1)
    found.stdout.fnmatch_lines(["*which no score is for: 'top5' is not used*"])
