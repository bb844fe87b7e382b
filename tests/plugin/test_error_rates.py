"""Error rates across gates and across runs: gates share one, and a rerun may go on instead of drawing anew."""

import re

from pytest_edgeai.records import Outcome

PLAIN = "--edge-recipe=fake-fp32-plain"  # the baseline's own code


def rounds(verdict) -> int:
    return int(re.search(r"(\d+) rounds", verdict.spent)[1])


def test_the_more_gates_a_run_has_the_surer_a_failure_must_be(edge, results):
    gate = "def test_gate(edge_variant{}):\n    assert edge_variant.speedup >= 1000\n"
    edge.write(gate.format(""), fake=True)
    edge.run(PLAIN).assert_outcomes(failed=1)
    [alone] = [one.verdict for one in results().gates]

    edge.write("@pytest.mark.parametrize('number', range(40))\n" + gate.format(", number"), fake=True)
    edge.run(PLAIN).assert_outcomes(failed=40)

    among = results().gates[0].verdict
    assert alone.outcome is among.outcome is Outcome.FAIL
    assert (rounds(alone), rounds(among)) == (12, 18)


def test_later_claims_of_a_test_must_be_surer_to_fail(edge, results):
    edge.write(
        "def test_gate(edge_variant):\n    edge_variant.speedup >= 1000\n    edge_variant.speedup >= 1001\n", fake=True
    )

    edge.run(PLAIN)

    assert [rounds(gate.verdict) for gate in results().gates] == [12, 15]


def test_a_rerun_goes_on_where_the_last_run_stopped_and_what_it_proved_stays_proven(edge, results):
    edge.write(
        "def test_gate(edge_variants):\n    one, other = edge_variants\n    assert one.latency.p50 / other.latency.p50 <= 0.001\n",
        fake=True,
    )

    def verdict(*arguments: str):
        edge.run("--edge-recipe=fake-fp32-plain fake-fp32-twice", *arguments)
        [gate] = results().gates
        return gate.verdict

    stopped = verdict("--edge-budget=0")
    went_on = verdict("--edge-continue")
    proven = verdict("--edge-continue")
    anew = verdict()

    assert (stopped.outcome, rounds(stopped)) == (Outcome.INCONCLUSIVE, 3)
    # Eight rounds of each of its own pairs must agree with what is known.
    assert went_on.outcome is Outcome.FAIL
    assert "27 rounds (3 of them in earlier runs)" in went_on.spent
    assert went_on.low > 0.001
    assert (proven.outcome, proven.estimate) == (Outcome.FAIL, went_on.estimate)
    assert "an earlier run proved it" in proven.notes[-1]
    assert anew.spent.startswith("3 process pairs, 12 rounds, ")


def test_what_was_proven_with_few_gates_is_decided_anew_among_many(edge, results):
    gate = "def test_gate(edge_variants{}):\n    one, other = edge_variants\n    assert one.latency.p50 / other.latency.p50 <= 0.001\n"
    recipes = "--edge-recipe=fake-fp32-plain fake-fp32-twice"
    edge.write(gate.format(""), fake=True)
    edge.run(recipes).assert_outcomes(failed=1)

    edge.write("@pytest.mark.parametrize('number', range(40))\n" + gate.format(", number"), fake=True)
    edge.run(recipes, "--edge-continue").assert_outcomes(failed=40)

    among = results().gates[0].verdict
    assert among.outcome is Outcome.FAIL
    # With the twelve of the earlier run, or without them where these alone are a factor of 4 beyond the limit.
    assert rounds(among) in (24, 12 + 24)


def test_claims_made_in_a_fixture_are_claims_of_the_test_that_asked_for_it(edge, results):
    edge.write(
        "@pytest.fixture\ndef fast(edge_variant):\n    edge_variant.speedup >= 1000\n    return edge_variant\n\n"
        "def test_gate(fast):\n    fast.speedup >= 1001\n",
        fake=True,
    )

    edge.run(PLAIN)

    assert [rounds(gate.verdict) for gate in results().gates] == [12, 15]


def test_a_run_for_another_target_starts_anew(edge, results):
    edge.write("def test_gate(edge_variant):\n    assert edge_variant.speedup >= 1000\n", fake=True)
    edge.run(PLAIN, "--edge-budget=0")

    edge.run(PLAIN, "--edge-continue", "--edge-target=enterprise")

    [gate] = results().gates
    assert gate.verdict.outcome is Outcome.FAIL
    assert "earlier runs" not in gate.verdict.spent
