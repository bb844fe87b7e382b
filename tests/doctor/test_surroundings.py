"""Surroundings: what measuring depends on, and what is said when it is not there."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from pytest_edgeai.doctor import surroundings
from pytest_edgeai.doctor.surroundings import Check
from pytest_edgeai.records import Device

DEVICE = Device(
    name="a-device", system="linux", architecture="x86_64", vendor="intel", cpu="A CPU",
    features=("avx2",), cores=1, memory_bytes=8_000_000_000,
)  # fmt: skip


def look(cache: Path) -> dict[str, Check]:
    return {check.name: check for check in surroundings.look(DEVICE, cache, lambda text: None)}


def of_device(**environment: str) -> dict[str, Check]:
    device = msgspec.structs.replace(DEVICE, environment=environment)
    return {check.name: check for check in surroundings.of_device(device)}


def test_everything_is_looked_at_on_any_machine(tmp_path):
    found = look(tmp_path / "cache")

    assert set(found) == {"connectivity", "noise", "cache", "host lock", "offline runs", "clock", "pytest plugin"}
    assert found["clock"].state == "ok"
    assert found["offline runs"].state != "problem"
    assert found["noise"].text.startswith("the 1 cores were free in")


@pytest.mark.parametrize(
    ("fact", "value", "state", "text"),
    [
        ("governor", "performance", "ok", "performance"),
        ("governor", "powersave", "note", "the clock follows the load"),
        ("virtualisation", "KVM", "note", "neighbours"),
        ("power", "battery", "note", "on battery"),
        ("thermal_sensors", "yes", "ok", "readable"),
        ("thermal_sensors", "no", "note", "none that can be read"),
        ("rapl", "yes", "ok", "readable"),
        ("rapl", "no", "note", "energy is UNSUPPORTED here"),
        ("rapl", "not readable", "note", "not for this user"),
        ("isa", "not readable", "note", "can't be read"),
    ],
)
def test_a_fact_of_the_device_becomes_a_check(fact, value, state, text):
    names = {"thermal_sensors": "thermal", "rapl": "energy", "isa": "instructions"}

    check = of_device(**{fact: value})[names.get(fact, fact)]

    assert check.state == state
    assert text in check.text


def test_a_machine_that_is_not_virtual_has_no_check_for_it():
    assert "virtualisation" not in of_device(virtualisation="none")


def test_the_cache_is_weighed(tmp_path):
    entry = tmp_path / "variants/ab/abcd"
    entry.mkdir(parents=True)
    (entry / "model.onnx").write_bytes(b"x" * 2500)

    check = look(tmp_path)["cache"]

    assert (check.state, check.text) == ("ok", f"{tmp_path} is writable; 1 variant, 2.5 kB")


def test_a_cache_that_can_not_be_written_is_a_problem_with_its_remedy(tmp_path):
    (tmp_path / "file").touch()

    check = look(tmp_path / "file" / "cache")["cache"]

    assert check.state == "problem"
    assert "can't be written" in check.text
    assert "--edge-cache" in check.mend


def test_a_lock_that_another_process_holds_is_told_and_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    program = (
        "from pytest_edgeai.measure.hostlock import HostLock\n"
        "from pytest_edgeai.progress import Progress\n"
        "with HostLock(Progress(print).working).measuring():\n    print('held', flush=True)\n    input()\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as holder:
        held = holder.stdout.readline()
        taken = surroundings.of_lock(lambda text: None)
        holder.communicate("\n")
    free = surroundings.of_lock(lambda text: None)

    assert held == "held\n"
    assert (taken.state, free.state) == ("note", "ok")
    assert "being built or measured right now" in taken.text


def test_a_lock_that_can_not_be_used_is_a_problem_with_its_remedy(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    check = surroundings.of_lock(lambda text: None)

    assert check.state == "problem"
    assert "TMPDIR" in check.mend


def entry(name: str, value: str) -> importlib.metadata.EntryPoint:
    return importlib.metadata.EntryPoint(name=name, value=value, group="pytest11")


OURS = entry("edgeai", "pytest_edgeai.plugin")


@pytest.mark.parametrize(
    ("entries", "environment", "state", "text"),
    [
        ([OURS], {}, "ok", "found by pytest"),
        ([OURS, entry("cov", "pytest_cov.plugin")], {}, "ok", ", beside cov"),
        ([], {}, "problem", "not installed in this environment"),
        (
            [entry("edgeai", "other.plugin")],
            {},
            "problem",
            "another distribution has a plugin named 'edgeai' (other.plugin)",
        ),
        ([OURS], {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, "note", "PYTEST_DISABLE_PLUGIN_AUTOLOAD is set"),
        ([OURS], {"PYTEST_ADDOPTS": "-q -p no:edgeai"}, "note", "-p no:edgeai"),
    ],
)
def test_pytest_must_find_the_plugin(entries, environment, state, text):
    check = surroundings.of_plugins(entries, environment)

    assert check.state == state
    assert text in check.text
    assert bool(check.mend) == (state != "ok")


def test_what_works_needs_no_mending(tmp_path):
    found = [*look(tmp_path).values(), *of_device(governor="performance", rapl="yes").values()]

    assert [check.name for check in found if check.state == "ok" and check.mend] == []
