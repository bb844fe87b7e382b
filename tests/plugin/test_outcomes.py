"""What a verdict becomes in pytest."""

import pytest

IMPOSSIBLE = """
def helper(variant):
    assert variant.speedup >= 1000

def test_assert(edge_variant):
    assert edge_variant.speedup >= 1000

def test_helper(edge_variant):
    from helping import demand
    demand(edge_variant)

def test_not(edge_variant):
    assert not edge_variant.speedup < 1000
"""


@pytest.mark.parametrize("mode", ["rewrite", "plain"])
def test_an_impossible_gate_fails_with_the_measured_value_the_bound_and_the_verdict(edge, mode):
    edge.write(IMPOSSIBLE)
    edge.pytester.makepyfile(helping="def demand(variant):\n    assert variant.speedup >= 1000\n")

    result = edge.run("--edge-recipe=onnxruntime-int8-static", f"--assert={mode}")

    result.assert_outcomes(failed=3)
    text = result.stdout.str()
    print(text)
    assert text.count("speedup >= 1000: FAIL on") >= 2
