"""Noise: facts about the machine, and none where they can't be read."""

from pathlib import Path

import pytest

from pytest_edgeai.measure import noise
from pytest_edgeai.measure.noise import Noise


def machine(folder: Path, steal: int, waited: int) -> None:
    """What ``/proc`` says."""
    (folder / "pressure").mkdir(exist_ok=True)
    (folder / "stat").write_text(f"cpu  100 1 50 9000 7 0 3 {steal} 0 0\ncpu0 1 2 3\n")
    (folder / "pressure" / "cpu").write_text(
        f"some avg10=1.5 avg60=2.0 avg300=0.1 total={waited}\nfull avg10=0 total=1\n"
    )


def test_facts_are_what_happened_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "_PROC", tmp_path)
    monkeypatch.setattr(noise.os, "sysconf", lambda _: 100)
    machine(tmp_path, steal=500, waited=1_000_000)
    found = Noise()
    machine(tmp_path, steal=750, waited=3_500_000)

    facts = found.since()

    assert facts["steal_s"] == pytest.approx(2.5)
    assert facts["cpu_pressure_s"] == pytest.approx(2.5)
    assert facts["load_1m"] >= 0


def test_what_cannot_be_read_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "_PROC", tmp_path)

    facts = Noise().since()

    assert set(facts) == {"load_1m"}
