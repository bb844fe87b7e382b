"""llama.cpp as it is compiled: for exactly the instructions that this CPU shows, and without AMX.

Left alone, its build takes all of the CPU's instructions. Where a virtual machine shows AMX and a process may not use it, every quantized
product then dies by SIGSEGV at ``ldtilecfg``, in ``ggml_backend_amx_mul_mat``, while float16 works. Linux lends the tiles only to a
process that asks for them (https://docs.kernel.org/arch/x86/xstate.html). The signal and the CPU's flags are what it is known by; the tests have an
engine that dies so, for the crash itself can't be had on a CPU without AMX.
"""

from typing import Final

from pytest_edgeai.records import Device

DISTRIBUTION: Final = "llama-cpp-python"
_NEEDED: Final = {
    "SSE42": ("sse4_2",),
    "AVX": ("avx",),
    "AVX2": ("avx2",),
    "BMI2": ("avx2",),  # no CPU has one of them alone
    "FMA": ("fma",),
    "F16C": ("f16c",),
    "AVX_VNNI": ("avx_vnni",),
    "AVX512": ("avx512f", "avx512bw", "avx512vl"),
    "AVX512_VNNI": ("avx512bw", "avx512_vnni"),
    "AVX512_BF16": ("avx512bw", "avx512_bf16"),
}
"""Option of ggml's build -> what the CPU must have for it."""


def cmake_args(device: Device) -> str:
    """For the environment variable ``CMAKE_ARGS``; empty where the build as it comes is right: on ARM, and on a Mac."""
    if device.architecture != "x86_64" or device.system == "darwin" or not device.features:
        return ""
    options = {name: set(needed) <= set(device.features) for name, needed in _NEEDED.items()}
    chosen = " ".join(f"-DGGML_{name}={'ON' if there else 'OFF'}" for name, there in options.items())
    return f"-DGGML_NATIVE=OFF {chosen}"


def compiled(device: Device, command: str) -> str:
    """The command that installs what brings llama.cpp, with what it is to be compiled for."""
    arguments = cmake_args(device)
    return f'CMAKE_ARGS="{arguments}" {command}' if arguments else command


def rebuild(device: Device) -> str:
    """The command that compiles it anew. Without pip's cache: that knows a wheel by its version, whatever it was compiled for."""
    return compiled(device, f"pip install --force-reinstall --no-deps --no-cache-dir {DISTRIBUTION}")
