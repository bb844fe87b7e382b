"""A program of PyTorch: what ``torch.export.save`` writes into a ``.pt2`` file, in a worker.

https://docs.pytorch.org/docs/stable/export/pt2_archive.html. Tensors that have no plain layout, example inputs and constants may be pickles within it. They are read
with nothing but tensors allowed, and what needs more is refused. PyTorch evaluates the expressions of sizes, so that a file of somebody whom you don't
trust isn't harmless: it is read in this process alone.
"""

import contextlib
import logging
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pytest_edgeai.conversion.source import (
    BATCH,
    INSTEAD,
    Source,
    Tensors,
    cause_of,
    demand_tensors,
    named,
    resampled,
    said,
)
from pytest_edgeai.errors import ModelError

COMPILED: Final = "/data/aotinductor/"
OBJECTS: Final = ("custom_obj", "opaque_obj")
"""How files of an archive begin that are more than tensors."""


def read(path: Path) -> Source:
    """The program of a file. Raises ModelError."""
    import torch

    # Heeded by torch.load, which the package is read with in some places with weights_only=False.
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    _demand_plain(path)
    with _warned() as causes:
        try:
            program = torch.export.load(path)
        except Exception as error:
            told = said(cause_of(causes[0] if causes else error))
            raise ModelError(
                f"it can't be read as a program of PyTorch {torch.__version__} ({told}). Was it saved by torch.export.save, and is the download complete? "
                f"Operators of your own are known where your code is: name a function that makes the model, FILE.py:FUNCTION."
            ) from error
    return of(program)


def of(program: Any) -> Source:
    """A ``torch.export.ExportedProgram``. Raises ModelError for one that can't be called on tensors alone."""
    import torch

    if _trains(program):
        raise ModelError(
            "it was exported in training mode, so its dropout is random. Call .eval() on the module, and export it again."
        )
    taken = list(program.graph_signature.user_inputs)
    args, kwargs = program.example_inputs or ((), {})
    if len(args) + len(kwargs) != len(taken) or not all(isinstance(one, str) for one in taken):
        raise ModelError(
            "it holds no example inputs, or nested ones. Export it again with a tensor for each argument, "
            "torch.export.export(module, (tensor, ...)), and save it with torch.export.save."
        )
    # Those that are given by name may stand in another order.
    by_name = [one if one in kwargs else key for one, key in zip(taken[len(args) :], kwargs, strict=True)]
    inputs = dict(zip(taken, [*args, *(kwargs[key] for key in by_name)], strict=True))
    demand_tensors(inputs)
    module = program.module()
    shapes = {
        node.name: list(node.meta["val"].shape)
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in inputs
    }
    shapes = {one: shapes[one] for one in taken}
    labels = _labels(shapes)

    def answer(tensors: Tensors) -> dict[str, Any]:
        values = list(tensors.values())
        with torch.no_grad():
            outputs = module(*values[: len(args)], **dict(zip(by_name, values[len(args) :], strict=True)))
        return named(outputs, taken)

    every = {one: dict(enumerate(map(str, shape))) for one, shape in shapes.items()}

    def draw(sizes: Mapping[str, int], seed: int) -> dict[str, Any]:
        symbols = {symbol: sizes[label] for symbol, label in labels.items()}
        return resampled(inputs, every)(_evaluated(shapes, symbols), seed)

    return Source(
        inputs=inputs,
        answer=answer,
        draw=draw,
        axes={
            one: {axis: labels[str(size)] for axis, size in enumerate(shape) if str(size) in labels}
            for one, shape in shapes.items()
        },
        program=program,
        fixed="" if BATCH in labels.values() else "the program was exported with a fixed one (see dynamic_shapes)",
    )


def _labels(shapes: Mapping[str, list[Any]]) -> dict[str, str]:
    """The symbol of a size -> a name that says something: the batch is what the first axis of the first input with two or more is."""
    symbols = {
        str(size): f"{name}_{axis}"
        for name, shape in reversed(list(shapes.items()))
        for axis, size in reversed(list(enumerate(shape)))
        if str(size).isidentifier()
    }
    first = next((str(shape[0]) for shape in shapes.values() if len(shape) > 1), "")
    return symbols | ({first: BATCH} if first in symbols else {})


def _evaluated(shapes: Mapping[str, list[Any]], symbols: Mapping[str, int]) -> dict[str, int]:
    """Each size that is an expression, as ``2*s0``, and what it comes to."""
    found = {}
    for shape in shapes.values():
        for size in shape:
            if not isinstance(size, int):
                expression = size.node.expr
                known = {symbol: symbols[str(symbol)] for symbol in expression.free_symbols if str(symbol) in symbols}
                found[str(size)] = int(expression.subs(known))
    return found


def _trains(program: Any) -> bool:
    """Whether a dropout of it is random."""
    return any(
        node.op == "call_function" and "dropout" in str(node.target) and any(argument is True for argument in node.args)
        for node in program.graph.nodes
    )


def _demand_plain(path: Path) -> None:
    """Raises ModelError where there is more in the archive than a program and its tensors."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ModelError(
            f"it is no .pt2 file as torch.export.save writes it ({error}). Save it anew; is the download complete?"
        ) from error
    if any(COMPILED in f"/{name}" for name in names):
        raise ModelError(
            "it holds compiled code of AOTInductor, which is for one machine. Save the program itself: torch.export.save."
        )
    # In any place of a path: the archive says itself where its objects lie.
    if any(part.startswith(OBJECTS) for name in names for part in re.split(r"[/\\]", name)):
        raise ModelError(
            f"it holds objects beside tensors, as pickles, and a pickle runs whatever code is in it when it is read. {INSTEAD}"
        )


@contextlib.contextmanager
def _warned() -> Iterator[list[BaseException]]:
    """What PyTorch says of a file that it can't read, it logs, and raises something else."""
    caught: list[BaseException] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info and record.exc_info[1] is not None:
                caught.append(record.exc_info[1])

    logger, listener = logging.getLogger("torch.export"), Listener()
    logger.addHandler(listener)
    try:
        yield caught
    finally:
        logger.removeHandler(listener)
