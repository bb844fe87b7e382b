"""Accuracy end to end: what it is about, what it is scored by, what is refused before anything is scored, and that what is timed is what is scored."""

import numpy as np
import pytest

from pytest_edgeai.records import Outcome

PLAIN = "--edge-recipe=fake-fp32-plain"
KEPT = """
def test_kept(edge_variant):
    assert edge_variant.accuracy >= 0.95 * edge_variant.reference.accuracy
"""


@pytest.fixture
def declared(edge):
    """Writes tests of the sample model on some of its items, with further arrays, and with further arguments of the marker."""

    def write(source: str, items: int = 400, marker: str = "", **arrays):
        with np.load(edge.sample.dataset) as file:
            named = {name: file[name][:items] for name in file.files}
        np.savez(edge.pytester.path / "some.npz", **named, **arrays)
        edge.write("", fake=True)
        mark = f"pytestmark = pytest.mark.edge_model({str(edge.sample.model)!r}, dataset='some.npz'{marker})"
        edge.pytester.makepyfile(test_edge=f"import pytest\n{mark}\n{source}")
        return edge

    return write


EXACT = """
def test_all_of_it(edge_variant):
    assert edge_variant.accuracy >= 1 * edge_variant.reference.accuracy

def test_number(edge_variant):
    assert edge_variant.accuracy >= 0.5
"""


@pytest.mark.parametrize(("marker", "option"), [(", population='dataset'", ()), ("", ("--edge-population=dataset",))])
def test_a_claim_on_exactly_this_dataset_says_so_and_is_about_all_of_its_items(declared, results, marker, option):
    edge = declared(EXACT, items=50, marker=marker)

    edge.run(PLAIN, *option).assert_outcomes(passed=2)

    assert {gate.verdict.spent for gate in results().gates} == {"exactly this dataset: 50 items, 2 runs"}
    assert {gate.verdict.confidence for gate in results().gates} == {1.0}


def test_the_same_gate_on_unseen_items_is_another_claim(declared, results):
    edge = declared(EXACT, marker="")

    result = edge.run(PLAIN)

    result.assert_outcomes(passed=1, failed=1)
    assert [gate.verdict.outcome for gate in results().gates] == [Outcome.INCONCLUSIVE, Outcome.PASS]
    assert all("exactly" not in gate.verdict.spent for gate in results().gates)


def test_an_unknown_population_is_told_with_what_there_is(declared):
    edge = declared(KEPT, marker=", population='datset'")

    result = edge.run(PLAIN)

    result.stderr.fnmatch_lines(["*No population named 'datset'. Did you mean 'dataset'? Known: dataset, unseen.*"])
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_too_few_items_are_told_with_the_number_that_it_takes(declared, told):
    edge = declared(KEPT, items=30)

    text = told(edge.run(PLAIN), "test_kept")

    assert "INCONCLUSIVE" in text
    assert "items can't prove it even without one error; it needs at least 59" in text


def test_items_of_groups_are_judged_by_groups(declared, results):
    edge = declared(KEPT, groups=np.arange(400) // 2)

    edge.run(PLAIN).assert_outcomes(passed=1)

    assert "groups" in results().gates[0].verdict.spent


CORPUS = """
import numpy as np
from pytest_edgeai import corpus_score

@corpus_score
def right(outputs, labels):
    return np.mean(outputs["logits"].argmax(1) == labels)

@pytest.mark.edge_model(MODEL, dataset="some.npz", score=right)
def test_kept(edge_variant):
    assert edge_variant.accuracy >= 0.95 * edge_variant.reference.accuracy
    assert 0.8 < edge_variant.accuracy.estimate < 1
"""


def test_a_score_of_all_items_at_once_is_one_of_ones_own_with_a_mark(declared, results, edge):
    declared(CORPUS.replace("MODEL", repr(str(edge.sample.model)))).run(PLAIN).assert_outcomes(passed=1)

    assert results().models[0].score == "right"
    assert results().gates[0].verdict.method == "paired bootstrap"


SPEED = """
def test_speedup(edge_variant):
    assert edge_variant.speedup >= 1000

def test_latency(edge_variant):
    assert edge_variant.latency.p50 <= 1000

def test_throughput(edge_variant):
    assert edge_variant.throughput >= 0.001
"""


@pytest.mark.parametrize("test", ["test_speedup", "test_latency", "test_throughput"])
def test_a_variant_that_answers_otherwise_while_it_is_timed_has_no_speed(edge, gates, told, test):
    edge.write(SPEED, fake=True)

    result = edge.run("--edge-recipe=fake-fp32-hasty", "-k", test)

    assert [outcome for _, outcome in gates(test)] == [Outcome.ERROR]
    assert "what is timed is not what is scored" in told(result, test)
