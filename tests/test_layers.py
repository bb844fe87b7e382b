"""Layers: what may import what, and what is not imported before it is needed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("onnx", "onnxruntime", "openvino", "nncf", "scipy.stats", "plotly", "jinja2")


def modules_after(statement: str) -> set[str]:
    """Names in ``sys.modules`` of a fresh interpreter."""
    program = f"import json, sys; {statement}; print(json.dumps(list(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(ended.stdout))


def test_what_stands_above_imports_what_stands_below_and_never_the_other_way_round():
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)

    assert "0 broken" in ended.stdout
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize(
    "module",
    [
        "pytest_edgeai.pipeline",
        "pytest_edgeai.results",
        "pytest_edgeai.measure.worker",
        "pytest_edgeai.report",
        "pytest_edgeai.doctor.checkup",
    ],
)
def test_importing_a_module_imports_no_engine_and_nothing_else_that_is_heavy(module):
    imported = modules_after(f"import {module}")

    assert module in imported
    assert imported.isdisjoint(HEAVY)


def test_finding_all_built_ins_imports_nothing_heavy():
    imported = modules_after("from pytest_edgeai import registry; registry.find()")

    assert "pytest_edgeai.frameworks.openvino" in imported
    assert imported.isdisjoint(HEAVY)


def test_importing_the_plugin_imports_neither_the_pipeline_nor_numpy():
    imported = modules_after("import pytest_edgeai.plugin")

    assert imported.isdisjoint({"numpy", "msgspec", "pytest_edgeai.pipeline", "pytest_edgeai.records"})


@pytest.mark.parametrize(
    "module",
    ["pytest_edgeai.cli", "pytest_edgeai.pipeline", "pytest_edgeai.measure.worker", "pytest_edgeai.registry"],
)
def test_nothing_but_the_plugin_imports_pytest(module):
    imported = modules_after(f"import {module}")

    assert imported.isdisjoint({"pytest", "_pytest"})
