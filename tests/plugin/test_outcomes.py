"""What a verdict becomes in pytest."""

import pytest

from pytest_edgeai.records import Outcome

PLAIN = "--edge-recipe=fake-fp32-plain"  # the baseline's own code, as quick and as large as the baseline

IMPOSSIBLE = """
def test_assert(edge_variant):
    assert edge_variant.speedup >= 1000

def test_helper(edge_variant):
    from helping import demand
    demand(edge_variant)

def test_not(edge_variant):
    assert not edge_variant.speedup < 1000
"""


@pytest.mark.parametrize("mode", ["rewrite", "plain"])
def test_an_impossible_gate_fails_with_the_measured_value_the_bound_and_the_verdict(edge, results, gates, told, mode):
    edge.write(IMPOSSIBLE, fake=True)
    edge.pytester.makepyfile(helping="def demand(variant):\n    assert variant.speedup >= 1000\n")

    # In this process the import hook of the outer pytest would rewrite the inner one's modules in any mode.
    result = edge.run(PLAIN, "--edge-budget=5", f"--assert={mode}", subprocess=mode == "plain")

    result.assert_outcomes(failed=3)
    for test, claim in [("test_assert", ">= 1000: FAIL"), ("test_helper", ">= 1000: FAIL"), ("test_not", "< 1000: ")]:
        text = told(result, test)
        assert f"fake-fp32-plain speedup {claim}" in text
        assert "measured " in text
        assert "x (99 % bound " in text
        assert "FAIL" in text
    assert "pytest_edgeai/" not in result.stdout.str()
    assert gates("test_assert") == gates("test_helper") == [("fake-fp32-plain speedup >= 1000", Outcome.FAIL)]
    assert gates("test_not") == [("not fake-fp32-plain speedup < 1000", Outcome.FAIL)]
    assert all(0 < gate.verdict.seconds < 2 for gate in results().gates)
    assert all(gate.verdict.low < gate.verdict.estimate < gate.verdict.high < 1000 for gate in results().gates)
    assert [series.plan for series in results().models[0].measurements] == ["turns"]


WANTED = """
def test_opposite(edge_variant):
    assert not edge_variant.size >= 1e9

def test_branch(edge_variant):
    if edge_variant.size >= 2e9:
        raise AssertionError

def test_gate(edge_variant):
    assert edge_variant.size <= 1e9

def test_insists(edge_variant):
    assert edge_variant.size >= 3e9
"""


def test_a_claim_that_is_refuted_in_a_test_that_passes_stands_against_nothing(edge, results):
    edge.write(WANTED, fake=True)

    result = edge.run(PLAIN)

    result.assert_outcomes(passed=3, failed=1)
    found = {gate.test.partition("::")[2].partition("[")[0]: gate for gate in results().gates}
    assert {name: (gate.verdict.outcome, gate.tolerated) for name, gate in found.items()} == {
        "test_opposite": (Outcome.FAIL, True),
        "test_branch": (Outcome.FAIL, True),
        "test_gate": (Outcome.PASS, False),
        "test_insists": (Outcome.FAIL, False),
    }
    result.stdout.fnmatch_lines(["Verdicts: 1 PASS, 1 FAIL, 2 FAIL in tests that passed all the same"])


PROVEN = """
def test_beside(edge_variant):
    assert edge_variant.size <= 1e9 and edge_variant.name == "another"

def test_before(edge_variant):
    assert edge_variant.size <= 1e9
    assert edge_variant.name == "another"

def test_both(edge_variant):
    assert edge_variant.size >= 2 and not edge_variant.size <= 1e9

def test_message(edge_variant):
    assert not edge_variant.size <= 1e9, "too small"

def test_second(edge_variant):
    assert edge_variant.size >= 2 and edge_variant.size <= 3

def test_identity(edge_variant):
    assert edge_variant.size >= 2
    assert edge_variant.size is None
"""
SMALL, LARGE = "fake-fp32-plain size <= 1 GB", "fake-fp32-plain size >= 2 B"


@pytest.mark.parametrize("mode", ["rewrite", "plain"])
def test_a_proven_gate_is_recorded_as_failed_only_when_its_opposite_was_asserted(edge, gates, told, mode):
    edge.write(PROVEN, fake=True)

    result = edge.run(PLAIN, "--edge-budget=5", f"--assert={mode}", subprocess=mode == "plain")

    result.assert_outcomes(failed=6)
    assert gates("test_beside") == gates("test_before") == [(SMALL, Outcome.PASS)]
    assert gates("test_both") == [(LARGE, Outcome.PASS), (f"not {SMALL}", Outcome.FAIL)]
    assert gates("test_message") == [(f"not {SMALL}", Outcome.FAIL)]
    assert gates("test_second") == [(LARGE, Outcome.PASS), ("fake-fp32-plain size <= 3 B", Outcome.FAIL)]
    assert gates("test_identity") == [(LARGE, Outcome.PASS)]
    assert "FAIL" not in told(result, "test_beside") + told(result, "test_before") + told(result, "test_identity")
    assert told(result, "test_second").count("size <= 3 B: FAIL") == 1
    assert "FAIL" in told(result, "test_message")


ITSELF = """
def test_repr(edge_variant):
    assert repr(edge_variant.speedup) == "<fake-fp32-plain speedup>"
    assert str(0.5 * edge_variant.latency.p50) == "<0.5 * fake-fp32-plain latency.p50>"
    assert repr(edge_variant.memory.peak / edge_variant.baseline.memory.peak)

def test_twice(edge_variant):
    first, second = edge_variant.baseline.speedup >= 1.05, edge_variant.baseline.speedup >= 1.05
    assert first is second

def test_gate(edge_variant):
    assert edge_variant.baseline.speedup >= 1.05

def test_opposite(edge_variant):
    assert not edge_variant.baseline.speedup < 1.05
"""


def test_the_baseline_is_measured_against_itself_once_and_never_passes(edge, results, told):
    edge.write(ITSELF, fake=True)

    result = edge.run(PLAIN, "--edge-budget=5")

    result.assert_outcomes(passed=2, failed=2)
    verdicts = {gate.test: gate.verdict for gate in results().gates}
    assert {verdict.outcome for verdict in verdicts.values()} <= {Outcome.FAIL, Outcome.INCONCLUSIVE}
    assert len({verdict.estimate for verdict in verdicts.values()}) == 1
    assert "onnxruntime-fp32 speedup >= 1.05: " in told(result, "test_gate")
    assert [series.plan for series in results().models[0].measurements] == ["turns"]


UNDECIDED = """
def test_true(edge_variant):
    assert edge_variant.size <= 1e9

def test_open(edge_variant):
    assert edge_variant.reference.accuracy >= 0.91

def test_not(edge_variant):
    assert not edge_variant.reference.accuracy >= 0.91

def test_opposite(edge_variant):
    assert edge_variant.reference.accuracy < 0.91

def test_unsupported(edge_variant):
    assert edge_variant.latency.p95 <= edge_variant.baseline.latency.p95
"""


@pytest.mark.parametrize("becomes", ["fail", "skip"])
def test_an_undecided_gate_fails_in_its_own_words_or_skips_and_never_passes(edge, gates, told, becomes):
    edge.write(UNDECIDED, fake=True)

    result = edge.run(PLAIN, f"--edge-inconclusive={becomes}", "-rs")

    open_ones = ("test_open", "test_not", "test_opposite")
    assert [gates(test)[0][1] for test in open_ones] == [Outcome.INCONCLUSIVE] * 3
    assert gates("test_unsupported")[0][1] is Outcome.UNSUPPORTED
    result.stdout.fnmatch_lines(["SKIPPED * latency.p95 * UNSUPPORTED on *; two variants are timed in turns*"])
    assert "pytest_edgeai/" not in result.stdout.str()
    if becomes == "skip":
        result.assert_outcomes(passed=1, skipped=4)
        assert result.ret == pytest.ExitCode.OK
        result.stdout.fnmatch_lines(["SKIPPED * accuracy >= 91.00 %: INCONCLUSIVE on *; measured * items)*"])
    else:
        result.assert_outcomes(passed=1, failed=3, skipped=1)
        for test, sign in zip(open_ones, (">=", ">=", "<"), strict=True):
            assert told(result, test).startswith(f"onnxruntime-fp32 accuracy {sign} 91.00 %: INCONCLUSIVE on ")
            assert "FAIL" not in told(result, test)
        result.stdout.fnmatch_lines(["test_edge.py:*: assert not edge_variant.reference.accuracy >= 0.91"])


WHERE = """
@pytest.mark.edge_recipe("fake-fp32-raise_build")
def test_fixture(edge_variant):
    assert edge_variant.size <= 1e9

@pytest.mark.edge_recipe("fake-fp32-plain")
def test_helper(edge_variant):
    from helping import demand
    demand(edge_variant)
"""


def test_an_error_is_told_with_the_line_that_it_is_about(edge, told):
    edge.write(WHERE, fake=True)
    edge.pytester.makepyfile(helping="def demand(variant):\n    assert variant.accuracy >= 1.5\n")

    result = edge.run("--edge-recipe=fake-fp32-plain fake-fp32-raise_build")

    assert "\nhelping.py:2: assert variant.accuracy >= 1.5" in told(result, "test_helper")
    assert ".py:" not in told(result, "test_fixture")


BROKEN = """
@pytest.mark.edge_recipe("onnxruntime-int8-dynamic")
def test_refused(edge_variant):
    assert edge_variant.size <= 1e9

@pytest.mark.edge_recipe("fake-fp32-raise_build")
def test_not_built(edge_variant):
    assert edge_variant.size <= 1e9

@pytest.mark.edge_recipe("fake-fp32-raise_call")
def test_not_run(edge_variant):
    assert not edge_variant.speedup >= 1

@pytest.mark.edge_recipe("fake-fp32-plain")
@pytest.mark.edge_rigor("strickt")
def test_rigor(edge_variant):
    assert edge_variant.size <= 1e9
"""


def test_what_is_refused_skips_with_its_reason_and_what_breaks_fails_with_its_cause(edge, gates, told):
    edge.write(BROKEN, fake=True)

    result = edge.run("-rs")

    result.assert_outcomes(skipped=1, errors=2, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["SKIPPED * onnxruntime-int8-dynamic: * dynamic quantization is for matrix products*"])
    assert "fake-fp32-raise_build" in told(result, "test_not_built")
    assert "the engine says no" in told(result, "test_not_built")
    assert told(result, "test_not_run").startswith("fake-fp32-raise_call speedup >= 1: ERROR on ")
    assert "the engine says no" in told(result, "test_not_run")
    assert "No rigor named 'strickt'. Did you mean 'strict'?" in told(result, "test_rigor")
    assert [outcome for _, outcome in gates()] == [Outcome.UNSUPPORTED, Outcome.ERROR, Outcome.ERROR, Outcome.ERROR]
    assert "pytest_edgeai/" not in result.stdout.str()


MEANINGLESS = {
    "assert edge_variant.speedup == 2": "Write >= or <= with a limit, or use .estimate.",
    "assert edge_variant.speedup != 2": "Write >= or <= with a limit, or use .estimate.",
    "assert edge_variant.speedup": "has no truth value. Compare it with a limit, or use .estimate.",
    "assert not edge_variant.speedup": "has no truth value. Compare it with a limit, or use .estimate.",
    "assert max(v.speedup for v in edge_variants) >= 2": "write sorted(variants, key=lambda v: v.speedup.estimate)",
    "assert sorted(v.size for v in edge_variants)": "write sorted(variants, key=lambda v: v.size.estimate)",
    "assert edge_variant.speedup >= '2'": "can be compared with a number of 'x' or with a quantity, not with str.",
    "assert '2' <= edge_variant.speedup": "can be compared with a number of 'x' or with a quantity, not with str.",
    "assert edge_variant.speedup >= True": "can be compared with a number of 'x' or with a quantity, not with bool.",
    "assert edge_variant.speedup >= -2": "needs a positive, finite limit, not -2",
    "assert edge_variant.speedup >= float('inf')": "needs a positive, finite limit, not inf",
    "assert edge_variant.speedup * -1 >= 2": "can only be scaled by a positive number, not by -1.",
    "assert edge_variant.latency <= 1": "latency is several quantities. Write latency.p50 or latency.p90 or",
    "assert edge_variant.latency.p42 <= 1": "There is no quantity latency.p42. There are: latency.p50, latency.p90,",
    "assert edge_variant.latency.p50 >= edge_variant.size": "only the same plain quantity of two variants can be.",
}  # fmt: skip


def test_a_comparison_without_a_meaning_says_what_to_write_and_measures_nothing(edge, results, told):
    tests = [f"def test_{i}_(edge_variant, edge_variants):\n    {line}\n" for i, line in enumerate(MEANINGLESS)]
    edge.write("\n".join([*tests, "def test_size(edge_variant):\n    assert edge_variant.size <= 1e9"]), fake=True)

    result = edge.run("--edge-recipe=fake-fp32-[pt][lw]*", "-k", "plain")

    result.assert_outcomes(passed=1, failed=len(MEANINGLESS))
    for i, advice in enumerate(MEANINGLESS.values()):
        assert advice in told(result, f"test_{i}_")
    assert "pytest_edgeai/" not in result.stdout.str()
    assert results().models[0].measurements == ()
