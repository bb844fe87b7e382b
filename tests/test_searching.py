"""Searching: what is tried of a model, when a few rounds are enough, and which trials are measured closely."""

from types import SimpleNamespace

import msgspec
import pytest
from test_choosing import figure, screened
from test_strategy import ASSESSMENT, DEVICE, recipe, target

from pytest_edgeai import objectives, searching
from pytest_edgeai.errors import UnsupportedError
from pytest_edgeai.records import Figure, Offer, Plan, Quantizable, Trial

BASELINE = recipe("zeta-fp32")


class Engine:
    """A framework that knows what may be worth trying."""

    name = "zeta"

    def accelerations(self, assessment, device):
        return {"threads": (1,)}


def study(*names: str, language: bool = False, assessment=ASSESSMENT, engine: object = None) -> SimpleNamespace:
    offers = tuple(Offer(recipe=recipe(name), reason="It is a test.") for name in names)
    plan = Plan(model="m", target="drone", baseline=BASELINE, offers=offers, refusals=())
    engine = engine or Engine()
    return SimpleNamespace(
        plan=plan,
        assessment=assessment,
        run=SimpleNamespace(
            registry=SimpleNamespace(framework=lambda _: engine),
            device=DEVICE,
            preferred={},
            settings=SimpleNamespace(recipe=None),
        ),
        declaration=SimpleNamespace(is_language=language),
        model=SimpleNamespace(kind="huggingface" if language else "onnx"),
        target=target("zeta", speedup=2.0),
        recipe=recipe,
        shown=lambda one, other, objective, better, part: not better,
        is_same=lambda one, other: False,
    )


def test_the_plans_recipes_and_the_baseline_are_pruned_and_tuned_in_every_way():
    space = searching.space_of(study("zeta-int8", "zeta-fp16"))

    assert [one.name for one in space.recipes] == ["zeta-int8", "zeta-fp16", "zeta-fp32"]
    assert space.size == 3 * 5 * 2 - 1  # all but the baseline itself
    assert "zeta-fp32-pruned50@threads=1" in {one.name for one in space.points()}


def test_where_recipes_are_asked_for_the_baseline_is_not_tried():
    asked = study("zeta-int8")
    asked.run.settings.recipe = "zeta-int8"

    assert {one.precision for one in searching.space_of(asked).points()} == {"int8"}


def test_a_tuning_that_was_asked_for_is_a_point_that_is_tried_first():
    asked = study("zeta-int8")
    offer = asked.plan.offers[0]
    tuned = msgspec.structs.replace(offer.recipe, tuning={"threads": 3})
    asked.plan = msgspec.structs.replace(asked.plan, offers=(msgspec.structs.replace(offer, recipe=tuned),))

    space = searching.space_of(asked)

    assert next(space.points()).name == "zeta-int8@threads=3"
    assert space.tunings["zeta"] == {"threads": (1, 3)}


def test_other_devices_are_not_tried_whose_speed_no_gate_compares():
    class Capable(Engine):
        def accelerations(self, assessment, device):
            return {"device": ("GPU",), "threads": (1,)}

    space = searching.space_of(study("zeta-int8", engine=Capable()))

    assert {key for one in space.points() for key in one.tuning} == {"threads"}


def test_what_can_not_be_pruned_is_only_tuned():
    no = Quantizable(possible=False, reason="its work is in trees")
    trees = msgspec.structs.replace(ASSESSMENT, precisions={"int8-static": no, "int8-dynamic": no})

    assert searching.space_of(study("zeta-int8", assessment=trees)).size == 2 * 2 - 1


def test_of_a_language_model_the_recipes_alone_are_tried():
    space = searching.space_of(study("zeta-int8", "zeta-int4", language=True))

    assert [one.name for one in space.points()] == ["zeta-int8", "zeta-int4"]


def test_an_engine_that_knows_nothing_to_try_is_not_tuned():
    space = searching.space_of(study("zeta-int8", engine=object()))

    assert not any(one.tuning for one in space.points())


def test_where_everything_is_refused_there_is_nothing_to_search():
    with pytest.raises(UnsupportedError, match="No recipe is offered for m on drone"):
        searching.space_of(study())


def speed(low: float, high: float, confidence: float = 0.95) -> Figure:
    return Figure(estimate=(low + high) / 2, low=low, high=high, unit="x", confidence=confidence, n=10, method="told")


GOOD = screened(accuracy=0.9, footprint=40.0, size=1.0)
KNOWN = {"zeta-fp32": screened(accuracy=0.9, footprint=100.0, size=4.0) | {"speedup": figure(1.0)}}


def enough(known: dict[str, dict[str, Figure]]) -> searching._Enough:
    compared = objectives.measured([GOOD | {"speedup": figure(2.0)}])
    return searching._Enough(study("zeta-int8"), "zeta-int8", GOOD, KNOWN | known, compared)


def test_rounds_go_on_while_nothing_is_known_for_sure():
    asked = enough({})

    assert not asked(speed(1.9, 2.2))
    assert not asked(speed(0.1, 0.2, confidence=0.0))
    assert asked.why == ""


def test_what_is_surely_slower_than_the_limit_needs_no_more_rounds():
    asked = enough({})

    assert asked(speed(1.7, 1.9))
    assert asked.why == "surely slower than 2x after 10 rounds"


def test_what_another_variant_surely_beats_needs_no_more_rounds_and_the_baseline_beats_nothing():
    better = GOOD | {"speedup": speed(3.9, 4.1), "memory.footprint": figure(30.0)}
    asked = enough({"alpha-int8": better})

    assert asked(speed(2.1, 2.3))
    assert asked.why.startswith("beaten by alpha-int8 (speed-up 4x against 2.2x: better; ")
    assert not enough({})(speed(2.1, 2.3))


def finalists(*trials: Trial, preferred: dict[str, float] | None = None) -> list[str]:
    one = searching._Searching(study("zeta-int8"))
    one._run.preferred.update(preferred or {})
    one._compared = objectives.measured([GOOD | {"speedup": figure(2.0)}])
    one._known = {trial.name: {} for trial in trials}
    one._study.recipe = {trial.name: trial.recipe for trial in trials}.__getitem__
    return one._finalists(trials)


def trial(name: str, latency: float = 1.0, memory: float = 1.0, sparsity: float = 0.0, **more) -> Trial:
    gains = {"latency": latency, "accuracy": 0.0, "memory": memory, "size": 1.0}
    made = msgspec.structs.replace(recipe(name), sparsity=sparsity)
    return Trial(**{"number": 0, "recipe": made, "state": "measured", "gains": gains} | more)


def test_the_best_of_what_meets_the_limits_are_measured_closely_at_most_two_of_a_kind():
    found = finalists(
        trial("zeta-int8", 3.0),
        trial("zeta-int8", 2.9, sparsity=0.1),
        trial("zeta-int8", 2.8, sparsity=0.2),
        trial("alpha-int8", 1.0),
        trial("alpha-fp16", 9.0, breaks=("keeps 70 % of it",), missed=0.3),
        trial("alpha-bf16", 9.0, state="cut", missed=0.3),
    )

    assert found == ["zeta-int8", "zeta-int8-pruned10", "alpha-int8"]


def test_what_is_preferred_decides_what_is_measured_closely():
    lean, fast = trial("zeta-int8", 1.0, 3.0), trial("alpha-int8", 3.0, 1.0)

    assert finalists(lean, fast, preferred={"latency": 1.0})[0] == "alpha-int8"
    assert finalists(lean, fast, preferred={"memory": 1.0})[0] == "zeta-int8"


def test_where_nothing_meets_the_limits_the_nearest_are_measured_closely():
    far = trial("zeta-int8", 9.0, breaks=("is slow",), missed=0.9)
    near = trial("alpha-int8", 0.1, breaks=("is large",), missed=0.1)

    assert finalists(far, near) == ["alpha-int8", "zeta-int8"]


def test_without_a_trial_that_was_measured_there_is_no_finalist():
    assert finalists(trial("zeta-int8", state="failed")) == []
