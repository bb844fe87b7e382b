"""Choosing: the best of what meets the limits, the second best, and what would change the choice."""

import pytest
from test_strategy import recipe, target

from pytest_edgeai import choosing, guidance, objectives
from pytest_edgeai.records import Choice, Figure
from pytest_edgeai.units import MB


def figure(value: float, unit: str = "x") -> Figure:
    return Figure(estimate=value, low=value, high=value, unit=unit, confidence=0.95, n=30, method="told")


def screened(**values: float) -> dict[str, Figure]:
    """Figures by quantity; ``footprint`` and ``peak`` are of memory."""
    long = {"footprint": "memory.footprint", "peak": "memory.peak"}
    megabytes = {"footprint"}
    return {long.get(name, name): figure(value * (MB if name in megabytes else 1)) for name, value in values.items()}


GOOD = {"accuracy": 0.90, "speedup": 2.5, "footprint": 40.0, "size": 1.0}
BASELINE = screened(accuracy=0.90, speedup=1.0, footprint=100.0, size=4.0)
ORDER = [recipe("zeta-int8"), recipe("alpha-int8"), recipe("mid-int8")]


def chosen(variants: dict[str, dict[str, Figure]], **limits: object):
    return choosing.choose(variants, ORDER, dict.fromkeys(variants, BASELINE), target("zeta", "alpha", "mid", **limits))


def test_of_what_meets_the_limits_the_fastest_is_chosen_where_the_rest_is_equal():
    choice = chosen(
        {
            "zeta-int8": screened(**GOOD),
            "alpha-int8": screened(**GOOD | {"speedup": 3.0}),
            "mid-int8": screened(**GOOD | {"speedup": 9.0, "accuracy": 0.5}),
        }
    )

    assert (choice.recipe, choice.meets_limits, choice.breaks) == ("alpha-int8", True, ())
    assert choice.reason == (
        "the knee point of 2 variants that meet the limits of drone (3x in screening): the best in speed-up, accuracy, own memory and size together"
    )


@pytest.mark.parametrize(("speedup", "expected"), [(2.60, "zeta-int8"), (2.62, "zeta-int8"), (2.65, "alpha-int8")])
def test_speedups_within_5_percent_are_equal_and_the_order_of_preference_decides(speedup, expected):
    choice = chosen({"alpha-int8": screened(**GOOD | {"speedup": speedup}), "zeta-int8": screened(**GOOD)})

    assert choice.recipe == expected
    assert ("by the target's order of preference" in choice.reason) == (expected == "zeta-int8")


def test_a_tie_is_told_with_the_rule_that_broke_it():
    drone = target("zeta", "alpha", "mid")
    facts = guidance.Facts(kind="onnx", modalities=("image",), parameters=1)
    preferences = guidance.order(facts, drone, "this device is of it", ())
    variants = {name: screened(**GOOD) for name in ("zeta-int8", "alpha-int8")}

    choice = choosing.choose(variants, ORDER, dict.fromkeys(variants, BASELINE), drone, preferences)

    assert choice.reason.endswith(
        ", before alpha-int8 by the rule 'target: drone's own order -> zeta, then alpha, then mid', because "
        "the target is drone, and this device is of it"
    )


def test_a_tie_between_recipes_of_one_framework_is_broken_by_name():
    variants = {name: screened(**GOOD) for name in ("zeta-int8", "zeta-int4")}

    choice = choosing.choose(
        variants, [recipe("zeta-int4"), recipe("zeta-int8")], dict.fromkeys(variants, BASELINE), target("zeta")
    )

    assert choice.reason.endswith(", before zeta-int8 by name")


def test_the_order_of_the_recipes_and_not_of_the_screening_breaks_a_tie():
    forth = {name: screened(**GOOD) for name in ("zeta-int8", "alpha-int8", "mid-int8")}
    back = dict(reversed(forth.items()))

    assert chosen(forth).recipe == chosen(back).recipe == "zeta-int8"


def test_the_only_one_that_meets_the_limits_is_called_alone():
    choice = chosen({"zeta-int8": screened(**GOOD), "alpha-int8": screened(**GOOD | {"speedup": 1.0})})

    assert choice.reason == "alone in meeting the limits of drone (2.5x in screening)"


@pytest.mark.parametrize(
    ("broken", "limits", "sentence"),
    [
        ({"accuracy": 0.81}, {}, "keeps 90.00 % of the reference's accuracy, the limit is 95.00 %"),
        ({"speedup": 1.62}, {}, "is 1.62x as fast as the baseline, the limit is 2x"),
        ({"footprint": 75.0}, {}, "takes 75.00 % of the baseline's own memory, the limit is 50.00 %"),
        ({"size": 60 * MB}, {"package": 50_000_000}, "is 60 MB large, the limit of the package is 50 MB"),
        ({"peak": 300 * MB}, {"memory_bytes": 256_000_000}, "peaks at 300 MB, the limit is 256 MB"),
    ],
)
def test_each_limit_that_is_broken_is_told(broken, limits, sentence):
    choice = chosen({"zeta-int8": screened(**GOOD | broken)}, **limits)

    assert (choice.recipe, choice.meets_limits) == ("zeta-int8", False)
    assert choice.breaks == (sentence,)
    assert choice.reason == "no variant meets all limits of drone in screening; this one comes nearest"


def test_a_value_exactly_at_its_limit_meets_it():
    at_the_limit = {"accuracy": 0.855, "speedup": 2.0, "footprint": 50.0, "size": 50 * MB, "peak": 256 * MB}

    choice = chosen({"zeta-int8": screened(**at_the_limit)}, package=50_000_000, memory_bytes=256_000_000)

    assert choice.meets_limits


def test_the_nearest_is_the_one_that_misses_its_limits_by_the_least_together():
    choice = chosen(
        {
            "zeta-int8": screened(**GOOD | {"speedup": 1.0}),
            "alpha-int8": screened(**GOOD | {"speedup": 1.9, "footprint": 55.0}),
            "mid-int8": screened(**GOOD | {"accuracy": 0.3}),
        }
    )

    assert choice.recipe == "alpha-int8"
    assert len(choice.breaks) == 2


def test_of_equally_near_ones_the_order_of_preference_decides():
    missing = screened(**GOOD | {"speedup": 1.5})

    assert chosen({"mid-int8": missing, "alpha-int8": missing}).recipe == "alpha-int8"


def test_a_variant_with_nothing_right_is_far_from_its_limit_and_not_a_crash():
    choice = chosen(
        {"zeta-int8": screened(**GOOD | {"accuracy": 0.0}), "mid-int8": screened(**GOOD | {"speedup": 0.1})}
    )

    assert choice.recipe == "mid-int8"


def test_a_limit_on_what_was_not_measured_is_not_broken():
    choice = chosen({"zeta-int8": screened(speedup=2.5, size=1.0)}, memory_bytes=1)

    assert (choice.meets_limits, choice.breaks) == (True, ())


def test_a_baseline_without_anything_right_breaks_no_limit():
    variants = {"zeta-int8": screened(**GOOD | {"accuracy": 0.0})}

    choice = choosing.choose(
        variants, ORDER, dict.fromkeys(variants, BASELINE | screened(accuracy=0.0)), target("zeta")
    )

    assert choice.meets_limits


def test_where_speed_can_not_be_measured_the_rest_decides_and_that_is_told():
    choice = chosen(
        {
            "zeta-int8": screened(accuracy=0.90, size=3.0),
            "alpha-int8": screened(accuracy=0.89, size=2.0),
            "mid-int8": screened(accuracy=0.50, size=1.0),
        }
    )

    assert (choice.recipe, choice.meets_limits) == ("alpha-int8", True)
    assert choice.reason.endswith("the best in accuracy and size together; speed can't be measured on this device")


def test_of_those_that_meet_the_limits_one_whose_speed_was_measured_is_chosen():
    choice = chosen({"zeta-int8": screened(accuracy=0.9, size=1.0), "mid-int8": screened(**GOOD)})

    assert choice.recipe == "mid-int8"


# Preferences -----------------------------------------------------------------------------------------------------------------

FAST = GOOD | {"speedup": 4.0, "footprint": 48.0}
LEAN = GOOD | {"speedup": 2.2, "footprint": 10.0}


def preferring(wish: str | None, **variants: dict[str, float]) -> Choice:
    known = {name.replace("_", "-"): screened(**values) for name, values in variants.items()}
    weights = objectives.preferences(wish)
    return choosing.choose(known, ORDER, dict.fromkeys(known, BASELINE), target("zeta", "alpha", "mid"), (), weights)


def test_what_is_preferred_decides():
    both = {"zeta_int8": FAST, "alpha_int8": LEAN}

    assert preferring("latency=1", **both).recipe == "zeta-int8"
    assert preferring("memory=1", **both).recipe == "alpha-int8"
    assert preferring("latency=1,memory=1", **both).recipe == "alpha-int8"
    assert preferring("latency=9,memory=1", **both).recipe == "zeta-int8"


def test_a_preference_is_told_in_shares():
    choice = preferring("latency=3,memory=1", zeta_int8=FAST, alpha_int8=LEAN)

    assert choice.reason.startswith("the best of 2 variants that meet the limits of drone (")
    assert choice.reason.endswith(" in screening) by latency 75%, memory 25%")
    assert choice.weights == {"latency": 0.75, "memory": 0.25}
    assert not choice.is_knee


def test_what_is_preferred_and_not_measured_has_no_say_and_that_is_told():
    choice = preferring("energy=5,latency=1", zeta_int8=FAST, alpha_int8=LEAN)

    assert choice.recipe == "zeta-int8"
    assert choice.reason.endswith("by latency 100% (energy could not be measured, and has no say)")


def test_where_nothing_that_is_preferred_was_measured_it_is_the_knee_point():
    choice = preferring("energy=1", zeta_int8=FAST, alpha_int8=LEAN)

    assert sum(choice.weights.values()) == pytest.approx(1)
    assert "energy could not be measured, and has no say" in choice.reason


def test_the_weight_that_is_told_to_change_the_choice_changes_it():
    both = {"zeta_int8": FAST, "alpha_int8": LEAN}
    choice = preferring(None, **both)

    wish = choice.changes[0].partition("--edge-prefer ")[2].rstrip(").")
    heavier = ",".join(
        f"{name}={float(weight) * (1.02 if name == 'latency' else 1)}"
        for name, _, weight in (entry.partition("=") for entry in wish.split(","))
    )

    assert (choice.recipe, choice.second) == ("alpha-int8", "zeta-int8")
    assert preferring(heavier, **both).recipe == "zeta-int8"


@pytest.mark.parametrize("quantity", ["speedup", "footprint", "size"])
def test_the_figure_that_is_told_to_change_the_choice_changes_it(quantity):
    words = {"speedup": "speed-up", "footprint": "own memory", "size": "size"}
    both = {"zeta_int8": FAST | {"size": 1.5}, "alpha_int8": LEAN | {"size": 1.5}}
    wish = "latency=1,accuracy=1,memory=1.5,size=1"
    choice = preferring(wish, **both)
    sentence = next(one for one in choice.changes if f"its {words[quantity]} is" in one)

    number = float(
        sentence.partition("at least " if quantity == "speedup" else "at most ")[2].split("x")[0].split(" ")[0]
    )
    number /= MB if quantity == "footprint" else 1
    better = number * (1.01 if quantity == "speedup" else 0.99)

    assert (choice.recipe, choice.second) == ("alpha-int8", "zeta-int8")
    changed = both | {"zeta_int8": both["zeta_int8"] | {quantity: better}}
    assert preferring(wish, **changed).recipe == "zeta-int8"


def test_no_preference_is_told_for_what_is_better_in_nothing():
    choice = preferring(None, zeta_int8=FAST, alpha_int8=FAST | {"speedup": 3.0, "size": 2.0})

    assert (
        choice.changes[0]
        == "No weight on one objective makes alpha-int8 the choice: zeta-int8 is at least as good in everything."
    )
    assert not any("its accuracy is at least 1" in change for change in choice.changes)


def test_no_weight_is_told_at_which_a_third_one_overtakes():
    def of(latency: float, memory: float) -> dict[str, float]:
        return GOOD | {"speedup": 2.0**latency, "footprint": 100 * 0.5**memory}

    choice = preferring("latency=6,memory=4", zeta_int8=of(10, 1), alpha_int8=of(9, 2), mid_int8=of(4.9, 8))

    assert (choice.recipe, choice.second) == ("zeta-int8", "alpha-int8")
    assert not any("times the weight" in change for change in choice.changes)
    assert choice.changes[0].endswith("before it comes so far, another one is better.")


def test_a_second_one_that_is_equal_in_practice_is_told_as_such():
    choice = preferring(None, zeta_int8=FAST, alpha_int8=FAST | {"speedup": 4.04})

    assert choice.changes == ("alpha-int8 is equal in practice; the order of preference put zeta-int8 before it.",)


def test_the_ranking_has_all_that_meet_the_limits_from_the_best_on():
    choice = preferring("latency=1", zeta_int8=FAST, alpha_int8=LEAN, mid_int8=GOOD | {"speedup": 1.0})

    assert [candidate.recipe for candidate in choice.ranking] == ["zeta-int8", "alpha-int8"]
    assert choice.ranking[0].gains["latency"] == pytest.approx(2)  # twice what is demanded, by its logarithm


def test_where_nothing_meets_the_limits_all_are_told_with_what_each_breaks_the_nearest_first():
    choice = preferring(None, zeta_int8=GOOD | {"speedup": 1.0}, alpha_int8=GOOD | {"speedup": 1.8, "footprint": 51.0})

    assert [candidate.recipe for candidate in choice.ranking] == ["alpha-int8", "zeta-int8"]
    assert choice.ranking[1].breaks == ("is 1x as fast as the baseline, the limit is 2x",)
    assert choice.breaks == choice.ranking[0].breaks
    assert len(choice.breaks) == 2


def test_language_models_are_chosen_by_their_decoding_and_their_perplexity():
    def of(**values: float) -> dict[str, Figure]:
        long = {"decode": "decode.throughput", "footprint": "memory.footprint"}
        return {
            long.get(name, name): figure(value * (MB if name == "footprint" else 1)) for name, value in values.items()
        }

    known = {
        "zeta-int8": of(decode=900.0, perplexity=20.5, footprint=50.0, size=1.0),
        "alpha-int8": of(decode=1000.0, perplexity=20.4, footprint=40.0, size=1.0),
    }
    reference = of(decode=300.0, perplexity=20.0, footprint=100.0, size=4.0)

    choice = choosing.choose(known, ORDER, dict.fromkeys(known, reference), target(perplexity=1.05))

    assert choice.recipe == "alpha-int8"
    assert "the best in decode speed, perplexity, own memory and size together" in choice.reason
