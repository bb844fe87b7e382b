"""Remedies: what usually mends a framework that does not run."""

import re
from collections.abc import Sequence
from typing import Final

from pytest_edgeai.doctor import llamacpp
from pytest_edgeai.records import Device

_PACKAGES: Final = {
    "libgomp.so.1": "libgomp1",
    "libGL.so.1": "libgl1",
    "libOpenCL.so.1": "ocl-icd-libopencl1",
    "libtbb.so.12": "libtbb12",
    "libstdc++.so.6": "libstdc++6",
    "libatomic.so.1": "libatomic1",
}
"""Shared library -> the Debian or Ubuntu package that has it (https://packages.debian.org)."""


def mend(problem: str, device: Device, distributions: Sequence[str]) -> str:
    """What usually mends such a problem; where nothing is known, how to look closer."""
    again = f"pip install --force-reinstall {' '.join(distributions)}"
    if found := re.search(r"No module named '([\w.]+)'", problem):
        return f"a Python module is missing: pip install {found[1].partition('.')[0]}, or {again}"
    if found := re.search(r"(lib[\w+.-]+\.so[\w.]*): cannot open shared object file", problem):
        package = _PACKAGES.get(found[1])
        how = f"apt-get install {package}" if package else f"install the system's package that has {found[1]}"
        return f"a library of the system is missing: {how}"
    if re.search(r"GLIBC(XX)?_[\d.]+' not found", problem):
        return "the engine was built for a newer system than this one: install an older version of it, or run in a newer image"
    if re.search(r"numpy", problem) and re.search(r"multiarray|ABI|dtype size changed|compiled using NumPy", problem):
        return f"the engine was built for another numpy: {again} numpy"
    amx = any(name.startswith("amx") for name in device.features)
    if llamacpp.DISTRIBUTION in distributions and ("SIGILL" in problem or ("SIGSEGV" in problem and amx)):
        why = (
            "the CPU shows AMX, which a process may not use in some virtual machines, and llama.cpp that was compiled for it crashes at its "
            "first quantized product: compile it without"
            if "SIGSEGV" in problem
            else "it was compiled for instructions that this CPU lacks: compile it for this one"
        )
        return f"{why}, {llamacpp.rebuild(device)}"
    if "SIGILL" in problem:
        return "the engine was built for instructions that this CPU lacks: install a build for an older CPU"
    if "SIGSEGV" in problem and amx:
        return (
            "the CPU shows AMX; in some virtual machines a process may not use it, and engines built with AMX kernels crash at their first "
            "quantized product: use a build without them"
        )
    if "SIGSEGV" in problem or "SIGABRT" in problem:
        return f"native code crashed: {again}, else another version; the run goes on without this variant"
    if "SIGKILL" in problem:
        return "the system killed it, probably for memory: free some, or raise the container's limit"
    if "no answer within" in problem:
        return "it hangs: try once more with a longer --timeout; if it hangs again, another version of it"
    if "wrong numbers" in problem:
        return "don't trust what it measures on this CPU: another version of it, and report this to its makers"
    return f"{again}, or another version of it"
