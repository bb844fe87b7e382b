"""Surroundings: what measuring depends on, beside the frameworks; each thing is looked at, and nothing is changed."""

import importlib.metadata
import itertools
import os
import re
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

from pytest_edgeai import build as building
from pytest_edgeai.errors import EdgeError
from pytest_edgeai.measure.bench import START_TIMEOUT
from pytest_edgeai.measure.hostlock import HostLock
from pytest_edgeai.measure.noise import Noise
from pytest_edgeai.measure.process import Worker
from pytest_edgeai.measure.quiet import Quiet
from pytest_edgeai.progress import Progress
from pytest_edgeai.records import Device, Record
from pytest_edgeai.units import show

_LOOKS, _PAUSE = 40, 0.02
"""How often the cores are looked at, and the seconds between two looks."""
_FREE: Final = 0.9
"""Share of the looks that find the cores free on a machine that is quiet enough."""


class Check(Record, frozen=True, kw_only=True):
    """One thing that measuring depends on."""

    name: str
    state: Literal["ok", "note", "problem"]
    """``note``: it works, but takes something away; ``problem``: it does not work."""
    text: str
    mend: str = ""


def look(device: Device, cache: Path | None, say: Callable[[str], None]) -> list[Check]:
    """Everything, in some two seconds. ``cache``: the folder that variants are kept in, if any."""
    return [
        *of_device(device),
        _of_noise(device.cores),
        _of_cache(cache),
        of_lock(say),
        _of_isolation(),
        _of_clock(),
        of_plugins(importlib.metadata.entry_points(group="pytest11"), os.environ),
    ]


def of_device(device: Device) -> Iterator[Check]:
    """What was detected of the device, and its network."""
    facts = device.environment
    if facts.get("isa") == "not readable":
        yield Check(
            name="instructions",
            state="note",
            text="the CPU's instruction set can't be read: nothing is known of VNNI and the like",
        )
    governor = facts.get("governor", "")
    if governor:
        steady = governor == "performance"
        yield Check(
            name="governor",
            state="ok" if steady else "note",
            text=governor if steady else f"{governor}: the clock follows the load, and latency with it",
            mend="" if steady else "cpupower frequency-set -g performance",
        )
    virtual = facts.get("virtualisation", "")
    if virtual and virtual != "none":
        text = "a virtual machine: neighbours on the same hardware show up as noise, and frequency can't be steered"
        yield Check(name="virtualisation", state="note", text=text)
    if facts.get("power") == "battery":
        yield Check(name="power", state="note", text="on battery: the CPU may be slowed down", mend="plug it in")
    if "thermal_sensors" in facts:
        there = facts["thermal_sensors"] == "yes"
        text = (
            "readable" if there else "none that can be read: throttling shows only in the constant work between calls"
        )
        yield Check(name="thermal", state="ok" if there else "note", text=text)
    if "rapl" in facts:
        text = {
            "yes": "readable",
            "no": "there are no counters: energy is UNSUPPORTED here",
            "not readable": "there are counters, but not for this user: energy is UNSUPPORTED here",
        }[facts["rapl"]]
        how = "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj (until the next start)"
        yield Check(
            name="energy",
            state="ok" if facts["rapl"] == "yes" else "note",
            text=text,
            mend=how if facts["rapl"] == "not readable" else "",
        )
    yield _of_network()


def _of_network() -> Check:
    import psutil

    up = sorted(
        name for name, one in psutil.net_if_stats().items() if one.isup and "loopback" not in one.flags.split(",")
    )
    text = (
        f"interfaces that are up: {', '.join(up)}"
        if up
        else "no interface is up but the loopback: this device is offline"
    )
    return Check(name="connectivity", state="ok", text=text)


def _of_noise(cores: int) -> Check:
    noise, quiet, free = Noise(), Quiet(cores, 0), 0
    for _ in range(_LOOKS):
        free += quiet.free()
        time.sleep(_PAUSE)
    facts = noise.since()
    told = [f"the {cores} cores were free in {free} of {_LOOKS} looks"]
    told += [f"load {facts['load_1m']:.1f}"] if "load_1m" in facts else []
    told += [f"{show(facts['steal_s'], 's')} taken by the hypervisor"] if facts.get("steal_s") else []
    calm = free >= _FREE * _LOOKS
    return Check(
        name="noise",
        state="ok" if calm else "note",
        text=", ".join(told),
        mend="" if calm else "end what else runs before you measure; gates near their limits will be INCONCLUSIVE",
    )


def _of_cache(root: Path | None) -> Check:
    if root is None:
        text, mend = "this user has no home folder, so variants are kept for one run only", "name one with --edge-cache"
        return Check(name="cache", state="problem", text=text, mend=mend)
    told: list[str] = []
    with tempfile.TemporaryDirectory(prefix="pytest-edgeai-") as fallback:
        writable = building.Cache(root, told.append, Path(fallback)).root == root
    if not writable:
        return Check(
            name="cache", state="problem", text="; ".join(told), mend="choose another folder with --edge-cache"
        )
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    variants = len(list(root.glob("variants/*/*")))
    return Check(
        name="cache",
        state="ok",
        text=f"{root} is writable; {variants} variant{'s' * (variants != 1)}, {show(size, 'bytes')}",
    )


def of_lock(say: Callable[[str], None]) -> Check:
    """Whether the host's lock can be used, and whether somebody holds it; it is not waited for."""
    try:
        idle = HostLock(Progress(say).working).idle()
    except (EdgeError, OSError, sqlite3.Error) as error:
        how = "set TMPDIR to a folder on a local disk that you may write"
        return Check(name="host lock", state="problem", text=f"it can't be used: {error}", mend=how)
    text = "usable" if idle else "usable; something on this machine is being built or measured right now"
    return Check(name="host lock", state="ok" if idle else "note", text=text)


def _of_isolation() -> Check:
    name = "offline runs"
    if sys.platform != "linux":
        return Check(
            name=name,
            state="note",
            text="network namespaces are Linux's: an offline target's variant is not run without a network",
        )
    try:
        with Worker("a worker without a network", offline=True) as worker:
            reason = worker.ask("open", phase="start", timeout=START_TIMEOUT, modules=[])["networked"]
    except EdgeError as error:
        return Check(name=name, state="problem", text=str(error))
    if reason is None:
        return Check(name=name, state="ok", text="a network namespace can be made")
    return Check(
        name=name,
        state="note",
        text=reason,
        mend="allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, or the container's --security-opt)",
    )


def _of_clock() -> Check:
    told = time.get_clock_info("perf_counter").resolution
    reads = [time.perf_counter_ns() for _ in range(10_000)]
    steps = [later - earlier for earlier, later in itertools.pairwise(reads) if later > earlier]
    step = min(steps, default=0) * 1e-9
    fine = 0 < step <= 1e-6
    return Check(
        name="clock",
        state="ok" if fine else "note",
        text=f"resolution {show(told, 's')}, smallest step seen {show(step, 's') if step else 'none'}",
        mend="" if fine else "calls of a few microseconds are not told apart on this machine",
    )


def of_plugins(entries: Iterable[importlib.metadata.EntryPoint], environment: Mapping[str, str]) -> Check:
    """Whether pytest finds our plugin. ``entries``: of the group ``pytest11``."""
    ours, name = "pytest_edgeai.plugin", "pytest plugin"
    named = {entry.name: entry.value for entry in entries}
    version = importlib.metadata.version("pytest")
    if named.get("edgeai") not in (None, ours):
        text = f"another distribution has a plugin named 'edgeai' ({named['edgeai']}), which pytest may load instead of ours"
        return Check(name=name, state="problem", text=text, mend="uninstall it, or run pytest -p pytest_edgeai.plugin")
    if "edgeai" not in named:
        text = "pytest doesn't find it: pytest-edgeai is not installed in this environment"
        return Check(
            name=name,
            state="problem",
            text=text,
            mend="pip install pytest-edgeai, or run pytest -p pytest_edgeai.plugin",
        )
    if environment.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD"):
        text = "PYTEST_DISABLE_PLUGIN_AUTOLOAD is set, so pytest loads no plugin by itself"
        return Check(name=name, state="note", text=text, mend="run pytest -p pytest_edgeai.plugin")
    if re.search(r"-p[ =]?no:edgeai\b", environment.get("PYTEST_ADDOPTS", "")):
        return Check(
            name=name, state="note", text="PYTEST_ADDOPTS turns it off (-p no:edgeai)", mend="unset PYTEST_ADDOPTS"
        )
    others = sorted(set(named) - {"edgeai"})
    return Check(
        name=name, state="ok", text=f"found by pytest {version}" + (f", beside {', '.join(others)}" if others else "")
    )
