"""A framework plugin for the tests: the model as it is, misbehaving in a worker as its recipe's method says."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from pytest_edgeai import hookimpl
from pytest_edgeai.errors import UnsupportedError
from pytest_edgeai.records import EngineDevice, Recipe

METHODS = (
    "plain",  # the baseline's own code
    "twice",  # does the work twice
    "segv_build", "segv_load", "segv_call", "segv_later",
    "hang_build", "hang_load", "hang_call", "hang_later",
    "exit_build", "exit_load", "exit_call", "exit_later",
    "raise_build", "raise_load", "raise_call", "raise_later",
    "nan_call", "nan_later",
    "nothing_built",
    "slow_build",  # two files; long enough to be killed in the middle, unless a file "hurry" lies beside the model
    "chatty",  # prints without end
    "parallel",  # answers several calls at a time
    "refused",  # turns out not to take the model when it is built
    "hasty",  # answers with nothing while it is timed, as an engine that isn't done
    "wavering",  # never answers twice alike
    "networked",  # wants a network when it is loaded
    "breeding",  # leaves a process in a session of its own, whose parent is gone, and hangs
)  # fmt: skip


class Fake:
    name = "fake"
    distributions = ("onnxruntime",)

    def __init__(self) -> None:
        self._builds = False

    def catalogue(self, target, kind):
        return [Recipe(framework="fake", precision="fp32", method=method) for method in METHODS if kind == "onnx"]

    def baseline(self, kind):
        return None

    def refusal(self, recipe, assessment, device):
        return None

    def reason(self, recipe, assessment, device):
        return "It is a test."

    def devices(self):
        import onnxruntime  # noqa: F401 - the engine is there before anything is measured

        return (EngineDevice(name="CPU"),)

    def build(self, recipe, model, folder, calibration):
        self._builds = True
        misbehave(recipe.method, "build")
        if recipe.method == "refused":
            raise UnsupportedError("the engine has no operator Conv.")
        if recipe.method == "slow_build":
            (folder / "half.bin").write_bytes(b"half")
            if not (model.parent / "hurry").exists():
                time.sleep(3600)
            (folder / "half.bin").write_bytes(b"both halves")
        if recipe.method != "nothing_built":
            shutil.copy(model, folder / "model.onnx")

    def load(self, recipe, folder, threads):
        if recipe.method == "breeding" and not self._builds:
            breed()
            time.sleep(3600)
        if not self._builds:  # the process that built it only proves that it runs
            misbehave(recipe.method, "load")
        if recipe.method == "networked":
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gram:
                gram.connect(("127.0.0.1", 9))  # sends nothing; without a network there is no way there
        return (ParallelRunner if recipe.method in ("parallel", "raise_later") else Runner)(
            recipe.method, folder, threads
        )


class Runner:
    def __init__(self, method: str, folder: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self._session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
        self._method = method
        self._calls = 0

    def __call__(self, inputs):
        self._calls += 1
        # The first call proves a build; "call" strikes in the measuring worker's first calls, "later" while it is timed.
        if self._calls > 1:
            misbehave(self._method, "call")
        if self._calls > 10:
            misbehave(self._method, "later")
        if self._method == "twice":
            self._session.run(None, dict(inputs))
        if self._method == "chatty":
            print("x" * 10_000_000, flush=True)
        names = [output.name for output in self._session.get_outputs()]
        outputs = dict(zip(names, self._session.run(None, dict(inputs)), strict=True))
        if self._method == "hasty" and sys._getframe(1).f_code.co_name in ("turn", "series", "block"):
            outputs = {name: np.zeros_like(array) for name, array in outputs.items()}
        if self._method == "wavering":
            outputs = {name: array * np.float32(1 + self._calls % 7 / 10) for name, array in outputs.items()}
        if self._method == "nan_call" or (self._method == "nan_later" and self._calls > 10):
            outputs = {name: np.full_like(array, np.nan) for name, array in outputs.items()}
        return outputs

    def placement(self):
        return {"device": "CPU", "precision": "fp32"}


class ParallelRunner(Runner):
    def parallel(self, requests):
        return [self] * requests


def breed() -> None:
    code = "import os, sys, time; os.fork() and os._exit(0); os.setsid(); time.sleep(3600)"
    subprocess.run([sys.executable, "-c", code], check=True)


def misbehave(method: str, phase: str) -> None:
    if method == f"segv_{phase}":
        os.kill(os.getpid(), signal.SIGSEGV)
    if method == f"hang_{phase}":
        time.sleep(3600)
    if method == f"exit_{phase}":
        os._exit(0)
    if method == f"raise_{phase}":
        raise RuntimeError("the engine says no")


@hookimpl
def edge_frameworks():
    return (Fake(),)
