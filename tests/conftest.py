"""What the tests share: small real models with data, and a pytest to run the plugin in."""

from dataclasses import dataclass
from pathlib import Path

import models
import pytest

# pytester forgets the modules that a run inside this process imported, but their packages keep them as attributes: imported here,
# they are the same in every run.
import pytest_edgeai.judge.quantities
import pytest_edgeai.pipeline
import pytest_edgeai.plugin.outcomes
import pytest_edgeai.registry
import pytest_edgeai.report.terminal
import pytest_edgeai.results
import pytest_edgeai.sampling

pytest_edgeai.registry.find()

pytest_plugins = ["pytester"]


@dataclass(frozen=True)
class Sample:
    """A small model with its items."""

    model: Path
    dataset: Path

    @property
    def marker(self) -> str:
        """The line that declares it in a test module."""
        return f"pytestmark = pytest.mark.edge_model({str(self.model)!r}, dataset={str(self.dataset)!r})"


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """A convolutional model of some 10 k parameters, right on 90 % of its 400 items, which are of two classes."""
    folder = tmp_path_factory.mktemp("sample")
    model = models.convolutional(folder / "small.onnx", seed=4)
    return Sample(model, models.items(folder / "small.npz", model))


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that keeps variants between tests, so that each is built once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def edge(
    pytester: pytest.Pytester, sample: Sample, shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> "EdgePytest":
    """Runs pytest with the plugin on the sample model, in a folder of its own."""
    # Workers and pytest processes of their own must find the fake engine, too.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    return EdgePytest(pytester, sample, shared_cache)


class EdgePytest:
    """One-call harness: ``edge.run(source, "--edge-recipe=...")``."""

    def __init__(self, pytester: pytest.Pytester, sample: Sample, cache: Path) -> None:
        self.pytester, self.sample, self.cache = pytester, sample, cache
        self.report = pytester.path / "report"

    def write(self, source: str, *, fake: bool = False) -> None:
        """A test module that declares the sample model; with ``fake``, a conftest that registers the fake engine."""
        self.pytester.makepyfile(test_edge=f"import pytest\n{self.sample.marker}\n\n{source}")
        if fake:
            self.pytester.makeconftest("def pytest_edge_plugins(config):\n    return ['fake_engine']\n")

    def run(self, *arguments: str, subprocess: bool = False) -> pytest.RunResult:
        """Run what was written, for the target ``cross``, which every device is of.

        With a small budget: tests run side by side, and what waits for free cores waits as long as its budget.
        """
        runs = self.pytester.runpytest_subprocess if subprocess else self.pytester.runpytest_inprocess
        return runs(
            "--edge-target=cross",
            "--edge-budget=4",
            f"--edge-cache={self.cache}",
            f"--edge-report={self.report}",
            "-p",
            "no:cacheprovider",
            *arguments,
        )
