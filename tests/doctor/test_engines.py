"""Examining: every installed framework is tried in workers, and whatever it does, the next one's turn comes."""

from pathlib import Path

import ill_engine
import msgspec
import pytest

from pytest_edgeai import device, registry
from pytest_edgeai.doctor import engines
from pytest_edgeai.doctor.engines import Engine, examine, outside
from pytest_edgeai.doctor.probe import TOLERANCES
from pytest_edgeai.errors import WorkerError
from pytest_edgeai.measure.process import run_task

MODULES = ("pytest_edgeai.targets.builtin", "ill_engine")
HERE = device.detect()


def examined(modules=MODULES, *, task=run_task, timeout=3.0, say=lambda text: None) -> dict[str, Engine]:
    found = registry.load(modules)
    return {engine.name: engine for engine in examine(found, HERE, found.targets["cross"], task, say, timeout)}


@pytest.fixture(scope="module")
def ills() -> dict[str, Engine]:
    """All of them in one go: each is examined after those that are ill."""
    return {name.removeprefix("ill_"): engine for name, engine in examined().items()}


def test_every_framework_is_examined_whatever_the_others_do(ills):
    assert set(ills) == set(ill_engine.ILLS)


def test_one_that_is_well_works_with_its_versions_and_devices(ills):
    engine = ills["well"]

    (trial,) = engine.trials
    assert (engine.state, engine.problem, engine.mend) == ("works", "", "")
    assert "onnxruntime" in engine.versions
    assert [one.name for one in engine.devices] == ["CPU"]
    assert (trial.recipe, trial.state, trial.placement) == (
        "ill_well-fp32",
        "works",
        {"device": "CPU", "precision": "fp32"},
    )
    assert 0 <= trial.error < 1e-5


@pytest.mark.parametrize(
    ("ill", "problem", "mend"),
    [
        ("segv", "killed by SIGSEGV", "crash"),
        ("hang", "no answer within 3 s", "it hangs: try once more with a longer --timeout"),
        ("exit", "it exited with status 3 before it answered", "pip install --force-reinstall onnxruntime"),
        ("raise", "ImportError: libgomp.so.1: cannot open shared object file", "apt-get install libgomp1"),
        ("wrong", "it computes wrong numbers: the outputs are off by", "don't trust what it measures"),
        ("nan", "it computes wrong numbers: the outputs hold NaN or infinity", "don't trust what it measures"),
        ("renamed", "it gives the outputs {'output': (1, 10)} where the model has logits (1, 10)", "another version"),
    ],
)
def test_one_that_is_ill_is_told_in_one_line_with_what_mends_it(ills, ill, problem, mend):
    engine = ills[ill]

    (trial,) = engine.trials
    assert (engine.state, trial.state) == ("fails", "fails")
    assert problem in trial.problem
    assert "\n" not in trial.problem
    assert mend in trial.mend


def test_one_that_dies_when_it_lists_its_devices_is_told(ills):
    engine = ills["segv_listing"]

    assert (engine.state, engine.trials) == ("fails", ())
    assert engine.problem == "it can't list its devices: killed by SIGSEGV"


def test_a_plugin_that_raises_in_this_process_is_told(ills):
    engine = ills["broken_catalogue"]

    assert (engine.state, engine.problem) == ("fails", "its plugin failed: RuntimeError: no such luck")


def test_what_is_not_installed_is_absent_and_only_what_lacks_is_named(ills):
    engine = ills["absent"]

    assert (engine.state, engine.trials) == ("absent", ())
    assert (engine.problem, engine.mend) == ("no-such-wheel is not installed", "pip install no-such-wheel")


def test_the_extra_is_named_where_there_is_one_of_its_name():
    lacking = ill_engine.Ill("absent")
    lacking.name = "olive"

    assert engines._install(lacking, ["no-such-wheel"], HERE) == "pip install 'pytest-edgeai[olive]'"


def test_what_would_be_in_the_way_goes_first():
    lacking = ill_engine.Ill("absent")
    lacking.name, lacking.replaces = "olive-cuda", ("onnxruntime", "no-such-wheel")

    how = "pip uninstall onnxruntime; pip install 'pytest-edgeai[olive-cuda]'"
    assert engines._install(lacking, ["onnxruntime-gpu"], HERE) == how


def test_why_its_speed_says_nothing_here_is_told(ills):
    assert ills["choosy"].state == "works"
    assert ills["choosy"].problem == "It is made for other machines"


def test_one_without_a_recipe_for_onnx_models_only_lists_its_devices(ills):
    engine = ills["speechless"]

    assert (engine.state, engine.trials) == ("works", ())
    assert engine.devices


def test_a_refusal_is_no_failure(ills):
    engine = ills["picky"]

    (trial,) = engine.trials
    assert (engine.state, trial.state, trial.problem) == ("works", "refused", "It is too small.")


def test_a_crash_in_one_precision_leaves_the_others_proven(ills):
    engine = ills["half"]

    assert engine.state == "fails"
    assert [(trial.recipe, trial.state) for trial in engine.trials] == [
        ("ill_half-fp32", "works"),
        ("ill_half-int8", "fails"),
    ]


def test_a_version_that_was_not_tried_is_told_with_the_ones_that_were():
    assert outside({"openvino": "2024.1.0", "nncf": "99.0"}, "openvino") == ["openvino>=2025.2"]
    assert outside({"some-engine": "0.1"}, "some") == []


def test_an_engine_is_held_to_its_own_extra_alone():
    newer = {"onnxruntime-gpu": "1.31.1"}

    assert outside(newer, "olive-cuda") == ["onnxruntime-gpu<1.27,>=1.26"]
    assert outside(newer, "onnxruntime") == []


def test_an_answer_that_is_none_is_told(ills):
    def task(name, arguments, *, subject, timeout):
        return "nonsense" if name == "probe" else run_task(name, arguments, subject=subject, timeout=timeout)

    engine = examined(("pytest_edgeai.targets.builtin", "pytest_edgeai.frameworks.onnxruntime"), task=task)[
        "onnxruntime"
    ]

    assert {trial.state for trial in engine.trials} <= {"fails", "refused"}
    assert "Expected `object`" in engine.trials[0].problem


def test_without_the_tiny_model_nothing_is_proven():
    def task(name, arguments, *, subject, timeout):
        if name == "probe-model":
            raise WorkerError(subject, name, "ModuleNotFoundError: No module named 'onnx'")
        return run_task(name, arguments, subject=subject, timeout=timeout)

    engine = examined(("pytest_edgeai.targets.builtin", "pytest_edgeai.frameworks.onnxruntime"), task=task)[
        "onnxruntime"
    ]

    assert engine.state == "fails"
    assert (
        engine.problem
        == "it can't be tried: the tiny model can't be made (ModuleNotFoundError: No module named 'onnx')"
    )
    assert engine.mend.startswith("a Python module is missing: pip install onnx")


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_built_in_framework_runs_each_of_its_precisions_here(name):
    pytest.importorskip(name)
    told: list[str] = []

    engine = examined((MODULES[0], f"pytest_edgeai.frameworks.{name}"), timeout=120, say=told.append)[name]

    assert engine.state == "works", engine
    assert told == [f"probing {name}"]
    assert {"fp32", "int8"} <= {trial.recipe.split("-")[1] for trial in engine.trials if trial.state == "works"}
    assert all(trial.error < TOLERANCES.get(trial.recipe.split("-")[1], 1) for trial in engine.trials if trial.error)


def test_examined_engines_survive_the_way_to_json(ills):
    for engine in ills.values():
        assert msgspec.json.decode(msgspec.json.encode(engine), type=Engine) == engine


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    examined(("pytest_edgeai.targets.builtin", "pytest_edgeai.frameworks.onnxruntime"), timeout=120)

    assert list(tmp_path.iterdir()) == []
