"""The wheel: whoever installs it has the gates, the report's templates and the types, and needs no checkout."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from pytest_edgeai.records import Results

pytest.importorskip("hatchling", reason="building the wheel needs hatchling")
ROOT = Path(__file__).parents[2]
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as its wheel installs it, and nothing else."""
    built, site = tmp_path_factory.mktemp("built"), tmp_path_factory.mktemp("site")
    build = [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(built), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = built.glob("*.whl")
    subprocess.run([*PIP, "install", "--no-deps", "--target", str(site), str(wheel)], check=True, capture_output=True)
    return site


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(installed: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs the installed gates in an empty folder."""

    def call(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "pytest", "--pyargs", "pytest_edgeai.suites", "-p", "no:benchmark", *arguments]
        temporary = str(tmp_path_factory.mktemp("temporary"))
        environment = {**os.environ, "PYTHONPATH": str(installed), "TMPDIR": temporary}
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)

    return call


def test_the_gates_run_on_a_model_from_the_option_and_write_the_report(
    run: Run, sample, tmp_path: Path, shared_cache: Path
) -> None:
    given = [f"--edge-model={sample.model}", f"--edge-dataset={sample.dataset}", f"--edge-cache={shared_cache}"]

    ended = run(*given, "--edge-target=cross", "--edge-recipe=onnxruntime-int8-static", "-k", "every_variant")

    results = msgspec.json.decode((tmp_path / "reports/latest/results.json").read_bytes(), type=Results)
    assert ended.returncode in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED), ended.stdout + ended.stderr
    assert [gate.verdict.subject for gate in results.gates] == ["onnxruntime-int8-static"]
    assert results.gates[0].test.endswith("test_every_variant_keeps_its_accuracy[onnxruntime-int8-static]")
    assert "</html>" in (tmp_path / "reports/latest/index.html").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".pytest_cache", "reports"]


@pytest.mark.parametrize("processes", ["0", "2"])
def test_without_a_model_they_say_what_to_give_in_one_sentence(run: Run, processes: str) -> None:
    ended = run("-n", processes)

    assert ended.returncode == pytest.ExitCode.USAGE_ERROR
    assert ended.stderr.strip() == (
        "ERROR: The shipped gates need a model: give --edge-model FILE, and with --edge-dataset FILE items to score."
    )
    assert "Traceback" not in ended.stdout


def test_it_carries_what_type_checkers_and_the_report_need(installed: Path) -> None:
    package = installed / "pytest_edgeai"

    assert (package / "py.typed").is_file()
    assert (package / "suites/vision/test_gates.py").read_bytes() == (ROOT / "suites/vision/test_gates.py").read_bytes()
    assert len(list((package / "report/templates").iterdir())) == len(
        list((ROOT / "pytest_edgeai/report/templates").iterdir())
    )
    assert sorted(path.name for path in installed.iterdir() if path.suffix != ".dist-info") in (
        ["bin", "pytest_edgeai"],
        ["pytest_edgeai"],
    )


def test_in_a_checkout_the_gates_have_the_same_name(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess(
        "--pyargs", "pytest_edgeai.suites", "--collect-only", "-q", f"--rootdir={ROOT}"
    )

    assert result.ret == pytest.ExitCode.OK
    assert any("test_every_variant_keeps_its_accuracy" in line for line in result.outlines)
