"""Strategy: which recipes are worth building and why, and which variant is recommended."""

import msgspec
import pytest

from pytest_edgeai import strategy
from pytest_edgeai.errors import UsageError
from pytest_edgeai.records import Assessment, Device, Limits, Offer, Plan, Recipe, Refusal, Target, TensorSpec
from pytest_edgeai.targets.builtin import TARGETS

ASSESSMENT = Assessment(
    digest="0" * 64,
    bytes=1000,
    parameters=250,
    macs=1000,
    architecture="convolutional",
    ops={"Conv": 1},
    inputs=(TensorSpec(name="image", dtype="float32", shape=(1, 3, 8, 8)),),
    outputs=(TensorSpec(name="logits", dtype="float32", shape=(1, 10)),),
    opset=17,
)
DEVICE = Device(
    name="a-device",
    system="linux",
    architecture="x86_64",
    vendor="intel",
    cpu="A CPU",
    features=("avx2",),
    cores=2,
    memory_bytes=8_000_000_000,
)


class Engine:
    """A framework of the recipes that it is told."""

    def __init__(self, name: str, *recipes: Recipe, baseline: Recipe | None = None, refused: str | None = None) -> None:
        self.name, self.distributions = name, (f"{name}-wheel", "numpy")
        self._recipes, self._baseline, self._refused = recipes, baseline, refused

    def catalogue(self, target, kind):
        return self._recipes

    def baseline(self, kind):
        return self._baseline

    def refusal(self, recipe, assessment, device):
        return self._refused

    def reason(self, recipe, assessment, device):
        return f"{recipe.precision} suits {device.cpu} and a {assessment.architecture} model."


def recipe(name: str, *, calibrated: bool = False) -> Recipe:
    framework, precision, *method = name.split("-", 2)
    return Recipe(framework=framework, precision=precision, method="".join(method), calibrated=calibrated)


def target(*frameworks: str, **limits: object) -> Target:
    return Target(name="drone", title="A drone", frameworks=frameworks, limits=Limits(**limits))


def engines() -> list[Engine]:
    return [
        Engine("zeta", recipe("zeta-int8"), recipe("zeta-fp16")),
        Engine(
            "alpha", recipe("alpha-int8-static", calibrated=True), recipe("alpha-int8-dynamic"), recipe("alpha-fp32")
        ),
        Engine("mid", recipe("mid-int4")),
    ]


def names(recipes: list[Recipe]) -> list[str]:
    return [recipe.name for recipe in recipes]


def test_recipes_come_in_the_targets_order_of_preference_then_by_name():
    found = strategy.catalogue(engines(), target("zeta", "alpha"), "onnx")

    assert names(found) == [
        "zeta-fp16",
        "zeta-int8",
        "alpha-fp32",
        "alpha-int8-dynamic",
        "alpha-int8-static",
        "mid-int4",
    ]


def test_the_order_of_preference_is_never_a_filter():
    none_preferred = strategy.catalogue(engines(), target("missing"), "onnx")

    assert len(none_preferred) == 6
    assert names(none_preferred) == sorted(names(none_preferred))


def test_the_catalogue_does_not_depend_on_the_order_of_the_frameworks():
    one, other = (strategy.catalogue(order, target("mid"), "onnx") for order in (engines(), engines()[::-1]))

    assert one == other


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("*int8*", ["zeta-int8", "alpha-int8-dynamic", "alpha-int8-static"]),
        ("zeta-*", ["zeta-fp16", "zeta-int8"]),
        ("alpha-int8-[sd]*", ["alpha-int8-dynamic", "alpha-int8-static"]),
        ("mid-int4", ["mid-int4"]),
        ("mid-int4 zeta-int8 *-int4", ["zeta-int8", "mid-int4"]),
        ("zeta-int8@threads=1 zeta-int8", ["zeta-int8", "zeta-int8@threads=1"]),
        ("zeta-*@batch=8,hint=latency", ["zeta-fp16@batch=8,hint=latency", "zeta-int8@batch=8,hint=latency"]),
        ("mid-*@hint=latency,batch=8 mid-*@batch=8,hint=latency", ["mid-int4@batch=8,hint=latency"]),
        (" ", names(strategy.catalogue(engines(), target("zeta", "alpha"), "onnx"))),
    ],
)
def test_a_list_of_globs_chooses_among_whole_names_and_tunes_what_it_chose(glob, expected):
    found = strategy.catalogue(engines(), target("zeta", "alpha"), "onnx", glob)

    assert names(found) == expected


def test_tuning_is_part_of_the_recipe_with_numbers_as_numbers():
    (found,) = strategy.catalogue(engines(), target(), "onnx", "mid-int4@threads=2,hint=throughput,device=GPU.1")

    assert found.tuning == {"threads": 2, "hint": "throughput", "device": "GPU.1"}
    assert found == msgspec.structs.replace(recipe("mid-int4"), tuning=found.tuning)


def test_pruning_is_part_of_the_recipe_and_of_its_name():
    (found,) = strategy.catalogue(engines(), target("zeta", "mid"), "onnx", "mid-int4-pruned20@threads=2")

    assert found == msgspec.structs.replace(recipe("mid-int4"), sparsity=0.2, tuning={"threads": 2})
    assert found.name == "mid-int4-pruned20@threads=2"


@pytest.mark.parametrize("percent", ["", "0", "96", "x", "1000", "2.5", "²"])
def test_a_percentage_that_can_not_be_pruned_is_told(percent):
    with pytest.raises(UsageError, match="what follows -pruned is a whole number of percent from 1 to 95"):
        strategy.catalogue(engines(), target("zeta"), "onnx", f"zeta-*-pruned{percent}")


def test_a_marker_may_name_pruned_recipes():
    strategy.demand_known(["mid-int4-pruned20", "mid-*-pruned50@threads=1"], engines(), [target("zeta")], "a test")

    with pytest.raises(UsageError, match="No recipe's name matches 'mid-int5'"):
        strategy.demand_known(["mid-int5-pruned20"], engines(), [target("zeta")], "a test")


def test_the_baseline_is_among_what_can_be_tuned_and_not_among_what_can_be_built():
    frameworks = [Engine("onnxruntime", recipe("onnxruntime-int8"), baseline=recipe("onnxruntime-fp32"))]

    plain, tuned = (
        strategy.catalogue(frameworks, target(), "onnx", f"onnxruntime-*{end}") for end in ("", "@threads=1")
    )

    assert names(plain) == ["onnxruntime-int8"]
    assert names(tuned) == ["onnxruntime-fp32@threads=1", "onnxruntime-int8@threads=1"]


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        (
            "zeta-int9",
            "No recipe's name matches --edge-recipe zeta-int9. Did you mean 'zeta-int8'? Known: alpha-fp32, ",
        ),
        (
            "zeta-int8,zeta-fp16",
            "No recipe's name matches --edge-recipe zeta-int8,zeta-fp16. Names are separated by blanks, ",
        ),
        ("ZETA-int8", "No recipe's name matches --edge-recipe ZETA-int8. Did you mean 'zeta-int8'? Known: "),
        ("int8", "No recipe's name matches --edge-recipe int8. Did you mean 'zeta-int8'? Known: "),
        ("zeta-* qqq@threads=1", "No recipe's name matches --edge-recipe qqq@threads=1. Known: "),
        ("zeta-int8@", "--edge-recipe zeta-int8@: '' is not KEY=VALUE. "),
        ("zeta-int8@threads", "--edge-recipe zeta-int8@threads: 'threads' is not KEY=VALUE. "),
        ("zeta-int8@threads=", "--edge-recipe zeta-int8@threads=: 'threads=' is not KEY=VALUE. "),
        ("zeta-int8@threads=0", "--edge-recipe zeta-int8@threads=0: threads is a number of at least 1, not '0'."),
        ("zeta-int8@batch=-1", "--edge-recipe zeta-int8@batch=-1: batch is a number of at least 1, not '-1'."),
        ("zeta-int8@batch=1,batch=2", "--edge-recipe zeta-int8@batch=1,batch=2: 'batch' is there twice."),
        (
            "zeta-int8@graph=al",
            "--edge-recipe zeta-int8@graph=al: No graph optimization level named 'al'. Did you mean 'all'?",
        ),
        (
            "zeta-int8@hint=latncy",
            "--edge-recipe zeta-int8@hint=latncy: No hint named 'latncy'. Did you mean 'latency'?",
        ),
    ],
)
def test_what_matches_nothing_or_can_not_be_read_is_a_usage_error_with_a_guess(wanted, sentence):
    with pytest.raises(UsageError) as raised:
        strategy.catalogue(engines(), target("zeta"), "onnx", wanted)

    assert str(raised.value).startswith(sentence)


def test_onnx_runtime_is_the_baseline_whatever_the_target_prefers():
    frameworks = [
        Engine("alpha", baseline=recipe("alpha-fp32")),
        Engine("onnxruntime", baseline=recipe("onnxruntime-fp32")),
    ]

    found = strategy.baseline_of(frameworks, target("alpha"), "onnx")

    assert found.name == "onnxruntime-fp32"


def test_without_onnx_runtime_the_most_preferred_framework_that_has_one_is_the_baseline():
    frameworks = [
        Engine("zeta", baseline=recipe("zeta-fp32")),
        Engine("alpha", baseline=recipe("alpha-fp32")),
        Engine("mid"),
    ]

    assert strategy.baseline_of(frameworks, target("mid", "zeta"), "onnx").name == "zeta-fp32"
    assert strategy.baseline_of(frameworks, target(), "onnx").name == "alpha-fp32"


def test_no_baseline_is_a_usage_error():
    with pytest.raises(UsageError, match="No framework that is installed runs an unoptimized onnx model"):
        strategy.baseline_of([Engine("mid")], target(), "onnx")


def planned(frameworks: list[Engine], installed: set[str], calibration_items: int = 100) -> Plan:
    drone = target("zeta", "alpha")
    return strategy.plan(
        strategy.catalogue(frameworks, drone, "onnx"),
        recipe("onnxruntime-fp32"),
        {framework.name: framework for framework in frameworks},
        installed,
        ASSESSMENT,
        drone,
        DEVICE,
        "detector",
        calibration_items,
    )


def test_a_plan_offers_every_recipe_with_its_reason_in_order():
    plan = planned(engines(), {"zeta", "alpha", "mid"})

    assert names([offer.recipe for offer in plan.offers])[:2] == ["zeta-fp16", "zeta-int8"]
    assert plan.offers[0].reason == "fp16 suits A CPU and a convolutional model."
    assert plan.refusals == ()
    assert (plan.model, plan.target, plan.baseline.name) == ("detector", "drone", "onnxruntime-fp32")


def test_a_framework_that_is_not_installed_is_refused_with_the_command_that_installs_it():
    plan = planned(engines(), {"zeta", "alpha"})

    assert plan.refusals == (
        Refusal(
            recipe="mid-int4",
            reason="mid is not installed here, or does not start (pip install mid-wheel numpy; `edgeai doctor` tells).",
        ),
    )


def test_without_calibration_items_what_needs_them_is_refused_and_the_rest_is_offered():
    plan = planned(engines(), {"zeta", "alpha", "mid"}, calibration_items=0)

    assert [refusal.recipe for refusal in plan.refusals] == ["alpha-int8-static"]
    assert "--edge-dataset" in plan.refusals[0].reason
    assert "made-up inputs would calibrate nothing" in plan.refusals[0].reason
    assert len(plan.offers) == 5


def test_a_plan_comes_in_the_order_of_the_rules_with_their_citations():
    plan = planned(engines(), {"zeta", "alpha", "mid"})

    assert [preference.framework for preference in plan.preferences] == ["zeta", "alpha", "mid"]
    assert plan.offers[0].citations == plan.preferences[0].citations
    (citation,) = plan.offers[0].citations
    assert citation.rule == "target: drone's own order -> zeta, then alpha"
    assert citation.fact == "the target is drone, and this device is of it (A CPU, linux x86_64)"


def test_two_modalities_change_the_order_of_a_plan_for_any_platform():
    frameworks = [Engine("onnxruntime", recipe("onnxruntime-int8")), Engine("openvino", recipe("openvino-int8"))]
    pair = (*ASSESSMENT.inputs, TensorSpec(name="age", dtype="float32", shape=("n", 4)))

    one, two = (
        ordered_plan(frameworks, "cross", assessment=msgspec.structs.replace(ASSESSMENT, inputs=inputs))
        for inputs in (ASSESSMENT.inputs, pair)
    )

    assert [offer.recipe.name for offer in one.offers] == ["onnxruntime-int8", "openvino-int8"]
    assert [offer.recipe.name for offer in two.offers] == ["openvino-int8", "onnxruntime-int8"]
    assert "two modalities (image, tabular)" in two.offers[0].citations[0].fact


def test_the_users_route_and_requirements_reach_the_plan():
    frameworks = [Engine("onnxruntime", recipe("onnxruntime-int8")), Engine("openvino", recipe("openvino-int8"))]

    routed = ordered_plan(frameworks, "intel", route="rapid")
    required = ordered_plan(frameworks, "intel", required=("mobile",))

    assert routed.offers[0].citations[0].rule.startswith("rapid route")
    assert required.offers[0].citations[0].rule == "requirement matrix: mobile"
    assert [plan.offers[0].recipe.name for plan in (routed, required)] == ["onnxruntime-int8"] * 2


@pytest.mark.parametrize(
    ("vendor", "told"),
    [("intel", "this device is of it"), ("amd", "has its instruction set, but is not of it"), ("arm", "is not of it")],
)
def test_a_citation_says_what_the_device_is_to_the_target(vendor, told):
    device = msgspec.structs.replace(DEVICE, vendor=vendor)

    plan = ordered_plan([Engine("openvino", recipe("openvino-int8"))], "intel", device=device)

    assert told in plan.offers[0].citations[0].fact
    assert "A CPU" in plan.offers[0].citations[0].fact


def ordered_plan(frameworks: list[Engine], name: str, device: Device = DEVICE, assessment=ASSESSMENT, **wishes) -> Plan:
    built_in = {target.name: target for target in TARGETS}[name]
    return strategy.plan(
        strategy.catalogue(frameworks, built_in, "onnx"),
        recipe("onnxruntime-fp32"),
        {framework.name: framework for framework in frameworks},
        {framework.name for framework in frameworks},
        assessment,
        built_in,
        device,
        "detector",
        100,
        **wishes,
    )


def test_a_plan_without_offers_is_told_as_one():
    plan = planned([Engine("zeta", recipe("zeta-bf16"), refused="The CPU has no AMX.")], {"zeta"})

    text = strategy.lines(plan, target("zeta"), "a-device", None)

    assert "  build     nothing: every recipe is refused, so gates on variants are UNSUPPORTED" in text
    assert not any(line.startswith("  time") for line in text)
    assert strategy.nothing(plan) == "No recipe is offered for detector on drone: zeta-bf16: The CPU has no AMX."


def test_recipes_that_are_refused_for_one_reason_are_told_together():
    picky = Engine("zeta", recipe("zeta-bf16"), recipe("zeta-int8"), refused="It is Tuesday.")
    frameworks = [picky, Engine("alpha", recipe("alpha-int8"), refused="It rains.")]

    plan = planned(frameworks, {"zeta", "alpha"})

    text = strategy.lines(plan, target("zeta", "alpha"), "a-device", None)
    assert [line for line in text if line.startswith("  refuse")] == [
        "  refuse    zeta-bf16, zeta-int8: It is Tuesday.",
        "  refuse    alpha-int8: It rains.",
    ]
    assert "zeta-bf16, zeta-int8: It is Tuesday; alpha-int8: It rains." in strategy.nothing(plan)


def test_a_plan_of_no_recipe_at_all_is_told_as_one():
    plan = planned([Engine("zeta")], {"zeta"})

    assert strategy.nothing(plan).endswith("or none has a name that was asked for.")


def test_frameworks_that_one_rule_named_share_a_line():
    plan = ordered_plan([Engine("openvino", recipe("openvino-int8"))], "intel")

    text = strategy.lines(plan, {target.name: target for target in TARGETS}["intel"], "a-device", None)

    prefer = [line.partition(" because ")[0] for line in text if line.startswith("  prefer")]
    assert prefer == [
        "  prefer    openvino, olive: platform matrix: Intel CPU/GPU -> OpenVINO, then Olive,",
        "  prefer    onnxruntime: target: intel's own order -> OpenVINO, then Olive, then ONNX Runtime,",
    ]


def test_a_plan_for_people_cites_rules_and_passes_over_what_reads_no_such_model():
    plan = ordered_plan([Engine("openvino", recipe("openvino-int8"))], "arm-mobile")

    text = strategy.lines(plan, {target.name: target for target in TARGETS}["arm-mobile"], "a-device", None)

    assert any(line.startswith("  prefer    openvino: platform matrix: ARM mobile -> llama.cpp, then") for line in text)
    assert "  pass over llama.cpp reads no ONNX (it takes GGUF and Hugging Face folders)." in text


def test_a_frameworks_own_refusal_is_told_in_its_words():
    picky = Engine("zeta", recipe("zeta-bf16"), refused="The CPU has no AMX.")

    plan = planned([picky], {"zeta"})

    assert plan.offers == ()
    assert plan.refusals == (Refusal(recipe="zeta-bf16", reason="The CPU has no AMX."),)


def test_a_target_that_a_framework_can_not_execute_on_refuses_its_recipes_installed_or_not():
    drone = msgspec.structs.replace(target("zeta"), refuses={"zeta": "A drone has no zeta.", "mid": "Nor a mid."})
    frameworks = engines()

    plan = strategy.plan(
        strategy.catalogue(frameworks, drone, "onnx"),
        recipe("onnxruntime-fp32"),
        {framework.name: framework for framework in frameworks},
        {"zeta", "alpha"},
        ASSESSMENT,
        drone,
        DEVICE,
        "detector",
        100,
    )

    assert {refusal.recipe: refusal.reason for refusal in plan.refusals} == {
        "zeta-fp16": "A drone has no zeta.",
        "zeta-int8": "A drone has no zeta.",
        "mid-int4": "Nor a mid.",
    }


def test_tuned_recipes_of_a_framework_that_does_not_heed_tuning_are_refused():
    deaf, heeding = Engine("zeta", recipe("zeta-int8")), Engine("alpha", recipe("alpha-int8"))
    heeding.tunes = True
    tuned = strategy.catalogue([deaf, heeding], target("zeta"), "onnx", "*@threads=1")

    plan = strategy.plan(
        tuned,
        recipe("onnxruntime-fp32"),
        {"zeta": deaf, "alpha": heeding},
        {"zeta", "alpha"},
        ASSESSMENT,
        target("zeta"),
        DEVICE,
        "detector",
        100,
    )

    assert names([offer.recipe for offer in plan.offers]) == ["alpha-int8@threads=1"]
    assert plan.refusals == (
        Refusal(recipe="zeta-int8@threads=1", reason="zeta can't be tuned: ask for it without @threads=1."),
    )


def test_what_is_not_installed_is_not_asked_for_its_opinion():
    class Silent(Engine):
        def refusal(self, recipe, assessment, device):
            raise AssertionError("it is not installed")

    plan = planned([Silent("zeta", recipe("zeta-int8"))], set())

    assert plan.refusals[0].reason.startswith("zeta is not installed here")


def test_a_plan_for_people_names_all_that_will_be_done_and_why():
    drone = msgspec.structs.replace(target("zeta"), remarks=("It flies.",))
    plan = Plan(
        model="detector",
        target="drone",
        baseline=recipe("onnxruntime-fp32"),
        offers=(Offer(recipe=recipe("zeta-int8"), reason="It is fast."),),
        refusals=(Refusal(recipe="mid-int4", reason="It is not installed."),),
    )

    text = strategy.lines(plan, drone, "a-device", None)

    assert text == [
        "detector for drone (A drone) on a-device",
        "  It flies.",
        "  baseline  onnxruntime-fp32: the unoptimized model",
        "  build     zeta-int8: It is fast.",
        "  refuse    mid-int4: It is not installed.",
        "  time      for a model of some 10 MB about 8 s to build what is not in the cache, and 12 s to screen it",
    ]


def test_a_plan_for_people_says_why_speed_can_not_be_shown_here():
    plan = planned(engines(), {"zeta"})

    text = strategy.lines(plan, target("zeta"), "a-device", "this is no drone.")

    assert "  only accuracy and size can be decided: this is no drone." in text
