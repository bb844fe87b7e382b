"""Names of tasks in the place of a dataset's file."""

from pathlib import Path

import pytest

from pytest_edgeai import tasks
from pytest_edgeai.tasks import Tasks, Wanted

HERE = Path("/here")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("lm_eval:arc_easy", [Wanted("arc_easy")]),
        ("lm_eval:arc_easy/acc_norm", [Wanted("arc_easy", "acc_norm")]),
        ("lm_eval:arc_easy/acc_norm[:500], boolq[:20]", [Wanted("arc_easy", "acc_norm", 500), Wanted("boolq", "", 20)]),
        ("lm_eval:own/task.yaml", [Wanted("/here/own/task.yaml")]),
        ("lm_eval:/there/task.yml/exact_match[:3]", [Wanted("/there/task.yml", "exact_match", 3)]),
        (r"lm_eval:a\,b/task.yaml/acc,boolq", [Wanted("/here/a,b/task.yaml", "acc"), Wanted("boolq")]),
        ("lm_eval:no[0]", [Wanted("no[0]")]),
        ("lm_eval:", [Wanted("")]),
    ],
)
def test_a_name_says_tasks_metrics_and_how_many_documents(given: str, wanted: list[Wanted]) -> None:
    found = tasks.dataset(given, HERE)

    assert found == Tasks(tuple(wanted))
    assert tasks.dataset(str(found), Path("/elsewhere")) == found


def test_any_other_name_is_a_file() -> None:
    assert tasks.dataset("texts.jsonl", HERE) == HERE / "texts.jsonl"
    assert tasks.dataset("/there/lm_eval:x.txt", HERE) == Path("/there/lm_eval:x.txt")


def test_people_see_files_without_their_folders() -> None:
    found = tasks.dataset("lm_eval:own/task.yaml/acc,boolq[:20]", HERE)

    assert isinstance(found, Tasks)
    assert found.name == "lm_eval:task.yaml/acc,boolq[:20]"
