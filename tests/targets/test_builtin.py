"""The built-in targets: what they promise, one by one."""

import subprocess
import sys

import msgspec
import pluggy
import pytest

from pytest_edgeai.hookspecs import PROJECT, PluginHooks
from pytest_edgeai.records import Limits, Target
from pytest_edgeai.targets import builtin

ORDERS = {
    "intel": (("openvino", "olive", "onnxruntime"), ("openvino", "olive")),
    "nvidia": (("olive", "openvino", "onnxruntime"), ("olive", "llamacpp", "openvino")),
    "apple": (("mlx", "llamacpp", "onnxruntime"), ("mlx", "llamacpp")),
    "arm-mobile": (("llamacpp", "openvino", "onnxruntime"), ("llamacpp", "openvino")),
    "embedded-arm": (("llamacpp", "openvino", "onnxruntime"), ("llamacpp", "openvino")),
    "edge-tpu": (("openvino", "olive"), ()),
    "cross": (("onnxruntime", "openvino", "olive"), ("llamacpp",)),
    "enterprise": (("olive", "openvino", "onnxruntime"), ("olive", "openvino")),
    "ios": (("mlx", "llamacpp", "onnxruntime"), ("mlx", "llamacpp")),
    "android": (("llamacpp", "openvino", "onnxruntime"), ("llamacpp", "openvino")),
}

LIMITS = {
    "intel": Limits(),
    "nvidia": Limits(),
    "apple": Limits(),
    "arm-mobile": Limits(offline=True),
    "embedded-arm": Limits(offline=True),
    "edge-tpu": Limits(offline=True),
    "cross": Limits(),
    "enterprise": Limits(),
    "ios": Limits(package=50_000_000, offline=True),
    "android": Limits(package=100_000_000, offline=True),
}


def named(name: str) -> Target:
    return {target.name: target for target in builtin.TARGETS}[name]


def test_the_targets_reach_the_program_by_the_hook_that_plugins_use() -> None:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(PluginHooks)
    manager.register(builtin)

    (targets,) = manager.hook.edge_targets()

    assert [target.name for target in targets] == list(ORDERS)


@pytest.mark.parametrize("name", ORDERS)
def test_a_target_prefers_its_frameworks_in_the_documented_order(name: str) -> None:
    target = named(name)

    assert (target.frameworks, target.language_frameworks) == ORDERS[name]


@pytest.mark.parametrize("name", LIMITS)
def test_a_target_has_the_documented_limits(name: str) -> None:
    assert named(name).limits == LIMITS[name]


def test_the_common_limits_are_accuracy_speed_and_memory() -> None:
    for target in builtin.TARGETS:
        assert (target.limits.accuracy_kept, target.limits.speedup, target.limits.footprint) == (0.95, 2.0, 0.5)
        assert (target.limits.memory_bytes, target.limits.power_watts) == (None, None)


def test_onnx_runtime_comes_last_on_all_but_the_edge_tpu_and_first_on_any_platform() -> None:
    elsewhere = {target.name for target in builtin.TARGETS if target.frameworks[-1] != "onnxruntime"}

    assert elsewhere == {"edge-tpu", "cross"}
    assert named("cross").frameworks[0] == "onnxruntime"


def test_no_order_names_a_framework_twice() -> None:
    for target in builtin.TARGETS:
        for order in (target.frameworks, target.language_frameworks):
            assert len(set(order)) == len(order)


def test_no_two_targets_are_equally_specific() -> None:
    assert len({target.specificity for target in builtin.TARGETS}) == len(builtin.TARGETS)


def test_the_more_specific_target_wins() -> None:
    falling = [target.name for target in sorted(builtin.TARGETS, key=lambda target: -target.specificity)]

    assert set(falling[:4]) == {"ios", "android", "edge-tpu", "nvidia"}
    assert set(falling[4:8]) == {"intel", "apple", "arm-mobile", "embedded-arm"}
    assert falling[8:] == ["cross", "enterprise"]


def test_only_what_runs_the_same_instructions_may_stand_in() -> None:
    without = {target.name for target in builtin.TARGETS if target.stand_in is None}

    assert without == {"nvidia", "apple", "edge-tpu", "cross", "enterprise"}


def test_the_edge_tpu_says_that_no_built_in_engine_executes_there() -> None:
    (remark,) = named("edge-tpu").remarks

    assert "Neither OpenVINO nor Olive executes on an Edge TPU" in remark
    assert "plugin" in remark


def test_targets_survive_the_way_to_disk() -> None:
    for target in builtin.TARGETS:
        assert msgspec.json.decode(msgspec.json.encode(target), type=Target) == target


def test_the_targets_are_data_alone_and_reach_for_no_device() -> None:
    script = (
        "import sys; from pytest_edgeai.targets.builtin import edge_targets; assert edge_targets() == edge_targets()\n"
        "print(sorted({'pytest_edgeai.device', 'archspec', 'psutil', 'numpy', 'pytest'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_an_edge_tpu_refuses_every_framework_that_reads_onnx_with_what_to_do_instead():
    (edge_tpu,) = [target for target in builtin.TARGETS if target.name == "edge-tpu"]

    assert set(edge_tpu.refuses) == {"onnxruntime", "openvino", "olive"}
    for engine, sentence in edge_tpu.refuses.items():
        assert sentence.lower().replace(" ", "").startswith(engine)
        assert "TensorFlow Lite" in sentence
        assert "--edge-target=cross" in sentence


def test_no_other_target_refuses_a_framework():
    assert [target.name for target in builtin.TARGETS if target.refuses] == ["edge-tpu"]
