"""Sampling what is one number a process: how many processes, in which order, and what busy cores or idle pages do to a verdict."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import heavy_engine
import numpy as np
import pytest

from pytest_edgeai import arrays, registry
from pytest_edgeai.errors import UnsupportedError
from pytest_edgeai.judge.claims import Claim
from pytest_edgeai.judge.finding import Finding
from pytest_edgeai.judge.quantities import units
from pytest_edgeai.judge.rules import Rules
from pytest_edgeai.measure import quiet
from pytest_edgeai.measure.bench import Setup
from pytest_edgeai.metrics.memory import Memory
from pytest_edgeai.records import Measurement, Outcome, Recipe, Variant
from pytest_edgeai.sampling import Sampling
from pytest_edgeai.units import GB, MB

PASS, FAIL, INCONCLUSIVE, *_ = Outcome
RULES = Rules(budget=0.05, pairs=1, alpha=0.5)
"""One process is enough for such an error rate, and two for each of two draws."""

PREFIX = "heavy-fp32-"

needs_memory = pytest.mark.skipif(Memory().unsupported() is not None, reason="memory can't be read here")


@pytest.fixture(autouse=True)
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many tasks the kernel says are running, this one included: one, until a test says more."""
    proc = tmp_path / "proc"
    proc.mkdir()
    monkeypatch.setattr(quiet, "_PROC", proc)
    monkeypatch.setattr(quiet, "_cores", lambda: set(range(os.cpu_count() or 1)))

    def write(tasks: int) -> None:
        (proc / "loadavg").write_text(f"0.52 0.58 0.59 {tasks}/1184 4242\n")

    write(1)
    return write


class Sampled:
    """Sampling of the heavy engine's variants, and what it noted."""

    def __init__(self, folder: Path, *plugins: str) -> None:
        self.measurements: list[Measurement] = []
        arrays.write(folder / "items.npz", {"x": np.zeros((4, 1, 1), np.float32)})
        found = registry.find(["heavy_engine", *plugins])
        setup = Setup(modules=found.modules, threads=1, inputs=folder / "items.npz")
        self._folder = folder
        self._sampling = Sampling(
            registry=found,
            units=units(found.metrics.values()),
            setup=setup,
            variant=self._variant,
            seed=lambda: 5,
            note=self._note,
            note_figure=lambda *_: None,
        )

    def find(self, subject: str, quantity: str, operator: str, limit: float, other: str = "", **rules: Any) -> Finding:
        unit = "ratio" if other else self._sampling.units[quantity]
        claim = Claim(f"{PREFIX}{subject}", quantity, operator, limit, f"{PREFIX}{other}" if other else None, unit=unit)
        return self._sampling.find(claim, "", dataclasses.replace(RULES, **rules))

    def _variant(self, name: str) -> Variant:
        recipe = Recipe(framework="heavy", precision="fp32", method=name.removeprefix(PREFIX))
        folder = self._folder / name
        if not folder.exists():
            folder.mkdir()
            heavy_engine.Heavy().build(recipe, folder, folder, ())
        known = {"recipe": recipe, "model_digest": "", "key": name, "folder": str(folder)}
        return Variant(**known, files={}, bytes=0, versions={}, build_seconds=0)

    def _note(self, kind: str, fact: Any) -> None:
        assert kind == "measurement"
        self.measurements.append(fact)


@pytest.fixture
def sampled(tmp_path: Path) -> Sampled:
    return Sampled(tmp_path)


@needs_memory
def test_a_fail_takes_as_many_processes_as_the_gates_of_the_run_need_and_a_pass_fewer(sampled: Sampled) -> None:
    passed = sampled.find("copied_20", "memory.footprint", "<=", 30 * MB, share=0.25)
    failed = sampled.find("copied_20", "memory.footprint", "<=", 10 * MB, share=0.25)

    assert (passed.outcome, passed.spent) == (PASS, "1 processes")
    assert (failed.outcome, failed.spent) == (FAIL, "3 processes")
    assert [one.processes for one in sampled.measurements] == [1, 2]


@needs_memory
def test_what_reddens_the_opposite_of_a_claim_takes_as_many(sampled: Sampled) -> None:
    claimed = sampled.find("copied_20", "memory.footprint", ">=", 10 * MB, share=0.25)
    opposite = sampled.find("copied_20", "memory.footprint", ">=", 10 * MB, share=0.25, turned=True)

    assert (claimed.outcome, claimed.spent) == (PASS, "1 processes")
    assert (opposite.outcome, opposite.spent) == (PASS, "3 processes")


@needs_memory
@pytest.mark.parametrize(("limit", "outcome"), [(2.1, PASS), (1.5, INCONCLUSIVE), (0.9, FAIL)])
def test_a_mapped_file_that_calls_leave_alone_is_compared_with_a_copy_both_ways(
    sampled: Sampled, limit: float, outcome: Outcome
) -> None:
    found = sampled.find("repacked_20", "memory.footprint", "<=", limit, other="copied_20")

    assert found.outcome is outcome
    assert (found.low, found.high) == pytest.approx((1, 2), rel=0.02)
    assert [" with memory.inactive and " in note for note in found.notes] == [True] * (outcome is INCONCLUSIVE)


@needs_memory
def test_memory_that_cannot_be_told_of_one_variant_leaves_its_other_quantities_alone(sampled: Sampled) -> None:
    with pytest.raises(UnsupportedError, match=r"memory.peak can't be read here: a process .* has ended"):
        sampled.find("ended_20", "memory.peak", "<=", 1 * GB)

    assert sampled.find("ended_20", "cold_start", "<=", 60).outcome is PASS
    assert sampled.find("copied_20", "memory.peak", "<=", 1 * GB).outcome is PASS


def test_a_start_that_is_too_slow_while_the_cores_are_free_fails(sampled: Sampled) -> None:
    found = sampled.find("copied_1", "cold_start", "<=", 1e-6)

    assert (found.outcome, found.spent) == (FAIL, "2 processes")
    assert [one.noise["busy_starts"] for one in sampled.measurements] == [0]


def test_a_start_that_is_too_slow_while_the_cores_never_get_free_is_inconclusive(
    sampled: Sampled, running: Callable[[int], None]
) -> None:
    running(99)

    found = sampled.find("copied_1", "cold_start", "<=", 1e-6)

    assert found.outcome is INCONCLUSIVE
    assert found.notes == [
        "other programs kept running on the cores when 2 processes began, which makes them slower: run it on a quieter machine"
    ]
    assert [one.noise["busy_starts"] for one in sampled.measurements] == [2, 2]
    assert sampled.measurements[1].noise["waited_s"] >= RULES.budget


def test_a_start_that_is_fast_enough_on_busy_cores_passes_without_waiting(
    sampled: Sampled, running: Callable[[int], None]
) -> None:
    running(99)

    found = sampled.find("copied_1", "cold_start", "<=", 60)

    assert found.outcome is PASS
    assert sum(one.noise["waited_s"] for one in sampled.measurements) < RULES.budget


def test_starts_are_compared_in_turns_whose_order_is_drawn(sampled: Sampled) -> None:
    found = sampled.find("copied_1", "cold_start", "<=", 100, other="in_pieces_1")

    first, second = (one.samples["place"] for one in sampled.measurements)
    assert (found.outcome, found.spent) == (PASS, "2 processes of each")
    assert [sorted(both) for both in zip(first, second, strict=True)] == [[0, 1], [0, 1]]


SENSORS = """
from pathlib import Path
from pytest_edgeai import hookimpl

class Sensor:
    def __init__(self, name, per):
        self.name, self.units, self.per = name, {name: ""}, per

    def unsupported(self):
        return None

    def note(self, what):
        with Path(PATH).open("a") as file:
            print(self.name, what, file=file)

    def arm(self):
        self.note("armed")

    def read(self, calls):
        self.note(f"read after {calls}")
        return {self.name: 1.0}

class Settler(Sensor):
    def settle(self):
        self.note("settled")

@hookimpl
def edge_metrics():
    return [Sensor("beginning", "start"), Settler("whole", "process")]
"""


def test_sensors_of_the_start_are_armed_last_and_read_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "noting_sensors.py").write_text(SENSORS.replace("PATH", repr(str(tmp_path / "notes"))))
    monkeypatch.syspath_prepend(tmp_path)
    sampled = Sampled(tmp_path, "noting_sensors")

    sampled.find("copied_1", "whole", "<=", 1)

    assert (tmp_path / "notes").read_text().splitlines() == [
        "whole armed",
        "beginning armed",
        "beginning read after 1",
        "whole settled",
        "whole read after 5",
    ]
