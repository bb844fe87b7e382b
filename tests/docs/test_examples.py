"""The example plugins: installed as distributions, or named by a conftest, they are built, measured, judged and shown like ours."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

# Loaded once: numpy's C modules, which scipy imports, refuse to be loaded again by the next run in this process.
import scipy.special  # noqa: F401

from pytest_edgeai.records import Outcome, Results

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
MODULES = {"onnx-reference": "edgeai_onnx_reference", "cpu-time": "edgeai_cpu_time", "kiosk": "edgeai_kiosk"}


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the three examples as the distributions that they are."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--target", folder, *(EXAMPLES / name for name in MODULES)],
        check=True,
    )
    return folder


@pytest.fixture(params=["distribution", "conftest"])
def registered(
    request: pytest.FixtureRequest, edge, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The examples are found by their entry points, or by what a conftest names."""
    if request.param == "distribution":
        monkeypatch.syspath_prepend(installed)
    else:
        for name in MODULES:
            monkeypatch.syspath_prepend(EXAMPLES / name)
        names = list(MODULES.values())
        edge.pytester.makeconftest(f"def pytest_edge_plugins(config):\n    return {names}\n")
    yield
    for name in MODULES.values():
        sys.modules.pop(name, None)


@pytest.fixture
def results(edge) -> Callable[[], Results]:
    """Reads the ``results.json`` of the run before."""
    return lambda: msgspec.json.decode((edge.report / "results.json").read_bytes(), type=Results)


GATES = """
@pytest.mark.edge_recipe("reference-fp16-weights")
def test_framework(edge_variant):
    assert edge_variant.size <= 0.7 * edge_variant.baseline.size
    assert edge_variant.accuracy >= 0.9 * edge_variant.reference.accuracy
    assert edge_variant.speedup <= 1000
    assert edge_variant.cold_start <= 1000

@pytest.mark.edge_recipe("reference-fp16-weights")
def test_metric(edge_variant):
    assert edge_variant.cpu_time.p50 <= 1000

@pytest.mark.edge_recipe("reference-fp16-weights")
def test_target(edge_variant, edge_target):
    assert edge_variant.size <= edge_target.limits.package
"""


@pytest.mark.usefixtures("registered")
def test_plugins_of_others_are_built_measured_judged_and_shown_like_ours(edge, results):
    edge.write(GATES)

    # The last one wins: the run is for the target that the third example brings.
    result = edge.run("--edge-recipe=reference-*", "--edge-target=kiosk", "--edge-budget=5")

    result.assert_outcomes(passed=3)
    found = results()
    assert {gate.verdict.outcome for gate in found.gates} == {Outcome.PASS}
    assert {gate.verdict.quantity for gate in found.gates} == {
        "size", "accuracy", "speedup", "cold_start", "cpu_time.p50",
    }  # fmt: skip
    assert (found.target.name, found.standing) == ("kiosk", "native")
    variant = next(variant for variant in found.models[0].variants if variant.framework == "reference")
    assert variant.state in ("built", "cached")
    assert {"accuracy", "speedup", "cold_start", "cpu_time.p50"} <= set(variant.figures)
    page = (edge.report / "index.html").read_text()
    assert "reference-fp16-weights" in page
    assert "Ticket kiosk" in page
    assert "cpu_time.p50" in page


@pytest.mark.usefixtures("registered")
def test_the_plan_has_the_reasons_of_a_framework_of_others(edge):
    edge.write(GATES)

    result = edge.run("--edge-plan", "--edge-recipe=reference-*", "--edge-target=kiosk")

    result.stdout.fnmatch_lines(["*A kiosk gets its packages over a mobile network*"])
    result.stdout.fnmatch_lines(["*build *reference-fp16-weights: * parameters take half the bytes*"])


WRONG = {
    "a framework without a method": (
        "class Half:\n    name, distributions = 'half', ()\n\n@hookimpl\ndef edge_frameworks():\n    return [Half()]\n",
        "ERROR: The plugin 'wrong_plugin' gave <wrong_plugin.Half object at *> as a framework, but it lacks catalogue, *build, load*.",
    ),
    "a metric without units": (
        "class Bare:\n    name, per = 'bare', 'call'\n    unsupported = arm = read = 1\n\n@hookimpl\ndef edge_metrics(): return [Bare()]\n",
        "ERROR: The plugin 'wrong_plugin' gave <wrong_plugin.Bare object at *> as a metric, but it lacks units.",
    ),
    "a target that there is": (
        "from pytest_edgeai.targets.builtin import TARGETS\n\n@hookimpl\ndef edge_targets(): return TARGETS[:1]\n",
        "ERROR: Two plugins bring a target named 'intel': 'wrong_plugin' and 'pytest_edgeai.targets.builtin'.",
    ),
    "an exception in a hook": (
        "@hookimpl\ndef edge_targets():\n    raise RuntimeError('no licence')\n",
        "ERROR: The plugin 'wrong_plugin' failed in edge_targets: RuntimeError: no licence",
    ),
    "a module that can't be imported": (
        "import no_such_sdk\n",
        "ERROR: The plugin module 'wrong_plugin' can't be loaded: ModuleNotFoundError: No module named 'no_such_sdk'",
    ),
}


@pytest.mark.parametrize(("source", "sentence"), WRONG.values(), ids=WRONG)
def test_a_wrong_plugin_is_one_sentence_that_names_it(edge, source, sentence):
    edge.write("def test_size(edge_variant):\n    assert edge_variant.size <= 1e9\n")
    edge.pytester.makepyfile(wrong_plugin=f"from pytest_edgeai import hookimpl\n\n{source}")
    edge.pytester.makeconftest("def pytest_edge_plugins(config):\n    return ['wrong_plugin']\n")
    edge.pytester.syspathinsert()

    result = edge.run()

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    told = [line for line in result.errlines if line]
    assert len(told) == 1
    result.stderr.fnmatch_lines([sentence])
    assert "Traceback" not in result.stdout.str()
