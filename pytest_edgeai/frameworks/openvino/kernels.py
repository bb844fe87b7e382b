"""Kernels: what the plugin runs of a compiled network, by the names that it gives them."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from pytest_edgeai.errors import EdgeError
from pytest_edgeai.records import Recipe

WORKERS: Final = ("Convolution", "Deconvolution", "FullyConnected", "MatMul")
_NO_WORK: Final = ("Input", "Output", "Const", "Constant", "Parameter", "Result")
_TYPES: Final = ("bf16", "f16", "f32", "f64", "i8", "u8", "i32", "i64")
STORED: Final = {"int8": ("i8", "u8"), "int4": ("i4", "u4")}
"""Precision of compressed weights -> what the plugin calls it."""


def used(network: Any) -> list[tuple[str, str]]:
    """What each convolution and matrix product computes in (its activations), and what the plugin calls it by (its weights, where stored)."""
    nodes = [node.get_rt_info() for node in network.get_runtime_model().get_ops()]
    workers = [info for info in nodes if info["layerType"].astype(str) in WORKERS]
    # The plugin writes the type of the activations, which is what the kernel computes in, at the end of the kernel's name.
    return [
        (info["primitiveType"].astype(str).rpartition("_")[2].lower(), info["runtimePrecision"].astype(str))
        for info in workers
    ]


def attends(network: Any) -> bool:
    """Whether it has the plugin's kernel for attention, which alone keeps keys and values in fewer bits; attention in several kernels keeps float32."""
    nodes = network.get_runtime_model().get_ops()
    return any(node.get_rt_info()["layerType"].astype(str) == "ScaledDotProductAttention" for node in nodes)


def kinds(network: Any) -> Counter[str]:
    """``Convolution i8`` -> how many layers of this kind compute in this precision. What has no kernel (inputs, constants, views) is left out."""
    found: Counter[str] = Counter()
    for node in network.get_runtime_model().get_ops():
        told = node.get_rt_info()
        if not all(key in told for key in ("layerType", "primitiveType", "runtimePrecision")):
            continue
        layer, kernel = told["layerType"].astype(str), told["primitiveType"].astype(str)
        name, _, computes = kernel.lower().rpartition("_")
        if name != "unknown" and layer not in _NO_WORK:
            found[f"{layer} {computes if computes in _TYPES else told['runtimePrecision'].astype(str)}"] += 1
    return found


def demand(recipe: Recipe, kernels: Counter[str], wanted: Sequence[str]) -> None:
    """Raises EdgeError where most kernels are of another sort than the recipe's."""
    count, all_of_them = sum(kernels[name] for name in wanted), sum(kernels.values())
    if 2 * count < all_of_them or (recipe.precision in STORED and not count):
        raise EdgeError(
            f"OpenVINO runs {count} of {all_of_them} convolutions and matrix products of {recipe.name} "
            f"in {' or '.join(wanted)} (it uses {told(kernels) or 'others'}); a variant by another name is not measured."
        )


def told(kernels: Counter[str]) -> str:
    """``i8``, or ``i8 (15), f32 (1)``."""
    if len(kernels) == 1:
        return next(iter(kernels))
    return ", ".join(f"{precision} ({count})" for precision, count in kernels.most_common())
