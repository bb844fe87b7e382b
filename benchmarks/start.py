"""What having the plugin installed costs a start of pytest that uses no edge fixture.

``python -m benchmarks.start``. Pytest collects one plain test, with the plugin and without it, in turns.
"""

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from benchmarks.medians import Median
from benchmarks.tables import Table

REPEATS = 15
LIMIT = 10.0
"""Milliseconds."""
_OPTIONS = ["--collect-only", "-q", "-p", "no:cacheprovider"]
_WITHOUT = ["-p", "no:edgeai"]
# Python's clock of imports doesn't see what pytest loads as a plugin, only what that imports in turn.
_FIRST = "import pytest_edgeai.plugin; "


def imported(lines: Iterable[str]) -> dict[str, int]:
    """Module -> microseconds to import it alone, from what ``python -X importtime`` prints."""
    rows = (line.removeprefix("import time:").split("|") for line in lines if line.startswith("import time:"))
    return {name.strip(): int(alone) for alone, _, name in rows if alone.strip().isdigit()}


def imports(folder: Path, *, plugin: bool) -> dict[str, int]:
    """What one start imports."""
    program = _program(_OPTIONS if plugin else [*_OPTIONS, *_WITHOUT], _FIRST if plugin else "")
    command = [sys.executable, "-X", "importtime", "-c", program]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return imported(ended.stderr.splitlines())


def started(folder: Path, *, plugin: bool) -> float:
    """Milliseconds of CPU time of one whole start, which neighbours on the cores change least."""
    command = [sys.executable, "-c", _program(_OPTIONS if plugin else [*_OPTIONS, *_WITHOUT])]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return (used.ru_utime + used.ru_stime) * 1e3


def measure(repeats: int = REPEATS) -> Table:
    """Repeats, each of both kinds of starts in random order."""
    coin = random.Random(0)
    own: list[float] = []
    sides: dict[bool, list[float]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_plain.py").write_text("def test_plain():\n    assert True\n")
        plain = imports(folder, plugin=False)
        imports(folder, plugin=True)  # writes the bytecode
        for _ in range(repeats):
            own.append(sum(cost for module, cost in imports(folder, plugin=True).items() if module not in plain) / 1e3)
            for plugin in coin.sample([True, False], 2):
                sides[plugin].append(started(folder, plugin=plugin))
    added = Median.of([one - other for one, other in zip(sides[True], sides[False], strict=True)])
    alone = Median.of(own)
    rows = [
        ["imports that only the plugin makes", f"{alone:.1f} ms", alone.at_most(LIMIT)],
        ["CPU time of a whole start, with less without", f"{added:.1f} ms", added.at_most(LIMIT)],
        ["CPU time of a whole start without", f"{Median.of(sides[False]):.0f} ms", ""],
    ]
    note = (
        f"Pytest collects one plain test; {repeats} repeats with and without the plugin in turns; medians, and in brackets the bounds of the true median (95 %). "
        "The imports are timed by `python -X importtime`, each module alone."
    )
    return Table(
        "What the plugin costs a start of pytest that doesn't use it", ["", "time", f"at most {LIMIT:g} ms"], rows, note
    )


def _program(options: list[str], before: str = "") -> str:
    return f"{before}import sys, pytest; sys.exit(pytest.main({options!r}))"


if __name__ == "__main__":
    print(measure())
