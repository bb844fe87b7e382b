"""Tasks of lm-evaluation-harness through the plugin: what they ask is answered by every variant, and judged like any other accuracy."""

from pathlib import Path

import fake_language
import harness_tasks
import numpy as np
import pytest
from language import checkpoints

from pytest_edgeai.records import Outcome

CONFIG = {**checkpoints.LLAMA, "tie_word_embeddings": True}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a checkpoint, its tokenizer, and a task of letters."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    made = checkpoints.save(tmp_path / "tiny", CONFIG, checkpoints.weights_of(CONFIG))
    (made / "tokenizer.json").write_text(fake_language.tokenizer(CONFIG["vocab_size"]))
    draw = np.random.default_rng(4)
    documents = [
        {"context": "".join(draw.choice(list("abcdefgh"), 6)), "choices": [*"cdef"], "answer": place % 4}
        for place in range(40)
    ]
    harness_tasks.write(tmp_path, "letters", documents)
    return tmp_path


GATES = """
import pytest
pytestmark = pytest.mark.edge_model({model!r}, dataset="lm_eval:{task}")
def test_it(edge_variant):
    assert edge_variant.accuracy >= 0.05
    assert edge_variant.accuracy >= 0.1 * edge_variant.reference.accuracy
"""


@pytest.fixture
def run(edge, folder: Path):
    """Runs gates on a task; paths are relative to the test file."""

    def start(task: str, *arguments: str, model: Path = folder / "tiny"):
        (edge.pytester.path / "tasks").symlink_to(folder)
        edge.pytester.makepyfile(test_edge=GATES.format(model=str(model), task=task))
        edge.pytester.makeconftest("def pytest_edge_plugins(config):\n    return ['fake_language', 'fake_engine']\n")
        return edge.run("--edge-recipe=lm-int8-coarse fake-fp32-plain", *arguments)

    return start


def test_a_task_is_judged_by_unseen_documents_and_told_in_the_report(run, results, gates) -> None:
    found = run("tasks/letters.yaml/acc_norm")

    found.assert_outcomes(failed=1)
    assert [outcome for _, outcome in gates()] == [Outcome.PASS, Outcome.ERROR]
    found.stdout.fnmatch_lines(["*a constant answer on 25.00 %: it may be no better than chance*"])
    (model,) = results().models
    assert model.score.startswith("acc_norm of 40 documents of lm_eval:letters.yaml/acc_norm (")
    assert sum(model.items.values()) == 40


def test_an_option_names_a_task_relative_to_where_pytest_runs(run) -> None:
    found = run(
        "nowhere.yaml", "--edge-dataset=lm_eval:tasks/missing.yaml", "--edge-recipe=lm-int8-slow lm-int8-coarse"
    )

    found.assert_outcomes(errors=2)
    assert found.stdout.str().count("consulting lm_eval:missing.yaml") == 1
    found.stdout.fnmatch_lines(["*lm_eval:missing.yaml: there is no task at */tasks/missing.yaml*"])


def test_a_model_of_tensors_has_no_tasks(run, edge) -> None:
    found = run("tasks/letters.yaml", model=edge.sample.model)

    found.assert_outcomes(errors=1)
    found.stdout.fnmatch_lines(["*lm_eval:letters.yaml is for language models, and small is none*"])
