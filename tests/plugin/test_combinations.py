"""Other options of pytest, and odd places to run in: the plugin keeps to them, and every run ends in verdicts or in a sentence."""

import os
import shutil
import sys
import tempfile
import xml.etree.ElementTree as ET

import pytest

from pytest_edgeai.records import Outcome

PLAIN = "--edge-recipe=fake-fp32-plain"
SUITE = """
def test_small(edge_variant):
    assert edge_variant.size <= 1e9

def test_large(edge_variant):
    assert edge_variant.size <= 10

def test_huge(edge_variant):
    assert edge_variant.size >= 1e9

def test_of_no_model():
    assert True
"""
SMALL, LARGE, HUGE = (
    ("fake-fp32-plain size <= 1 GB", Outcome.PASS),
    ("fake-fp32-plain size <= 10 B", Outcome.FAIL),
    ("fake-fp32-plain size >= 1 GB", Outcome.FAIL),
)


def clean(result: pytest.RunResult) -> bool:
    """Nothing in the output is a traceback or an error of ours."""
    text = result.stdout.str() + result.stderr.str()
    return not any(word in text for word in ("Traceback", "INTERNALERROR", "pytest_edgeai/", "PytestUnraisable"))


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory, monkeypatch):
    """A host's lock of their own: nothing here measures time."""
    folder = str(tmp_path_factory.mktemp("temporary"))
    monkeypatch.setenv("TMPDIR", folder)
    monkeypatch.setattr(tempfile, "tempdir", folder)


@pytest.fixture
def suite(edge):
    """Two gates that fail, one that passes and a test without a model."""
    edge.write(SUITE, fake=True)
    return edge


@pytest.mark.parametrize(
    ("arguments", "outcomes", "decided"),
    [
        (["-k", "small"], {"passed": 1, "deselected": 3}, [SMALL]),
        (["test_edge.py::test_large"], {"failed": 1}, [LARGE]),
        (["test_edge.py::test_large[fake-fp32-plain]"], {"failed": 1}, [LARGE]),
        (["-x"], {"passed": 1, "failed": 1}, [SMALL, LARGE]),
        (["--maxfail=2"], {"passed": 1, "failed": 2}, [SMALL, LARGE, HUGE]),
        (["-n", "2"], {"passed": 2, "failed": 2}, [SMALL, LARGE, HUGE]),
        (["-s"], {"passed": 2, "failed": 2}, [SMALL, LARGE, HUGE]),
        (["--capture=tee-sys"], {"passed": 2, "failed": 2}, [SMALL, LARGE, HUGE]),
        (["-p", "no:capture"], {"passed": 2, "failed": 2}, [SMALL, LARGE, HUGE]),
        (["-v"], {"passed": 2, "failed": 2}, [SMALL, LARGE, HUGE]),
        (["--durations=0", "-vv"], {"passed": 2, "failed": 2}, [SMALL, LARGE, HUGE]),
        (["-W", "error"], {"passed": 2, "failed": 2}, [SMALL, LARGE, HUGE]),
        (["-p", "no:warnings"], {"passed": 2, "failed": 2}, [SMALL, LARGE, HUGE]),
        (["-p", "no:logging"], {"passed": 2, "failed": 2}, [SMALL, LARGE, HUGE]),
        (["-p", "no:xdist"], {"passed": 2, "failed": 2}, [SMALL, LARGE, HUGE]),
        (["-p", "no:assertion"], {"passed": 2, "failed": 2}, [SMALL, LARGE, HUGE]),
        (["--setup-show"], {"passed": 2, "failed": 2}, [SMALL, LARGE, HUGE]),
        (["--import-mode=importlib"], {"passed": 2, "failed": 2}, [SMALL, LARGE, HUGE]),
        (["--import-mode=append"], {"passed": 2, "failed": 2}, [SMALL, LARGE, HUGE]),
        (["--strict-markers", "--strict-config"], {"passed": 2, "failed": 2}, [SMALL, LARGE, HUGE]),
        (["--doctest-modules"], {"passed": 2, "failed": 2}, [SMALL, LARGE, HUGE]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and value and isinstance(value[0], str) else "",
)
def test_an_option_of_pytest_does_what_it_does(suite, gates, arguments, outcomes, decided):
    result = suite.run(PLAIN, *arguments, subprocess=True)

    result.assert_outcomes(**outcomes)
    assert sorted(gates()) == sorted(decided)
    assert clean(result)


def test_the_last_failures_are_run_again_alone_or_first(suite, gates):
    arguments = (PLAIN, "-p", "cacheprovider", "-o", f"cache_dir={suite.pytester.path / 'kept'}")

    suite.run(*arguments)
    again = suite.run(*arguments, "--lf")
    decided = gates()
    first = suite.run(*arguments, "--ff", "-v")

    again.assert_outcomes(failed=2, warnings=1)  # "-p cacheprovider" takes back the "-p no:cacheprovider" before it
    assert sorted(decided) == sorted([LARGE, HUGE])
    first.assert_outcomes(passed=2, failed=2, warnings=1)
    ran = [line.split("::")[1].split("[")[0] for line in first.outlines if line.startswith("test_edge.py::")]
    assert ran[:2] == ["test_large", "test_huge"]


@pytest.mark.parametrize("style", ["auto", "long", "short", "line", "native", "no"])
def test_every_style_of_traceback_shows_no_frame_of_ours(suite, gates, style, monkeypatch):
    monkeypatch.delenv("CI", raising=False)  # there pytest's summary shows whole messages
    monkeypatch.delenv("BUILD_NUMBER", raising=False)

    result = suite.run(PLAIN, f"--tb={style}", subprocess=True)

    result.assert_outcomes(passed=2, failed=2)
    assert sorted(gates()) == sorted([SMALL, LARGE, HUGE])
    text = result.stdout.str() + result.stderr.str()
    assert "pytest_edgeai/" not in text or style == "native"  # which is Python's own, and hides nothing
    assert "INTERNALERROR" not in text
    assert ("size <= 10 B: FAIL on" in text) == (style != "no")


@pytest.mark.parametrize(
    "option", ["--collect-only", "--setup-only", "--setup-plan", "--fixtures", "--markers", "--help"]
)
def test_what_runs_no_test_decides_nothing_and_writes_no_report(suite, option):
    result = suite.run(PLAIN, option, subprocess=True)

    assert result.ret == pytest.ExitCode.OK
    assert clean(result) or option in ("--fixtures", "--help")  # these name the files of fixtures and plugins
    assert not suite.report.exists()


@pytest.mark.parametrize("processes", ["0", "2"])
def test_junitxml_is_well_formed_and_has_every_verdict(suite, tmp_path, processes):
    hostile = tmp_path / "a <b> & \"c\" 'd' ]]> ümläut.onnx"
    shutil.copy(suite.sample.model, hostile)

    suite.run(PLAIN, "--junitxml=junit.xml", "-n", processes, f"--edge-model={hostile}")

    cases = {case.get("name"): case for case in ET.parse(suite.pytester.path / "junit.xml").iter("testcase")}
    failure = cases["test_large[fake-fp32-plain]"].find("failure")
    told = {
        name: [found.get("value") for found in case.iter("property") if found.get("name") == "edgeai"]
        for name, case in cases.items()
    }
    assert len(cases) == 4
    assert failure is not None
    assert "fake-fp32-plain size <= 10 B: FAIL on " in failure.get("message", "")
    assert [len(texts) for texts in told.values()].count(1) == 3
    assert told["test_small[fake-fp32-plain]"][0].startswith("fake-fp32-plain size <= 1 GB: PASS on ")
    assert told["test_large[fake-fp32-plain]"][0].startswith("fake-fp32-plain size <= 10 B: FAIL on ")


@pytest.mark.parametrize(
    "name",
    ["a b", 'it\'s "quoted"', "ümläut 模型", "two\nlines", "100%s {0} $HOME", "-x", "a;b&c<d>"],
)
def test_a_folder_of_any_name_will_do(suite, gates, name, tmp_path):
    folder = tmp_path / name
    folder.mkdir()
    for path in (*suite.pytester.path.glob("*.py"), suite.sample.model, suite.sample.dataset):
        shutil.copy(path, folder)
    files = [f"--edge-model={folder / 'small.onnx'}", f"--edge-dataset={folder / 'small.npz'}"]
    os.chdir(folder)

    result = suite.run(
        PLAIN, *files, f"--edge-report={folder / 'report'}", f"--edge-cache={folder / 'cache'}", subprocess=True
    )
    shutil.copytree(folder / "report", suite.report)

    result.assert_outcomes(passed=2, failed=2)
    assert sorted(gates()) == sorted([SMALL, LARGE, HUGE])
    assert clean(result)


def test_a_name_that_an_engine_cannot_open_is_an_error_in_its_words(suite, gates, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8:backslashreplace")  # pytester reads UTF-8
    cache = tmp_path / "not UTF-8 \udcff"

    result = suite.run(PLAIN, f"--edge-cache={cache}", subprocess=True)

    result.assert_outcomes(passed=1, errors=3)
    assert [outcome for _, outcome in gates()] == [Outcome.ERROR] * 3
    assert "the worker failed in phase 'build': TypeError: " in result.stdout.str()
    assert clean(result)


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "POSIX", "PYTHONIOENCODING": "utf-8:backslashreplace"},
        {"TERM": "dumb", "COLUMNS": "40"},
        {"NO_COLOR": "1", "CI": "true"},
        {"TMPDIR": "/nowhere/at/all"},
        {"PYTHONOPTIMIZE": ""},
        {"PYTHONWARNINGS": "error"},
        {"PYTHONDEVMODE": "1"},
    ],
    ids=" ".join,
)
def test_odd_environments(suite, gates, monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    model = suite.pytester.path / "ümläut.onnx"
    shutil.copy(suite.sample.model, model)

    result = suite.run(PLAIN, f"--edge-model={model}", f"--edge-cache={suite.pytester.path / 'cache'}", subprocess=True)

    result.assert_outcomes(passed=2, failed=2)
    assert sorted(gates()) == sorted([SMALL, LARGE, HUGE])
    assert clean(result)
    assert (suite.report / "index.html").is_file()


def test_two_runs_in_one_process_are_two_runs(suite):
    program = f"""
import pytest
options = ["-q", "-p", "no:cacheprovider", "--edge-target=cross", {PLAIN!r}, "--edge-cache={suite.cache}"]
print([int(pytest.main([*options, f"--edge-report=report-{{number}}", *more])) for number, more in enumerate([[], ["-k", "small"]])])
"""
    result = suite.pytester.run(sys.executable, "-c", program)

    assert result.outlines[-1] == "[1, 0]"
    assert clean(result)
    assert all((suite.pytester.path / f"report-{number}/index.html").is_file() for number in (0, 1))


# What root may do is no test of a folder that can't be written: these run without its privileges.
SETPRIV = shutil.which("setpriv")
USUAL = [] if os.geteuid() else [SETPRIV or "", "--bounding-set=-dac_override,-dac_read_search,-fowner"]
STRANGER = [SETPRIV or "", "--reuid=54321", "--regid=54321", "--clear-groups"]
STRANGER += [
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
]  # our own files may lie where only root looks
needs_setpriv = pytest.mark.skipif(os.geteuid() == 0 and not SETPRIV, reason="giving up privileges needs setpriv")


def run_as(suite, prefix: list[str], *arguments: str) -> pytest.RunResult:
    command = [*prefix, sys.executable, "-B", "-m", "pytest", "-p", "no:cacheprovider", "--edge-target=cross", PLAIN]
    return suite.pytester.run(*command, *arguments)


@needs_setpriv
def test_a_working_folder_that_cannot_be_written_loses_the_report_alone(suite):
    suite.pytester.path.chmod(0o555)

    result = run_as(suite, USUAL, f"--edge-cache={suite.cache}")
    suite.pytester.path.chmod(0o755)

    result.assert_outcomes(passed=2, failed=2)
    assert "".join(result.outlines).count("The report can't be written to ") == 1
    assert "Verdicts: 1 PASS, 2 FAIL" in result.stdout.str()
    assert clean(result)


@needs_setpriv
@pytest.mark.parametrize("what", ["a folder that can't be written", "a file"])
def test_a_cache_that_cannot_be_written_is_told_once_and_keeps_nothing(suite, what):
    cache = suite.pytester.path / "cache"
    if what == "a file":
        cache.touch()
    else:
        cache.mkdir(mode=0o555)

    result = run_as(suite, USUAL, f"--edge-cache={cache}", f"--edge-report={suite.report}")

    result.assert_outcomes(passed=2, failed=2)
    text = "".join(result.outlines)
    assert text.count("can't be written") == 1
    assert "this run keeps nothing" in text
    assert clean(result)


@pytest.mark.skipif(os.geteuid() != 0 or not SETPRIV, reason="becoming somebody else needs root and setpriv")
def test_a_user_without_a_name_and_a_home_keeps_nothing_and_gets_every_verdict(suite, monkeypatch, gates, tmp_path):
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    for folder in (temporary, suite.pytester.path):
        folder.chmod(0o777)
    monkeypatch.setenv("TMPDIR", str(temporary))

    result = run_as(suite, STRANGER, f"--edge-report={suite.report}")

    result.assert_outcomes(passed=2, failed=2)
    assert sorted(gates()) == sorted([SMALL, LARGE, HUGE])
    assert "".join(result.outlines).count("this user has no home folder, so this run keeps no variants") == 1
    assert [path.name for path in temporary.iterdir()] == ["pytest-edgeai-54321"]
    assert not (suite.pytester.path / "~").exists()
    assert clean(result)


@pytest.mark.skipif(os.geteuid() != 0 or not SETPRIV, reason="becoming somebody else needs root and setpriv")
def test_somebody_elses_folder_for_the_hosts_lock_is_left_alone(suite, monkeypatch, tmp_path):
    temporary, theirs = tmp_path / "temporary", tmp_path / "theirs"
    for folder in (temporary, theirs):
        folder.mkdir()
        folder.chmod(0o1777)
    (temporary / "pytest-edgeai-54321").symlink_to(theirs)
    suite.pytester.path.chmod(0o777)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("HOME", str(suite.pytester.path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    result = run_as(suite, STRANGER, f"--edge-report={suite.report}")

    result.assert_outcomes(passed=2, failed=2)
    assert list(theirs.iterdir()) == []
    assert (suite.pytester.path / ".cache/pytest-edgeai/lock/host.lock").exists()
    assert clean(result)
