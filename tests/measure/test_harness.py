"""Tasks of lm-evaluation-harness, by the real harness in workers: what becomes of documents and answers, and what is refused."""

import functools
from pathlib import Path

import harness_tasks
import pytest

from pytest_edgeai import corpus, tasks
from pytest_edgeai.errors import DatasetError
from pytest_edgeai.measure.process import run_task

DOCUMENTS = [
    {"context": f"Question {number}: ", "choices": ["yes", "no", "not at all"], "answer": number % 3}
    for number in range(6)
]
YES, NO = (-1.0, True), (-2.0, False)
RUN = functools.partial(run_task, hub=True)


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is downloaded, and no cache but the test's own is written to."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def loaded(given: str, folder: Path) -> corpus.Corpus:
    return corpus.of_tasks(tasks.dataset(given, folder), folder, RUN)


def test_documents_become_requests_and_answers_the_tasks_own_metrics(tmp_path: Path) -> None:
    harness_tasks.write(tmp_path, "picks", DOCUMENTS)
    harness_tasks.write(tmp_path, "knows", DOCUMENTS, harness_tasks.ONE)
    harness_tasks.write(tmp_path, "tells", DOCUMENTS, harness_tasks.WHOLE)

    found = loaded("lm_eval:picks.yaml/acc_norm,knows.yaml[:2],tells.yaml[:3]", tmp_path)
    worth = found.judge([[YES, NO, NO]] * 6 + [[YES], [NO]])

    assert found.title.startswith("3 documents predicted and acc_norm, acc of 8 documents of lm_eval:picks.yaml/")
    assert [one.text for one in found.texts.documents] == [f"Question {number}: " for number in range(3)]
    assert found.texts.gaps[1].pairs == (
        ("Question 1: ", "yes"),
        ("Question 1: ", "no"),
        ("Question 1: ", "not at all"),
    )
    assert [gap.rewards for gap in found.texts.gaps[:4]] == [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 0)]
    # By the length of a choice, "not at all" is the likeliest: -2 / 10.
    assert worth.tolist() == [0, 0, 1, 0, 0, 1, 1, 0]


def test_a_document_is_in_one_part_whatever_its_prompt_is(tmp_path: Path) -> None:
    plain = harness_tasks.write(tmp_path, "plain", DOCUMENTS)
    shots = plain.read_text().replace("task: plain", "task: shots").replace('"{{context}}"', '"Think. {{context}}"')
    (tmp_path / "shots.yaml").write_text(f"{shots}\nfewshot_split: test\nnum_fewshot: 2\n")

    one, other = (loaded(f"lm_eval:{name}.yaml", tmp_path) for name in ("plain", "shots"))

    assert other.texts.gaps[0].pairs[0][0].count("Think.") == 3
    assert {part: places.tolist() for part, places in one.gaps.items()} == {
        part: places.tolist() for part, places in other.gaps.items()
    }


WRITES = 'doc_to_text: "{{context}}"\ndoc_to_target: "{{choices[answer]}}"\n'


@pytest.mark.parametrize(
    ("rest", "metric", "told"),
    [
        (WRITES, "", r"task odd is of the kind generate_until, which is not supported: .* how likely texts are"),
        (harness_tasks.CHOICES, "/f1", "metric f1 of the task odd isn't a mean .*; those that are: acc, acc_norm"),
        (harness_tasks.WHOLE, "/acc", "has no metric of a document: leave '/acc' out, and claim perplexity"),
        ("group: all\n", "", "is a group of tasks: name the files of its tasks instead"),
        ("doc_to_text: [\n", "", "the task .*odd.yaml can't be used .*Error"),
    ],
)
def test_what_can_not_be_scored_is_told(tmp_path: Path, rest: str, metric: str, told: str) -> None:
    harness_tasks.write(tmp_path, "odd", DOCUMENTS, rest)

    with pytest.raises(DatasetError, match=told) as raised:
        loaded(f"lm_eval:odd.yaml{metric}", tmp_path)

    assert "\n" not in str(raised.value)


def test_a_name_that_is_not_known_is_told_with_names_like_it(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"is named 'arc_esy'\. Did you mean 'arc_easy'"):
        loaded("lm_eval:arc_esy", tmp_path)


def test_data_that_can_not_be_downloaded_is_told(tmp_path: Path) -> None:
    task = harness_tasks.write(tmp_path, "far", DOCUMENTS)
    task.write_text(task.read_text().replace("dataset_path: json", "dataset_path: someone/something"))

    with pytest.raises(DatasetError, match=r"neither in Hugging Face's cache nor can it be downloaded"):
        loaded("lm_eval:far.yaml", tmp_path)


def test_a_task_that_asks_something_else_each_time_is_told(tmp_path: Path) -> None:
    (tmp_path / "moods.py").write_text("import uuid\ndef asked(doc):\n    return uuid.uuid4().hex\n")
    rest = harness_tasks.CHOICES.replace('"{{context}}"', "!function moods.asked")
    harness_tasks.write(tmp_path, "moody", DOCUMENTS, rest)
    found = loaded("lm_eval:moody.yaml", tmp_path)

    with pytest.raises(DatasetError, match="asks something else when it is loaded again"):
        found.judge([[YES, NO, NO]] * 6)


def test_data_that_has_become_fewer_is_told(tmp_path: Path) -> None:
    harness_tasks.write(tmp_path, "picks", DOCUMENTS)
    found = loaded("lm_eval:picks.yaml", tmp_path)
    harness_tasks.write(tmp_path, "picks", DOCUMENTS[:-1])

    with pytest.raises(
        DatasetError, match=r"5 documents when they are loaded again, and had 6: their data has changed"
    ):
        found.judge([[YES, NO, NO]] * 6)


def test_what_two_tasks_ask_about_one_document_is_of_one_name(tmp_path: Path) -> None:
    harness_tasks.write(tmp_path, "picks", DOCUMENTS)
    harness_tasks.write(tmp_path, "again", DOCUMENTS)

    names = [one.name for one in loaded("lm_eval:picks.yaml,again.yaml", tmp_path).texts.gaps]

    assert names[:6] == names[6:]
    assert len(set(names)) == 6


def test_a_metric_whose_documents_are_put_together_in_another_way_is_none(tmp_path: Path) -> None:
    (tmp_path / "ways.py").write_text("import functools\ntogether = functools.partial(max)\n")
    rest = harness_tasks.CHOICES + harness_tasks.ACC.replace("mean", "!function ways.together", 1)
    harness_tasks.write(tmp_path, "best", DOCUMENTS, rest)

    assert loaded("lm_eval:best.yaml", tmp_path).metric == "acc_norm"
    with pytest.raises(DatasetError, match="the metric acc of the task best isn't a mean over documents"):
        loaded("lm_eval:best.yaml/acc", tmp_path)


def test_a_harness_that_is_not_installed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lm_eval.py").write_text("raise ModuleNotFoundError(\"No module named 'lm_eval'\")")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(DatasetError, match=r"not installed .*: pip install 'pytest-edgeai\[lm-eval\]'"):
        loaded("lm_eval:arc_easy", tmp_path)
