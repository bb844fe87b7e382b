"""Kernels: what the plugin runs of a compiled network, by the names that it gives them."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from pytest_edgeai.errors import EdgeError
from pytest_edgeai.records import Recipe

WORKERS: Final = ("Convolution", "Deconvolution", "FullyConnected", "MatMul")
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


_NO_WORK: Final = ("Input", "Output", "Const", "Parameter", "Result", "Constant")


def placed(network: Any, device: str) -> str:
    """``CPU: 30 Convolution i8, 13 Eltwise f32``: how many layers of which type the plugin runs in which precision."""
    found: Counter[str] = Counter()
    for node in network.get_runtime_model().get_ops():
        info = node.get_rt_info()
        kind = info["layerType"].astype(str)
        if kind not in _NO_WORK:
            found[f"{kind} {info['primitiveType'].astype(str).rpartition('_')[2].lower()}"] += 1
    return f"{device}: {', '.join(f'{count} {name}' for name, count in found.most_common())}"


def attends(network: Any) -> bool:
    """Whether it has the plugin's kernel for attention, which alone keeps keys and values in fewer bits; attention in several kernels keeps float32."""
    nodes = network.get_runtime_model().get_ops()
    return any(node.get_rt_info()["layerType"].astype(str) == "ScaledDotProductAttention" for node in nodes)


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
