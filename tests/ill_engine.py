"""A plugin of many frameworks for the tests of the doctor: one is well, each of the others ill in its own way."""

import os
import shutil
import signal
import time

from pytest_edgeai import hookimpl
from pytest_edgeai.records import EngineDevice, Recipe

ILLS = (
    "well",
    "segv", "hang", "exit", "raise", "wrong", "nan", "renamed",  # when it is run
    "segv_listing",  # when it is asked for its devices
    "broken_catalogue",  # in the process that asks
    "absent",  # not installed
    "speechless",  # without a recipe for ONNX models
    "picky",  # refuses all it has
    "half",  # its plain recipe works, its int8 crashes
    "choosy",  # its speed says nothing here
)  # fmt: skip


class Ill:
    def __init__(self, ill: str) -> None:
        self.name, self._ill = f"ill_{ill}", ill
        self.distributions = ("no-such-wheel", "onnxruntime") if ill == "absent" else ("onnxruntime",)

    def catalogue(self, target, kind):
        if self._ill == "broken_catalogue":
            raise RuntimeError("no such\nluck")
        if kind != "onnx" or self._ill == "speechless":
            return ()
        plain = Recipe(framework=self.name, precision="fp32")
        return (
            (Recipe(framework=self.name, precision="int8", calibrated=True), plain) if self._ill == "half" else (plain,)
        )

    def baseline(self, kind):
        return None

    def refusal(self, recipe, assessment, device):
        assert device.engines[self.name][0].name == "CPU"
        return "It is too small." if self._ill == "picky" else None

    def reason(self, recipe, assessment, device):
        return "It is a test."

    def unmeasured(self, device):
        return "It is made for other machines." if self._ill == "choosy" else None

    def devices(self):
        if self._ill == "segv_listing":
            os.kill(os.getpid(), signal.SIGSEGV)
        return (EngineDevice(name="CPU"),)

    def build(self, recipe, model, folder, calibration):
        assert bool(calibration) == recipe.calibrated
        shutil.copy(model, folder / "model.onnx")

    def load(self, recipe, folder, threads):
        ill = "segv" if (self._ill, recipe.precision) == ("half", "int8") else self._ill
        return Runner(ill, folder)


class Runner:
    def __init__(self, ill, folder):
        import onnxruntime

        self._session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
        self._ill = ill

    def __call__(self, inputs):
        if self._ill == "segv":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self._ill == "hang":
            time.sleep(3600)
        if self._ill == "exit":
            os._exit(3)
        if self._ill == "raise":
            raise ImportError("libgomp.so.1: cannot open shared object file: No such file or directory")
        logits = self._session.run(None, dict(inputs))[0]
        if self._ill == "wrong":
            logits = logits[:, ::-1]
        if self._ill == "nan":
            logits[0, 3] = float("nan")
        return {"output" if self._ill == "renamed" else "logits": logits}

    def placement(self):
        return {"device": "CPU", "precision": "fp32"}


@hookimpl
def edge_frameworks():
    return tuple(map(Ill, ILLS))
