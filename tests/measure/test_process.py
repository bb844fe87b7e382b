"""Worker processes: what they inherit, what they say, how they fail, and that none is left."""

import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_edgeai.errors import ModelError, WorkerError
from pytest_edgeai.measure import channel, process
from pytest_edgeai.measure.process import KEPT, MARK, OWN, SET, Worker, run_task

ENGINE = """
import json, os, struct, subprocess, sys, time
from pytest_edgeai import hookimpl
from pytest_edgeai.records import EngineDevice

class Odd:
    name = "odd"
    distributions = ("numpy",)

    def devices(self):
        answer = "CPU"
        connection = int(sys.argv[1])
        {body}
        return [EngineDevice(name=answer)]

    def catalogue(self): ...
    def baseline(self): ...
    def refusal(self): ...
    def reason(self): ...
    def build(self): ...
    def load(self): ...

@hookimpl
def edge_frameworks():
    return (Odd(),)
"""

Ask = Callable[..., str]
Workers = Callable[[], list[psutil.Process]]


@pytest.fixture
def ask(plugin: Callable[[str], str]) -> Ask:
    """What an engine answers that does ``body`` in a worker when it is asked for its devices."""

    def run(body: str, timeout: float = 60) -> str:
        modules = [plugin(ENGINE.format(body=body))]
        (device,) = run_task("devices", {"modules": modules, "framework": "odd"}, subject="odd", timeout=timeout)
        return device["name"]

    return run


def frame(data: bytes) -> bytes:
    """As ``multiprocessing.connection`` writes a message."""
    return struct.pack("!i", len(data)) + data


# The channel -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"do": "turn", "first": 3, "calls": 5},
        {"ok": {"seconds": 1e-300, "text": "ü\0\n", "none": None}},
        {"bytes": b"\x00\xff" * 5_000_000},
    ],
    ids=["empty", "request", "answer", "10 MB"],
)
def test_a_message_arrives_as_it_was_sent(message: dict[str, Any]) -> None:
    ours, theirs = Pipe()
    sender = threading.Thread(target=channel.send, args=(ours, message))

    sender.start()
    received = channel.receive(theirs)
    sender.join()

    assert received == message


@pytest.mark.parametrize(
    "sent",
    [
        frame(b""),
        frame(b"\xc1"),
        frame(b"\x01"),
        frame(b"\x91\x01"),
        frame(b"\xa5hello"),
        frame(b"\x91" * 100_000),
        frame(b"\xdd\xff\xff\xff\xff"),
    ],
    ids=["nothing", "no type", "number", "list", "text", "deep", "a list of 4 G"],
)
def test_a_frame_that_is_no_message_is_nonsense(sent: bytes) -> None:
    ours, theirs = Pipe()
    os.write(ours.fileno(), sent)

    with pytest.raises(ValueError, match="not a message"):
        channel.receive(theirs)


@pytest.mark.parametrize("size", [channel.MAX_FRAME + 1, 2**31 - 1])
def test_a_frame_that_is_too_long_is_nonsense_and_is_not_waited_for(size: int) -> None:
    ours, theirs = Pipe()
    os.write(ours.fileno(), struct.pack("!i", size))

    with pytest.raises(ValueError, match="more than 256 MiB"):
        channel.receive(theirs)


def test_random_bytes_are_a_message_or_nonsense_and_nothing_else() -> None:
    source = random.Random(7)
    ours, theirs = Pipe()

    kinds = set()
    for _ in range(20_000):
        ours.send_bytes(source.randbytes(source.randrange(24)))
        try:
            kinds.add(type(channel.receive(theirs)))
        except ValueError:
            kinds.add(ValueError)

    assert kinds <= {dict, ValueError}


@pytest.mark.parametrize(
    ("sent", "expected"), [(b"", EOFError), (frame(b"x" * 100)[:50], OSError)], ids=["at once", "in a frame"]
)
def test_the_end_of_the_other_side_is_told(sent: bytes, expected: type[Exception]) -> None:
    ours, theirs = Pipe()
    os.write(ours.fileno(), sent)
    ours.close()

    with pytest.raises(expected):
        channel.receive(theirs)


# What a worker inherits ------------------------------------------------------------------------------------------------------


def test_a_worker_inherits_the_allowed_environment_alone(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("PYTHONSTARTUP", "/somewhere.py")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/engine/lib")

    found = json.loads(ask("answer = json.dumps(dict(os.environ))"))

    assert found["LD_LIBRARY_PATH"] == "/opt/engine/lib"
    assert found["PATH"] == os.environ["PATH"]
    assert {name: found[name] for name in SET} == SET
    assert len({found[name] for name in OWN}) == 1
    assert set(found) <= KEPT | set(SET) | set(OWN) | {"PYTHONPATH", MARK}
    assert "hunter2" not in json.dumps(found)


def test_a_worker_that_loads_data_has_the_users_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", "/mine")
    monkeypatch.setenv("https_proxy", "http://proxy")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    found, plain = (process._environment(tmp_path, hub=hub) for hub in (True, False))

    assert (found["HF_HOME"], found["https_proxy"], found.get("HF_HUB_OFFLINE")) == ("/mine", "http://proxy", None)
    assert (plain["HF_HOME"], plain.get("https_proxy"), plain["HF_HUB_OFFLINE"]) == (str(tmp_path), None, "1")


def test_a_worker_finds_plugin_modules_where_the_parent_does(
    plugin: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = plugin(ENGINE.format(body="answer = __file__"))
    monkeypatch.setattr(sys, "path", ["", *(entry for entry in sys.path if entry != str(tmp_path))])
    monkeypatch.chdir(tmp_path)

    found = run_task("devices", {"modules": [name], "framework": "odd"}, subject="odd", timeout=60)

    assert found[0]["name"] == str(tmp_path / f"{name}.py")


def test_what_the_interpreter_has_by_itself_is_not_put_in_front_of_its_path() -> None:
    own = str(Path(sys.prefix) / "lib" / "python3" / "site-packages")

    assert process._import_path([own, "/opt/plugins", str(Path(sys.base_prefix) / "lib" / "python3")]) == [
        "/opt/plugins"
    ]


def test_a_worker_stands_in_a_folder_of_its_own_that_is_removed(ask: Ask) -> None:
    body = "open('dropped.bin', 'wb').close(); answer = os.getcwd()"

    folder = Path(ask(body))

    assert folder != Path.cwd()
    assert folder.name.startswith("pytest-edgeai-worker-")
    assert not folder.exists()


# What a worker says ----------------------------------------------------------------------------------------------------------


def test_what_an_engine_prints_disturbs_neither_the_protocol_nor_our_output(
    ask: Ask, capfd: pytest.CaptureFixture[str]
) -> None:
    body = (
        "print('noise'); os.write(1, b'noise' * 1000); os.write(2, b'noise'); os.system('echo noise'); print('noise')"
    )

    answer = ask(body)

    assert answer == "CPU"
    assert "noise" not in "".join(capfd.readouterr())


def test_an_answer_of_several_megabytes_arrives_whole(ask: Ask) -> None:
    assert len(ask("answer = 'x' * 5_000_000")) == 5_000_000


def test_an_error_of_ours_keeps_its_class_and_names_its_subject() -> None:
    with pytest.raises(ModelError, match=r"^detector: There is no model at /nowhere/detector\.onnx\."):
        run_task("assess", {"path": "/nowhere/detector.onnx"}, subject="detector", timeout=60)


def test_an_unknown_request_ends_the_request_and_not_the_worker() -> None:
    with Worker("odd") as worker:
        with pytest.raises(WorkerError, match="AttributeError"):
            worker.ask("dance", phase="dance", timeout=60)
        answer = worker.ask("open", phase="start", timeout=60, modules=[])

    assert answer["pid"] > 0


# How a worker fails ----------------------------------------------------------------------------------------------------------


def writing(data: bytes, then: str = "time.sleep(3600)") -> str:
    """What an engine does that writes onto the connection, which is none of its business."""
    return f"os.write(connection, {data!r}); {then}"


FAILURES = {
    "abort": ("sys.stderr.write('the engine is in trouble\\n'); os.abort()", r"killed by SIGABRT"),
    "kill": ("os.kill(os.getpid(), 9)", r"killed by SIGKILL; the system may have run out of memory"),
    "segv": (
        "os.kill(os.getpid(), 11)",
        r"killed by SIGSEGV; `edgeai doctor` tries its engine with a small model, and says what mends it",
    ),
    "exit": ("os._exit(7)", r"it exited with status 7 before it answered"),
    "no type": (writing(frame(b"\xc1\xc1")), r"it answered nonsense \(not a message"),
    "a list": (writing(frame(b"\x91\x01")), r"it answered nonsense \(not a message: list"),
    "other keys": (writing(frame(b"\x81\xa1x\x01")), r"it answered nonsense \(neither a result nor an error"),
    "print": (writing(b"INFO: loaded"), r"it answered nonsense \(a message of more than 256 MiB"),
    "half": (writing(frame(b"x" * 100)[:50]), r"it stopped in the middle of an answer"),
    "half and exit": (writing(frame(b"x" * 100)[:50], "os._exit(0)"), r"it exited with status 0 before it answered"),
    "endless flood": (
        "exec('while True: print(5000 * str(1), flush=True); time.sleep(0.001)')",
        r"it printed more than 1 MiB",
    ),
    "flood": ("print('flood' * 2**18, flush=True)", r"it printed more than 1 MiB"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_failure_is_told_with_its_cause_and_leaves_no_process(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, case: str, workers: Workers
) -> None:
    body, cause = FAILURES[case]
    monkeypatch.setattr(process, "STALL", 1)
    monkeypatch.setattr(process, "LOG_LIMIT", 2**20)

    with pytest.raises(WorkerError, match=cause) as caught:
        ask(body, timeout=60)

    assert (caught.value.subject, caught.value.phase) == ("odd", "devices")
    assert workers() == []


def test_a_worker_that_hangs_is_stopped_at_its_deadline_and_the_log_says_where(
    plugin: Callable[[str], str], workers: Workers
) -> None:
    modules = [plugin(ENGINE.format(body="time.sleep(3600)"))]

    with Worker("odd") as worker:
        worker.ask("open", phase="start", timeout=60, modules=modules)
        with pytest.raises(WorkerError, match="no answer within 2 s") as caught:
            worker.ask(
                "task", phase="devices", timeout=2, task="devices", arguments={"modules": modules, "framework": "odd"}
            )

    assert f'{modules[0]}.py", line' in caught.value.log
    assert workers() == []


def test_the_logs_tail_is_told(ask: Ask) -> None:
    with pytest.raises(WorkerError) as caught:
        ask("sys.stderr.write('\\x1b[31mout of luck\\n'); os.abort()")

    assert "?[31mout of luck" in str(caught.value)
    assert "Fatal Python error: Aborted" in str(caught.value)
    assert "odd_plugin" in str(caught.value)
    assert str(Path(process.__file__).parent) not in str(caught.value)


def test_a_worker_that_was_closed_says_so() -> None:
    worker = Worker("odd")
    worker.close()

    with pytest.raises(WorkerError, match="it was closed before"):
        worker.ask("open", phase="start", timeout=60, modules=[])


# What it may take ------------------------------------------------------------------------------------------------------------

needs_limits = pytest.mark.skipif(sys.platform != "linux", reason="the limits are read and set as Linux does")


@needs_limits
def test_a_worker_leaves_no_core_file_takes_less_than_the_disk_and_is_what_the_system_kills_first(ask: Ask) -> None:
    asked = "import resource as r; answer = json.dumps([r.getrlimit(r.RLIMIT_CORE), r.getrlimit(r.RLIMIT_FSIZE)[0],"
    core, file, oom = json.loads(ask(f"{asked} open('/proc/self/oom_score_adj').read()])"))

    free = shutil.disk_usage(tempfile.gettempdir()).free
    assert core == [0, 0]
    assert 0 < file == pytest.approx(0.9 * free, rel=0.05)
    assert int(oom) == 1000


@needs_limits
def test_an_endless_file_ends_as_an_error_that_says_so(ask: Ask) -> None:
    # It begins as a hole, so that its end comes at once and the disk stays as it is.
    start = (
        "import resource; file = open('endless', 'wb'); file.seek(resource.getrlimit(resource.RLIMIT_FSIZE)[0] - 10**6)"
    )

    with pytest.raises(WorkerError, match=r"a file that it wrote was about to fill the disk .*File too large"):
        ask(f"{start}; [file.write(bytes(10**5)) for _ in range(100)]")


@pytest.mark.parametrize(
    "body",
    ["bytes(2**62)", "import numpy; numpy.empty(2**62, 'u1')", "import mmap; mmap.mmap(-1, 2**62)"],
    ids=["Python", "numpy", "mapping"],
)
def test_more_memory_than_there_is_ends_as_an_error_at_once(ask: Ask, body: str) -> None:
    with pytest.raises(WorkerError, match=r"it asked for more memory than the system gives|Cannot allocate memory"):
        ask(body)


# That none is left -----------------------------------------------------------------------------------------------------------


def test_closing_ends_the_worker_and_what_it_started(ask: Ask, gone: Callable[[int], bool], workers: Workers) -> None:
    child = int(ask("answer = str(subprocess.Popen(['sleep', '3600']).pid)"))

    assert gone(child)
    assert workers() == []


HOLDER = """
import sys
from pytest_edgeai.measure.process import Worker

with Worker("odd") as worker:
    print(worker.ask("open", phase="start", timeout=60, modules=[])["pid"], flush=True)
    worker.ask("task", phase="devices", timeout=3600, task="devices", arguments={"modules": [sys.argv[1]], "framework": "odd"})
"""


@pytest.fixture
def hanging(plugin: Callable[[str], str], tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """A process that waits for its worker, which hangs, and the worker's number."""
    name = plugin(ENGINE.format(body=f"open({str(tmp_path / 'hangs')!r}, 'w').close(); time.sleep(3600)"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    parent = subprocess.Popen(
        [sys.executable, "-c", HOLDER, name],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        start_new_session=True,
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    guard = time.monotonic() + 60
    while not (tmp_path / "hangs").exists():
        assert time.monotonic() < guard
        time.sleep(0.02)
    yield parent, worker
    parent.kill()
    parent.wait()


def test_a_worker_dies_with_a_parent_that_is_killed(
    hanging: tuple["subprocess.Popen[str]", int], gone: Callable[[int], bool]
) -> None:
    parent, worker = hanging

    parent.kill()
    parent.communicate()

    assert gone(worker)


def test_an_interrupt_of_the_parent_ends_the_worker_before_the_parent(
    hanging: tuple["subprocess.Popen[str]", int],
) -> None:
    parent, worker = hanging

    parent.send_signal(signal.SIGINT)
    parent.communicate(timeout=60)

    assert parent.returncode == -signal.SIGINT
    assert not psutil.pid_exists(worker)
