"""The harness itself, with a model of its own in PyTorch, finds each document right or wrong as our reading of the unquantized variant does."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import harness_tasks
import numpy as np
import pytest

from pytest_edgeai import tasks
from pytest_edgeai.pipeline import Declaration, Run
from pytest_edgeai.progress import Progress
from pytest_edgeai.settings import Settings

TINY = Path(__file__).parents[1] / "fixtures/tiny_lm"
COUNT = 16
THEIRS = """
import json, sys
import lm_eval
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

model, out, *files = sys.argv[1:]
manager = TaskManager(include_defaults=False)
opened = [task for file in files for task in manager.load(file)["tasks"].values()]
lm = HFLM(pretrained=model, device="cpu", dtype="float32", batch_size=8)
found = lm_eval.simple_evaluate(model=lm, tasks=opened, task_manager=manager, bootstrap_iters=0)["samples"]
told = [one for task in opened for one in sorted(found[task.task_name], key=lambda one: one["doc_id"])]
with open(out, "w") as file:
    json.dump([[one["acc"], [float(answer[0]) for (answer,) in one["resps"]]] for one in told], file)
"""

pytestmark = pytest.mark.skipif(importlib.util.find_spec("accelerate") is None, reason="accelerate is not installed")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two tasks of prompts from the sample texts: choices after an example, some of which have a blank before or no context, and completions."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    lines = (TINY / "evaluation.jsonl").read_text().splitlines()
    gaps = [item for item in map(json.loads, lines) if "prompt" in item][:COUNT]
    draw = np.random.default_rng(1)
    documents = []
    for number, gap in enumerate(gaps):
        others = [other["completion"] for other in gaps if other["completion"] != gap["completion"]]
        choices = [gap["completion"], *draw.choice(others, 2, replace=False).tolist()]
        order = draw.permutation(3)
        context = ("", gap["prompt"].rstrip() + " ")[number % 2] if number % 8 < 2 else gap["prompt"]
        documents.append(
            {"context": context, "choices": [choices[place] for place in order], "answer": int(order.argmin())}
        )
    shots = "fewshot_split: test\nnum_fewshot: 1\n"
    return [
        harness_tasks.write(tmp_path, "picks", documents, shots + harness_tasks.CHOICES + harness_tasks.ACC),
        harness_tasks.write(tmp_path, "bare", documents, harness_tasks.CHOICES),
        harness_tasks.write(tmp_path, "knows", documents, harness_tasks.ONE),
    ]


def test_each_document_is_right_or_wrong_as_the_harness_finds(files, tmp_path: Path, shared_cache: Path) -> None:
    settings = Settings(target="cross", recipe="openvino-int8", cache=str(shared_cache))
    run = Run(settings, [], tmp_path / "run", "main", Progress(lambda text: None))
    named = tasks.dataset(tasks.PREFIX + ",".join(map(str, files)), tmp_path)
    theirs = tmp_path / "theirs.json"

    command = [sys.executable, "-c", THEIRS, str(TINY / "tiny-lm"), str(theirs), *map(str, files)]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path) as harness,
    ):
        ours = run.study(Declaration(TINY / "tiny-lm", named, "auto")).evaluation._one("openvino-fp32").filled

    assert harness.returncode == 0, (tmp_path / "log").read_text()
    expected = [right for right, _ in json.loads(theirs.read_text())]
    assert len(expected) == 3 * COUNT
    assert 0.2 < np.mean(expected) < 0.8
    assert ours.tolist() == expected
