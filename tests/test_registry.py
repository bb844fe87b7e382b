"""The registry: what it finds, and one clear sentence for each way a plugin module can be wrong."""

import importlib.metadata
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_edgeai import registry
from pytest_edgeai.errors import PluginError, UsageError
from pytest_edgeai.protocols import Framework, Metric
from pytest_edgeai.records import Target

Write = Callable[..., str]

ENGINE = """
from pytest_edgeai import hookimpl

class Engine:
    name = {called!r}
    distributions = ("no-such-distribution-at-all",)
    def catalogue(self, target, kind): return []
    def baseline(self, kind): return None
    def refusal(self, recipe, assessment, device): return None
    def reason(self, recipe, assessment, device): return "It is a test."
    def devices(self): return ()
    def build(self, recipe, model, folder, calibration): pass
    def load(self, recipe, folder, threads): pass

@hookimpl
def edge_frameworks():
    return {given}
"""
SENSOR = """
from pytest_edgeai import hookimpl

class Sensor:
    name, units, per = {called!r}, {{{called!r}: "J"}}, "call"
    def unsupported(self): return None
    def arm(self): pass
    def read(self, calls): return {{}}

@hookimpl
def edge_metrics():
    return [Sensor()]
"""
TARGET = """
from pytest_edgeai import hookimpl
from pytest_edgeai.records import Target

@hookimpl
def edge_targets():
    return [Target(name={called!r}, title="A test", frameworks=())]
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a plugin module that can be imported; its dotted name."""
    monkeypatch.syspath_prepend(tmp_path)
    written: list[str] = []

    def module(name: str, source: str, **values: str) -> str:
        written.append(name)
        text = textwrap.dedent(source)
        (tmp_path / f"{name}.py").write_text(text.format(**values) if values else text)
        return name

    yield module
    for name in written:
        sys.modules.pop(name, None)


def sentence_of(*modules: str) -> str:
    """What is told of these plugin modules; a single line."""
    with pytest.raises(PluginError) as error:
        registry.find(modules)
    text = str(error.value)
    assert "\n" not in text
    return text


def test_the_built_ins_are_found_through_the_same_hooks():
    found = registry.load(registry.BUILT_IN)

    assert list(found.frameworks) == ["llamacpp", "mlx", "olive", "olive-cuda", "onnxruntime", "openvino"]
    assert list(found.metrics) == ["cold_start", "energy", "latency", "memory"]
    assert {"intel", "apple", "nvidia", "cross", "edge-tpu"} <= set(found.targets)
    assert all(isinstance(framework, Framework) for framework in found.frameworks.values())
    assert all(isinstance(metric, Metric) for metric in found.metrics.values())
    assert all(isinstance(target, Target) for target in found.targets.values())
    assert all(
        name == thing.name
        for things in (found.frameworks, found.metrics, found.targets)
        for name, thing in things.items()
    )


def test_built_ins_come_first_then_entry_points_then_what_is_named(write, monkeypatch):
    entry = importlib.metadata.EntryPoint(
        "x", write("by_entry_point", ENGINE, called="entered", given="[Engine()]"), "g"
    )
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry])
    named = write("by_name", ENGINE, called="named", given="[Engine()]")

    found = registry.find([named, named])

    assert found.modules == (*registry.BUILT_IN, "by_entry_point", "by_name")
    assert {"entered", "named"} <= set(found.frameworks)


def test_what_is_found_does_not_depend_on_the_order_of_the_modules(write):
    modules = [
        *registry.BUILT_IN,
        write("one", ENGINE, called="zeta", given="(Engine(),)"),
        write("two", SENSOR, called="heat"),
        write("three", TARGET, called="drone"),
    ]

    found, turned = registry.load(modules), registry.load(modules[::-1])

    for kind in ("frameworks", "metrics", "targets"):
        assert list(getattr(found, kind)) == list(getattr(turned, kind)) == sorted(getattr(found, kind))


@pytest.mark.parametrize(
    "method", ["catalogue", "baseline", "refusal", "reason", "devices", "build", "load", "name", "distributions"]
)
def test_a_framework_that_lacks_something_is_told_what(write, method):
    name = write("wrong", ENGINE, called="engine", given=f"[Engine()] if not delattr(Engine, {method!r}) else None")

    text = sentence_of(name)

    assert text.startswith("The plugin 'wrong' gave ")
    assert text.endswith(f" as a framework, but it lacks {method}.")


@pytest.mark.parametrize("method", ["unsupported", "arm", "read", "name", "units", "per"])
def test_a_metric_that_lacks_something_is_told_what(write, method):
    name = write("wrong", SENSOR + f"delattr(Sensor, {method!r})\n", called="heat")

    assert sentence_of(name).endswith(f" as a metric, but it lacks {method}.")


def test_a_thing_of_another_kind_is_told_all_that_it_lacks(write):
    name = write("wrong", ENGINE, called="engine", given="[42]")

    text = sentence_of(name)

    assert text.startswith("The plugin 'wrong' gave 42 as a framework, but it lacks name, distributions, catalogue,")


def test_what_is_no_target_is_told_so(write):
    source = "from pytest_edgeai import hookimpl\n@hookimpl\ndef edge_targets(): return ['drone']\n"

    text = sentence_of(write("wrong", source))

    assert text == "The plugin 'wrong' gave 'drone' as a target, but it is not a pytest_edgeai.records.Target."


def test_a_class_in_place_of_an_instance_is_told_so(write):
    text = sentence_of(write("wrong", ENGINE, called="engine", given="[Engine]"))

    assert text == "The plugin 'wrong' gave the class Engine as a framework: give an instance."


@pytest.mark.parametrize(
    ("source", "kind", "name", "first"),
    [
        (ENGINE, "framework", "onnxruntime", "pytest_edgeai.frameworks.onnxruntime"),
        (SENSOR, "metric", "latency", "pytest_edgeai.metrics.latency"),
        (TARGET, "target", "intel", "pytest_edgeai.targets.builtin"),
    ],
)
def test_a_name_that_is_taken_is_told_with_both_plugins(write, source, kind, name, first):
    text = sentence_of(write("second", source, called=name, given="[Engine()]"))

    assert f"Two plugins bring a {kind} named '{name}'" in text
    assert f"'{first}'" in text
    assert "'second'" in text


def test_one_plugin_that_brings_a_name_twice_is_told(write):
    text = sentence_of(write("double", ENGINE, called="engine", given="[Engine(), Engine()]"))

    assert text == "Two plugins bring a framework named 'engine': 'double' and 'double'."


@pytest.mark.parametrize("given", ["1 / 0", "[][0]", "undefined", "None", "5"])
def test_an_exception_in_a_hook_is_told_with_its_plugin(write, given):
    text = sentence_of(write("broken", ENGINE, called="engine", given=given))

    assert text.startswith("The plugin 'broken' failed in edge_frameworks: ")
    assert "Error: " in text


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("def edge_frameworks(:", "SyntaxError"),
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("undefined", "NameError: name 'undefined' is not defined"),
    ],
)
def test_a_module_that_fails_when_imported_is_told_with_the_reason(write, source, words):
    text = sentence_of(write("broken", source))

    assert text.startswith("The plugin module 'broken' can't be loaded: ")
    assert words in text


def test_a_module_that_is_not_there_is_told():
    text = sentence_of("no_such_plugin_at_all")

    assert text == (
        "The plugin module 'no_such_plugin_at_all' can't be loaded: ModuleNotFoundError: No module named 'no_such_plugin_at_all'"
    )


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ("def edge_frameworks(config): return []", "Argument(s) {'config'} are declared in the hookimpl"),
        ("def edge_framework(): return []", "unknown hook 'edge_framework'"),
    ],
)
def test_a_hook_that_is_not_as_specified_is_told(write, definition, words):
    text = sentence_of(write("wrong", f"from pytest_edgeai import hookimpl\n@hookimpl\n{definition}\n"))

    assert text.startswith("The plugin module 'wrong' can't be loaded: PluginValidationError: ")
    assert words in text


def test_a_module_without_hooks_brings_nothing_and_harms_nothing(write):
    found = registry.find([write("empty", "")])

    assert list(found.frameworks) == list(registry.find().frameworks)


@pytest.mark.parametrize("kind", ["framework", "target"])
def test_an_unknown_name_is_answered_with_a_guess_and_those_that_there_are(kind):
    name, guess = {"framework": ("onnxruntme", "onnxruntime"), "target": ("intle", "intel")}[kind]

    with pytest.raises(UsageError) as error:
        getattr(registry.find(), kind)(name)

    assert f"No {kind} named '{name}'. Did you mean '{guess}'? Known: " in str(error.value)


def test_versions_are_those_of_the_installed_distributions():
    found = registry.find().framework("onnxruntime")

    versions = registry.versions(found)

    assert versions is not None
    assert versions["onnxruntime"] == importlib.metadata.version("onnxruntime")
    assert tuple(versions) == found.distributions


def test_what_is_not_installed_has_no_versions(write):
    found = registry.find([write("absent", ENGINE, called="absent", given="[Engine()]")])

    assert registry.versions(found.framework("absent")) is None
