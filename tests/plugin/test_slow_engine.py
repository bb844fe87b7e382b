"""Real extra work is found by a whole run, through the hooks that third parties use."""

from pytest_edgeai.records import Outcome

TWICE = """
def test_regression(edge_variants):
    half, plain = sorted(edge_variants, key=lambda variant: variant.name)
    assert plain.latency.p50 / half.latency.p50 <= 1.05
"""


def test_twice_the_work_of_a_real_model_fails_the_gate_on_a_regression(edge, gates):
    edge.pytester.makeconftest("def pytest_edge_plugins(config):\n    return ['slow_engine']\n")
    edge.write(TWICE)

    result = edge.run("--edge-recipe=slow-int8-plain slow-int8-half")

    result.assert_outcomes(failed=1)
    assert [outcome for _, outcome in gates("test_regression")] == [Outcome.FAIL]
