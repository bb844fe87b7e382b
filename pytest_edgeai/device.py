"""The device: the machine that this process runs on, as far as it can be read, and what it is to a target.

A fact that can't be read is absent, never guessed. No framework is imported: what the engines list is asked for elsewhere, in a
worker. Two seams let a test (or a description taken on another machine) stand in for the real one: ``root``, under which
``/proc``, ``/sys`` and ``/dev`` are read, and :class:`Host`, what the operating system answers when it is asked by call.
"""

import ctypes
import os
import platform
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final, Literal, TypeVar

from pytest_edgeai.records import Device, Hardware, Record, Target
from pytest_edgeai.units import show

Standing = Literal["native", "stand-in", "foreign"]
_Question = TypeVar("_Question")

FEATURES: Final[dict[str, tuple[str, ...]]] = {
    "x86_64": (
        "sse4_2",
        "avx",
        "avx2",
        "fma",
        "f16c",
        "avx512f",
        "avx512bw",
        "avx512vl",
        "avx512_vnni",  # int8 dot products, 512 bits
        "avx_vnni",  # the same, 256 bits, on CPUs without AVX-512
        "avx512_bf16",
        "avx512_fp16",
        "amx_tile",
        "amx_int8",
        "amx_bf16",
    ),
    "arm64": (
        "asimd",  # what Armv8 calls NEON
        "fphp",  # fp16 arithmetic, scalar
        "asimdhp",  # fp16 arithmetic, vectors
        "asimddp",  # int8 dot products ("dotprod")
        "i8mm",  # int8 matrix products
        "bf16",
        "sve",
        "sve2",
        "sme",
    ),
    "armv7": ("neon", "fphp", "asimdhp", "asimddp", "i8mm", "bf16"),
}
"""Architecture -> the instruction-set extensions that matter to inference, by the names that Linux shows in ``/proc/cpuinfo``
(the other systems' names are translated to these). What :attr:`Device.features` can hold."""

_ALIASES: Final = {
    "avx512vnni": "avx512_vnni",  # macOS, `sysctl machdep.cpu.leaf7_features`
    "asimdbf16": "bf16",  # Linux, 32-bit ARM
}

_ARCHITECTURES: Final = {
    "amd64": "x86_64",
    "aarch64": "arm64",
    "armv7l": "armv7",
    "armv8l": "armv7",  # a 64-bit CPU in a 32-bit process
    "i386": "x86",
    "i686": "x86",
}

_VENDORS: Final = {
    "genuineintel": "intel",
    "authenticamd": "amd",
    **{
        name: name
        for name in (
            "ampere",
            "apple",
            "arm",
            "broadcom",
            "cavium",
            "fujitsu",
            "hisilicon",
            "marvell",
            "nvidia",
            "qualcomm",
            "samsung",
        )
    },
}

# The cores of Arm Ltd (implementer 0x41) that run Linux or Android: ARM, "Main ID Register, PartNum"; also util-linux' `lscpu-arm.c`.
_ARM_PARTS: Final = {
    "0xc07": "Cortex-A7",
    "0xc08": "Cortex-A8",
    "0xc09": "Cortex-A9",
    "0xc0e": "Cortex-A17",
    "0xc0f": "Cortex-A15",
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd0d": "Cortex-A77",
    "0xd0e": "Cortex-A76AE",
    "0xd40": "Neoverse-V1",
    "0xd41": "Cortex-A78",
    "0xd42": "Cortex-A78AE",
    "0xd44": "Cortex-X1",
    "0xd46": "Cortex-A510",
    "0xd47": "Cortex-A710",
    "0xd48": "Cortex-X2",
    "0xd49": "Neoverse-N2",
    "0xd4a": "Neoverse-E1",
    "0xd4b": "Cortex-A78C",
    "0xd4c": "Cortex-X1C",
    "0xd4d": "Cortex-A715",
    "0xd4e": "Cortex-X3",
    "0xd4f": "Neoverse-V2",
    "0xd80": "Cortex-A520",
    "0xd81": "Cortex-A720",
    "0xd82": "Cortex-X4",
    "0xd84": "Neoverse-V3",
    "0xd85": "Cortex-X925",
    "0xd87": "Cortex-A725",
}

# https://developer.apple.com/documentation/kernel/1387446-sysctlbyname/determining_instruction_set_characteristics
_DARWIN_FEATURES: Final = {
    "hw.optional.AdvSIMD": ("asimd",),
    "hw.optional.arm.FEAT_FP16": ("fphp", "asimdhp"),
    "hw.optional.arm.FEAT_DotProd": ("asimddp",),
    "hw.optional.arm.FEAT_I8MM": ("i8mm",),
    "hw.optional.arm.FEAT_BF16": ("bf16",),
    "hw.optional.arm.FEAT_SME": ("sme",),
}

# `PF_ARM_...` of winnt.h, https://learn.microsoft.com/windows/win32/api/processthreadsapi/nf-processthreadsapi-isprocessorfeaturepresent
_WINDOWS_FEATURES: Final = {
    19: ("asimd",),
    67: ("fphp", "asimdhp"),
    43: ("asimddp",),
    66: ("i8mm",),
    68: ("bf16",),
    46: ("sve",),
    47: ("sve2",),
    70: ("sme",),
}

# PCI vendors, https://pci-ids.ucw.cz
_GPU_VENDORS: Final = {"0x8086": "Intel", "0x1002": "AMD"}
_NPU_VENDORS: Final = {"0x8086": "Intel", "0x1022": "AMD", "0x1da3": "Habana", "0x17cb": "Qualcomm"}

# A Coral USB Accelerator: as it is plugged in, by the ids of the chip's maker, and by Google's from its first use on, when its firmware is loaded.
_CORAL_USB: Final = {("1a6e", "089a"), ("18d1", "9302")}

_FAMILY: Final = re.compile(
    r"""\b(?: xeon | epyc | atom | celeron | pentium | athlon | opteron
      | (?<!-)core (?:\ ultra)? (?:\ i?\d)?
      | ryzen (?:\ (?:ai|embedded|threadripper|pro|max)\b)* (?:\ \d\b)?
      | n\d{2,3}\b
      | m\d+ (?:\ (?:pro|max|ultra))?
      | (?:cortex|neoverse)-\w+
      | snapdragon )""",
    re.VERBOSE,
)

# What virtual machines call themselves, for those that don't tell it otherwise (ARM has no CPU flag for it); after the table in systemd's `virt.c`.
_VIRTUAL_PRODUCT: Final = re.compile(
    r"KVM|QEMU|VMware|VirtualBox|Xen|HVM domU|Bochs|Parallels|BHYVE|Hyper-V|Virtual Machine|OpenStack|KubeVirt"
    r"|Google Compute Engine|Amazon EC2(?!.*metal)|Apple Virtualization",
    re.IGNORECASE,
)


class Host(Record, frozen=True, kw_only=True):
    """What the operating system and the processor answer when they are asked, in their own words."""

    system: str
    """``linux``, ``darwin``, ``windows``, ``android``, ``ios``."""
    machine: str
    """As ``uname -m`` says: ``x86_64``, ``aarch64``, ``arm64``, ``AMD64``."""
    vendor: str
    """Of the CPU, as archspec says: ``GenuineIntel``, ``ARM``, ``Apple``."""
    brand: str = ""
    """Of the CPU; empty where ``/proc/cpuinfo`` tells it."""
    flags: frozenset[str] = frozenset()
    """Every instruction-set extension; empty where they can't be read."""
    cpus: int
    """Logical CPUs that this process may be scheduled on."""
    memory_bytes: int
    """Physical."""
    kernel: str = ""
    python: str = ""
    virtual: bool | None = None
    """Whether this is a guest of a hypervisor; ``None`` where neither CPU nor system tells."""
    plugged: bool | None = None
    """Whether mains feed it; ``None`` where there is no battery, or no telling."""
    translation: str = ""
    """What translates this process' instructions to another architecture."""


def detect(root: Path = Path("/"), host: Host | None = None) -> Device:
    """This machine, in some 50 ms. ``root``: where ``/proc``, ``/sys`` and ``/dev`` are; ``host``: in place of asking.

    ``cores`` are the CPUs that this process may use; where a cgroup allows less CPU time than that, they are the *whole* cores of that
    quota (at least one). One thread more than the quota uses it up before its period ends, and all threads then wait
    for the next one: https://docs.kernel.org/scheduler/sched-bwc.html. ``memory_bytes`` is what the machine or its cgroup allows,
    whichever is less. Accelerators are those that have a driver and, on Linux, a node in ``/dev`` of this process (a container sees
    more in ``/proc`` and ``/sys`` than it may use). None are found on Windows.
    """
    host = host or this_host()
    architecture = _architecture(host.machine)
    vendor = _vendor(host.vendor)
    cpu = _brand(root, host.vendor) or host.brand
    quota, limit = _cpu_quota(root), _memory_limit(root)
    cores = host.cpus if quota is None else max(1, min(host.cpus, int(quota)))
    flags = host.flags | {_ALIASES[flag] for flag in host.flags if flag in _ALIASES}
    return Device(
        name=_name(vendor, cpu, architecture, cores),
        system=host.system,
        architecture=architecture,
        vendor=vendor,
        cpu=cpu,
        features=tuple(sorted(flags.intersection(FEATURES.get(architecture, ())))),
        cores=cores,
        memory_bytes=host.memory_bytes if limit is None else min(host.memory_bytes, limit),
        accelerators=tuple(_accelerators(root, host.system, architecture, cpu)),
        environment=_environment(root, host, quota, limit),
    )


def standing(device: Device, target: Target) -> Standing:
    """What ``device`` is to ``target``: one of its devices, a stand-in with the same instruction set, or neither."""
    if _matches(device, target.hardware):
        return "native"
    if target.stand_in is not None and _matches(device, target.stand_in):
        return "stand-in"
    return "foreign"


def most_specific(device: Device, targets: Iterable[Target]) -> Target:
    """What ``auto`` stands for. Any device is of some target, because the built-in ``cross`` asks for nothing."""
    fitting = [target for target in targets if standing(device, target) == "native"]
    return max(fitting, key=lambda target: target.specificity)


def _matches(device: Device, hardware: Hardware) -> bool:
    accelerators = [accelerator.casefold() for accelerator in device.accelerators]
    prefixes = tuple(prefix.casefold() for prefix in hardware.accelerators)
    return (
        (not hardware.architectures or device.architecture in hardware.architectures)
        and (not hardware.vendors or device.vendor in hardware.vendors)
        and (not hardware.systems or device.system in hardware.systems)
        and (not prefixes or any(accelerator.startswith(prefixes) for accelerator in accelerators))
    )


# Asking the operating system -------------------------------------------------------------------------------------------------


def this_host() -> Host:
    """The answers of the machine that this process runs on."""
    import psutil

    system = _system()
    machine = platform.machine()
    architecture = _architecture(machine)
    vendor, flags = _processor(system, architecture)
    virtual = "hypervisor" in flags if architecture == "x86_64" and flags else None
    translation = ""
    if system == "darwin":
        sysctl = _sysctl()
        guest = sysctl("kern.hv_vmm_present")
        virtual = virtual if guest is None else bool(guest)
        translation = "Rosetta 2" if sysctl("sysctl.proc_translated") == 1 else ""
        if architecture == "arm64":
            flags |= _present(_DARWIN_FEATURES, lambda name: sysctl(name) == 1)
    elif system == "windows" and architecture == "arm64":
        flags |= _present(_WINDOWS_FEATURES, _windows_feature)
    return Host(
        system=system,
        machine=machine,
        vendor=vendor,
        brand=_brand_by_call() if system in ("darwin", "windows") else "",
        flags=flags,
        cpus=_affinity(),
        memory_bytes=psutil.virtual_memory().total,
        kernel=platform.release(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        virtual=virtual,
        plugged=_plugged(),
        translation=translation,
    )


def _system() -> str:
    if hasattr(sys, "getandroidapilevel"):  # also where `sys.platform` is "linux", before Python 3.13
        return "android"
    return sys.platform.replace("win32", "windows")


def _processor(system: str, architecture: str) -> tuple[str, frozenset[str]]:
    """Vendor and flags, as archspec reads them; an archspec that can't read them says "generic" and none."""
    from archspec.cpu.detect import detected_info, proc_cpuinfo

    if architecture == "armv7":  # unknown to archspec
        return _processor_armv7(Path("/"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a warning is how archspec says that it could not read them
        try:
            # archspec looks for a system named "Linux", but Android has the same file.
            info = proc_cpuinfo() if system == "android" else detected_info()
        except OSError:
            return "generic", frozenset()
    return str(info.vendor), frozenset(info.features)


def _processor_armv7(root: Path) -> tuple[str, frozenset[str]]:
    from archspec.cpu.schema import TARGETS_JSON

    implementers = _cpuinfo(root, "CPU implementer")
    features = _cpuinfo(root, "Features")
    vendors = TARGETS_JSON["conversions"]["arm_vendors"]
    return (
        str(vendors.get(implementers[0], "generic")) if implementers else "generic",
        frozenset(features[0].split() if features else ()),
    )


def _brand_by_call() -> str:
    from archspec.cpu import brand_string

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return (brand_string() or "").strip()
    except (OSError, MemoryError, SystemError, UnicodeDecodeError):  # where executing CPUID is not allowed
        return ""


def _affinity() -> int:
    import psutil

    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    process = psutil.Process()
    if hasattr(process, "cpu_affinity"):  # Windows
        return len(process.cpu_affinity())
    return os.cpu_count() or 1  # one is certain: this runs on it


def _plugged() -> bool | None:
    import psutil

    if not hasattr(psutil, "sensors_battery"):
        return None
    try:
        battery = psutil.sensors_battery()
    except (OSError, NotImplementedError):
        return None
    return None if battery is None else battery.power_plugged


def _sysctl() -> Callable[[str], int | None]:
    """Reads one integer of macOS' ``sysctl``; ``None`` for a name that this version has not."""
    library = ctypes.CDLL(None)

    def sysctl(name: str) -> int | None:
        value, size = ctypes.c_int64(0), ctypes.c_size_t(8)
        failed = library.sysctlbyname(name.encode(), ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0))
        return None if failed else value.value  # four bytes or eight: Apple's machines are little-endian

    return sysctl


def _windows_feature(number: int) -> bool:
    return bool(ctypes.CDLL("kernel32").IsProcessorFeaturePresent(number))


def _present(table: Mapping[_Question, tuple[str, ...]], present: Callable[[_Question], bool]) -> frozenset[str]:
    return frozenset(name for question, names in table.items() if present(question) for name in names)


# Names -----------------------------------------------------------------------------------------------------------------------


def _architecture(machine: str) -> str:
    if machine.startswith(("iPhone", "iPad", "iPod")):  # iOS names the model
        return "arm64"
    return _ARCHITECTURES.get(machine.lower(), machine.lower())


def _vendor(raw: str) -> str:
    return _VENDORS.get(raw.lower(), "generic")


def _name(vendor: str, cpu: str, architecture: str, cores: int) -> str:
    """``intel-xeon-2c``: the vendor, the family without the model number (of the biggest cores), the usable cores."""
    words = re.sub(r"\((?:r|tm|c)\)", "", cpu.lower()).rpartition(" + ")[2]
    family = _FAMILY.search(re.sub(r"\s+", " ", words))
    text = f"{vendor}-{family[0] if family else architecture}-{cores}c"
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-")


def _brand(root: Path, vendor: str) -> str:
    """The brand in ``/proc/cpuinfo``; for ARM, which has none, the kinds of cores in their order, small ones first by custom."""
    cores = dict.fromkeys(zip(_cpuinfo(root, "CPU implementer"), _cpuinfo(root, "CPU part"), strict=False))
    if cores:
        names = [_ARM_PARTS.get(part, f"part {part}") if maker == "0x41" else f"part {part}" for maker, part in cores]
        return f"{vendor} {' + '.join(names)}"
    return next(iter(_cpuinfo(root, "model name")), "")


def _cpuinfo(root: Path, key: str) -> list[str]:
    """The values of ``key``, one a CPU."""
    text = _read(root / "proc/cpuinfo") or ""
    return re.findall(rf"^{key}[ \t]*:[ \t]*(.+?)[ \t]*$", text, re.MULTILINE)


# Cgroups ---------------------------------------------------------------------------------------------------------------------


def _cpu_quota(root: Path) -> float | None:
    """CPUs' worth of time that this process may use, by the tightest of its cgroups; ``None`` without a quota."""
    quotas = []
    for folder in _cgroups(root, "cpu"):
        quota, _, period = (_read(folder / "cpu.max") or "").partition(" ")  # version 2
        quota = quota or _read(folder / "cpu.cfs_quota_us") or ""  # version 1; -1: none
        period = period or _read(folder / "cpu.cfs_period_us") or ""
        if quota.isdigit() and period.isdigit() and int(period):
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def _memory_limit(root: Path) -> int | None:
    """Bytes, by the tightest of this process' cgroups; ``None`` without a limit."""
    limits = []
    for folder in _cgroups(root, "memory"):
        text = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes") or ""
        if text.isdigit():
            limits.append(int(text))
    return min(limits, default=None)


def _cgroups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of the cgroups that this process is in, of both versions, each with its parents up to the mount point."""
    paths = {}
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, place = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            paths["cgroup" if controllers else "cgroup2"] = PurePosixPath(place)
    for line in (_read(root / "proc/self/mountinfo") or "").splitlines():
        left, _, right = line.partition(" - ")
        kind, *_, options = right.split() or ("", "")
        if kind not in paths or (kind == "cgroup" and controller not in options.split(",")):
            continue
        base, mount = left.split()[3:5]
        top = root / mount.lstrip("/")
        path = paths[kind]
        # Where a namespace shows another part of the hierarchy than is mounted, the mount point is all that is known to be ours.
        inside = path.is_relative_to(base) and ".." not in path.parts
        folder = top / path.relative_to(base) if inside else top
        while folder != top:
            yield folder
            folder = folder.parent
        yield top


# Accelerators ----------------------------------------------------------------------------------------------------------------


def _accelerators(root: Path, system: str, architecture: str, cpu: str) -> Iterator[str]:
    if system == "darwin" and architecture == "arm64":
        yield f"gpu:{cpu or 'Apple'}"  # one chip
        return
    yield from _nvidia(root) or _tegra(root)
    # A render node is what compute runtimes open; a card without one only drives a display.
    for node, vendor, device in _class_devices(root, "drm", "renderD*", "dri"):
        if vendor in _GPU_VENDORS and node:
            yield f"gpu:{_GPU_VENDORS[vendor]} {device}"
    for node, vendor, device in _class_devices(root, "accel", "accel*", "accel"):
        if node:
            yield f"npu:{_NPU_VENDORS.get(vendor, vendor)} {device}"
    yield from ("tpu:Coral PCIe" for _ in (root / "dev").glob("apex_*"))
    yield from ("tpu:Coral USB" for _ in _coral_usb(root))


def _nvidia(root: Path) -> list[str]:
    """The GPUs that NVIDIA's driver lists; its README, "The /proc Interface"."""
    names = []
    for path in sorted((root / "proc/driver/nvidia/gpus").glob("*/information")):
        facts = dict(re.findall(r"^([^:\n]+?)\s*:\s*(.+?)\s*$", _read(path) or "", re.MULTILINE))
        if "Model" in facts and _exists(root / f"dev/nvidia{facts.get('Device Minor')}"):
            names.append(
                f"gpu:{facts['Model']}" if facts["Model"].startswith("NVIDIA") else f"gpu:NVIDIA {facts['Model']}"
            )
    return names


def _tegra(root: Path) -> list[str]:
    """The GPU inside a Jetson's chip, which NVIDIA's driver for plugged-in GPUs does not list."""
    chip = re.search(r"nvidia,(tegra\w+)", _read(root / "proc/device-tree/compatible") or "")
    nodes = ("nvhost-gpu", "nvhost-ctrl-gpu", "nvgpu")
    return [f"gpu:NVIDIA {chip[1]}"] if chip and any(_exists(root / "dev" / node) for node in nodes) else []


def _class_devices(root: Path, kind: str, pattern: str, nodes: str) -> Iterator[tuple[bool, str, str]]:
    """Whether there is a node in ``/dev``, PCI vendor and PCI device, for each device of a class in ``/sys``."""
    for folder in sorted((root / "sys/class" / kind).glob(pattern), key=lambda folder: (len(folder.name), folder.name)):
        vendor, device = _read(folder / "device/vendor"), _read(folder / "device/device")
        if vendor and device:
            yield _exists(root / "dev" / nodes / folder.name), vendor, device


def _coral_usb(root: Path) -> Iterator[Path]:
    for path in sorted((root / "sys/bus/usb/devices").glob("*/idVendor")):
        folder = path.parent
        bus, number = _read(folder / "busnum") or "", _read(folder / "devnum") or ""
        if (_read(path), _read(folder / "idProduct")) in _CORAL_USB and _exists(
            root / f"dev/bus/usb/{bus:>03}/{number:>03}"
        ):
            yield folder


# Environment -----------------------------------------------------------------------------------------------------------------


def _environment(root: Path, host: Host, quota: float | None, limit: int | None) -> dict[str, str]:
    """Facts that explain noise, or that explain why something can't be measured; only what could be read.

    ``kernel``, ``python``, ``product``, ``virtualisation`` (``none`` where the CPU says that there is none), ``translation``,
    ``governor``, ``turbo``, ``smt``, ``cpu_quota``, ``memory_limit``, ``power`` (``mains`` or ``battery``), ``thermal_sensors``, ``rapl``
    (energy counters; ``not readable`` where they are there, but not for this user), ``isa`` (``not readable``: then
    :attr:`Device.features` says nothing).
    """
    sysfs, cpu = root / "sys/class", root / "sys/devices/system/cpu"
    facts = {
        "kernel": host.kernel,
        "python": host.python,
        "product": _product(root),
        "virtualisation": _virtualisation(root, host),
        "translation": host.translation,
        "governor": ", ".join(sorted(_values(cpu.glob("cpu[0-9]*/cpufreq/scaling_governor")))),
        "turbo": _switch(cpu / "intel_pstate/no_turbo", "off", "on") or _switch(cpu / "cpufreq/boost", "on", "off"),
        "smt": _switch(cpu / "smt/active", "on", "off"),
        "cpu_quota": "" if quota is None else f"{quota:g} of {host.cpus} CPUs, by cgroup",
        "memory_limit": "",
        "power": {True: "mains", False: "battery", None: ""}[host.plugged],
        "isa": "" if host.flags else "not readable",
    }
    if limit is not None and limit < host.memory_bytes:
        facts["memory_limit"] = f"{show(limit, 'bytes')} of {show(host.memory_bytes, 'bytes')}, by cgroup"
    if _exists(sysfs):
        sensors = [*sysfs.glob("thermal/thermal_zone*/temp"), *sysfs.glob("hwmon/hwmon*/temp*_input")]
        facts["thermal_sensors"] = "yes" if any(map(_read, sensors)) else "no"
        counters = list(sysfs.glob("powercap/intel-rapl:*/energy_uj"))
        facts["rapl"] = "yes" if any(map(_read, counters)) else "not readable" if counters else "no"
    return {name: fact for name, fact in facts.items() if fact}


def _virtualisation(root: Path, host: Host) -> str:
    product = _product(root)
    tree = _read(root / "proc/device-tree/hypervisor/compatible") or ""  # the most specific first
    told = _read(root / "sys/hypervisor/type") or tree.partition("\0")[0]
    named = product if _VIRTUAL_PRODUCT.search(product) else ""
    if told:
        return told
    if host.virtual is None:
        return named
    return (named or "yes") if host.virtual else "none"


def _product(root: Path) -> str:
    """``Raspberry Pi 5 Model B Rev 1.0``, ``QEMU Standard PC (Q35 + ICH9, 2009)``."""
    board = _read(root / "proc/device-tree/model")
    maker = _read(root / "sys/class/dmi/id/sys_vendor") or ""
    product = _read(root / "sys/class/dmi/id/product_name") or ""
    return board or (product if product.startswith(maker) else f"{maker} {product}".strip())


def _switch(path: Path, one: str, zero: str) -> str:
    return {"1": one, "0": zero}.get(_read(path) or "", "")


def _values(paths: Iterable[Path]) -> set[str]:
    """The different contents of those files that can be read and are not empty."""
    return {text for text in map(_read, paths) if text}


def _read(path: Path) -> str | None:
    """The text of a small file, without what surrounds it; ``None`` where it can't be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \t\r\n")
    except OSError:
        return None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a folder on the way may not be entered
        return False
