"""What having the plugin installed costs a run that doesn't use it."""

import sys

import pytest

HEAVY = (
    "archspec",
    "filelock",
    "jinja2",
    "msgspec",
    "nncf",
    "numpy",
    "onnx",
    "onnxruntime",
    "openvino",
    "platformdirs",
    "plotly",
    "psutil",
    "scipy",
)
RUNS = 4
BUDGET = 10_000  # microseconds


def test_a_start_of_pytest_loads_nothing_heavy_and_takes_no_time(pytester: pytest.Pytester, monkeypatch):
    pytester.makepyfile("def test_plain():\n    assert True\n")
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)

    plain = _imported(pytester, "pass", "-p", "no:edgeai")
    # Python's clock of imports doesn't see what is loaded as a plugin, only what that imports in turn.
    runs = [_imported(pytester, "import pytest_edgeai.plugin") for _ in range(RUNS)]

    assert not [name for name in plain if name.startswith("pytest_edgeai")]
    assert "pytest_edgeai.plugin" in runs[0]
    added = [{name: cost for name, cost in run.items() if name not in plain} for run in runs]
    assert not [name for name in added[0] if name.partition(".")[0] in HEAVY]
    assert min(sum(run.values()) for run in added) <= BUDGET, sorted(added[-1].items(), key=lambda found: -found[1])


def _imported(pytester: pytest.Pytester, before: str, *arguments: str) -> dict[str, int]:
    """Module -> microseconds to import it alone, of collecting what is in the folder."""
    options = ["--collect-only", "-q", "-p", "no:cacheprovider", *arguments]
    program = f"import sys, pytest; {before}; sys.exit(pytest.main({options!r}))"
    result = pytester.run(sys.executable, "-X", "importtime", "-c", program)
    assert result.ret == pytest.ExitCode.OK
    rows = (line.removeprefix("import time:").split("|") for line in result.errlines if line.startswith("import time:"))
    return {name.strip(): int(alone) for alone, _, name in rows if alone.strip().isdigit()}
