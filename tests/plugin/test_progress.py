"""Progress in real runs: lines in a log, a line that lives on a terminal, and what processes of pytest-xdist say."""

import os
import pty
import re
import subprocess
import sys

import pytest
from screen import Screen

LONG = """
def test_quick():
    pass

def test_long(edge_variant):
    assert edge_variant.size <= 1e9

def test_last():
    pass
"""
QUICK_CLOCKS = """
import pytest_edgeai.build
import pytest_edgeai.progress

pytest_edgeai.build.BUILD_TIMEOUT = 2.5
pytest_edgeai.progress.HEARTBEAT = 0.5
pytest_edgeai.progress.REDRAW = 0.1

def pytest_edge_plugins(config):
    return ["fake_engine"]
"""
HANGS = "--edge-recipe=fake-fp32-hang_build"
BUILDING = "building fake-fp32-hang_build of small"


@pytest.fixture
def long(edge, tmp_path, monkeypatch):
    """A run that builds for some seconds, and gives signs of life often."""
    edge.write(LONG)
    edge.pytester.makeconftest(QUICK_CLOCKS)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))  # a host's lock of its own
    for name in ("CI", "BUILD_NUMBER", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return edge


@pytest.mark.parametrize("arguments", [[], ["-s"], ["-v"], ["--capture=sys"]], ids=" ".join)
def test_a_log_is_told_what_is_built_and_that_it_goes_on(long, arguments):
    result = long.run(HANGS, *arguments, subprocess=True)

    result.assert_outcomes(passed=2, errors=1)
    assert result.outlines.count(f"edgeai: {BUILDING}") == 1
    assert len([line for line in result.outlines if re.fullmatch(rf"edgeai: {BUILDING}: 0:0\d so far", line)]) >= 1
    assert "\x1b" not in result.stdout.str()


def test_the_controller_of_several_processes_prints_what_they_say(long):
    result = long.run(HANGS, "-n", "2", subprocess=True)

    result.assert_outcomes(passed=2, errors=1)
    said = [line for line in result.outlines if re.match(r"edgeai: \[gw\d\] ", line)]
    assert len([line for line in said if line.endswith(BUILDING)]) == 1
    assert len([line for line in said if re.search(rf"{BUILDING}: 0:0\d so far$", line)]) >= 1


@pytest.mark.parametrize("arguments", [["-q"], ["-q", "-n", "2"], ["-p", "no:terminal"]], ids=" ".join)
def test_who_wants_silence_gets_it(long, arguments):
    result = long.run(HANGS, *arguments, subprocess=True)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "edgeai: " not in result.stdout.str() + result.stderr.str()


def on_terminal(edge, *arguments: str, **environment: str) -> str:
    """Everything that a run writes to a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:terminalprogress", HANGS, *arguments]
    process = subprocess.Popen(
        [*command, "--edge-target=cross", f"--edge-cache={edge.cache}", f"--edge-report={edge.report}"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=edge.pytester.path,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "PYTHONIOENCODING": "utf-8", **environment},
    )
    os.close(theirs)
    found = b""
    while True:
        try:
            found += os.read(ours, 65536)
        except OSError:  # nobody holds the other side any more
            break
    process.wait()
    os.close(ours)
    return found.decode()


@pytest.mark.parametrize("arguments", [[], ["-v"], ["-v", "--color=no"]], ids=" ".join)
def test_a_terminal_shows_one_line_that_lives_and_then_is_gone(long, arguments):
    text = on_terminal(long, *arguments)

    screen = Screen(10_000)  # pytest writes lines that wrap
    screen.show(text)
    assert len(re.findall(rf"edgeai {BUILDING} 0:0\d", text)) > 3
    assert not [row for row in screen.rows if BUILDING in row and row.startswith("edgeai")]
    if not arguments:
        assert [row.split() for row in screen.rows if row.startswith("test_edge.py ")] == [
            ["test_edge.py", ".E.", "[100%]"]
        ]
    else:
        tests = [row for row in screen.rows if re.match(r"test_edge.py::\w+(\[\S+\])? (PASSED|ERROR) ", row)]
        assert len(tests) == 3


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [(["-s"], {}), ([], {"TERM": "dumb"}), ([], {"CI": "true"})],
    ids=["-s", "TERM=dumb", "CI"],
)
def test_a_terminal_that_keeps_what_is_written_gets_lines(long, arguments, environment):
    text = on_terminal(long, *arguments, **environment).replace("\r\n", "\n")

    assert text.count(f"edgeai: {BUILDING}\n") == 1
    assert re.search(rf"edgeai: {BUILDING}: 0:0\d so far\n", text)
    assert "\x1b[1A" not in text
