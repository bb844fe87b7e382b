"""The command ``edgeai``: what it prints, in text and as JSON, and how it fails."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_edgeai import cli
from pytest_edgeai.guidance import ROUTES
from pytest_edgeai.records import Plan, Recipe, Target
from tests.language import checkpoints
from tests.report import language

ROOT = Path(__file__).parents[1]


@pytest.fixture
def edgeai(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs the command in an empty folder, on a host on which nobody else measures: status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "tmp").mkdir()

    def run(*words: str) -> tuple[int, str, str]:
        status = cli.main(words)
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def in_process(*words: str, columns: int = 80, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    """The command as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "pytest_edgeai.cli", *words],
        capture_output=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": str(columns), **environment},
    )


def joined(text: str) -> str:
    """Without the breaks of lines."""
    return " ".join(text.split())


# Wrong words -----------------------------------------------------------------------------------------------------------------


def test_without_a_command_it_prints_its_help(edgeai):
    status, out, err = edgeai()

    assert (status, err) == (0, "")
    assert all(command in out for command in cli.COMMANDS)


@pytest.mark.parametrize("words", [["--help"], ["doctor", "--help"], ["--version"]])
def test_help_and_version_end_well(capsys, words):
    with pytest.raises(SystemExit) as ended:
        cli.main(words)

    assert ended.value.code == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["docter"], "edgeai: No command named 'docter'. Did you mean 'doctor'? Known: assess, doctor, recommend, search.\n"),
        (["assess"], "edgeai: The following arguments are required: MODEL. See `edgeai assess --help`.\n"),
        (["doctor", "--colour"], "edgeai: Unrecognized arguments: --colour. See `edgeai --help`.\n"),
        (["doctor", "openvin"], "edgeai: No framework named 'openvin'. Did you mean 'openvino'? Known: llamacpp, mlx, olive, olive-cuda, onnxruntime, openvino.\n"),
        (["doctor", "--timeout", "soon"], "edgeai: Argument --timeout: 'soon' is not a number of seconds above 0. See `edgeai doctor --help`.\n"),
        (["doctor", "--timeout", "nan"], "edgeai: Argument --timeout: 'nan' is not a number of seconds above 0. See `edgeai doctor --help`.\n"),
        (["recommend", "m.onnx", "--prefer-route", "rapit"], "edgeai: No route named 'rapit'. Did you mean 'rapid'? Known: production, rapid, target.\n"),
    ],
)  # fmt: skip
def test_wrong_words_are_told_in_one_sentence(edgeai, words, told):
    assert edgeai(*words) == (2, "", told)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--target", "intle"], "No target named 'intle'. Did you mean 'intel'?"),
        (["--require", "mobile,easy"], "No requirement named 'easy'."),
        (["--dataset", "missing.npz"], "missing.npz"),
        (["--plugin", "no_such_module"], "The plugin module 'no_such_module' can't be loaded"),
    ],
)
def test_a_name_that_is_not_known_is_guessed_at(edgeai, sample, words, told):
    status, out, err = edgeai("recommend", str(sample.model), "--target", "cross", "--cache", "cache", *words)

    assert (status, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["assess", "recommend"])
def test_a_model_that_is_not_there_is_told_in_one_sentence(edgeai, command):
    status, out, err = edgeai(command, "missing.onnx")

    assert (status, out) == (2, "")
    assert err.startswith("edgeai: There is no model at missing.onnx.")
    assert err.count("\n") == 1


def test_a_damaged_model_is_told_in_one_sentence(edgeai, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x07garbage")

    status, out, err = edgeai("assess", "bad.onnx")

    assert (status, out) == (2, "")
    assert "bad.onnx" in err
    assert err.count("\n") == 1


# assess ----------------------------------------------------------------------------------------------------------------------


def test_assess_shows_what_is_known_of_a_model(edgeai, sample):
    status, out, err = edgeai("assess", str(sample.model))

    assert (status, err) == (0, "")
    assert out.startswith("small.onnx\n")
    for told in (
        "4.82 k (float32)",
        "modalities    image",
        "image: float32 [batch, 1, 16, 16]",
        "dynamic axes  batch",
        "int8-static   yes: ",
    ):
        assert told in out


def test_assess_as_json_is_one_document(edgeai, sample):
    status, out, _ = edgeai("assess", str(sample.model), "--json")

    found = json.loads(out)
    assert status == 0
    assert (found["schema"], found["modalities"], found["model"]["name"]) == (1, ["image"], "small")
    assert found["assessment"]["parameters"] == 4816


def test_assess_shows_what_is_known_of_a_language_model(edgeai, tmp_path):
    checkpoints.make(tmp_path / "tiny", "llama-tied")

    status, out, err = edgeai("assess", "tiny")

    text = joined(out)
    assert (status, err) == (0, "")
    assert "architecture llama, 2 layers of 64 numbers, 4 heads, which share 2 of keys and values" in text
    assert "vocabulary 80 tokens, whose embeddings make the logits, too; no tokenizer" in text
    assert "context 128 tokens" in text
    assert "opset" not in text
    assert "dynamic axes" not in text


def test_assess_tells_that_a_family_is_not_converted_and_what_else_there_is(edgeai, tmp_path):
    checkpoints.make(tmp_path / "foreign", "llama", model_type="gemma2")

    status, out, err = edgeai("assess", "foreign")

    text = joined(out)
    assert (status, err) == (0, "")
    assert (
        "conversion foreign is of the family 'gemma2'; what is converted here are dense models of llama, mistral"
        in text
    )
    assert "is taken as it is. Engines that take it another way are in its plan." in text
    assert "int8 yes: its weights are float32" in text


# recommend -------------------------------------------------------------------------------------------------------------------


def test_recommend_shows_frameworks_rules_plan_limits_and_what_to_run_next(edgeai, sample, tmp_path):
    status, out, err = edgeai("recommend", str(sample.model), "--target", "intel", "--cache", "cache")

    text = joined(out)
    assert (status, err) == (0, "")
    assert "1 openvino (openvino" in text
    assert (
        "platform matrix: Intel CPU/GPU -> OpenVINO, then Olive; because the target is intel, and this device" in text
    )
    assert "2 olive (olive-ai " in text
    assert "baseline onnxruntime-fp32" in text
    assert "onnxruntime-int8-static: It needs calibration items" in text
    assert "accuracy at least 95.00 % of the reference's" in text
    assert f"$ pytest --pyargs pytest_edgeai.suites --edge-model={sample.model} --edge-target=intel" in text
    assert max(map(len, [line for line in out.splitlines() if "$" not in line])) <= 80


def test_recommend_tells_a_language_models_reference_from_the_baselines():
    advice = {
        "plan": Plan(
            model="tiny_lm",
            target="apple",
            baseline=Recipe(framework="openvino", precision="fp32"),
            offers=(),
            refusals=(),
        ),
        "target": Target(name="apple", title="Apple silicon", frameworks=("mlx",)),
        "device": language.results().device,
        "conversion": None,
        "assessment": language.assessment(),
        "frameworks": {},
        "not_measured": "",
        "next": [],
    }

    rows = dict(cli._recommend_rows(advice, "here"))

    assert rows["reference"].startswith("openvino-fp32: the unoptimized model, which quality is compared with;")
    assert "baseline" not in rows


def test_recommend_builds_nothing_and_leaves_the_working_folder_alone(edgeai, sample, tmp_path):
    edgeai("recommend", str(sample.model), "--target", "cross", "--cache", str(tmp_path / "cache"))

    assert {path.name for path in tmp_path.iterdir()} == {"cache", "tmp"}
    assert not (tmp_path / "cache" / "variants").exists()


def test_an_option_is_taken_under_the_plugins_name_too(edgeai, sample):
    words = ("--edge-target=drone", "--edge-prefer-route=rapid", "--edge-require=mobile", "--edge-stand-in")

    _, _, err = edgeai("recommend", str(sample.model), *words)

    assert "No target named 'drone'" in err


def test_recommend_with_data_offers_what_needs_calibration(edgeai, sample):
    dataset = str(sample.dataset)
    _, out, _ = edgeai(
        "recommend", str(sample.model), "--target=cross", "--dataset", dataset, "--cache=cache", "--json"
    )

    found = json.loads(out)
    calibrated = {offer["recipe"]["framework"] for offer in found["plan"]["offers"] if offer["recipe"]["calibrated"]}
    assert calibrated == {"olive", "onnxruntime", "openvino"}
    assert f"--edge-dataset={dataset}" in found["next"][0]


@pytest.mark.parametrize("route", ROUTES)
def test_recommend_as_json_cites_a_rule_and_a_fact_for_every_framework(edgeai, sample, route):
    words = ("--target=intel", "--cache=cache", f"--prefer-route={route}", "--require=mobile", "--json")
    status, out, _ = edgeai("recommend", str(sample.model), *words)

    found = json.loads(out)
    assert status == 0
    for preference in found["plan"]["preferences"]:
        assert all(citation["rule"] and citation["fact"] and citation["source"] for citation in preference["citations"])
        assert preference["framework"] in found["frameworks"]
    assert found["plan"]["preferences"][0]["framework"] == "onnxruntime"
    assert ("--edge-prefer-route" in found["next"][0]) == (route != "target")


def test_recommend_shows_every_limit_that_the_target_states(edgeai, sample):
    _, out, _ = edgeai("recommend", str(sample.model), "--target=ios", "--cache=cache")

    text = joined(out)
    assert "package at most 50 MB" in text
    assert "network none when it runs" in text


def test_recommend_passes_over_what_reads_no_onnx(edgeai, sample):
    _, out, _ = edgeai("recommend", str(sample.model), "--target=apple", "--cache=cache")

    assert "- mlx: MLX reads no ONNX" in joined(out)
    assert "1 onnxruntime" in joined(out)


def test_a_plugin_of_the_working_folder_is_found_by_the_command_and_its_workers(edgeai, sample, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))
    (tmp_path / "drone_target.py").write_text(
        "from pytest_edgeai import hookimpl\n"
        "from pytest_edgeai.records import Target\n\n"
        "@hookimpl\n"
        "def edge_targets():\n"
        "    return (Target(name='drone', title='A drone', frameworks=('openvino',)),)\n"
    )

    status, out, err = edgeai(
        "recommend", str(sample.model), "--target=drone", "--plugin=drone_target", "--cache=cache"
    )

    assert (status, err) == (0, "")
    assert "target: drone's own order -> OpenVINO" in joined(out)


# doctor ----------------------------------------------------------------------------------------------------------------------


def test_doctor_shows_the_device_the_frameworks_and_what_measuring_depends_on(edgeai):
    # One of tensors and one of language models; each built-in one has tests of its own.
    status, out, err = edgeai("doctor", "onnxruntime", "mlx", "--cache=cache")

    text = joined(out)
    assert (status, err) == (0, "")
    assert out.startswith("This device\n")
    assert all(f"works {name}" in text for name in ("mlx", "onnxruntime"))
    assert "fp32 works" in text
    assert "pytest plugin: " in text
    # A folder's name can't be broken.
    assert max(len(line) for line in out.splitlines() if f"{os.sep}cache" not in line) <= 80


def test_doctor_fails_when_an_installed_framework_computes_wrong_numbers(edgeai, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "two_engines.py").write_text(
        "import ill_engine\n"
        "from pytest_edgeai import hookimpl\n\n"
        "@hookimpl\n"
        "def edge_frameworks():\n"
        "    return (ill_engine.Ill('wrong'), ill_engine.Ill('absent'))\n"
    )

    tried = ("onnxruntime", "ill_wrong", "ill_absent")
    status, out, err = edgeai("doctor", *tried, "--plugin=two_engines", "--cache=cache", "--json")

    found = json.loads(out)
    states = {engine["name"]: engine["state"] for engine in found["engines"]}
    assert (status, err) == (1, "")
    assert states == {"ill_absent": "absent", "ill_wrong": "fails", "onnxruntime": "works"}
    assert found["standings"]["cross"] == "native"
    assert {check["state"] for check in found["checks"]} <= {"ok", "note", "problem"}


# Terminals -------------------------------------------------------------------------------------------------------------------


def test_a_terminal_without_utf_8_gets_ascii(tmp_path, sample):
    model = tmp_path / "größe µ.onnx"
    model.write_bytes(sample.model.read_bytes())

    ended = in_process("assess", str(model), PYTHONIOENCODING="ascii")

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(b"gr\\xf6\\xdfe u.onnx\n")


def test_a_name_that_is_not_utf_8_is_shown_escaped(tmp_path, sample):
    model = os.fsencode(tmp_path) + b"/caf\xe9.onnx"
    Path(os.fsdecode(model)).write_bytes(sample.model.read_bytes())

    ended = in_process("assess", os.fsdecode(model), PYTHONIOENCODING="ascii")

    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.startswith(b"caf\\udce9.onnx\n")


def test_who_reads_no_further_gets_no_traceback(sample):
    command = f"{sys.executable} -m pytest_edgeai.cli assess {sample.model} --json | head -c 1"

    ended = subprocess.run(command, shell=True, capture_output=True, check=True, cwd=ROOT)

    assert (ended.stdout, ended.stderr) == (b"{", b"")


@pytest.mark.parametrize(
    ("environment", "colored"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_are_for_terminals_that_have_them(sample, environment, colored):
    ours, theirs = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    with os.fdopen(ours, "rb", buffering=0) as reader:
        subprocess.run(
            [sys.executable, "-m", "pytest_edgeai.cli", "assess", str(sample.model)],
            stdout=theirs,
            check=True,
            cwd=ROOT,
            env={**kept, "TERM": "xterm", **environment},
        )
        os.close(theirs)
        shown = reader.read(65536)

    assert b"small.onnx" in shown
    assert (b"\x1b[" in shown) == colored


def test_a_pipe_gets_no_colours(sample):
    ended = in_process("assess", str(sample.model))

    assert b"\x1b[" not in ended.stdout


def test_starting_it_imports_nothing_that_costs_time():
    program = "import json, sys; import pytest_edgeai.cli; print(json.dumps(list(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, cwd=ROOT)

    assert set(json.loads(ended.stdout)).isdisjoint({"pytest", "numpy", "msgspec", "pytest_edgeai.pipeline", "onnx"})


def test_no_command_imports_pytest_or_an_engine_into_its_own_process(sample, tmp_path):
    program = (
        "import sys; from pytest_edgeai.cli import main\n"
        f"main(['recommend', {str(sample.model)!r}, '--target=cross', '--cache', {str(tmp_path)!r}])\n"
        "found = {'pytest', '_pytest', 'onnx', 'onnxruntime', 'openvino', 'nncf'} & set(sys.modules)\n"
        "sys.exit(f'imported: {found}' if found else 0)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)

    assert ended.returncode == 0, ended.stderr
