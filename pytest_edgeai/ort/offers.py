"""Offers: what can be had of ONNX Runtime for a model on a device, told without importing it."""

from typing import Final

from pytest_edgeai.errors import unknown
from pytest_edgeai.ort.sessions import LEVELS, PROVIDERS
from pytest_edgeai.records import Assessment, Device, Recipe

INT8_MULTIPLIERS: Final = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
"""Instruction sets that multiply 8-bit numbers into 32-bit sums; one of them is what makes int8 fast."""
FP16_ARITHMETIC: Final = ("asimdhp",)
"""Instruction sets that ONNX Runtime has half-precision kernels for on CPUs: ARM's alone."""
TUNING: Final = ("batch", "device", "graph", "threads")
AT_LOAD: Final = frozenset({"graph", "threads"})
"""Tuning that leaves the file as it is: the batch is marked in it, and a device decides what it must hold."""
DYNAMIC_OPERATORS: Final = ("MatMul", "Gather", "Attention", "LSTM", "EmbedLayerNormalization")
"""What is quantized dynamically: without Conv, which the quantizer would turn into ConvInteger."""
_FUSING: Final = ("extended", "all")
"""Levels at which products in int8 are made of what a quantizer writes, and are kept from saturating."""


def unfit(recipe: Recipe, assessment: Assessment, device: Device, instead: str) -> str | None:
    """Why a model can't be brought to a recipe's precision here, if it can't. ``instead``: the recipe that may help trees."""
    trees = trees_of(assessment)
    if trees:
        return (
            f"Its work is in {trees}, for which ONNX Runtime has kernels in full precision alone, so there is nothing to bring to "
            f"{recipe.precision}. What may help such a model is one thread: {instead}."
        )
    verdict = "fp16" if recipe.precision == "fp16" else "-".join(filter(None, (recipe.precision, recipe.method)))
    if why := assessment.why_not(verdict):
        return why
    if recipe.precision == "fp16" and recipe.device == "CPU" and not set(FP16_ARITHMETIC) & set(device.features):
        return (
            f"ONNX Runtime has no half-precision kernels for this CPU ({device.cpu}, {device.architecture}): it would turn the weights back "
            "into fp32 when it loads them, so that only the file is smaller, and loading and calls are slower. "
            "Build it on an ARM device with asimdhp, or for a GPU."
        )
    return None


def untunable(recipe: Recipe, assessment: Assessment, device: Device) -> str | None:
    """Why the recipe can't be tuned so, if it can't."""
    for key, value in recipe.tuning.items():
        if key == "threads" and int(value) > device.cores:
            return f"{value} threads are more than the {device.cores} cores that this device lets a process use."
        if key == "batch" and assessment.why_no_batches:
            return assessment.why_no_batches
        if key == "device":
            listed = [entry.name for entry in device.engines.get(recipe.framework, ())]
            if value not in PROVIDERS:
                return unknown("device for ONNX Runtime", str(value), PROVIDERS)
            if not {value, *PROVIDERS[str(value)]} & set(listed):
                return f"ONNX Runtime has no provider for {value} here (it has {', '.join(listed) or 'none'})."
        if key == "graph":
            if value not in LEVELS:
                return unknown("graph optimization level of ONNX Runtime", str(value), LEVELS)
            if why := _unfused(recipe, str(value), device):
                return why
        if key == "hint":
            return "ONNX Runtime has no performance hints: it runs one call in all its threads, and several at a time where a test asks for throughput."
        if key == "precision":
            return "ONNX Runtime computes in what the model's file says: choose the recipe of that precision instead."
        if key not in TUNING:
            return unknown(f"tuning of {recipe.framework}", key, TUNING)
    return None


def accelerations(device: Device, framework: str) -> dict[str, tuple[str | int, ...]]:
    """Tunings that may be better than ONNX Runtime's own choice on this device: fewer threads, a level less, and the accelerators that it has."""
    listed = {entry.name for entry in device.engines.get(framework, ())}
    found: dict[str, tuple[str | int, ...]] = {
        "graph": ("extended",),
        "threads": device.fewer_threads,
        "device": tuple(kind for kind, names in PROVIDERS.items() if kind != "CPU" and listed & {kind, *names}),
    }
    return {key: values for key, values in found.items() if values}


def work_of(recipe: Recipe, assessment: Assessment, device: Device) -> str:
    """Where the work is, and what the device has for it: the reason for a recipe in half precision or int8."""
    if recipe.precision == "fp16":
        has = (
            "the CPU has half-precision arithmetic"
            if recipe.device == "CPU"
            else f"{recipe.device}s have half-precision arithmetic"
        )
        return f"{_capital(assessment.precisions['fp16'].reason)}, and {has}; no calibration is needed."
    work = assessment.precisions.get(f"int8-{recipe.method}")
    there = [name for name in recipe.needs if name in device.features]
    cpu = f"the CPU has {' and '.join(there)}" if there else f"but the CPU has none of {', '.join(recipe.needs)}"
    if recipe.device != "CPU":
        cpu = f"it was asked for on {recipe.device}"
    return f"{_capital(work.reason)}; {cpu}." if work else f"{_capital(cpu)}."


def trees_of(assessment: Assessment) -> str:
    """``1 TreeEnsembleClassifier``, where that is what the model is; else nothing."""
    if any(verdict.possible for name, verdict in assessment.precisions.items() if name.startswith("int8")):
        return ""
    found = {op: count for op, count in assessment.ops.items() if op.startswith("ai.onnx.ml.TreeEnsemble")}
    return " and ".join(f"{count} {op.rpartition('.')[2]}" for op, count in found.items())


def _unfused(recipe: Recipe, level: str, device: Device) -> str | None:
    """Why an int8 recipe can't do with so little optimization, if it can't."""
    if recipe.precision != "int8" or level in _FUSING:
        return None
    fused = "ask for graph=extended or all"
    if recipe.method == "static":
        return (
            "ONNX Runtime makes its int8 kernels of a statically quantized file when it optimizes the graph at the level extended or above: "
            f"with graph={level} this variant would compute in fp32; {fused}."
        )
    if device.architecture in ("x86_64", "x86") and not set(INT8_MULTIPLIERS) & set(device.features):
        return (
            "This CPU has no VNNI, so products in int8 would saturate, and ONNX Runtime keeps them from it when it optimizes the graph at the "
            f"level extended or above, not with graph={level}; {fused}."
        )
    return None


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
