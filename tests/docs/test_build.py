"""The manual is built without a warning, and what it and the README list is what there is."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_edgeai import plugin, registry
from pytest_edgeai.judge.quantities import units
from pytest_edgeai.protocols import Framework
from pytest_edgeai.records import Recipe, Target
from pytest_edgeai.settings import Settings, flag

ROOT = Path(__file__).parents[2]
CROSS = Target(name="cross", title="Any", frameworks=())


@pytest.fixture(scope="module")
def manual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built manual."""
    for needed in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(needed)
    folder = tmp_path_factory.mktemp("manual")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", folder / "doctrees"]
    done = subprocess.run([*command, ROOT / "docs", folder / "html"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "html"


def _of_language(engine: Framework) -> list[Recipe]:
    kinds = ("huggingface", "gguf")
    baselines = [recipe for kind in kinds if (recipe := engine.baseline(kind))]
    return [*baselines, *(recipe for kind in kinds for recipe in engine.catalogue(CROSS, kind))]


def test_the_reference_lists_every_option_fixture_marker_quantity_and_target(manual):
    found = registry.find()
    wanted = {
        "options": [flag(field.name) for field in dataclasses.fields(Settings)],
        "test-api": [name for name in plugin.__all__ if name[0] != "_"] + [m.partition("(")[0] for m in plugin.MARKERS],
        "quantities": list(units(found.metrics.values())),
        "targets": list(found.targets),
        "language-recipes": [recipe.name for engine in found.frameworks.values() for recipe in _of_language(engine)],
    }

    told = {page: re.sub(r"<[^>]+>", "", _page(manual, page)) for page in wanted}

    assert [f"{page}: {name}" for page, names in wanted.items() for name in names if name not in told[page]] == []


def test_the_readme_names_all_targets_fixtures_and_markers():
    rows = dict(
        re.findall(r"^\| (Targets|Fixtures|Markers) \| (.*) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    )

    named = {row: sorted(set(re.findall(r"`([\w-]+)`", text))) for row, text in rows.items()}

    assert named == {
        "Targets": sorted([*registry.find().targets, "auto"]),
        "Fixtures": sorted(name for name in plugin.__all__ if name[0] != "_"),
        "Markers": sorted(marker.partition("(")[0] for marker in plugin.MARKERS),
    }


def _page(manual: Path, name: str) -> str:
    return (manual / "reference" / f"{name}.html").read_text(encoding="utf-8")
