"""Install llama.cpp with its Python package, compiled for the instructions of this machine.

There is no ready wheel. A compiled one is kept in the user's cache folder for each version and each set of flags, which pip's own cache
doesn't tell apart, and is taken from there the next time::

    python scripts/install_llamacpp.py

It runs in the environment that it installs into, with the versions of ``constraints.txt``.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import deque
from pathlib import Path

from pytest_edgeai import device, folders
from pytest_edgeai.doctor.llamacpp import DISTRIBUTION, cmake_args

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
STEP = re.compile(r"\[ *(\d+)/(\d+)\]")
"""How ninja counts what it has compiled."""
EVERY = 15.0
"""Seconds between two lines of progress."""


def main() -> None:
    """The wheel that is kept, or a new one; installed."""
    if not (pinned := re.search(rf"^{DISTRIBUTION}==(\S+)$", CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE)):
        sys.exit(f"{CONSTRAINTS.name} has no line {DISTRIBUTION}==VERSION.")
    requirement = pinned[0]
    here = device.detect()
    # Language models alone: LLAVA_BUILD is the part for images, a quarter of all that there is to compile.
    flags = f"{cmake_args(here)} -DLLAVA_BUILD=OFF".strip()
    key = hashlib.sha256("\n".join((requirement, flags, sysconfig.get_platform(), *platform.libc_ver())).encode())
    kept = (folders.cache() or Path(tempfile.gettempdir())) / "wheels" / key.hexdigest()[:16]
    if not any(kept.glob("*.whl")):
        print(f"Compiling {requirement}, which takes some 4 minutes on two free cores, once: {flags}", flush=True)
        compile_into(kept, requirement, flags, here.cores)
    (wheel,) = kept.glob("*.whl")
    print(f"Installing {wheel}", flush=True)
    # By force, for the same version may be there that was compiled otherwise.
    for what in (("--force-reinstall", "--no-deps", wheel), ("--editable", f"{ROOT}[llamacpp]")):
        subprocess.run([*PIP, "install", "--quiet", "--constraint", CONSTRAINTS, *what], check=True)


def compile_into(folder: Path, requirement: str, flags: str, cores: int) -> None:
    """With a line of progress now and then; what the compiler says is shown when it fails."""
    compiler = os.environ.get("CXX", "c++")
    if not shutil.which(compiler):
        sys.exit(
            f"llama.cpp is compiled here, and there is no C++ compiler ({compiler}). Debian, Ubuntu: apt-get install g++. macOS: "
            "xcode-select --install."
        )
    begin = told = time.monotonic()
    last: deque[str] = deque(maxlen=40)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = [*PIP, "wheel", "--verbose", "--no-deps", "--no-cache-dir", "--wheel-dir", scratch, requirement]
        environment = {**os.environ, "CMAKE_ARGS": flags, "CMAKE_BUILD_PARALLEL_LEVEL": str(cores)}
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as pip:
            assert pip.stdout is not None
            for line in pip.stdout:
                last.append(line)
                if (step := STEP.search(line)) and time.monotonic() - told >= EVERY:
                    told = time.monotonic()
                    print(f"  {int(step[1])} of {step[2]} compiled, {told - begin:.0f} s", flush=True)
        if pip.returncode:
            sys.exit(f"{''.join(last)}\nllama.cpp could not be compiled; the last lines of the compiler are above.")
        for wheel in Path(scratch).glob("*.whl"):
            wheel.replace(folder / wheel.name)
    print(f"  compiled in {time.monotonic() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
