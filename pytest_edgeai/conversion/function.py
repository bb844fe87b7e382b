"""A function of the user's that makes a model, ``FILE.py:FUNCTION``, in a worker: the one place where the user's code is run outside of pytest's process."""

import contextlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pytest_edgeai.conversion import program
from pytest_edgeai.conversion.source import Source, Tensors, batch_axes, demand_tensors, named, resampled
from pytest_edgeai.errors import EdgeError, ModelError, UsageError, unknown

SEED: Final = 0
"""That the function's random numbers begin with, so that a model with random weights is the same one each time."""
_RETURNS: Final = "return (module, example_inputs), the inputs being a tuple or a mapping of tensors, or a torch.export.ExportedProgram"


def read(file: Path, function: str, working: Path) -> Source:
    """What the function makes; it runs in the folder ``working``, where it and the file's own folder can be imported from.

    Raises UsageError where there is no such function, and ModelError for what it raises or returns.
    """
    import torch

    sys.path[:0] = [str(file.parent), str(working)]
    torch.manual_seed(SEED)
    with contextlib.chdir(working):
        made = _called(_found(file, function), file)
    if isinstance(made, torch.export.ExportedProgram):
        return program.of(made)
    if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], torch.nn.Module)):
        told = f"({', '.join(type(one).__name__ for one in made)})" if isinstance(made, tuple) else type(made).__name__
        raise ModelError(f"it returned {told}. Let it {_RETURNS}.")
    module, example = made
    if not isinstance(example, tuple | Mapping) or hasattr(example, "_fields"):
        raise ModelError(f"it returned inputs of the type {type(example).__name__}. Let it {_RETURNS}.")
    return of(module, example)


def of(module: Any, example: "tuple[Any, ...] | Mapping[str, Any]") -> Source:
    """A module with inputs, by place or by name. It is brought into eval mode. Raises ModelError."""
    import torch

    module = module.eval().requires_grad_(False)
    by_name = isinstance(example, Mapping)
    inputs = dict(example) if by_name else dict(zip(_names(module, len(example)), example, strict=True))
    demand_tensors(inputs)
    axes = batch_axes(inputs)

    def outputs(values: "tuple[Any, ...]") -> dict[str, Any]:
        answer = module(**dict(zip(inputs, values, strict=True))) if by_name else module(*values)
        return named(answer, list(inputs))

    class Flat(torch.nn.Module):  # type: ignore[misc] # torch is not imported where types are checked
        """Takes tensors alone and returns them alone, whatever the module's own names and nests are."""

        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, *tensors: Any) -> tuple[Any, ...]:
            return tuple(outputs(tensors).values())

    def answer(tensors: Tensors) -> dict[str, Any]:
        with torch.no_grad():
            return outputs(tuple(tensors.values()))

    return Source(
        inputs=inputs,
        answer=answer,
        draw=resampled(inputs, axes),
        axes=axes,
        module=Flat().eval(),
        architecture=type(module).__name__,
        fixed="" if axes else "no input has two axes, so none of them is told to be the batch",
    )


def _found(file: Path, function: str) -> Callable[[], Any]:
    if not file.is_file():
        raise UsageError(f"there is no file {file}. Is the path right?")
    specification = importlib.util.spec_from_file_location(file.stem, file)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[file.stem] = module
    with _explained(file, "it can't be imported"):
        specification.loader.exec_module(module)
    found = getattr(module, function, None)
    if not callable(found):
        own = [
            known
            for known, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__
        ]
        raise UsageError(unknown(f"function in {file}", function, own))
    return found  # type: ignore[no-any-return] # whatever the user's function is


def _called(function: Callable[[], Any], file: Path) -> Any:
    with _explained(file, "it failed"):
        return function()


@contextlib.contextmanager
def _explained(file: Path, what: str) -> Iterator[None]:
    """Raises ModelError for whatever the user's code raises, naming its last line in the user's file."""
    try:
        yield
    except EdgeError:
        raise
    except (Exception, SystemExit) as error:  # the user's own, whatever it is
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else lines[-1] if lines else None
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ModelError(f"{what} ({file.name}{f':{line}' if line else ''}): {reason}") from error


def _names(module: Any, count: int) -> list[str]:
    """Of the arguments that so many values are given for by place."""
    names: list[str] = []
    for parameter in inspect.signature(module.forward).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}_{place}" for place in range(count - len(names))]
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
    # More than it takes: calling it says so.
    return (names + [f"input_{place}" for place in range(len(names), count)])[:count]
