"""What the tests of the plugin share: the results of a run, and what a run told of one test."""

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import optuna
import pytest

# Loaded once: numpy's C modules, which scipy imports, refuse to be loaded again by the next run in this process.
import scipy.special  # noqa: F401

from pytest_edgeai.measure import quiet
from pytest_edgeai.records import GateResult, Outcome, Results

# And those of SQLAlchemy, all of which a storage loads.
optuna.storages.RDBStorage("sqlite://").remove_session()


@pytest.fixture(autouse=True)
def free_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests run beside these: the kernel shall not say so, then the cores are believed to be free and nothing waits for them."""
    monkeypatch.setattr(quiet, "_PROC", tmp_path)


@pytest.fixture
def results(edge) -> Callable[[], Results]:
    """Reads the ``results.json`` of the run before."""
    return lambda: msgspec.json.decode((edge.report / "results.json").read_bytes(), type=Results)


@pytest.fixture
def gates(results) -> Callable[[str], list[tuple[str, Outcome]]]:
    """Reads (claim, outcome) of the gates of one test function, or of all."""

    def read(test: str = "") -> list[tuple[str, Outcome]]:
        return [(gate.verdict.claim, gate.verdict.outcome) for gate in results().gates if _is_of(gate, test)]

    return read


@pytest.fixture
def told() -> Callable[[pytest.RunResult, str], str]:
    """Cuts what the output tells of one failed test: the lines between its title and the next one."""

    def cut(result: pytest.RunResult, test: str) -> str:
        title = re.compile(rf"^_+ (ERROR at setup of )?{test}(\[.*\])? _+$")
        starts = [number for number, line in enumerate(result.outlines) if title.match(line)]
        assert len(starts) == 1, f"{len(starts)} failures of {test}"
        after = result.outlines[starts[0] + 1 :]
        end = next(number for number, line in enumerate(after) if re.match(r"^(_+ .* _+|=+ .* =+)$", line))
        return "\n".join(after[:end])

    return cut


def _is_of(gate: GateResult, test: str) -> bool:
    return not test or gate.test.partition("::")[2].partition("[")[0] == test
