"""What a run comes to: its exit status, its results and its report."""

import pytest

from pytest_edgeai.records import Outcome

PLAIN = "--edge-recipe=fake-fp32-plain"
ELSEWHERE = """
@pytest.mark.edge_target("apple")
def test_gate(edge_variant):
    assert edge_variant.size <= 1e9
"""
NOTHING_PROVEN = "No gate was decided, so nothing is proven: the run fails."


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_run_whose_edge_tests_all_skip_fails_and_says_so(edge, gates, processes):
    edge.write(ELSEWHERE + "\ndef test_plain():\n    assert True\n")

    result = edge.run("-n", processes, "--edge-recipe=onnx*-int8*")

    result.assert_outcomes(passed=1, skipped=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([NOTHING_PROVEN])
    assert gates() == []


def test_a_run_without_edge_tests_is_left_alone(edge):
    edge.write(ELSEWHERE)
    edge.pytester.makepyfile(
        test_plain="def test_plain(): pass\ndef test_device(edge_device): assert edge_device.cores\n"
    )

    one_file = edge.run("test_plain.py")
    deselected = edge.run("-k", "plain or device")
    listed = [edge.run(option) for option in ("--collect-only", "--fixtures", "--setup-plan")]

    for result in (one_file, deselected, *listed):
        assert result.ret == pytest.ExitCode.OK
        assert NOTHING_PROVEN not in result.stdout.str()
        assert not [line for line in result.outlines if line.startswith("=") and " edgeai " in line]
    assert not edge.report.exists()


ALL_OUTCOMES = """
def test_size(edge_variant):
    assert edge_variant.size <= 1e9

def test_too_small(edge_variant):
    assert edge_variant.size <= 10

def test_not(edge_variant):
    assert not edge_variant.accuracy >= 0.5

def test_speed(edge_variant):
    assert edge_variant.baseline.speedup <= 100

def test_open(edge_variant):
    assert edge_variant.accuracy >= 0.91

def test_unsupported(edge_variant):
    assert edge_variant.latency.p95 <= edge_variant.baseline.latency.p95

def test_skipped(edge_variants):
    pytest.skip("later")
"""


def test_one_process_and_several_come_to_the_same_gates_and_the_second_run_builds_nothing(edge, results):
    edge.write(ALL_OUTCOMES, fake=True)
    cache, found = edge.pytester.path / "cache", []

    for processes in ("0", "2"):
        result = edge.run(PLAIN, "--edge-budget=5", f"--edge-cache={cache}", "-n", processes)
        result.assert_outcomes(passed=2, failed=3, skipped=2)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        found.append(results())

    by_test = [{gate.test: (gate.verdict.claim, gate.verdict.outcome) for gate in run.gates} for run in found]
    assert by_test[0] == by_test[1]
    assert sorted(outcome for _, outcome in by_test[0].values()) == sorted(
        [Outcome.PASS, Outcome.PASS, Outcome.FAIL, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.UNSUPPORTED]
    )
    states = [{variant.name: variant.state for variant in run.models[0].variants} for run in found]
    assert states[0] == {"onnxruntime-fp32": "built", "fake-fp32-plain": "built"}
    assert states[1] == {"onnxruntime-fp32": "cached", "fake-fp32-plain": "cached"}
    assert [len(run.models) for run in found] == [1, 1]
    assert "<html" in (edge.report / "index.html").read_text()


SIZES = """
def test_size(edge_variant):
    assert edge_variant.size <= 1e9

def test_too_small(edge_variant):
    assert edge_variant.size <= 10
"""


def test_a_report_that_cannot_be_written_is_one_sentence_and_loses_no_verdict(edge):
    edge.write(SIZES)
    (edge.pytester.path / "file").touch()

    result = edge.run("--edge-recipe=onnx*static", "--edge-report=file/below", "-q")

    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["*size <= 10 B: FAIL on *", "Verdicts: 1 PASS, 1 FAIL", "The report can't be written to *"]
    )
    text = "".join(result.outlines)  # the terminal wraps lines
    assert text.count("The report can't be written to ") == 1
    assert "Choose another folder with --edge-report." in text
    assert "Traceback" not in text + result.stderr.str()


def test_a_page_of_an_earlier_run_is_not_shown_as_this_runs(edge):
    edge.write(SIZES)
    (edge.report / "results.json" / "in the way").mkdir(parents=True)
    (edge.report / "index.html").write_text("earlier")

    result = edge.run("--edge-recipe=onnx*static", "-k", "size")

    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("report: *")
    result.stdout.fnmatch_lines(["The report can't be written to *"])


@pytest.mark.parametrize("silence", [["-p", "no:terminal"], ["-q", "-q"]])
def test_a_run_needs_no_terminal_to_be_judged_and_reported(edge, gates, silence):
    edge.write(SIZES)

    result = edge.run("--edge-recipe=onnx*static", *silence, subprocess=True)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert [outcome for _, outcome in gates()] == [Outcome.PASS, Outcome.FAIL]
    assert (edge.report / "index.html").is_file()
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    if "no:terminal" in silence:
        assert result.stdout.str() == ""


SAME = """
def test_one(edge_variant):
    assert edge_variant.baseline.speedup <= 100

def test_two(edge_variant):
    assert edge_variant.baseline.speedup <= 100
"""


def test_a_comparison_is_decided_once_in_a_run_of_several_processes(edge, results):
    edge.write(SAME, fake=True)

    result = edge.run(PLAIN, "--edge-budget=5", "-n", "2")

    assert result.ret == pytest.ExitCode.OK
    assert len({gate.verdict.estimate for gate in results().gates}) == 1
    assert [series.plan for series in results().models[0].measurements] == ["turns"]
