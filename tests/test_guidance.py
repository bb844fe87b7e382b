"""Guidance: the rules as data, and the order that follows from them with its citations."""

import itertools
from pathlib import Path

import pytest

from pytest_edgeai import guidance
from pytest_edgeai.errors import UsageError
from pytest_edgeai.guidance import COURSE, OURS, REQUIREMENTS, ROUTES, Facts
from pytest_edgeai.records import Target
from pytest_edgeai.settings import Settings
from pytest_edgeai.targets.builtin import TARGETS

BUILT_IN = {target.name: target for target in TARGETS}
HERE = "this device is of it (GenuineIntel)"
IMAGE = Facts(kind="onnx", modalities=("image",), parameters=4_000_000)
TWO = Facts(kind="onnx", modalities=("image", "tabular"), parameters=4_000_000)
LANGUAGE = Facts(kind="gguf", modalities=("text",), parameters=1_000_000_000)
LARGE = Facts(kind="huggingface", modalities=("text",), parameters=13_000_000_000)
DRONE = Target(name="drone", title="A drone", frameworks=("zeta", "openvino"))


def ordered(facts: Facts, target: str | Target, registered=(), route="target", required=()):
    chosen = BUILT_IN[target] if isinstance(target, str) else target
    return guidance.order(facts, chosen, HERE, registered, route, required)


def names(preferences) -> list[str]:
    """Of the frameworks that can take the model."""
    return [preference.framework for preference in preferences if not preference.unfit]


def cited(preferences, framework: str):
    (found,) = (preference for preference in preferences if preference.framework == framework)
    return found.citations


# Platform, model type, size --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_for_a_model_of_one_modality_the_rules_agree_with_the_targets_own_order(target):
    found = ordered(IMAGE, target.name)

    takes_onnx = [name for name in target.frameworks if "onnx" in guidance.READS[name]]
    assert names(found)[: len(takes_onnx)] == takes_onnx


def test_the_platform_matrix_is_cited_with_the_target_and_the_device():
    first = ordered(IMAGE, "intel")[0]

    assert first.framework == "openvino"
    assert first.citations[0].rule == "platform matrix: Intel CPU/GPU -> OpenVINO, then Olive"
    assert first.citations[0].fact == "the target is intel, and this device is of it (GenuineIntel)"
    assert first.citations[0].source == COURSE


def test_two_modalities_on_any_platform_lead_to_openvino_then_olive():
    found = ordered(TWO, "cross")

    assert names(found) == ["openvino", "olive", "onnxruntime"]
    assert found[0].citations[0].rule == "decision tree: any platform, multi-modal model -> OpenVINO, then Olive"
    assert found[0].citations[0].fact == "the model takes two modalities (image, tabular)"


def test_a_language_model_on_any_platform_leads_to_llama_cpp():
    found = ordered(LANGUAGE, "cross")

    assert names(found)[0] == "llamacpp"
    assert found[0].citations[0].rule == "decision tree: any platform, language model -> llama.cpp"


def test_one_modality_on_any_platform_leads_to_onnx_runtime_by_our_own_rule():
    first = ordered(IMAGE, "cross")[0]

    assert (first.framework, first.citations[0].source) == ("onnxruntime", OURS)


@pytest.mark.parametrize("target", ["cross", "nvidia", "arm-mobile", "embedded-arm", "android", "edge-tpu"])
def test_above_7_b_parameters_the_enterprise_route_is_taken(target):
    found = ordered(LARGE, target)

    assert names(found)[:2] == ["olive", "openvino"]
    assert found[0].citations[0].fact == "the model has 13.0 B parameters"
    assert found[0].citations[0].rule == (
        "decision tree: above 7 B parameters, the enterprise route -> Olive, then OpenVINO"
    )


@pytest.mark.parametrize(("target", "first"), [("apple", "mlx"), ("ios", "mlx"), ("intel", "openvino")])
def test_the_platform_decides_before_the_size_on_apple_and_intel(target, first):
    assert names(ordered(LARGE, target))[0] == first


@pytest.mark.parametrize(("parameters", "first"), [(7_000_000_000, "llamacpp"), (7_000_000_001, "olive")])
def test_a_model_of_exactly_7_b_parameters_is_not_large(parameters, first):
    facts = Facts(kind="huggingface", modalities=("text",), parameters=parameters)

    assert names(ordered(facts, "cross"))[0] == first


def test_enterprise_leads_to_olive_whatever_the_model():
    for facts in (IMAGE, TWO, LARGE):
        assert names(ordered(facts, "enterprise"))[0] == "olive"


def test_a_third_partys_target_is_asked_for_its_own_order_first():
    found = ordered(LARGE, DRONE)

    assert names(found)[:3] == ["zeta", "openvino", "olive"]
    assert found[0].citations[0].source == "drone"


def test_what_no_rule_names_follows_by_name_and_says_so():
    found = ordered(IMAGE, "intel", registered=("zeta", "openvino", "alpha"))

    assert names(found)[-2:] == ["alpha", "zeta"]
    assert cited(found, "zeta")[0].rule == "no rule names it"


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("facts", [IMAGE, TWO, LANGUAGE, LARGE], ids=["image", "two", "language", "large"])
def test_an_order_is_never_a_filter(target, route, facts):
    registered = {"zeta", *guidance.READS}

    found = ordered(facts, target.name, registered, route, ("mobile",))

    assert sorted(preference.framework for preference in found) == sorted(registered)
    assert all(preference.citations for preference in found)


def test_what_reads_no_onnx_is_passed_over_for_an_onnx_model_and_says_why():
    found = ordered(IMAGE, "arm-mobile")

    assert names(found)[0] == "openvino"
    assert found[-1].framework == "llamacpp"
    assert found[-1].unfit == "llama.cpp reads no ONNX (it takes GGUF and Hugging Face folders)."


# The user's wishes -----------------------------------------------------------------------------------------------------------


def test_a_route_reorders_what_the_rules_name():
    rapid, production = (ordered(IMAGE, "intel", route=route) for route in ("rapid", "production"))

    assert names(rapid) == ["onnxruntime", "olive", "openvino"]
    assert names(production) == ["olive", "openvino", "onnxruntime"]
    assert rapid[0].citations[0].rule == "rapid route: llama.cpp, MLX, ONNX Runtime, Olive, OpenVINO"
    assert len(rapid[0].citations) == 2


def test_a_route_does_not_bring_forward_what_the_platform_has_no_use_for():
    found = ordered(LANGUAGE, "intel", registered=guidance.TITLES, route="rapid")

    assert names(found)[0] == "openvino"


def test_requirements_are_scored_and_the_higher_score_comes_first():
    found = ordered(IMAGE, "intel", required=("mobile", "ease-of-use"))

    assert [(preference.framework, preference.score) for preference in found] == [
        ("onnxruntime", 4),
        ("olive", 3),
        ("openvino", 2),
    ]
    assert found[2].citations[0].fact == "OpenVINO scores 2 of 4 (mobile good, ease-of-use moderate)"


def test_equal_scores_leave_the_order_to_the_route_and_then_to_the_rules():
    by_rules = ordered(IMAGE, "intel", required=("real-time",))
    by_route = ordered(IMAGE, "intel", route="production", required=("real-time",))

    assert names(by_rules) == ["openvino", "olive", "onnxruntime"]
    assert names(by_route) == ["olive", "openvino", "onnxruntime"]


def test_a_framework_that_is_not_graded_scores_nothing_and_says_so():
    found = ordered(IMAGE, DRONE, required=("mobile",))

    assert found[-1].framework == "zeta"
    assert cited(found, "zeta")[0].fact == "zeta scores 0 of 2 (mobile not graded)"


def test_the_rule_that_separates_two_frameworks_is_the_first_that_tells_them_apart():
    required = ordered(IMAGE, "intel", route="rapid", required=("mobile",))
    routed = ordered(IMAGE, "intel", route="rapid", required=("real-time",))
    plain = ordered(IMAGE, "intel")

    assert guidance.between(required[0], required[1]).rule == "requirement matrix: mobile"
    assert guidance.between(routed[0], routed[1]).rule.startswith("rapid route: ")
    assert guidance.between(plain[0], plain[1]).rule.startswith("platform matrix: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, ()), ("", ()), ("mobile", ("mobile",)), (" mobile, real-time ,mobile,", ("mobile", "real-time"))],
)
def test_requirements_are_a_list_with_commas(text, expected):
    assert guidance.requirements(text) == expected


def test_a_requirement_that_is_not_known_is_guessed_at():
    with pytest.raises(UsageError, match=r"No requirement named 'mobil'\. Did you mean 'mobile'\?"):
        guidance.requirements("mobil")


# The data --------------------------------------------------------------------------------------------------------------------


def test_every_requirement_grades_every_framework_that_has_a_title():
    for requirement, grades in REQUIREMENTS.items():
        assert set(grades) == set(guidance.TITLES), requirement
        assert all(grade.score in (0, 1, 2) and grade.word for grade in grades.values())


def test_the_options_name_all_requirements_and_routes():
    fields = {field.name: field for field in Settings.__dataclass_fields__.values()}

    assert all(name in fields["require"].metadata["help"] for name in REQUIREMENTS)
    assert fields["prefer_route"].metadata["choices"] == tuple(ROUTES)


def test_both_routes_have_a_place_for_every_framework():
    for route in ("rapid", "production"):
        assert sorted(ROUTES[route]) == sorted(guidance.TITLES)


def test_the_rules_name_only_frameworks_that_are_known():
    told = itertools.chain(
        *guidance.PLATFORMS.values(), *guidance.MODEL_TYPES.values(), *ROUTES.values(), guidance.ENTERPRISE
    )

    assert set(told) <= set(guidance.TITLES) <= set(guidance.READS)
    assert set(guidance.ROWS) <= set(BUILT_IN)
    assert set(guidance.ROWS.values()) == set(guidance.PLATFORMS)


# The documented tables -------------------------------------------------------------------------------------------------------

MANUAL = (Path(__file__).parents[1] / "docs/reference/strategy.md").read_text(encoding="utf-8")


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def titled(frameworks) -> list[str]:
    return [guidance.title(name) for name in frameworks]


def test_the_manual_has_the_platform_matrix():
    for name, (primary, secondary) in guidance.PLATFORMS.items():
        targets = ", ".join(f"`{target}`" for target, of in guidance.ROWS.items() if of == name)
        assert row(name, targets, *titled([primary, secondary])) in MANUAL


def test_the_manual_has_the_requirement_matrix():
    columns = list(guidance.TITLES)
    assert row("requirement", *titled(columns)) in MANUAL
    for name, grades in REQUIREMENTS.items():
        assert row(f"`{name}`", *(f"{grades[one].word} ({grades[one].score})" for one in columns)) in MANUAL


def test_the_manual_has_the_decision_tree_and_the_routes():
    for name, frameworks in guidance.MODEL_TYPES.items():
        assert row(name, ", then ".join(titled(frameworks))) in MANUAL
    for route in ("rapid", "production"):
        assert row(f"`{route}`", ", ".join(titled(ROUTES[route]))) in MANUAL


def test_the_manual_tells_every_correction():
    for correction in guidance.CORRECTIONS:
        assert f"- {correction}" in MANUAL


# Forms of a framework for other hardware --------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES)
def test_a_form_for_other_hardware_has_the_places_and_grades_of_its_framework(route):
    facts = Facts(kind="huggingface", modalities=("text",), parameters=1_000_000_000)

    found = ordered(facts, "nvidia", {"olive-cuda", *guidance.TITLES}, route, ("enterprise",))
    by_name = {preference.framework: preference for preference in found}

    assert names(found).index("olive-cuda") == names(found).index("olive") - 1
    assert by_name["olive-cuda"].score == by_name["olive"].score == 2
    assert by_name["olive-cuda"].citations[-1] == by_name["olive"].citations[-1]
