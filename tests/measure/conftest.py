"""What the tests of measuring share: plugin modules written on the spot, variants of the fake engine, and whether a process is gone."""

import itertools
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from pytest_edgeai import arrays, registry
from pytest_edgeai.measure.bench import Setup
from pytest_edgeai.records import Recipe, Variant

_NUMBER = itertools.count()


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a plugin module onto this process' import path; its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(source: str) -> str:
        name = f"odd_plugin_{next(_NUMBER)}"
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return write


@pytest.fixture
def workers() -> Callable[[], list[psutil.Process]]:
    """The worker processes that this process has."""

    def find() -> list[psutil.Process]:
        return [child for child in psutil.Process().children() if "pytest_edgeai.measure" in child.cmdline()]

    return find


@pytest.fixture
def gone() -> Callable[[int], bool]:
    """Whether a process ends, now or soon; one that nobody reaps counts as ended."""

    def wait(pid: int) -> bool:
        guard = time.monotonic() + 30
        while time.monotonic() < guard:
            try:
                if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                    return True
            except psutil.NoSuchProcess:
                return True
            time.sleep(0.02)
        return False

    return wait


@pytest.fixture(scope="session")
def fake(sample: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Variant]:
    """A variant of the fake engine that behaves as that method says; it lies there as if it had been built."""
    folder = tmp_path_factory.mktemp("artifact")
    shutil.copy(sample.model, folder / "model.onnx")

    def make(method: str) -> Variant:
        recipe = Recipe(framework="fake", precision="fp32", method=method)
        return Variant(
            recipe=recipe,
            model_digest="",
            key=method,
            folder=str(folder),
            files={},
            bytes=0,
            versions={},
            build_seconds=0,
        )

    return make


@pytest.fixture(scope="session")
def setup(sample: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """What benches of the fake engine share: its plugin module, and sixteen items."""
    with np.load(sample.dataset) as file:
        inputs = tmp_path_factory.mktemp("items") / "timed.npz"
        arrays.write(inputs, {"image": file["image"][:16, np.newaxis]})
    return Setup(modules=registry.find(["fake_engine"]).modules, threads=2, inputs=inputs)
