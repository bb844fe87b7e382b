"""A source: a model of PyTorch, in a worker, with inputs to call it on and what is known of its axes."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pytest_edgeai.errors import ModelError

BATCH: Final = "batch"
INSTEAD: Final = (
    "Export it to ONNX yourself (torch.onnx.export), or to a .pt2 file (torch.export.save), and name that file."
)

Tensors = Mapping[str, Any]
"""Name -> ``torch.Tensor``."""
Axes = Mapping[str, Mapping[int, str]]
"""Input -> axis -> the name of its size, of those that may have any."""


class Draw(Protocol):
    """Other inputs."""

    def __call__(self, sizes: Mapping[str, int], seed: int) -> dict[str, Any]:
        """Tensors by name, with these sizes of the axes that may have any."""


@dataclass(frozen=True, slots=True)
class Source:
    """A model that is called with tensors by name."""

    inputs: Tensors
    """To call it on, in the order in which it takes them."""
    answer: Callable[[Tensors], dict[str, Any]]
    """Its outputs by name, in float32 or what it computes in, without gradients."""
    draw: Draw
    axes: Axes
    """Of a program those that it has; of a module those to try."""
    module: Any = None
    """That takes the tensors one after the other and returns a tuple of them; ``None`` for a program."""
    program: Any = None
    """A ``torch.export.ExportedProgram``."""
    architecture: str = ""
    fixed: str = ""
    """Why it can't have a dynamic batch, as far as is known without trying."""

    @property
    def sizes(self) -> dict[str, int]:
        """Of the axes that may have any, in :attr:`inputs`."""
        return self.sizes_of(self.inputs)

    def sizes_of(self, inputs: Tensors) -> dict[str, int]:
        """The same in other inputs."""
        return {
            label: int(inputs[name].shape[axis]) for name, labels in self.axes.items() for axis, label in labels.items()
        }

    def with_axes(self, axes: Axes) -> "Source":
        """The same with these alone; where the batch is among them and of one item, with two alike: PyTorch takes a size of 1 for one that is always 1."""
        import torch

        inputs = {
            name: torch.cat([tensor, tensor]) if axes.get(name, {}).get(0) == BATCH and tensor.shape[0] == 1 else tensor
            for name, tensor in self.inputs.items()
        }
        return dataclasses.replace(self, axes=axes, inputs=inputs)


def resampled(inputs: Tensors, axes: Axes) -> Draw:
    """Draws numbers between the least and the greatest of each input, whole numbers from those that are in it.

    So a model that takes indexes, or numbers above 0 alone, is given what it can take.
    """

    def draw(sizes: Mapping[str, int], seed: int) -> dict[str, Any]:
        import torch

        dice = torch.Generator().manual_seed(seed)
        drawn = {}
        for name, tensor in inputs.items():
            labels = axes.get(name, {})
            shape = [sizes.get(labels.get(axis, ""), size) for axis, size in enumerate(tensor.shape)]
            if not tensor.dtype.is_floating_point or tensor.numel() == 0:
                places = torch.randint(max(1, tensor.numel()), shape, generator=dice)
                drawn[name] = tensor.reshape(-1)[places] if tensor.numel() else tensor.new_zeros(shape)
                continue
            low, high = float(tensor.min()), float(tensor.max())
            if low < high:
                numbers = low + (high - low) * torch.rand(shape, generator=dice)
            else:  # all alike, as of torch.zeros: no range is told
                numbers = torch.randn(shape, generator=dice)
            drawn[name] = numbers.to(tensor.dtype)
        return drawn

    return draw


def demand_tensors(inputs: Mapping[str, Any]) -> None:
    """Raises ModelError for what is none, or none that ONNX Runtime takes."""
    import torch

    if not inputs:
        raise ModelError("it has no inputs, and a model without any can't be measured.")
    for name, value in inputs.items():
        if not isinstance(value, torch.Tensor):
            raise ModelError(
                f"its input '{name}' is a {type(value).__name__}, not a tensor. Let the module have it as an attribute, and take tensors alone."
            )
        if value.dtype == torch.bfloat16 or value.dtype.is_complex:
            raise ModelError(
                f"its input '{name}' is {str(value.dtype).removeprefix('torch.')}, which numpy or ONNX Runtime lacks. Take float32."
            )


def named(answer: Any, taken: Sequence[str] = ()) -> dict[str, Any]:
    """The tensors of what a model returned, by the names of its fields; ``None`` is left out. ``taken``: names that inputs have.

    Raises ModelError where there is something else than tensors in it.
    """
    import torch

    found: dict[str, Any] = {}

    def add(name: str, value: Any) -> None:
        if value is None:
            return
        if isinstance(value, torch.Tensor):
            free = name or "output"
            while free in found or free in taken:
                free += "_out"
            found[free] = value
            return
        parts = _parts(value, name)
        if parts is None:
            told = f"its output '{name}'" if name else "what it returns"
            raise ModelError(
                f"{told} is of the type {type(value).__name__}, not a tensor. Return a tensor, or a tuple or mapping of tensors."
            )
        for part, inner in parts:
            add(part, inner)

    add("", answer)
    if not found:
        raise ModelError("it returns no tensor, so there is nothing to measure or to score.")
    return found


def _parts(value: Any, name: str) -> list[tuple[str, Any]] | None:
    """What is within, each with its name; ``None`` for what has no parts."""
    if isinstance(value, Mapping):
        fields = list(value.items())
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        fields = list(zip(value._fields, value, strict=True))
    elif isinstance(value, tuple | list):
        numbered = len(value) > 1
        return [(f"{name or 'output'}_{place}" if numbered else name, inner) for place, inner in enumerate(value)]
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [(one.name, getattr(value, one.name)) for one in dataclasses.fields(value)]
    else:
        return None
    return [(f"{name}_{key}" if name else str(key), inner) for key, inner in fields]


def batch_axes(inputs: Tensors) -> dict[str, dict[int, str]]:
    """The first axis of each input whose first axis is as long as that of the first input with two axes or more; empty where there is none."""
    first = next((tensor for tensor in inputs.values() if tensor.ndim > 1), None)
    if first is None:
        return {}
    size = first.shape[0]
    return {name: {0: BATCH} for name, tensor in inputs.items() if tensor.ndim and tensor.shape[0] == size}


def cause_of(error: BaseException) -> BaseException:
    """The first one of a chain of exceptions."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def said(error: BaseException) -> str:
    """An exception's kind and the first sentence that it says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].partition('. ')[0].rstrip('.')}" if lines else type(error).__name__
