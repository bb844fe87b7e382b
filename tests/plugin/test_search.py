"""Searching and following the stages, in tests and on the command line: with an engine that is the model as it is, once or twice a call."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_edgeai import cli

RECIPES = "--edge-recipe=fake-fp32-plain"
ELSEWHERE = "--edge-target=apple"
"""Which no machine of these tests is: nothing is timed, which would take most of the time."""
LIMITS = "--edge-limit=speedup=0.2 footprint=9"
SOURCE = """
def test_found(edge_search):
    assert edge_search.choice.size <= edge_search.choice.baseline.size
    assert edge_search.record.stopped == "3 trials"

def test_again(edge_search):
    assert edge_search.choice.accuracy >= 0.5 * edge_search.choice.reference.accuracy
    assert edge_search.record.trials[0].name == "fake-fp32-plain"
"""


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of the command find the fake engine."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))


def test_a_search_is_made_once_in_a_run_and_not_again_in_the_next_one(edge, results):
    edge.write(SOURCE, fake=True)
    cache = f"--edge-cache={edge.pytester.path / 'cache'}"

    for processes in ("2", "0"):
        found = edge.run(RECIPES, ELSEWHERE, cache, "--edge-search-trials=3", "-n", processes)

        found.assert_outcomes(passed=2)
        search = results().models[0].search
        assert len({trial.name for trial in search.trials}) == len(search.trials) == 3
        assert all(trial.state == "measured" for trial in search.trials if not trial.breaks)
        assert search.resumed == (0 if processes == "2" else 3)
        assert results().models[0].choice == search.choice
        assert {"onnxruntime-fp32", search.choice.recipe} <= {one.name for one in results().models[0].variants}
    assert "screen" not in search.seconds  # what was measured closely is kept, too
    assert "Every trial, with what ended it" in (edge.report / "index.html").read_text()
    assert "## small for apple" in (edge.report / "optimization.md").read_text()


def test_the_stages_lead_from_the_unoptimized_model_to_the_choice(edge, results, gates):
    edge.write(
        """
def test_stages(edge_progression):
    names = [stage.name for stage in edge_progression]
    assert names == ["baseline", "conversion", "quantization", "hardware acceleration", "production validation"]
    changed = [stage for stage in edge_progression if stage.before and stage.record.changed]
    assert [stage.variant.name for stage in changed] == ["fake-fp32-twice"]
    assert changed[0].speedup <= 1.5
    for stage in edge_progression:
        assert stage.variant.size <= 2 * edge_progression[0].variant.size

def test_unchanged(edge_progression):
    assert edge_progression[1].speedup >= 1
""",
        fake=True,
    )

    found = edge.run("--edge-recipe=fake-fp32-twice", LIMITS, "-rs")

    found.assert_outcomes(passed=1, skipped=1)
    found.stdout.fnmatch_lines(["*The stage conversion changed nothing: None is needed: onnxruntime runs*"])
    stages = results().models[0].progression
    assert [stage.recipe for stage in stages] == ["onnxruntime-fp32"] * 2 + ["fake-fp32-twice"] * 3
    assert stages[2].speedup.estimate < 0.9
    assert {verdict.quantity for verdict in stages[-1].verdicts} == {"accuracy", "speedup", "memory.footprint"}
    assert "limits are proven to hold" in stages[-1].text


def test_limits_that_nobody_can_meet_give_the_nearest_and_what_each_breaks(sample, tmp_path, capsys, plugin):
    words = [
        "search",
        str(sample.model),
        "--dataset",
        str(sample.dataset),
        "--target",
        "cross",
        "--plugin",
        "fake_engine",
    ]
    words += ["--recipe", "fake-fp32-plain fake-fp32-refused", "--limit", "speedup=50 package=1kB", "--trials", "2"]
    words += ["--cache", str(tmp_path / "cache"), "--report", str(tmp_path / "report")]

    assert cli.main([*words, "--limit", "speedup=50 footprint=0.01", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["search"]
    assert cli.main([*words, "--limit", "package=1kB"]) == 2
    nothing = capsys.readouterr().err.splitlines()[-1]

    assert not found["choice"]["meets_limits"]
    assert found["choice"]["recipe"].startswith("fake-fp32-plain")
    assert "is 50x" in found["choice"]["breaks"][0]
    assert all(one["breaks"] for one in found["choice"]["ranking"])
    refused = next(one for one in found["trials"] if one["recipe"]["method"] == "refused")
    assert (refused["state"], refused["evidence"]) == ("refused", "the engine has no operator Conv.")
    assert (tmp_path / "report" / "optimization.json").is_file()
    assert "Nothing that was tried of small could be measured." in nothing
    assert "the limit of the package is 1 kB (counted), so its speed was not measured" in nothing


def test_a_search_that_is_killed_goes_on_and_evaluates_nothing_twice(sample, tmp_path, plugin):
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    words = [sys.executable, "-m", "pytest_edgeai.cli", "search", str(sample.model), "--dataset", str(sample.dataset)]
    words += [
        "--target",
        "apple",
        "--plugin",
        "fake_engine",
        "--recipe",
        "fake-fp32-plain fake-fp32-twice",
        "--trials",
        "5",
    ]
    words += ["--cache", str(tmp_path / "cache"), "--storage", storage, "--json"]

    def finished() -> list[str]:
        import optuna

        (study,) = optuna.get_all_study_names(storage)
        trials = optuna.load_study(study_name=study, storage=storage).trials
        return [trial.user_attrs["edgeai"] for trial in trials if "edgeai" in trial.user_attrs]

    first = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert first.stderr is not None
    for line in first.stderr:
        if "(3 of 5)" in line:
            break
    time.sleep(0.3)  # into the third trial
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    before = finished()

    second = subprocess.run(words, capture_output=True, text=True, check=True)

    found = json.loads(second.stdout)["search"]
    assert len(before) in (2, 3)
    assert finished()[: len(before)] == before
    assert found["resumed"] == len(before)
    assert len(finished()) == len(found["trials"]) == 5


def test_a_search_says_what_it_does_and_what_it_found(sample, tmp_path, capsys, plugin):
    words = [
        "search",
        str(sample.model),
        "--dataset",
        str(sample.dataset),
        "--target",
        "apple",
        "--plugin",
        "fake_engine",
    ]
    words += ["--recipe", "fake-fp32-plain", "--trials", "2"]

    assert cli.main([*words, "--cache", str(tmp_path / "cache")]) == 0

    out, err = capsys.readouterr()
    assert "edgeai: searching fake-fp32-plain; " in err
    assert "s of the budget left (1 of 2)" in err
    assert all(len(line) <= 80 for line in out.splitlines() if not line.strip().startswith(("$", "kept in")))
    for title in ("small for apple (Apple silicon Mac)", "Best", "Pareto front", "Next"):
        assert title in out.splitlines()
    assert "--edge-recipe=fake-fp32-plain" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--trials", "0"], "Argument --trials: '0' is not a whole number, from 1 on."),
        (["--budget", "never"], "Argument --budget: 'never' is not a number of seconds above 0."),
        (["--prefer", "speed=1"], "--edge-prefer speed=1: No objective named 'speed'"),
        (["--recipe", "nothing-*"], "No recipe's name matches --edge-recipe nothing-*."),
    ],
)
def test_what_a_search_can_not_read_is_told_in_one_sentence(sample, capsys, words, told, tmp_path):
    assert cli.main(["search", str(sample.model), "--target", "apple", "--cache", str(tmp_path), *words]) == 2

    assert told in capsys.readouterr().err
