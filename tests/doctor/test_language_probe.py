"""The language probe: its tiny checkpoint, what counts as wrong, and what is said where llama.cpp crashes."""

import importlib.util

import ill_speakers
import msgspec
import numpy as np
import pytest

from pytest_edgeai import assess, device, registry
from pytest_edgeai.doctor import language_probe, probe
from pytest_edgeai.doctor.engines import Engine, examine
from pytest_edgeai.language.checkpoint import Checkpoint
from pytest_edgeai.language.decoder import log_probabilities
from pytest_edgeai.language.tokens import Tokenizer
from pytest_edgeai.measure.process import run_task

AMX = ("amx_int8", "amx_tile", "avx", "avx2", "avx512bw", "avx512f", "avx512vl", "f16c", "fma", "sse4_2")
HERE = msgspec.structs.replace(device.detect(), architecture="x86_64", system="linux", features=AMX)


def examined(*modules: str, timeout: float = 30.0) -> dict[str, Engine]:
    found = registry.load(("pytest_edgeai.targets.builtin", *modules))
    engines = examine(found, HERE, found.targets["cross"], run_task, lambda text: None, timeout)
    return {engine.name: engine for engine in engines}


@pytest.fixture(scope="module")
def speakers(tmp_path_factory) -> dict[str, Engine]:
    """Each is examined after those that are ill, on a machine that shows AMX."""
    packages = tmp_path_factory.mktemp("packages")
    (packages / "llama_cpp_python-99.0.dist-info").mkdir()
    (packages / "llama_cpp_python-99.0.dist-info/METADATA").write_text("Name: llama-cpp-python\nVersion: 99.0\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(packages)
        return {name.removeprefix("speaker_"): engine for name, engine in examined("ill_speakers").items()}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny") / language_probe.MODEL
    language_probe.write_model(path)
    return path


def test_every_engine_is_examined_whatever_the_others_do(speakers):
    assert set(speakers) == set(ill_speakers.ILLS)


def test_one_that_is_well_works_in_each_precision(speakers):
    engine = speakers["well"]

    assert (engine.state, engine.problem) == ("works", "")
    assert [(trial.recipe, trial.kind, trial.state) for trial in engine.trials] == [
        ("speaker_well-f16", "huggingface", "works"),
        ("speaker_well-q8_0", "huggingface", "works"),
    ]
    assert all(trial.error < 1e-5 for trial in engine.trials)


@pytest.mark.parametrize(
    ("ill", "problem"),
    [
        ("brief", "where 4 tokens of 263 were asked for"),
        ("forgetful", "it computes wrong numbers: the outputs are off by"),
        ("thin", "it gives logits (16, 131) where the model has (16, 263)"),
        ("nan", "it computes wrong numbers: the logits hold NaN or infinity"),
    ],
)
def test_one_that_is_ill_is_told_in_one_line(speakers, ill, problem):
    engine = speakers[ill]

    assert engine.state == "fails"
    assert all(problem in trial.problem and "\n" not in trial.problem for trial in engine.trials)


def test_a_crash_of_what_is_quantized_where_the_cpu_shows_amx_is_mended_by_compiling_without_it(speakers):
    plain, quantized = speakers["amx"].trials

    assert plain.state == "works"
    assert (quantized.state, quantized.problem) == ("fails", "killed by SIGSEGV")
    assert "the CPU shows AMX" in quantized.mend
    assert 'CMAKE_ARGS="-DGGML_NATIVE=OFF' in quantized.mend
    assert "-DGGML_AVX512=ON" in quantized.mend
    assert "AMX_" not in quantized.mend
    assert quantized.mend.endswith("pip install --force-reinstall --no-deps --no-cache-dir llama-cpp-python")


def test_an_instruction_that_the_cpu_lacks_is_mended_by_compiling_for_it(speakers):
    trial = speakers["foreign"].trials[0]

    assert trial.problem == "killed by SIGILL"
    assert trial.mend.startswith(
        "it was compiled for instructions that this CPU lacks: compile it for this one, CMAKE_ARGS="
    )


def test_the_checkpoint_can_be_brought_to_every_precision(model):
    found = assess.read_model(str(model))

    assert found.language is not None
    assert {name for name, verdict in found.precisions.items() if not verdict.possible} == set()


def test_its_tokenizer_takes_every_text_and_merges(model):
    tokenizer = Tokenizer(model)

    tokens = tokenizer.encode("in the ü\0")

    assert tokenizer.size == Checkpoint(model).config["vocab_size"]
    assert tokens.tolist() == [260, 259, 221, 128, 121, 189]


def test_logits_of_zeros_and_of_another_text_are_wrong_in_every_precision(model):
    draw = np.random.default_rng(3)
    one, another = (
        language_probe._centred(log_probabilities(Checkpoint(model), draw.integers(1, 263, 32))) for _ in range(2)
    )

    wrong = [np.sqrt(np.mean(np.square(found - one)) / np.mean(np.square(one))) for found in (0 * one, another)]

    assert min(wrong) > max(*probe.TOLERANCES.values(), probe._COARSE)


@pytest.mark.parametrize(("name", "module"), [("llamacpp", "llama_cpp"), ("mlx", "mlx_lm")])
def test_a_built_in_engine_runs_each_of_its_precisions_here(name, module):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")

    engine = examined(f"pytest_edgeai.frameworks.{name}", timeout=120)[name]

    assert engine.state == "works", engine
    assert len([trial for trial in engine.trials if trial.state == "works"]) >= 3
