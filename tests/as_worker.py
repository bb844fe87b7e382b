"""Programs of tests that run as workers do, in a folder of their own."""

import os
import subprocess
import sys
from pathlib import Path

from pytest_edgeai.measure.process import OWN, SET


def run(program: str, folder: Path, given: str) -> str:
    """What ``program`` prints; it is started in ``folder``, has its home there, and reads ``given``."""
    for name in ("home", "worker"):
        (folder / name).mkdir()
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        input=given,
        env={
            **os.environ,
            **SET,
            **dict.fromkeys(OWN, str(folder / "worker")),
            "HOME": str(folder / "home"),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return ended.stdout
