"""Wishes: a route and requirements, as options of a run."""

import pytest

SOURCE = "def test_gate(edge_variant):\n    assert edge_variant.size > 0\n"


def places(result: pytest.RunResult) -> list[str]:
    """The frameworks that a printed plan prefers, in order."""
    lines = [line.removeprefix("  prefer    ") for line in result.outlines if line.startswith("  prefer    ")]
    return [name for line in lines for name in line.partition(":")[0].split(", ")]


def test_a_plan_shows_each_frameworks_place_with_its_rule_and_fact(edge):
    edge.write(SOURCE)

    result = edge.run("--edge-plan")

    assert places(result) == ["onnxruntime", "openvino", "olive"]
    result.stdout.fnmatch_lines(
        [
            "*prefer*onnxruntime, openvino, olive: decision tree: any platform, other model -> *, because the model takes *"
        ]
    )


def test_a_route_reorders_the_plan(edge):
    edge.write(SOURCE)

    result = edge.run("--edge-plan", "--edge-prefer-route=production")

    assert places(result) == ["olive", "openvino", "onnxruntime"]
    builds = [line.split()[1] for line in result.outlines if line.startswith("  build     ")]
    assert list(dict.fromkeys(name.partition("-")[0] for name in builds)) == ["olive", "openvino", "onnxruntime"]


def test_a_requirement_reorders_the_plan_from_the_ini_file_too(edge):
    edge.write(SOURCE)
    edge.pytester.makeini("[pytest]\nedge_require = ease-of-use, real-time\n")

    result = edge.run("--edge-plan")

    assert places(result) == ["onnxruntime", "olive", "openvino"]
    result.stdout.fnmatch_lines(["*OpenVINO scores 3 of 4 (ease-of-use moderate, real-time excellent)*"])


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--edge-require=mobil", "*No requirement named 'mobil'. Did you mean 'mobile'?*"),
        ("--edge-prefer-route=fast", "*argument --edge-prefer-route: invalid choice: 'fast'*"),
    ],
)
def test_a_wish_that_is_not_known_is_told_at_once(edge, option, told):
    edge.write(SOURCE)

    result = edge.run(option)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([told])


def test_the_results_keep_the_order_with_its_citations(edge, results):
    edge.write(SOURCE, fake=True)

    edge.run("--edge-recipe=fake-fp32-plain", "--edge-prefer-route=rapid")

    (model,) = results().models
    assert [one.framework for one in model.preferences][:3] == ["onnxruntime", "olive", "openvino"]
    assert model.preferences[0].citations[0].fact == "the rapid route was asked for"
    assert all(one.citations for one in model.preferences)


def test_a_choice_among_nothing_is_unsupported_and_says_why(edge):
    edge.write("def test_gate(edge_choice):\n    assert edge_choice.size > 0\n")

    result = edge.run("--edge-recipe=onnxruntime-int8-dynamic", "-rs")

    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*No recipe is offered for small on cross: onnxruntime-int8-dynamic: *"])
