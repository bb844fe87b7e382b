"""A framework plugin for the tests: ONNX Runtime's int8 model, of which one call is a known number of inferences, so that extra work is real and exact."""

from pytest_edgeai import hookimpl
from pytest_edgeai.frameworks.onnxruntime import OnnxRuntime
from pytest_edgeai.records import EngineDevice, Recipe

INFERENCES = {
    "plain": 40,
    "plus2": 41,  # 2.5 % more
    "plus5": 42,
    "plus10": 44,
    "most": 21,  # of plain's: 1.905 times as fast
    "half": 20,  # exactly twice as fast
    "less": 19,  # 2.105 times as fast
    "fifths": 16,  # exactly 2.5 times as fast
}
"""Method -> inferences that make one call."""


class Slow:
    name = "slow"
    distributions = ("onnxruntime", "onnx")

    def __init__(self) -> None:
        self._engine = OnnxRuntime()
        self._int8 = next(recipe for recipe in self._engine.catalogue(None, "onnx") if recipe.method == "static")

    def catalogue(self, target, kind):
        return [Recipe(framework="slow", precision="int8", method=method, calibrated=True) for method in INFERENCES]

    def baseline(self, kind):
        return None

    def refusal(self, recipe, assessment, device):
        return None

    def reason(self, recipe, assessment, device):
        return f"One call is {INFERENCES[recipe.method]} inferences."

    def devices(self):
        self._engine.devices()  # imports the engine before anything is measured
        return (EngineDevice(name="CPU"),)

    def build(self, recipe, model, folder, calibration):
        self._engine.build(self._int8, model, folder, calibration)

    def load(self, recipe, folder, threads):
        return Runner(self._engine.load(self._int8, folder, threads), INFERENCES[recipe.method])


class Runner:
    def __init__(self, model, inferences: int) -> None:
        self._model, self._inferences = model, inferences

    def __call__(self, inputs):
        for _ in range(self._inferences):
            outputs = self._model(inputs)
        return outputs

    def placement(self):
        return self._model.placement()


@hookimpl
def edge_frameworks():
    return (Slow(),)
