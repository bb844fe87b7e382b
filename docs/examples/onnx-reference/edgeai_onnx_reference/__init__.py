"""A framework: the ONNX project's own interpreter. Slow and exact; it shows what the model means.

Two recipes: the model as it is, and the same with its weights stored in half precision, which halves the file.
"""

from pytest_edgeai import hookimpl
from pytest_edgeai.errors import BuildError
from pytest_edgeai.records import EngineDevice, Recipe

FILE = "model.onnx"
RECIPES = (
    Recipe(framework="reference", precision="fp32"),
    Recipe(framework="reference", precision="fp16", method="weights"),
)


class OnnxReference:
    """Everything heavy is imported inside the methods that run in a worker."""

    name = "reference"
    distributions = ("onnx",)  # what must be installed; its version is part of the cache's key

    def catalogue(self, target, kind):
        """The same for every target."""
        return RECIPES if kind == "onnx" else ()

    def baseline(self, kind):
        """None: ONNX Runtime's is the baseline."""
        return None

    def refusal(self, recipe, assessment, device):
        """Half precision is for weights that have more."""
        if recipe.precision == "fp16" and "float32" not in assessment.weight_dtypes:
            return "The model has no float32 weights to store in half precision."
        return None

    def reason(self, recipe, assessment, device):
        """One sentence that names the facts."""
        if recipe.precision == "fp32":
            return f"What the model's {len(assessment.outputs)} outputs are by the standard's own code."
        return f"{assessment.parameters} parameters take half the bytes; they are computed with in float32."

    def devices(self):
        """Imports the engine, so that importing it is not measured."""
        import onnx.reference  # noqa: F401

        return [EngineDevice(name="CPU", title="NumPy", capabilities=("fp32",))]

    def build(self, recipe, model, folder, calibration):
        """Write the variant into the empty ``folder``."""
        import onnx

        found = onnx.load(model)
        if recipe.precision == "fp16" and halve(found.graph) == 0:
            raise BuildError(f"{recipe.name}: no weight is large enough to be worth storing in half precision.")
        onnx.save(found, folder / FILE)

    def load(self, recipe, folder, threads):
        """Open it again, in another worker."""
        return Runner(folder / FILE)


class Runner:
    """A loaded model: arrays in, arrays out."""

    def __init__(self, file):
        from onnx.reference import ReferenceEvaluator

        self._evaluator = ReferenceEvaluator(str(file))

    def __call__(self, inputs):
        return dict(zip(self._evaluator.output_names, self._evaluator.run(None, dict(inputs)), strict=True))

    def placement(self):
        """What is really used."""
        return {"device": "CPU", "precision": "fp32", "threads": "1"}


def halve(graph, least=64):
    """Store float32 weights of at least ``least`` numbers as float16, cast back when the model runs; how many they are."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    large = [w for w in graph.initializer if w.data_type == TensorProto.FLOAT and np.prod(w.dims) >= least]
    for weight in large:
        name, half = weight.name, f"{weight.name}.half"
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), half))
        graph.node.insert(0, helper.make_node("Cast", [half], [name], to=TensorProto.FLOAT))
    return len(large)


@hookimpl
def edge_frameworks():
    """The engine of this module."""
    return [OnnxReference()]
