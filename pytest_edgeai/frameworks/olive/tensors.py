"""Tensor models: what Olive's passes make of an ONNX file, run in a session of ONNX Runtime.

Where a pass is a call of ONNX Runtime's own tools, the same is asked of it as in that engine's recipes (:mod:`pytest_edgeai.frameworks.onnxruntime`): opset 13
at least, prepared (shape inference, optimization), weights per channel and signed, activations unsigned, the extremes of the calibration
items, and loaded so that nothing saturates on x86 CPUs without VNNI. ``int8-dynamic`` is node by node and byte by byte what that engine's recipe is, and
``int8-static`` what its quantizer makes, without the corrections that its recipe adds; tests say so. They compete all the same. (Olive's own preparation
infers shapes symbolically, too: where that fails, it would go on with the model as it is, and the recipe is refused.)

``fp16`` is Olive's conversion to half precision, ``fp16-mixed`` the one that keeps in float32 what loses most by it: normalizations, softmax, sums and powers
(what PyTorch's autocast keeps, https://docs.pytorch.org/docs/stable/amp.html), what ONNX Runtime has no such kernels for, and the last matrix product where the weights
come in float32. Inputs and outputs stay float32. Both are for ARM CPUs with half-precision arithmetic and for GPUs.

``fp32-tuned`` is the model as it is, in a session with the options that Olive found to be the fastest here, of all combinations of one thread and as many as
there are cores, three levels of graph optimization, and branches one after the other or beside each other. They lie beside the model, and with them the CPU and
cores that they were found on: elsewhere the variant isn't loaded. The defaults (all cores, all optimizations, no branches) are among the candidates, so there is little to
gain where they are right, and noise chooses between equals: of five sample models it made one faster, an ensemble of trees in one thread (0.020 instead of 0.023 ms), for which
there is ``onnxruntime-fp32-single``; an encoder was a tenth slower in one build of two.

What was tried and is no recipe, because ONNX Runtime does nearly the same when it loads a model: ``OnnxPeepholeOptimizer`` (within 3 % on three sample models, within 6 % on
two BERT encoders), and ``OrtTransformersOptimization``, which found no attention to fuse in the sample encoder and in one that PyTorch 2.13 exports and left them slower (1.09
instead of 0.91 ms, 1.58 instead of 1.40 ms); one of PyTorch's older exporter it made faster (1.58 instead of 1.74 ms).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pytest_edgeai import device as devices_
from pytest_edgeai.errors import EdgeError
from pytest_edgeai.frameworks.olive import workflow
from pytest_edgeai.ort import files, offers, sessions
from pytest_edgeai.ort.building import building
from pytest_edgeai.protocols import Arrays, Runner
from pytest_edgeai.records import Assessment, Device, Recipe

FOUND: Final = "session.json"
"""What Olive found for ``fp32-tuned``, beside its model."""
SECONDS: Final = 120
"""How long it looks: what it is at then is finished."""

FP16: Final = Recipe(
    framework="olive",
    precision="fp16",
    options={"pass": "OnnxFloatToFloat16", "io": "fp32"},
    needs=offers.FP16_ARITHMETIC,
)
MIXED: Final = Recipe(
    framework="olive",
    precision="fp16",
    method="mixed",
    options={"pass": "OrtMixedPrecision", "io": "fp32", "kept": "normalizations, softmax, sums, powers"},
    needs=offers.FP16_ARITHMETIC,
)
TUNED: Final = Recipe(
    framework="olive",
    precision="fp32",
    method="tuned",
    options={"pass": "OrtSessionParamsTuning"},
    calibrated=True,
)
DYNAMIC: Final = Recipe(
    framework="olive",
    precision="int8",
    method="dynamic",
    options={"pass": "OnnxDynamicQuantization", "weights": "int8", "per_channel": True},
    needs=offers.INT8_MULTIPLIERS,
)
STATIC: Final = Recipe(
    framework="olive",
    precision="int8",
    method="static",
    options={
        "pass": "OnnxStaticQuantization",
        "activations": "uint8",
        "weights": "int8",
        "per_channel": True,
        "calibration": "minmax",
    },
    calibrated=True,
    needs=offers.INT8_MULTIPLIERS,
)
CATALOGUE: Final = (FP16, MIXED, TUNED, DYNAMIC, STATIC)

_KEPT: Final = (
    "LayerNormalization",
    "SimplifiedLayerNormalization",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
    "GroupNormalization",
    "InstanceNormalization",
    "Softmax",
    "LogSoftmax",
    "ReduceSum",
    "ReduceMean",
    "ReduceProd",
    "CumSum",
    "Exp",
    "Log",
    "Pow",
)
_LEVELS: Final = {1: "basic", 2: "extended", 99: "all"}
"""ONNX Runtime's number of a level of graph optimization -> what ``graph`` calls it."""
_CALLS: Final = 50
"""That each candidate is timed by."""
_TIMED: Final = 8
"""Calibration items that a session's options are timed with: calls of one item are alike."""


def refusal(recipe: Recipe, assessment: Assessment, device: Device) -> str | None:
    """Where the model can't be brought to the precision, the device has no kernels for it, or the tuning can't be had."""
    if recipe.precision != "fp32":
        why = offers.unfit(recipe, assessment, device, "onnxruntime-fp32-single")
        return why or offers.untunable(recipe, assessment, device)
    if recipe.tuning:
        asked = recipe.name.partition("@")[2]
        return (
            f"Olive finds the session options of {TUNED.name} itself: to choose them, ask for onnxruntime-fp32@{asked}."
        )
    low = [dtype for dtype in assessment.weight_dtypes if "float" not in dtype]
    if low:
        return f"The model is already quantized (it has weights in {' and '.join(low)}), so there is no fp32 variant of it."
    return None


def reason(recipe: Recipe, assessment: Assessment, device: Device) -> str:
    """Where the work is, and what the CPU has for it."""
    if recipe.precision == "fp32":
        return "The model as it is, with the threads, the level of graph optimization and the order of branches that Olive finds to be the fastest on this device."
    work = offers.work_of(recipe, assessment, device)
    kept = "; what loses most by half precision stays in float32" if recipe.method == "mixed" else ""
    return f"{work.removesuffix('.')}{kept}."


def devices() -> Sequence[str]:
    """The kinds of device, as ``device`` is tuned to, that this build of ONNX Runtime has a provider for."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    there = set(onnxruntime.get_available_providers())
    return [kind for kind, providers in sessions.PROVIDERS.items() if there & set(providers)]


def build(recipe: Recipe, model: Path, folder: Path, calibration: Sequence[Arrays]) -> None:
    """Write ``model.onnx``, and ``session.json`` where a session is tuned.

    Raises BuildError, or UnsupportedError where Olive or ONNX Runtime lacks something that the model needs.
    """
    with building(recipe, model, folder, calibration, "Olive") as (file, scratch):
        if recipe.precision == "fp32":
            files.copy(model, file)
            (folder / FOUND).write_text(json.dumps(_tuned(model, scratch, calibration), indent=2) + "\n")
        else:
            _make(recipe, model, file, calibration, scratch)


def load(recipe: Recipe, folder: Path, threads: int) -> Runner:
    """A session with ``threads`` threads, this call's own included; or with the options that Olive found. Raises EdgeError."""
    settings = sessions.Settings(threads=threads)
    if recipe.precision == "fp32":
        found = json.loads((folder / FOUND).read_bytes())
        here = devices_.detect()
        if (found["cpu"], found["cores"]) != (here.cpu, here.cores):
            raise EdgeError(
                f"{recipe.name} was tuned on {found['cores']} cores of {found['cpu']}, and here are {here.cores} of {here.cpu}: "
                "build it here, with a cache of its own (--edge-cache)."
            )
        settings = sessions.Settings(threads=found["threads"], graph=found["graph"], branches=found["branches"])
    return sessions.load(recipe, folder / files.FILE, settings)


def _make(recipe: Recipe, model: Path, file: Path, calibration: Sequence[Arrays], scratch: Path) -> None:
    """What the recipe's passes make of the model, and that it is what it is called."""
    import onnx
    from onnxruntime.transformers.onnx_model import OnnxModel

    source = files.modern(model, scratch) if recipe.precision == "int8" else model
    made = workflow.run(_passes(recipe), source, scratch, calibration if recipe.calibrated else ())
    graph = OnnxModel(onnx.load(made.model_path))
    graph.topological_sort()  # casts of inputs are put at the end
    files.save(graph.model, file, apart=bool(files.outside(model)) or files.is_large(Path(made.model_path)))
    if recipe.precision == "int8":
        files.demand_int8(recipe.name, file, scratch)
    elif recipe.device == "CPU":
        files.demand_halves(file, scratch)


def _passes(recipe: Recipe) -> list[dict[str, Any]]:
    """As Olive's workflow takes them."""
    if recipe.method == "static":
        return [
            {
                "type": "OnnxStaticQuantization",
                "data_config": workflow.ITEMS,
                "precision": "int8",
                "activation_type": "uint8",
                "per_channel": True,
                "calibrate_method": "MinMax",
                "quant_format": "QDQ",
                # Else additions and the like are quantized where ONNX Runtime has no kernels for it on CPUs.
                "prepare_qdq_config": False,
            }
        ]
    if recipe.method == "dynamic":
        return [
            {
                "type": "OnnxDynamicQuantization",
                "precision": "int8",
                "per_channel": True,
                "op_types_to_quantize": list(offers.DYNAMIC_OPERATORS),
            }
        ]
    if recipe.method == "mixed":
        from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST

        return [
            # A list in the place of the converter's own, which has what there are no kernels for.
            {"type": "OrtMixedPrecision", "op_block_list": sorted({*DEFAULT_OP_BLOCK_LIST, *_KEPT})},
            {"type": "OnnxIODataTypeConverter", "name_pattern": ".*", "source_dtype": 10, "target_dtype": 1},
        ]
    return [{"type": "OnnxFloatToFloat16", "keep_io_types": True}]


def _tuned(model: Path, scratch: Path, items: Sequence[Arrays]) -> Mapping[str, Any]:
    """The session options of the fastest call that Olive timed, and where that was."""
    here = devices_.detect()
    cores = here.cores
    search = {
        "type": "OrtSessionParamsTuning",
        "data_config": workflow.ITEMS,
        "providers_list": sessions.CPU,
        "provider_options_list": {},
        "opt_level_list": _any_of(*_LEVELS),
        "execution_mode_list": _any_of(0, *([1] if cores > 1 else [])),
        "intra_thread_num_list": _any_of(*sorted({1, cores})),
        "inter_thread_num_list": _any_of(cores),
        # As it will be loaded; else threads of the session before would spin on the cores that the next one is timed on.
        "extra_session_config": {"session.force_spinning_stop": "1"},
    }
    latency = {
        "name": "latency",
        "type": "latency",
        "data_config": workflow.ITEMS,
        # What else runs on the cores only makes calls slower, and it may come and go between two candidates.
        "sub_types": [{"name": "min", "priority": 1, "metric_config": {"repeat_test_num": _CALLS}}],
    }
    made = workflow.run(
        [search],
        model,
        scratch,
        items[:_TIMED],
        # The type is stated, because Olive takes an evaluator without one for a file and fails.
        evaluators={"clock": {"type": "OnnxEvaluator", "metrics": [latency]}},
        evaluator="clock",
        search_strategy={
            "execution_order": "joint",
            "sampler": "sequential",
            "output_model_num": 1,
            "max_time": SECONDS,
        },
    )
    options = made.get_inference_config()["session_options"]
    return {
        "cpu": here.cpu,
        "cores": cores,
        "threads": options["intra_op_num_threads"],
        "graph": _LEVELS[options["graph_optimization_level"]],
        "branches": options["inter_op_num_threads"] if options["execution_mode"] else 1,
    }


def _any_of(*values: int) -> dict[str, Any]:
    """As Olive's configuration says what to choose from."""
    return {"olive_parameter_type": "SearchParameter", "type": "Categorical", "support": list(values)}
