"""Pages: the code blocks of the README and the manual, and what to do with each.

A plain harness rather than sybil: nearly every block here is a file for pytest or a pytest command with what it prints, which
would leave sybil nothing to do but to find the blocks; and what a page shows must run in a folder and a pytest of its own.
"""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_edgeai.records import Device

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)]
DEVICE = "amd-epyc-2c"
"""The name of the device in outputs that are shown."""
MACHINE = "AMD EPYC (linux x86_64)"
"""What the machine is in them."""
NOT_RUN = ("pip ", "git ", "cd ")
"""Commands that are shown and not run: they would reach out of the folder or onto the network."""
FAILING = re.compile(r"\b(FAIL|ERROR|failed|errors?)\b|No gate was decided|INCONCLUSIVE")
"""In a shown output: the command exits non-zero."""

SLOW, TOO_FAST = "speedup >= 10\n", "speedup >= 1000\n"
"""A limit that a page's variant misses, and the one that any variant misses by far on any machine, however many neighbours it has."""

# Not the digits in names, as of devices and precisions.
_NUMBER = re.compile(r"(?<![\w-])\d[\d.,]*(?:e[+-]?\d+)?(?: ?(?:[µmn]?s|[kMG]?B|x|%)(?!\w))?")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced code block."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def name(self) -> str | None:
        """``test_gates.py``, where the first line is a comment with a file's name."""
        found = re.match(r"# ([\w./-]+\.(?:py|toml|yml|ini))\n", self.text)
        return found[1] if found else None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """In the page's order; directives (``{...}``) are Sphinx' business."""
    fence: re.Match[str] | None = None
    lines: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if fence is None:
            fence, lines = re.match(r"( *)(```+|~~~+)([^`]*)$", line), []
            start = number
        elif line.strip() == fence[2]:
            if not fence[3].startswith("{"):
                yield Block(page, start, fence[3].strip(), "\n".join(lines) + "\n")
            fence = None
        else:
            lines.append(line.removeprefix(fence[1]))


def masked(text: str) -> str:
    """Output without what changes from run to run: figures, and how much space they take."""
    return re.sub(r"[\s=_]+", " ", _NUMBER.sub("#", text)).strip()


def missing(shown: list[str], actual: str) -> str | None:
    """The first passage that is shown and did not come, in its order; ``...``, alone or at the end of a line, stands for anything.

    A page breaks long lines where it likes, so a passage is looked for in the whole text.
    """
    came, place = masked(actual), 0
    for passage in re.split(r"(?:^| )\.\.\.$", "\n".join(shown), flags=re.MULTILINE):
        wanted = masked(passage)
        found = came.find(wanted, place)
        if found < 0:
            return passage.strip()
        place = found + len(wanted)
    return None


@dataclass
class Shell:
    """Runs a page's blocks in one folder."""

    pytester: pytest.Pytester
    device: Device
    status: int = 0
    names: dict[str, Any] = field(default_factory=dict)

    def do(self, block: Block) -> None:
        """Raises AssertionError, naming the block, when it isn't true."""
        doing: dict[str, Callable[[Block], None]] = {
            "python": self._python,
            "toml": self._toml,
            "yaml": self._yaml,
            "json": lambda block: json.loads(block.text),
            "console": self._console,
            "": lambda block: None,  # a drawing
        }
        assert block.language in doing, f"{block}: a block of '{block.language}' is not checked; {', '.join(doing)} are"
        doing[block.language](block)

    def _python(self, block: Block) -> None:
        code = compile(block.text, str(block), "exec")
        if block.name:
            self._write(block.name, block.text.replace(SLOW, TOO_FAST))
        else:
            exec(code, self.names)

    def _toml(self, block: Block) -> None:
        tomllib.loads(block.text)
        assert block.name, f"{block}: its first line must be a comment with the file's name"
        self._write(block.name, block.text)

    def _yaml(self, block: Block) -> None:
        steps = [step for job in yaml.safe_load(block.text)["jobs"].values() for step in job["steps"]]
        for step in steps:
            for command in step.get("run", "").splitlines():
                self._run(block, command, [])

    def _console(self, block: Block) -> None:
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, *shown = part.splitlines()
            self._run(block, command, shown)

    def _run(self, block: Block, command: str, shown: list[str]) -> None:
        if command.startswith(NOT_RUN):
            return
        if command == "echo $?":
            assert shown == [str(self.status)], f"{block}: the exit status is {self.status}"
            return
        program, *arguments = shlex.split(command)
        if program == "make":
            makefile = (ROOT / "Makefile").read_text()
            assert re.search(rf"^{arguments[0]}:", makefile, re.MULTILINE), f"{block}: make has no {arguments[0]}"
            return
        if program == "pytest" and not shown:
            # What it would print is not claimed, only that it can be run so; its tests may be the reader's own.
            status, text = self._pytest([*arguments, "--collect-only"])
            assert status in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED), f"{block}: `{command}`:\n{text}"
            return
        if program == "edgeai" and not shown:
            arguments += ["--help"]
        self.status, text = {"pytest": self._pytest, "edgeai": self._edgeai, "cat": self._cat}[program](arguments)
        machine = f"{self.device.cpu} ({self.device.system} {self.device.architecture})"
        for own, told in ((self.device.name, DEVICE), (machine, MACHINE), (f"{self.pytester.path}/", "")):
            text = text.replace(own, told)
        lacking = missing(shown, text)
        assert lacking is None, f"{block}: `{command}` did not print\n{lacking}\nbut\n{text}"
        fails = bool(FAILING.search("\n".join(shown)))
        assert (self.status != 0) == fails, f"{block}: `{command}` exited with {self.status}:\n{text}"

    def _pytest(self, arguments: list[str]) -> tuple[int, str]:
        """In this process; the shipped suites are where a checkout has them, and any device is of the target."""
        text = shlex.join(arguments).replace("--pyargs pytest_edgeai.suites", str(ROOT / "suites"))
        text = re.sub(r"(?<!\S)suites(?=/|\s|$)", str(ROOT / "suites"), text)
        text = re.sub(r"--edge-target=(intel|auto)\b", "--edge-target=cross", text)
        result = self.pytester.runpytest_inprocess(*shlex.split(text))
        return int(result.ret), result.stdout.str() + result.stderr.str()

    def _edgeai(self, arguments: list[str]) -> tuple[int, str]:
        command = [sys.executable, "-m", "pytest_edgeai.cli", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        return done.returncode, done.stdout + done.stderr

    def _cat(self, arguments: list[str]) -> tuple[int, str]:
        return 0, (self.pytester.path / arguments[0]).read_text()

    def _write(self, name: str, text: str) -> None:
        path = self.pytester.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
