"""The pace: the best speed of the constant work is kept, and only what a steady machine shows counts for it."""

from pathlib import Path

import msgspec
import pytest

from pytest_edgeai import device
from pytest_edgeai.measure.pace import Pace, file_of

UNSTEADY = [1e-3, 2e-3] * 10


def canary(seconds: float) -> list[float]:
    """Steady runs."""
    return [seconds * (1 + 0.01 * (run % 3)) for run in range(21)]


def test_the_best_median_of_all_runs_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "paces" / "here"

    found = [Pace(path).facts(canary(seconds)) for seconds in (2e-3, 1e-3, 1.5e-3)]

    assert [facts["canary_best_s"] for facts in found] == pytest.approx([2.02e-3, 1.01e-3, 1.01e-3])
    assert found[2]["canary_median_s"] == pytest.approx(1.515e-3)
    assert [file.name for file in path.parent.iterdir()] == ["here"]


def test_what_an_unsteady_machine_shows_is_no_best(tmp_path: Path) -> None:
    path = tmp_path / "here"

    unsteady = Pace(path).facts(UNSTEADY)

    assert unsteady["canary_best_s"] == unsteady["canary_median_s"]
    assert unsteady["canary_rmad"] > 0.4
    assert Pace(path).facts(canary(5e-3))["canary_best_s"] == pytest.approx(5.05e-3)


def test_without_a_file_a_machine_is_at_its_best() -> None:
    assert Pace(None).facts(canary(1e-3))["canary_best_s"] == pytest.approx(1.01e-3)
    assert Pace(None).facts([]) == {}


def test_a_damaged_file_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "here").write_text("x")

    assert Pace(tmp_path / "here").facts(canary(1e-3))["canary_best_s"] == pytest.approx(1.01e-3)


def test_another_cpu_or_number_of_threads_has_a_pace_of_its_own(tmp_path: Path) -> None:
    here = device.detect()
    other = msgspec.structs.replace(here, cpu=f"{here.cpu} v2")

    files = {file_of(tmp_path, here, 1), file_of(tmp_path, here, 2), file_of(tmp_path, other, 1)}

    assert len(files) == 3
    assert file_of(tmp_path, here, 1) in files
