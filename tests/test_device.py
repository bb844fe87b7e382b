"""Detecting a device, on trees that look like the machines in question, and what a device is to a target."""

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from pytest_edgeai import device as device_module
from pytest_edgeai.device import FEATURES, Host, detect, standing, this_host
from pytest_edgeai.records import Device, Hardware, Target
from pytest_edgeai.targets.builtin import TARGETS

GIB = 1024**3


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SAPPHIRE_RAPIDS = words(
    "fpu sse4_1 sse4_2 avx avx2 fma f16c avx512f avx512dq avx512bw avx512vl avx512_vnni avx_vnni avx512_bf16 avx512_fp16 "
    "amx_tile amx_int8 amx_bf16 hypervisor"
)
ZEN4 = words("fpu sse4_2 avx avx2 fma f16c avx512f avx512bw avx512vl avx512_vnni avx512_bf16 svm")
CORTEX_A76 = words("fp asimd evtstrm aes crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp")

CGROUP_V2 = {
    "proc/self/cgroup": "0::/ci.slice/job.scope\n",
    "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
}
CGROUP_V1 = {
    "proc/self/cgroup": "5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n",
    "proc/self/mountinfo": (
        "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
        "32 31 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro master:9 - cgroup cgroup rw,cpu,cpuacct\n"
        "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro master:9 - cgroup cgroup rw,memory\n"
    ),
}


def tree(root: Path, *parts: dict[str, str]) -> Path:
    for files in parts:
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return root


def host(**changes: object) -> Host:
    """An Intel server with 8 CPUs and 16 GiB, unless changed."""
    plain = Host(
        system="linux",
        machine="x86_64",
        vendor="GenuineIntel",
        flags=SAPPHIRE_RAPIDS,
        cpus=8,
        memory_bytes=16 * GIB,
        kernel="6.8.0",
        python="CPython 3.12.3",
    )
    return msgspec.structs.replace(plain, **changes)


def arm(part: str, cores: int, maker: str = "0x41") -> str:
    stanza = "processor\t: {}\nFeatures\t: fp asimd\nCPU implementer\t: {}\nCPU architecture: 8\nCPU part\t: {}\n\n"
    return "".join(stanza.format(core, maker, part) for core in range(cores))


def nvidia(model: str, minor: int) -> dict[str, str]:
    text = f"Model: \t\t {model}\nIRQ:   \t\t 305\nBus Type: \t PCIe\nDevice Minor: \t {minor}\nGPU Excluded:\t No\n"
    return {f"proc/driver/nvidia/gpus/0000:0{minor}:00.0/information": text}


# Whole machines --------------------------------------------------------------------------------------------------------------


def test_a_sapphire_rapids_guest_shows_its_int8_extensions_and_that_it_is_a_guest(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/cpuinfo": "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz\n\nprocessor\t: 1\n",
            "sys/class/dmi/id/sys_vendor": "Google\n",
            "sys/class/dmi/id/product_name": "Google Compute Engine\n",
            "sys/devices/system/cpu/smt/active": "1\n",
        },
    )

    found = detect(root, host(cpus=2, virtual=True))

    assert found.name == "intel-xeon-2c"
    assert found.cpu == "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz"
    assert found.vendor == "intel"
    assert set(found.features) == SAPPHIRE_RAPIDS & set(FEATURES["x86_64"])
    assert {"avx512_vnni", "avx_vnni", "amx_int8", "amx_tile"} <= set(found.features)
    assert found.accelerators == ()
    assert found.environment == {
        "kernel": "6.8.0",
        "python": "CPython 3.12.3",
        "product": "Google Compute Engine",
        "virtualisation": "Google Compute Engine",
        "smt": "on",
        "thermal_sensors": "no",
        "rapl": "no",
    }


def test_a_zen4_workstation_shows_governor_turbo_sensors_and_its_gpu(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/cpuinfo": "model name\t: AMD Ryzen 9 7950X 16-Core Processor\n",
            "sys/class/dmi/id/sys_vendor": "ASUS\n",
            "sys/class/dmi/id/product_name": "ProArt X670E\n",
            "sys/devices/system/cpu/cpufreq/boost": "1\n",
            "sys/class/hwmon/hwmon2/temp1_input": "41500\n",
            "sys/class/powercap/intel-rapl:0/energy_uj": "262143328850\n",
            "sys/class/drm/renderD128/device/vendor": "0x1002\n",
            "sys/class/drm/renderD128/device/device": "0x164e\n",
            "dev/dri/renderD128": "",
        },
        {f"sys/devices/system/cpu/cpu{n}/cpufreq/scaling_governor": "powersave\n" for n in range(32)},
    )

    found = detect(root, host(vendor="AuthenticAMD", flags=ZEN4, cpus=32, virtual=False, plugged=True))

    assert found.name == "amd-ryzen-9-32c"
    assert "avx512_vnni" in found.features
    assert "svm" not in found.features
    assert found.accelerators == ("gpu:AMD 0x164e",)
    assert found.environment["virtualisation"] == "none"
    assert found.environment["product"] == "ASUS ProArt X670E"
    assert found.environment["governor"] == "powersave"
    assert found.environment["turbo"] == "on"
    assert found.environment["thermal_sensors"] == "yes"
    assert found.environment["rapl"] == "yes"
    assert found.environment["power"] == "mains"


def test_a_raspberry_pi_5_is_named_by_its_cores(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/cpuinfo": arm("0xd0b", 4) + "Revision\t: c04170\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n",
            "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
            "sys/class/thermal/thermal_zone0/temp": "51200\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
            # Its GPU has a render node, but is no PCI device and runs no inference engine of ours.
            "sys/class/drm/renderD128/device/uevent": "DRIVER=v3d\n",
            "dev/dri/renderD128": "",
        },
    )

    found = detect(root, host(machine="aarch64", vendor="ARM", flags=CORTEX_A76, cpus=4))

    assert found.name == "arm-cortex-a76-4c"
    assert found.cpu == "ARM Cortex-A76"
    assert (found.architecture, found.vendor) == ("arm64", "arm")
    assert found.features == ("asimd", "asimddp", "asimdhp", "fphp")
    assert found.accelerators == ()
    assert found.environment["product"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert found.environment["thermal_sensors"] == "yes"
    assert "virtualisation" not in found.environment  # nothing on ARM says that there is none


def test_a_gpu_server_shows_each_gpu_that_this_process_may_open(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        nvidia("NVIDIA H100 PCIe", 0),
        nvidia("Tesla T4", 1),
        nvidia("NVIDIA H100 PCIe", 2),
        {"dev/nvidia0": "", "dev/nvidia1": ""},
    )

    found = detect(root, host())

    assert found.accelerators == ("gpu:NVIDIA H100 PCIe", "gpu:NVIDIA Tesla T4")


def test_a_jetson_shows_the_gpu_inside_its_chip(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/cpuinfo": arm("0xd42", 6),
            "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
            "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0nvidia,tegra234\0",
            "dev/nvgpu/igpu0/ctrl": "",
        },
    )

    found = detect(root, host(machine="aarch64", vendor="ARM", flags=CORTEX_A76, cpus=6))

    assert found.name == "arm-cortex-a78ae-6c"
    assert found.accelerators == ("gpu:NVIDIA tegra234",)


def test_a_laptop_shows_gpu_npu_and_that_it_runs_on_battery(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/cpuinfo": "model name\t: Intel(R) Core(TM) Ultra 7 155H\n",
            "sys/devices/system/cpu/intel_pstate/no_turbo": "1\n",
            "sys/class/drm/renderD128/device/vendor": "0x8086\n",
            "sys/class/drm/renderD128/device/device": "0x7d55\n",
            "sys/class/accel/accel0/device/vendor": "0x8086\n",
            "sys/class/accel/accel0/device/device": "0x7d1d\n",
            "dev/dri/renderD128": "",
            "dev/accel/accel0": "",
        },
    )

    found = detect(root, host(cpus=22, plugged=False))

    assert found.name == "intel-core-ultra-7-22c"
    assert found.accelerators == ("gpu:Intel 0x7d55", "npu:Intel 0x7d1d")
    assert found.environment["power"] == "battery"
    assert found.environment["turbo"] == "off"


def test_a_mac_has_the_gpu_of_its_chip_and_no_linux_facts(tmp_path: Path) -> None:
    found = detect(
        tmp_path,
        host(
            system="darwin",
            machine="arm64",
            vendor="Apple",
            brand="Apple M2 Pro",
            flags=CORTEX_A76,
            cpus=12,
            virtual=False,
        ),
    )

    assert found.name == "apple-m2-pro-12c"
    assert found.vendor == "apple"
    assert found.accelerators == ("gpu:Apple M2 Pro",)
    assert found.environment == {"kernel": "6.8.0", "python": "CPython 3.12.3", "virtualisation": "none"}


def test_a_python_translated_by_rosetta_says_so_and_claims_no_instruction_set(tmp_path: Path) -> None:
    found = detect(
        tmp_path,
        host(system="darwin", vendor="Apple", brand="Apple M1", flags=frozenset(), translation="Rosetta 2"),
    )

    assert found.architecture == "x86_64"
    assert found.features == ()
    assert found.accelerators == ()
    assert found.environment["translation"] == "Rosetta 2"
    assert found.environment["isa"] == "not readable"


def test_a_phone_with_several_kinds_of_cores_is_named_by_the_biggest(tmp_path: Path) -> None:
    root = tree(tmp_path, {"proc/cpuinfo": arm("0xd05", 4) + arm("0xd41", 2) + arm("0xd44", 2)})

    found = detect(root, host(system="android", machine="aarch64", vendor="ARM", flags=CORTEX_A76))

    assert found.cpu == "ARM Cortex-A55 + Cortex-A78 + Cortex-X1"
    assert found.name == "arm-cortex-x1-8c"


def test_cores_of_an_unknown_maker_keep_their_part_number(tmp_path: Path) -> None:
    root = tree(tmp_path, {"proc/cpuinfo": arm("0x001", 8, maker="0x51")})

    found = detect(root, host(machine="aarch64", vendor="Qualcomm", flags=CORTEX_A76))

    assert found.cpu == "Qualcomm part 0x001"
    assert found.name == "qualcomm-arm64-8c"


@pytest.mark.parametrize(("id_vendor", "id_product"), [("1a6e", "089a"), ("18d1", "9302")])
def test_a_coral_stick_is_seen_before_and_after_its_first_use(tmp_path: Path, id_vendor: str, id_product: str) -> None:
    root = tree(
        tmp_path,
        {
            "sys/bus/usb/devices/2-1/idVendor": f"{id_vendor}\n",
            "sys/bus/usb/devices/2-1/idProduct": f"{id_product}\n",
            "sys/bus/usb/devices/2-1/busnum": "2\n",
            "sys/bus/usb/devices/2-1/devnum": "14\n",
            "sys/bus/usb/devices/2-2/idVendor": "18d1\n",
            "sys/bus/usb/devices/2-2/idProduct": "4ee7\n",
            "dev/bus/usb/002/014": "",
        },
    )

    found = detect(root, host())

    assert found.accelerators == ("tpu:Coral USB",)


def test_a_coral_card_is_seen_by_its_driver(tmp_path: Path) -> None:
    root = tree(tmp_path, {"dev/apex_0": "", "dev/apex_1": ""})

    found = detect(root, host())

    assert found.accelerators == ("tpu:Coral PCIe", "tpu:Coral PCIe")


def test_a_container_does_not_claim_what_it_only_sees_in_sysfs(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        nvidia("NVIDIA A10G", 0),
        {
            "sys/class/drm/renderD128/device/vendor": "0x8086\n",
            "sys/class/drm/renderD128/device/device": "0x46a6\n",
            "sys/class/accel/accel0/device/vendor": "0x8086\n",
            "sys/class/accel/accel0/device/device": "0x7d1d\n",
            "sys/bus/usb/devices/2-1/idVendor": "18d1\n",
            "sys/bus/usb/devices/2-1/idProduct": "9302\n",
        },
    )

    found = detect(root, host())

    assert found.accelerators == ()


def test_an_empty_machine_is_described_without_guesses(tmp_path: Path) -> None:
    found = detect(tmp_path, Host(system="windows", machine="ARM64", vendor="generic", cpus=4, memory_bytes=8 * GIB))

    assert found == Device(
        name="generic-arm64-4c",
        system="windows",
        architecture="arm64",
        vendor="generic",
        cpu="",
        features=(),
        cores=4,
        memory_bytes=8 * GIB,
        environment={"isa": "not readable"},
    )


# Cgroups ---------------------------------------------------------------------------------------------------------------------


def test_a_quota_of_one_and_a_half_cpus_leaves_one_core_and_says_so(tmp_path: Path) -> None:
    root = tree(tmp_path, CGROUP_V2, {"sys/fs/cgroup/ci.slice/job.scope/cpu.max": "150000 100000\n"})

    found = detect(root, host())

    assert found.cores == 1
    assert found.name.endswith("-1c")
    assert found.environment["cpu_quota"] == "1.5 of 8 CPUs, by cgroup"


def test_the_tightest_of_the_parents_decides(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        CGROUP_V2,
        {
            "sys/fs/cgroup/ci.slice/job.scope/cpu.max": "max 100000\n",
            "sys/fs/cgroup/ci.slice/job.scope/memory.max": "max\n",
            "sys/fs/cgroup/ci.slice/cpu.max": "400000 100000\n",
            "sys/fs/cgroup/ci.slice/memory.max": f"{4 * GIB}\n",
        },
    )

    found = detect(root, host())

    assert found.cores == 4
    assert found.memory_bytes == 4 * GIB
    assert found.environment["memory_limit"] == "4.29 GB of 17.2 GB, by cgroup"


def test_limits_of_the_first_cgroup_version_are_read_where_a_container_mounts_them(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        CGROUP_V1,
        {
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "250000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}\n",
        },
    )

    found = detect(root, host())

    assert found.cores == 2
    assert found.memory_bytes == 2 * GIB
    assert found.environment["cpu_quota"] == "2.5 of 8 CPUs, by cgroup"


def test_unlimited_cgroups_change_nothing(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        CGROUP_V1,
        {
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )

    found = detect(root, host())

    assert (found.cores, found.memory_bytes) == (8, 16 * GIB)
    assert not {"cpu_quota", "memory_limit"} & set(found.environment)


def test_a_quota_above_the_affinity_does_not_add_cores(tmp_path: Path) -> None:
    root = tree(tmp_path, CGROUP_V2, {"sys/fs/cgroup/ci.slice/cpu.max": "1600000 100000\n"})

    found = detect(root, host(cpus=2))

    assert found.cores == 2


def test_a_cgroup_outside_of_what_is_mounted_falls_to_the_mount_point(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        CGROUP_V2,
        {
            "proc/self/cgroup": "0::/../../other\n",
            "sys/fs/cgroup/cpu.max": "300000 100000\n",
            "sys/other/cpu.max": "100000 100000\n",
        },
    )

    found = detect(root, host())

    assert found.cores == 3


# Names and facts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vendor", "brand", "name"),
    [
        ("AuthenticAMD", "AMD EPYC", "amd-epyc-8c"),
        ("AuthenticAMD", "AMD EPYC 7763 64-Core Processor", "amd-epyc-8c"),
        ("AuthenticAMD", "AMD EPYC-Milan Processor", "amd-epyc-8c"),
        ("AuthenticAMD", "AMD Ryzen AI 9 HX 370 w/ Radeon 890M", "amd-ryzen-ai-9-8c"),
        ("AuthenticAMD", "AMD Ryzen Threadripper PRO 5995WX 64-Cores", "amd-ryzen-threadripper-pro-8c"),
        ("AuthenticAMD", "AMD Ryzen Embedded V1605B with Radeon Vega Gfx", "amd-ryzen-embedded-8c"),
        ("GenuineIntel", "13th Gen Intel(R) Core(TM) i7-1365U", "intel-core-i7-8c"),
        ("GenuineIntel", "Intel(R) Core(TM) 7 150U", "intel-core-7-8c"),
        ("GenuineIntel", "Intel Xeon Processor (SapphireRapids)", "intel-xeon-8c"),
        ("GenuineIntel", "Intel(R) N100", "intel-n100-8c"),
        ("GenuineIntel", "Intel(R) Atom(TM) x6425E CPU", "intel-atom-8c"),
        ("GenuineIntel", "QEMU Virtual CPU version 2.5+", "intel-x86-64-8c"),
        ("HygonGenuine", "Hygon C86 7185 32-core Processor", "generic-x86-64-8c"),
        ("Apple", "Apple M1 (Virtual)", "apple-m1-8c"),
        ("Apple", "Apple M4 Max", "apple-m4-max-8c"),
        ("generic", "", "generic-x86-64-8c"),
    ],
)
def test_a_name_is_vendor_family_and_cores(tmp_path: Path, vendor: str, brand: str, name: str) -> None:
    found = detect(tmp_path, host(vendor=vendor, brand=brand))

    assert found.name == name


@pytest.mark.parametrize(
    ("flag", "feature", "machine"),
    [
        ("avx512vnni", "avx512_vnni", "x86_64"),
        ("asimdbf16", "bf16", "armv7l"),
    ],
)
def test_names_of_other_systems_are_translated_to_those_of_linux(
    tmp_path: Path, flag: str, feature: str, machine: str
) -> None:
    found = detect(tmp_path, host(machine=machine, flags=frozenset({flag})))

    assert found.features == (feature,)


def test_the_features_of_another_architecture_are_not_claimed(tmp_path: Path) -> None:
    found = detect(tmp_path, host(machine="x86_64", flags=frozenset({"i8mm", "bf16", "avx2"})))

    assert found.features == ("avx2",)


def test_apples_names_for_its_instructions_are_translated() -> None:
    m1 = {
        "hw.optional.AdvSIMD": 1,
        "hw.optional.arm.FEAT_DotProd": 1,
        "hw.optional.arm.FEAT_FP16": 1,
        "hw.optional.arm.FEAT_I8MM": 0,
    }

    flags = device_module._present(device_module._DARWIN_FEATURES, lambda name: m1.get(name) == 1)

    assert flags == {"asimd", "asimddp", "fphp", "asimdhp"}


def test_32_bit_arm_is_read_without_archspec(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {"proc/cpuinfo": "Features\t: half thumb neon vfpv4 crc32\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n"},
    )

    vendor, flags = device_module._processor_armv7(root)

    assert vendor == "ARM"
    assert {"neon", "vfpv4"} <= flags


@pytest.mark.parametrize(
    ("files", "told", "virtualisation"),
    [
        ({"sys/hypervisor/type": "xen\n"}, None, "xen"),
        ({"proc/device-tree/hypervisor/compatible": "linux,kvm\0"}, None, "linux,kvm"),
        ({"proc/device-tree/hypervisor/compatible": "xen,xen-4.17\0xen,xen\0"}, None, "xen,xen-4.17"),
        (
            {
                "sys/class/dmi/id/sys_vendor": "QEMU\n",
                "sys/class/dmi/id/product_name": "KVM Virtual Machine\n",
            },
            None,
            "QEMU KVM Virtual Machine",
        ),
        (
            {"sys/class/dmi/id/sys_vendor": "Amazon EC2\n", "sys/class/dmi/id/product_name": "c7g.large\n"},
            None,
            "Amazon EC2 c7g.large",
        ),
        (
            {"sys/class/dmi/id/sys_vendor": "Amazon EC2\n", "sys/class/dmi/id/product_name": "c7g.metal\n"},
            None,
            None,
        ),
        ({"sys/class/dmi/id/sys_vendor": "Dell Inc.\n"}, True, "yes"),
        ({}, False, "none"),
        ({}, None, None),
    ],
)
def test_virtualisation_is_told_by_what_knows_it(
    tmp_path: Path, files: dict[str, str], told: bool | None, virtualisation: str | None
) -> None:
    found = detect(tree(tmp_path, files), host(virtual=told))

    assert found.environment.get("virtualisation") == virtualisation


def test_energy_counters_that_may_not_be_read_are_told_apart_from_none(tmp_path: Path) -> None:
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").mkdir(
        parents=True
    )  # a folder: reading fails, even for root

    found = detect(tmp_path, host())

    assert found.environment["rapl"] == "not readable"


# This machine ----------------------------------------------------------------------------------------------------------------


def test_the_real_machine_is_described_soundly() -> None:
    import psutil

    found = detect()

    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+-\d+c", found.name)
    assert 1 <= found.cores <= (psutil.cpu_count() or 1)
    assert 0 < found.memory_bytes <= psutil.virtual_memory().total
    assert set(found.features) <= set(FEATURES.get(found.architecture, ()))
    assert list(found.features) == sorted(found.features)
    assert all(re.match(r"(gpu|npu|tpu):\S", accelerator) for accelerator in found.accelerators)
    assert found.environment["kernel"]
    assert all(found.environment.values())
    assert found.engines == {}
    assert found == detect()


def test_what_the_real_machine_answers_can_be_kept_and_detected_from_later() -> None:
    answers = msgspec.json.decode(msgspec.json.encode(this_host()), type=Host)

    assert detect(host=answers) == detect()


def test_detecting_imports_no_framework_and_importing_imports_nothing_heavy() -> None:
    script = (
        "import sys; import pytest_edgeai.device as d; early = set(sys.modules); d.detect(); late = set(sys.modules)\n"
        "heavy = {'numpy', 'scipy', 'onnx', 'onnxruntime', 'openvino', 'nncf', 'torch', 'mlx', 'llama_cpp', 'olive'}\n"
        "print(sorted(heavy & late), sorted({'archspec', 'psutil'} & early))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "[] []\n"


# Standing --------------------------------------------------------------------------------------------------------------------


def machine(system: str, architecture: str, vendor: str, *accelerators: str) -> Device:
    return Device(
        name=f"{vendor}-{architecture}-4c",
        system=system,
        architecture=architecture,
        vendor=vendor,
        cpu="",
        features=(),
        cores=4,
        memory_bytes=GIB,
        accelerators=accelerators,
    )


MACHINES = {
    "Intel server": (machine("linux", "x86_64", "intel"), {"intel"}, set()),
    "Intel laptop with Windows": (
        machine("windows", "x86_64", "intel", "gpu:Intel 0x46a6"),
        {"intel"},
        set(),
    ),
    "AMD server": (machine("linux", "x86_64", "amd"), set(), {"intel"}),
    "another x86": (machine("linux", "x86_64", "generic"), set(), {"intel"}),
    "AMD server with an H100": (
        machine("linux", "x86_64", "amd", "gpu:NVIDIA H100 PCIe"),
        {"nvidia"},
        {"intel"},
    ),
    "Intel Mac": (machine("darwin", "x86_64", "intel"), {"intel"}, set()),
    "Rosetta": (machine("darwin", "x86_64", "apple"), set(), set()),
    "Apple silicon": (
        machine("darwin", "arm64", "apple", "gpu:Apple M2"),
        {"apple"},
        {"ios", "arm-mobile", "embedded-arm"},
    ),
    "Raspberry Pi 5": (machine("linux", "arm64", "arm"), {"embedded-arm"}, {"arm-mobile", "android"}),
    "Raspberry Pi 5 with Coral": (
        machine("linux", "arm64", "arm", "tpu:Coral PCIe"),
        {"embedded-arm", "edge-tpu"},
        {"arm-mobile", "android"},
    ),
    "32-bit board": (machine("linux", "armv7", "arm"), {"embedded-arm"}, set()),
    "Jetson": (
        machine("linux", "arm64", "arm", "gpu:NVIDIA tegra234"),
        {"embedded-arm", "nvidia"},
        {"arm-mobile", "android"},
    ),
    "Ampere server": (machine("linux", "arm64", "ampere"), set(), {"embedded-arm", "arm-mobile", "android"}),
    "Snapdragon laptop": (machine("windows", "arm64", "qualcomm"), set(), {"embedded-arm", "arm-mobile"}),
    "Android phone": (machine("android", "arm64", "qualcomm"), {"android", "arm-mobile"}, set()),
    "Android emulator": (machine("android", "x86_64", "amd"), set(), {"intel"}),
    "iPhone": (machine("ios", "arm64", "apple"), {"ios", "arm-mobile"}, set()),
    "RISC-V board": (machine("linux", "riscv64", "generic"), set(), set()),
}


@pytest.mark.parametrize(("device", "native", "stand_in"), MACHINES.values(), ids=MACHINES)
def test_what_a_machine_is_to_each_target(device: Device, native: set[str], stand_in: set[str]) -> None:
    found = {target.name: standing(device, target) for target in TARGETS}

    assert {name for name, what in found.items() if what == "native"} == native | {"cross", "enterprise"}
    assert {name for name, what in found.items() if what == "stand-in"} == stand_in


def test_accelerators_match_by_prefix_in_any_case() -> None:
    gpu = machine("linux", "x86_64", "intel", "npu:Intel 0x7d1d", "gpu:nvidia h100")
    target = Target(name="t", title="T", frameworks=(), hardware=Hardware(accelerators=("tpu", "GPU:NVIDIA")))

    assert standing(gpu, target) == "native"
    assert standing(msgspec.structs.replace(gpu, accelerators=("npu:Intel 0x7d1d",)), target) == "foreign"


def test_every_field_that_is_given_must_match() -> None:
    target = Target(
        name="t",
        title="T",
        frameworks=(),
        hardware=Hardware(architectures=("arm64",), vendors=("arm",), systems=("linux",)),
    )

    assert standing(machine("linux", "arm64", "arm"), target) == "native"
    assert standing(machine("linux", "x86_64", "arm"), target) == "foreign"
    assert standing(machine("linux", "arm64", "apple"), target) == "foreign"
    assert standing(machine("android", "arm64", "arm"), target) == "foreign"
