"""OpenVINO: fp32, bf16 and fp16, int8 by NNCF with and without control of what it costs, and compressed weights; language models in a module of their own."""

import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_edgeai.errors import BuildError, EdgeError, UnsupportedError, unknown
from pytest_edgeai.frameworks.openvino import kernels, language, runtime
from pytest_edgeai.hookspecs import hookimpl
from pytest_edgeai.protocols import Arrays, Framework, Generator, Runner
from pytest_edgeai.records import Assessment, Device, EngineDevice, ModelKind, Recipe, Target
from pytest_edgeai.units import counted

FILE: Final = "model.xml"
"""The artifact, with its weights in ``model.bin`` beside it: OpenVINO's intermediate representation."""
INT8_MULTIPLIERS: Final = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
"""Instruction sets that multiply 8-bit numbers into 32-bit sums; one of them is what makes int8 fast."""
BF16_MULTIPLIERS: Final = ("avx512_bf16", "amx_bf16", "bf16")
"""Instruction sets that multiply bfloat16 numbers."""

_INT8: Final[dict[str, str | int | float | bool]] = {"preset": "mixed", "ranges": "minmax"}
# Weights of 4 bits need a scale for few of them; activations are brought to int8 in groups in every call, which is the plugin's default.
_GROUP: Final = 32
_RECIPES: Final = (
    Recipe(framework="openvino", precision="bf16", needs=BF16_MULTIPLIERS),
    Recipe(framework="openvino", precision="fp16", options={"compute": "f16 where the device has it, else f32"}),
    Recipe(framework="openvino", precision="fp32"),
    Recipe(
        framework="openvino",
        precision="int4",
        method="weights",
        options={"mode": "int4_sym", "weight_group": _GROUP, "activation_group": _GROUP},
    ),
    Recipe(
        framework="openvino",
        precision="int8",
        options=_INT8 | {"model_type": "transformer where matrix products prevail"},
        calibrated=True,
        needs=INT8_MULTIPLIERS,
    ),
    Recipe(
        framework="openvino",
        precision="int8",
        method="accuracy",
        options=_INT8
        | {
            "model_type": "transformer",
            "max_drop": 0.01,
            "gives_up_below": 0.95,
            "ranking_items": 32,
            "iterations": 25,
            "seconds": 120,
        },
        calibrated=True,
        needs=INT8_MULTIPLIERS,
    ),
    Recipe(
        framework="openvino",
        precision="int8",
        method="performance",
        options={"preset": "performance", "ranges": "minmax"},
        calibrated=True,
        needs=INT8_MULTIPLIERS,
    ),
    Recipe(
        framework="openvino",
        precision="int8",
        method="weights",
        options={"mode": "int8_sym", "activation_group": _GROUP},
    ),
)
_CATALOGUE: Final[dict[str, tuple[Recipe, ...]]] = {"onnx": _RECIPES, "huggingface": language.CATALOGUE}
_OF_PRODUCTS: Final = ("dense", "transformer")
"""Architectures whose work is in matrix products."""
_TUNING: Final = ("batch", "device", "hint", "precision", "threads")
_PRECISIONS: Final = ("bf16", "f16", "f32")
_COPIED: Final = 128 * 2**10
"""Bytes of an input up to which copying it into the request's own memory costs less than wrapping the array where it is (some 10 us)."""
_FLOATS: Final = ("float16", "float32", "float64", "bfloat16")
_ELSE: Final = "Take another precision, or train the model with quantization."
_QUIRK: Final = {"SNIPPETS_MODE": "DISABLE"}
"""Where a stream has one thread, OpenVINO 2026.4.1 makes one kernel of a chain of matrix products, and in int8 that kernel's answers are
wrong by a factor of 1e9."""


class OpenVino:
    """Runs on the CPU plugin with the latency hint and in one stream, unless the recipe is tuned otherwise.

    What a recipe doesn't bring to another precision is computed in f32: that is stated, because the plugin's default is bf16 where the CPU
    has it. ``fp16`` stores the weights as float16 and computes in f16 where the device has that arithmetic, else in f32. ``int8``
    quantizes by NNCF with the extremes of the calibration items. (NNCF's default is the mean of each item's extremes, which cuts off what is
    rare: on items that it hadn't seen, a transformer encoder kept 99.6 % of what varied in its outputs instead of 95.1 %, a mobile CNN
    79 % instead of 71 %.) Where a network has more matrix products than convolutions, NNCF is told that it is a transformer, which
    spreads large activations over the weights (SmoothQuant) and leaves additions in f32: a network of convolutions and dense layers
    kept 97.5 % instead of 21 %; on convolutional networks it costs 4 to 6 % of the time. ``int8-accuracy`` always does that, and takes the
    worst operators back to floating point, until the network keeps 99 % of what varies in its own outputs on the calibration items (see
    :class:`_Agreement`). ``int8-performance`` is for the same networks and smooths nothing: additions and tables that are looked up in are int8, too,
    and everything is symmetric. An encoder of the dimensions of MiniLM-L6 kept as much as with ``int8`` (99.4 and 99.3 %) and was as fast, in 44 instead of 89 MB;
    what has large activations in few channels, as trained language encoders do, may lose more. ``int8-weights`` and
    ``int4-weights`` store the weights of matrix products so, and the plugin brings activations to int8 in groups in every call where
    the CPU multiplies 8-bit numbers (a layer of 1024 x 4096 ran in 24 ms instead of 68 ms at 128 rows, and in 1.3 ms instead of 6.4 ms
    at one row; without those groups the 128 rows took 66 ms).

    A model whose only dynamic axes are first ones (the batch) is loaded with a batch of 1, because latency is measured at batch 1
    and static shapes spare the plugin the inference of shapes in every call (9 % of a network that takes 0.1 ms, 1 % of one that
    takes 7 ms). A recipe that is tuned to a batch has that one instead. The first call with another shape compiles the network a
    second time, with the axes as they were, for all such calls.

    The plugin may use fewer threads than it was asked for (never more than there are cores); ``placement`` says how many.
    """

    name = "openvino"
    distributions: tuple[str, ...] = ("openvino", "nncf")
    tunes = True
    at_load = frozenset(_TUNING)

    def catalogue(self, target: Target, kind: ModelKind) -> Sequence[Recipe]:  # noqa: ARG002 - the same for every target
        """Whole networks in bf16, fp16, fp32 and int8, and weights alone in int8 and int4; of language models always weights alone."""
        return _CATALOGUE.get(kind, ())

    def baseline(self, kind: ModelKind) -> Recipe | None:
        """A language model in float32; the baseline of an ONNX model is ONNX Runtime's."""
        return language.BASELINE if kind == "huggingface" else None

    def helpers(self, assessment: Assessment) -> Sequence[str]:
        """PyTorch and transformers, for language models of families that are not put together here."""
        return language.helpers(assessment.language) if assessment.language is not None else ()

    def refusal(self, recipe: Recipe, assessment: Assessment, device: Device) -> str | None:
        """Where the model can't be brought to the precision, the device doesn't have it, or the tuning can't be had."""
        unfit = language.refusal if assessment.language is not None else _unfit
        return unfit(recipe, assessment) or _lacking(recipe, device) or _untunable(recipe, assessment, device)

    def reason(self, recipe: Recipe, assessment: Assessment, device: Device) -> str:
        """Where the work is, and what the CPU has for it."""
        if assessment.language is not None:
            return language.reason(recipe, assessment.language)
        work = assessment.precisions.get("int8-static")
        told = _capital(work.reason) if work is not None and work.possible else f"{assessment.parameters} parameters"
        there = [name for name in recipe.needs if name in device.features]
        if recipe.precision == "fp32":
            return f"{told}; OpenVINO's kernels may run them faster at the same precision."
        if recipe.precision == "fp16":
            computes = (
                "this device computes with it"
                if "fp16" in (_capabilities(device, _device(recipe)) or ())
                else "this device has no such arithmetic and computes in f32"
            )
            return f"{told}; stored in float16 they take half the space, and {computes}."
        if recipe.method == "weights":
            cpu = [name for name in INT8_MULTIPLIERS if name in device.features]
            groups = f", and the CPU has {' and '.join(cpu)} for activations in int8" if cpu else ""
            return f"{told}; weights in {recipe.precision} are read from memory faster, without calibration{groups}."
        if _device(recipe) != "CPU":
            has = f"it was asked for on {_device(recipe)}"
        elif recipe.precision == "bf16":
            return f"{told}; the CPU has {' and '.join(there) or 'bf16, says OpenVINO'}, and bfloat16 needs no calibration."
        else:
            has = (
                f"the CPU has {' and '.join(there)}" if there else f"but the CPU has none of {', '.join(recipe.needs)}"
            )
        more = ""
        if recipe.method == "accuracy":
            more = f"; at least {1 - float(recipe.options['max_drop']):.0%} of what varies in its outputs is kept"
        if recipe.method == "performance":
            more = "; additions and embeddings are in int8, too, which saves memory"
        return f"{told}; {has}{more}."

    def accelerations(self, assessment: Assessment, device: Device) -> Mapping[str, Sequence[str | int]]:  # noqa: ARG002 - the same for every model
        """Threads, the throughput hint, the precisions that the CPU has beside f32, accelerators."""
        has = _capabilities(device, "CPU") or ()
        listed = [entry.name for entry in device.engines.get("openvino", ()) if entry.name != "CPU"]
        found: dict[str, Sequence[str | int]] = {
            "threads": device.fewer_threads,
            "hint": ("throughput",) if device.cores > 1 else (),
            "precision": tuple(one for one, name in (("bf16", "bf16"), ("f16", "fp16")) if name in has),
            "device": tuple(dict.fromkeys(name.partition(".")[0] for name in listed)),
        }
        return {key: values for key, values in found.items() if values}

    def devices(self) -> Sequence[EngineDevice]:
        """What OpenVINO lists."""
        core = runtime.imported().Core()
        return [
            EngineDevice(
                name=name,
                title=str(core.get_property(name, "FULL_DEVICE_NAME")),
                capabilities=tuple(
                    sorted(entry.lower() for entry in core.get_property(name, "OPTIMIZATION_CAPABILITIES"))
                ),
            )
            for name in core.available_devices
        ]

    def build(self, recipe: Recipe, model: Path, folder: Path, calibration: Sequence[Arrays]) -> None:
        """Write ``model.xml`` and ``model.bin``; of a language model, all that :func:`language.build` does.

        Raises BuildError, or UnsupportedError where OpenVINO lacks an operator.
        """
        if model.is_dir() or model.suffix == ".gguf":
            language.build(recipe, model, folder)
            return
        if recipe.calibrated and not calibration:
            raise BuildError(f"{recipe.name} needs calibration items, and there are none.")
        try:
            with runtime.quiet():
                openvino = runtime.imported()
                network = openvino.Core().read_model(model)
                names = [port.get_any_name() for port in network.outputs]
                if recipe.method == "weights":
                    network = _compress(recipe, network)
                elif recipe.precision == "int8":
                    network = _quantize(recipe, network, calibration)
                for port, name in zip(network.outputs, names, strict=True):
                    port.tensor.set_names({name})
                openvino.save_model(network, folder / FILE, compress_to_fp16=recipe.precision == "fp16")
        except EdgeError:
            raise
        except Exception as error:
            lacking = re.search(r"No conversion rule found for operations: (.+)", str(error))
            if lacking is not None:
                raise UnsupportedError(
                    f"OpenVINO lacks operators of this model: {lacking[1].strip()}. Export the model without them, or choose a recipe of another framework."
                ) from error
            raise BuildError(f"OpenVINO can't build {recipe.name} of {model.name}: {runtime.said(error)}.") from error

    def load(self, recipe: Recipe, folder: Path, threads: int) -> Runner | Generator:
        """A compiled model with at most ``threads`` threads, or as many as the recipe says. Raises EdgeError."""
        if (folder / language.FILE).is_file():
            return language.load(recipe, folder, threads)
        return _Caller(_Network(recipe, folder / FILE, threads))


def _unfit(recipe: Recipe, assessment: Assessment) -> str | None:
    """Why this model can't be brought to the precision, wherever it is to run."""
    trees = [op.rpartition(".")[2] for op in assessment.ops if op.startswith("ai.onnx.ml.TreeEnsemble")]
    if trees:
        return (
            f"OpenVINO has no operators for trees (the model has {' and '.join(trees)}); ONNX Runtime has, and one thread may help there: "
            "onnxruntime-fp32-single."
        )
    doubles = [spec.name for spec in assessment.inputs if spec.dtype == "float64"]
    if doubles or assessment.weight_dtypes[:1] == ("float64",):
        what = f"the input {doubles[0]}" if doubles else "most of its weights"
        return f"OpenVINO computes in float32 at most, and {what} is float64: export the model in float32."
    if recipe.precision == "fp32":
        low = [dtype for dtype in assessment.weight_dtypes if not dtype.startswith(_FLOATS)]
        has = f"it has weights in {' and '.join(low)}"
        return f"The model is already quantized ({has}), so there is no fp32 variant of it." if low else None
    verdict = assessment.precisions.get("int8-static" if recipe.precision in kernels.STORED else recipe.precision)
    if verdict is not None and not verdict.possible:
        return f"{_capital(verdict.reason)}."
    if recipe.method == "performance" and assessment.architecture not in _OF_PRODUCTS:
        return f"openvino-int8 is as fast for a {assessment.architecture} network: it is where matrix products prevail that NNCF's performance preset saves memory."
    if recipe.method == "weights" and assessment.architecture not in _OF_PRODUCTS:
        work = f"{_capital(verdict.reason)}, and " if verdict is not None else ""
        return (
            f"{work}OpenVINO keeps compressed weights only in matrix products: those of a {assessment.architecture} network become f32 "
            "when it is loaded, so it would be neither faster nor smaller in memory. openvino-int8 is for such models."
        )
    return None


def _lacking(recipe: Recipe, device: Device) -> str | None:
    """What the device lacks of the recipe's or the asked precision."""
    asked, where = recipe.tuning.get("precision", recipe.precision), _device(recipe)
    there = _capabilities(device, where)
    if asked == "bf16" and not (set(BF16_MULTIPLIERS) & set(device.features) if there is None else "bf16" in there):
        found = ", ".join(device.features) or "none"
        none_of = f" (none of {', '.join(BF16_MULTIPLIERS)}; detected: {found})" if where == "CPU" else ""
        return f"The {where} has no bfloat16 arithmetic{none_of}."
    if asked == "f16" and "fp16" not in (there or ()):
        return f"The {where} has no float16 arithmetic: OpenVINO would compute in f32."
    return None


def _untunable(recipe: Recipe, assessment: Assessment, device: Device) -> str | None:
    """Why the recipe can't be tuned so, if it can't."""
    listed = [entry.name for entry in device.engines.get("openvino", ())]
    for key, value in recipe.tuning.items():
        if key == "threads" and _device(recipe) != "CPU":
            return f"Threads are the CPU's, and it was asked for on {_device(recipe)}."
        if key == "threads" and int(value) > device.cores:
            return f"{value} threads are more than the {device.cores} cores that this device lets a process use."
        if key == "batch" and assessment.why_no_batches:
            return assessment.why_no_batches
        if key == "precision" and value not in _PRECISIONS:
            return unknown("precision to compute in", str(value), _PRECISIONS)
        if key == "device" and value == "AUTO" and set(listed) <= {"CPU"}:
            return "OpenVINO lists no device but the CPU here, so AUTO would be the CPU by another name."
        if key == "device" and value != "AUTO" and not any(_is(name, str(value)) for name in listed):
            return f"OpenVINO lists no {value} here (it lists {', '.join(listed) or 'nothing'})."
        if key == "graph":
            return "OpenVINO has no levels of graph optimization: it compiles every graph for the device that runs it; ask for it without graph."
        if key not in _TUNING:
            return unknown("tuning of openvino", key, _TUNING)
    return None


class _Network:
    """An artifact, compiled for the batch that its recipe is for and, when that is first needed, for any."""

    def __init__(self, recipe: Recipe, file: Path, threads: int, streams: int | None = None) -> None:
        self.recipe, self.file, self.threads = recipe, file, threads
        self._streams = streams
        self._lock = threading.Lock()
        self._any: Any = None
        self._batches: dict[str, int] = {}
        self.compiled = self._compile(fix_batch=True)
        self.inputs = {port.get_any_name(): str(port.get_element_type().to_dtype()) for port in self.compiled.inputs}
        self.outputs = [port.get_any_name() for port in self.compiled.outputs]

    def fitting(self, inputs: Arrays) -> Any:
        """The compiled network for these inputs' batch."""
        if all(inputs[name].shape[:1] == (size,) for name, size in self._batches.items()):
            return self.compiled
        with self._lock:
            if self._any is None:
                self._any = self._compile(fix_batch=False)
        return self._any

    def _compile(self, *, fix_batch: bool) -> Any:
        """Load the artifact and make sure that the plugin does what it was asked for. Raises EdgeError."""
        name, device, tuning = self.recipe.name, _device(self.recipe), self.recipe.tuning
        try:
            core = runtime.imported().Core()
            model = core.read_model(self.file)
            if fix_batch:
                self._batches = _fix_batch(model, tuning.get("batch"))
            precision = _computes(self.recipe, core.get_property(device, "OPTIMIZATION_CAPABILITIES"))
            hint = "THROUGHPUT" if self._streams else str(tuning.get("hint", "latency")).upper()
            options: dict[str, Any] = {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": precision}
            if device == "CPU":
                options |= self._options_of_the_cpu(hint)
            network = core.compile_model(model, device, options)
            if _QUIRK.items() - options.items() and self._chains(device) and _one_thread_a_stream(network):
                network = core.compile_model(model, device, options | _QUIRK)
        except Exception as error:
            raise EdgeError(f"OpenVINO can't load {name}: {runtime.said(error)}.") from error
        used = network.get_property("EXECUTION_DEVICES")
        if not used or not all(_is(entry, device) for entry in used):
            raise EdgeError(
                f"OpenVINO was asked to run {name} on {device}, and uses {', '.join(used)}; such a fallback is not measured."
            )
        found = network.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if found != precision:
            raise EdgeError(
                f"OpenVINO was asked to compute {name} in {precision}, and uses {found}: the {device} lacks it."
            )
        # The plugin may use fewer threads than the bench offers, but not than the recipe is about.
        binding = (
            "PERFORMANCE_HINT",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE",
            "INFERENCE_NUM_THREADS" if "threads" in tuning else "",
        )
        for key, wanted in ((key, str(options[key])) for key in binding if key in options):
            if (found := str(network.get_property(key))) != wanted:
                raise EdgeError(f"OpenVINO was asked to run {name} with {key} = {wanted}, and uses {found}.")
        return network

    def _options_of_the_cpu(self, hint: str) -> dict[str, Any]:
        recipe = self.recipe
        options: dict[str, Any] = {"INFERENCE_NUM_THREADS": recipe.tuning.get("threads", self.threads)}
        if self._streams or hint == "LATENCY":
            options["NUM_STREAMS"] = self._streams or 1
        if group := recipe.options.get("activation_group"):
            options["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = group
        if self._chains("CPU") and (options["INFERENCE_NUM_THREADS"] == 1 or hint == "THROUGHPUT"):
            options |= _QUIRK
        return options

    def _chains(self, device: str) -> bool:
        """Whether the network may have chains of matrix products in int8 on the CPU."""
        return device == "CPU" and self.recipe.precision == "int8" and self.recipe.method != "weights"


def _one_thread_a_stream(network: Any) -> bool:
    """Also where the plugin uses fewer threads than it was asked for, as it may."""
    return int(network.get_property("INFERENCE_NUM_THREADS")) <= int(network.get_property("NUM_STREAMS"))


class _Caller:
    """A loaded model. The arrays that it hands back are its callers' own: copies, because the plugin reuses its outputs' memory."""

    def __init__(self, network: _Network) -> None:
        self._network = network
        self._requests: dict[int, Any] = {}
        self._request: Any = None
        self._accepted: list[tuple[str, tuple[int, ...], Any]] | None = None
        self._own: dict[str, NDArray[Any]] = {}
        self._outputs = network.outputs

    def __call__(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        signature = [(name, array.shape, array.dtype) for name, array in inputs.items()]
        if signature != self._accepted:
            self._accepted = None  # until the request is ready for it
            self._accept(inputs)
            self._accepted = signature
        try:
            # Every step of Python here is paid in each call, with cold caches: with all inputs wrapped and the outputs looked up by
            # their place, a call of a network that takes 0.72 ms took 0.05 ms more than the engine's own clock says; so 0.02 ms.
            large = {}
            for name, array in inputs.items():
                if name in self._own:
                    self._own[name][...] = array
                else:
                    large[name] = array
            # Inputs are only read, so the plugin may look at the large ones where they are.
            results = self._request.infer(large or None, share_inputs=True, share_outputs=False)
            return dict(zip(self._outputs, results.values(), strict=True))
        except Exception as error:
            raise EdgeError(f"OpenVINO can't run the model on these inputs: {runtime.said(error)}.") from error

    def placement(self) -> dict[str, str]:
        """Raises EdgeError when most of the work is not done in the recipe's precision."""
        recipe, compiled = self._network.recipe, self._network.compiled
        used = ", ".join(compiled.get_property("EXECUTION_DEVICES"))
        precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if used != "CPU":
            # Other plugins name their kernels otherwise.
            return {"device": used, "precision": precision} | _operators(used, compiled)
        ran = kernels.used(compiled)
        computes, stored = Counter(one for one, _ in ran), Counter(other for _, other in ran)
        told = kernels.told(computes) or precision
        if recipe.method == "weights":
            kernels.demand(recipe, stored, kernels.STORED[recipe.precision])
        else:
            kernels.demand(recipe, computes, ("i8",) if recipe.precision == "int8" else (precision,))
        if recipe.method == "weights" or recipe.precision == "fp16":
            told += f", weights {kernels.told(stored)}"
        placement = {"device": used, "precision": told, "threads": str(compiled.get_property("INFERENCE_NUM_THREADS"))}
        if "activation_group" in recipe.options:
            placement["activations"] = (
                f"int8 in groups of {compiled.get_property('DYNAMIC_QUANTIZATION_GROUP_SIZE')} where that is faster"
            )
        tuned = {key: str(value) for key, value in recipe.tuning.items() if key in ("batch", "hint")}
        return placement | tuned | _operators(used, compiled)

    def parallel(self, requests: int) -> "Sequence[_Caller]":
        """As many requests of one network that is compiled for throughput; what finds no free stream waits for one."""
        network = self._network
        many = _Network(network.recipe, network.file, network.threads, streams=requests)
        return [_Caller(many) for _ in range(requests)]

    def _accept(self, inputs: Arrays) -> None:
        """Refuse what the plugin would take in silence: a missing input (it would use the last call's), another dtype (converted)."""
        given, takes = {name: str(array.dtype) for name, array in inputs.items()}, self._network.inputs
        if given != takes:
            expected, got = (
                ", ".join(f"{name}: {dtype}" for name, dtype in sorted(spec.items())) for spec in (takes, given)
            )
            raise EdgeError(
                f"OpenVINO can't run the model on these inputs: it takes {expected or 'none'}, and was given {got or 'none'}."
            )
        compiled = self._network.fitting(inputs)
        if id(compiled) not in self._requests:
            self._requests[id(compiled)] = compiled.create_infer_request()
        self._request = self._requests[id(compiled)]
        try:
            self._own = {
                name: self._memory(compiled, name, array) for name, array in inputs.items() if array.nbytes <= _COPIED
            }
        except Exception as error:
            raise EdgeError(f"OpenVINO can't run the model on these inputs: {runtime.said(error)}.") from error

    def _memory(self, compiled: Any, name: str, array: NDArray[Any]) -> NDArray[Any]:
        """The request's own memory for an input of this shape. Always new: what it looks at now may be a caller's array."""
        tensor = runtime.imported().Tensor(compiled.input(name).get_element_type(), array.shape)
        self._request.set_tensor(name, tensor)
        memory: NDArray[Any] = tensor.data
        return memory


def _operators(used: str, compiled: Any) -> dict[str, str]:
    """Under the placement's key: what runs where, of the network as it was compiled; nothing where the plugin doesn't tell."""
    kinds = kernels.kinds(compiled)
    return {"operators": f"{used}: {counted(kinds)}"} if kinds else {}


def _fix_batch(model: Any, batch: str | int | None) -> dict[str, int]:
    """Set dynamic first axes, where they are the only dynamic ones to 1, else to the batch that was asked for; input -> its batch."""
    shapes = {port.get_any_name(): port.partial_shape for port in model.inputs}
    ranked = {name: shape for name, shape in shapes.items() if shape.rank.is_static and len(shape)}
    others = len(ranked) < len(shapes) or any(dim.is_dynamic for shape in ranked.values() for dim in list(shape)[1:])
    open_ended = {name: shape for name, shape in ranked.items() if shape[0].is_dynamic}
    if not open_ended or (others and batch is None):
        return {}
    size = 1 if batch is None else int(batch)
    for shape in open_ended.values():
        shape[0] = size
    model.reshape(shapes)
    return dict.fromkeys(open_ended, size)


def _computes(recipe: Recipe, capabilities: Sequence[str]) -> str:
    """What is computed with where nothing is quantized."""
    if "precision" in recipe.tuning:
        return str(recipe.tuning["precision"])
    if recipe.precision in ("fp32", "bf16"):
        return "f32" if recipe.precision == "fp32" else "bf16"
    halves = "FP16" in capabilities and (recipe.precision == "fp16" or _device(recipe) != "CPU")
    return "f16" if halves else "f32"


def _compress(recipe: Recipe, network: Any) -> Any:
    import nncf

    nncf.set_log_level(logging.ERROR)
    how: dict[str, Any] = {"mode": nncf.CompressWeightsMode(str(recipe.options["mode"]))}
    if "weight_group" in recipe.options:
        how["group_size"] = recipe.options["weight_group"]
        # Rows that the group doesn't divide get smaller groups.
        how["advanced_parameters"] = nncf.AdvancedCompressionParameters(
            group_size_fallback_mode=nncf.GroupSizeFallbackMode.ADJUST
        )
    network = nncf.compress_weights(network, **how)
    stored = {op.get_element_type().get_type_name() for op in network.get_ops() if op.get_type_name() == "Constant"}
    if not stored & set(kernels.STORED[recipe.precision]):
        raise UnsupportedError(
            f"NNCF found no weights to store in {recipe.precision}, so this variant would be another one by name alone."
        )
    return network


def _quantize(recipe: Recipe, network: Any, calibration: Sequence[Arrays]) -> Any:
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    nncf.set_log_level(logging.ERROR)
    items = [dict(item) for item in calibration]
    how: dict[str, Any] = {
        "preset": nncf.QuantizationPreset(recipe.options["preset"]),
        "subset_size": len(items),
        "advanced_quantization_parameters"
        if recipe.method == "accuracy"
        else "advanced_parameters": nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
        ),
    }
    if recipe.method == "accuracy" or (not recipe.method and _is_of_products(network)):
        how["model_type"] = nncf.ModelType.TRANSFORMER
    network = (
        _quantize_with_control(recipe, network, items, how)
        if recipe.method == "accuracy"
        else nncf.quantize(network, nncf.Dataset(items), **how)
    )
    if not any(node.get_type_name() == "FakeQuantize" for node in network.get_ops()):
        raise BuildError(
            f"{recipe.name}: NNCF found nothing to quantize, so this variant would be fp32 by another name."
        )
    return network


def _quantize_with_control(
    recipe: Recipe, network: Any, items: Sequence[dict[str, NDArray[Any]]], how: Mapping[str, Any]
) -> Any:
    """Quantize, and take operators back to floating point until the network agrees with itself. Raises UnsupportedError."""
    import nncf

    seconds, limit = float(recipe.options["seconds"]), 1 - float(recipe.options["max_drop"])
    hopeless = float(recipe.options["gives_up_below"])
    agreement, deadline = _Agreement(network, items), time.monotonic() + seconds
    of_all: list[float] = []

    def validate(compiled: Any, pairs: Any) -> tuple[float, list[float]]:
        if time.monotonic() > deadline:
            raise UnsupportedError(
                f"After {seconds:.0f} s NNCF was still looking for operators to take back to floating point. {_ELSE}"
            )
        values = [agreement(place, compiled(item)) for place, item in pairs]
        mean = float(np.mean(values))
        whole = len(values) == len(items)
        of_all.extend([mean] * whole)
        if whole and len(of_all) == 2 and mean < hopeless:  # the first one was of the network itself
            raise UnsupportedError(
                f"In int8 the network keeps {mean:.1%} of what varies in its outputs on the calibration items, too far from "
                f"{limit:.0%} for taking a few operators back to floating point. {_ELSE}"
            )
        return mean, values

    pairs = list(enumerate(items))
    found = nncf.quantize_with_accuracy_control(
        network,
        nncf.Dataset(pairs, lambda pair: pair[1]),
        nncf.Dataset(pairs, lambda pair: pair[1]),
        validate,
        max_drop=1 - limit,
        # One worker: how many NNCF would take depends on the machine's speed.
        advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
            max_num_iterations=recipe.options["iterations"],
            ranking_subset_size=min(int(recipe.options["ranking_items"]), len(items)),
            num_ranking_workers=1,
        ),
        **how,
    )
    compiled = _for_validation(found)
    kept, ran = validate(compiled, pairs)[0], kernels.used(compiled)
    left = sum(computes == "i8" for computes, _ in ran)
    if kept < limit or 2 * left < len(ran):
        raise UnsupportedError(
            f"With {len(ran) - left} of {len(ran)} convolutions and matrix products taken back to floating point the network "
            f"keeps {kept:.1%} of what varies in its outputs on the calibration items ({limit:.0%} are wanted, with most of the work in int8). {_ELSE}"
        )
    return found


class _Agreement:
    """How far a changed network's outputs are those of the network itself, item by item: 1 when they are equal.

    For floating-point outputs it is the coefficient of determination: 1 - (squared error / squared deviation from the output's mean over all
    items), the error of one item, the deviation of an average one, so that the mean over all items is the coefficient of all of them. For
    others it is the share of equal elements. A network with several outputs has the mean of them.
    """

    def __init__(self, network: Any, items: Sequence[Mapping[str, NDArray[Any]]]) -> None:
        compiled = _for_validation(network)
        self._outputs = [[np.array(output) for output in compiled(item).to_tuple()] for item in items]
        columns = list(zip(*self._outputs, strict=True))
        means = [np.concatenate([output.ravel() for output in column]).mean() for column in columns]
        self._spreads = [
            float(np.mean([((output - mean) ** 2).sum() for output in column]))
            for column, mean in zip(columns, means, strict=True)
        ]

    def __call__(self, place: int, outputs: Any) -> float:
        told = []
        for mine, other, spread in zip(self._outputs[place], outputs.to_tuple(), self._spreads, strict=True):
            if mine.dtype.kind != "f" or not spread:
                told.append(float(np.mean(mine == other)))
            else:
                told.append(1 - float(((mine - other) ** 2).sum()) / spread)
        return float(np.mean(told))


def _for_validation(network: Any) -> Any:
    return runtime.imported().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def _is_of_products(network: Any) -> bool:
    """Whether matrix products prevail."""
    kinds = Counter(op.get_type_name() for op in network.get_ops())
    return kinds["MatMul"] > kinds["Convolution"] + kinds["GroupConvolution"] + kinds["ConvolutionBackpropData"]


def _device(recipe: Recipe) -> str:
    return str(recipe.tuning.get("device", "CPU"))


def _is(listed: str, asked: str) -> bool:
    """Whether a device that OpenVINO lists (``GPU.0``) is the one that was asked for (``GPU``; ``AUTO`` is any but the CPU)."""
    return listed == asked or listed.startswith(f"{asked}.") or (asked == "AUTO" and listed != "CPU")


def _capabilities(device: Device, name: str) -> tuple[str, ...] | None:
    """What OpenVINO says that the device can do; ``None`` where it wasn't asked."""
    found = [entry.capabilities for entry in device.engines.get("openvino", ()) if _is(entry.name, name)]
    return found[0] if found else None


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


@hookimpl
def edge_frameworks() -> Sequence[Framework]:
    """The engine of this file."""
    return (OpenVino(),)
