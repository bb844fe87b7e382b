"""What the fault tests share: a folder for temporary files that is a test's own, and who lives in it."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

# As in the tests' own conftest: extension modules can't be loaded again once pytester has forgotten them.
import scipy.special
import scipy.stats  # noqa: F401


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's pytest processes and workers keep temporary files, the host's lock included."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def alive(temporary: Path) -> Callable[[], list[psutil.Process]]:
    """The worker processes of this test that live; they are known by the folder for temporary files that they have in this test's."""

    def find() -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get("TMPDIR", "").startswith(f"{temporary}/")
                if ours and "pytest_edgeai.measure" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:  # it ended meanwhile, or is not ours to look at
                continue
        return found

    return find
