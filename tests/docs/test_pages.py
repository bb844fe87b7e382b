"""Every code block of the README and the manual does what the page says."""

import shutil
from pathlib import Path

import models
import pytest

# Loaded once: numpy's C modules, which scipy imports, refuse to be loaded again by the next run in this process.
import scipy.special  # noqa: F401

from pytest_edgeai.device import detect
from tests.docs import pages


@pytest.fixture(scope="session")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that is large enough for int8 to shrink its file, and with its items."""
    folder = tmp_path_factory.mktemp("detector")
    model = models.convolutional(folder / "detector.onnx", channels=48, seed=32)
    models.items(folder / "eval.npz", model, count=1600)
    return folder


@pytest.fixture
def shell(
    pytester: pytest.Pytester, detector: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> pages.Shell:
    """A folder with a model and its items, as readers have them, and a cache that all pages share."""
    shutil.copytree(detector, pytester.path, dirs_exist_ok=True)
    for example in (pages.ROOT / "docs" / "examples").iterdir():
        monkeypatch.syspath_prepend(example)
    (pytester.path / "chat").mkdir()  # a language model, of which only that it is there is asked
    monkeypatch.chdir(pytester.path)
    monkeypatch.setenv("COLUMNS", "100")
    # What a page does not choose itself: one recipe that is built and measured within seconds.
    monkeypatch.setenv(
        "PYTEST_ADDOPTS",
        f"-p no:cacheprovider --edge-cache={shared_cache} --edge-target=cross --edge-recipe=onnxruntime-* --edge-budget=6",
    )
    return pages.Shell(pytester, detect())


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: str(page.relative_to(pages.ROOT)))
def test_the_blocks_of_a_page_are_true(page: Path, shell: pages.Shell):
    for block in pages.blocks(page):
        shell.do(block)
