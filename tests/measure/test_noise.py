"""Noise: facts about the machine, and none where they can't be read."""

from pathlib import Path

import pytest

from pytest_edgeai.measure import noise
from pytest_edgeai.measure.noise import Noise


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root folder for what the system says."""
    monkeypatch.setattr(noise, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(noise, "_SYS", tmp_path / "sys")
    monkeypatch.setattr(noise.os, "sysconf", lambda _: 100)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def says(machine: Path, steal: int, waited: int) -> None:
    """What ``/proc`` says."""
    write(machine / "proc/stat", f"cpu  100 1 50 9000 7 0 3 {steal} 0 0\ncpu0 1 2 3\n")
    pressure = f"some avg10=1.5 avg60=2.0 avg300=0.1 total={waited}\nfull avg10=0 total=1\n"
    write(machine / "proc/pressure/cpu", pressure)


def test_facts_are_what_happened_meanwhile(machine: Path) -> None:
    says(machine, steal=500, waited=1_000_000)
    found = Noise()
    says(machine, steal=750, waited=3_500_000)

    facts = found.since()

    assert facts["steal_s"] == pytest.approx(2.5)
    assert facts["cpu_pressure_s"] == pytest.approx(2.5)
    assert facts["load_1m"] >= 0
    assert facts["wall_s"] > 0
    assert facts["cores"] >= 1


def test_what_cannot_be_read_is_absent(machine: Path) -> None:
    facts = Noise().since()

    assert set(facts) == {"wall_s", "cores", "load_1m"}


GROUPS = {
    "version 2": ("0::/box\n", "cgroup/box/cpu.stat", "usage_usec 5\nnr_throttled {}\nthrottled_usec {}000\n"),
    "version 2 in a container": ("0::/box\n", "cgroup/cpu.stat", "nr_throttled {}\nthrottled_usec {}000\n"),
    "version 1": (
        "4:cpu,cpuacct:/box\n1:name=systemd:/\n",
        "cgroup/cpu,cpuacct/box/cpu.stat",
        "nr_periods 9\nnr_throttled {}\nthrottled_time {}000000\n",
    ),
}


@pytest.mark.parametrize("group", GROUPS)
def test_throttling_by_the_limit_of_a_container_is_counted(machine: Path, group: str) -> None:
    own, place, text = GROUPS[group]
    write(machine / "proc/self/cgroup", own)
    write(machine / "sys/fs" / place, text.format(3, 100))
    found = Noise()
    write(machine / "sys/fs" / place, text.format(8, 2600))

    facts = found.since()

    assert (facts["throttled_periods"], facts["throttled_s"]) == (5, pytest.approx(2.5))


def test_frequencies_and_heat_are_of_all_cores(machine: Path) -> None:
    cpu = machine / "sys/devices/system/cpu"
    for core, kilohertz in enumerate((800_000, 1_200_000, 3_000_000)):
        write(cpu / f"cpu{core}/cpufreq/scaling_cur_freq", f"{kilohertz}\n")
        write(cpu / f"cpu{core}/cpufreq/cpuinfo_max_freq", "4000000\n")
        write(cpu / f"cpu{core}/thermal_throttle/core_throttle_count", "7\n")
    found = Noise()
    write(cpu / "cpu1/thermal_throttle/core_throttle_count", "9\n")

    facts = found.since()

    assert (facts["mhz_least"], facts["mhz_median"], facts["mhz_most"]) == (800, 1200, 4000)
    assert facts["thermal_throttles"] == 2
