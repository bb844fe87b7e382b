"""The search: what is tried first, what is never tried twice, and how it goes on where it was stopped; with evaluations that are told."""

import dataclasses
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import msgspec
import optuna
import pytest

from pytest_edgeai.errors import UsageError
from pytest_edgeai.records import Recipe, Trial
from pytest_edgeai.search import Explorer, Space, without_password

FAST = Recipe(framework="zeta", precision="int8")
EXACT = Recipe(framework="zeta", precision="fp16")
OTHER = Recipe(framework="alpha", precision="int8", method="static")
SPACE = Space(
    recipes=(FAST, EXACT, OTHER),
    sparsities=(0.0, 0.2, 0.5),
    tunings={"zeta": {"threads": (1, 2), "hint": ("throughput",)}},
)
BOTH = ("latency", "accuracy")


def measured(recipe: Recipe, number: int, before: object = ()) -> Trial:
    """Int8 in one thread and with half of the weights pruned is the fastest; pruning costs accuracy."""
    speed = (1.0 if recipe.precision == "int8" else 0.2) + (recipe.tuning.get("threads") == 1) + recipe.sparsity
    gains = {"latency": speed, "accuracy": -recipe.sparsity}
    return Trial(number=number, recipe=recipe, state="measured", gains=gains, missed=-1.0)


def explorer(
    folder: Path, space: Space = SPACE, objectives=BOTH, seed: int = 1, storage: str = "study.log"
) -> Explorer:
    return Explorer(space, objectives, str(folder / storage), "study", seed)


def names(trials: list[Trial]) -> list[str]:
    return [trial.name for trial in trials]


def test_a_space_has_every_combination_once_and_the_plain_recipes_first():
    points = [recipe.name for recipe in SPACE.points()]

    assert points[:3] == ["zeta-int8", "zeta-fp16", "alpha-int8-static"]
    assert len(points) == len(set(points)) == SPACE.size == 2 * 3 * 3 * 2 + 3
    assert "zeta-int8-pruned20@hint=throughput,threads=1" in points


def test_what_is_left_out_is_no_point_but_its_changes_are():
    points = [recipe.name for recipe in Space((FAST,), (0.0, 0.5), but=frozenset({"zeta-int8"})).points()]

    assert points == ["zeta-int8-pruned50"]


def test_every_point_has_parameters_of_its_own():
    parameters = [tuple(sorted(SPACE.parameters(recipe).items())) for recipe in SPACE.points()]

    assert len(set(parameters)) == SPACE.size


def test_the_catalogue_is_tried_first_in_its_order_and_nothing_twice(tmp_path):
    study = explorer(tmp_path)

    stopped = study.explore(measured, trials=15, seconds=1000)

    tried = names(study.tried())
    assert stopped == "15 trials"
    assert tried[:3] == ["zeta-int8", "zeta-fp16", "alpha-int8-static"]
    assert len(tried) == len(set(tried)) == 15


def test_what_was_asked_for_by_name_is_tried_before_all_others_and_once(tmp_path):
    asked = (msgspec.structs.replace(FAST, tuning={"threads": 3}), msgspec.structs.replace(OTHER, sparsity=0.2))
    space = dataclasses.replace(SPACE, tunings={"zeta": {"threads": (1, 3)}}, asked=asked)
    study = explorer(tmp_path, space)

    study.explore(measured, 4, 60)

    assert names(study.tried())[:3] == ["zeta-int8@threads=3", "alpha-int8-static-pruned20", "zeta-int8"]
    assert len({one.name for one in space.points()}) == space.size


def test_what_is_best_is_found_before_most_points_were_tried(tmp_path):
    best = "zeta-int8-pruned50@threads=1"
    places = []
    for seed in range(3):
        (tmp_path / str(seed)).mkdir()
        study = explorer(tmp_path / str(seed), objectives=("latency",), seed=seed)
        study.explore(measured, trials=20, seconds=1000)
        tried = names(study.tried())
        of_its_kind = [
            place for place, name in enumerate(tried) if name.startswith("zeta-int8-pruned50@") and "threads=1" in name
        ]
        places.append(min(of_its_kind, default=99))

    assert best in {recipe.name for recipe in SPACE.points()}
    assert sorted(places)[1] < SPACE.size / 2


def test_a_small_space_is_tried_whole(tmp_path):
    study = explorer(tmp_path, Space((FAST, OTHER), tunings={"zeta": {"threads": (1,)}}))

    stopped = study.explore(measured, trials=100, seconds=1000)

    assert stopped == "every point was tried"
    assert sorted(names(study.tried())) == ["alpha-int8-static", "zeta-int8", "zeta-int8@threads=1"]


def test_the_budget_is_looked_at_before_every_trial(tmp_path):
    study, ticks = explorer(tmp_path), itertools.count(step=10.0)

    stopped = study.explore(measured, trials=100, seconds=35, clock=lambda: next(ticks))

    assert stopped == ""
    assert len(study.tried()) == 3


def test_a_search_that_is_asked_for_again_tries_nothing_again(tmp_path):
    explorer(tmp_path).explore(measured, trials=8, seconds=1000)
    before = explorer(tmp_path).tried()

    again = explorer(tmp_path, seed=2)
    stopped = again.explore(lambda *_: pytest.fail("it was tried"), trials=8, seconds=1000)

    assert stopped == "8 trials"
    assert again.tried() == before


def test_a_search_goes_on_where_it_was_interrupted_and_tries_that_one_again(tmp_path):
    def interrupted(recipe: Recipe, number: int, before: list[Trial]) -> Trial:
        if len(before) == 4:
            raise KeyboardInterrupt
        return measured(recipe, number)

    with pytest.raises(KeyboardInterrupt):
        explorer(tmp_path).explore(interrupted, trials=10, seconds=1000)
    study = explorer(tmp_path)
    study.explore(measured, trials=10, seconds=1000)

    tried = names(study.tried())
    assert len(tried) == len(set(tried)) == 10


@pytest.mark.parametrize("state", ["cut", "refused", "failed"])
def test_what_was_not_measured_counts_as_tried_and_is_not_proposed_again(tmp_path, state):
    def evaluate(recipe: Recipe, number: int, before: list[Trial]) -> Trial:
        if recipe.framework == "zeta":
            return Trial(number=number, recipe=recipe, state=state, missed=1.0, evidence="It is too large.")
        return measured(recipe, number)

    study = explorer(tmp_path)
    study.explore(evaluate, trials=20, seconds=1000)

    tried = study.tried()
    assert len(set(names(tried))) == 20
    assert {trial.state for trial in tried if trial.recipe.framework == "zeta"} == {state}


def test_a_trial_that_another_machine_gave_up_meanwhile_does_not_stop_the_search(tmp_path):
    def evaluate(recipe: Recipe, number: int, before: list[Trial]) -> Trial:
        if number == 0:
            study._study.tell(0, state=optuna.trial.TrialState.FAIL)
        return measured(recipe, number)

    study = explorer(tmp_path)

    study.explore(evaluate, 3, 60)

    assert [trial.number for trial in study.tried()] == [1, 2, 3]


def test_a_trial_that_lacks_an_objective_does_not_stop_the_search(tmp_path):
    def evaluate(recipe: Recipe, number: int, before: list[Trial]) -> Trial:
        return Trial(number=number, recipe=recipe, state="measured", gains={"latency": 1.0})

    study = explorer(tmp_path)

    assert study.explore(evaluate, trials=6, seconds=1000) == "6 trials"


def test_what_is_tried_elsewhere_at_this_moment_is_left_alone(tmp_path):
    one, other = explorer(tmp_path), explorer(tmp_path)
    inner: list[str] = []

    def evaluate(recipe: Recipe, number: int, before: list[Trial]) -> Trial:
        if not before:
            other.explore(measured, trials=4, seconds=1000)
            inner.extend(names(other.tried()))
        return measured(recipe, number)

    one.explore(evaluate, trials=8, seconds=1000)

    assert len(inner) == 4
    tried = names(one.tried())
    assert len(tried) == len(set(tried)) == 8


PROGRAM = """
    import sys, time
    from pathlib import Path
    sys.path[:0] = {paths}
    import test_search
    from pytest_edgeai.search import Explorer

    def slow(recipe, number, before):
        with open({log!r}, "a") as log:
            log.write(recipe.name + "\\n")
        time.sleep(0.15)
        return test_search.measured(recipe, number)

    Explorer(test_search.SPACE, test_search.BOTH, {storage!r}, "study", 1).explore(slow, trials=12, seconds=100)
"""


def test_a_search_that_was_killed_goes_on_and_repeats_no_trial_that_was_finished(tmp_path):
    storage, log = f"sqlite:///{tmp_path / 'study.db'}", tmp_path / "log"
    program = textwrap.dedent(PROGRAM).format(
        paths=[str(Path(__file__).parents[1]), str(Path(__file__).parent)], log=str(log), storage=storage
    )
    begun = subprocess.Popen([sys.executable, "-c", program])
    while not log.exists() or len(log.read_text().splitlines()) < 5:
        assert begun.poll() is None
        time.sleep(0.01)
    os.kill(begun.pid, signal.SIGKILL)
    begun.wait()
    finished = Explorer(SPACE, BOTH, storage, "study", 1).tried()
    at_work = log.read_text().splitlines()[-1]

    subprocess.run([sys.executable, "-c", program], check=True)

    tried = names(Explorer(SPACE, BOTH, storage, "study", 1).tried())
    evaluations = log.read_text().splitlines()
    assert len(tried) == len(set(tried)) == 12
    assert tried[: len(finished)] == names(finished)
    assert all(evaluations.count(name) == 1 for name in names(finished))
    assert at_work in tried


def test_a_password_is_told_to_nobody():
    with pytest.raises(UsageError) as error:
        Explorer(SPACE, BOTH, "postgresql+nothing://me:secret@host:5432/db", "study", 1)

    assert "postgresql+nothing://me:***@host:5432/db" in str(error.value)
    assert "secret" not in str(error.value)
    assert (
        without_password("postgresql://h/db?user=u&password=secret&x=1") == "postgresql://h/db?user=u&password=***&x=1"
    )
    assert without_password("sqlite:///search.db") == "sqlite:///search.db"


@pytest.mark.parametrize("storage", ["nonsense://x", "sqlite:////nowhere/at/all.db", "/nowhere/at/all.log"])
def test_a_storage_that_can_not_be_used_is_told_in_one_sentence(storage):
    with pytest.raises(UsageError, match="can't be used for a search") as error:
        Explorer(SPACE, BOTH, storage, "study", 1)

    assert "\n" not in str(error.value)
    assert "sqlite:///search.db" in str(error.value)
