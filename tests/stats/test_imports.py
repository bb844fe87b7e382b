"""What importing the statistics costs."""

import subprocess
import sys


def test_importing_the_statistics_does_not_import_scipy() -> None:
    modules = "order, proportions, real_valued, sequential, spread, steady"
    program = f"import sys; from pytest_edgeai.stats import {modules}; print('scipy' in sys.modules)"

    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "False"
