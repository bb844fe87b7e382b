"""Workers that crash, exit, hang, raise, answer NaN or flood the log: an ERROR of their variant, and the rest goes on."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil
import pytest

from pytest_edgeai.records import GateResult, Outcome, Results

# Each deadline is short for the recipe that misses it alone: what has to succeed has all the time it needs.
GATES = """
import pytest

DEADLINES = {
    "hang_build": "pytest_edgeai.build.BUILD_TIMEOUT",
    "hang_load": "pytest_edgeai.measure.bench.LOAD_TIMEOUT",
    "hang_call": "pytest_edgeai.measure.bench.LOAD_TIMEOUT",
    "hang_later": "pytest_edgeai.measure.bench.CALL_TIMEOUT",
}

@pytest.fixture(autouse=True)
def deadlines(request, monkeypatch):
    monkeypatch.setattr("pytest_edgeai.measure.process.LOG_LIMIT", 2**20)
    for method, where in DEADLINES.items():
        if method in request.node.name:
            monkeypatch.setattr(where, 2.0)

@pytest.mark.edge_recipe("fake-fp32-*[!w]_*", "fake-fp32-plain", "fake-fp32-chatty")
def test_it_is_fast(edge_variant):
    assert edge_variant.latency.p50 <= 1000

@pytest.mark.edge_recipe("fake-fp32-segv_later", "fake-fp32-nan_later", "fake-fp32-plain")
def test_it_is_right(edge_variant):
    assert edge_variant.accuracy >= 0.5
"""

FAILURES = {
    "segv_build": ("build", "killed by SIGSEGV"),
    "segv_load": ("load", "killed by SIGSEGV"),
    "segv_call": ("load", "killed by SIGSEGV"),  # the first calls belong to loading
    "segv_later": ("infer", "killed by SIGSEGV"),
    "exit_build": ("build", "it exited with status 0 before it answered"),
    "exit_load": ("load", "it exited with status 0 before it answered"),
    "exit_call": ("load", "it exited with status 0 before it answered"),
    "exit_later": ("infer", "it exited with status 0 before it answered"),
    "hang_build": ("build", "no answer within 2 s"),
    "hang_load": ("load", "no answer within 2 s"),
    "hang_call": ("load", "no answer within 2 s"),
    "hang_later": ("infer", "no answer within 2 s"),
    "raise_build": ("build", "RuntimeError: the engine says no"),
    "raise_load": ("load", "RuntimeError: the engine says no"),
    "raise_call": ("load", "RuntimeError: the engine says no"),
    "raise_later": ("infer", "RuntimeError: the engine says no"),
    "nothing_built": ("build", "NoSuchFile"),
    "chatty": ("build", "it printed more than 1 MiB"),
}
"""Method of the fake engine -> (phase, cause)."""


@dataclass(frozen=True)
class Disaster:
    """What a run left behind in which every variant but one failed."""

    status: int
    text: str
    results: Results
    survivors: list[psutil.Process]
    leftovers: list[str]

    def gate(self, test: str, method: str) -> GateResult:
        """The one gate of this test for this variant."""
        (found,) = (gate for gate in self.results.gates if gate.test.endswith(f"::{test}[fake-fp32-{method}]"))
        return found

    def told(self, test: str, method: str) -> str:
        """What the gate says, in one string."""
        return "\n".join(self.gate(test, method).verdict.notes)


@pytest.fixture(scope="module")
def kept() -> list[Disaster]:
    """The one run that the tests of this module look at."""
    return []


@pytest.fixture
def disaster(edge, kept: list[Disaster], alive: Callable[[], list[psutil.Process]], temporary: Path) -> Disaster:
    if not kept:
        edge.write(GATES, fake=True)
        run = edge.run("--edge-recipe=fake-*")
        kept.append(
            Disaster(
                status=run.ret,
                text=run.stdout.str() + run.stderr.str(),
                results=msgspec.json.decode((edge.report / "results.json").read_bytes(), type=Results),
                survivors=alive(),
                leftovers=sorted(
                    path.name
                    for path in temporary.rglob("*")
                    if "host.lock" not in path.name and path.name != f"pytest-edgeai-{os.getuid()}"
                ),
            )
        )
    return kept[0]


@pytest.mark.parametrize("method", FAILURES)
def test_a_worker_that_fails_is_an_error_of_its_variant_with_the_phase_and_the_cause(
    disaster: Disaster, method: str
) -> None:
    phase, cause = FAILURES[method]

    gate = disaster.gate("test_it_is_fast", method)

    assert gate.verdict.outcome is Outcome.ERROR
    assert f"fake-fp32-{method}: the worker failed in phase '{phase}': " in disaster.told("test_it_is_fast", method)
    assert cause in disaster.told("test_it_is_fast", method)


@pytest.mark.parametrize(
    ("method", "when"),
    [("nan_call", "the variant that was built"), ("nan_later", "a timed call")],
    ids=["at once", "only later"],
)
def test_a_variant_that_answers_nan_is_an_error_that_names_the_output(
    disaster: Disaster, method: str, when: str
) -> None:
    gate = disaster.gate("test_it_is_fast", method)

    assert gate.verdict.outcome is Outcome.ERROR
    assert (
        disaster.told("test_it_is_fast", method)
        == f"fake-fp32-{method}: output 'logits' of {when} is not finite (it holds NaN or infinity)"
    )


def test_a_crash_while_items_are_scored_is_an_error_of_that_phase(disaster: Disaster) -> None:
    gate = disaster.gate("test_it_is_right", "segv_later")

    assert gate.verdict.outcome is Outcome.ERROR
    assert "the worker failed in phase 'score': killed by SIGSEGV" in disaster.told("test_it_is_right", "segv_later")


def test_outputs_that_are_not_finite_are_never_scored(disaster: Disaster) -> None:
    gate = disaster.gate("test_it_is_right", "nan_later")

    assert gate.verdict.outcome is Outcome.ERROR
    assert re.search(r"the outputs of \d+ of \d+ items are not finite", disaster.told("test_it_is_right", "nan_later"))


@pytest.mark.parametrize("test", ["test_it_is_fast", "test_it_is_right"])
def test_the_variant_that_works_is_measured_between_those_that_fail(disaster: Disaster, test: str) -> None:
    gate = disaster.gate(test, "plain")

    assert gate.verdict.outcome is Outcome.PASS
    assert gate.verdict.estimate is not None


def test_every_gate_ends_in_one_verdict_and_the_run_fails(disaster: Disaster) -> None:
    outcomes = [gate.verdict.outcome for gate in disaster.results.gates]

    assert disaster.status == pytest.ExitCode.TESTS_FAILED
    assert sorted(outcomes) == [Outcome.ERROR] * (len(FAILURES) + 4) + [Outcome.PASS] * 2
    assert len({gate.test for gate in disaster.results.gates}) == len(outcomes)


@pytest.mark.parametrize("method", ["segv_build", "segv_load", "segv_later", "hang_later"])
def test_the_logs_tail_shows_where_the_engine_was(disaster: Disaster, method: str) -> None:
    told = disaster.told("test_it_is_fast", method)

    assert re.search(r"\| +File \".*fake_engine\.py\", line \d+ in misbehave", told)


def test_a_line_without_end_is_cut_in_the_logs_tail(disaster: Disaster) -> None:
    told = disaster.told("test_it_is_fast", "chatty")

    assert "xxx" in told
    assert max(map(len, told.splitlines())) <= 300


def test_neither_tracebacks_nor_this_packages_own_files_reach_the_output(disaster: Disaster) -> None:
    assert "Traceback" not in disaster.text
    assert "pytest_edgeai/" not in disaster.text
    assert "runpy" not in disaster.text
    assert "INTERNALERROR" not in disaster.text


def test_no_worker_survives_the_run(disaster: Disaster) -> None:
    assert disaster.survivors == []


def test_no_folder_of_a_worker_or_of_the_run_is_left(disaster: Disaster) -> None:
    assert disaster.leftovers == []


def test_the_rest_is_screened_and_chosen_when_some_variants_crash(
    edge, alive: Callable[[], list[psutil.Process]]
) -> None:
    edge.write("def test_choice(edge_choice):\n    assert edge_choice.size <= 10 * 2**20\n", fake=True)

    run = edge.run("--edge-recipe=fake-fp32-[ps][el][!o]*")

    results = msgspec.json.decode((edge.report / "results.json").read_bytes(), type=Results)
    states = {variant.name: variant.state for variant in results.models[0].variants}
    run.assert_outcomes(passed=1)
    assert results.models[0].choice is not None
    assert results.models[0].choice.recipe == "fake-fp32-plain"
    assert [name for name in states if states[name] == "failed"] == [
        f"fake-fp32-segv_{phase}" for phase in ("build", "call", "later", "load")
    ]
    assert "Traceback" not in run.stdout.str()
    assert alive() == []


def test_a_choice_between_variants_that_all_crash_is_an_error_that_says_why(edge) -> None:
    edge.write("def test_choice(edge_choice):\n    assert edge_choice.size <= 10 * 2**20\n", fake=True)

    run = edge.run("--edge-recipe=fake-fp32-[er]*_build")

    run.assert_outcomes(errors=1)
    run.stdout.fnmatch_lines(
        [
            "There is no variant of small for cross to choose. fake-fp32-exit_build: * exited with status 0 * fake-fp32-raise_build: *"
        ]
    )
    assert run.ret == pytest.ExitCode.TESTS_FAILED
    assert "Traceback" not in run.stdout.str()


def test_an_interrupt_while_a_worker_hangs_ends_the_run_and_the_worker(
    edge, alive: Callable[[], list[psutil.Process]]
) -> None:
    edge.write("def test_it(edge_variant):\n    assert edge_variant.latency.p50 <= 1000\n", fake=True)
    arguments = [
        "--edge-target=cross",
        f"--edge-cache={edge.cache}",
        f"--edge-report={edge.report}",
        "--edge-recipe=fake-fp32-hang_load",
    ]
    output = edge.pytester.path / "output.txt"
    with output.open("wb") as stream:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, cwd=edge.pytester.path, start_new_session=True
        )
    guard = time.monotonic() + 120
    while b"deciding" not in output.read_bytes() or not alive():
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < guard
        time.sleep(0.05)

    process.send_signal(signal.SIGINT)
    status = process.wait(timeout=60)

    assert status == pytest.ExitCode.INTERRUPTED
    assert alive() == []
    assert "no tests ran" in output.read_text()
