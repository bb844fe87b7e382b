"""The harness: tasks of lm-evaluation-harness in a worker. What they ask about each of their documents, and what the answers are worth.

https://github.com/EleutherAI/lm-evaluation-harness makes prompts, requests and metrics; the answers are ours. Files in and out.
"""

import difflib
import hashlib
import importlib.metadata
import json
import numbers
import os
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from pytest_edgeai.errors import DatasetError
from pytest_edgeai.tasks import PREFIX, Wanted

PYTHON_SEED, OTHER_SEED = 0, 1234
"""What ``lm_eval.simple_evaluate`` draws examples for prompts with."""
USUAL: Final = "acc"
"""The metric that a document is scored by, where a task has it and nothing else is asked for."""
SURE, HARDLY = (-1e-3, True), (-1e6, False)
"""Answers to find out with which metrics a task has: logarithms so far apart that dividing by the length of a choice changes no order."""
GROUP: Final = re.compile(r"^group\s*:", re.MULTILINE)
"""In a YAML file that names other tasks, which the harness finds by name alone."""

Answer = tuple[float, bool]


def load(tasks: list[dict[str, Any]], loaded: str) -> None:
    """Write the documents of tasks (:class:`pytest_edgeai.tasks.Wanted`) into the file ``loaded``. Raises DatasetError.

    ``documents``: texts to be predicted, of tasks that want no more. ``queries``: of the others, see :class:`pytest_edgeai.language.text.Query`.
    ``metrics``: that these are scored by, each named once. ``version``: of the harness.
    """
    documents: list[dict[str, str]] = []
    queries: list[dict[str, Any]] = []
    metrics: dict[str, None] = {}
    for opened in _opened(tasks):
        if opened.is_rolling:
            documents += [{"name": _digest(text), "text": text} for text in opened.texts()]
        else:
            metrics[opened.metric] = None
            queries += opened.queries()
    Path(loaded).write_bytes(
        msgspec.json.encode(
            {
                "documents": documents,
                "queries": queries,
                "metrics": list(metrics),
                "version": importlib.metadata.version("lm_eval"),
            }
        )
    )


def judge(tasks: list[dict[str, Any]], loaded: str, said: str) -> list[float]:
    """The metric of each document of ``loaded``, from 0 to 1; ``said``: answers of its pairs. Raises DatasetError."""
    before = msgspec.json.decode(Path(loaded).read_bytes())["queries"]
    answers = msgspec.json.decode(Path(said).read_bytes(), type=list[list[Answer]])
    found: list[float] = []
    for opened in _opened(tasks):
        if opened.is_rolling:
            continue
        here = slice(len(found), len(found) + len(opened.asked))
        asked = [[list(pair) for pair in pairs] for pairs in opened.pairs()]
        if asked != [query["pairs"] for query in before[here]]:
            raise DatasetError(
                f"the task {opened.name} asks something else when it is loaded again: it must give the same prompts each time, so draw examples with a seed."
            )
        found += _told(opened.wanted, opened.scores, answers[here])
    if len(found) != len(before):
        raise DatasetError(
            f"the tasks have {len(found)} documents when they are loaded again, and had {len(before)}: their data has changed."
        )
    return found


class _Opened:
    """One task of the harness with its requests."""

    def __init__(self, task: Any, wanted: Wanted) -> None:
        self._task, self.wanted = task, wanted
        self.name = str(task.task_name)
        task.set_fewshot_seed(OTHER_SEED)
        task.build_all_requests(limit=wanted.limit)
        kinds = {one.request_type for one in task.instances}
        if not kinds <= {"loglikelihood", "loglikelihood_rolling"} or len(kinds) > 1:
            raise DatasetError(
                f"the task {self.name} is of the kind {task.OUTPUT_TYPE}, which is not supported: what is scored is how likely texts are "
                "(multiple_choice, loglikelihood, loglikelihood_rolling), not what a model writes."
            )
        self.is_rolling = kinds == {"loglikelihood_rolling"}
        by_document: dict[Any, list[Any]] = {}
        for one in task.instances:
            by_document.setdefault(one.doc_id, []).append(one)
        self.asked = [sorted(group, key=lambda one: one.idx) for group in by_document.values()]
        """Requests of each document."""
        if any(len(one.args) != (1 if self.is_rolling else 2) for one in task.instances):
            raise DatasetError(f"the task {self.name} asks about more than texts, which is not supported.")
        if self.is_rolling:
            if wanted.metric:
                raise DatasetError(
                    f"the task {self.name} predicts whole texts and has no metric of a document: leave '/{wanted.metric}' out, and claim perplexity, bits_per_byte, kl_divergence or agreement."
                )
            return
        # What each metric comes to where the request of this number is the likeliest.
        most = max(map(len, self.asked))
        self._trials = [
            self._metrics([[SURE if at == number else HARDLY for at in range(len(group))] for group in self.asked])
            for number in range(most)
        ]
        self.metric = self._chosen()

    def texts(self) -> list[str]:
        """To be predicted, each as a whole."""
        return [one.args[0] for group in self.asked for one in group]

    def pairs(self) -> list[list[tuple[str, str]]]:
        """Of each document: contexts and their continuations."""
        return [[(one.args[0], one.args[1]) for one in group] for group in self.asked]

    def queries(self) -> list[dict[str, Any]]:
        """As :class:`pytest_edgeai.language.text.Query` has them."""
        return [
            {
                "name": _digest(group[0].doc),
                "pairs": pairs,
                "rewards": [float(self._trials[at][number][self.metric]) for at in range(len(group))],
            }
            for number, (group, pairs) in enumerate(zip(self.asked, self.pairs(), strict=True))
        ]

    def scores(self, answers: Sequence[Sequence[Answer]]) -> list[float]:
        """The metric of each document. Raises DatasetError where one is no number from 0 to 1."""
        found = [one.get(self.metric) for one in self._metrics(answers)]
        if wrong := [value for value in found if not _is_share(value)]:
            raise DatasetError(
                f"the metric {self.metric} of a document of {self.name} is {wrong[0]!r}, not from 0 to 1."
            )
        return [float(value) for value in found if value is not None]

    def _metrics(self, answers: Sequence[Sequence[Answer]]) -> list[Mapping[str, Any]]:
        """Of each document, as ``lm_eval.evaluator.evaluate`` makes them; of several filters the first one's."""
        for group, said in zip(self.asked, answers, strict=True):
            for one, answer in zip(group, said, strict=True):
                one.resps, one.filtered_resps = [answer] * (one.repeats or 1), {}
        self._task.apply_filters()
        chosen = next(iter(self.asked[0][0].filtered_resps))
        return [
            self._task.process_results(group[0].doc, [one.filtered_resps[chosen] for one in group])
            for group in self.asked
        ]

    def _chosen(self) -> str:
        """The metric that is asked for, else the usual one, else the first that can be had. Raises DatasetError."""
        better, together = self._task.higher_is_better(), self._task.aggregation()
        fit = [
            name
            for name in self._trials[0][0]
            if better.get(name, True)
            and (name not in together or getattr(together[name], "__name__", "") == "mean")
            and all(_is_share(one.get(name)) for trial in self._trials for one in trial)
        ]
        if not fit:
            raise DatasetError(
                f"the task {self.name} has no metric that is a mean over documents of numbers from 0 to 1, as accuracy is; it has {', '.join(self._trials[0][0]) or 'none'}."
            )
        wanted = self.wanted.metric or (USUAL if USUAL in fit else fit[0])
        if wanted not in fit:
            raise DatasetError(
                f"the metric {wanted} of the task {self.name} isn't a mean over documents of numbers from 0 to 1, as accuracy is; those that are: {', '.join(fit)}."
            )
        return wanted


def _opened(tasks: list[dict[str, Any]]) -> list[_Opened]:
    """All of them, also those of groups. Raises DatasetError."""
    found: list[_Opened] = []
    for one in tasks:
        wanted = Wanted(**one)
        random.seed(PYTHON_SEED)
        np.random.seed(OTHER_SEED)
        found += [_told(wanted, _Opened, task, wanted) for task in _told(wanted, _tasks, wanted)]
    return found


def _tasks(wanted: Wanted) -> list[Any]:
    """The harness' own objects."""
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise DatasetError(
            f"tasks are those of lm-evaluation-harness, which is not installed ({error}): pip install 'pytest-edgeai[lm-eval]'."
        ) from error
    if wanted.is_file:
        path = Path(wanted.name)
        if not path.is_file():
            raise DatasetError(f"there is no task at {path}.")
        if GROUP.search(path.read_text("utf-8")):
            raise DatasetError(f"{path} is a group of tasks: name the files of its tasks instead, separated by commas.")
        os.chdir(path.parent)  # data that it names lies beside it
    # Reading the harness' own thousands of tasks takes seconds.
    manager = TaskManager(include_defaults=not wanted.is_file)
    if not wanted.is_file and wanted.name not in manager.all_tasks:
        near = difflib.get_close_matches(wanted.name, manager.all_tasks, n=3)
        guess = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise DatasetError(
            f"no task of lm-evaluation-harness is named '{wanted.name}'.{guess} `lm_eval ls tasks` lists all; a task of your own is {PREFIX}FILE.yaml."
        )
    return list(manager.load(wanted.name)["tasks"].values())


def _told(wanted: Wanted, make: Any, *arguments: Any) -> Any:
    """Do it; whatever the harness or a task's own code raises is one sentence. Raises DatasetError."""
    try:
        return make(*arguments)
    except DatasetError:
        raise
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        if isinstance(error, ConnectionError):
            raise DatasetError(
                f"the data of the task {wanted} is neither in Hugging Face's cache nor can it be downloaded ({why})."
            ) from error
        raise DatasetError(f"the task {wanted} can't be used ({why}).") from error


def _digest(document: Any) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()


def _is_share(value: Any) -> bool:
    return isinstance(value, numbers.Real | np.bool_) and 0 <= float(value) <= 1
