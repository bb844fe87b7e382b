"""The same samples: the same verdicts, byte for byte."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rigor import same

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_another_process_comes_to_the_same_verdicts_byte_for_byte(hash_seed):
    here = same.lines()

    there = subprocess.run(
        [sys.executable, "-m", "tests.rigor.same"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert there == here
    assert all(any(f'"{outcome}"' in line for line in here) for outcome in ("PASS", "FAIL", "INCONCLUSIVE"))
