"""Which edge tests there are, and what a run is told before the first of them."""

import re

import pytest

VARIANT = """
def test_gate(edge_variant):
    assert edge_variant.size <= 1e9
"""
STATIC = "onnxruntime-int8-static"


@pytest.fixture
def collect(edge):
    """Collects what was written; the ids in square brackets, by test function."""

    def run(*arguments: str) -> dict[str, list[str]]:
        result = edge.run("--collect-only", "-q", *arguments)
        assert result.ret == pytest.ExitCode.OK, result.outlines + result.errlines
        return _ids(result.outlines)

    return run


@pytest.mark.parametrize(
    ("target", "order"),
    [
        ("cross", ["onnxruntime", "openvino", "olive"]),
        ("intel", ["openvino", "olive", "onnxruntime"]),
        ("nvidia", ["olive", "openvino", "onnxruntime"]),
    ],
)
def test_variants_are_ids_in_the_targets_order_of_preference_and_the_same_in_every_run(edge, collect, target, order):
    edge.write(VARIANT)

    ids = collect(f"--edge-target={target}")["test_gate"]

    assert STATIC in ids
    assert ids == sorted(ids, key=lambda name: (order.index(name.partition("-")[0]), name))
    assert collect(f"--edge-target={target}")["test_gate"] == ids


def test_every_process_of_a_run_collects_the_same(edge, collect):
    # Tests for another target skip before anything is built.
    edge.write(f"pytestmark = [pytestmark, pytest.mark.edge_target('apple', 'ios')]\n{VARIANT}")
    serial = collect()["test_gate"]

    result = edge.run("-n", "2", "-v", "-rs")

    result.assert_outcomes(skipped=len(serial))
    ran = _ids(line for line in result.outlines if line.startswith("[gw"))["test_gate"]
    assert sorted(ran) == sorted(serial)
    result.stdout.fnmatch_lines([f"SKIPPED [[]{len(serial)}] * for the target apple or ios; this run is for cross"])


LISTENING = """
import sys

started = []
sys.addaudithook(lambda event, arguments: started.append(repr(arguments)) if event == "subprocess.Popen" else None)

def pytest_unconfigure(config):
    with open("started.txt", "w") as stream:
        stream.writelines(started)
"""


def test_collecting_reads_no_model_starts_no_worker_and_writes_nothing(edge, monkeypatch):
    edge.pytester.makepyfile(
        f"import pytest\npytestmark = pytest.mark.edge_model('none.onnx', dataset='none.npz')\n{VARIANT}"
    )
    edge.pytester.makeconftest(LISTENING)
    monkeypatch.setenv("TMPDIR", str(edge.pytester.mkdir("temporary")))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    cache = edge.pytester.path / "cache"

    result = edge.run("--collect-only", "-q", f"--edge-cache={cache}", subprocess=True)

    assert result.ret == pytest.ExitCode.OK
    assert any(f"::test_gate[{STATIC}]" in line for line in result.outlines)
    assert "pytest_edgeai.measure" not in (edge.pytester.path / "started.txt").read_text()
    assert list((edge.pytester.path / "temporary").iterdir()) == []
    assert not cache.exists()
    assert not edge.report.exists()


SELECTIVE = """
@pytest.mark.edge_recipe("onnxruntime-int8*")
def test_marked(edge_variant):
    assert edge_variant.size <= 1e9

@pytest.mark.edge_recipe("mlx-*", "*-bf16")
def test_other(edge_variant):
    assert edge_variant.size <= 1e9
"""


def test_a_glob_selects_variants_by_option_and_by_marker(edge, collect):
    edge.write(SELECTIVE + VARIANT)

    by_marker, by_both = collect(), collect("--edge-recipe=*-int8*")

    assert by_marker["test_marked"] == ["onnxruntime-int8-dynamic", STATIC]
    assert by_marker["test_other"] == [name for name in by_marker["test_gate"] if name.endswith("-bf16")]
    assert by_both["test_gate"] == [name for name in by_marker["test_gate"] if "-int8" in name]
    assert by_both["test_marked"] == by_marker["test_marked"]
    assert by_both["test_other"] == ["none"]


def test_a_test_whose_marker_matches_no_variant_of_this_run_skips_and_names_the_marker(edge):
    edge.write(SELECTIVE)

    result = edge.run("--edge-recipe=*-int8*", "-k", "other", "-rs")

    result.assert_outcomes(skipped=1, deselected=2)
    result.stdout.fnmatch_lines(["SKIPPED * No variant of this run matches mlx-* or *-bf16 (edge_recipe)*"])


@pytest.mark.parametrize("glob", ["onnxruntim-*", "onnxruntime-int8* onnxruntime-int9@threads=1"])
def test_a_marker_with_a_name_that_no_recipe_has_for_any_target_is_told(edge, glob):
    edge.write(SELECTIVE.replace("mlx-*", glob))

    result = edge.run()

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*No recipe's name matches 'onnxruntim*' (edge_recipe of *test_other). Did you mean 'onnx*"]
    )


LISTED = """
@pytest.mark.edge_recipe("onnxruntime-int8-dynamic onnxruntime-int8-static")
def test_listed(edge_variant):
    assert edge_variant.size <= 1e9

@pytest.mark.edge_recipe("onnxruntime-int8-static@threads=1")
def test_tuned(edge_variant):
    assert edge_variant.size <= 1e9
"""


def test_a_marker_holds_a_list_of_globs_and_a_tuned_name(edge, collect):
    edge.write(LISTED)

    found = collect("--edge-recipe=onnxruntime-int8-* onnxruntime-int8-static@threads=1")

    assert found["test_listed"] == ["onnxruntime-int8-dynamic", STATIC]
    assert found["test_tuned"] == ["onnxruntime-int8-static@threads=1"]


def test_a_marker_with_a_tuned_recipe_that_the_run_lacks_skips_and_tells_the_option(edge):
    edge.write(LISTED)

    result = edge.run("-k", "tuned", "-rs")

    assert result.parseoutcomes()["skipped"] == 1
    result.stdout.fnmatch_lines(["SKIPPED * --edge-recipe 'onnxruntime-int8-static@threads=1'.*"])


WRONG = {
    "glob": (VARIANT, ["--edge-recipe=nothing*"], "No recipe's name matches --edge-recipe nothing*."),
    "target": (VARIANT, ["--edge-target=intell"], "No target named 'intell'. Did you mean 'intel'? Known: android, "),
    "marker target": (
        f"@pytest.mark.edge_target('intell'){VARIANT}",
        [],
        "No target named 'intell'. Did you mean 'intel'? Known: android, ",
    ),
    "budget": (VARIANT, ["--edge-budget=-1"], "argument --edge-budget: '-1' is not a number of seconds"),
    "kind of model": (
        VARIANT,
        ["--edge-model=test_edge.py"],
        "test_edge.py is a file of Python: name the function in it that makes the model, test_edge.py:FUNCTION.",
    ),
    "model": (VARIANT, ["--edge-model=modle"], "modle. Is the path right, seen from "),
    "marker model": (
        f"@pytest.mark.edge_model(dataset='items.npz'){VARIANT}",
        [],
        "The marker of test_edge.py::test_gate: edge_model() missing 1 required positional argument: 'path'.",
    ),
    "marker keyword": (
        f"@pytest.mark.edge_model('m.onnx', datasets='items.npz'){VARIANT}",
        [],
        "The marker of test_edge.py::test_gate: edge_model() got an unexpected keyword argument 'datasets'.",
    ),
}


@pytest.mark.parametrize(
    ("what", "processes"), [*((what, "0") for what in WRONG), ("target", "2"), ("glob", "2"), ("marker model", "2")]
)
def test_a_wrong_name_is_a_usage_error_of_one_sentence(edge, what, processes):
    source, arguments, sentence = WRONG[what]
    edge.write(source)

    result = edge.run("-n", processes, *arguments)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert len([line for line in result.errlines if sentence in line]) == 1
    _no_traceback(result)


INI = {
    "target": ("edge_target = intell", "", "No target named 'intell'. Did you mean 'intel'? *"),
    "rigor": ("edge_rigor = strickt", "", "edge_rigor = strickt in the ini file: it must be one of quick, strict."),
    "budget": (
        "edge_budget = long",
        "",
        "edge_budget = long in the ini file: 'long' is not a number of seconds, from 0 on.",
    ),
    "plugin": (
        "",
        "def pytest_edge_plugins(config): return ['nowhere']",
        "The plugin module 'nowhere' can't be loaded: *",
    ),
    "plugins": (
        "",
        "def pytest_edge_plugins(config): return 'nowhere'",
        "pytest_edge_plugins gives a list *'nowhere'.",
    ),
    "plugins raise": (
        "",
        "def pytest_edge_plugins(config): return 1 / 0",
        "pytest_edge_plugins failed (*conftest.py:1): ZeroDivisionError: division by zero",
    ),
    "models raise": (
        "",
        "def pytest_edge_models(config):\n    raise OSError('no such\\nshare')",
        "pytest_edge_models failed (*conftest.py:2): OSError: no such share",
    ),
    "models": ("", "def pytest_edge_models(config): return ['m.onnx']", "pytest_edge_models gives {name: *['m.onnx']."),
}


@pytest.mark.parametrize(
    ("what", "processes"),
    [*((what, "0") for what in INI), ("target", "2"), ("plugins raise", "2"), ("models raise", "2")],
)
def test_what_files_say_wrongly_is_a_usage_error_of_one_sentence(edge, what, processes):
    ini, conftest, sentence = INI[what]
    edge.pytester.makepyfile("def test_choice(edge_choice):\n    assert edge_choice.size <= 1e9\n")
    edge.pytester.makeini(f"[pytest]\n{ini}\n")
    edge.pytester.makeconftest(conftest)

    result = edge.pytester.runpytest_inprocess("-p", "no:cacheprovider", "-n", processes)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {sentence.replace('[', '[[]')}"])
    _no_traceback(result)


def test_a_test_without_a_model_is_told_how_to_declare_one(edge, told):
    edge.pytester.makepyfile(
        test_edge=f"{VARIANT}\ndef test_choice(edge_choice):\n    assert edge_choice.size <= 1e9\n"
    )

    result = edge.run()

    result.assert_outcomes(errors=2)
    sentence = "No model is declared for this test. Give --edge-model FILE, or mark it: @pytest.mark.edge_model("
    for test in ("test_gate", "test_choice"):
        assert told(result, test).count(sentence) == 1
        assert len(told(result, test).splitlines()) == 1
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_models_made_by_a_conftest_are_ids_only_where_there_are_several(edge, collect):
    edge.pytester.makepyfile(
        test_edge=f"{VARIANT}\ndef test_model(edge_model):\n    assert edge_model.kind == 'onnx'\n"
    )

    ids = []
    for models in ({"one": {"path": "one.onnx"}}, {"one": {"path": "one.onnx"}, "two": {"path": "two.onnx"}}):
        edge.pytester.makeconftest(f"def pytest_edge_models(config):\n    return {models!r}\n")
        ids.append(collect("--edge-recipe=onnx*-int8*"))

    assert ids[0] == {"test_gate": ["onnxruntime-int8-dynamic", STATIC], "test_model": [""]}
    assert ids[1] == {
        "test_gate": [f"{model}-{name}" for model in ("one", "two") for name in ("onnxruntime-int8-dynamic", STATIC)],
        "test_model": ["one", "two"],
    }


PATHS = """
import pytest

@pytest.mark.edge_model("marker.onnx", "items.npz")
def test_marked(edge_model):
    print("MODEL marked", edge_model.path)

def test_unmarked(edge_model):
    print("MODEL unmarked", edge_model.path)
"""


def test_the_option_wins_over_the_marker_and_the_marker_over_the_ini_key_and_that_over_the_hook(edge):
    root = edge.pytester.path
    inner = edge.pytester.mkdir("inner")
    for place in (root / "ini.onnx", root / "option.onnx", root / "hook.onnx", inner / "marker.onnx"):
        place.write_bytes(edge.sample.model.read_bytes())
    (inner / "test_paths.py").write_text(PATHS)
    edge.pytester.makeconftest("def pytest_edge_models(config):\n    return {'made': {'path': 'hook.onnx'}}\n")

    def models(*arguments: str) -> dict[str, str]:
        result = edge.run("-q", "-s", *arguments)
        result.assert_outcomes(passed=2)
        return {line.split()[-2]: line.split()[-1] for line in result.outlines if "MODEL" in line}

    by_hook = models()
    edge.pytester.makeini("[pytest]\nedge_model = ini.onnx\n")
    by_ini, by_option = models(), models("--edge-model=option.onnx")

    assert by_hook == {"marked": str(inner / "marker.onnx"), "unmarked": str(root / "hook.onnx")}
    assert by_ini == {"marked": str(inner / "marker.onnx"), "unmarked": str(root / "ini.onnx")}
    assert by_option == {"marked": str(root / "option.onnx"), "unmarked": str(root / "option.onnx")}


FRAMEWORK = """
from pytest_edgeai import hookimpl

class Engine:
    name = {name!r}
    distributions = ()
    def catalogue(self, target, kind): return []
    def baseline(self, kind): return None
    def refusal(self, recipe, assessment, device): return None
    def reason(self, recipe, assessment, device): return ""
    def devices(self): return ()
    def build(self, recipe, model, folder, calibration): ...
    {load}

@hookimpl
def edge_frameworks():
    return {answer}
"""
HOOK = "from pytest_edgeai import hookimpl\n@hookimpl\n"
LOAD = "def load(self, recipe, folder, threads): ..."
BROKEN = {
    "missing_module": (None, "'missing_module' can't be loaded: ModuleNotFoundError: No module named 'missing_module'"),
    "wrong_import": ("import nowhere_at_all", "'wrong_import' can't be loaded: ModuleNotFoundError: No module named "),
    "wrong_syntax": ("def (", "'wrong_syntax' can't be loaded: SyntaxError: "),
    "wrong_module": ("1 / 0", "'wrong_module' can't be loaded: ZeroDivisionError: division by zero"),
    "no_method": (FRAMEWORK.format(name="mine", load="", answer="[Engine()]"), "'no_method' gave * it lacks load."),
    "no_engine": (FRAMEWORK.format(name="mine", load=LOAD, answer="['mine']"), "'no_engine' gave 'mine' as a framework"),
    "same_name": (
        FRAMEWORK.format(name="openvino", load=LOAD, answer="[Engine()]"),
        "Two plugins bring a framework named 'openvino': *'same_name'",
    ),
    "raises": (FRAMEWORK.format(name="mine", load=LOAD, answer="1 / 0"), "'raises' failed in edge_frameworks: ZeroDiv"),
    "gives_none": (FRAMEWORK.format(name="m", load=LOAD, answer="None"), "'gives_none' failed in edge_frameworks: "),
    "wrong_hook": (f"{HOOK}def edge_framework(): return []", "'wrong_hook' can't be loaded: *unknown hook 'edge_framework'"),
    "wrong_metric": (f"{HOOK}def edge_metrics(): return [1]", "'wrong_metric' gave 1 as a metric, but it lacks name, *"),
    "wrong_target": (f"{HOOK}def edge_targets(): return ['x']", "'wrong_target' gave 'x' as a target, but it is not a *"),
    "catalogue_raises": (
        FRAMEWORK.format(name="mine", load=LOAD, answer="[Engine()]").replace("kind): return []", "kind): 1 / 0"),
        "The framework 'mine' failed in catalogue(): ZeroDivisionError: division by zero",
    ),
    "catalogue_of_names": (
        FRAMEWORK.format(name="mine", load=LOAD, answer="[Engine()]").replace("kind): return []", "kind): return ['x']"),
        "The framework 'mine' gave ['x'] in catalogue(), which is no pytest_edgeai.records.Recipe.",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "processes"),
    [
        *((name, "0") for name in BROKEN),
        *((name, "2") for name in ("wrong_module", "no_method", "same_name", "catalogue_raises")),
    ],
)
def test_a_wrong_plugin_module_is_named_in_one_sentence(edge, name, processes):
    source, sentence = BROKEN[name]
    edge.write(VARIANT)
    if source is not None:
        edge.pytester.makepyfile(**{name: source})
    edge.pytester.syspathinsert()
    edge.pytester.makeconftest(f"def pytest_edge_plugins(config):\n    return [{name!r}]\n")

    result = edge.run("-n", processes)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *{sentence.replace('[', '[[]')}*"])
    assert len(result.errlines) <= 2
    _no_traceback(result)


def test_a_wrong_plugin_module_harms_no_run_without_edge_tests(edge):
    edge.pytester.makepyfile("def test_plain():\n    assert True\n")
    edge.pytester.makeconftest("def pytest_edge_plugins(config):\n    return ['nowhere_at_all']\n")

    result = edge.pytester.runpytest_inprocess("-p", "no:cacheprovider")

    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_plan_tells_what_is_built_and_refused_and_why_and_runs_nothing(edge, processes):
    edge.write(f"{VARIANT}    open('ran.txt', 'w')\n", fake=True)
    cache = edge.pytester.path / "cache"

    result = edge.run("--edge-plan", "--edge-recipe=[fo][an]*[cn]", "-n", processes, f"--edge-cache={cache}")

    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "*small for cross (Any platform) on *",
            "  baseline  onnxruntime-fp32: the unoptimized model",
            f"  build     {STATIC}: * convolutions*",
            "  build     fake-fp32-plain: It is a test.",
            "  refuse    onnxruntime-int8-dynamic: * dynamic quantization is for matrix products*",
            "  time      *",
        ]
    )
    assert result.parseoutcomes().keys() <= {"warnings"}
    assert not (edge.pytester.path / "ran.txt").exists()
    assert not (cache / "variants").exists()
    assert not edge.report.exists()
    _no_traceback(result)


def test_a_plan_for_a_model_that_is_not_there_is_one_sentence(edge):
    edge.write(VARIANT)

    result = edge.run("--edge-plan", "--edge-model=nowhere.onnx")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert len([line for line in result.errlines if "nowhere.onnx" in line]) == 1
    _no_traceback(result)


def _ids(lines) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in lines:
        test = re.search(r"::(\w+)(?:\[(.+?)\])?", line)
        if test:
            found.setdefault(test[1], []).append(test[2] or "")
    return found


def _no_traceback(result: pytest.RunResult) -> None:
    text = "\n".join([*result.outlines, *result.errlines])
    assert "Traceback" not in text
    assert "INTERNALERROR" not in text
    assert "pytest_edgeai/" not in text


PLANS_BADLY = FRAMEWORK.format(name="mine", load=LOAD, answer="[Engine()]").replace(
    "distributions = ()", "distributions = ('numpy',)"
)
PLANS_BADLY = PLANS_BADLY.replace("kind): return []", "kind): return [Recipe(framework='mine', precision='fp32')]")
PLANS_BADLY = (
    PLANS_BADLY.replace("device): return None", "device): 1 / 0") + "\nfrom pytest_edgeai.records import Recipe\n"
)


def test_a_framework_that_fails_while_variants_are_planned_is_named_where_they_are_used(edge, told):
    edge.write(VARIANT)
    edge.pytester.makepyfile(planning=PLANS_BADLY)
    edge.pytester.syspathinsert()
    edge.pytester.makeconftest("def pytest_edge_plugins(config):\n    return ['planning']\n")

    result = edge.run("--edge-recipe=mine-*")

    result.assert_outcomes(errors=1)
    assert told(result, "test_gate") == "The framework 'mine' failed in refusal(): ZeroDivisionError: division by zero"
    _no_traceback(result)
